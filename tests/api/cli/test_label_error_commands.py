"""`qa label-errors` of several classes and of boxes: from answers and a file of predictions to an expert's campaign."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from api.cli.main import app
from labeling.content import Content, ImageChoice, Region
from labeling.geometry import Box
from qa import verdicts
from store.errors import InvalidInputError
from store.schema import Image
from store.workspace import Workspace

NAME = "campaign-1"
WRONG = 7  # the position of the image with a wrong label


@pytest.fixture
def winnow(workspace: Workspace) -> Any:
    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["--home", str(workspace.home), *arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


def test_of_several_classes(winnow: Any, workspace: Workspace, build: Any) -> None:
    random = np.random.default_rng(0)
    images = build.images(80)
    held = random.random((80, 2)) < 0.5
    held[WRONG] = True
    noise = random.normal(scale=0.15, size=(80, 8))
    noise[WRONG] = 0
    said = held.copy()
    said[WRONG, 1] = False
    names = np.array(["cat", "dog"])
    campaign = build.campaign(build.batch(images), build.taxonomy(("cat", "dog"), kind="multilabel"))
    answers = [Content(choice=ImageChoice(tuple(names[row].tolist()))) for row in said]
    build.answers(campaign, {"ann": answers, "bob": answers})
    verdicts.review(workspace, NAME)
    build.vectors(images, np.concatenate([held, ~held], axis=1) @ np.eye(4, 8) + noise)
    text = winnow("qa", "label-errors", "--limit", "1")
    assert "animals: 80 labels, " in text
    assert " by neighbours, 0 by copies)" in text
    assert "; at most about 0." in text.splitlines()[0]
    assert text.splitlines()[0].endswith("% of what they say of a class is expected to be wrong")
    [line] = [line for line in text.splitlines() if "'dog' is probably missing" in line]
    assert line.split()[1:6] == [str(images[WRONG]), NAME, "cat", "cat,", "dog"]
    document = json.loads(winnow("qa", "label-errors", "--limit", "1", "--adjudicate", "1", "--json"))
    [suspect] = document["suspects"]
    assert json.loads(suspect["suggestion"])["choice"]["classes"] == ["cat", "dog"]
    assert [one["items"] for one in document["adjudications"]] == [1]


def test_of_boxes(winnow: Any, workspace: Workspace, build: Any, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    images = build.images(30, side=400)
    places = random.uniform(20, 120, (30, 2)).round(1).tolist()
    truth = [[Box(x, y, 80.0, 90.0), Box(x + 150, y + 140, 100.0, 60.0)] for x, y in places]
    said = [
        Content(
            regions=tuple(
                Region(f"r{j}", box, (name,)) for j, (box, name) in enumerate(zip(each, ("cat", "dog"), strict=False))
            )
        )
        for each in [*truth[:WRONG], truth[WRONG][:1], *truth[WRONG + 1 :]]
    ]
    campaign = build.campaign(build.batch(images), build.taxonomy(("cat", "dog"), kind="boxes"))
    build.answers(campaign, {"ann": said, "bob": said})
    assert verdicts.review(workspace, NAME).outcomes == {"accepted": 30}
    with pytest.raises(InvalidInputError, match="say --predictions NAME, after winnow predictions import"):
        winnow("qa", "label-errors")

    with workspace.database.read() as session:
        names = dict(session.execute(select(Image.id, Image.sha256)).all())
    file = tmp_path / "boxes.jsonl"
    with file.open("w") as lines:
        for position, (image, boxes) in enumerate(zip(images, truth, strict=True)):
            found = [
                {"box": [box.x + 1, box.y - 1, box.width, box.height], "class": name, "score": 0.9}
                for box, name in zip(boxes, ("cat", "dog"), strict=True)
            ]
            found.append({"box": [350, 10, 20, 30], "class": "dog", "score": 0.1 + 0.005 * position})
            if position == WRONG:
                found[1]["score"] = 0.97
            if position < 29:
                lines.write(json.dumps({"sha256": names[image], "boxes": found}) + "\n")
    winnow("predictions", "import", str(file), "--model", "net")
    text = winnow("qa", "label-errors", "--predictions", "net")
    assert "animals: 29 labels, 1 candidates (1 overlooked, 0 badly located, 0 swapped)\n" in text
    assert "1 labelled images have no prediction of net and were left out.\n" in text
    assert "not to be trusted" not in text
    x, y = places[WRONG]
    where = f"{x + 151:.0f}, {y + 139:.0f}, 100 × 60"
    assert f"1 cat  1 cat, 1 dog  A 'dog' at {where} that the model is 97% sure of is not in the label." in text
    document = json.loads(winnow("qa", "label-errors", "--predictions", "net", "--adjudicate", "5", "--json"))
    assert (document["model"], document["encoder"], document["without_predictions"]) == ("net", None, 1)
    [suspect] = document["suspects"]
    assert (suspect["image"], suspect["kind"]) == (images[WRONG], "boxes")
    assert len(json.loads(suspect["suggestion"])["regions"]) == 2
    assert [one["opened"] for one in document["adjudications"]] == [f"{NAME}-adjudication"]
    [item] = json.loads(winnow("qa", "queue", NAME, "--json"))["items"]
    assert (item["reason"], item["label"], item["held_by"]) == ("label-error", "1 cat", f"{NAME}-adjudication")
    assert item["why"] == suspect["why"]
    with file.open("w") as lines:
        for image in images:  # another model sees more and surer things where nothing is labelled
            found = [{"box": [300, 10 + 60 * i, 40, 40], "class": "dog", "score": 0.9} for i in range(3)]
            lines.write(json.dumps({"sha256": names[image], "boxes": found}) + "\n")
    winnow("predictions", "import", str(file), "--model", "other")
    text = winnow("qa", "label-errors", "--predictions", "other")
    assert text.splitlines()[1] == (
        "100% of the quarter of its predictions that other is surest of are in no label, or called otherwise there: "
        "either the labels are that wrong or the model is not to be trusted."
    )
    before = winnow("labels", "list")
    assert winnow("qa", "label-errors", "--predictions", "net").count("is not in the label") == 1
    assert winnow("labels", "list") == before
