"""What is most likely true, given who answered what."""

from dataclasses import dataclass

import numpy as np

from store.arrays import Floats, Ints

# What is believed of an annotator before their first answer: as if eight of ten had been right.
PRIOR_RIGHT = 8.0
PRIOR_WRONG = 2.0

_ITERATIONS = 500
_TOLERANCE = 1e-6  # of an accuracy
_CREDIBLE = 0.95


@dataclass(frozen=True)
class Consensus:
    """The truth and the annotators, as far as the answers tell."""

    posteriors: Floats  # (N, C) float64, each row sums to 1
    accuracy: Floats  # (A,) float64, the chance that an annotator's answer is right
    interval: Floats  # (A, 2) float64, its 95 % credible interval, as if the posteriors were certain
    answers: Ints  # (A,) int64, how many answers it rests on


def fit(answers: Ints, known: Ints, *, annotators: int, classes: int) -> Consensus:
    """Weigh answers by the accuracy of who gave them, and find both at once.

    The one-coin model of A. P. Dawid and A. M. Skene, Maximum Likelihood Estimation of Observer
    Error-Rates Using the EM Algorithm (1979): an annotator is right with one probability, and wrong
    answers fall evenly on the other classes. A Beta prior on each accuracy, as in Q. Liu, J. Peng and
    A. Ihler, Variational Inference for Crowdsourcing (2012), keeps a few answers from making anyone an
    oracle: the fewer there are, the closer the result is to the majority. Classes are equally
    likely beforehand, since a batch was not drawn to mirror the collection.

    Args:
        answers: `(M, 3)` int64 rows of item, annotator, class; one per item and annotator.
        known: `(N,)` int64, the class of an item that is settled, -1 of all others.
        annotators: A, how many there are.
        classes: C, how many there are, at least 2.

    Returns:
        An item without answers has equal posteriors; an annotator without answers has the prior.
    """
    accuracy: Floats = np.full(annotators, PRIOR_RIGHT / (PRIOR_RIGHT + PRIOR_WRONG))
    for _ in range(_ITERATIONS):
        posteriors = _e_step(answers, known, accuracy, classes)
        right, wrong = _m_step(answers, posteriors, annotators)
        previous, accuracy = accuracy, right / (right + wrong)
        if np.abs(accuracy - previous).max(initial=0.0) < _TOLERANCE:
            break
    return Consensus(
        posteriors=_e_step(answers, known, accuracy, classes),
        accuracy=accuracy,
        interval=_interval(right, wrong),
        answers=np.bincount(answers[:, 1], minlength=annotators),
    )


def counts(answers: Ints, *, items: int, classes: int) -> Ints:
    """`(items, classes)` int64: how many annotators gave each answer to each item."""
    cells = answers[:, 0] * classes + answers[:, 2]
    return np.bincount(cells, minlength=items * classes).reshape(items, classes)


def _e_step(answers: Ints, known: Ints, accuracy: Floats, classes: int) -> Floats:
    """The posterior of every class of every item, given the annotators' accuracies."""
    weight = np.log(accuracy) - np.log((1 - accuracy) / (classes - 1))
    cells = answers[:, 0] * classes + answers[:, 2]
    evidence = np.bincount(cells, weights=weight[answers[:, 1]], minlength=len(known) * classes)
    evidence = evidence.reshape(len(known), classes)
    likelihood = np.exp(evidence - evidence.max(axis=1, keepdims=True))
    posteriors: Floats = likelihood / likelihood.sum(axis=1, keepdims=True)
    settled = known >= 0
    posteriors[settled] = np.eye(classes)[known[settled]]
    return posteriors


def _m_step(answers: Ints, posteriors: Floats, annotators: int) -> tuple[Floats, Floats]:
    """How often each annotator was right and wrong, given the posteriors and the prior."""
    chance_right = posteriors[answers[:, 0], answers[:, 2]]
    right = np.bincount(answers[:, 1], weights=chance_right, minlength=annotators)
    wrong = np.bincount(answers[:, 1], weights=1 - chance_right, minlength=annotators)
    return right + PRIOR_RIGHT, wrong + PRIOR_WRONG


def _interval(right: Floats, wrong: Floats) -> Floats:
    from scipy.special import betaincinv

    tail = (1 - _CREDIBLE) / 2
    return np.stack([betaincinv(right, wrong, tail), betaincinv(right, wrong, 1 - tail)], axis=1)
