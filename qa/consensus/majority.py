"""Counting votes, all alike or by how often who gave them agrees with the others."""

import numpy as np

from qa.consensus import belief
from qa.consensus.belief import Consensus
from store.arrays import Floats, Ints


def fit(answers: Ints, known: Ints, *, annotators: int, classes: int) -> Consensus:
    """The share of the votes that each class of an item has; equal shares where nobody answered.

    See `qa.consensus` for `answers` and `known`.
    """
    votes = belief.counts(answers, items=len(known), classes=classes).astype(np.float64)
    return belief.of(_shares(votes, known), answers, annotators=annotators)


def fit_weighted(answers: Ints, known: Ints, *, annotators: int, classes: int) -> Consensus:
    """The same with each annotator's votes weighted by how often they agree with the majority, beside the prior."""
    weight = fit(answers, known, annotators=annotators, classes=classes).accuracy
    cells = answers[:, 0] * classes + answers[:, 2]
    votes = np.bincount(cells, weights=weight[answers[:, 1]], minlength=len(known) * classes)
    shares = _shares(np.asarray(votes, dtype=np.float64).reshape(len(known), classes), known)
    return belief.of(shares, answers, annotators=annotators)


def _shares(votes: Floats, known: Ints) -> Floats:
    with np.errstate(divide="ignore"):
        return belief.normalised(np.where(votes.sum(axis=1, keepdims=True) > 0, np.log(votes), 0.0), known)
