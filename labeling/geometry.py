"""Where something is in an image, in pixels of the upright image: x to the right, y down, from its top-left corner."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np

from store.arrays import Bools, Ints
from store.errors import InvalidInputError

Point: TypeAlias = tuple[float, float]  # x, y


@dataclass(frozen=True)
class Box:
    """A rectangle, turned clockwise by `rotation` degrees about its top-left corner, which stays at x, y."""

    x: float
    y: float
    width: float
    height: float
    rotation: float = 0.0
    shape: Literal["box"] = "box"

    def corners(self) -> tuple[Point, Point, Point, Point]:
        """The top-left, top-right, bottom-right and bottom-left corner, after turning."""
        turn = math.radians(self.rotation)
        right = (self.width * math.cos(turn), self.width * math.sin(turn))
        down = (-self.height * math.sin(turn), self.height * math.cos(turn))
        return (
            (self.x, self.y),
            (self.x + right[0], self.y + right[1]),
            (self.x + right[0] + down[0], self.y + right[1] + down[1]),
            (self.x + down[0], self.y + down[1]),
        )


@dataclass(frozen=True)
class Polygon:
    """A line through points; closed, the last is joined to the first."""

    points: tuple[Point, ...]
    closed: bool = True
    shape: Literal["polygon"] = "polygon"


@dataclass(frozen=True)
class Mask:
    """Which pixels belong to it: lengths of runs in reading order, alternately outside and inside, outside first."""

    height: int
    width: int
    runs: tuple[int, ...]
    shape: Literal["mask"] = "mask"

    @classmethod
    def of(cls, pixels: Bools) -> "Mask":
        """The mask of `(height, width)` bool."""
        height, width = pixels.shape
        flat = pixels.ravel()
        edges = np.flatnonzero(np.diff(flat)) + 1
        bounds = np.concatenate([[0], edges, [flat.size]]) if flat.size else np.array([0])
        runs = np.diff(bounds).tolist()
        return cls(height, width, (0, *runs) if flat.size and flat[0] else tuple(runs))

    def pixels(self, first: int = 0, last: int | None = None) -> Bools:
        """`(height, width)` bool, or the rows from the first to before the last of it.

        Raises:
            InvalidInputError: the runs are not as long as the mask is large.
        """
        last = self.height if last is None else last
        lengths = np.diff(np.clip(self._bounds, first * self.width, last * self.width))
        inside = np.arange(len(lengths)) % 2 == 1
        return np.repeat(inside, lengths).reshape(last - first, self.width)

    def box(self) -> tuple[int, int, int, int]:
        """The first column and row with a pixel of it, and those after the last; all 0 where there is none.

        Raises:
            InvalidInputError: the runs are not as long as the mask is large.
        """
        begin, end = self._bounds[1:-1:2], self._bounds[2::2]
        begin, end = begin[begin < end], end[begin < end]
        if not len(begin):
            return 0, 0, 0, 0
        top, bottom = int(begin[0]) // self.width, (int(end[-1]) - 1) // self.width + 1
        if (begin // self.width != (end - 1) // self.width).any():  # goes on at the left edge of the next row
            return 0, top, self.width, bottom
        return int((begin % self.width).min()), top, int(((end - 1) % self.width).max()) + 1, bottom

    def shared(self, other: "Mask") -> int:
        """How many pixels belong to both.

        Raises:
            InvalidInputError: they are not of one size, or their runs are not as long as they are large.
        """
        if (self.height, self.width) != (other.height, other.width):
            raise InvalidInputError(
                f"A mask of {self.width} × {self.height} pixels has none in common with one of {other.width} × "
                f"{other.height}."
            )
        begin = np.union1d(self._bounds, other._bounds)
        is_inside = [np.searchsorted(each._bounds, begin[:-1], side="right") % 2 == 0 for each in (self, other)]
        return int(np.diff(begin)[is_inside[0] & is_inside[1]].sum())

    @cached_property
    def _bounds(self) -> Ints:
        """`(runs + 1,)`: where each run begins in reading order, and where the last ends."""
        if min(self.runs, default=0) < 0 or sum(self.runs) != self.height * self.width:
            raise InvalidInputError(
                f"A mask of {self.width} × {self.height} pixels has {self.height * self.width}, "
                f"but its runs cover {sum(self.runs)}."
            )
        return np.concatenate([[0], np.cumsum(np.array(self.runs, dtype=np.int64))])


@dataclass(frozen=True)
class Keypoint:
    """A point, drawn as a dot of this width."""

    x: float
    y: float
    width: float = 1.0
    shape: Literal["keypoint"] = "keypoint"


Shape: TypeAlias = Box | Polygon | Mask | Keypoint
