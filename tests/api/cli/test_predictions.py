"""`winnow predictions` at the command line: import, list and calibrate."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from curation import predictions, splits, versions
from sampling.calibration import Calibrator
from sampling.run_calibration import calibrated
from store.errors import InvalidInputError, NotFoundError
from store.schema import ImageId, PredictionRun, Version
from store.workspace import Workspace
from tests.api.cli.conftest import said, winnow


def overconfident(workspace: Workspace, images: list[ImageId], truth: Mapping[ImageId, str], folder: Path) -> None:
    """A run of "ours" that says 0.98 and is right in 4 of 5 cases."""
    path = folder / "ours.jsonl"
    rows = []
    for i, image_id in enumerate(images):
        other = {"cat": "dog", "dog": "cat"}[truth[image_id]]
        answer = truth[image_id] if i % 5 else other
        rows.append({"image": image_id, "probabilities": {"cat": 0.02, "dog": 0.02} | {answer: 0.98}})
    path.write_text("\n".join(map(json.dumps, rows)))
    winnow(workspace, "predictions", "import", str(path), "--model", "ours")


@pytest.fixture
def images(build: Any) -> list[ImageId]:
    """Four hundred images; those with an odd id are dogs."""
    return list(build.images(400))


@pytest.fixture
def truth(images: list[ImageId]) -> dict[ImageId, str]:
    return {image_id: ("cat", "dog")[image_id % 2] for image_id in images}


def test_import_and_list(workspace: Workspace, build: Any, tmp_path: Path) -> None:
    build.images(3)
    path = tmp_path / "a.jsonl"
    path.write_text('{"image": 1, "passes": [[1, 0], [0.5, 0.5]]}\n{"image": 2, "passes": [[1, 1]]}\nx\n')
    arguments = ("predictions", "import", str(path), "--model", "ours", "--classes", "cat, dog")
    assert said(workspace, *arguments).splitlines() == [
        "Run 1 of ours: classes for 1 images, 2 passes each (cat, dog).",
        "  1 are no JSON objects: rows 3.",
        "  1 hold another number of passes than the first row: rows 2.",
    ]
    done = winnow(workspace, *arguments)
    assert (done["run"], done["already"], done["imported"], done["classes"]) == (1, True, 1, ["cat", "dog"])
    assert done["refused"][0] == {"reason": "are no JSON objects", "count": 1, "rows": [3]}
    (run,) = winnow(workspace, "predictions", "list")["runs"]
    assert (run["model"], run["kind"], run["passes"], run["images"], run["version"]) == ("ours", "classes", 2, 1, None)
    assert winnow(workspace, "images", "list")["images"]


def test_calibrate_says_what_it_gained(
    workspace: Workspace, build: Any, images: list[ImageId], truth: dict[ImageId, str], tmp_path: Path
) -> None:
    build.labels(truth)
    overconfident(workspace, images, truth, tmp_path)
    plot = tmp_path / "plot.png"
    found = winnow(workspace, "predictions", "calibrate", "--model", "ours", "--plot", str(plot))
    assert found["calibrator"]["method"] == "temperature"
    assert found["ece_before"] > 0.1
    assert found["ece_after"] < found["ece_before"] / 2
    assert found["nll"]["temperature"] < found["nll"]["identity"]
    assert found["remarks"] == ["What the run was trained on is not known: only labels of val and test were used."]
    with workspace.database.read() as session:
        held_out = [image_id for image_id, split in splits.load(session).items() if split != "train"]
    assert found["labels"] == len(held_out)
    with Image.open(plot) as picture:
        assert picture.format == "PNG"
    with pytest.raises(InvalidInputError, match=r"no \.png"):
        winnow(workspace, "predictions", "calibrate", "--model", "ours", "--plot", str(tmp_path / "plot.pdf"))
    with pytest.raises(InvalidInputError, match="cannot be written"):
        winnow(workspace, "predictions", "calibrate", "--model", "ours", "--plot", str(tmp_path / "no" / "plot.png"))


def test_without_enough_labels_nothing_changes(
    workspace: Workspace, build: Any, images: list[ImageId], truth: dict[ImageId, str], tmp_path: Path
) -> None:
    with pytest.raises(NotFoundError, match="no predictions of 'ours'"):
        winnow(workspace, "predictions", "calibrate", "--model", "ours")
    overconfident(workspace, images, truth, tmp_path)
    found = winnow(workspace, "predictions", "calibrate", "--model", "ours")
    assert (found["calibrator"]["method"], found["labels"], found["ece_before"]) == ("identity", 0, None)
    assert found["remarks"] == [
        "No image has a label of one class yet. Label a campaign, then run: winnow qa review CAMPAIGN."
    ]
    with pytest.raises(InvalidInputError, match="nothing to draw"):
        winnow(workspace, "predictions", "calibrate", "--model", "ours", "--plot", str(tmp_path / "plot.png"))
    with pytest.raises(NotFoundError, match="no taxonomy called 'birds'"):
        winnow(workspace, "predictions", "calibrate", "--model", "ours", "--taxonomy", "birds")
    build.labels({image_id: truth[image_id] for image_id in images[:30]})
    found = winnow(workspace, "predictions", "calibrate", "--model", "ours")
    assert (found["calibrator"]["method"], found["labels"], found["ece_after"]) == ("identity", 30, None)
    unknown, few = found["remarks"]
    assert unknown.endswith("all labels were used. They must not be of images it was trained on.")
    assert few == "30 labels are too few to calibrate on: 50 are needed."


def test_labels_of_classes_the_model_lacks_are_left_out(
    workspace: Workspace, build: Any, images: list[ImageId], truth: dict[ImageId, str], tmp_path: Path
) -> None:
    overconfident(workspace, images, truth, tmp_path)
    build.taxonomy(["cat", "dog", "owl"])
    build.labels(truth | dict.fromkeys(images[:7], "owl"))
    remarks = winnow(workspace, "predictions", "calibrate", "--model", "ours")["remarks"]
    assert remarks[0] == "7 labels are of classes that run 1 does not have."


@pytest.mark.parametrize("out_of_fold", [False, True])
def test_what_a_run_has_learnt_says_nothing_of_it(
    workspace: Workspace, build: Any, truth: dict[ImageId, str], tmp_path: Path, *, out_of_fold: bool
) -> None:
    build.labels(truth)
    overconfident(workspace, list(truth), truth, tmp_path)
    cut = versions.cut(workspace, "animals")
    with workspace.database.write() as session:
        run = session.get_one(PredictionRun, 1)
        run.version_id, run.report = session.get_one(Version, cut.id).id, {"out_of_fold": out_of_fold}
    with workspace.database.read() as session:
        calibrator, report = calibrated(session, predictions.newest_run(session, "ours"))
        train = sum(split == "train" for split in splits.load(session).values())
    assert report.calibration.labels == (400 if out_of_fold else 400 - train)
    assert report.remarks == []
    assert calibrator == report.calibration.calibrator != Calibrator()


def test_boxes_are_not_calibrated(workspace: Workspace, build: Any, tmp_path: Path) -> None:
    build.images(1)
    path = tmp_path / "a.jsonl"
    path.write_text('{"image": 1, "boxes": [{"box": [0, 0, 1, 1], "class": "cat", "score": 0.5}]}')
    assert "boxes for 1 images (cat)" in said(workspace, "predictions", "import", str(path), "--model", "ours")
    (stage,) = [one for one in winnow(workspace, "status")["stages"] if one["name"] == "Predictions"]
    assert (stage["count"], stage["detail"]) == (1, "by ours")
    found = winnow(workspace, "predictions", "calibrate", "--model", "ours")
    assert found["remarks"] == ["Run 1 predicts boxes, whose scores are used as they are."]
    assert np.isclose(found["calibrator"]["temperature"], 1)
