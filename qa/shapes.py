"""Shapes as the places that consensus compares and fuses, and back."""

import math
from collections.abc import Sequence

import numpy as np

from labeling.geometry import Box, Keypoint, Mask, Polygon, Shape
from qa.consensus.areas import Areas
from qa.consensus.places import Boxes, Keypoints, Places, RotatedBoxes
from store.arrays import Floats, Ints

_NEAR = 0.02  # of an image's diagonal: keypoints so far apart are as likely one thing as two


def sort(shapes: Sequence[Shape], diagonals: Floats) -> list[tuple[Ints, Places]]:
    """The rows of the boxes, of the areas and of the keypoints among R shapes, and their places; of what there is.

    Args:
        shapes: R of them.
        diagonals: `(R,)`, of the image each is in, in pixels.
    """
    boxes = [(row, shape) for row, shape in enumerate(shapes) if isinstance(shape, Box)]
    areas = [(row, shape) for row, shape in enumerate(shapes) if isinstance(shape, Polygon | Mask)]
    points = [(row, shape) for row, shape in enumerate(shapes) if isinstance(shape, Keypoint)]
    found: list[tuple[Ints, Places]] = []
    if boxes:
        found.append((_rows(boxes), _boxes([box for _, box in boxes])))
    if areas:
        found.append((_rows(areas), Areas([area for _, area in areas])))
    if points:
        rows = _rows(points)
        places = np.array([(point.x, point.y) for _, point in points], dtype=np.float64)
        found.append((rows, Keypoints(places, _NEAR * diagonals[rows])))
    return found


def at(places: Places, row: int) -> Shape:
    """The shape at a place."""
    match places:
        case Boxes(sides):
            left, top, right, bottom = sides[row].tolist()
            return Box(left, top, right - left, bottom - top)
        case RotatedBoxes(turned):
            return _about_corner(*turned[row].tolist())
        case Areas(shapes):
            return shapes[row]
        case Keypoints(points):
            x, y = points[row].tolist()
            return Keypoint(x, y)
    raise TypeError(f"{type(places).__name__} are no places of shapes.")


def likeness(first: Sequence[Shape], second: Sequence[Shape], *, diagonal: float) -> Floats:
    """`(N, M)` float64, 0 to 1: how far shapes in one image overlap, of keypoints how near they are.

    Args:
        first: N of them.
        second: M of them; what is of another kind is not alike at all.
        diagonal: of the image, in pixels.
    """
    result = np.zeros((len(first), len(second)))
    together = [*first, *second]
    for rows, places in sort(together, np.full(len(together), diagonal)):
        is_first = rows < len(first)
        at_first, at_second = np.flatnonzero(is_first), np.flatnonzero(~is_first)
        result[np.ix_(rows[at_first], rows[at_second] - len(first))] = places.likeness(at_first, at_second)
    return result


def likeness_of(kind: str) -> str:
    """What the likeness of shapes of a kind of task is called."""
    return "nearness" if kind == "keypoints" else "IoU"


def _rows(shapes: Sequence[tuple[int, Shape]]) -> Ints:
    return np.array([row for row, _ in shapes], dtype=np.int64)


def _boxes(boxes: Sequence[Box]) -> Places:
    """Upright ones if all of them are."""
    if not any(box.rotation for box in boxes):
        sides = [(box.x, box.y, box.x + box.width, box.y + box.height) for box in boxes]
        return Boxes(np.array(sides, dtype=np.float64))
    centres = np.array([box.corners() for box in boxes], dtype=np.float64).mean(axis=1)
    rest = np.array([(box.width, box.height, box.rotation) for box in boxes], dtype=np.float64)
    return RotatedBoxes(np.concatenate([centres, rest], axis=1))


def _about_corner(x: float, y: float, width: float, height: float, degrees: float) -> Box:
    """A box that is turned about its centre at x, y."""
    turn = math.radians(degrees)
    left = x - (width * math.cos(turn) - height * math.sin(turn)) / 2
    top = y - (width * math.sin(turn) + height * math.cos(turn)) / 2
    return Box(left, top, width, height, degrees)
