"""Who is asked next: one more person where that is worth its price, else an expert; nobody where we are sure."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from store.arrays import Bools, Floats, Ints
from store.errors import InvalidInputError

_MOST_DOUBT = 1 / 3  # of a label that is accepted, however sure all others are

Gain: TypeAlias = Callable[[Ints], Floats]  # of rows `(K, 2)` of item and annotator, `(K,)`, see `qa.gains`


@dataclass(frozen=True)
class Rules:
    """What labels may cost and how wrong they may be."""

    # the share of all items, of regions of the things in them, that is believed wrong at most
    target_error: float = 0.06
    most_answers: int = 3  # to one item, before it goes to an expert
    answer_cost: float = 1.0
    # of one item, where experts may be asked before others are; none: only where nobody else can be
    adjudication_cost: float | None = None
    audited: float = 0.02  # the share of items, drawn at random, that get `most_answers` whatever is believed of them

    def __post_init__(self) -> None:
        if not 0 < self.target_error < 1:
            raise InvalidInputError(f"The target error is a share between 0 and 1, not {self.target_error}.")
        if self.most_answers < 1:
            raise InvalidInputError(f"An item needs at least one answer; {self.most_answers} were allowed.")
        if not 0 <= self.audited <= 1:
            raise InvalidInputError(f"The audited share lies between 0 and 1; it was {self.audited}.")
        if not all(0 < cost < math.inf for cost in (self.answer_cost, self.adjudication_cost) if cost is not None):
            raise InvalidInputError("An answer and an adjudication have to cost something: give costs above 0.")


@dataclass(frozen=True)
class Decisions:
    """What happens to each item next."""

    accepted: Bools  # (N,)
    adjudicated: Bools  # (N,) that go to an expert
    asked: Ints  # (N,) the annotator to ask, -1 where nobody is
    most_doubt: float  # beyond which an item is not accepted


def decide(
    doubt: Floats,
    given: Ints,
    candidates: Iterable[Ints],
    gain: Gain,
    *,
    rules: Rules,
    seed: int = 0,
) -> Decisions:
    """Accept, ask one more person, or adjudicate, item by item.

    An item is accepted when it is doubted little enough (`most_doubt` of those with an answer), and only where it is
    twice as likely right as wrong. Of the others, each that may have more answers is put to whoever is expected to take
    away the most doubt: people who tell apart what is in doubt. An item goes to an expert when nobody may be asked, or
    when the expert, who settles it, gains more per cost. A random share is audited: how far people and model can be
    trusted shows only in later answers, and those to doubtful items tell of doubtful items alone.

    What one answer gains says little of an item that it takes two to settle, so an expert is weighed against it only
    where they cost no more than all answers that the item may still get.

    Args:
        doubt: `(N,)` of each item, how wrong its likeliest value is expected to be, 0 to 1.
        given: `(N,)` int64, the answers to each that it rests on.
        candidates: `(K, 2)` int64 rows of item and annotator who may be asked about it, nobody who has seen it; in
            blocks, all those of an item in one.
        gain: By how much each of some candidates is expected to lower the doubt.
        rules: What is wanted.
        seed: Draws the audited items; the same in every round, so that they are the same.

    Returns:
        At most one person asked per item; ties go to the lower number.
    """
    limit = min(most_doubt(doubt[given > 0], rules.target_error), _MOST_DOUBT)
    audited = np.random.default_rng(seed).random(len(doubt)) < rules.audited
    unsettled = (doubt > limit) | (given == 0)
    wanting = (unsettled | audited) & (given < rules.most_answers)
    asked, best = np.full(len(doubt), -1, dtype=np.int64), np.zeros(len(doubt))
    for block in candidates:
        offered = block[wanting[block[:, 0]]]
        worth = gain(offered) / rules.answer_cost
        order = np.lexsort((offered[:, 1], -worth, offered[:, 0]))
        items, first = np.unique(offered[order, 0], return_index=True)
        asked[items], best[items] = offered[order[first], 1], worth[order[first]]
    if rules.adjudication_cost is not None:
        is_cheap = rules.adjudication_cost <= (rules.most_answers - given) * rules.answer_cost
        asked[unsettled & (given > 0) & ~audited & is_cheap & (doubt / rules.adjudication_cost > best)] = -1
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
