"""What a scan refused is known to the next one, also after it was killed."""

from pathlib import Path

import numpy as np

from curation.refusals import Refusals

PAIRS = np.array([[1, 2], [1, 3], [2, 3]])


def test_refusals_are_kept_by_limit(tmp_path: Path) -> None:
    kept = Refusals(tmp_path / "new", encoder="e", max_residual=0.1)
    kept.add(PAIRS[:1], np.array([False]))
    kept.add(PAIRS[1:2], np.array([True]))
    again = Refusals(tmp_path / "new", encoder="e", max_residual=0.1)
    assert again.hold(PAIRS, np.zeros(3, dtype=np.bool_)).tolist() == [True, True, False]
    assert again.hold(PAIRS, np.ones(3, dtype=np.bool_)).tolist() == [False, True, False]
    assert len(again) == 2
    assert not Refusals(tmp_path / "new", encoder="e", max_residual=0.2).hold(PAIRS, np.zeros(3, dtype=np.bool_)).any()


def test_half_a_row_is_no_row(tmp_path: Path) -> None:
    Refusals(tmp_path, encoder="e", max_residual=0.1).add(PAIRS, np.zeros(3, dtype=np.bool_))
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-5])
    cut = Refusals(tmp_path, encoder="e", max_residual=0.1)
    cut.add(PAIRS[2:], np.array([True]))
    for kept in (cut, Refusals(tmp_path, encoder="e", max_residual=0.1)):
        assert kept.hold(PAIRS, np.zeros(3, dtype=np.bool_)).tolist() == [True, True, True]
        assert kept.hold(PAIRS, np.ones(3, dtype=np.bool_)).tolist() == [False, False, True]


def test_what_is_forgotten_is_gone(tmp_path: Path) -> None:
    kept = Refusals(tmp_path, encoder="e", max_residual=0.1)
    kept.add(PAIRS, np.zeros(3, dtype=np.bool_))
    kept.forget()
    for each in (kept, Refusals(tmp_path, encoder="e", max_residual=0.1)):
        assert len(each) == 0
        assert not each.hold(PAIRS, np.zeros(3, dtype=np.bool_)).any()
