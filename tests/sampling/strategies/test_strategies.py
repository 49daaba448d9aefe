"""Every strategy: what can be checked by hand, comparing everything as the oracle, and what holds for every pool."""

from collections.abc import Callable
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampling import k_means, lazy
from sampling.strategies import (
    cluster_margin,
    dropquery,
    facility_location,
    k_center,
    max_herding,
    typiclust,
    uherding,
    weighted_k_means,
)
from store.arrays import Floats, Ints, Vectors

Chooser = Callable[[Vectors, Floats, int, Vectors], Ints]

ALL: dict[str, Chooser] = {
    "k_center": lambda x, _, k, labelled: k_center.choose(x, k, labelled=labelled),
    "facility_location": lambda x, _, k, labelled: facility_location.choose(x, k, labelled=labelled, seed=0),
    "max_herding": lambda x, _, k, labelled: max_herding.choose(x, k, labelled=labelled, seed=0),
    "uherding": lambda x, u, k, labelled: uherding.choose(x, u, k, labelled=labelled, seed=0),
    "typiclust": lambda x, _, k, labelled: typiclust.choose(x, k, labelled=labelled, seed=0),
    "weighted_k_means": lambda x, u, k, _: weighted_k_means.choose(x, u, k, seed=0),
    "cluster_margin": lambda x, u, k, _: cluster_margin.choose(x, u, k, factor=3, seed=0),
    "dropquery": lambda x, u, k, _: dropquery.choose(x, u, k, seed=0),
}


def unit(values: object) -> Vectors:
    array = np.asarray(values, dtype=np.float64)
    return (array / np.linalg.norm(array, axis=1, keepdims=True)).astype(np.float32)


def at(*degrees: float) -> Vectors:
    """Unit vectors in the plane."""
    angles = np.radians(degrees)
    return unit(np.stack([np.cos(angles), np.sin(angles)], axis=1)) if degrees else np.empty((0, 2), dtype=np.float32)


def scattered(count: int, dimensions: int = 6, *, seed: int = 0) -> Vectors:
    return unit(np.random.default_rng(seed).normal(size=(count, dimensions)))


def farthest_first(candidates: Vectors, k: int, labelled: Vectors) -> list[int]:
    wide = candidates.astype(np.float64)
    nearest = (wide @ labelled.astype(np.float64).T).max(axis=1)
    picks: list[int] = []
    for _ in range(k):
        picks.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, wide @ wide[picks[-1]])
        nearest[picks] = np.inf
    return picks


def best_cover(similarity: Floats, k: int, weights: Floats, covered: Floats) -> list[int]:
    """Greedy, every gain of `(N, R)` computed anew for every pick."""
    picks: list[int] = []
    for _ in range(k):
        gains = np.maximum(similarity - covered, 0) @ weights
        gains[picks] = -1
        picks.append(int(np.flatnonzero(gains >= gains.max() - 1e-6 * weights.sum())[0]))
        covered = np.maximum(covered, similarity[picks[-1]])
    return picks


def test_k_center_goes_to_the_other_side_first() -> None:
    assert k_center.choose(at(10, 90, 180, 45), 3, labelled=at(0)).tolist() == [2, 1, 3]
    assert k_center.choose(at(0, 40, 50, 90), 2, labelled=at()).tolist() == [1, 3]  # the middle, ties to the smaller


