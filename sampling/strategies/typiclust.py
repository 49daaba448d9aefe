"""TypiClust: the most typical candidate of each region where nothing is labelled."""

import numpy as np

from sampling import geometry, k_means
from store.arrays import Floats, Ints, Vectors, positions_of_each


def choose(candidates: Vectors, k: int, *, labelled: Vectors, seed: int) -> Ints:
    """The densest candidate of each cluster of candidates and labelled vectors `(L, D)` together.

    There are `L + k` clusters; those that hold fewer labelled ones come first, then the larger. Densities are within a
    cluster; those that are equal in 6 digits go to the smaller position, and so do clusters that are alike.

    Hacohen, Dekel & Weinshall 2022 (TypiClust, arXiv 2202.02794).
    """
    together = np.concatenate([candidates, labelled])
    of_all = k_means.partition(together, len(labelled) + k, seed=seed)
    count = len(candidates)
    covered = np.bincount(of_all.of_each[count:], minlength=int(of_all.of_each.max(initial=0)) + 1)
    numbers, of_each = np.unique(of_all.of_each[:count], return_inverse=True)
    clusters = k_means.Clusters(of_each.astype(np.int64), of_all.cosines[:count])
    sizes = np.bincount(of_each)
    order = -covered[numbers] + sizes / (count + 1)
    return k_means.best_of_each(clusters, _typicality(candidates, clusters, seed), k, order=order)


def _typicality(candidates: Vectors, clusters: k_means.Clusters, seed: int) -> Floats:
    result = np.empty(len(candidates))
    for members in positions_of_each(clusters.of_each):
        result[members] = geometry.density(candidates[members].astype(np.float64), seed=seed).round(6)
    return result
