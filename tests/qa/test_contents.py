"""Verdicts on items of which several classes, or regions, are asked."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select, update

from curation import iou, labels, versions
from labeling import content, definitions, results, taxonomy
from labeling.content import Choices, Content, ImageChoice, Region
from labeling.definitions import AttributeDefinition, Definition, TaskKind
from labeling.evolution import Migration
from labeling.geometry import Box, Keypoint, Mask, Polygon, Shape
from labeling.results import ImageSize
from qa import adjudication, answers, ledger, migrations, verdicts
from store.errors import InvalidInputError, NotFoundError
from store.schema import Annotation, Campaign, Label, Task, Verdict
from store.workspace import Workspace

SIDE = 200
NAME = "campaign-1"
NOTHING = Content()


class Bench:
    """A campaign that asks for something else than one class."""

    def __init__(
        self,
        workspace: Workspace,
        build: Any,
        kind: TaskKind,
        *,
        items: int,
        overlap: int = 3,
        adaptive: dict[str, Any] | None = None,
    ) -> None:
        self.workspace = workspace
        self.build = build
        self.images = build.images(items, side=SIDE)
        taxonomy = build.taxonomy(["cat", "dog", "owl"], kind=kind)
        self.campaign = build.campaign(build.batch(self.images), taxonomy, overlap=overlap, adaptive=adaptive)

    def answer(self, said: Mapping[str, Sequence[Content | None]]) -> None:
        self.build.answers(self.campaign, said)

    def skip(self, rank: int) -> None:
        """Everybody's answer to an item becomes a skip."""
        with self.workspace.database.write() as session:
            of_item = select(Annotation).join(Task).where(Task.campaign_id == self.campaign, Task.rank == rank)
            for row in session.scalars(of_item):
                row.skipped, row.result = True, []

    def review(self, **options: float) -> verdicts.QaSummary:
        return verdicts.review(self.workspace, NAME, **options)

    def verdict(self, rank: int) -> Verdict:
        with self.workspace.database.read() as session:
            campaign = session.get_one(Campaign, self.campaign)
            task_id = session.scalar(select(Task.id).where(Task.campaign_id == campaign.id, Task.rank == rank))
            return ledger.newest(session, campaign)[task_id or 0]

    def label(self, rank: int) -> Content:
        """What the newest label of an item says."""
        with self.workspace.database.read() as session:
            newest = select(Label.value).where(Label.image_id == self.images[rank]).order_by(Label.id.desc())
            return content.from_json(session.scalars(newest).first() or "")

    def adjudicate(self, said: Mapping[int, Content]) -> None:
        """An expert's answers by rank, in a campaign of their own."""
        self.build.adjudication(self.campaign, said)


def chosen(*classes: str) -> Content:
    return Content(choice=ImageChoice(classes))


def drawn(*regions: tuple[Shape, str]) -> Content:
    return Content(regions=tuple(Region(f"r{i}", shape, (name,)) for i, (shape, name) in enumerate(regions)))


def box(x: float, y: float, side: float = 40) -> Box:
    return Box(x, y, side, side)


def near(shape: Box, seed: int) -> Box:
    x, y = np.random.default_rng(seed).normal(scale=1.0, size=2)
    return replace(shape, x=shape.x + x, y=shape.y + y)


def test_classes_that_people_agree_on_are_the_label_and_others_go_to_an_expert(
    workspace: Workspace, build: Any
) -> None:
    bench = Bench(workspace, build, "multilabel", items=13, overlap=2)
    agreed = [chosen("cat", "dog")] * 4 + [chosen("owl")] * 4 + [chosen()] * 4
    bench.answer({"ann": [*agreed, chosen("cat")], "bob": [*agreed, chosen("dog")]})
    summary = bench.review()
    assert summary.outcomes == {"accepted": 12, "adjudication": 1}
    assert [bench.label(rank).choice for rank in (0, 4, 8)] == [
        ImageChoice(("cat", "dog")),
        ImageChoice(("owl",)),
        ImageChoice(()),
    ]
    verdict = bench.verdict(0)
    assert [each["answer"] for each in verdict.evidence["answers"]] == ["cat, dog"] * 2
    assert set(verdict.evidence["chances"]) >= {"cat", "dog"}
    assert bench.review().new_verdicts == 0


def test_what_most_drew_is_the_label_without_one_persons_ghost_and_another_ones_slip(
    workspace: Workspace, build: Any
) -> None:
    bench = Bench(workspace, build, "boxes", items=20)
    said: dict[str, list[Content | None]] = {"ann": [], "bob": [], "cay": []}
    for rank in range(20):
        for number, name in enumerate(said):
            regions = [
                (near(box(20, 30), 3 * rank + number), "cat"),
                (near(box(120, 110), 100 + 3 * rank + number), "dog"),
            ]
            said[name].append(drawn(*regions))
    said["ann"][0] = drawn((box(20, 30), "cat"), (box(120, 110), "dog"), (box(80, 10, 20), "owl"))
    said["bob"][1] = drawn((box(20, 30), "dog"), (box(120, 110), "dog"))
    bench.answer(said)
    assert bench.review().outcomes["accepted"] >= 19
    for rank in (0, 2, 19):
        label = bench.label(rank)
        assert [region.classes for region in label.regions] == [("cat",), ("dog",)]
        found = np.array(
            [(r.shape.x, r.shape.y, r.shape.x + r.shape.width, r.shape.y + r.shape.height) for r in label.regions]
        )
        truth = np.array([(20, 30, 60, 70), (120, 110, 160, 150)], dtype=np.float64)
        assert np.diag(iou.of_boxes(found, truth)).min() > 0.9
    ghost = next(one for one in bench.verdict(0).evidence["regions"] if one["classes"] == ["owl"])
    assert ghost["drawn_by"] == ["ann"]
    assert ghost["chance"] < 0.5


