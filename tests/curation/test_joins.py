"""The similarity join: exact in what it tells, nearly complete, the same every time."""

from collections.abc import Callable

import numpy as np
import pytest

from curation import joins
from store.arrays import Ints, Vectors


def unit(vectors: np.ndarray) -> Vectors:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def planted(vectors: np.ndarray, generator: np.random.Generator) -> Vectors:
    """A tenth become copies of another tenth, at cosines from .6 to 1."""
    copies = generator.permutation(len(vectors))[: len(vectors) // 5].reshape(2, -1)
    cosines = generator.uniform(0.6, 1, copies.shape[1])[:, None]
    noise = generator.normal(size=(copies.shape[1], vectors.shape[1]))
    noise -= (noise * vectors[copies[0]]).sum(axis=1, keepdims=True) * vectors[copies[0]]
    vectors[copies[1]] = cosines * vectors[copies[0]] + np.sqrt(1 - cosines**2) * unit(noise)
    return unit(vectors)


def isotropic(count: int, dimensions: int, seed: int) -> Vectors:
    """All but the copies are far apart."""
    generator = np.random.default_rng(seed)
    return planted(unit(generator.normal(size=(count, dimensions))), generator)


def clustered(count: int, dimensions: int, seed: int) -> Vectors:
    """Places of very different size, along axes of very different length."""
    generator = np.random.default_rng(seed)
    scales = 1 / np.sqrt(1 + np.arange(dimensions))
    places = generator.normal(size=(count // 4, dimensions)) * scales
    weights = generator.pareto(3.0, len(places)) + 0.1
    chosen = generator.choice(len(places), count, p=weights / weights.sum())
    return planted(unit(places[chosen] + generator.normal(size=(count, dimensions)) * scales * 1.1), generator)


def taking(vectors: Vectors) -> joins.Take:
    return lambda positions: vectors[positions]


def brute(vectors: Vectors, min_cosine: float) -> Ints:
    i, j = np.nonzero(vectors @ vectors.T >= min_cosine)
    return np.stack([i, j], axis=1)[i < j]


def keys(pairs: Ints) -> Ints:
    return pairs[:, 0] * 10**6 + pairs[:, 1]


@pytest.mark.parametrize("make", [isotropic, clustered])
@pytest.mark.parametrize("min_cosine", [pytest.param(0.7, marks=pytest.mark.slow), 0.95])
def test_nearly_all_pairs_are_found_and_no_other(make: Callable[..., Vectors], min_cosine: float) -> None:
    """Ten collections of each kind; in the worst one still 98 of 100 are found."""
    for seed in range(10):
        vectors = make(9000, 64, seed)
        found = joins.find_pairs(taking(vectors), len(vectors), min_cosine=min_cosine)
        true = brute(vectors, min_cosine)
        extra = found.positions[~np.isin(keys(found.positions), keys(true))]
        products = np.einsum("ij,ij->i", vectors[found.positions[:, 0]], vectors[found.positions[:, 1]])
        np.testing.assert_allclose(found.cosines, products, atol=1e-6)
        assert len(extra) == 0 or np.abs(found.cosines - min_cosine).min() < 1e-6  # rounding at the very edge
        assert np.isin(keys(true), keys(found.positions)).mean() >= 0.98
        assert found.truncated == 0


def test_a_small_collection_is_compared_whole() -> None:
    vectors = isotropic(600, 32, 0)
    found = joins.find_pairs(taking(vectors), 600, min_cosine=0.7)
    assert np.isin(keys(brute(vectors, 0.7)), keys(found.positions)).mean() >= 0.99
    assert np.array_equal(found.positions, joins.find_pairs(taking(vectors), 600, min_cosine=0.7).positions)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_vectors(count: int) -> None:
    vectors = unit(np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]))[:count]
    found = joins.find_pairs(taking(vectors), count, min_cosine=0.9)
    assert found.positions.tolist() == ([[0, 1]] if count > 1 else [])


def test_fresh_vectors_find_the_pairs_they_are_part_of() -> None:
    vectors = isotropic(12_000, 64, 3)
    cells = joins.fit(taking(vectors), len(vectors), min_cosine=0.7)
    placed = joins.place(taking(vectors), np.arange(len(vectors)), cells)
    fresh = np.arange(11_000, 12_000)
    found = joins.join(taking(vectors), placed, cells, fresh=fresh)
    true = brute(vectors, 0.7)
    true = true[np.isin(true, fresh).any(axis=1)]
    assert np.isin(found.positions, fresh).any(axis=1).all()
    assert np.isin(keys(true), keys(found.positions)).mean() >= 0.98


def test_a_heap_of_equal_vectors_is_cut_and_said() -> None:
    vectors = np.concatenate([np.tile(unit(np.ones((1, 16))), (1500, 1)), isotropic(500, 16, 0)])
    found = joins.find_pairs(taking(vectors), 2000, min_cosine=0.95)
    assert found.truncated > 0
    partners = np.bincount(found.positions.ravel(), minlength=2000)[:1500]
    assert partners.min() >= 1023


def test_recall_is_the_share_of_sampled_pairs_that_were_found() -> None:
    vectors = isotropic(1000, 32, 5)
    found = joins.find_pairs(taking(vectors), 1000, min_cosine=0.7)
    whole = joins.recall(taking(vectors), 1000, found, min_cosine=0.7)
    half = joins.Pairs(found.positions[::2], found.cosines[::2], 0)
    assert whole[1] == len(brute(vectors, 0.7))
    assert joins.recall(taking(vectors), 1000, half, min_cosine=0.7)[0] == pytest.approx(whole[1] / 2, abs=2)


def test_of_too_many_pairs_the_nearest_of_each_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joins, "_MOST_HELD", 3000)
    monkeypatch.setattr(joins, "_MOST_PER_VISIT", 2)
    vectors = clustered(1000, 16, 0)
    found = joins.find_pairs(taking(vectors), 1000, min_cosine=0.5)
    cosines = vectors @ vectors.T - 2 * np.eye(1000)
    nearest = cosines.argmax(axis=1)
    near = np.flatnonzero(cosines.max(axis=1) >= 0.5)
    wanted = np.sort(np.stack([near, nearest[near]], axis=1), axis=1)
    assert found.truncated > 0
    assert np.isin(keys(wanted), keys(found.positions)).mean() >= 0.99


def test_no_more_pairs_are_held_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joins, "_FEWEST_IN_CELLS", 500)
    monkeypatch.setattr(joins, "_SLAB", 8)
    vectors = clustered(1000, 16, 0)
    whole = joins.find_pairs(taking(vectors), 1000, min_cosine=0.5)
    assert whole.truncated == 0
    for most in (len(whole.positions), 10_000, 1000, 100):
        monkeypatch.setattr(joins, "_MOST_HELD", most)
        found = joins.find_pairs(taking(vectors), 1000, min_cosine=0.5)
        assert len(found.positions) <= most
        assert (found.truncated > 0) == (most < len(whole.positions))
        assert len(found.positions) > most / 10  # no more is left out than must be
        assert np.isin(keys(found.positions), keys(whole.positions)).all()
        again = joins.find_pairs(taking(vectors), 1000, min_cosine=0.5)
        assert np.array_equal(found.positions, again.positions)
    assert found.cosines.mean() > whole.cosines.mean() + 0.1  # the nearest stay
