"""Where something is in an image, in pixels of the upright image: x to the right, y down, from its top-left corner."""

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from store.arrays import Bools
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

    def pixels(self) -> Bools:
        """`(height, width)` bool.

        Raises:
            InvalidInputError: the runs are not as long as the mask is large.
        """
        if min(self.runs, default=0) < 0 or sum(self.runs) != self.height * self.width:
            raise InvalidInputError(
                f"A mask of {self.width} × {self.height} pixels has {self.height * self.width}, "
                f"but its runs cover {sum(self.runs)}."
            )
        inside = np.arange(len(self.runs)) % 2 == 1
        return np.repeat(inside, self.runs).reshape(self.height, self.width)


@dataclass(frozen=True)
class Keypoint:
    """A point, drawn as a dot of this width."""

    x: float
    y: float
    width: float = 1.0
    shape: Literal["keypoint"] = "keypoint"


Shape: TypeAlias = Box | Polygon | Mask | Keypoint