def test_a_thing_that_half_of_the_people_saw_is_for_an_expert_and_their_drawing_is_the_label(
    workspace: Workspace, build: Any
) -> None:
    bench = Bench(workspace, build, "boxes", items=11, overlap=2)
    agreed = [drawn((box(20, 30), "cat"))] * 10
    bench.answer({"ann": [*agreed, drawn((box(50, 50), "dog"))], "bob": [*agreed, NOTHING]})
    assert bench.review().outcomes == {"accepted": 10, "adjudication": 1}
    expert = drawn((box(52, 48, 44), "owl"), (box(0, 0), "cat"))
    bench.adjudicate({10: expert})
    assert bench.review().outcomes == {"accepted": 11}
    assert [region.classes for region in bench.label(10).regions] == [("owl",), ("cat",)]
    assert bench.verdict(10).evidence["adjudicator"] == {"annotator": "eve", "answer": "1 owl, 1 cat"}


def test_that_there_is_nothing_is_an_answer_and_that_nobody_said_anything_is_none(
    workspace: Workspace, build: Any
) -> None:
    bench = Bench(workspace, build, "boxes", items=10, overlap=2)
    bench.answer({"ann": [NOTHING] * 10, "bob": [NOTHING] * 10})
    bench.skip(9)
    assert bench.review().outcomes == {"accepted": 9, "adjudication": 1}
    assert bench.label(0) == NOTHING
    assert bench.verdict(9).outcome == "adjudication"


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("rotated-boxes", Box(60, 40, 50, 20, rotation=30)),
        ("polygons", Polygon(((20, 20), (90, 30), (80, 100), (25, 80)))),
        ("masks", Mask.of(np.pad(np.ones((60, 50), dtype=np.bool_), ((30, 110), (40, 110))))),
        ("keypoints", Keypoint(77, 88)),
    ],
)
def test_every_kind_of_region_gets_a_label_where_people_drew_it(
    workspace: Workspace, build: Any, kind: TaskKind, shape: Shape
) -> None:
    bench = Bench(workspace, build, kind, items=5, overlap=2)
    bench.answer({"ann": [drawn((shape, "cat"))] * 5, "bob": [drawn((shape, "cat"))] * 5})
    assert bench.review().outcomes == {"accepted": 5}
    [region] = bench.label(0).regions
    assert region.classes == ("cat",)
    assert _alike(region.shape, shape)


def _alike(found: Shape, truth: Shape) -> bool:
    match found, truth:
        case Box(), Box():
            return bool(np.allclose(found.corners(), truth.corners(), atol=0.5))
        case Mask(), Mask():
            both, either = found.pixels() & truth.pixels(), found.pixels() | truth.pixels()
            return bool(both.sum() > 0.97 * either.sum())
        case Polygon(), Polygon():
            far = [min(np.hypot(x - u, y - v) for u, v in found.points) for x, y in truth.points]
            return max(far) < 1.5
        case Keypoint(), Keypoint():
            return bool(np.hypot(found.x - truth.x, found.y - truth.y) < 0.5)
    return False


def test_attributes_are_what_most_say(workspace: Workspace, build: Any) -> None:
    bench = Bench(workspace, build, "boxes", items=4)
    with workspace.database.write() as session:
        campaign = session.get_one(Campaign, bench.campaign)
        row = session.get_one(taxonomy.Taxonomy, campaign.taxonomy_id)
        definition = Definition(
            "boxes",
            attributes=(
                AttributeDefinition("cut off", "choice", options=("yes", "no")),
                AttributeDefinition("night", "choice", about="image", options=("yes", "no")),
            ),
        )
        row.attributes = definitions.document(definition)["attributes"]

    def said(cut: str, night: str) -> Content:
        region = Region("r", box(20, 30), ("cat",), attributes={"cut off": Choices((cut,))})
        return Content(regions=(region,), attributes={"night": Choices((night,))})

    bench.answer({"ann": [said("yes", "no")] * 4, "bob": [said("no", "yes")] * 4, "cay": [said("yes", "yes")] * 4})
    bench.review()
    label = bench.label(0)
    assert label.attributes == {"night": Choices(("yes",))}
    assert label.regions[0].attributes == {"cut off": Choices(("yes",))}


