"""DropQuery: candidates whose class changes when features are dropped, one from each region."""

import numpy as np

from sampling import k_means
from store.arrays import Floats, Ints, Vectors

_INCONSISTENT = 0.5


def choose(candidates: Vectors, changed: Floats, k: int, *, seed: int) -> Ints:
    """The nearest candidate to each of `k` cluster centres among those that change in more than half of the passes.

    Args:
        candidates: Unit vectors `(N, D)`.
        changed: Share of passes with another class `(N,)`, see `scores.dropout_consistency`. If fewer than `k` exceed
            half, the `k` highest are taken.
        k: At most `N`.
        seed: Of k-means.

    Gupte et al. 2024 (DropQuery, arXiv 2401.14555).
    """
    wanted = max(k, int((changed > _INCONSISTENT).sum()))
    among = np.sort(np.argsort(-changed, kind="stable")[:wanted])
    clusters = k_means.partition(candidates[among], k, seed=seed)
    sizes = np.bincount(clusters.of_each)
    return np.asarray(among[k_means.best_of_each(clusters, clusters.cosines, k, order=sizes)])
