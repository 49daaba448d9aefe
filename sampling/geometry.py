"""Where unit vectors lie, from -1 or 0 up by cosines: near what is labelled, in a crowd, or apart. All in blocks."""

import numpy as np

from store.arrays import Floats, Ints, Vectors

_ROWS = 4096  # vectors compared at once, with as many others
_NEIGHBOURS = 20
_MOST_COMPARED = 20_000  # others that stand for a larger pool


def nearest_cosines(vectors: Floats, others: Vectors) -> Floats:
    """The cosine of each vector `(N, D)` to the nearest of `others` `(M, D)`: `(N,)`, -1 where there is none.

    In the precision of `vectors`.
    """
    nearest: Floats = np.full(len(vectors), -1, dtype=vectors.dtype)
    for start in range(0, len(vectors), _ROWS):
        part = nearest[start : start + _ROWS]
        for first in range(0, len(others), _ROWS):
            cosines = vectors[start : start + _ROWS] @ others[first : first + _ROWS].T
            np.maximum(part, cosines.max(axis=1), out=part)
    return nearest


def novelty(vectors: Vectors, labelled: Vectors) -> Vectors:
    """Distance, one minus the cosine, to the nearest of `labelled` `(L, D)`: `(N, D)` to `(N,)`, 2 where none is."""
    distances: Vectors = 1 - nearest_cosines(vectors, labelled)
    return distances


def density(vectors: Floats, *, neighbours: int = _NEIGHBOURS, seed: int = 0) -> Floats:
    """Mean cosine to the nearest others (20): `(N, D)` to `(N,)`, high where it is crowded, 0 for one alone.

    Beyond 20,000 vectors, so many drawn with the seed stand for all, and fewer neighbours for 20 in proportion. In the
    precision of `vectors`.

    Hacohen, Dekel & Weinshall 2022 (TypiClust, arXiv 2202.02794), with the cosine for the inverse distance.
    """
    drawn = np.sort(np.random.default_rng(seed).permutation(len(vectors))[:_MOST_COMPARED])
    near = max(1, round(neighbours * len(drawn) / max(len(vectors), 1)))
    near = min(near, len(vectors) - 1)
    if near < 1:
        return np.zeros(len(vectors))
    others = vectors[drawn]
    result = np.empty(len(vectors))
    rows = max(1, _ROWS * _ROWS // len(others))
    for start in range(0, len(vectors), rows):
        cosines = vectors[start : start + rows] @ others.T
        _forget_themselves(cosines, drawn, start)
        cosines.partition(len(others) - near, axis=1)
        result[start : start + rows] = cosines[:, -near:].mean(axis=1)
    return result


def outlierness(vectors: Vectors, *, neighbours: int = _NEIGHBOURS, seed: int = 0) -> Floats:
    """Share of vectors that lie in denser places: `(N, D)` to `(N,)`, from 0 for the densest to 1 for the loneliest."""
    densities = density(vectors, neighbours=neighbours, seed=seed)
    denser = len(densities) - np.searchsorted(np.sort(densities), densities, side="right")
    shares: Floats = denser / max(len(densities) - 1, 1)
    return shares


def _forget_themselves(cosines: Floats, drawn: Ints, start: int) -> None:
    first, last = np.searchsorted(drawn, [start, start + len(cosines)])
    cosines[drawn[first:last] - start, np.arange(first, last)] = -1
