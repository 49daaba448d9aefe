"""What a linear head sees of embeddings: principal components, and the same averaged over neighbours.

Choices amplify rounding: one bit in a vector sends k-means elsewhere. So what is multiplied here lies on a grid so
coarse that products add up exactly in any order, whatever the processor and its number of threads.
"""

from collections.abc import Iterator

import numpy as np

from curation.joins import Take, unit
from store.arrays import Floats, Ints, Vectors, positions_of_each

COMPONENTS = 192
_NEIGHBOURS = 10
_OWN = 0.5  # the weight of an image beside its neighbours
_SAMPLE = 50_000  # vectors that the components and the cells are computed from
_EXACT_UP_TO = 20_000  # vectors among which neighbours are exact; beyond, they are those of the same cell
_IN_CELL = 2000
_MOST_IN_CELL = 1 << 14  # of look-alikes more fall into one cell, and each is compared with all of it
_ROWS = 1024
_GRID = 2.0**-11  # of unit vectors: their cosines are whole multiples of 2^-22, which 24 bits hold
_AXES_GRID = 2.0**-12
_NOTHING = 1e-6  # of the largest variance; what is below it is the rounding to the grid
_TIE = 2.0**-38  # for each position by which an equal cosine comes later: together less than 2^-22


def principal(take: Take, count: int, *, seed: int = 0) -> Vectors:
    """Unit vectors 0 … `count` - 1 on their first principal components, as unit vectors `(N, d)`, d at most 192.

    Cosines are kept to about 0.001, and fewer axes if the others hold nothing. The same images in another order, of
    which there are at most 50,000, give the same vectors to the bit.
    """
    sample = np.sort(np.random.default_rng(seed).permutation(count)[:_SAMPLE])
    variances, axes = np.linalg.eigh(_products(take, sample))
    kept = max(1, int((variances > _NOTHING * variances[-1]).sum()))
    axes = _on_grid(axes[:, ::-1][:, : min(kept, COMPONENTS)], _AXES_GRID)
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    result = np.empty((count, axes.shape[1]), dtype=np.float32)
    for start in range(0, count, _ROWS):
        rows = np.arange(start, min(start + _ROWS, count))
        result[rows] = unit(_on_grid(take(rows), _GRID) @ axes)
    return result


def smoothed(features: Vectors, *, seed: int = 0) -> Vectors:
    """Each unit vector `(N, d)` averaged with its nearest neighbours, labelled or not.

    A head learns more from few labels where images stand for their surroundings: one step of a simple graph
    convolution (Wu et al. 2019, arXiv 1902.07153) on the neighbours' graph.
    """
    result = np.empty_like(features)
    for members in _cells(features, seed=seed):
        inside = features[members]
        gridded, later = _on_grid(inside, _GRID), _TIE * np.arange(len(members))
        near = min(_NEIGHBOURS, len(members) - 1)
        if near == 0:
            result[members] = inside
            continue
        for start in range(0, len(members), _ROWS):
            rows = slice(start, start + _ROWS)
            cosines = gridded[rows] @ gridded.T
            cosines[np.arange(len(cosines)), start + np.arange(len(cosines))] = -np.inf
            nearest = _first(later - cosines, near)
            weights = np.take_along_axis(cosines, nearest, axis=1).clip(min=0)
            weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
            around = np.einsum("ij,ijk->ik", weights, inside[nearest])
            result[members[rows]] = unit(_OWN * inside[rows] + (1 - _OWN) * around)
    return result


def _first(keys: Floats, count: int) -> Ints:
    """The places of the smallest of each row, in order, so that what is added up is so in the same order for copies."""
    among = np.argpartition(keys, count - 1, axis=1)[:, :count]
    order = np.take_along_axis(keys, among, axis=1).argsort(axis=1)
    places: Ints = np.take_along_axis(among, order, axis=1)
    return places


def _products(take: Take, positions: Ints) -> Floats:
    """Σ of the outer products `(D, D)` of vectors on the grid, exact."""
    dimensions = take(positions[:0]).shape[1]
    total = np.zeros((dimensions, dimensions))
    for start in range(0, len(positions), _ROWS):
        wide = _on_grid(take(positions[start : start + _ROWS]), _GRID).astype(np.float64)
        total += wide.T @ wide
    return total


def _on_grid(values: Floats, step: float) -> Vectors:
    rounded: Vectors = (np.rint(values / step) * step).astype(np.float32)
    return rounded


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
    for members in positions_of_each(homes[:, 0]):
        yield from np.array_split(members, -(-len(members) // _MOST_IN_CELL))
