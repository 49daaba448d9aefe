"""`qa`, `labels`, `version`, `failures` and `evaluate`: what they print for programs and for people."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from api.cli.main import app
from labeling.content import Content, ImageChoice, Region
from labeling.definitions import TaskKind
from labeling.geometry import Box, Keypoint
from store import schema
from store.errors import InvalidInputError
from store.workspace import Workspace
from tests.api.cli.conftest import said

Winnow = Callable[..., Any]


@pytest.fixture
def winnow(workspace: Workspace) -> Winnow:
    """Run a command twice: for people, then for programs; gives the document."""

    def run(*arguments: str) -> Any:
        for command in (arguments, (*arguments, "--json")):
            result = CliRunner().invoke(app, ["--home", str(workspace.home), *command], catch_exceptions=False)
            assert result.exit_code == 0, result.output
            assert result.stdout.strip()
        return json.loads(result.stdout)

    return run


@pytest.fixture
def campaign(workspace: Workspace, build: Any) -> str:
    """Sixty images of which all but two are agreed on, and a model that fails on half of the agreed."""
    images = build.images(60)
    generator = np.random.default_rng(0)
    looks = 2 * np.eye(8)[[i % 2 for i in range(60)]]
    vectors = 0.3 * generator.normal(size=(60, 8)) + looks
    vectors[58:] = vectors[:58].mean(axis=0)  # like neither, or both
    build.vectors(images, vectors)
    agreed = ["cat", "dog"] * 29
    answers = {"ann": [*agreed, "cat", "cat"], "bob": [*agreed, "dog", None]}
    build.answers(build.campaign(build.batch(images), build.taxonomy()), answers)
    with workspace.database.write() as session:
        run = schema.PredictionRun(model="model", digest="p" * 64, classes=["cat", "dog"], report={})
        session.add(run)
        session.flush()
        always_cat = np.array([1, 0], dtype="<f4").tobytes()
        session.add_all(schema.Prediction(run_id=run.id, image_id=image, probabilities=always_cat) for image in images)
    return "campaign-1"


def test_boxes_are_reviewed_reported_listed_and_shown(winnow: Winnow, workspace: Workspace, build: Any) -> None:
    images = build.images(6, side=100)
    campaign = build.campaign(build.batch(images), build.taxonomy(["cat", "dog"], kind="boxes"), overlap=2)
    cat, dog = (Region(name, Box(at, at, 30, 30), (name,)) for name, at in (("cat", 5), ("dog", 60)))
    both = [Content(regions=(cat, dog))] * 5
    build.answers(campaign, {"ann": [*both, Content(regions=(cat,))], "bob": [*both, Content(regions=(dog,))]})
    assert winnow("qa", "review", "campaign-1")["outcomes"] == {"accepted": 5, "adjudication": 1}
    assert winnow("qa", "next", "campaign-1") == {
        "campaign": "campaign-1",
        "again": 0,
        "new": 0,
        "gain": 0,
        "model": None,
        "heard": 12,
        "items": [],
    }  # both people have seen everything
    assert "campaign-1: nobody is left to ask: it has ended" in said(workspace, "qa", "next", "campaign-1")
    report = winnow("qa", "report", "campaign-1")
    assert (report["kind"], report["accepted"], report["drawn"][0]["mean_likeness"]) == ("boxes", 5, pytest.approx(1))
    queued = winnow("qa", "queue")["items"]
    assert [(item["kind"], item["answers"]) for item in queued] == [("boxes", {"1 cat": 1, "1 dog": 1})]
    assert "1 cat ×1; 1 dog ×1" in said(workspace, "qa", "queue")
    listed = winnow("labels", "list")
    assert listed["task_kind"] == "boxes"
    assert [region["classes"] for region in json.loads(listed["labels"][0]["value"])["regions"]] == [["cat"], ["dog"]]
    [shown] = winnow("labels", "show", str(images[0]), "--evidence")["labels"]
    assert [each["answer"] for each in shown["evidence"]["answers"]] == ["1 cat, 1 dog"] * 2
    runner = CliRunner()
    told = runner.invoke(app, ["--home", str(workspace.home), "labels", "show", str(images[0]), "--evidence"]).stdout
    assert "1 cat, 1 dog: animals revision 1 in campaign-1" in told
    assert "drawn by ann, bob" in told


def test_the_next_answers(winnow: Winnow, campaign: str) -> None:
    found = winnow("qa", "next", campaign, "--answers", "3")
    assert (found["again"], found["new"]) == (1, 0)  # the other items were before both people
    assert [(item["image"], item["answers"], item["ask"]) for item in found["items"]] == [(60, 1, "bob")]


@pytest.mark.parametrize("kind", ["classification", "multilabel", "boxes"])
def test_the_next_answers_of_every_kind_are_told(workspace: Workspace, build: Any, kind: TaskKind) -> None:
    contents = {
        "classification": "cat",
        "multilabel": Content(choice=ImageChoice(("cat",))),
        "boxes": Content(regions=(Region("one", Box(5, 5, 30, 30), ("cat",)),)),
    }
    campaign = build.campaign(build.batch(build.images(6, side=100)), build.taxonomy(kind=kind))
    told = said(workspace, "qa", "next", "campaign-1")
    assert told.startswith("campaign-1: nobody has answered anything under its taxonomy yet")
    assert "on the 6 items that can be asked about" in told
    assert "posterior" not in told
    build.answers(campaign, {"ann": [contents[kind]] * 3 + [None] * 3})
    told = said(workspace, "qa", "next", "campaign-1")
    assert "of the next 6 answers 3 are worth most on items that have some, 3 on new ones; " in told
    assert " more items are expected to be right (new ones are judged by what others are)\n" in told
    build.answers(campaign, {"ann": [None] * 3 + [contents[kind]] * 3, "bob": [contents[kind]] * 5 + [None]})
    told = said(workspace, "qa", "next", "campaign-1")
    assert "of the next 1 answers 1 are worth most on items that have some, 0 on new ones; " in told
    assert "new ones are judged" not in told
    assert "0.0 more items" not in told


def test_qa_and_labels(winnow: Winnow, campaign: str) -> None:
    assert winnow("qa", "review", campaign)["outcomes"] == {"accepted": 58, "adjudication": 1, "another-opinion": 1}
    report = winnow("qa", "report", campaign)
    assert (report["items"], report["waiting"], len(report["annotators"])) == (60, 1, 2)
    assert [each["annotator"] for each in winnow("qa", "annotators")["annotators"]] == ["ann", "bob"]
    nothing_new = {"campaign": campaign, "opened": None, "items": 0, "already": 1, "skipped": []}
    assert winnow("qa", "adjudicate", campaign) == nothing_new
    shown = winnow("labels", "show", "1", "--evidence")["labels"]
    assert [(label["value"], label["in_force"]) for label in shown] == [("cat", True)]
    assert [answer["annotator"] for answer in shown[0]["evidence"]["answers"]] == ["ann", "bob"]
    assert shown[0]["evidence"]["model"]["says"] == "cat"
    assert "evidence" not in winnow("labels", "show", "1")["labels"][0]
    assert winnow("labels", "show", "59")["labels"] == []
    labels = winnow("labels", "list")
    assert (labels["taxonomy"], len(labels["labels"]), labels["labels"][0]["value"] in {"cat", "dog"}) == (
        "animals",
        58,
        True,
    )


def test_whose_answers_count(winnow: Winnow, campaign: str, workspace: Workspace) -> None:
    (ann,) = winnow("qa", "annotators", "show", "ann")["annotators"]
    assert (ann["quality"]["answers"], ann["classes"]) == (60, ["cat", "dog"])
    assert (
        winnow("qa", "annotators", "probation", "bob", "--reason", "new here", "--by", "lead")["state"] == "probation"
    )
    paused = winnow("qa", "annotators", "pause", "bob", "--reason", "guesses", "--since", "2020-01-01", "--by", "lead")
    assert paused == {
        "annotator": "bob",
        "state": "paused",
        "since": "2020-01-01T00:00:00+00:00",
        "reason": "guesses",
        "by": "lead",
    }
    assert winnow("qa", "report", campaign)["set_aside"] == 59
    command = ["--home", str(workspace.home), "qa", "annotators", "reinstate", "bob", "--reason", "it was a mistake"]
    assert "all their answers count" in CliRunner().invoke(app, command, catch_exceptions=False).stdout
    assert winnow("qa", "report", campaign)["set_aside"] == 0
    with pytest.raises(InvalidInputError, match="'soon' is no moment"):
        winnow("qa", "annotators", "pause", "bob", "--reason", "guesses", "--since", "soon")


def test_the_report_is_a_page_that_needs_nothing_else(winnow: Winnow, campaign: str, tmp_path: Path) -> None:
    winnow("qa", "report", campaign, "--html", str(tmp_path / "report.html"))
    text = (tmp_path / "report.html").read_text()
    assert "ann" in text
    assert "59.png" not in text  # one answer is no dispute
    assert "58.png" in text
    for outside in ("http:", "https:", "<script", "<link", "url(", 'src="/'):
        assert outside not in text
    with pytest.raises(InvalidInputError, match=r"is no \.html"):
        winnow("qa", "report", campaign, "--html", str(tmp_path / "report.pdf"))


def test_versions(winnow: Winnow, campaign: str, workspace: Workspace, build: Any, tmp_path: Path) -> None:
    winnow("qa", "review", campaign)
    first = winnow("version", "cut", "pets")
    assert first.keys() >= {"id", "name", "parent", "counts", "gates"}
    assert first["gates"][0].keys() == {"gate", "outcome", "detail"}
    assert winnow("version", "show", "pets") == first
    assert winnow("version", "verify", first["id"][:8])["verified"]
    with workspace.database.read() as session:
        relabelled = session.scalars(select(schema.VersionItem.image_id)).first()
        was = session.scalar(select(schema.Label.value).where(schema.Label.image_id == relabelled))
    build.labels({relabelled: "dog" if was == "cat" else "cat"})
    second = winnow("version", "cut", "pets")
    assert [version["id"] for version in winnow("version", "list")["versions"]] == [second["id"], first["id"]]
    difference = winnow("version", "diff", first["id"], second["id"])
    assert {name: len(changes) for name, changes in difference.items()} == {
        "added": 0,
        "removed": 0,
        "relabelled": 1,
        "moved": 0,
    }
    assert winnow("version", "lineage", "pets")["parents"] == [first["id"]]
    runner = CliRunner()
    for format in ("parquet", "image-folder"):
        command = ["--home", str(workspace.home), "version", "export", "pets", "--format", format]
        result = runner.invoke(app, [*command, str(tmp_path / format), "--json"])
        if format == "parquet":
            assert json.loads(result.stdout)["images"] == 58
        else:
            assert "58 of 58 images are not where they were" in str(result.exception)


def test_failures_and_evaluation(winnow: Winnow, campaign: str) -> None:
    winnow("qa", "review", campaign)
    document = winnow("failures", "scan", "--model", "model")
    assert winnow("failures", "list") == document == winnow("failures", "list", "--model", "model")
    cluster = document["clusters"][0]
    assert cluster.keys() >= {"id", "size", "failure_rate", "lift", "interval", "name", "medoids"}
    assert cluster["name"] == "dog → cat"
    shown = winnow("failures", "show", str(cluster["id"]))
    assert len(shown["members"]) == cluster["size"]
    found = winnow("evaluate", "--model", "model")
    assert found["split"] == "test"
    assert found["correct"] == found["confusion"]["cat"]["cat"]


def test_an_experts_reason_and_comment_are_evidence(winnow: Winnow, campaign: str, workspace: Workspace) -> None:
    winnow("qa", "review", campaign)
    decision = ("--answer", "cat", "--reason", "guideline-unclear", "--comment", "it meows", "--by", "eve")
    winnow("qa", "decide", "59", "--campaign", campaign, *decision)
    winnow("qa", "review", campaign)
    told = said(workspace, "labels", "show", "59", "--evidence")
    assert "  eve settled it as adjudicator: cat (guideline-unclear): it meows\n" in told


def test_a_report_of_several_classes_says_what_its_rows_count(workspace: Workspace, build: Any) -> None:
    both, cat, nothing = (Content(choice=ImageChoice(classes)) for classes in (("cat", "dog"), ("cat",), ()))
    campaign = build.campaign(build.batch(build.images(6)), build.taxonomy(kind="multilabel"), overlap=3)
    answers = {"ann": [both, cat] * 3, "bob": [cat, nothing] * 3, "eve": [cat, both, cat, cat, cat, cat]}
    build.answers(campaign, answers)
    told = said(workspace, "qa", "report", "campaign-1")
    assert "Items of a class are those that anyone gave it; its alpha is on whether it was given" in told
    assert "No kappa is given" not in told
    assert "Who answers here, judged over all campaigns under animals 1:\nannotator" in told
    assert "ghosts an image" in told
    assert "called rightly" not in told
    assert "mean IoU" not in told
    with workspace.database.write() as session:
        session.scalars(select(schema.Annotation)).first().skipped = True
    told = said(workspace, "qa", "report", "campaign-1")
    assert "No kappa is given where more than two people answered and items have different numbers" in told


def test_a_report_of_boxes_says_what_its_rows_count(workspace: Workspace, build: Any) -> None:
    campaign = build.campaign(build.batch(build.images(2, side=100)), build.taxonomy(kind="boxes"), overlap=3)
    box = Content(regions=(Region("one", Box(5, 5, 30, 30), ("cat",)),))
    build.answers(campaign, dict.fromkeys(("ann", "bob", "eve"), [box] * 2))
    told = said(workspace, "qa", "report", "campaign-1")
    assert "images  compared  matched  mean IoU" in told
    assert "campaign   campaign-1" in told
    assert "a region counts once for each other person. Rows of a class want both to call a region that" in told
    assert "Items of a class" not in told
    assert "called rightly  mean IoU" in told


def test_of_keypoints_it_is_said_how_near_they_are(workspace: Workspace, build: Any) -> None:
    """That was called an IoU, which points have none of."""
    images = build.images(2, side=100)
    campaign = build.campaign(build.batch(images), build.taxonomy(kind="keypoints"), overlap=2)
    point = Content(regions=(Region("one", Keypoint(50, 50), ("cat",)),))
    build.answers(campaign, dict.fromkeys(("ann", "bob"), [point] * 2))
    told = said(workspace, "qa", "report", "campaign-1")
    assert "images  compared  matched  mean nearness" in told
    assert "called rightly  mean nearness" in told
    assert "IoU" not in told
    with workspace.database.write() as session:
        more = {"task_kind": "boxes", "classes": [{"name": "cat", "description": ""}], "guideline": ""}
        session.add(second := schema.Taxonomy(name="animals", revision=2, **more))
        session.flush()
        second_id = second.id
    campaign = build.campaign(build.batch(images), second_id, overlap=2)
    box = Content(regions=(Region("one", Box(5, 5, 30, 30), ("cat",)),))
    build.answers(campaign, dict.fromkeys(("ann", "bob"), [box] * 2))
    assert "called rightly  mean IoU or nearness" in said(workspace, "qa", "annotators")


def test_an_image_without_a_label_shows_the_verdict_in_force(
    winnow: Winnow, campaign: str, workspace: Workspace
) -> None:
    """Of two that nobody labelled one is disputed, then rejected by an expert, and one waits."""
    assert said(workspace, "labels", "show", "59", "--evidence") == "image 59 was never labelled\n"
    winnow("qa", "review", campaign)
    told = said(workspace, "labels", "show", "59", "--evidence")
    assert "never labelled" not in told
    assert "no label: animals revision 1 in campaign-1, " in told
    assert "; in adjudication\n" in told
    assert "\n  ann said cat" in told
    assert "\n  bob said dog" in told
    assert "ann said" not in said(workspace, "labels", "show", "59")
    assert "; waits for another opinion\n" in said(workspace, "labels", "show", "60")
    found = winnow("labels", "show", "59")
    assert found["labels"] == []
    assert [(one["outcome"], one["campaign"], "evidence" in one) for one in found["unlabelled"]] == [
        ("adjudication", campaign, False)
    ]

    why = ("--reason", "ambiguous-image", "--comment", "half a cat", "--by", "eve")
    winnow("qa", "decide", "59", "--campaign", campaign, *why)
    winnow("qa", "review", campaign)
    told = said(workspace, "labels", "show", "59", "--evidence")
    assert "; rejected\n" in told
    assert "\n  bob said dog" in told
    assert "\n  eve rejected it as adjudicator (ambiguous-image): half a cat\n" in told
    [verdict] = winnow("labels", "show", "59", "--evidence")["unlabelled"]
    assert (verdict["outcome"], verdict["evidence"]["adjudicator"]["reason"]) == ("rejected", "ambiguous-image")


def test_a_label_that_an_expert_rejected_since_is_shown_after_the_rejection(
    winnow: Winnow, campaign: str, workspace: Workspace
) -> None:
    winnow("qa", "review", campaign)
    winnow("qa", "decide", "1", "--campaign", campaign, "--reason", "bad-image", "--by", "eve")
    winnow("qa", "review", campaign)
    newest, before = [line for line in said(workspace, "labels", "show", "1").splitlines() if line]
    assert newest.endswith("; rejected")
    assert before.startswith("cat: ")
    assert before.endswith("; replaced or reopened since")


def test_what_a_lot_or_a_change_of_classes_rejected_says_so(
    winnow: Winnow, campaign: str, workspace: Workspace
) -> None:
    winnow("qa", "review", campaign)
    with workspace.database.write() as session:
        first, second = session.scalars(select(schema.Verdict).order_by(schema.Verdict.id).limit(2))
        for verdict, also in (
            (first, {"lot": 7, "rejects": first.id}),
            (second, {"migration": {"from": 1, "to": 2, "why": "dogs are told apart by breed"}}),
        ):
            session.add(
                schema.Verdict(task_id=verdict.task_id, outcome="rejected", evidence={**verdict.evidence, **also})
            )
    told = said(workspace, "labels", "show", "1", "--evidence")
    assert "\n  rejected with the rest of lot 7\n" in told
    told = said(workspace, "labels", "show", "2", "--evidence")
    assert "\n  not carried over from revision 1: dogs are told apart by breed\n" in told
