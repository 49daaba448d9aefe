"""How sure we are of items, and by how much another answer is expected to raise that, for each kind of item.

Of one class it is the chance of the likeliest, of several the chance that all are right. Of regions it is the share
expected to be right, attributes included, of all things that are in the likeliest content or should be: a doubtful one
among many is a small fault, alone it is the whole; where nothing is kept, it is the chance that nothing is there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from qa.consensus.belief import incidence
from qa.consensus.multilabel import Multilabel
from qa.consensus.places import Places
from qa.consensus.posterior import Posterior
from qa.consensus.regions import Regions
from store.arrays import Bools, Floats, Ints

LIKELIER = 0.5  # than not: what is surer is in the likeliest content

_BLOCK = 1 << 22  # numbers held at once while people are compared
_SMALLEST = 1e-9  # chance of an answer


def of_class(found: Posterior, answers: Ints, pairs: Ints) -> Floats:
    """By how much each of `pairs` is expected to raise the chance of its item's likeliest class; `(K,)`, 0 or more.

    The answers that an item has weigh less beside another one, as `found.trust` says.

    Args:
        found: Of all N items.
        answers: `(M, 3)` that it rests on, see `qa.consensus`.
        pairs: `(K, 2)` rows of item and annotator.
    """
    posteriors, confusion = found.posteriors, found.confusion
    items, classes = posteriors.shape
    given = np.bincount(answers[:, 0], minlength=items)
    said = incidence(answers, items=items, annotators=len(confusion), classes=classes)
    evidence = said @ np.log(np.maximum(confusion, _SMALLEST)).swapaxes(1, 2).reshape(-1, classes)
    power = found.trust.per_answer(given + 1)
    less = np.exp((power - found.trust.per_answer(given))[:, None] * evidence)  # by which what was said weighs less
    result = np.empty(len(pairs))
    for rows in _blocks(np.full(len(pairs), classes**2)):
        item, annotator = pairs[rows].T
        now, likely = posteriors[item], confusion[annotator]
        chance = np.einsum("kt,ktl->kl", now, likely)  # of each answer
        then = (now * less[item])[:, :, None] * likely ** power[item, None, None]
        total = then.sum(axis=1)
        surest = (then.max(axis=1) / np.where(total > 0, total, 1) * chance).sum(axis=1)
        result[rows] = surest - now.max(axis=1)
    return np.maximum(result, 0)


def all_right(found: Multilabel) -> Floats:
    """`(N,)`: the chance that all classes of an item are right."""
    return np.asarray(np.maximum(found.posteriors, 1 - found.posteriors).prod(axis=1))


def of_classes(found: Multilabel, pairs: Ints) -> Floats:
    """By how much each of `pairs` `(K, 2)`, item and annotator, is expected to raise `all_right`; `(K,)`, 0 or more.

    What somebody says of one class tells nothing of the others, so the expectation of the chance that all are right is
    the product of those of the classes.
    """
    now = all_right(found)
    result = np.empty(len(pairs))
    for rows in _blocks(np.full(len(pairs), found.posteriors.shape[1])):
        item, annotator = pairs[rows].T
        held, sees, rules_out = found.posteriors[item], found.sensitivity[annotator], found.specificity[annotator]
        named = np.maximum(held * sees, (1 - held) * (1 - rules_out))
        not_named = np.maximum(held * (1 - sees), (1 - held) * rules_out)
        result[rows] = (named + not_named).prod(axis=1) - now[item]
    return np.maximum(result, 0)


def share_right(found: Sequence[Regions[Places]], *, images: int) -> Floats:
    """`(images,)`: how sure we are of the likeliest content of each.

    Args:
        found: By kind of place; what one image holds is spread over them.
        images: N.
    """
    total = _Outlook.of_nothing(images)
    for one in found:
        total = total.beside(_now(one))
    return total.sure()


def of_regions(found: Sequence[Regions[Places]], pairs: Ints) -> Floats:
    """By how much each of `pairs` `(K, 2)`, image and annotator, is expected to raise `share_right`; `(K,)`, 0 or more.

    Whoever looks confirms or refutes each thing that is in doubt, and names it, draws some of what everybody missed,
    and a false object. The share is expected to be what is expected to be right of what is expected to
    be wanted.
    """
    if not found:
        return np.zeros(len(pairs))
    now = share_right(found, images=len(found[0].undrawn))
    result = np.empty(len(pairs))
    things = np.sum([np.bincount(one.image, minlength=len(now)) + 1 for one in found], axis=0)
    classes = found[0].classes.shape[1]
    for rows in _blocks(things[pairs[:, 0]] * classes**2):
        total = _Outlook.of_nothing(len(pairs[rows]))
        for one in found:
            total = total.beside(_then(one, pairs[rows])).beside(_newly_drawn(one, pairs[rows]))
        result[rows] = total.sure() - now[pairs[rows, 0]]
    return np.maximum(result, 0)


@dataclass(frozen=True)
class _Outlook:
    """What is expected of the likeliest contents of N images."""

    right: Floats  # (N,) things in it that are right
    wanted: Floats  # (N,) things in it, and those that should be
    is_empty: Floats  # (N,) the chance that nothing is in it,
    wanted_if_empty: Floats  # (N,) and things that should be then

    @classmethod
    def of_nothing(cls, images: int) -> "_Outlook":
        return cls(np.zeros(images), np.zeros(images), np.ones(images), np.zeros(images))

    def beside(self, other: "_Outlook") -> "_Outlook":
        """Of both, where what becomes of one tells nothing of the other."""
        return _Outlook(
            self.right + other.right,
            self.wanted + other.wanted,
            self.is_empty * other.is_empty,
            self.wanted_if_empty + other.wanted_if_empty,
        )

    def sure(self) -> Floats:
        wanted = self.wanted - self.is_empty * self.wanted_if_empty  # where something is in it
        share = self.right / np.where(wanted > 0, wanted, 1.0)
        return np.asarray(self.is_empty * np.exp(-self.wanted_if_empty) + (1 - self.is_empty) * share)


def _now(found: Regions[Places]) -> _Outlook:
    images = len(found.undrawn)
    is_kept = found.existence > LIKELIER
    left_out = np.where(is_kept, 0.0, found.existence)
    kept = np.bincount(found.image, weights=is_kept, minlength=images)
    wanted_beside = np.bincount(found.image, weights=left_out, minlength=images) + found.missed
    scores = found.scores if found.attributes is None else found.scores * found.attributes.sure
    right = np.bincount(found.image, weights=scores * is_kept, minlength=images)
    return _Outlook(np.asarray(right), kept + wanted_beside, (kept == 0).astype(np.float64), wanted_beside)


def _then(found: Regions[Places], pairs: Ints) -> _Outlook:
    """Of what somebody has drawn already, after another look."""
    first = np.searchsorted(found.image, np.arange(len(found.undrawn) + 1))
    count = np.diff(first)[pairs[:, 0]]
    pair = np.repeat(np.arange(len(pairs)), count)
    thing = first[pairs[pair, 0]] + np.arange(len(pair)) - np.repeat(np.cumsum(count) - count, count)
    annotator = pairs[pair, 1]
    there, ghost = found.existence[thing, None] * found.classes[thing], 1 - found.existence[thing]
    drawn = _Drawn.of(found, annotator, there, ghost)
    left = there * (1 - found.recall[annotator])
    left_there, left_ghost = left.sum(axis=1), ghost * (1 - found.false_positive_rate[annotator])
    stays = left_there > left_ghost
    drawn_right, left_right = drawn.right, np.where(stays, left.max(axis=1, initial=0.0), 0.0)
    if found.attributes is not None:
        drawn_right = drawn_right * found.attributes.after(thing, annotator)
        left_right *= found.attributes.sure[thing]
    is_kept = drawn.kept + np.where(stays, left_there + left_ghost, 0.0)
    left_out = drawn.left_out + np.where(stays, 0.0, left_there)
    goes = np.maximum(1 - is_kept, 0.0)

    def by_pair(values: Floats) -> Floats:
        return np.asarray(np.bincount(pair, weights=values, minlength=len(pairs)))

    is_empty = np.ones(len(pairs))
    np.multiply.at(is_empty, pair, goes)
    return _Outlook(
        right=by_pair(drawn_right + left_right),
        wanted=by_pair(is_kept + left_out),
        is_empty=is_empty,
        wanted_if_empty=by_pair(left_out / np.maximum(goes, _SMALLEST)),
    )


def _newly_drawn(found: Regions[Places], pairs: Ints) -> _Outlook:
    """Of what nobody has drawn yet."""
    image, annotator = pairs.T
    there, ghost = found.undrawn[image, :-1], found.undrawn[image, -1]
    drawn = _Drawn.of(found, annotator, there, ghost)
    left_out = drawn.left_out + (there * (1 - found.recall[annotator])).sum(axis=1)
    return _Outlook(drawn.right, drawn.kept + left_out, np.exp(-drawn.kept), left_out)


@dataclass(frozen=True)
class _Drawn:
    """What is expected where an annotator draws what may be there; R rows."""

    right: Floats  # (R,) how much that is kept then is there and of its likeliest class
    kept: Floats  # (R,) how much is kept
    left_out: Floats  # (R,) how much is there and not kept

    @classmethod
    def of(cls, found: Regions[Places], annotator: Ints, there: Floats, ghost: Floats) -> "_Drawn":
        """From how much is there of each class `(R, C)`, and how many are false objects `(R,)`."""
        called = (there * found.recall[annotator])[:, :, None] * found.confusion[annotator]  # (R, C, C)
        truly = called.sum(axis=1)
        falsely = (ghost * found.false_positive_rate[annotator])[:, None] * found.ghost_calls
        is_kept: Bools = truly > falsely
        return cls(
            right=np.where(is_kept, called.max(axis=1, initial=0.0), 0.0).sum(axis=1),
            kept=np.where(is_kept, truly + falsely, 0.0).sum(axis=1),
            left_out=np.where(is_kept, 0.0, truly).sum(axis=1),
        )


def _blocks(sizes: Ints) -> Iterator[slice]:
    """Slices of rows of these sizes that hold about a block of numbers each."""
    block = np.cumsum(sizes) // _BLOCK
    bounds = [0, *(np.flatnonzero(np.diff(block)) + 1).tolist(), len(sizes)]
    for start, end in pairwise(bounds):
        yield slice(start, end)
