"""MaxHerding: candidates that stand for the pool, by a smooth kernel of the distance."""

import numpy as np

from sampling.strategies import uherding
from store.arrays import Ints, Vectors


def choose(candidates: Vectors, k: int, *, labelled: Vectors, radius: float = 1.0, seed: int) -> Ints:
    """Greedily the most of Σ over the pool of `exp(-(distance / radius)²)` to the nearest labelled or chosen vector.

    A pool larger than 8192 and `2 k` is represented by so many of it, drawn with the seed. Ties are those
    of `lazy.cover`.

    Bae, Noh & Sutherland 2024 (Generalized Coverage, arXiv 2407.12212).
    """
    everyone = np.ones(len(candidates))
    return uherding.choose(candidates, everyone, k, labelled=labelled, radius=radius, seed=seed)
