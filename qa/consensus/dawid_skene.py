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
        classes: C, how many there are, at least 2; or `(N,)` int64, how many each item may be of, at least 2: C is one
            more than are named of any item, and last is the chance that it is any of the others.

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


def each_stands_for(classes: Ints, columns: int) -> Ints:
    """`(N, columns)`: how many of an item's classes `(N,)` a column stands for: one at most, the last for the rest."""
    alone = np.arange(columns - 1) < classes[:, None]
    return np.column_stack([alone, np.maximum(classes - (columns - 1), 0)])


def fit(answers: Ints, known: Ints, *, annotators: int, classes: int) -> Posterior:
    """Every annotator confuses classes in their own way, every class has its own frequency, all with priors.

    The priors (`qa.consensus.confusion`) are what keeps it above the majority where answers are few.
    """
    return posterior.fit(answers, known, annotators=annotators, classes=classes, trust=posterior.AS_THEY_ARE)


def _e_step(answers: Ints, known: Ints, accuracy: Floats, classes: int | Ints) -> Floats:
    """The posterior of every class of every item, given the annotators' accuracies."""
    weight = (np.log(accuracy) - np.log(1 - accuracy))[answers[:, 1]]
    weight += np.log((classes if isinstance(classes, int) else classes[answers[:, 0]]) - 1)
    named = max(answers[:, 2].max(initial=-1), known.max(initial=-1)) + 1
    columns = classes if isinstance(classes, int) else int(named) + 1
    cells = answers[:, 0] * columns + answers[:, 2]
    counted = np.bincount(cells, weights=weight, minlength=len(known) * columns)
    evidence = counted.astype(np.float64).reshape(-1, columns)
    if not isinstance(classes, int):
        with np.errstate(divide="ignore"):
            evidence += np.log(each_stands_for(classes, columns))
    return belief.normalised(evidence, known)
