"""What a prediction run says of images: the one place where stored predictions are decoded."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from store.arrays import Floats, Vectors
from store.errors import NotFoundError
from store.schema import BoxPrediction, ImageId, Prediction, PredictionRun

_BLOCK = 4096  # images a query


@dataclass(frozen=True)
class Box:
    """An object a model found, in pixels of the upright image."""

    x: float
    y: float
    width: float
    height: float
    name: str  # its class
    score: float
    probabilities: Vectors | None  # (C,), where the model gave them


@dataclass(frozen=True)
class RunSummary:
    """One prediction run."""

    id: int
    model: str
    kind: str
    classes: list[str]
    passes: int
    images: int
    version: str | None  # what it was trained on, where known
    created_at: datetime


def newest_run(session: Session, model: str) -> PredictionRun:
    """The newest run of a model.

    Raises:
        NotFoundError: there is none.
    """
    newest = select(PredictionRun).where(PredictionRun.model == model).order_by(PredictionRun.id.desc()).limit(1)
    run = session.scalar(newest)
    if run is None:
        raise NotFoundError(f"There are no predictions of {model!r}. See: winnow predictions list.")
    return run


def list_runs(session: Session) -> list[RunSummary]:
    """Every run, the newest first."""
    counts = {
        run_id: images
        for table in (Prediction, BoxPrediction)
        for run_id, images in session.execute(select(table.run_id, func.count()).group_by(table.run_id))
    }
    runs = session.scalars(select(PredictionRun).order_by(PredictionRun.id.desc()))
    return [
        RunSummary(
            run.id, run.model, run.kind, run.classes, run.passes, counts.get(run.id, 0), run.version_id, run.created_at
        )
        for run in runs
    ]


def predicted(session: Session, run: PredictionRun) -> list[ImageId]:
    """The images that a run says something of, ascending."""
    table = BoxPrediction if run.kind == "boxes" else Prediction
    image_ids = session.scalars(select(table.image_id).where(table.run_id == run.id).order_by(table.image_id))
    return [ImageId(image_id) for image_id in image_ids]


def read_energies(session: Session, run: PredictionRun, image_ids: Sequence[ImageId]) -> Floats:
    """Free energies `(N,)`, high for what is unlike the training images, of a run that was given as logits.

    Raises:
        NotFoundError: the run holds none for some of them.
    """
    energies: dict[int, float | None] = dict(
        session.execute(select(Prediction.image_id, Prediction.energy).where(Prediction.run_id == run.id)).all()
    )
    _check(run, image_ids, {image_id: energy for image_id, energy in energies.items() if energy is not None})
    return np.array([energies[image_id] for image_id in image_ids], dtype=np.float64)


def read(session: Session, run: PredictionRun, image_ids: Sequence[ImageId]) -> Vectors:
    """Class probabilities `(N, C)` in the order of `image_ids` and of the run's classes; of passes their mean.

    Raises:
        NotFoundError: the run holds none for some of them.
    """
    means = np.empty((len(image_ids), len(run.classes)), dtype=np.float32)
    for start, block in _blocks(session, run, image_ids):
        means[start : start + len(block)] = block.mean(axis=1, dtype=np.float64)
    return means


def read_passes(session: Session, run: PredictionRun, image_ids: Sequence[ImageId]) -> Vectors:
    """Class probabilities `(N, M, C)` of each pass, otherwise as `read` gives them.

    Raises:
        NotFoundError: the run holds none for some of them.
    """
    passes = np.empty((len(image_ids), run.passes, len(run.classes)), dtype=np.float32)
    for start, block in _blocks(session, run, image_ids):
        passes[start : start + len(block)] = block
    return passes


def read_boxes(session: Session, run: PredictionRun, image_ids: Sequence[ImageId]) -> list[list[list[Box]]]:
    """For each image and each pass, the boxes, in the order they were given.

    Raises:
        NotFoundError: the run holds none for some of them, not even an empty list.
    """
    found: list[list[list[Box]]] = []
    for start in range(0, len(image_ids), _BLOCK):
        block = image_ids[start : start + _BLOCK]
        rows: dict[int, list[Any]] = dict(
            session.execute(
                select(BoxPrediction.image_id, BoxPrediction.passes).where(
                    BoxPrediction.run_id == run.id, BoxPrediction.image_id.in_(block)
                )
            ).all()
        )
        _check(run, block, rows)
        found += [[[_box(one) for one in boxes] for boxes in rows[image_id]] for image_id in block]
    return found


def _blocks(session: Session, run: PredictionRun, image_ids: Sequence[ImageId]) -> Iterator[tuple[int, Vectors]]:
    """Where a block of the images starts, and its `(n, M, C)`."""
    for start in range(0, len(image_ids), _BLOCK):
        block = image_ids[start : start + _BLOCK]
        rows: dict[int, bytes] = dict(
            session.execute(
                select(Prediction.image_id, Prediction.probabilities).where(
                    Prediction.run_id == run.id, Prediction.image_id.in_(block)
                )
            ).all()
        )
        _check(run, block, rows)
        data = b"".join(rows[image_id] for image_id in block)
        yield start, np.frombuffer(data, dtype="<f4").reshape(len(block), run.passes, len(run.classes))


def _check(run: PredictionRun, asked: Sequence[ImageId], found: Mapping[int, object]) -> None:
    missing = set(asked) - found.keys()
    if missing:
        raise NotFoundError(
            f"Run {run.id} of {run.model!r} says nothing of image {min(missing)}"
            + (f" and {len(missing) - 1} more." if len(missing) > 1 else ".")
        )


def _box(stored: Mapping[str, Any]) -> Box:
    x, y, width, height = stored["box"]
    given = stored.get("probabilities")
    probabilities = None if given is None else np.array(given, dtype=np.float32)
    return Box(x, y, width, height, stored["class"], stored["score"], probabilities)
