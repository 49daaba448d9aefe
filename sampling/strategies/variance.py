"""Batches after which a linear head would be surest of everything it is now unsure of."""

import numpy as np

from store.arrays import Floats, Ints, Vectors

_SHORTLIST = 1024  # candidates looked at between two looks at all
_AT_ONCE = 32  # picks between them
_MOST = 20_000  # candidates that stay in the running or, of many picks, so many for each:
_PER_PICK = 8
_ROWS = 1 << 14


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
    information = penalty * np.eye(features.shape[1]) + _products(features, doubts, labelled)
    wanted = _products(features, doubts, np.arange(len(features)))
    left = np.asarray(candidates)
    chosen: list[int] = []
    while len(chosen) < k:
        covariance = np.linalg.inv(information)
        gains = _gains(features, doubts, left, covariance, wanted)
        if len(left) > max(_MOST, _PER_PICK * k):
            some = _best(gains, max(_MOST, _PER_PICK * k))
            left, gains = left[some], gains[some]
        short = _best(gains, _SHORTLIST)
        at_once = min(_AT_ONCE, k - len(chosen))
        picks = _greedy(features[left[short]], doubts[left[short]], covariance, wanted, k=at_once)
        found = left[short[picks]]
        chosen += found.tolist()
        information += _products(features, doubts, found)
        left = np.delete(left, short[picks])
    return np.array(chosen, dtype=np.int64)


def _products(features: Vectors, doubts: Floats, rows: Ints) -> Floats:
    """Σ doubt × outer product `(d, d)` over some rows."""
    total = np.zeros((features.shape[1], features.shape[1]))
    for start in range(0, len(rows), _ROWS):
        x = features[rows[start : start + _ROWS]].astype(np.float64)
        total += (x.T * doubts[rows[start : start + _ROWS]]) @ x
    return total


def _gains(features: Vectors, doubts: Floats, rows: Ints, covariance: Floats, wanted: Floats) -> Floats:
    """How much one more label of each would lower the variance: (w aᵀ W a) / (1 + w xᵀ a) with a = covariance x."""
    gains = np.empty(len(rows))
    for start in range(0, len(rows), _ROWS):
        some = rows[start : start + _ROWS]
        x = features[some].astype(np.float64)
        moved = x @ covariance
        spread = np.einsum("ij,ij->i", moved @ wanted, moved)
        gains[start : start + _ROWS] = doubts[some] * spread / (1 + doubts[some] * np.einsum("ij,ij->i", moved, x))
    return gains


def _greedy(features: Vectors, doubts: Floats, covariance: Floats, wanted: Floats, *, k: int) -> list[int]:
    """Places of `k` rows, each the best after those before it (Sherman and Morrison's update of what each knows)."""
    x = features.astype(np.float64)
    moved = x @ covariance
    spread, leverage = np.einsum("ij,ij->i", moved @ wanted, moved), np.einsum("ij,ij->i", moved, x)
    taken = np.zeros(len(x), dtype=np.bool_)
    picks: list[int] = []
    for _ in range(min(k, len(x))):
        best = int(np.where(taken, -1, doubts * spread / (1 + doubts * leverage)).argmax())
        picks.append(best)
        taken[best] = True
        towards = moved[best].copy()
        share = doubts[best] / (1 + doubts[best] * leverage[best]) * (x @ towards)
        pulled = wanted @ towards
        spread = spread - 2 * share * (moved @ pulled) + share**2 * (towards @ pulled)
        leverage = leverage - share * (x @ towards)
        moved -= np.outer(share, towards)
    return picks


def _best(gains: Floats, count: int) -> Ints:
    """Places of the largest gains, ascending; ties to the smaller."""
    order = np.lexsort((np.arange(len(gains)), -gains))
    return np.sort(order[:count])
