"""Choosing images that differ from each other. Ties go to the smaller position."""

from dataclasses import dataclass

import numpy as np

from store.arrays import Floats, Ints, Vectors

_TYPICAL_NEIGHBOURS = 20


@dataclass(frozen=True)
class Clusters:
    """A partition of the pool."""

    of_each: Ints  # (N,) cluster number
    sizes: Ints  # (K,)


def partition(directions: Vectors, k: int, *, seed: int) -> Clusters:
    """k-means over unit vectors `(N, D)`; never an empty cluster, so perhaps fewer than `k` where vectors repeat."""
    from sklearn.cluster import KMeans

    distinct = len(np.unique(directions, axis=0)) if k > 1 else 1
    fitted = KMeans(n_clusters=min(k, distinct), n_init=1, random_state=seed).fit(directions)
    _, of_each = np.unique(fitted.labels_, return_inverse=True)
    return Clusters(of_each.astype(np.int64), np.bincount(of_each).astype(np.int64))


def typicality(directions: Vectors, clusters: Clusters) -> Floats:
    """Mean cosine to the nearest members of the same cluster (20 at most): `(N,)`, high where it is dense.

    Hacohen, Dekel & Weinshall 2022 (TypiClust, arXiv 2202.02794), with cosine for inverse distance.
    """
    result = np.zeros(len(directions))
    for cluster in range(len(clusters.sizes)):
        members = np.flatnonzero(clusters.of_each == cluster)
        cosines = directions[members] @ directions[members].T
        np.fill_diagonal(cosines, -np.inf)
        nearest = min(_TYPICAL_NEIGHBOURS, len(members) - 1)
        if nearest > 0:
            result[members] = np.partition(cosines, -nearest, axis=1)[:, -nearest:].mean(axis=1)
    return result


def best_of_each(clusters: Clusters, scores: Floats, k: int, *, avoid: Ints) -> Ints:
    """`k` positions: from each cluster its best score, clusters taken in turn, the least covered and largest first.

    Args:
        clusters: Over `N` positions.
        scores: `(N,)`.
        k: At most `N`.
        avoid: For each cluster how much of it is covered already `(K,)`; such clusters come later.
    """
    queues = [
        sorted(np.flatnonzero(clusters.of_each == cluster).tolist(), key=lambda i: (-scores[i], i))
        for cluster in range(len(clusters.sizes))
    ]
    order = sorted(
        (cluster for cluster, queue in enumerate(queues) if queue),
        key=lambda cluster: (avoid[cluster], -clusters.sizes[cluster], queues[cluster][0]),
    )
    chosen: list[int] = []
    for turn in range(max(map(len, queues), default=0)):
        chosen += [queues[cluster][turn] for cluster in order if turn < len(queues[cluster])]
    return np.array(chosen[:k], dtype=np.int64)
