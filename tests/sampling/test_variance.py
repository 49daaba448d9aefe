"""Least variance: the greedy picks of brute force, what is known is left alone, and what nobody doubts too."""

import numpy as np
import pytest

from sampling.strategies import variance
from sampling.strategies.variance import least_variance
from store.arrays import Floats, Ints


def by_brute_force(x: Floats, doubts: Floats, labelled: Ints, candidates: Ints, *, k: int, penalty: float) -> list[int]:
    """Each time the candidate after which the summed variance, of an inverted matrix, is least."""
    wanted = (x.T * doubts) @ x
    known, picks = labelled.tolist(), []
    for _ in range(k):
        left = [one for one in candidates.tolist() if one not in picks]
        totals = []
        for one in left:
            rows = [*known, *picks, one]
            information = penalty * np.eye(x.shape[1]) + (x[rows].T * doubts[rows]) @ x[rows]
            totals.append(np.trace(np.linalg.inv(information) @ wanted))
        picks.append(left[int(np.argmin(totals))])
    return picks


@pytest.mark.parametrize("seed", range(5))
def test_the_picks_are_those_of_brute_force(seed: int) -> None:
    generator = np.random.default_rng(seed)
    x, doubts = generator.normal(size=(40, 4)).astype(np.float32), generator.random(40)
    labelled, candidates = np.arange(5), np.arange(5, 35)
    found = least_variance(x, doubts, labelled=labelled, candidates=candidates, k=6, penalty=0.1)
    assert found.tolist() == by_brute_force(x.astype(np.float64), doubts, labelled, candidates, k=6, penalty=0.1)


def test_what_was_looked_at_before_changes_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a short list of a fifth, renewed every four picks, the variance left is that of all within a percent."""
    generator = np.random.default_rng(0)
    x, doubts = generator.normal(size=(500, 8)).astype(np.float32), generator.random(500)

    def left(picks: Ints) -> float:
        information = 0.1 * np.eye(8) + (x[picks].T * doubts[picks]) @ x[picks]
        return float(np.trace(np.linalg.inv(information) @ ((x.T * doubts) @ x)))

    none = np.empty(0, dtype=np.int64)
    exact = least_variance(x, doubts, labelled=none, candidates=np.arange(500), k=30, penalty=0.1)
    monkeypatch.setattr(variance, "_SHORTLIST", 100)
    monkeypatch.setattr(variance, "_AT_ONCE", 4)
    short = least_variance(x, doubts, labelled=none, candidates=np.arange(500), k=30, penalty=0.1)
    assert len(set(short.tolist())) == 30
    assert left(short) <= 1.01 * left(exact)


def test_a_labelled_direction_and_a_certain_image_come_last() -> None:
    """Axes 0 and 1 are doubted, 0 is labelled already; axis 2 is certain."""
    x = np.eye(3, dtype=np.float32)[[0, 0, 1, 2]]
    picks = least_variance(
        x, np.array([0.5, 0.5, 0.5, 0.0]), labelled=np.array([0]), candidates=np.array([1, 2, 3]), k=3, penalty=0.1
    )
    assert picks.tolist() == [2, 1, 3]


def test_ties_go_to_the_first_candidate() -> None:
    x = np.eye(4, dtype=np.float32)
    picks = least_variance(
        x, np.full(4, 0.5), labelled=np.empty(0, dtype=np.int64), candidates=np.array([2, 0, 3]), k=3, penalty=1.0
    )
    assert picks.tolist() == [2, 0, 3]
