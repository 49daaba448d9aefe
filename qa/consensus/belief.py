"""What every algorithm returns, and the steps they share."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from store.arrays import Bools, Floats, Ints

# What is believed of an annotator before their first answer: as if eight of ten had been right.
PRIOR_RIGHT = 8.0
PRIOR_WRONG = 2.0

_CREDIBLE = 0.95
_STRONG = 0.2  # of somebody's strongest tie, in shared items: what also tells of them
_EQUAL = 1e-9  # relative difference of two chances that are the same
_BLOCK = 4096  # rows that stay in the processor's cache


@dataclass(frozen=True)
class Consensus:
    """The truth and the annotators, as far as the answers tell."""

    posteriors: Floats  # (N, C) float64, each row sums to 1
    accuracy: Floats  # (A,) float64, the chance that an annotator's answer is right
    interval: Floats  # (A, 2) float64, its 95 % credible interval, as if the posteriors were certain
    answers: Ints  # (A,) int64, how many answers it rests on


def of(posteriors: Floats, answers: Ints, *, annotators: int) -> Consensus:
    """Posteriors `(N, C)` together with how good they make the annotators look."""
    right, wrong = judged(answers, posteriors, annotators)
    given = np.bincount(answers[:, 1], minlength=annotators)
    return Consensus(posteriors, right / (right + wrong), _interval(right, wrong), given)


def counts(answers: Ints, *, items: int, classes: int) -> Ints:
    """`(items, classes)` int64: how many annotators gave each answer to each item."""
    cells = answers[:, 0] * classes + answers[:, 2]
    return np.bincount(cells, minlength=items * classes).reshape(items, classes)


def incidence(answers: Ints, *, items: int, annotators: int, classes: int) -> Any:
    """Sparse `(items, annotators * classes)`: one at `[n, a * C + c]` where annotator a gave item n the class c."""
    from scipy.sparse import csr_array

    rows = answers[np.argsort(answers[:, 0], kind="stable")]
    starts = np.concatenate([[0], np.cumsum(np.bincount(answers[:, 0], minlength=items))])
    shape = (items, annotators * classes)
    return csr_array((np.ones(len(rows)), rows[:, 1] * classes + rows[:, 2], starts), shape=shape)


def judged(answers: Ints, posteriors: Floats, annotators: int) -> tuple[Floats, Floats]:
    """How often each annotator was right and wrong, both `(A,)`, given the posteriors and the prior."""
    chance_right = posteriors[answers[:, 0], answers[:, 2]]
    right = np.bincount(answers[:, 1], weights=chance_right, minlength=annotators)
    wrong = np.bincount(answers[:, 1], weights=1 - chance_right, minlength=annotators)
    return right + PRIOR_RIGHT, wrong + PRIOR_WRONG


def normalised(evidence: Floats, known: Ints) -> Floats:
    """Posteriors `(N, C)` from logarithms of likelihoods `(N, C)`, in their place; what is known is certain."""
    for start in range(0, len(evidence), _BLOCK):
        rows = evidence[start : start + _BLOCK]
        highest = rows[:, 0].copy()
        for column in rows.T:  # a few passes over columns are several times as fast as one reduction of short rows
            np.maximum(highest, column, out=highest)
        rows -= highest[:, None]
        np.exp(rows, out=rows)
        rows /= np.einsum("ij->i", rows)[:, None]
    settled = known >= 0
    evidence[settled] = np.eye(evidence.shape[1])[known[settled]]
    return evidence


def likeliest(posteriors: Floats) -> Bools:
    """`(N, C)`: which classes of each item are the likeliest, several where they are equally likely."""
    return np.asarray(posteriors >= posteriors.max(axis=1, keepdims=True) * (1 - _EQUAL))


def told_by_others(looks: Ints, *, items: int, annotators: int) -> Bools:
    """`(A,)`: who can be judged by how often they agree with others.

    How often two people agree tells how good they are together, never who is the better one. A third who shares items
    with both does. One who shares few of theirs tells little, so that a tie counts that is a fifth as strong as the
    strongest of either. Who is told tells those who share as much with them as that.

    Args:
        looks: `(L, 2)` int64 rows of item and annotator, once each.
        items: N.
        annotators: A.
    """
    from scipy.sparse import csr_array, diags_array

    seen = csr_array((np.ones(len(looks)), (looks[:, 1], looks[:, 0])), shape=(annotators, items))
    shared = seen @ seen.T
    ties = (shared - diags_array(shared.diagonal())).tocoo()
    least: Floats = np.zeros(annotators)  # what a tie must have to count
    np.maximum.at(least, ties.row, _STRONG * ties.data)
    is_strong = ties.data >= np.maximum(np.maximum(least[ties.row], least[ties.col]), 1)
    strong = csr_array((ties.data[is_strong], (ties.row[is_strong], ties.col[is_strong])), shape=ties.shape)
    told: Bools = (strong @ strong).multiply(strong).sum(axis=1) > 0
    while True:
        also = told | ((least > 0) & (ties @ told.astype(np.float64) >= least))
        if (also == told).all():
            return told
        told = also


def _interval(right: Floats, wrong: Floats) -> Floats:
    from scipy.special import betaincinv

    tail = (1 - _CREDIBLE) / 2
    return np.stack([betaincinv(right, wrong, tail), betaincinv(right, wrong, 1 - tail)], axis=1)
