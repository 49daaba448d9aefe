from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from api import learning_plot
from sampling import learning_curve
from sampling.learning_curve import Point
from store import schema
from store.schema import ImageId
from store.workspace import Workspace


def cut(workspace: Workspace, number: int, splits: dict[ImageId, str]) -> str:
    """A version of labelled images."""
    with workspace.database.write() as session:
        version = schema.Version(id=f"{number:064d}", name="animals", number=number, manifest={}, gates=[])
        session.add(version)
        session.flush()
        for image_id, split in splits.items():
            label = session.scalars(select(schema.Label).where(schema.Label.image_id == image_id)).one()
            session.add(schema.VersionItem(version_id=version.id, image_id=image_id, label_id=label.id, split=split))
        return version.id


def predict(workspace: Workspace, version_id: str, answers: dict[ImageId, str]) -> None:
    """A run of a model trained on a version, sure of every answer; its classes are in an order of its own."""
    classes = ["dog", "cat"]
    with workspace.database.write() as session:
        digest = f"{session.query(schema.PredictionRun).count():064d}"
        run = schema.PredictionRun(model="probe", digest=digest, classes=classes, version_id=version_id, report={})
        session.add(run)
        session.flush()
        for image_id, answer in answers.items():
            probabilities = np.where(np.array(classes) == answer, 0.9, 0.1).astype("<f4").tobytes()
            session.add(schema.Prediction(run_id=run.id, image_id=image_id, probabilities=probabilities))


def read(workspace: Workspace) -> list[Point]:
    with workspace.database.read() as session:
        return learning_curve.read(session)


def test_all_points_are_scored_on_the_newest_test_split(workspace: Workspace, build: Any) -> None:
    train_1, train_2, old_test, new_test, val = images = build.images(5)
    build.labels(dict.fromkeys(images, "cat"))
    first = cut(workspace, 1, {train_1: "train", old_test: "test"})
    second = cut(workspace, 2, {train_1: "train", train_2: "train", old_test: "test", new_test: "test", val: "val"})
    right, wrong = "cat", "dog"
    predict(workspace, first, {train_1: wrong, old_test: right, new_test: wrong, val: wrong})
    predict(workspace, second, {train_1: wrong, old_test: wrong, new_test: wrong})
    predict(workspace, second, {train_1: wrong, old_test: right, new_test: right})  # the newest run counts
    assert read(workspace) == [
        Point(first, 1, "probe", train_labels=1, correct=1, total=2),
        Point(second, 2, "probe", train_labels=2, correct=2, total=2),
    ]


def test_without_versions_runs_or_test_images_there_is_no_curve(workspace: Workspace, build: Any) -> None:
    assert read(workspace) == []
    (image,) = build.images(1)
    build.labels({image: "cat"})
    version = cut(workspace, 1, {image: "train"})
    assert read(workspace) == []
    predict(workspace, version, {image: "cat"})
    assert read(workspace) == []


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 50), st.integers(1, 50)), min_size=1, max_size=9))
def test_every_mark_is_inside_the_plot(results: list[tuple[int, int, int]]) -> None:
    points = [Point("v", i, "probe", labels, min(right, of), of) for i, (labels, right, of) in enumerate(results)]
    plot = learning_plot.lay_out(points)
    for mark in plot.marks:
        assert plot.left <= mark.x <= plot.right
        heights = [round(y, 6) for y in (plot.top, mark.y_high, mark.y, mark.y_low, plot.bottom)]
        assert heights == sorted(heights)
    assert 1 <= len(plot.x_ticks) <= 6
    assert all(plot.top - 1e-6 <= y <= plot.bottom + 1e-6 for y, _ in plot.y_ticks)
