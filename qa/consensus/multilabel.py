"""Several classes of an image at once: for each class whether it is there, a question of its own with two answers.

That is binary relevance: M.-L. Zhang and Z.-H. Zhou, A Review on Multi-Label Learning Algorithms (2014). An annotator's
confusions of such a question are their sensitivity and specificity (A. P. Dawid and A. M. Skene, 1979), found by
expectation and maximisation. These differ: most people overlook more than they invent, and as most classes are in few
images, how often somebody is right says little of what they overlook.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from qa.consensus import rates
from store.arrays import Bools, Floats, Ints

_SEEN = (16.0, 4.0)  # as if so many classes that are there had been named, and so many not,
_INVENTED = (1.0, 19.0)  # and of classes that are not there
_WITHIN = (0.001, 0.999)
_TELL_MISSES, _TELL_INVENTIONS = 3, 2  # so many must look at an item for it to tell what people miss, and invent;
_AS_USUAL = 0.2  # what tells nothing counts so much more as people usually are: it would drift anywhere otherwise
_STEPS = 300
_TOLERANCE = 1e-5  # of a posterior


@dataclass(frozen=True)
class Multilabel:
    """Which classes images hold, and how well annotators see and rule out each."""

    posteriors: Floats  # (N, C) float64, the chance that an image holds a class
    sensitivity: Floats  # (A, C) float64, the chance that an annotator names a class that is there
    specificity: Floats  # (A, C) float64, the chance that they do not name one that is not


def fit(looked: Ints, named: Bools, known: Ints, *, annotators: int, gold: Bools | None = None) -> Multilabel:
    """Weigh who named a class against who looked and did not.

    What too few looked at to tell how people are speaks for their being as usual, see `rates.usual`.

    Args:
        looked: `(M, 2)` int64 rows of item and annotator, once each.
        named: `(M, C)`: whether they named each class.
        known: `(N, C)` int64: 1 where an item is known to hold a class, 0 where not to, -1 else.
        annotators: A.
        gold: `(N,)` which items were chosen to test people, and tell nothing of how common classes are.

    Returns:
        An item that nobody looked at holds a class as often as others do.
    """
    items, classes = known.shape
    look = _ones(looked.T, (items, annotators))
    row, number = np.nonzero(named)
    cells = looked[row] * classes + number[:, None]
    mark = _ones(cells.T, (items * classes, annotators * classes))  # who named which class of which item
    looks = np.bincount(looked[:, 0], minlength=items)
    usual = rates.usual(looks, np.bincount(cells[:, 0], minlength=known.size).reshape(known.shape), known)
    tells_misses, tells_inventions = (
        (looks >= least)[:, None] | (known >= 0) for least in (_TELL_MISSES, _TELL_INVENTIONS)
    )

    def learnt(weight: Floats, tells: Bools, expected: Floats, prior: tuple[float, float]) -> Floats:
        """`(A, C)`: how often each names what is so with the weight `(N, C)`, drawn to what is expected."""
        untold = _AS_USUAL * (look.T @ np.where(tells, 0.0, weight))
        named = (mark.T @ weight.ravel()).reshape(untold.shape)
        return rates.shrunk(named + expected * untold, look.T @ weight + untold, prior=prior, within=_WITHIN)

    sensitivity: Floats = np.tile(usual.sensitivity, (annotators, 1))
    false_rate: Floats = np.tile(usual.false_rate, (annotators, 1))
    is_usual = looks > 0 if gold is None else (looks > 0) & ~gold
    share = (named.sum(axis=0) + 1) / (len(named) + 2)
    posteriors: Floats = np.zeros(known.shape)
    for _ in range(_STEPS):
        before = posteriors
        silent = np.log1p(-sensitivity) - np.log1p(-false_rate)
        by_naming = np.log(sensitivity) - np.log(false_rate) - silent
        evidence = np.log(share) - np.log1p(-share) + look @ silent + (mark @ by_naming.ravel()).reshape(known.shape)
        posteriors = np.where(known >= 0, known, 1 / (1 + np.exp(-evidence)))
        if np.abs(posteriors - before).max(initial=0.0) < _TOLERANCE:
            break
        share = (posteriors[is_usual].sum(axis=0) + 1) / (is_usual.sum() + 2)
        sensitivity = learnt(posteriors, tells_misses, usual.sensitivity, _SEEN)
        false_rate = learnt(1 - posteriors, tells_inventions, usual.false_rate, _INVENTED)
    return Multilabel(posteriors, sensitivity, 1 - false_rate)


def _ones(places: Ints, shape: tuple[int, int]) -> Any:
    from scipy.sparse import csr_array

    return csr_array((np.ones(places.shape[1]), tuple(places)), shape=shape)
