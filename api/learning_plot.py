"""The learning curve laid out for an SVG."""

import math
from dataclasses import dataclass

from sampling.learning_curve import Point


@dataclass(frozen=True)
class Mark:
    """A point of the curve in SVG units."""

    point: Point
    x: float
    y: float
    y_low: float
    y_high: float


@dataclass(frozen=True)
class Plot:
    """The curve laid out for an SVG of `width` by `height`."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    marks: list[Mark]
    x_ticks: list[tuple[float, int]]  # place, labels
    y_ticks: list[tuple[float, float]]  # place, accuracy


def lay_out(points: list[Point], *, width: int = 560, height: int = 300) -> Plot:
    """Place the points: labels from 0 to the right, accuracy upwards over the range the intervals need."""
    left, right, top, bottom = 44, width - 24, 24, height - 40
    most = max(point.train_labels for point in points) or 1
    lowest = math.floor(min(point.interval[0] for point in points) * 20) / 20
    highest = math.ceil(max(point.interval[1] for point in points) * 20) / 20

    def x(labels: float) -> float:
        return left + (right - left) * labels / (most * 1.08)

    def y(accuracy: float) -> float:
        return bottom - (bottom - top) * (accuracy - lowest) / (highest - lowest)

    marks = [
        Mark(point, x(point.train_labels), y(point.accuracy), *(y(end) for end in point.interval)) for point in points
    ]
    x_step = _round_step(most / 4)
    x_ticks = [(x(labels), labels) for labels in range(0, most + 1, x_step)]
    y_step = 0.05 if highest - lowest <= 0.3 else 0.1
    y_values = [lowest + i * y_step for i in range(int((highest - lowest) / y_step + 1e-9) + 1)]
    return Plot(width, height, left, right, top, bottom, marks, x_ticks, [(y(value), value) for value in y_values])


def _round_step(step: float) -> int:
    """The next of 1, 2, 5, 10, 20, 50 … that is no smaller."""
    magnitude = 10 ** math.floor(math.log10(max(step, 1)))
    return next(int(magnitude * factor) for factor in (1, 2, 5, 10) if magnitude * factor >= step)
