"""How far annotators agree with each other, whatever the truth may be."""

import numpy as np

from store.arrays import Ints


def krippendorff_alpha(counts: Ints) -> float | None:
    """Krippendorff's α for nominal answers: 1 is full agreement, 0 what chance would give.

    K. Krippendorff, Computing Krippendorff's Alpha-Reliability (2011). Items may have any number of
    answers; those with fewer than two say nothing about agreement and are left out.

    Args:
        counts: `(N, C)` int64, how many annotators gave item n the answer c.

    Returns:
        α, at most 1; `None` where it is undefined: no item has two answers, or all answers are the same.
    """
    counts = _comparable(counts)
    per_item = counts.sum(axis=1)
    total = per_item.sum()
    disagreeing_pairs = per_item**2 - (counts**2).sum(axis=1)
    observed = (disagreeing_pairs / (per_item - 1)).sum()
    expected = (total**2 - (counts.sum(axis=0) ** 2).sum()) / max(total - 1, 1)
    return None if expected == 0 else float(1 - observed / expected)


def raw_agreement(counts: Ints) -> float | None:
    """The share of pairs of answers to one item that agree, averaged over items; 0 to 1.

    Args:
        counts: `(N, C)` int64, as for `krippendorff_alpha`.

    Returns:
        `None` when no item has two answers.
    """
    counts = _comparable(counts)
    if len(counts) == 0:
        return None
    per_item = counts.sum(axis=1)
    agreeing_pairs = (counts * (counts - 1)).sum(axis=1)
    return float(np.mean(agreeing_pairs / (per_item * (per_item - 1))))


def _comparable(counts: Ints) -> Ints:
    comparable: Ints = counts[counts.sum(axis=1) >= 2]
    return comparable