def test_the_expert_chooses_from_all_answers_and_the_likeliest_without_names(workspace: Workspace, build: Any) -> None:
    bench = Bench(workspace, build, "boxes", items=11, overlap=2)
    agreed = [drawn((box(20, 30), "cat"))] * 10
    one, other = drawn((box(50, 50), "dog")), drawn((box(120, 120), "owl"))
    bench.answer({"ann": [*agreed, one], "bob": [*agreed, other]})
    bench.review()
    with workspace.database.read() as session:
        [item] = adjudication.queue(workspace, session, NAME).items
    assert item.answers == {"1 dog": 1, "1 owl": 1}
    assert item.kind == "boxes"
    name = adjudication.open_campaign(workspace, NAME).opened
    with workspace.database.read() as session:
        campaign = session.scalars(select(Campaign).where(Campaign.name == name)).one()
        [task] = session.scalars(select(Task).where(Task.campaign_id == campaign.id)).all()
        definition = taxonomy.get(session, campaign.taxonomy_id).definition
    shown = [results.read(each, definition, ImageSize(SIDE, SIDE)) for each in task.suggestions or []]
    said = {labels.in_words(content.to_json(each), "boxes") for each in shown}
    assert {"1 dog", "1 owl"} <= said
    assert all(region.id for each in shown for region in each.regions)
    assert "ann" not in str(task.suggestions)
    assert "bob" not in str(task.suggestions)


def test_labels_follow_their_classes_to_the_next_revision(workspace: Workspace, build: Any) -> None:
    bench = Bench(workspace, build, "boxes", items=6, overlap=2)
    said = [drawn((box(20, 30), "cat"))] * 3 + [drawn((box(20, 30), "dog"))] * 3
    bench.answer({"ann": said, "bob": said})
    bench.review()
    _, carried = migrations.migrate(workspace, "animals", Migration({"cat": ("lion",), "dog": ()}))
    assert (carried.carried, len(carried.rejected)) == (3, 3)
    assert bench.label(0).regions[0].classes == ("lion",)


def test_a_version_of_such_labels_cannot_be_cut(workspace: Workspace, build: Any) -> None:
    bench = Bench(workspace, build, "boxes", items=2, overlap=1)
    bench.answer({"ann": [NOTHING, NOTHING]})
    bench.review(accept_at=0.5)
    with pytest.raises(InvalidInputError, match="'animals' asks for boxes"):
        versions.cut(workspace, "set", taxonomy="animals")
    with pytest.raises(NotFoundError, match="No image has a label of one class yet"):
        versions.cut(workspace, "set")


def test_people_are_judged_by_what_experts_drew(workspace: Workspace, build: Any) -> None:
    """Ann draws what Bob leaves out; whether she sees ghosts or he misses things, only an expert can tell."""
    bench = Bench(workspace, build, "boxes", items=50, overlap=2)
    thing = drawn((box(50, 50), "cat"))
    bench.answer({"ann": [thing] * 50, "bob": [NOTHING] * 50})
    assert bench.review().outcomes == {"adjudication": 50}
    bench.adjudicate(dict.fromkeys(range(49), thing))
    assert bench.review().outcomes == {"accepted": 50}
    verdict = bench.verdict(49)
    assert verdict.evidence["regions"][0]["chance"] > 0.95
    ann, bob = (each["accuracy"] for each in verdict.evidence["answers"])
    assert ann > 0.85
    assert bob < 0.25


def test_what_an_expert_did_not_draw_is_a_ghost(workspace: Workspace, build: Any) -> None:
    bench = Bench(workspace, build, "boxes", items=50, overlap=2)
    bench.answer({"ann": [drawn((box(50, 50), "cat"))] * 50, "bob": [NOTHING] * 50})
    bench.adjudicate(dict.fromkeys(range(49), NOTHING))
    bench.review()
    assert bench.verdict(49).evidence["regions"][0]["chance"] < 0.1
    assert bench.label(49) == NOTHING


@pytest.mark.parametrize("kind", ["multilabel", "boxes", "masks"])
def test_answers_are_read_when_they_are_pulled_and_never_again(
    workspace: Workspace, build: Any, monkeypatch: pytest.MonkeyPatch, kind: TaskKind
) -> None:
    bench = Bench(workspace, build, kind, items=2)
    mask = Mask.of(np.eye(SIDE, dtype=np.bool_))
    said = {
        "multilabel": Content(choice=ImageChoice(("cat", "owl"))),
        "boxes": drawn((box(20, 30), "cat")),
        "masks": Content(regions=(Region("r", mask, ("cat",)),)),
    }[kind]
    bench.answer({"ann": [said, NOTHING], "bob": [said, said]})

    def read() -> answers.Answers:
        with workspace.database.read() as session:
            return answers.read(session, session.scalars(select(taxonomy.Taxonomy)).one())

    with monkeypatch.context() as patched:
        patched.setattr(results, "read", lambda *_: pytest.fail("an answer was read again"))
        found = read()
    assert [each.value for each in found.given] == [
        content.to_json(content.essence(one)) for one in (said, said, NOTHING, said)
    ]
    with workspace.database.write() as session:  # as they were before it was kept what they say
        session.execute(update(Annotation).values(content=None))
    assert read() == found
