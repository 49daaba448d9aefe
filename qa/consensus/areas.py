"""Regions drawn as areas, polygons and masks: how far two overlap, and one outline from several.

Areas are compared on a grid of cells over what they cover, so fine that it has some hundred along the longer side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self, TypeAlias

import numpy as np

from curation import iou
from labeling.geometry import Mask, Polygon
from store.arrays import Bools, Floats, Ints

Area: TypeAlias = Polygon | Mask

_CELLS = 256  # along the longer side
_ROUNDS = 3  # of weighing annotators by how far they are off
_USUAL_SPREAD = 0.15  # 1 - IoU with the fused area, believed of everybody
_ALIKE = 5.0  # how many areas that belief counts as
_FINER = 2  # points of an outline to a cell


@dataclass(frozen=True)
class Areas:
    """Polygons and masks, alike by intersection over union."""

    shapes: Sequence[Area]
    least: ClassVar[float] = 0.4

    def keys(self) -> Floats:
        """The bounds: left, top, right, bottom; all 0 of an empty mask."""
        return _all_bounds(self.shapes)

    def likeness(self, rows: Ints, others: Ints) -> Floats:
        """See `qa.consensus.places.Places`."""
        first, second = ([self.shapes[row] for row in each] for each in (rows, others))
        result = np.zeros((len(rows), len(others)))
        for i, j in zip(*np.nonzero(iou.of_boxes(_all_bounds(first), _all_bounds(second)) > 0), strict=True):
            pair = [first[i], second[j]]
            result[i, j] = _overlap(*_Grid.over(pair).paint(pair))
        return result

    def fused(self, thing: Ints, annotator: Ints, *, things: int, annotators: int) -> tuple[Self, Floats]:
        """What the weightier part of those who drew it holds for inside, cell by cell; see `Places`.

        Where exactly half hold for it, the outline runs midway between theirs. Whose areas differ more from what comes
        out has less weight.
        """
        order = np.argsort(thing, kind="stable")
        members = np.split(order, np.cumsum(np.bincount(thing, minlength=things))[:-1])
        spread: Floats = np.full(annotators, _USUAL_SPREAD)
        for _ in range(_ROUNDS):
            squares, given = np.zeros(annotators), np.zeros(annotators)
            shapes: list[Area] = []
            for mine in members:
                drawn = [self.shapes[row] for row in mine]
                grid = _Grid.over(drawn)
                cells = grid.paint(drawn)
                inside = _vote(cells, spread[annotator[mine]] ** -2.0)
                shapes.append(grid.shape(inside, like=drawn))
                if len(mine) > 1:
                    off = np.array([1 - _overlap(each, inside) for each in cells])
                    np.add.at(squares, annotator[mine], off**2)
                    np.add.at(given, annotator[mine], 1)
            spread = np.sqrt((squares + _ALIKE * _USUAL_SPREAD**2) / (given + _ALIKE))
        return type(self)(shapes), spread


def _all_bounds(shapes: Sequence[Area]) -> Floats:
    return np.array([_bounds(shape) for shape in shapes], dtype=np.float64).reshape(-1, 4)


def _bounds(shape: Area) -> tuple[float, float, float, float]:
    if isinstance(shape, Polygon):
        across, down = zip(*shape.points, strict=True) if shape.points else ((0.0,), (0.0,))
        return min(across), min(down), max(across), max(down)
    left, top, right, bottom = shape.box()
    return float(left), float(top), float(right), float(bottom)


def _overlap(first: Bools, second: Bools) -> float:
    either = int((first | second).sum())
    return float((first & second).sum() / either) if either else 0.0


def _vote(cells: Sequence[Bools], weights: Floats) -> Bools:
    """`(H, W)`: where those who hold for inside weigh more than the others."""
    balance = sum(np.where(each, weight, -weight) for each, weight in zip(cells, weights, strict=True))
    inside: Bools = balance > 1e-9 * weights.sum()
    even = np.abs(balance) <= 1e-9 * weights.sum()
    if even.any():
        inside |= even & (sum(map(_depth, cells)) > 0)
    return inside


def _depth(cells: Bools) -> Floats:
    """How far each cell is inside, below 0 outside; cells."""
    import cv2

    inner, outer = (
        cv2.distanceTransform(np.pad(each, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
        for each in (cells, ~cells)
    )
    return np.asarray(inner - outer, dtype=np.float64)


@dataclass(frozen=True)
class _Grid:
    """Cells over a part of the image."""

    left: float
    top: float
    step: float  # pixels a cell is wide and high
    rows: int
    columns: int

    @classmethod
    def over(cls, shapes: Sequence[Area]) -> "_Grid":
        """Over all the shapes cover, with a margin; whole pixels where there are masks of no more than that."""
        bounds = _all_bounds(shapes)
        left, top = bounds[:, :2].min(axis=0)
        right, bottom = bounds[:, 2:].max(axis=0)
        step = max(float(max(right - left, bottom - top)) / _CELLS, 1e-6)
        if any(isinstance(shape, Mask) for shape in shapes):
            step, left, top = max(1.0, np.ceil(step)), np.floor(left), np.floor(top)
        rows, columns = (int(np.ceil((end - start) / step)) for start, end in ((top, bottom), (left, right)))
        return cls(float(left - step), float(top - step), float(step), max(rows, 1) + 2, max(columns, 1) + 2)

    def paint(self, shapes: Sequence[Area]) -> list[Bools]:
        """Of each shape the cells whose middle is inside."""
        return [self._polygon(each) if isinstance(each, Polygon) else self._mask(each) for each in shapes]

    def shape(self, inside: Bools, *, like: Sequence[Area]) -> Area:
        """The cells as a mask if there is one among `like`, else as a polygon: the outline of the largest part."""
        for each in like:
            if isinstance(each, Mask):
                return self._as_mask(inside, each)
        return self._as_polygon(inside)

    def _polygon(self, shape: Polygon) -> Bools:
        """A cell is inside if a line from its left crosses the outline an odd number of times."""
        points = np.array(shape.points, dtype=np.float64).reshape(-1, 2)
        ends = np.roll(points, -1, axis=0)
        heights = self.top + (np.arange(self.rows) + 0.5) * self.step
        row, edge = np.nonzero((points[:, 1] > heights[:, None]) != (ends[:, 1] > heights[:, None]))
        slope = (ends[edge, 0] - points[edge, 0]) / (ends[edge, 1] - points[edge, 1])
        crossing = points[edge, 0] + (heights[row] - points[edge, 1]) * slope
        column = np.clip(np.ceil((crossing - self.left) / self.step - 0.5), 0, self.columns).astype(np.int64)
        crossings = np.zeros((self.rows, self.columns + 1), dtype=np.int64)
        np.add.at(crossings, (row, column), 1)
        return np.asarray(crossings.cumsum(axis=1)[:, : self.columns] % 2 == 1)

    def _mask(self, shape: Mask) -> Bools:
        down = np.floor(self.top + (np.arange(self.rows) + 0.5) * self.step).astype(np.int64)
        across = np.floor(self.left + (np.arange(self.columns) + 0.5) * self.step).astype(np.int64)
        in_rows, in_columns = (down >= 0) & (down < shape.height), (across >= 0) & (across < shape.width)
        cells: Bools = np.zeros((self.rows, self.columns), dtype=np.bool_)
        down, across = down[in_rows], across[in_columns]
        if len(down):
            first = int(down[0])
            pixels = shape.pixels(first, int(down[-1]) + 1)
            cells[np.ix_(in_rows, in_columns)] = pixels[down - first][:, across]
        return cells

    def _as_mask(self, inside: Bools, like: Mask) -> Mask:
        row = np.floor((np.arange(like.height) + 0.5 - self.top) / self.step).astype(np.int64)
        column = np.floor((np.arange(like.width) + 0.5 - self.left) / self.step).astype(np.int64)
        in_rows, in_columns = (row >= 0) & (row < self.rows), (column >= 0) & (column < self.columns)
        pixels: Bools = np.zeros((like.height, like.width), dtype=np.bool_)
        pixels[np.ix_(in_rows, in_columns)] = inside[np.ix_(row[in_rows], column[in_columns])]
        return Mask.of(pixels)

    def _as_polygon(self, inside: Bools) -> Polygon:
        import cv2

        fine = inside.repeat(_FINER, axis=0).repeat(_FINER, axis=1).astype(np.uint8)
        outlines, _ = cv2.findContours(fine, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        if not outlines:
            return Polygon(())
        outline = cv2.approxPolyDP(max(outlines, key=cv2.contourArea), 1.0, True)[:, 0].astype(np.float64)
        places = (outline + 0.5) / _FINER * self.step + (self.left, self.top)
        return Polygon(tuple((float(x), float(y)) for x, y in places))
