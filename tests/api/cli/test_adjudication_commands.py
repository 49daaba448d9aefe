"""`qa queue`, `decide`, `questions`, `label-errors`: what they print for programs and for people."""

import json
from typing import Any

import numpy as np
import pytest
from sqlalchemy import delete, select
from typer.testing import CliRunner

from api.cli.main import app
from qa import verdicts
from store.errors import InvalidInputError
from store.schema import Annotation
from store.workspace import Workspace

NAME = "campaign-1"


@pytest.fixture
def winnow(workspace: Workspace, build: Any) -> Any:
    """Runs a command in a campaign with a dispute and a wrong label; gives what people see, and the document."""
    images = build.images(41)
    truth = np.arange(41) % 2
    generator = np.random.default_rng(0)
    said = ["dog" if one else "cat" for one in truth]
    said[4] = "dog"
    campaign_id = build.campaign(build.batch(images), build.taxonomy())
    build.answers(campaign_id, {"ann": said, "bob": [*said[:40], "dog"]})
    verdicts.review(workspace, NAME)  # by people alone: the probe would settle the dispute
    build.vectors(images, np.eye(2, 8)[truth] + generator.normal(scale=0.1, size=(41, 8)))

    def run(*arguments: str) -> tuple[str, Any]:
        printed = []
        for command in (arguments, (*arguments, "--json")):
            result = CliRunner().invoke(app, ["--home", str(workspace.home), "qa", *command], catch_exceptions=False)
            assert result.exit_code == 0, result.output
            printed.append(result.stdout)
        return printed[0], json.loads(printed[1])

    return run


def test_the_queue_is_worked_off(winnow: Any) -> None:
    text, document = winnow("queue", NAME)
    assert "cat ×1; dog ×1" in text
    assert text.endswith("1 of 1 items.\n")
    [item] = document["items"]
    assert (item["image"], item["reason"], item["answers"], document["total"]) == (
        41,
        "disputed",
        {"cat": 1, "dog": 1},
        1,
    )
    decision = ("decide", "41", "--campaign", NAME, "--answer", "cat", "--reason", "guideline-unclear", "--by", "eve")
    text, document = winnow(*decision)
    assert text == f"{NAME}: image 41 is cat (guideline-unclear). Next: winnow qa review {NAME}\n"
    assert (document["author"], document["replaced"]) == ("eve", 1)
    text, document = winnow("queue")
    assert text == "The queue is empty.\n1 more are decided and await: winnow qa review.\n"
    assert document == {"items": [], "total": 0, "decided": 1}
    text, document = winnow("decide", "task:41", "--campaign", NAME, "--reason", "bad-image")
    assert "image 41 gets no label (bad-image), in place of 2 earlier" in text
    assert document["author"]  # who is logged in
    assert winnow("review", NAME)[1]["outcomes"] == {"accepted": 40, "rejected": 1}


def test_label_errors_are_listed_and_sent(winnow: Any) -> None:
    text, document = winnow("label-errors", "--limit", "1")
    assert "animals: 40 labels, 1 candidates (1 by model, 1 by neighbours, 0 by copies)" in text
    assert "; at most about 2.5% of the labels are expected to be wrong\n" in text
    assert "A probe that did not see this label gives 'dog' " in text
    [suspect] = document["suspects"]
    assert (suspect["image"], suspect["label"], suspect["suggestion"]) == (5, "dog", "cat")
    text, document = winnow("label-errors", "--adjudicate", "3")
    assert text.endswith(f"{NAME}-adjudication: 1 items planned. Next: winnow campaign push {NAME}-adjudication\n")
    assert document["adjudications"] == []  # the second time nothing is new
    text, document = winnow("adjudicate", NAME)
    assert text == (f"{NAME}-adjudication-2: 1 items planned. Next: winnow campaign push {NAME}-adjudication-2\n")
    assert (document["opened"], document["already"]) == (None, 2)


