"""Where something is, from where several annotators put it, each as near as they usually come.

What is measured, such as the sides of a box, is called a coordinate. An annotator misses each by an error with heavy
tails, Student's t, as wide as their spread, which is learnt from all that they drew: K. L. Lange, R. J. A. Little and
J. M. G. Taylor, Robust Statistical Modeling Using the t Distribution (1989). So people of one spread who nearly agree
give a mean, and one who is far off is passed over as by a median.
"""

from dataclasses import dataclass

import numpy as np

from store.arrays import Bools, Floats, Ints

_FREEDOM = 4.0  # degrees, of the t distribution
_USUAL_SPREAD = 0.05  # of the size of what is drawn: what is believed before anything was seen,
_BELIEF = 10.0  # as if from so many coordinates
_ALIKE = 4.0  # how many coordinates the belief that someone is like everybody counts as
_STEPS = 50
_FINEST = 1e-4  # of the size: nobody is nearer


@dataclass(frozen=True)
class Location:
    """Where things are, and how near annotators come to it."""

    places: Floats  # (K, D) float64
    spread: Floats  # (A,) float64, of an error, as a share of the size


def locate(
    drawn: Floats, thing: Ints, annotator: Ints, *, things: int, annotators: int, sizes: Floats, joint: bool = False
) -> Location:
    """Put each thing where those who drew it are the least surprised.

    Args:
        drawn: `(R, D)` float64 coordinates.
        thing: `(R,)` int64, what each is of.
        annotator: `(R,)` int64, who drew it.
        things: K; each is drawn at least once.
        annotators: A.
        sizes: `(K, D)` float64, above 0: what errors in each coordinate of each thing are shares of.
        joint: The coordinates of one drawing are far off together, and not each for itself.

    Returns:
        Someone who drew nothing together with others is as near as everybody.
    """
    shared = np.bincount(thing, minlength=things)[thing] > 1
    size = sizes[thing]
    variance: Floats = np.full(annotators, _USUAL_SPREAD**2)
    places = medians(drawn, thing, things=things)
    uncertainty: Floats = np.zeros_like(places)
    degrees = drawn.shape[1] if joint else 1
    for _ in range(_STEPS):
        squares = ((drawn - places[thing]) / size) ** 2 + uncertainty[thing]
        far = squares / variance[annotator][:, None]
        if joint:
            far = np.repeat(far.sum(axis=1, keepdims=True), drawn.shape[1], axis=1)
        trust = (_FREEDOM + degrees) / (_FREEDOM + far)
        variance = _variances(trust * squares, annotator, shared, annotators)
        weight = trust / variance[annotator][:, None]
        total = _sums(weight, thing, things)
        places = _sums(weight * drawn, thing, things) / total
        uncertainty = 1 / total
    return Location(places, np.sqrt(variance))


def medians(drawn: Floats, thing: Ints, *, things: int) -> Floats:
    """`(K, D)`: the median of each coordinate of each thing; of an even number the middle of the two in the middle."""
    counts = np.bincount(thing, minlength=things)
    starts = np.cumsum(counts) - counts
    sorted_ = np.stack([column[np.lexsort((column, thing))] for column in drawn.T], axis=1)
    middle: Floats = (sorted_[starts + (counts - 1) // 2] + sorted_[starts + counts // 2]) / 2
    return middle


def _variances(squares: Floats, annotator: Ints, shared: Bools, annotators: int) -> Floats:
    """`(A,)`: everybody's variance shrunk towards what is usual, each one's own towards everybody's."""
    sums = np.bincount(annotator[shared], weights=squares[shared].sum(axis=1), minlength=annotators)
    given = np.bincount(annotator[shared], minlength=annotators) * squares.shape[1]
    everybody = (sums.sum() + _BELIEF * _USUAL_SPREAD**2) / (given.sum() + _BELIEF)
    own: Floats = (sums + _ALIKE * everybody) / (given + _ALIKE)
    return np.maximum(own, _FINEST**2)


def _sums(values: Floats, thing: Ints, things: int) -> Floats:
    return np.stack([np.bincount(thing, weights=column, minlength=things) for column in values.T], axis=1)
