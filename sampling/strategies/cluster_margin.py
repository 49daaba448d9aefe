"""Cluster-Margin: the most uncertain candidate of each region among the most uncertain ones."""

import numpy as np

from sampling import k_means
from store.arrays import Floats, Ints, Vectors


def choose(candidates: Vectors, uncertainty: Floats, k: int, *, factor: int = 10, seed: int) -> Ints:
    """From each of `k` clusters of the `factor * k` most uncertain candidates the most uncertain, large clusters first.

    Equal uncertainties go to the smaller position, clusters of one size to that of their picks.

    Citovsky et al. 2021 (Cluster-Margin, arXiv 2107.14263), with k-means.
    """
    top = np.sort(np.argsort(-uncertainty, kind="stable")[: factor * k])
    clusters = k_means.partition(candidates[top], k, seed=seed)
    sizes = np.bincount(clusters.of_each)
    return np.asarray(top[k_means.best_of_each(clusters, uncertainty[top], k, order=sizes)])
