"""Accuracy against labels bought: one point for each training-set version, all on one test set."""

from dataclasses import dataclass

from sqlalchemy import func, select, true
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


def read(session: Session, model: str | None = None) -> list[Point]:
    """The points of the newest version's name, by version number; of one model, or of the newest of each version.

    Each is the newest prediction run of its version, scored on the test split of the newest
    version. An image keeps its split for good, so no version has trained on any of them.
    """
    newest = session.scalar(select(Version).order_by(Version.created_at.desc(), Version.number.desc()).limit(1))
    if newest is None:
        return []
    runs = session.execute(
        select(Version, PredictionRun)
        .join(PredictionRun, PredictionRun.version_id == Version.id)
        .where(Version.name == newest.name, true() if model is None else PredictionRun.model == model)
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