@pytest.mark.parametrize("count", [50, 4000])
@pytest.mark.parametrize("size", [2, 1024])
def test_k_center_is_that_of_comparing_everything(count: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(k_center, "_BLOCK", size)
    x, labelled = scattered(count, seed=1), scattered(3, seed=2)
    assert k_center.choose(x, 50, labelled=labelled).tolist() == farthest_first(x, 50, labelled)


def test_k_center_decides_in_double_precision() -> None:
    """The cosines differ by 1e-8, less than single precision tells apart."""
    far = np.array([[-0.6, 0.8], [-0.6, -0.8]], dtype=np.float32)
    far[1, 0] = np.nextafter(far[1, 0], np.float32(-1))
    x = np.concatenate([at(20), far])
    labelled = np.array([[0.1, 0]], dtype=np.float32)
    assert k_center.choose(x, 1, labelled=labelled).tolist() == [2]


def test_k_center_copes_with_more_copies_than_a_block_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(k_center, "_BLOCK", 4)
    x = np.concatenate([at(0).repeat(40, axis=0), at(170).repeat(50, axis=0), at(90)])
    assert k_center.choose(x, 5, labelled=at(0)).tolist() == [40, 90, 0, 1, 2]


def test_facility_location_takes_the_middle_of_the_larger_heap() -> None:
    x = at(0, 2, 4, 120, 121)
    assert facility_location.choose(x, 2, labelled=at(), seed=0).tolist() == [1, 3]
    assert facility_location.choose(x, 1, labelled=at(2), seed=0).tolist() == [3]


@pytest.mark.parametrize("count", [30, 1500])
def test_covers_are_those_of_computing_every_gain(count: int) -> None:
    x, labelled, k = scattered(count, seed=3), scattered(4, seed=4), min(count, 40)
    uncertainty = np.random.default_rng(5).random(count)
    wide, old = x.astype(np.float64), labelled.astype(np.float64)
    cosines, known, alike = wide @ wide.T, (wide @ old.T).max(axis=1), np.ones(count)
    assert facility_location.choose(x, k, labelled=labelled, seed=0).tolist() == best_cover(
        np.maximum(cosines, 0), k, alike, np.maximum(known, 0)
    )
    found = max_herding.choose(x, k, labelled=labelled, radius=0.5, seed=0)
    smooth, smooth_known = np.exp((2 * cosines - 2) / 0.25), np.exp((2 * known - 2) / 0.25)
    assert found.tolist() == best_cover(smooth, k, alike, smooth_known)
    found = uherding.choose(x, uncertainty, k, labelled=labelled, radius=0.5, seed=0)
    assert found.tolist() == best_cover(smooth, k, uncertainty, smooth_known)


@pytest.mark.parametrize("seed", range(10))
def test_of_equal_gains_the_first_is_taken_wherever_the_blocks_end(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy, "_BLOCK", 4)
    generator = np.random.default_rng(seed)
    x, uncertainty = scattered(40, seed=seed)[generator.integers(0, 40, 300)], generator.integers(1, 3, 300) / 2
    wide = x.astype(np.float64)
    smooth = np.exp((2 * wide @ wide.T - 2) / 0.25)
    found = uherding.choose(x, uncertainty, 30, labelled=x[:0], radius=0.5, seed=0)
    assert found.tolist() == best_cover(smooth, 30, uncertainty, np.zeros(300))


def test_large_pools_are_represented_by_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facility_location, "REFERENCES", 60)
    heaps = at(0, 60, 120, 180).repeat(50, axis=0)
    found = facility_location.choose(heaps, 4, labelled=at(), seed=0)
    assert sorted(found // 50) == [0, 1, 2, 3]


def test_uherding_goes_where_the_model_is_uncertain() -> None:
    x = at(0, 1, 2, 90, 91)
    assert uherding.choose(x, np.array([0.1, 0.1, 0.1, 0.9, 0.8]), 1, labelled=at(), seed=0).tolist() == [3]


def test_a_label_reaches_less_far_the_more_there_are() -> None:
    assert uherding.reach(at(0)) == 1
    assert uherding.reach(at(0, 180, 30)) == pytest.approx(2 * np.sin(np.radians(15)), abs=1e-6)
    assert uherding.reach(at(0, 0, 90)) == pytest.approx(0.05)


def test_typiclust_takes_the_densest_of_each_heap_and_leaves_labelled_ones_for_last() -> None:
    x = np.concatenate([at(0, 2, 4, 5, 3), at(90, 100, 92, 91)])
    assert typiclust.choose(x, 2, labelled=at(), seed=0).tolist() == [4, 7]
    assert typiclust.choose(x, 1, labelled=at(1, 3), seed=0)[0] in (5, 6, 7, 8)


def test_weighted_k_means_moves_to_the_uncertain_side() -> None:
    x = at(0, 10, 20, 100, 110, 120)
    uncertainty = np.array([0.01, 0.01, 1, 0.9, 0.01, 0.01])
    assert weighted_k_means.choose(x, uncertainty, 2, seed=0).tolist() == [2, 3]
    assert sorted(weighted_k_means.choose(x, np.zeros(6), 2, seed=0).tolist()) == [1, 4]


def test_cluster_margin_takes_the_most_uncertain_of_each_region() -> None:
    x = at(0, 1, 2, 90, 91, 180)
    uncertainty = np.array([0.5, 0.9, 0.8, 0.4, 0.6, 0.1])

    assert cluster_margin.choose(x, uncertainty, 2, factor=2, seed=0).tolist() == [1, 4]


def test_dropquery_looks_only_at_what_changes() -> None:
    x = at(0, 1, 2, 90, 91, 92, 180)
    changed = np.array([0.6, 0.7, 0.8, 0.9, 0.9, 0.9, 0.5])
    assert dropquery.choose(x, changed, 2, seed=0).tolist() == [1, 4]
    assert sorted(dropquery.choose(x, np.zeros(7), 7, seed=0).tolist()) == list(range(7))


def test_clusters_are_taken_in_turn() -> None:
    clusters = k_means.Clusters(np.array([1, 0, 1, 1, 0]), np.ones(5, dtype=np.float32))
    scores = np.array([0.1, 0.5, 0.9, 0.9, 0.7])
    chosen = k_means.best_of_each(clusters, scores, 5, order=np.array([2.0, 3.0]))
    assert chosen.tolist() == [2, 4, 3, 1, 0]
    assert k_means.best_of_each(clusters, scores, 2, order=np.array([3.0, 3.0])).tolist() == [2, 4]


def test_what_weighs_nothing_moves_no_centre() -> None:
    clusters = k_means.partition(at(0, 1, 2, 90, 100), 3, weights=np.array([0, 0, 1.0, 1.0, 0]), seed=0)
    assert clusters.of_each.tolist() in ([0, 0, 0, 1, 1], [1, 1, 1, 0, 0])
    assert clusters.cosines[[2, 3]].tolist() == [1, 1]


def test_large_collections_are_divided_in_two_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(k_means, "_MOST_FOR_SKLEARN", 100)
    monkeypatch.setattr(k_means, "_SPLIT_FROM", 8)
    heaps = unit(scattered(12, 16).repeat(30, axis=0) + np.random.default_rng(0).normal(scale=0.01, size=(360, 16)))
    for k in (8, 48):
        clusters = k_means.partition(heaps, k, seed=0)
        assert abs(len(np.unique(clusters.of_each)) - k) <= 3
        assert np.unique(clusters.of_each).tolist() == list(range(clusters.of_each.max() + 1))
        assert (k_means.partition(heaps, k, seed=0).of_each == clusters.of_each).all()
    assert clusters.cosines.mean() > 0.99


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 40), st.integers(0, 12), st.integers(0, 3), st.integers(0, 11))
def test_every_choice(name: str, count: int, k: int, known: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    x = scattered(count, 4, seed=seed) if count else np.empty((0, 4), dtype=np.float32)
    repeated = seed % 2 == 1
    if repeated and count:
        x = x[generator.integers(0, max(1, count // 5), count)]
    k = min(k, count)
    uncertainty = generator.random(count)
    labelled = scattered(known, 4, seed=seed + 1) if known else np.empty((0, 4), dtype=np.float32)
    found = ALL[name](x, uncertainty, k, labelled)
    assert found.dtype == np.int64
    assert len(set(found.tolist())) == len(found) == k
    assert all(0 <= position < count for position in found.tolist())
    assert ALL[name](x, uncertainty, k, labelled).tolist() == found.tolist()


@pytest.mark.parametrize(
    "name", ["k_center", "uherding"]
)  # of two that only stand for each other others take the first
@settings(max_examples=25, deadline=None)
@given(st.integers(20, 60), st.integers(0, 3), st.randoms(use_true_random=False))
def test_permuting_the_candidates_permutes_the_picks(name: str, count: int, known: int, random: Random) -> None:
    x, labelled = scattered(count, 4, seed=random.randrange(100)), scattered(known + 1, 4, seed=100)[:known]
    uncertainty = np.random.default_rng(count).random(count)
    order = np.array(random.sample(range(count), count))
    found = ALL[name](x, uncertainty, 8, labelled)
    again = order[ALL[name](x[order], uncertainty[order], 8, labelled)]
    if name == "uherding" and again.tolist() != found.tolist():  # only where gains tie, as far as `lazy.cover` tells
        spread = uherding.reach(labelled) ** 2 / 2

        def gained(picks: Ints) -> float:
            nearest = (x.astype(np.float64) @ np.concatenate([x[picks], labelled]).T).max(axis=1)
            return float(uncertainty @ np.exp((nearest - 1) / spread))

        until = int(np.flatnonzero(again != found)[0]) + 1
        assert gained(again[:until]) == pytest.approx(gained(found[:until]), abs=1.1e-6 * uncertainty.sum())
    else:
        assert again.tolist() == found.tolist()


@pytest.mark.parametrize("name", ALL)
def test_the_vectors_are_left_as_they_were(name: str) -> None:
    x, labelled, uncertainty = scattered(30), scattered(3, seed=9), np.random.default_rng(0).random(30)
    before = x.copy(), labelled.copy(), uncertainty.copy()
    ALL[name](x, uncertainty, 5, labelled)
    assert all((one == other).all() for one, other in zip(before, (x, labelled, uncertainty), strict=True))


def test_facility_location_of_a_few_images_stands_for_all() -> None:
    degrees = np.radians([0, 2, 4, 90, 91, 180])
    vectors = np.stack([np.cos(degrees), np.sin(degrees)], axis=1)
    three = facility_location.choose(vectors, 3, labelled=vectors[:0], seed=0).tolist()
    assert three[0] in (1, 2, 3)
    assert {(position // 3, position == 5) for position in three} == {(0, False), (1, False), (1, True)}
    assert sorted(facility_location.choose(vectors, 9, labelled=vectors[:0], seed=0).tolist()) == list(range(6))
