"""Batches after which a linear head would be surest of everything it is now unsure of."""

import numpy as np

from store.arrays import Floats, Ints, Vectors

_SHORTLIST = 1024  # candidates looked at between two looks at all
_AT_ONCE = 32  # picks between them


def least_variance(
    features: Vectors, doubts: Floats, *, labelled: Ints, candidates: Ints, k: int, penalty: float
) -> Ints:
    """`k` of `candidates` in order of choosing, ties to the smaller place in `candidates`.

    Greedy V-optimal design: each pick lowers most the variance of the head's outputs, summed over all images as the
    head doubts them; what was labelled or picked before makes its surroundings sure. The Fisher information of one
    image is taken for `doubts` times the outer product of its features, as if classes shared it (compare BAIT, Ash et
    al. 2021, arXiv 2106.09675, which keeps a block per class and looks one pick ahead).

    Args:
        features: `(N, d)` of everything, labelled or not.
        doubts: `(N,)`, 0 where the head is certain; for probabilities p it is 1 - Σ p².
        labelled: Positions whose labels are known.
        candidates: Positions to choose from, none of them labelled.
        k: At most as many as there are candidates.
        penalty: The head's ridge on each of `d` weights, which says how sure it is without any label.
    """
    x = np.asarray(features, dtype=np.float64)
    information = penalty * np.eye(x.shape[1]) + (x[labelled].T * doubts[labelled]) @ x[labelled]
    wanted = (x.T * doubts) @ x
    left = np.asarray(candidates)
    chosen: list[int] = []
    while len(chosen) < k:
        covariance = np.linalg.inv(information)
        short = _best(_gains(x[left], doubts[left], covariance, wanted), _SHORTLIST)
        picks = _greedy(x[left[short]], doubts[left[short]], covariance, wanted, min(_AT_ONCE, k - len(chosen)))
        found = left[short[picks]]
        chosen += found.tolist()
        information += (x[found].T * doubts[found]) @ x[found]
        left = np.delete(left, short[picks])
    return np.array(chosen, dtype=np.int64)


def _gains(x: Floats, doubts: Floats, covariance: Floats, wanted: Floats) -> Floats:
    """How much one more label of each would lower the variance: (w aᵀ W a) / (1 + w xᵀ a) with a = covariance x."""
    moved = x @ covariance
    spread = np.einsum("ij,ij->i", moved @ wanted, moved)
    return np.asarray(doubts * spread / (1 + doubts * np.einsum("ij,ij->i", moved, x)))


def _greedy(x: Floats, doubts: Floats, covariance: Floats, wanted: Floats, k: int) -> list[int]:
    """Places of `k` rows, each the best after those before it (Sherman and Morrison's update of the covariance)."""
    taken = np.zeros(len(x), dtype=np.bool_)
    picks: list[int] = []
    for _ in range(min(k, len(x))):
        best = int(np.where(taken, -1, _gains(x, doubts, covariance, wanted)).argmax())
        picks.append(best)
        taken[best] = True
        moved = covariance @ x[best]
        covariance = covariance - np.outer(moved, moved) * doubts[best] / (1 + doubts[best] * (x[best] @ moved))
    return picks


def _best(gains: Floats, count: int) -> Ints:
    """Places of the largest gains, ascending; ties to the smaller."""
    order = np.lexsort((np.arange(len(gains)), -gains))
    return np.sort(order[:count])
