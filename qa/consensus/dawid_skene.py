"""Answers weighed by how good who gave them is, both found at once.

A. P. Dawid and A. M. Skene, Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm (1979).
"""

import numpy as np

from qa.consensus import belief, posterior
from qa.consensus.belief import PRIOR_RIGHT, PRIOR_WRONG, Consensus
from qa.consensus.posterior import Posterior
from store.arrays import Floats, Ints

_ITERATIONS = 500
_TOLERANCE = 1e-6  # of an accuracy


def fit_one_coin(answers: Ints, known: Ints, *, annotators: int, classes: int | Ints) -> Consensus:
    """An annotator is right with one probability, and wrong answers fall evenly on the other classes.

    A Beta prior on each accuracy, as in Q. Liu, J. Peng and A. Ihler, Variational Inference for Crowdsourcing (2012),
    keeps a few answers from making anyone an oracle: the fewer there are, the closer the result is to the majority.
    Classes are equally likely beforehand, since a batch was not drawn to mirror the collection.

    Args:
        answers: `(M, 3)` int64, see `qa.consensus`.
        known: `(N,)` int64, see there.
        annotators: A, how many there are.
        classes: C, how many there are, at least 2; or `(N,)` int64, how many each item may be of: C is the most.

    Returns:
        An item without answers has equal posteriors; an annotator without answers has the prior.
    """
    accuracy: Floats = np.full(annotators, PRIOR_RIGHT / (PRIOR_RIGHT + PRIOR_WRONG))
    for _ in range(_ITERATIONS):
        right, wrong = belief.judged(answers, _e_step(answers, known, accuracy, classes), annotators)
        previous, accuracy = accuracy, right / (right + wrong)
        if np.abs(accuracy - previous).max(initial=0.0) < _TOLERANCE:
            break
    posteriors = _e_step(answers, known, accuracy, classes)
    found = belief.of(posteriors, answers, annotators=annotators)
    return Consensus(posteriors, accuracy, found.interval, found.answers)


def fit(answers: Ints, known: Ints, *, annotators: int, classes: int) -> Posterior:
    """Every annotator confuses classes in their own way, every class has its own frequency, all with priors.

    The priors (`qa.consensus.confusion`) are what keeps it above the majority where answers are few.
    """
    return posterior.fit(answers, known, annotators=annotators, classes=classes, trust=posterior.AS_THEY_ARE)


def _e_step(answers: Ints, known: Ints, accuracy: Floats, classes: int | Ints) -> Floats:
    """The posterior of every class of every item, given the annotators' accuracies."""
    most = int(np.max(classes, initial=2))
    weight = (np.log(accuracy) - np.log(1 - accuracy))[answers[:, 1]]
    weight += np.log((classes if isinstance(classes, int) else classes[answers[:, 0]]) - 1)
    cells = answers[:, 0] * most + answers[:, 2]
    evidence = np.bincount(cells, weights=weight, minlength=len(known) * most).astype(np.float64).reshape(-1, most)
    if not isinstance(classes, int):
        evidence[np.arange(most) >= classes[:, None]] = -np.inf
    return belief.normalised(evidence, known)