def test_how_many_labels_are_an_adjudicators_and_no_candidates_is_said(winnow: Any) -> None:
    assert "an adjudicator" not in winnow("label-errors")[0]
    for image in ("1", "3"):
        winnow(
            "decide", image, "--campaign", NAME, "--answer", "cat", "--reason", "agreed-with-majority", "--by", "eve"
        )
    winnow("review", NAME)
    text, document = winnow("label-errors")
    assert text.splitlines()[1] == "2 of these labels are an adjudicator's and no candidates."
    assert document["adjudicated"] == 2


def test_what_an_expert_skipped_without_a_reason_is_said_to_be_stuck(
    winnow: Any, workspace: Workspace, build: Any
) -> None:
    build.adjudication(1, {40: "cat"})
    with workspace.database.write() as session:
        skip = session.scalars(select(Annotation).order_by(Annotation.id.desc())).first()
        skip.skipped, skip.answer = True, None
    way_out = (
        "1 of the items in adjudication were skipped without a reason, such as image 41, and no push brings them "
        f"back: settle each by winnow qa decide IMAGE --campaign {NAME} --answer ANSWER --reason REASON, without an "
        "answer where nobody can tell."
    )
    text, document = winnow("queue", "--limit", "1")
    [item] = document["items"]
    assert (item["held_by"], item["skipped"]) == (f"{NAME}-adjudication", True)
    assert item["why"] == "The answers leave it in doubt. An expert skipped it without a reason."
    assert text.endswith(f"1 of 1 items.\n{way_out}\n")
    text, document = winnow("adjudicate", NAME)
    assert text == f"{NAME}: no new dispute; 1 items are in adjudication already\n{way_out}\n"
    assert document["skipped"] == [41]
    winnow("decide", "41", "--campaign", NAME, "--answer", "cat", "--reason", "guideline-unclear", "--by", "eve")
    assert "skipped" not in winnow("queue")[0]
    assert winnow("adjudicate", NAME)[1]["skipped"] == []


def test_a_skip_with_a_reason_is_an_answer_and_what_nobody_saw_is_not_skipped(
    winnow: Any, workspace: Workspace, build: Any
) -> None:
    build.adjudication(1, {40: "cat"})
    with workspace.database.write() as session:
        skip = session.scalars(select(Annotation).order_by(Annotation.id.desc())).first()
        skip.skipped, skip.answer = True, None
        chosen = {"from_name": "reason", "to_name": "image", "type": "choices", "value": {"choices": ["bad-image"]}}
        skip.result = [chosen]
    text, document = winnow("queue")
    assert document == {"items": [], "total": 0, "decided": 1}
    with workspace.database.write() as session:
        session.execute(delete(Annotation).where(Annotation.skipped))
    text, document = winnow("queue")
    assert [(item["held_by"], item["skipped"]) for item in document["items"]] == [(f"{NAME}-adjudication", False)]
    assert "skipped" not in text + winnow("adjudicate", NAME)[0]


def test_questions(winnow: Any) -> None:
    text, document = winnow("questions")
    assert text == "No two classes are confused more than mistakes explain.\n"
    assert document == {"questions": []}
    for image in ("5", "41"):
        winnow("decide", image, "--campaign", NAME, "--answer", "cat", "--reason", "guideline-unclear", "--by", "eve")
    text, document = winnow("questions", NAME)
    assert text.startswith("Is 'cat' or 'dog' meant in images like these? 2 people took one for the other on 2 items")
    assert "  cat: the taxonomy says nothing about it\n" in text
    assert document["questions"][0]["images"] == [5, 41]


def test_a_decision_of_nobody_is_refused(winnow: Any) -> None:
    with pytest.raises(InvalidInputError, match="whose it is"):
        winnow("decide", "41", "--campaign", NAME, "--answer", "cat", "--reason", "bad-image", "--by", " ")
