"""Regions drawn as areas, polygons and masks: how far two overlap, and one outline from several.

Masks are compared pixel by pixel, polygons along lines across both, exactly along each. What several drew is voted on
in pixels, of polygons in cells, so fine that there are some hundred along the longer side and some across what is thin,
such as a crack. What comes out is never farther from what was voted for than the best that somebody drew.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self, TypeAlias, TypeVar

import numpy as np

from curation import iou
from labeling.geometry import Mask, Polygon
from store.arrays import Bools, Floats, Ints

Area: TypeAlias = Polygon | Mask
AnArea = TypeVar("AnArea", Polygon, Mask, Polygon | Mask)

_LINES = 256  # across two polygons, and one more for each corner
_CELLS = 256  # along the longer side,
_ACROSS = 16  # and across the thinnest,
_MOST_CELLS = 1 << 21  # as far as there are no more,
_MOST_ALONG = 1 << 16  # nor in a row
_MOST_PIXELS = 1 << 24  # that masks are compared by one by one; of larger ones every second, third, …
_ROUNDS = 3  # of weighing annotators by how far they are off
_USUAL_SPREAD = 0.15  # 1 - IoU with the fused area, believed of everybody
_ALIKE = 5.0  # how many areas that belief counts as


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
            result[i, j] = _likeness(first[i], second[j])
        return result

    def fused(self, thing: Ints, annotator: Ints, *, things: int, annotators: int) -> tuple[Self, Floats]:
        """What the weightier part of those who drew it holds for inside, cell by cell; see `Places`.

        Where exactly half hold for it, the outline runs midway between theirs. Whose areas differ more from what comes
        out has less weight.
        """
        order = np.argsort(thing, kind="stable")
        members = np.split(order, np.cumsum(np.bincount(thing, minlength=things))[:-1])
        spread: Floats = np.full(annotators, _USUAL_SPREAD)
        shapes: list[Area] = []
        for is_last in (*[False] * (_ROUNDS - 1), True):
            squares, given = np.zeros(annotators), np.zeros(annotators)
            for mine in members:
                voted = _Voted.of([self.shapes[row] for row in mine], spread[annotator[mine]] ** -2.0)
                if is_last:
                    shapes.append(voted.shape())
                if len(mine) > 1:
                    np.add.at(squares, annotator[mine], (1 - voted.likeness) ** 2)
                    np.add.at(given, annotator[mine], 1)
            spread = np.sqrt((squares + _ALIKE * _USUAL_SPREAD**2) / (given + _ALIKE))
        return type(self)(shapes), spread


def _likeness(first: Area, second: Area) -> float:
    """How far two overlap; of two masks by their runs, of two polygons by lines."""
    if isinstance(first, Polygon) and isinstance(second, Polygon):
        return _along_lines(first, second)
    if (
        isinstance(first, Mask)
        and isinstance(second, Mask)
        and (first.height, first.width) == (second.height, second.width)
    ):
        shared, either = first.shared(second), sum(first.runs[1::2]) + sum(second.runs[1::2])
        return shared / (either - shared) if either > shared else 0.0
    return _overlap(*_Grid.over([first, second]).paint([first, second]))


def _along_lines(first: Polygon, second: Polygon) -> float:
    """How far two overlap on level lines, each for the strip around it; no strip has a corner inside.

    So only where outlines cross within a strip is what it stands for not exact.
    """
    outlines = [_points(first), _points(second)]
    heights = np.unique(np.concatenate(outlines)[:, 1])
    if len(heights) < 2:
        return 0.0
    lines = np.ceil(np.diff(heights) / (heights[-1] - heights[0]) * _LINES).astype(np.int64)
    thick = np.repeat(np.diff(heights) / lines, lines)
    levels = np.repeat(heights[:-1], lines) + (_counted(lines) + 0.5) * thick
    crossings = [_crossings(each, levels) for each in outlines]
    row, crossing = (np.concatenate(each) for each in zip(*crossings, strict=True))
    of_first = np.arange(len(row)) < len(crossings[0][0])
    order = np.lexsort((crossing, row))
    # each line crosses an outline an even number of times, so that what lies between two lines is outside both
    in_first, in_second = (np.cumsum(each[order])[:-1] % 2 == 1 for each in (of_first, ~of_first))
    pieces = np.diff(crossing[order]) * thick[row[order][:-1]]
    either = float(pieces[in_first | in_second].sum())
    return float(pieces[in_first & in_second].sum()) / either if either > 0 else 0.0


def _crossings(points: Floats, levels: Floats) -> tuple[Ints, Floats]:
    """Which of the sorted levels an outline `(N, 2)` crosses, and where."""
    ends = np.roll(points, -1, axis=0)
    first, last = np.searchsorted(levels, np.sort(np.stack([points[:, 1], ends[:, 1]]), axis=0))
    edge = np.repeat(np.arange(len(points)), last - first)
    row = first[edge] + _counted(last - first)
    slope = (ends[edge, 0] - points[edge, 0]) / (ends[edge, 1] - points[edge, 1])
    return row, points[edge, 0] + (levels[row] - points[edge, 1]) * slope


def _counted(sizes: Ints) -> Ints:
    """0 … size - 1 of each in turn."""
    return np.asarray(np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes))


def _all_bounds(shapes: Sequence[Area]) -> Floats:
    return np.array([_bounds(shape) for shape in shapes], dtype=np.float64).reshape(-1, 4)


def _bounds(shape: Area) -> tuple[float, float, float, float]:
    if isinstance(shape, Polygon):
        across, down = zip(*shape.points, strict=True) if shape.points else ((0.0,), (0.0,))
        return min(across), min(down), max(across), max(down)
    left, top, right, bottom = shape.box()
    return float(left), float(top), float(right), float(bottom)


def _extent(bounds: Floats) -> Floats:
    """How wide and how high all is within bounds `(N, 4)`."""
    return np.asarray(bounds[:, 2:].max(axis=0) - bounds[:, :2].min(axis=0))


def _points(polygon: Polygon) -> Floats:
    """`(N, 2)`."""
    return np.array(polygon.points, dtype=np.float64).reshape(-1, 2)


def _turned(shape: AnArea, turn: float) -> AnArea:
    """A polygon turned counterclockwise about the image's corner, in radians; a mask as it is."""
    if isinstance(shape, Mask) or turn == 0:
        return shape
    x, y = _points(shape).T
    cosine, sine = np.cos(turn), np.sin(turn)
    places = np.stack([cosine * x + sine * y, cosine * y - sine * x], axis=1)
    return replace(shape, points=tuple((float(x), float(y)) for x, y in places))


