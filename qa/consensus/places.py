"""Where regions are: how alike two places are, and one place from several; boxes, rotated boxes and keypoints.

What is drawn as an area is in `qa.consensus.areas`. Places are pixels.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

import numpy as np

from curation import iou
from qa.consensus import location
from store.arrays import Floats, Ints

_LEAST_SIZE = 1.0  # pixel


class Places(Protocol):
    """The places of R regions, all of one kind."""

    least: ClassVar[float]  # the likeness from which two regions are rather one thing than two

    def keys(self) -> Floats:
        """`(R, D)` float64 that sort regions by where they are, and not by who drew them."""
        ...

    def likeness(self, rows: Ints, others: Ints) -> Floats:
        """`(N, M)` float64, 0 to 1: how alike the places of some regions and of others are."""
        ...

    def fused(self, thing: Ints, annotator: Ints, *, things: int, annotators: int) -> tuple[Self, Floats]:
        """The places of K things, and each annotator's spread `(A,)` as a share of the size of what they draw.

        Args:
            thing: `(R,)` int64, 0 … K - 1: what each region is of; each thing has one.
            annotator: `(R,)` int64, who drew it.
            things: K.
            annotators: A.
        """
        ...


@dataclass(frozen=True)
class Boxes:
    """Upright boxes, alike by intersection over union."""

    sides: Floats  # (R, 4) float64: left, top, right, bottom
    least: ClassVar[float] = 0.4

    def keys(self) -> Floats:
        """The sides."""
        return self.sides

    def likeness(self, rows: Ints, others: Ints) -> Floats:
        """See `Places`."""
        return iou.of_boxes(self.sides[rows], self.sides[others])

    def fused(self, thing: Ints, annotator: Ints, *, things: int, annotators: int) -> tuple[Self, Floats]:
        """See `Places`."""
        middle = location.medians(self.sides, thing, things=things)
        width, height = np.maximum(middle[:, 2:] - middle[:, :2], _LEAST_SIZE).T
        sizes = np.stack([width, height, width, height], axis=1)
        found = location.locate(self.sides, thing, annotator, things=things, annotators=annotators, sizes=sizes)
        return type(self)(found.places), found.spread


@dataclass(frozen=True)
class RotatedBoxes:
    """Boxes turned about their centre, alike by intersection over union."""

    turned: Floats  # (R, 5) float64: x and y of the centre, width, height, degrees clockwise
    least: ClassVar[float] = 0.4

    def keys(self) -> Floats:
        """The rows."""
        return self.turned

    def likeness(self, rows: Ints, others: Ints) -> Floats:
        """See `Places`."""
        first, second = _corners(self.turned[rows]), _corners(self.turned[others])
        shared = np.zeros((len(rows), len(others)))
        i, j = np.nonzero(iou.of_boxes(_bounds(first), _bounds(second)) > 0)
        shared[i, j] = iou.shared_by_rectangles(first[i], second[j])
        area = np.abs(self.turned[:, 2] * self.turned[:, 3])
        either = area[rows][:, None] + area[others][None, :] - shared
        return np.asarray(np.divide(shared, either, out=np.zeros_like(shared), where=shared > 0)).clip(max=1.0)

    def fused(self, thing: Ints, annotator: Ints, *, things: int, annotators: int) -> tuple[Self, Floats]:
        """See `Places`.

        A rectangle is the same turned by 90 degrees with its sides exchanged: all who drew a thing are brought to one
        such reading, which at last is turned to the one that most of them chose.
        """
        angle = np.radians(self.turned[:, 4])
        around = [np.bincount(thing, weights=part(4 * angle), minlength=things) for part in (np.sin, np.cos)]
        base = np.degrees(np.arctan2(*around)) / 4
        quarters = np.round((self.turned[:, 4] - base[thing]) / 90)
        read = _by_quarters(self.turned, -quarters)
        middle = location.medians(read, thing, things=things)
        size = np.maximum(np.sqrt(np.abs(middle[:, 2] * middle[:, 3])), _LEAST_SIZE)
        sizes = np.stack([size, size, size, size, np.full(things, np.degrees(1))], axis=1)
        found = location.locate(read, thing, annotator, things=things, annotators=annotators, sizes=sizes)
        chosen = np.stack([np.bincount(thing, weights=quarters % 4 == turn, minlength=things) for turn in range(4)])
        places = _by_quarters(found.places, chosen.argmax(axis=0))
        places[:, 4] %= 360
        return type(self)(places), found.spread


@dataclass(frozen=True)
class Keypoints:
    """Points, alike by how near they are: half at the stated distance, not at all at twice it."""

    points: Floats  # (R, 2) float64: x, y
    distance: Floats  # (R,) float64, pixels, from 0: the same for what may be one thing
    least: ClassVar[float] = 0.5

    def keys(self) -> Floats:
        """The points."""
        return self.points

    def likeness(self, rows: Ints, others: Ints) -> Floats:
        """See `Places`."""
        apart = np.linalg.norm(self.points[rows][:, None] - self.points[others][None], axis=2)
        return np.asarray(1 - apart / (2 * self.distance[rows][:, None])).clip(min=0.0)

    def fused(self, thing: Ints, annotator: Ints, *, things: int, annotators: int) -> tuple[Self, Floats]:
        """See `Places`; a point that is far off is so in both directions."""
        distance = np.bincount(thing, weights=self.distance, minlength=things) / np.bincount(thing, minlength=things)
        sizes = np.repeat(distance[:, None], 2, axis=1)
        found = location.locate(
            self.points, thing, annotator, things=things, annotators=annotators, sizes=sizes, joint=True
        )
        return type(self)(found.places, distance), found.spread


def _by_quarters(turned: Floats, quarters: Floats | Ints) -> Floats:
    """The same rectangles, read as turned by so many times 90 degrees more."""
    odd = quarters % 2 == 1
    read = turned.copy()
    read[odd, 2], read[odd, 3] = turned[odd, 3], turned[odd, 2]
    read[:, 4] += 90 * quarters
    return read


def _bounds(corners: Floats) -> Floats:
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def _corners(turned: Floats) -> Floats:
    """`(R, 4, 2)` float64: x and y of the corners, clockwise."""
    angle = np.radians(turned[:, 4])
    across = np.stack([np.cos(angle), np.sin(angle)], axis=1) * turned[:, 2:3] / 2
    down = np.stack([-np.sin(angle), np.cos(angle)], axis=1) * turned[:, 3:4] / 2
    centre = turned[:, :2]
    each = (centre - across - down, centre + across - down, centre + across + down, centre - across + down)
    return np.stack(each, axis=1)
