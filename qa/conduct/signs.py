"""Signs that somebody does not look: answers too fast, of one class whatever the item, or the same as a friend's.

A sign is a reason to look, no proof. Each has a p-value, and of all that are tested alike only so many are said that
few of them, one in twenty on average, are chance: see `discoveries`.
"""

from dataclasses import dataclass

import numpy as np

from qa.conduct.accuracy import Judged
from qa.consensus import belief, posterior
from qa.consensus.posterior import Posterior
from store.arrays import Bools, Floats, Ints

FALSE_DISCOVERIES = 0.05  # the share of what is said that may be chance
TOLERATED_HASTE = 0.05  # the share of answers that anyone may give in no time: the wrong key, a picture seen before

_BLOCK = 1 << 22  # numbers held at once
_ROUNDS = 5  # of setting aside pairs that were found, so that they do not pass for usual
_CAUTION = 5.0  # shared mistakes that speak for nothing unusual, before any are seen


@dataclass(frozen=True)
class Pairs:
    """P pairs of people, the smaller number first, who answered items of which others or gold can tell the truth."""

    people: Ints  # (P, 2) int64
    items: Ints  # (P,) how many both answered
    shared: Ints  # (P,) how often they gave the same answer, another than what is likeliest
    expected: Floats  # (P,) how often two people as accurate would, given how alike all mistakes are
    p_value: Floats  # (P,)


def discoveries(p_values: Floats, *, tests: int = 0) -> Bools:
    """`(P,)`: which of what was tested to say, at a false-discovery rate of .05; NaN was not tested, and is not said.

    If more `tests` were made than there are p-values, the others count as 1. Y. Benjamini and Y. Hochberg, Controlling
    the False Discovery Rate (1995).
    """
    from scipy.stats import false_discovery_control

    said = np.zeros(len(p_values), dtype=np.bool_)
    tested = ~np.isnan(p_values)
    if tested.any():
        others = np.ones(max(0, tests - int(tested.sum())))
        adjusted = false_discovery_control(np.concatenate([p_values[tested], others]))
        said[tested] = adjusted[: len(adjusted) - len(others)] <= FALSE_DISCOVERIES
    return said


def haste(fast: Ints, timed: Ints) -> Floats:
    """`(A,)` p-values of so many answers in no time, were one in twenty usual: exact binomial, NaN without any time."""
    from scipy.stats import binom

    return np.where(timed > 0, binom.sf(fast - 1, timed, TOLERATED_HASTE), np.nan)


def one_class(answers: Ints, judged: Judged, found: Posterior) -> tuple[Ints, Floats, Floats]:
    """Whether somebody says one class whatever the item is.

    The p-value is of at most half their answers being given blindly, the others as anyone would: with e the chance of
    the class as an answer to an item, (1 + e) / 2 on average over their items. The chances differ from item to item;
    a binomial tail at their mean is never too small: W. Hoeffding, On the Distribution of the Number of Successes in
    Independent Trials (1956). Times the number of classes, since the commonest is looked at.

    Returns:
        Of each annotator the class they say most, its share expected of anyone, and the p-value; `(A,)` each, NaN where
        no answer can be judged.
    """
    from scipy.stats import binom

    annotators, classes, _ = found.confusion.shape
    anyone = np.average(found.confusion, axis=0, weights=np.maximum(found.answers, 1e-9))
    who, said = answers[judged.rows, 1], answers[judged.rows, 2]
    counts = np.bincount(who * classes + said, minlength=annotators * classes).reshape(annotators, classes)
    chances = np.zeros((annotators, classes))
    np.add.at(chances, who, judged.truth @ anyone)
    most = counts.argmax(axis=1)
    given = counts.sum(axis=1)
    often = counts[np.arange(annotators), most]
    with np.errstate(invalid="ignore"):
        usual = chances[np.arange(annotators), most] / given
        blind = (1 + usual) / 2
        tail = np.minimum(binom.sf(often - 1, given, blind) * classes, 1)
    p_value = np.where(often >= given * blind + 1, tail, 1.0)
    return most, usual, np.where(given > 0, p_value, np.nan)


