"""Facility location: candidates that stand for the pool, by cosine."""

import numpy as np

from sampling import geometry, lazy
from store.arrays import Ints, Vectors

REFERENCES = 8192  # candidates that stand for all of them at least, twice as many as are chosen if that is more


def choose(candidates: Vectors, k: int, *, labelled: Vectors, seed: int) -> Ints:
    """Greedily the most of Σ over the pool of the cosine (at least 0) to the nearest of labelled and chosen vectors.

    A pool larger than 8192 and `2 k` is represented by so many of it, drawn with the seed. Ties are those
    of `lazy.cover`.

    Wei, Iyer & Bilmes 2015 (submodularity in active learning, ICML).
    """
    chosen = references(len(candidates), k, seed=seed)
    there = candidates[chosen].astype(np.float64)
    return lazy.cover(
        lambda block: np.maximum(candidates[block].astype(np.float64) @ there.T, 0),
        len(candidates),
        min(k, len(candidates)),
        weights=np.ones(len(there)),
        covered=np.maximum(geometry.nearest_cosines(there, labelled), 0),
    )


def references(count: int, k: int, *, seed: int) -> Ints:
    """Positions of candidates that stand for all, ascending."""
    drawn = np.random.default_rng(seed).permutation(count)[: max(REFERENCES, 2 * k)]
    return np.sort(drawn)
