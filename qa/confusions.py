"""Which classes people confuse with each other more than their accuracy explains: pure functions of arrays."""

from dataclasses import dataclass

import numpy as np

from store.arrays import Floats, Ints


@dataclass(frozen=True)
class Confusion:
    """Two classes, and the items of one of them that somebody called the other."""

    first: int  # class, the smaller number
    second: int
    items: Ints  # positions, ascending
    annotators: Ints  # who did, ascending
    expected: float  # how many items there would be if everybody's mistakes fell evenly on all classes
    p_value: float


def tabulate(answers: Ints, truth: Ints, accuracy: Floats, *, classes: int) -> list[Confusion]:
    """All pairs of classes that were confused, the least likely by chance first.

    By chance, an annotator takes an item for a given other class with (1 - accuracy) / (C - 1). An item counts once
    for a pair however many people confuse it: what is hard for one is hard for all. The number of such items is a sum
    of unequal coins, whose upper tail that of a Poisson variable of the same mean is no smaller than (W. Hoeffding, On
    the Distribution of the Number of Successes in Independent Trials, 1956; T. Anderson and S. Samuels, 1967). The
    p-value is the largest with any one person left out, so that no single one makes a confusion.

    Args:
        answers: `(M, 3)` int64, see `qa.consensus`, one of each annotator to an item.
        truth: `(N,)` int64, the class of each item, -1 where not known.
        accuracy: `(A,)`, the chance that an annotator is right.
        classes: C, at least 2.
    """
    rows = answers[truth[answers[:, 0]] >= 0]
    item, annotator, said = rows.T
    true = truth[item]
    slip = (1 - accuracy) / (classes - 1)  # of an annotator, into one class
    spared = np.ones(len(truth))
    np.multiply.at(spared, item, 1 - slip[annotator])
    heard = np.unique(item)
    by_class = np.bincount(truth[heard], weights=1 - spared[heard], minlength=classes)
    without = spared[item] / (1 - slip[annotator])
    lost = np.zeros((len(accuracy), classes))  # of what is expected in each class, if an annotator is left out
    np.add.at(lost, (annotator, true), without - spared[item])
    wrong = said != true
    pairs = np.minimum(said, true)[wrong] * classes + np.maximum(said, true)[wrong]
    found = []
    for pair in np.unique(pairs):
        first, second = divmod(int(pair), classes)
        of_pair = np.flatnonzero(wrong)[pairs == pair]
        items, people = np.unique(item[of_pair]), np.unique(annotator[of_pair])
        expected = float(by_class[first] + by_class[second])
        tails = [
            _tail(
                len(np.unique(item[of_pair][annotator[of_pair] != person])),
                expected - float(lost[person, first] + lost[person, second]),
            )
            for person in people
        ]
        found.append(Confusion(first, second, items, people, expected, max(tails)))
    return sorted(found, key=lambda one: (one.p_value, -len(one.items), one.first, one.second))


def _tail(count: int, mean: float) -> float:
    """The chance that a Poisson variable is at least `count`."""
    from scipy.special import gammainc

    return 1.0 if count == 0 or count <= mean else float(gammainc(count, mean))
