"""Planted copies, and the score of what a tool called one picture."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import dedup_quality
from benchmarks.dedup_quality import CHANGES, Planted


def noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8))


def test_copies_are_planted_the_same_each_time_under_names_that_say_nothing(tmp_path: Path) -> None:
    pictures = [noise(seed) for seed in (1, 2, 1, 3)]
    assert dedup_quality.distinct(pictures) == [pictures[0], pictures[1], pictures[3]]
    planted = dedup_quality.plant(pictures[1:], 2, tmp_path / "a")
    assert dedup_quality.plant(pictures[1:], 2, tmp_path / "b") == planted
    files = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()}
    assert sorted(files) == sorted(planted.photo)
    assert [list(planted.kind.values()).count(kind) for kind in CHANGES] == [2] * len(CHANGES)
    sizes = {kind: Image.open(io.BytesIO(files[name])).size for name, kind in planted.kind.items()}
    assert (sizes["resize"], sizes["crop"], sizes["flip"]) == ((32, 32), (51, 51), (64, 64))
    assert sizes["border"] in [(side, side) for side in (70, 72, 74)]


def test_a_label_covers_a_tenth_at_most() -> None:
    grey = Image.new("L", (100, 80), 90)
    covered = np.asarray(dedup_quality.overlaid(grey, np.random.default_rng(0))) != 90
    assert 0.075 <= covered.mean() <= 0.105


def test_copies_of_one_photo_are_right_but_only_pairs_with_it_are_recalled() -> None:
    names = ["original", *CHANGES, "other"]
    planted = Planted(
        photo={name: 1 if name == "other" else 0 for name in names},
        kind={name: "original" if name == "other" else name for name in names},
    )
    called = [("original", "flip"), ("crop", "border"), ("original", "other"), ("original", "resize")]
    precision, recalls = dedup_quality.score(planted, called)
    assert precision == 3 / 4
    assert recalls == {kind: float(kind in ("flip", "resize")) for kind in CHANGES}
    assert dedup_quality.f1(0.5, 1.0) == pytest.approx(2 / 3)
    assert dedup_quality.score(planted, []) == (0, dict.fromkeys(CHANGES, 0))
