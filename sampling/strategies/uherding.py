"""UHerding: candidates that stand for what is uncertain, by a smooth kernel of the distance."""

import numpy as np

from sampling import geometry, lazy
from sampling.strategies.facility_location import references
from store.arrays import Floats, Ints, Vectors

_LEAST_RADIUS = 0.05  # copies among what is labelled say nothing about how far a label reaches


def choose(
    candidates: Vectors, uncertainty: Floats, k: int, *, labelled: Vectors, radius: float | None = None, seed: int
) -> Ints:
    """Greedily the most of Σ over the pool of uncertainty × `exp(-(distance / radius)²)` to the nearest chosen vector.

    Labelled vectors `(L, D)` count as chosen. A pool larger than 8192 and `2 k` is represented by so many of it, drawn
    with the seed. Ties are those of `lazy.cover`.

    Args:
        candidates: Unit vectors `(N, D)`.
        uncertainty: Of each `(N,)`, from 0, calibrated.
        k: At most `N`.
        labelled: Unit vectors `(L, D)`.
        radius: A distance up to 2; unless told, see `reach`.
        seed: Of the draw.

    Bae, Oliveira, Sutherland & Noh 2024 (Uncertainty Herding, arXiv 2412.20644).
    """
    chosen = references(len(candidates), k, seed=seed)
    there = candidates[chosen].astype(np.float64)
    scale = (reach(labelled) if radius is None else radius) ** 2 / 2

    def kernel(cosines: Floats) -> Floats:
        cosines -= 1
        cosines /= scale
        similarity: Floats = np.exp(cosines, out=cosines)
        return similarity

    return lazy.cover(
        lambda block: kernel(candidates[block].astype(np.float64) @ there.T),
        len(candidates),
        min(k, len(candidates)),
        weights=uncertainty[chosen].astype(np.float64),
        covered=kernel(geometry.nearest_cosines(there, labelled)) * (len(labelled) > 0),
    )


def reach(labelled: Vectors) -> float:
    """How far a label reaches: the smallest distance between two labelled vectors, from 0.05; 1 for fewer than two.

    The more is labelled, the shorter, so that coverage gives way to uncertainty.
    """
    if len(labelled) < 2:
        return 1.0
    nearest = geometry.density(labelled.astype(np.float64), neighbours=1).max()
    return float(np.clip(np.sqrt(max(2 - 2 * nearest, 0)), _LEAST_RADIUS, 1))