def _direction(points: Floats) -> float:
    """Along which the smallest rectangle around `(N, 2)` points lies, in radians."""
    import cv2

    if not len(points):
        return 0.0
    near = (points - points.mean(axis=0)).astype(np.float32)  # as OpenCV counts in single precision
    return float(np.radians(cv2.minAreaRect(near)[2]))


def _thickness(points: Floats) -> float:
    """How wide a strip with the area and the outline of a polygon `(N, 2)` is, in pixels."""
    if not len(points):
        return 0.0
    x, y = (points - points.mean(axis=0)).T
    around = float(np.hypot(*(np.roll(points, -1, axis=0) - points).T).sum())
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / around if around else 0.0


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
class _Voted:
    """What several people voted for, with weights `(N,)`, by what each of them drew."""

    drawn: Sequence[Area]  # N
    weights: Floats  # (N,)
    likeness: Floats  # (N,) how far each overlaps with what they voted for
    on: "tuple[_Grid, Bools] | None"  # and where that is inside; none where all drew alike

    @classmethod
    def of(cls, drawn: Sequence[Area], weights: Floats) -> "_Voted":
        if all(each == drawn[0] for each in drawn):
            return cls(drawn, weights, np.ones(len(drawn)), None)
        grid = _Grid.over(drawn)
        cells = grid.paint(drawn)
        inside = _vote(cells, weights)
        return cls(drawn, weights, np.array([_overlap(each, inside) for each in cells]), (grid, inside))

    def shape(self) -> Area:
        """One outline, or the best that somebody drew where that is nearer to what was voted for."""
        if self.on is None:
            return self.drawn[0]
        grid, inside = self.on
        shape = grid.shape(inside, like=self.drawn)
        best = int(np.lexsort((self.weights, self.likeness))[-1])
        is_better = _overlap(grid.paint([shape])[0], inside) >= self.likeness[best] > 0
        return shape if is_better else self.drawn[best]


