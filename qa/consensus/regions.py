"""What is in an image, from regions several annotators drew: which are one thing, whether it is there, what, where.

Regions are matched (`matching`), whatever their classes; who drew a thing, who saw the image and did not, and what they
called it tells whether it is there and what it is (`candidates`); its place is fused from theirs (`places`, `areas`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from qa.consensus import candidates, matching
from qa.consensus.attributes import Attributes
from qa.consensus.places import Places
from store.arrays import Bools, Floats, Ints

P = TypeVar("P", bound=Places)


@dataclass(frozen=True)
class Drawn:
    """Regions, one a row; where they are is beside it."""

    image: Ints  # (R,) int64
    annotator: Ints  # (R,) int64
    classes: Ints  # (R,) int64, what each is said to be


@dataclass(frozen=True)
class Regions(Generic[P]):
    """K things that may be there, by image, and the annotators."""

    image: Ints  # (K,) int64, ascending
    places: P  # K of them
    existence: Floats  # (K,) float64, the chance that it is there
    classes: Floats  # (K, C) float64, what it is if it is there; rows sum to 1
    thing: Ints  # (R,) int64, of which thing each region is
    undrawn: Floats  # (N, C + 1) float64, things of a class that nobody drew yet, at last false objects
    recall: Floats  # (A, C) float64, the chance that an annotator draws a thing of a class,
    false_positive_rate: Floats  # (A,) float64, and a false object
    ghosts: Floats  # (A,) float64, how many things that are not there an annotator draws in an image
    spread: Floats  # (A,) float64, of an annotator's places, as a share of the size of things
    confusion: Floats  # (A, C, C) float64, what an annotator calls a thing of each class; rows sum to 1
    ghost_calls: Floats  # (C,) float64, what people call a false object
    attributes: Attributes | None = None  # of the K things; none where none were asked for

    @property
    def missed(self) -> Floats:
        """`(N,)`: how many things in an image are expected that nobody drew."""
        return np.asarray(self.undrawn[:, :-1].sum(axis=1))

    @property
    def scores(self) -> Floats:
        """`(K,)`: the chance that a thing is there and of its likeliest class."""
        return np.asarray(self.existence * self.classes.max(axis=1, initial=0.0))


def fit(
    drawn: Drawn,
    places: P,
    seen: Ints,
    *,
    images: int,
    annotators: int,
    classes: int,
    least: float | None = None,
    gold: Bools | None = None,
) -> Regions[P]:
    """Find the things behind the regions, and how good each annotator is.

    Args:
        drawn: R regions.
        places: Where they are; of one kind.
        seen: `(S, 2)` int64 rows of image and annotator: who looked at what and was done, whatever they drew.
        images: N.
        annotators: A; number A beside them is an expert, who is right about every image they saw.
        classes: C, at least 1.
        least: The likeness from which two regions are rather one thing than two; by default what is usual of the kind.
        gold: see `candidates.fit`.
    """
    thing = _things(drawn, places, places.least if least is None else least)
    things = int(thing.max(initial=-1)) + 1
    image = np.zeros(things, dtype=np.int64)
    image[thing] = drawn.image
    looked = np.concatenate([seen.reshape(-1, 2), np.stack([drawn.image, drawn.annotator], axis=1)])
    by_expert = drawn.annotator == annotators
    expert_saw = looked[looked[:, 1] == annotators, 0]
    known = np.where(np.isin(image, expert_saw), classes, -1)
    known[thing[by_expert]] = drawn.classes[by_expert]
    found = candidates.fit(
        np.stack([thing, drawn.annotator, drawn.classes], axis=1)[~by_expert],
        image,
        np.unique(looked[looked[:, 1] < annotators], axis=0),
        images=images,
        annotators=annotators,
        classes=classes,
        known=known,
        gold=gold,
    )
    fused, spread = places.fused(thing, drawn.annotator, things=things, annotators=annotators + 1)
    return Regions(
        image=image,
        places=fused,
        existence=found.existence,
        classes=found.classes,
        thing=thing,
        undrawn=np.where(np.isin(np.arange(images), expert_saw)[:, None], 0.0, found.undrawn),
        recall=found.recall,
        false_positive_rate=found.false_positive_rate,
        ghosts=found.ghosts,
        spread=spread[:annotators],
        confusion=found.confusion,
        ghost_calls=found.ghost_calls,
    )


def matched(drawn: Drawn, places: Places, least: float) -> Iterator[tuple[Ints, Ints, Floats]]:
    """Of each image with regions, in order, these as rows `(R,)`, the thing each is of, from 0, and their likeness."""
    order = np.lexsort((drawn.classes, *places.keys().T[::-1], drawn.image))
    for rows in np.split(order, np.flatnonzero(np.diff(drawn.image[order])) + 1) if len(order) else ():
        likeness = places.likeness(rows, rows)
        yield rows, matching.match(likeness, drawn.annotator[rows], least=least), likeness


def _things(drawn: Drawn, places: Places, least: float) -> Ints:
    """The number of the thing each region is of, images in their order."""
    thing: Ints = np.zeros(len(drawn.image), dtype=np.int64)
    count = 0
    for rows, inside, _ in matched(drawn, places, least):
        thing[rows] = count + inside
        count += int(inside.max()) + 1
    return thing
