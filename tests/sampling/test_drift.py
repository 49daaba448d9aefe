"""Drift of images: the interval by brute force and by chance, the draw by hand, and what can and cannot be told."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation import joins
from sampling import drift
from sampling.drift import ImageDrift
from tests.conftest import Builder


def measured(values: np.ndarray, new: int, *, tied: np.ndarray | None = None) -> ImageDrift:
    """The drift of the last `new` of these vectors."""
    vectors = joins.unit(values)
    is_new = np.arange(len(vectors)) >= len(vectors) - new
    return drift.measure(vectors.__getitem__, is_new, np.arange(len(vectors)) if tied is None else tied)


def alike(seed: int, old: int, new: int, *, dimensions: int = 16) -> ImageDrift:
    """New images drawn as the old ones were."""
    return measured(np.random.default_rng(seed).normal(size=(old + new, dimensions)), new)


def test_the_interval_of_images_that_are_alike_holds_a_half() -> None:
    """In ten seeds, and at the rate it states: 95 of 100 runs, give or take two standard deviations."""
    held = [found.low <= 0.5 <= found.high for found in (alike(seed, 150, 100) for seed in range(100))]
    assert sum(held[:10]) >= 9
    assert 91 <= sum(held) <= 99


def test_a_shift_is_detected_and_the_larger_it_is_the_surer() -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(size=(600, 16))
    found = []
    for shift in (0.0, 0.5, 1.0, 4.0):
        moved = values.copy()
        moved[400:, 0] += shift
        found.append(measured(moved, 200))
    aucs = [one.auc or 0.0 for one in found]
    assert aucs == sorted(aucs)
    assert [one.low > 0.5 for one in found] == [False, True, True, True]
    assert found[-1].low > 0.95
    assert found[0].high < 0.65


@pytest.mark.parametrize("new", [2, 4, 7])
def test_few_new_images_say_little_and_many_say_more(new: int) -> None:
    few, many = alike(0, 300, new), alike(0, 300, 300)
    assert (few.old, few.new) == (300, new)
    assert few.high - few.low > 0.4
    assert many.high - many.low < 0.15


@pytest.mark.parametrize(("old", "new"), [(50, 1), (50, 0), (1, 50), (0, 50), (0, 0), (1, 1)])
def test_one_image_tells_nothing(old: int, new: int) -> None:
    assert alike(0, old, new) == ImageDrift(None, 0.0, 1.0, old, new)


def test_images_of_a_scene_count_once() -> None:
    """Thirty scenes of ten frames: a classifier that has seen a scene knows its other frames, whatever is new."""
    generator = np.random.default_rng(0)
    scenes = np.repeat(np.arange(30), 10)
    values = generator.normal(size=(30, 64))[scenes] + 0.1 * generator.normal(size=(300, 64))
    untied = measured(values, 100)
    assert untied.low > 0.9
    tied = measured(values, 100, tied=scenes)
    assert (tied.old, tied.new) == (20, 10)
    assert tied.low <= 0.5 <= tied.high


def test_one_of_each_scene_is_drawn_and_a_scene_with_an_old_image_is_old() -> None:
    is_new = np.array([True, True, True, False, True, False])
    tied = np.array([0, 0, 2, 2, 4, 5])  # new, new and old, new, old
    for seed in range(10):
        assert drift.draw(is_new, tied, seed=seed).tolist() in ([0, 3, 4, 5], [1, 3, 4, 5])


def test_a_large_collection_is_drawn_from() -> None:
    is_new = np.arange(100_000) >= 95_000
    drawn = drift.draw(is_new, np.arange(100_000), seed=0)
    assert (int(is_new[drawn].sum()), len(drawn)) == (2000, 4000)
    assert len(np.unique(drawn)) == 4000
    assert 40_000 < drawn[:2000].mean() < 55_000  # from all of it
    assert drawn.tolist() == drift.draw(is_new, np.arange(100_000), seed=0).tolist()
    assert drawn.tolist() != drift.draw(is_new, np.arange(100_000), seed=1).tolist()


def variance(theta: float, old: int, new: int) -> float:
    """Hanley & McNeil's, as they print it."""
    q1, q2 = theta / (2 - theta), 2 * theta**2 / (1 + theta)
    return (theta * (1 - theta) + (new - 1) * (q1 - theta**2) + (old - 1) * (q2 - theta**2)) / (old * new)


@pytest.mark.parametrize("auc", [0.0, 0.03, 0.5, 0.71, 0.999, 1.0])
@pytest.mark.parametrize(("old", "new"), [(2, 2), (300, 2), (20, 30), (2000, 2000)])
def test_the_interval_is_every_auc_that_chance_could_take_for_this_one(auc: float, old: int, new: int) -> None:
    grid = np.linspace(0, 1, 100_001)
    spread = np.sqrt([2.25 * variance(theta, old, new) for theta in grid])
    inside = grid[np.abs(grid - auc) <= 1.96 * spread + 1e-9]
    assert drift.interval(auc, old, new, folds=5) == pytest.approx((inside.min(), inside.max()), abs=2e-5)


@given(st.floats(0, 1), st.integers(2, 2000), st.integers(2, 2000), st.integers(2, 5))
def test_an_interval_holds_its_auc_and_is_narrower_with_more_images(auc: float, old: int, new: int, folds: int) -> None:
    low, high = drift.interval(auc, old, new, folds=folds)
    assert 0 <= low <= auc <= high <= 1
    assert high - low > 0
    narrower = drift.interval(auc, 2 * old, 2 * new, folds=folds)
    assert narrower[1] - narrower[0] < high - low
    mirrored = drift.interval(1 - auc, new, old, folds=folds)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-6)


def test_images_of_the_catalog_are_compared_by_their_newest_vectors(build: Builder) -> None:
    scenes = [f"visit {i}" for i in np.arange(60) // 2]
    images = build.images(60, scenes=scenes)
    values = np.random.default_rng(0).normal(size=(60, 8))
    values[40:, 0] += 8
    build.vectors(images, values)
    found = drift.since(build.workspace, frozenset(images[40:]))
    assert (found.old, found.new) == (20, 10)
    assert found.low > 0.5
    assert drift.since(build.workspace, frozenset()) == ImageDrift(None, 0.0, 1.0, 30, 0)
