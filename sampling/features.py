"""What a linear head sees of embeddings: principal components, and the same averaged over neighbours."""

from collections.abc import Iterator

import numpy as np

from curation.joins import Take, unit
from store.arrays import Ints, Vectors

COMPONENTS = 192
_NEIGHBOURS = 10
_OWN = 0.5  # the weight of an image beside its neighbours
_SAMPLE = 50_000  # vectors that the components and the cells are computed from
_EXACT_UP_TO = 20_000  # vectors among which neighbours are exact; beyond, they are those of the same cell
_IN_CELL = 2000
_ROWS = 1024


def principal(take: Take, count: int, *, seed: int = 0) -> Vectors:
    """Unit vectors 0 … `count` - 1 on their first principal components, as unit vectors `(N, d)`, d at most 192."""
    sample = take(np.sort(np.random.default_rng(seed).permutation(count)[:_SAMPLE]))
    _, axes = np.linalg.eigh(np.asarray(sample.T @ sample, dtype=np.float64))
    axes = axes[:, ::-1][:, :COMPONENTS]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])  # the same on any machine
    result = np.empty((count, axes.shape[1]), dtype=np.float32)
    for start in range(0, count, _ROWS):
        rows = np.arange(start, min(start + _ROWS, count))
        result[rows] = unit(take(rows) @ axes.astype(np.float32))
    return result


def smoothed(features: Vectors, *, seed: int = 0) -> Vectors:
    """Each unit vector `(N, d)` averaged with its nearest neighbours, labelled or not.

    A head learns more from few labels where images stand for their surroundings: one step of a simple graph
    convolution (Wu et al. 2019, arXiv 1902.07153) on the neighbours' graph.
    """
    result = np.empty_like(features)
    for members in _cells(features, seed=seed):
        inside = features[members]
        near = min(_NEIGHBOURS, len(members) - 1)
        if near == 0:
            result[members] = inside
            continue
        for start in range(0, len(members), _ROWS):
            rows = slice(start, start + _ROWS)
            cosines = inside[rows] @ inside.T
            cosines[np.arange(len(cosines)), start + np.arange(len(cosines))] = -np.inf
            nearest = np.argpartition(-cosines, near - 1, axis=1)[:, :near]
            weights = np.take_along_axis(cosines, nearest, axis=1).clip(min=0)
            weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
            around = np.einsum("ij,ijk->ik", weights, inside[nearest])
            result[members[rows]] = unit(_OWN * inside[rows] + (1 - _OWN) * around)
    return result


def _cells(features: Vectors, *, seed: int) -> Iterator[Ints]:
    """Positions in which neighbours are looked for: all, or of many the members of each k-means cell."""
    if len(features) <= _EXACT_UP_TO:
        yield np.arange(len(features))
        return
    import faiss

    count = len(features) // _IN_CELL
    kmeans = faiss.Kmeans(features.shape[1], count, niter=6, spherical=True, seed=seed + 1, max_points_per_centroid=64)
    kmeans.train(features)
    _, homes = kmeans.index.search(features, 1)
    order = np.argsort(homes[:, 0], kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(homes[order, 0])) + 1)
