"""Which regions of several annotators are one thing, at most one of each annotator.

A matching is worth the sum, over all pairs of regions that it puts together, of how much more alike they are than the
least that counts. The worthiest is looked for; one annotator's regions are placed among the others' by the Hungarian
method, H. W. Kuhn (1955), which no greedy choice beats. For more than two annotators the worthiest is NP-hard to find,
so it is climbed to from several starts, none of which depends on the order of annotators.
"""

from collections.abc import Iterator

import numpy as np

from store.arrays import Bools, Floats, Ints, positions_of_each

_LEAST_GAIN = 1e-9
_MOST_STARTS = 64  # regions that hang together, above which there is one start


def match(likeness: Floats, annotator: Ints, *, least: float) -> Ints:
    """A number for each region, the same for those that are one thing: `(R,)` int64, 0 … K - 1.

    Args:
        likeness: `(R, R)` float64, symmetric, of the regions of one image, such as their IoU. They are in an order that
            does not depend on who drew them, and ties go to the first.
        annotator: `(R,)` int64, who drew each.
        least: From which likeness two regions are rather one thing than two.
    """
    from scipy.sparse.csgraph import connected_components

    strangers = annotator[:, None] != annotator[None, :]
    worth = np.where(strangers, likeness - least, 0.0)
    _, component = connected_components((worth > 0), directed=False)
    found: Ints = np.zeros(len(annotator), dtype=np.int64)
    count = 0
    for rows in positions_of_each(component):
        inside = _best(worth[np.ix_(rows, rows)], strangers[np.ix_(rows, rows)], annotator[rows])
        found[rows] = count + inside
        count += int(inside.max()) + 1
    return found


def pairs(likeness: Floats, *, least: float) -> tuple[Ints, Ints]:
    """The rows and columns of `likeness` `(N, M)` that are one thing, where each is so at most once.

    No other matching of pairs that reach `least` has a larger sum of likeness.
    """
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(np.where(likeness >= least, likeness, 0.0), maximize=True)
    alike = (likeness[rows, columns] >= least) & (likeness[rows, columns] > 0)
    return rows[alike], columns[alike]


def _best(worth: Floats, strangers: Bools, annotator: Ints) -> Ints:
    """The worthiest matching found of regions that hang together."""
    size = len(annotator)
    if ((worth > 0) | np.eye(size, dtype=np.bool_)).all():
        return np.zeros(size, dtype=np.int64)  # everybody drew it once, and all alike
    climbed = [_climb(worth, strangers, annotator, start) for start in _starts(worth, annotator)]
    values = [_value(worth, each) for each in climbed]
    best = max(values)
    near = [_in_order(each) for each, value in zip(climbed, values, strict=True) if value > best - _LEAST_GAIN]
    return min(near, key=lambda each: tuple(each.tolist()))


def _starts(worth: Floats, annotator: Ints) -> Iterator[Ints]:
    """Nothing matched; then everybody matched with one annotator, whoever that is."""
    alone = np.arange(len(annotator))
    yield alone
    if len(annotator) > _MOST_STARTS:
        return
    for centre in np.unique(annotator):
        start = alone.copy()
        theirs = np.flatnonzero(annotator == centre)
        for other in np.unique(annotator[annotator != centre]):
            rows = np.flatnonzero(annotator == other)
            first, second = pairs(worth[np.ix_(rows, theirs)], least=0.0)
            start[rows[first]] = theirs[second]
        yield start


def _climb(worth: Floats, strangers: Bools, annotator: Ints, numbers: Ints) -> Ints:
    """Merge and reassign while that is worth more, each time what gains most."""
    while True:
        merged = _merged(worth, strangers, numbers)
        numbers, gain = _reassigned(worth, annotator, merged)
        if gain <= _LEAST_GAIN:
            return merged


def _merged(worth: Floats, strangers: Bools, numbers: Ints) -> Ints:
    """Join the two clusters that gain most by it, and so on."""
    numbers = _in_order(numbers)
    member = np.eye(int(numbers.max()) + 1)[numbers]
    gain = member.T @ worth @ member
    barred = (member.T @ (~strangers).astype(np.float64) @ member) > 0  # an annotator would be in it twice
    while True:
        open_ = np.where(barred, -np.inf, gain)
        first, second = np.unravel_index(int(open_.argmax()), open_.shape)
        if open_[first, second] <= _LEAST_GAIN:
            return numbers
        numbers = np.where(numbers == second, first, numbers)
        gain[first] += gain[second]
        gain[:, first] += gain[:, second]
        barred[first] |= barred[second]
        barred[:, first] |= barred[:, second]
        barred[second] = barred[:, second] = True


def _reassigned(worth: Floats, annotator: Ints, numbers: Ints) -> tuple[Ints, float]:
    """Place all regions of the one annotator anew for whom that gains most; the gain."""
    from scipy.optimize import linear_sum_assignment

    best, most = numbers, 0.0
    for each in dict.fromkeys(annotator.tolist()):  # by their first region, so that ties do not hang on who they are
        theirs = np.flatnonzero(annotator == each)
        others = annotator != each
        clusters = np.unique(numbers[others])
        member = (numbers[:, None] == clusters[None, :]) & others[:, None]
        gains = np.concatenate([worth[theirs] @ member, np.zeros((len(theirs), len(theirs)))], axis=1)
        rows, columns = linear_sum_assignment(gains, maximize=True)
        now = (worth[theirs] * (numbers[theirs][:, None] == numbers[None, :])).sum()
        gain = float(gains[rows, columns].sum() - now)
        if gain > most + _LEAST_GAIN:
            fresh = int(numbers.max()) + 1 + np.arange(len(theirs))
            placed = numbers.copy()
            placed[theirs[rows]] = np.concatenate([clusters, fresh])[columns]
            best, most = placed, gain
    return best, most


def _value(worth: Floats, numbers: Ints) -> float:
    return float(worth[numbers[:, None] == numbers[None, :]].sum())


def _in_order(numbers: Ints) -> Ints:
    """The same clusters numbered from 0 by their first region."""
    _, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[inverse])
