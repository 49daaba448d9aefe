"""Weighted k-means: centres drawn to where the model is uncertain, and the candidate nearest to each."""

import numpy as np

from sampling import k_means
from store.arrays import Floats, Ints, Vectors


def choose(candidates: Vectors, uncertainty: Floats, k: int, *, seed: int) -> Ints:
    """The candidate nearest to each of `k` centres weighted by uncertainty `(N,)` from 0, the heaviest cluster first.

    Repeated vectors may leave fewer clusters; the next nearest follow then, clusters in turn.
    Cosines to a centre that are equal in 6 digits go to the smaller position, clusters of one weight to that of their
    picks.

    After Ash et al. 2020 (BADGE, arXiv 1906.03671), with embeddings for gradients.
    """
    clusters = k_means.partition(candidates, k, weights=uncertainty, seed=seed)
    mass = np.bincount(clusters.of_each, uncertainty).astype(np.float64)
    return k_means.best_of_each(clusters, clusters.cosines, k, order=mass)