def same_answers(answers: Ints, known: Ints, found: Posterior) -> Pairs:
    """Which two people share more mistakes than two who are as accurate would.

    What is true of an item is told by all others, or known. Both may be right against the others, and mistakes are
    alike where an item is hard: the expectation has the first from the posterior, and the second from all other pairs,
    those found already left out. The tail is Hoeffding's, see `one_class`. Where half of those who answered an item act
    together they look like the truth, and nothing tells.

    Args:
        answers: `(M, 3)`, those that count.
        known: `(N,)` int64, see `accuracy.judge`.
        found: see `accuracy.judge`.
    """
    first, second = _meetings(answers)
    word = np.log(found.confusion[answers[:, 1], :, answers[:, 2]])
    evidence = np.zeros((len(known), word.shape[1]))
    np.add.at(evidence, answers[:, 0], word)
    others = np.bincount(answers[:, 0], minlength=len(known)) - 2
    told = (others[answers[first, 0]] > 0) | (known[answers[first, 0]] >= 0)
    first, second = first[told], second[told]
    usual = found.probabilities
    if usual is None:
        usual = np.tile(posterior.frequencies(answers, classes=word.shape[1]), (len(known), 1))
    beforehand = found.trust.model * np.log(usual)
    shared, chance = np.zeros(len(first), dtype=np.bool_), np.zeros(len(first))
    step = max(1, _BLOCK // word.shape[1] ** 2)
    for start in range(0, len(first), step):
        one, two = first[start : start + step], second[start : start + step]
        item, places = answers[one, 0], np.arange(len(one))
        left = (evidence[item] - word[one] - word[two]) * found.trust.per_answer(np.maximum(others[item], 0))[:, None]
        truth = belief.normalised(left + beforehand[item], known[item])
        likeliest = truth.argmax(axis=1)
        shared[start : start + step] = (answers[one, 2] == answers[two, 2]) & (answers[one, 2] != likeliest)
        together = found.confusion[answers[one, 1]] * found.confusion[answers[two, 1]]
        together[places, :, likeliest] = 0
        chance[start : start + step] = (truth * together.sum(axis=2)).sum(axis=1)
    people = np.stack([answers[first, 1], answers[second, 1]], axis=1)
    pairs, which = np.unique(people, axis=0, return_inverse=True)
    which = which.reshape(-1)
    return _beyond(
        pairs.reshape(-1, 2),
        np.bincount(which, minlength=len(pairs)),
        np.bincount(which, weights=shared, minlength=len(pairs)).astype(np.int64),
        np.asarray(np.bincount(which, weights=chance, minlength=len(pairs)), dtype=np.float64),
    )


def _meetings(answers: Ints) -> tuple[Ints, Ints]:
    """Positions of every two answers to one item, whose annotator has the smaller number first."""
    order = np.lexsort((answers[:, 1], answers[:, 0]))
    items = answers[order, 0]
    firsts, seconds = [order[:0]], [order[:0]]
    for apart in range(1, int(np.bincount(items).max(initial=0))):
        meets = np.flatnonzero(items[apart:] == items[:-apart])
        firsts.append(order[meets])
        seconds.append(order[meets + apart])
    return np.concatenate(firsts), np.concatenate(seconds)


def _beyond(people: Ints, items: Ints, shared: Ints, chance: Floats) -> Pairs:
    """How many shared mistakes are too many, when those of all other pairs are what is usual."""
    from scipy.stats import binom

    found: Bools = np.zeros(len(people), dtype=np.bool_)
    expected: Floats = chance
    p_value: Floats = np.ones(len(people))
    for _ in range(_ROUNDS):
        usual = ~found
        mistakes, chances = _of_others(people, shared * usual), _of_others(people, chance * usual)
        alike = np.maximum((mistakes + _CAUTION) / (chances + _CAUTION), 1)
        expected = np.minimum(chance * alike, items)
        p_value = np.where(shared >= expected + 1, binom.sf(shared - 1, items, expected / np.maximum(items, 1)), 1.0)
        before, found = found, discoveries(p_value)
        if (before == found).all():
            break
    return Pairs(people, items, shared, expected, p_value)


def _of_others(people: Ints, values: Floats | Ints) -> Floats:
    """`(P,)`: the sum over all pairs that share nobody with each pair."""
    each = np.bincount(people.ravel(), weights=np.repeat(values, 2), minlength=int(people.max(initial=0)) + 1)
    rest: Floats = values.sum() - each[people].sum(axis=1) + values
    return rest
