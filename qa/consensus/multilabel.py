"""Several classes of an image at once: for each class whether it is there, a question of its own with two answers.

That is binary relevance: M.-L. Zhang and Z.-H. Zhou, A Review on Multi-Label Learning Algorithms (2014). An annotator's
confusions of such a question are their sensitivity and specificity (A. P. Dawid and A. M. Skene, 1979), learnt as in
`posterior`.
"""

from dataclasses import dataclass

import numpy as np

from qa.consensus import posterior
from qa.consensus.posterior import Posterior, Trust
from store.arrays import Bools, Floats, Ints

_HELD = 1  # the answer that the class is there; 0 that it is not
_ROUNDS = 3  # of learning how common a class is
_TRUST = Trust(model=1, answer=1, repeat=0)  # of a count, and of answers one by one


@dataclass(frozen=True)
class Multilabel:
    """Which classes images hold, and how well annotators see and rule out each."""

    posteriors: Floats  # (N, C) float64, the chance that an image holds a class
    sensitivity: Floats  # (A, C) float64, the chance that an annotator names a class that is there
    specificity: Floats  # (A, C) float64, the chance that they do not name one that is not


def fit(looked: Ints, named: Bools, known: Ints, *, annotators: int) -> Multilabel:
    """Weigh who named a class against who looked and did not, class by class.

    Most classes are in few images. How common each is is learnt, and stands beside the answers as a model's word would.

    Args:
        looked: `(M, 2)` int64 rows of item and annotator, once each.
        named: `(M, C)`: whether they named each class.
        known: `(N, C)` int64: 1 where an item is known to hold a class, 0 where not to, -1 else.
        annotators: A.

    Returns:
        An item that nobody looked at holds a class as often as others do.
    """
    shape = (annotators, known.shape[1])
    posteriors, sensitivity, specificity = np.zeros(known.shape), np.zeros(shape), np.zeros(shape)
    for number in range(known.shape[1]):
        answers = np.column_stack([looked, named[:, number]]).astype(np.int64)
        found = _weighed(answers, known[:, number], annotators)
        posteriors[:, number] = found.posteriors[:, _HELD]
        specificity[:, number], sensitivity[:, number] = found.confusion.diagonal(axis1=1, axis2=2).T
    return Multilabel(posteriors, sensitivity, specificity)


def _weighed(answers: Ints, known: Ints, annotators: int) -> Posterior:
    """The consensus on one class."""
    seen = np.unique(answers[:, 0])
    share = (answers[:, 2].sum() + 1) / (len(answers) + 2)
    for _ in range(_ROUNDS):
        common = np.tile([1 - share, share], (len(known), 1))
        found = posterior.fit(answers, known, annotators=annotators, classes=2, probabilities=common, trust=_TRUST)
        share = (found.posteriors[seen, _HELD].sum() + 1) / (len(seen) + 2)
    return found
