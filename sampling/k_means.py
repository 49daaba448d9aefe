"""k-means of unit vectors, of a size that scikit-learn does well or far beyond it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from store.arrays import Floats, Ints, Vectors

_MOST_FOR_SKLEARN = 20_000  # vectors, of as many clusters as
_WORK_FOR_SKLEARN = 5_000_000  # vectors times clusters allow
_SPLIT_FROM = 256  # centres beyond which a large collection is divided before its parts are
_TRAINING = 64  # vectors per centre that FAISS sees, in so many rounds:
_ROUNDS = 10
_ROWS = 1 << 16  # vectors assigned at once


@dataclass(frozen=True)
class Clusters:
    """A partition; clusters are numbered without gaps and none is empty."""

    of_each: Ints  # (N,)
    cosines: Vectors  # (N,) to the cluster's centre


def partition(vectors: Vectors, k: int, *, weights: Floats | None = None, seed: int) -> Clusters:
    """`k` clusters or a few more or fewer of unit vectors `(N, D)`, drawn to high `weights` `(N,)`, which are from 0.

    What weighs nothing moves no centre, unless nothing weighs anything. Up to 20,000 vectors by scikit-learn, in double
    precision: rounding decides less there, and it is faster than in single. Beyond, FAISS sees 64 vectors per centre;
    many centres are made in two steps: √k cells first, then in each its share of `k`, in proportion to its weight.
    """
    if weights is None or not weights.any():
        weights = np.ones(len(vectors))
    k = min(k, len(vectors))
    if len(vectors) > _MOST_FOR_SKLEARN and k > _SPLIT_FROM:
        of_each = _in_two_steps(vectors, k, weights, seed)
    elif len(vectors):
        of_each = _flat(vectors, k, weights, seed)
    else:
        of_each = np.empty(0, dtype=np.int64)
    _, of_each = np.unique(of_each, return_inverse=True)
    return Clusters(of_each.astype(np.int64), _cosines(vectors, of_each, weights))


def best_of_each(clusters: Clusters, scores: Floats, k: int, *, order: Floats | Ints) -> Ints:
    """`k` positions, at most `N`: from each cluster its best score, clusters taken in turn until there are enough.

    Args:
        clusters: Over `N` positions.
        scores: `(N,)`.
        k: At most `N`.
        order: Of each cluster `(K,)`; the highest comes first, among equals the one with the smaller best position.
    """
    positions = np.lexsort((-scores, clusters.of_each))  # stable: among equals the smaller position
    owners = clusters.of_each[positions]
    starts = np.searchsorted(owners, np.arange(len(order)))
    turn = np.arange(len(positions)) - starts[owners]
    best = positions[starts]
    chosen = np.lexsort((best[owners], -order[owners].astype(np.float64), turn))[:k]
    return np.asarray(positions[chosen], dtype=np.int64)


def _flat(vectors: Vectors, k: int, weights: Floats, seed: int) -> Ints:
    if k <= 1:
        return np.zeros(len(vectors), dtype=np.int64)
    if len(vectors) <= _MOST_FOR_SKLEARN and len(vectors) * k <= _WORK_FOR_SKLEARN:
        from sklearn.cluster import KMeans

        wide, heavy = vectors.astype(np.float64), weights > 0
        centres = min(k, len(np.unique(vectors[heavy], axis=0)))
        fitted = KMeans(centres, n_init=1, random_state=seed).fit(wide[heavy], sample_weight=weights[heavy])
        return np.asarray(fitted.predict(wide), dtype=np.int64)
    return _by_faiss(vectors, k, weights, seed)


def _in_two_steps(vectors: Vectors, k: int, weights: Floats, seed: int) -> Ints:
    cells = _by_faiss(vectors, int(k**0.5), weights, seed)
    sizes = np.bincount(cells)
    shares = _shares(np.bincount(cells, weights).astype(np.float64), k, sizes)
    members = np.split(np.argsort(cells, kind="stable"), np.cumsum(sizes)[:-1])
    of_each = np.empty(len(vectors), dtype=np.int64)
    for first, share, inside in zip(np.cumsum(shares) - shares, shares, members, strict=True):
        if len(inside):
            of_each[inside] = first + _by_faiss(vectors[inside], max(int(share), 1), weights[inside], seed)
    return of_each


def _shares(masses: Floats, k: int, sizes: Ints) -> Ints:
    """`k` in proportion to masses, at least one for each cell with members and at most its size."""
    wanted = np.clip(masses / masses.sum() * k, np.minimum(sizes, 1), sizes)
    edges = np.rint(np.cumsum(wanted) * k / wanted.sum()).astype(np.int64)
    shares: Ints = np.clip(np.diff(edges, prepend=0), np.minimum(sizes, 1), sizes)
    return shares


def _by_faiss(vectors: Vectors, k: int, weights: Floats, seed: int) -> Ints:
    import faiss

    if k <= 1:
        return np.zeros(len(vectors), dtype=np.int64)
    drawn = np.sort(np.random.default_rng(seed).permutation(len(vectors))[: _TRAINING * k])
    seen = drawn[weights[drawn] > 0]
    if len(seen) < k:  # too few of any weight to be centres
        seen = drawn
    training: Any = faiss.Kmeans(
        vectors.shape[1],
        k,
        niter=_ROUNDS,
        spherical=True,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=_TRAINING,
    )
    training.train(vectors[seen], weights=np.maximum(weights[seen], 1e-9).astype(np.float32))
    parts = [
        training.index.search(vectors[start : start + _ROWS], 1)[1][:, 0] for start in range(0, len(vectors), _ROWS)
    ]
    return np.asarray(np.concatenate(parts), dtype=np.int64)


def _cosines(vectors: Vectors, of_each: Ints, weights: Floats) -> Vectors:
    """Of each vector to the weighted mean of its cluster."""
    from scipy.sparse import csr_array

    count = int(of_each.max(initial=-1)) + 1
    heavy = np.where(np.bincount(of_each, weights, count)[of_each] > 0, weights, 1).astype(np.float32)
    membership = csr_array((heavy, (of_each, np.arange(len(vectors)))), shape=(count, len(vectors)))
    centres = membership @ vectors
    centres /= np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-12)
    cosines = np.empty(len(vectors), dtype=np.float32)
    for start in range(0, len(vectors), _ROWS):
        part = slice(start, start + _ROWS)
        cosines[part] = np.einsum("nd,nd->n", vectors[part], centres[of_each[part]])
    return cosines.round(6)
