from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from curation import evaluation, splits, versions
from store import schema
from store.errors import InvalidInputError, NotFoundError
from store.schema import ImageId
from store.workspace import Workspace


def _predict(
    workspace: Workspace,
    answers: Mapping[ImageId, str],
    *,
    version: str | None = None,
    out_of_fold: bool = False,
    digest: str = "p",
) -> None:
    """A run of "model" that is sure of these answers."""
    with workspace.database.write() as session:
        run = schema.PredictionRun(
            model="model",
            digest=digest * 64,
            classes=["cat", "dog"],
            version_id=version,
            report={"out_of_fold": out_of_fold},
        )
        session.add(run)
        session.flush()
        for image_id, answer in answers.items():
            row = np.array([answer == "cat", answer == "dog"], dtype="<f4")
            session.add(schema.Prediction(run_id=run.id, image_id=image_id, probabilities=row.tobytes()))


@given(st.integers(1, 10**6), st.data())
def test_wilson_is_scipys(total: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, total))
    expected = binomtest(successes, total).proportion_ci(method="wilson")
    assert evaluation.wilson(successes, total) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_wilson_by_hand() -> None:
    assert evaluation.wilson(0, 0) == (0, 1)
    assert evaluation.wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert evaluation.wilson(10, 10) == pytest.approx((0.7225, 1), abs=1e-4)
    assert evaluation.wilson(0, 10) == pytest.approx((0, 0.2775), abs=1e-4)


def test_an_evaluation_by_hand(workspace: Workspace, build: Any) -> None:
    build.images(60)
    with workspace.database.read() as session:
        test = [image_id for image_id, split in splits.load(session).items() if split == "test"][:5]
    build.labels(dict(zip(test, ("cat", "cat", "cat", "dog", "dog"), strict=True)))
    _predict(workspace, dict(zip(test, ("cat", "cat", "dog", "dog", "cat"), strict=True)))
    found = evaluation.evaluate(workspace, "model")
    assert (found.images, found.correct, found.accuracy) == (5, 3, 0.6)
    assert found.interval == evaluation.wilson(3, 5)
    assert found.confusion == {"cat": {"cat": 2, "dog": 1}, "dog": {"cat": 1, "dog": 1}}
    assert [(each.name, each.images, each.recall, each.precision) for each in found.classes] == [
        ("cat", 3, 2 / 3, 2 / 3),
        ("dog", 2, 1 / 2, 1 / 2),
    ]


def test_a_label_the_model_cannot_say_is_a_failure(workspace: Workspace, build: Any) -> None:
    build.images(60)
    with workspace.database.read() as session:
        test = [image_id for image_id, split in splits.load(session).items() if split == "test"][:2]
    build.labels(dict(zip(test, ("cat", "hen"), strict=True)))
    _predict(workspace, dict.fromkeys(test, "cat"))
    found = evaluation.evaluate(workspace, "model")
    assert (found.correct, found.confusion["hen"]) == (1, {"cat": 1, "dog": 0})
    assert [(each.name, each.recall, each.precision) for each in found.classes] == [
        ("cat", 1.0, 0.5),
        ("dog", None, None),
        ("hen", 0.0, None),
    ]


def test_what_a_run_learnt_from_says_nothing_about_it(workspace: Workspace, build: Any) -> None:
    images = build.images(40)
    with workspace.database.read() as session:
        split_of = splits.load(session)
    one, copy, later = [image_id for image_id in images if split_of[image_id] == "train"][:3]
    with workspace.database.write() as session:
        session.get_one(schema.Image, copy).pixels_sha256 = session.get_one(schema.Image, one).pixels_sha256
    build.labels({image_id: "cat" for image_id in images if image_id not in (copy, later)})
    version = versions.cut(workspace, "pets").id
    build.labels({copy: "cat", later: "cat"})
    _predict(workspace, dict.fromkeys(images, "dog"), version=version)
    with workspace.database.read() as session:
        judged = {each.image_id for each in evaluation.judge(session, "model").judged}
    assert judged == {image_id for image_id in images if split_of[image_id] != "train"} | {later}
    assert evaluation.evaluate(workspace, "model", split="train").images == 1

    _predict(workspace, dict.fromkeys(images, "cat"), version=version, out_of_fold=True, digest="q")
    with workspace.database.read() as session:
        found = evaluation.judge(session, "model")
    assert {each.image_id for each in found.judged} == set(images) - {copy}
    assert not any(each.failed for each in found.judged)


def test_wrong_requests_are_sentences(workspace: Workspace, build: Any) -> None:
    with pytest.raises(NotFoundError, match="no predictions of 'model'"):
        evaluation.evaluate(workspace, "model")
    with pytest.raises(InvalidInputError, match="say train, val, test"):
        evaluation.evaluate(workspace, "model", split="all")
    build.images(60)
    with workspace.database.read() as session:
        train = next(image_id for image_id, split in splits.load(session).items() if split == "train")
    build.labels({train: "cat"})
    _predict(workspace, {train: "cat"})
    with pytest.raises(InvalidInputError, match="No image of test has both"):
        evaluation.evaluate(workspace, "model")
