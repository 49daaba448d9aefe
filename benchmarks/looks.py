"""Who looks at what: so many people at each item, or as many as `qa.overlap` asks for."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from qa import overlap
from qa.overlap import Gain, Rules
from store.arrays import Floats, Ints

Believe: TypeAlias = Callable[[Ints], tuple[Floats, Gain]]  # of looks, the doubt `(N,)` of items and what others gain

_PARTS = 5  # a fifth of the items is looked at between two reviews


def fixed(count: int, *, items: int, people: int, seed: int) -> Ints:
    """`(S, 2)` int64, item and person: `count` people drawn at random for each item."""
    order = _order(items, people, np.random.default_rng(seed))
    return np.stack([np.repeat(np.arange(items), count), order[:, :count].ravel()], axis=1)


def as_needed(believe: Believe, *, items: int, people: int, rules: Rules, seed: int, are_named: bool = True) -> Ints:
    """`(S, 2)` int64, item and person: one person drawn at random for each item, and others as decided after that.

    Args:
        believe: From looks at some of the items.
        items: N.
        people: A.
        rules: How often to ask.
        seed: Of all that is drawn; the first people are those of `fixed`.
        are_named: Whether who is asked is who answers; else somebody drawn at random.
    """
    random = np.random.default_rng(seed)
    order = _order(items, people, random)
    waiting = np.array_split(random.permutation(items), _PARTS)
    looks = np.zeros((0, 2), dtype=np.int64)
    while True:
        if waiting:
            new = waiting.pop()
            looks = np.concatenate([looks, np.stack([new, order[new, 0]], axis=1)])
        doubt, gain = believe(looks)
        given = np.bincount(looks[:, 0], minlength=items)
        may = np.tile(given[:, None] > 0, people)
        may[looks[:, 0], looks[:, 1]] = False
        asked = overlap.decide(doubt, given, [np.argwhere(may)], gain, rules=rules, seed=seed).asked
        again = random.permutation(np.flatnonzero(asked >= 0))[: -(-items // _PARTS)]
        if len(again) == 0 and not waiting:
            return looks
        left = np.argsort(np.where(may[again], order[again].argsort(axis=1), people), axis=1)[:, 0]
        looks = np.concatenate([looks, np.stack([again, asked[again] if are_named else left], axis=1)])


def _order(items: int, people: int, random: np.random.Generator) -> Ints:
    """`(N, A)`: the people in the order in which they come to each item."""
    return random.permuted(np.tile(np.arange(people), (items, 1)), axis=1)
