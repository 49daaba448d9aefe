"""Accuracy against labels bought: one point for each training-set version, all on one test set."""

import math
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from curation import predictions
from curation.evaluation import wilson
from store.schema import ImageId, Label, Prediction, PredictionRun, Version, VersionItem


@dataclass(frozen=True)
class Point:
    """How a model trained on one version did on the newest version's test images."""

    version: str
    number: int
    model: str
    train_labels: int
    correct: int
    total: int

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return self.correct / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy."""
        return wilson(self.correct, self.total)


def read(session: Session) -> list[Point]:
    """The points of the newest version's name, by version number.

    Each is the newest prediction run of its version, scored on the test split of the newest
    version. An image keeps its split for good, so no version has trained on any of them.
    """
    newest = session.scalar(select(Version).order_by(Version.created_at.desc(), Version.number.desc()).limit(1))
    if newest is None:
        return []
    runs = session.execute(
        select(Version, PredictionRun)
        .join(PredictionRun, PredictionRun.version_id == Version.id)
        .where(Version.name == newest.name)
        .order_by(Version.number, PredictionRun.id)
    )
    newest_runs = {version.number: (version, run) for version, run in runs}
    points = []
    for version, run in newest_runs.values():
        correct, total = _score(session, run, newest.id)
        train = select(func.count()).where(VersionItem.version_id == version.id, VersionItem.split == "train")
        if total:
            labels = session.scalar(train) or 0
            points.append(Point(version.id, version.number, run.model, labels, correct, total))
    return points


def _score(session: Session, run: PredictionRun, version_id: str) -> tuple[int, int]:
    """Right answers and answers of a run on a version's test images."""
    rows = session.execute(
        select(Prediction.image_id, Label.value)
        .join(VersionItem, VersionItem.image_id == Prediction.image_id)
        .join(Label, Label.id == VersionItem.label_id)
        .where(Prediction.run_id == run.id, VersionItem.version_id == version_id, VersionItem.split == "test")
    ).all()
    best = predictions.read(session, run, [ImageId(image_id) for image_id, _ in rows]).argmax(axis=1)
    return sum(run.classes[i] == value for i, (_, value) in zip(best, rows, strict=True)), len(rows)


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