@dataclass(frozen=True)
class _Grid:
    """Cells over a part of the image, which is turned first."""

    left: float
    top: float
    step: float  # pixels a cell is wide and high
    rows: int
    columns: int
    turn: float = 0.0  # radians

    @classmethod
    def over(cls, shapes: Sequence[Area]) -> "_Grid":
        """Over all the shapes cover, with a margin; whole pixels where there are masks, else along what is thin."""
        bounds = _all_bounds(shapes)
        if any(isinstance(shape, Mask) for shape in shapes):
            step = max(1.0, np.ceil(np.sqrt(np.prod(_extent(bounds)) / _MOST_PIXELS)))
            return cls._of(np.floor(bounds), step)
        outlines = [_points(shape) for shape in shapes if isinstance(shape, Polygon)]
        thinnest, turn = min(map(_thickness, outlines)) / _ACROSS, 0.0
        if thinnest < _extent(bounds).max() / _CELLS:
            turn = _direction(np.concatenate(outlines))
            bounds = _all_bounds([_turned(shape, turn) for shape in shapes])
        longer, covered = _extent(bounds).max(), np.prod(_extent(bounds))
        wished = min(longer / _CELLS, thinnest)
        return cls._of(bounds, max(wished, np.sqrt(covered / _MOST_CELLS), longer / _MOST_ALONG, 1e-6), turn)

    @classmethod
    def _of(cls, bounds: Floats, step: float, turn: float = 0.0) -> "_Grid":
        left, top = (bounds[:, :2].min(axis=0) - step).tolist()
        columns, rows = np.maximum(np.ceil(_extent(bounds) / step), 1).astype(int) + 2
        return cls(left, top, float(step), int(rows), int(columns), turn)

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
        heights = self.top + (np.arange(self.rows) + 0.5) * self.step
        row, crossing = _crossings(_points(_turned(shape, self.turn)), heights)
        column = np.clip(np.ceil((crossing - self.left) / self.step - 0.5), 0, self.columns).astype(np.int64)
        crossings = np.zeros((self.rows, self.columns + 1), dtype=np.uint8)  # whose last bit tells
        np.add.at(crossings, (row, column), 1)
        return np.asarray((crossings.cumsum(axis=1, dtype=np.uint8)[:, : self.columns] & 1).astype(np.bool_))

    def _mask(self, shape: Mask) -> Bools:
        """Every so many pixels one, as with masks the cells begin and end between pixels."""
        down = np.floor(self.top + (np.arange(self.rows) + 0.5) * self.step).astype(np.int64)
        across = np.floor(self.left + (np.arange(self.columns) + 0.5) * self.step).astype(np.int64)
        rows, columns = np.searchsorted(down, (0, shape.height)), np.searchsorted(across, (0, shape.width))
        cells: Bools = np.zeros((self.rows, self.columns), dtype=np.bool_)
        if rows[0] < rows[1] and columns[0] < columns[1]:
            first, step = int(down[rows[0]]), int(self.step)
            pixels = shape.pixels(first, int(down[rows[1] - 1]) + 1)
            within = pixels[::step, across[columns[0]] : across[columns[1] - 1] + 1 : step]
            cells[slice(*rows), slice(*columns)] = within
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

        rows, columns = inside.shape
        # corners of cells and what is between them, so that the outline runs where the cells end
        corners = np.zeros((2 * rows + 1, 2 * columns + 1), dtype=np.uint8)
        for down, across in np.ndindex(3, 3):
            corners[down : down + 2 * rows : 2, across : across + 2 * columns : 2] |= inside
        outlines, _ = cv2.findContours(corners, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        if not outlines:
            return Polygon(())
        outline = cv2.approxPolyDP(max(outlines, key=cv2.contourArea), 1.0, True)[:, 0].astype(np.float64)
        places = outline / 2 * self.step + (self.left, self.top)
        return _turned(Polygon(tuple((float(x), float(y)) for x, y in places)), -self.turn)
