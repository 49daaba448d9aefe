"""Who is asked next: one more person where that is worth its price, else an expert; nobody where we are sure."""

from dataclasses import dataclass

import numpy as np

from qa.consensus.belief import incidence
from qa.consensus.posterior import Posterior
from store.arrays import Bools, Floats, Ints
from store.errors import InvalidInputError

_BLOCK = 1 << 22  # numbers held at once while people are compared
_SMALLEST = 1e-9  # chance of an answer


@dataclass(frozen=True)
class Rules:
    """What labels may cost and how wrong they may be."""

    target_error: float = 0.06  # the share of all items whose accepted class may be wrong, as the posteriors believe
    most_answers: int = 3  # to one item, before it goes to an expert
    answer_cost: float = 1.0
    adjudication_cost: float | None = None  # of one item; none: experts are asked only where nobody else can be
    audited: float = 0.02  # the share of items, drawn at random, that get `most_answers` whatever is believed of them

    def __post_init__(self) -> None:
        if not 0 < self.target_error < 1:
            raise InvalidInputError(f"The target error is a share between 0 and 1, not {self.target_error}.")
        if self.most_answers < 1:
            raise InvalidInputError(f"An item needs at least one answer; {self.most_answers} were allowed.")
        if not 0 <= self.audited <= 1:
            raise InvalidInputError(f"The audited share lies between 0 and 1; it was {self.audited}.")
        if min(self.answer_cost, 1 if self.adjudication_cost is None else self.adjudication_cost) <= 0:
            raise InvalidInputError("An answer and an adjudication have to cost something: give costs above 0.")


@dataclass(frozen=True)
class Decisions:
    """What happens to each item next."""

    accepted: Bools  # (N,)
    adjudicated: Bools  # (N,) that go to an expert
    asked: Ints  # (N,) the annotator to ask, -1 where nobody is
    most_doubt: float  # from which chance of being wrong on an item is not accepted


def decide(
    belief: Posterior, answers: Ints, candidates: Ints, *, rules: Rules, seed: int = 0, costs: Floats | None = None
) -> Decisions:
    """Accept, ask one more person, or adjudicate, item by item.

    An item is accepted when its class is likely enough (`most_doubt` of those with an answer). Of the others, each that
    may have more answers is put to whoever is expected to raise the chance of the likeliest class the most per cost:
    people who tell apart the classes in doubt. An item goes to an expert when nobody may be asked, or when the expert,
    who settles it, gains more per cost. A random share is audited: how far people and model can be trusted shows only
    in later answers, and those to doubtful items tell of doubtful items alone.

    Args:
        belief: Of all N items, from `answers`.
        answers: `(M, 3)` int64, see `qa.consensus`.
        candidates: `(K, 2)` int64 rows of item and annotator who may be asked about it; nobody who has seen it.
        rules: What is wanted.
        seed: Draws the audited items; the same in every round, so that they are the same.
        costs: `(A,)` of an answer of each annotator; by default the rules'.

    Returns:
        At most one person asked per item; ties go to the lower number.
    """
    doubt = 1 - belief.posteriors.max(axis=1)
    given = np.bincount(answers[:, 0], minlength=len(doubt))
    limit = most_doubt(doubt[given > 0], rules.target_error)
    audited = np.random.default_rng(seed).random(len(doubt)) < rules.audited
    unsettled = (doubt > limit) | (given == 0)
    wanting = (unsettled | audited) & (given < rules.most_answers)
    offered = candidates[wanting[candidates[:, 0]]]
    price = np.full(len(belief.confusion), rules.answer_cost) if costs is None else costs
    worth = gain(belief, answers, offered) / price[offered[:, 1]]
    order = np.lexsort((offered[:, 1], -worth, offered[:, 0]))
    items, first = np.unique(offered[order, 0], return_index=True)
    asked = np.full(len(doubt), -1, dtype=np.int64)
    asked[items] = offered[order[first], 1]
    if rules.adjudication_cost is not None:
        best = np.zeros(len(doubt))
        best[items] = worth[order[first]]
        asked[unsettled & (given > 0) & ~audited & (doubt / rules.adjudication_cost > best)] = -1
    nobody = asked < 0
    return Decisions(accepted=nobody & ~unsettled, adjudicated=nobody & unsettled, asked=asked, most_doubt=limit)


def most_doubt(doubt: Floats, target_error: float) -> float:
    """The limit under which the mean of all `doubt` `(N,)` is the target, once what exceeds it is asked down to it.

    1 where the mean is no more than the target already.
    """
    if doubt.sum() <= target_error * len(doubt):
        return 1.0
    ascending = np.sort(doubt)
    below = np.concatenate([[0.0], np.cumsum(ascending)[:-1]])
    limits = (target_error * len(doubt) - below) / (len(doubt) - np.arange(len(doubt)))
    return float(limits[np.argmax(limits <= ascending)])


def gain(belief: Posterior, answers: Ints, pairs: Ints) -> Floats:
    """By how much each of `pairs` is expected to raise the chance of its item's likeliest class, `(K,)`, at least 0.

    The answers that an item has weigh less beside another one, as `belief.trust` says.

    Args:
        belief: Of all N items.
        answers: `(M, 3)` that it rests on, see `qa.consensus`.
        pairs: `(K, 2)` rows of item and annotator.
    """
    posteriors, confusion = belief.posteriors, belief.confusion
    items, classes = posteriors.shape
    given = np.bincount(answers[:, 0], minlength=items)
    said = incidence(answers, items=items, annotators=len(confusion), classes=classes)
    evidence = said @ np.log(np.maximum(confusion, _SMALLEST)).swapaxes(1, 2).reshape(-1, classes)
    power = belief.trust.per_answer(given + 1)
    less = np.exp((power - belief.trust.per_answer(given))[:, None] * evidence)  # by which what was said weighs less
    result = np.empty(len(pairs))
    step = max(1, _BLOCK // classes**2)
    for start in range(0, len(pairs), step):
        item, annotator = pairs[start : start + step].T
        now, likely = posteriors[item], confusion[annotator]
        chance = np.einsum("kt,ktl->kl", now, likely)  # of each answer
        then = (now * less[item])[:, :, None] * likely ** power[item, None, None]
        total = then.sum(axis=1)
        surest = (then.max(axis=1) / np.where(total > 0, total, 1) * chance).sum(axis=1)
        result[start : start + step] = surest - now.max(axis=1)
    return np.maximum(result, 0)
