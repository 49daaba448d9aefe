"""Wrong labels of several classes and of boxes are found, told with reasons, and go to an expert as contents."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from curation import predictions
from curation.labels import LabelInForce
from labeling import content
from labeling.content import Content, ImageChoice, Region
from labeling.geometry import Box, Keypoint, Mask, Polygon, Shape
from qa import adjudication, label_errors, verdicts
from qa.label_errors import Suspect
from qa.suspects import boxes as suspect_boxes
from qa.suspects import several_classes
from sampling.head import Views
from store.errors import InvalidInputError, NotFoundError
from store.schema import BoxPrediction, Campaign, ImageId, Label, PredictionRun, Task
from store.workspace import Workspace

NAMES = ["cat", "dog", "owl"]
NAME = "campaign-1"
SIDE = 400
ANIMALS = 200
MISSING, SHIFTED, SWAPPED = 3, 20, 41  # positions of images with a wrong label


def suspects(workspace: Workspace) -> list[Suspect]:
    with workspace.database.read() as session:
        return label_errors.standing(session)


def chosen(names: Sequence[str]) -> Content:
    return Content(choice=ImageChoice(tuple(sorted(names))))


class Zoo:
    """Images that hold up to three animals; two people left one out of one and saw one too many in another."""

    def __init__(self, workspace: Workspace, build: Any) -> None:
        self.workspace = workspace
        random = np.random.default_rng(0)
        self.images: list[ImageId] = build.images(ANIMALS)
        truth = random.random((ANIMALS, 3)) < 0.4
        truth[MISSING], truth[SWAPPED] = (True, True, False), (True, False, False)
        vectors = np.concatenate([truth * 1.0, 1.0 - truth], axis=1) @ np.eye(6, 12)
        noise = random.normal(scale=0.2, size=(ANIMALS, 12))
        noise[[MISSING, SWAPPED]] = 0  # these two are plain cases
        said = truth.copy()
        said[MISSING, 1], said[SWAPPED, 2] = False, True
        self.truth, self.said = ([[n for n, is_held in zip(NAMES, r, strict=True) if is_held] for r in each]
                                 for each in (truth.tolist(), said.tolist()))  # fmt: skip
        self.campaign = build.campaign(build.batch(self.images), build.taxonomy(NAMES, kind="multilabel"))
        build.answers(self.campaign, {name: [chosen(each) for each in self.said] for name in ("ann", "bob")})
        verdicts.review(workspace, NAME)
        build.vectors(self.images, vectors + noise)


def test_a_class_too_many_and_one_too_few_are_found_and_named(workspace: Workspace, build: Any) -> None:
    zoo = Zoo(workspace, build)
    summary = label_errors.scan(workspace)
    assert (summary.labels, summary.encoder, summary.model, summary.expected_wrong) == (
        ANIMALS,
        "test",
        None,
        pytest.approx(2 / (3 * ANIMALS), abs=0.01),
    )
    assert summary.candidates <= 6
    told = {one.image: one for one in suspects(workspace)}
    assert {one.image for one in suspects(workspace)[:2]} == {zoo.images[MISSING], zoo.images[SWAPPED]}
    few, many = told[zoo.images[MISSING]], told[zoo.images[SWAPPED]]
    assert "'dog' is probably missing: a probe that did not see this label gives it " in few.why
    assert "of its nearest neighbours, by weight, have it." in few.why
    assert "'owl' is probably not there: " in many.why
    for one, position in ((few, MISSING), (many, SWAPPED)):
        assert content.from_json(one.label) == chosen(zoo.said[position])
        assert content.from_json(one.suggestion) == chosen(zoo.truth[position])
        assert one.kind == "multilabel"
    assert [one.score for one in suspects(workspace)] == sorted((one.score for one in told.values()), reverse=True)


def test_an_expert_is_shown_both_and_settles_it(workspace: Workspace, build: Any) -> None:
    zoo = Zoo(workspace, build)
    label_errors.scan(workspace)
    [opened] = adjudication.open_suspects(workspace, 1, taxonomy="animals")
    with workspace.database.read() as session:
        [task] = session.scalars(select(Task).join(Campaign).where(Campaign.name == opened.opened))
        shown = {tuple(sorted(part["value"]["choices"])) for each in task.suggestions or [] for part in each}
        before = session.scalars(select(Label.value).where(Label.image_id == task.image_id)).all()
    position = zoo.images.index(ImageId(task.image_id))
    assert shown == {tuple(zoo.said[position]), tuple(zoo.truth[position])}
    assert len(before) == 1  # nothing was fixed by itself
    with workspace.database.read() as session:
        held = session.scalars(select(Campaign.id).where(Campaign.name == opened.opened)).one()
    build.answers(held, {"eve": [chosen(zoo.said[position])]})  # the label was right
    verdicts.review(workspace, NAME)
    assert label_errors.scan(workspace).adjudicated == 1
    assert task.image_id not in {one.image for one in suspects(workspace)}


def test_copies_with_different_classes_name_each_other(workspace: Workspace, build: Any) -> None:
    zoo = Zoo(workspace, build)
    first = zoo.images[MISSING]
    other = next(i for i, names in enumerate(zoo.said) if names == zoo.truth[MISSING])
    build.duplicates([first, zoo.images[other]])
    assert label_errors.scan(workspace).sources["copies"] == 2
    told = {one.image: one for one in suspects(workspace)}
    assert f"and the same picture, image {zoo.images[other]}, is labelled with it." in told[first].why
    assert f"and the same picture, image {first}, is labelled without it." in told[zoo.images[other]].why


def test_one_image_of_several_classes_says_nothing(workspace: Workspace, build: Any) -> None:
    images = build.images(1)
    build.taxonomy(NAMES, kind="multilabel")
    build.labels({images[0]: content.to_json(chosen(["cat"]))})
    build.vectors(images, np.eye(1, 4))
    assert label_errors.scan(workspace).candidates == 0


def drawn(*boxes: tuple[Box, str]) -> Content:
    return Content(regions=tuple(Region(f"r{i}", box, (name,)) for i, (box, name) in enumerate(boxes)))


class Yard:
    """Sixty photos with two boxes each, three of them labelled wrongly, and a detector that saw none of the labels."""

    def __init__(self, workspace: Workspace, build: Any, *, kind: str = "boxes") -> None:
        self.workspace, self.build = workspace, build
        random = np.random.default_rng(0)
        self.images: list[ImageId] = build.images(60, side=SIDE)
        self.truth = [self._photo(random) for _ in self.images]
        self.said = list(self.truth)
        (first, name), second = self.truth[SHIFTED]
        self.said[MISSING] = self.truth[MISSING][:1]
        self.said[SHIFTED] = [(replace(first, x=first.x + 30, y=first.y + 30), name), second]
        (first, _), second = self.truth[SWAPPED]
        self.said[SWAPPED] = [(first, "owl"), second]
        self.taxonomy = build.taxonomy(NAMES, kind=kind)
        self.campaign = build.campaign(build.batch(self.images), self.taxonomy)
        labels = {image: content.to_json(content.essence(drawn(*said)))
                  for image, said in zip(self.images, self.said, strict=True)}  # fmt: skip
        build.labels(labels)
        self.predicted = [self._seen(random, photo) for photo in self.truth]

    def predict(
        self,
        found: Mapping[ImageId, list[dict[str, Any]]],
        *,
        classes: Sequence[str] = NAMES,
        later: Sequence[list[dict[str, Any]]] = (),
    ) -> None:
        """Keep what is found in each image in a first pass, and what was in later ones of all images."""
        with self.workspace.database.write() as session:
            run = PredictionRun(model="net", digest="p" * 64, kind="boxes", classes=list(classes), report={})
            session.add(run)
            session.flush()
            session.add_all(
                BoxPrediction(run_id=run.id, image_id=image, passes=[each, *later]) for image, each in found.items()
            )

    @staticmethod
    def _photo(random: np.random.Generator) -> list[tuple[Box, str]]:
        x, y = random.uniform(10, 60, 2)
        return [
            (Box(float(x), float(y), 80.0, 90.0), NAMES[int(random.integers(2))]),
            (Box(float(x) + 180, float(y) + 150, 100.0, 70.0), "owl"),
        ]

    @staticmethod
    def _seen(random: np.random.Generator, photo: list[tuple[Box, str]]) -> list[dict[str, Any]]:
        found = []
        for box, name in photo:
            x, y = random.normal(0, 2, 2)
            place = [box.x + float(x), box.y + float(y), box.width, box.height]
            found.append({"box": place, "class": name, "score": float(random.uniform(0.9, 0.99))})
        found.append({"box": [300.0, 5.0, 30.0, 40.0], "class": "dog", "score": float(random.uniform(0.05, 0.3))})
        return found


@pytest.fixture
def yard(workspace: Workspace, build: Any) -> Yard:
    found = Yard(workspace, build)
    found.predict(dict(zip(found.images, found.predicted, strict=True)))
    return found


def surest(yard: Yard, position: int, score: float = 0.999) -> None:
    """The detector is surer of what it sees in an image than anywhere else."""
    for one in yard.predicted[position]:
        if one["score"] > 0.5:
            one["score"] = score


def test_what_was_overlooked_shifted_and_swapped_is_told_with_its_place(workspace: Workspace, build: Any) -> None:
    yard = Yard(workspace, build)
    for position in (MISSING, SHIFTED, SWAPPED):
        surest(yard, position)
    yard.predict(dict(zip(yard.images, yard.predicted, strict=True)))
    summary = label_errors.scan(workspace, model="net")
    assert (summary.labels, summary.encoder, summary.model, summary.without_predictions) == (60, None, "net", 0)
    assert summary.sources == {"overlooked": 1, "badly located": 1, "swapped": 1}
    told = {one.image: one for one in suspects(workspace)}
    assert told.keys() == {yard.images[i] for i in (MISSING, SHIFTED, SWAPPED)}
    x, y, width, height = yard.predicted[MISSING][1]["box"]
    where = f"{x:.0f}, {y:.0f}, {width:.0f} × {height:.0f}"
    assert told[yard.images[MISSING]].why == f"An 'owl' at {where} that the model is 100% sure of is not in the label."
    assert "is rather at " in told[yard.images[SHIFTED]].why
    name = yard.truth[SWAPPED][0][1]
    assert f"is rather '{name}', by the model that is 100% sure of it." in told[yard.images[SWAPPED]].why
    better = [content.from_json(told[yard.images[i]].suggestion).regions for i in (MISSING, SHIFTED, SWAPPED)]
    assert [region.classes for region in better[0]] == [(yard.truth[MISSING][0][1],), ("owl",)]
    assert better[1][0].shape == Box(*yard.predicted[SHIFTED][0]["box"])
    assert better[1][1].shape == yard.said[SHIFTED][1][0]
    assert [region.classes for region in better[2]] == [(name,), ("owl",)]
    with workspace.database.read() as session:
        items = {item.image: item for item in adjudication.queue(workspace, session).items}
    assert items[yard.images[MISSING]].label == f"1 {yard.truth[MISSING][0][1]}"
    assert len(items[yard.images[MISSING]].suggestions) == 2
    [opened] = adjudication.open_suspects(workspace, 3, taxonomy="animals")
    assert opened.items == 3
    with workspace.database.read() as session:
        tasks = session.scalars(select(Task).join(Campaign).where(Campaign.name == opened.opened)).all()
    assert {task.image_id: sorted(map(len, task.suggestions or [])) for task in tasks}[yard.images[MISSING]] == [1, 2]
    again = label_errors.scan(workspace, model="net")
    assert again.candidates == 3  # nothing was fixed by itself


def test_images_without_predictions_are_left_out_and_empty_ones_are_looked_at(workspace: Workspace, build: Any) -> None:
    yard = Yard(workspace, build)
    surest(yard, MISSING)
    yard.predict(dict(zip(yard.images[:50], [*yard.predicted[:49], []], strict=True)))
    summary = label_errors.scan(workspace, model="net")
    assert (summary.labels, summary.without_predictions) == (50, 10)
    assert yard.images[MISSING] in {one.image for one in suspects(workspace)}


def test_of_several_passes_the_first_is_heard(workspace: Workspace, build: Any) -> None:
    yard = Yard(workspace, build)
    surest(yard, MISSING)
    yard.predict(dict(zip(yard.images, yard.predicted, strict=True)), later=[[]])
    assert label_errors.scan(workspace, model="net").sources["overlooked"] == 1


def test_a_withdrawn_item_is_listed_no_more(workspace: Workspace, build: Any) -> None:
    zoo = Zoo(workspace, build)
    label_errors.scan(workspace)
    first = zoo.images[MISSING]
    assert first in {one.image for one in suspects(workspace)}
    with workspace.database.write() as session:
        session.scalars(select(Task).where(Task.image_id == first)).one().state = "withdrawn"
    assert first not in {one.image for one in suspects(workspace)}


def test_classes_that_the_label_could_not_name_are_not_missed(workspace: Workspace, build: Any) -> None:
    yard = Yard(workspace, build)
    car = {"box": [300.0, 300.0, 90.0, 90.0], "class": "car", "score": 0.999}
    predicted = [[*found, car] for found in yard.predicted]
    yard.predict(dict(zip(yard.images, predicted, strict=True)), classes=[*NAMES, "car"])
    label_errors.scan(workspace, model="net")
    assert not any("car" in one.why for one in suspects(workspace))


def test_what_boxes_need_is_a_sentence(yard: Yard, build: Any) -> None:
    workspace = yard.workspace
    with pytest.raises(InvalidInputError, match="say --predictions NAME, after winnow predictions import"):
        label_errors.scan(workspace)
    with pytest.raises(NotFoundError, match="no predictions of 'other'"):
        label_errors.scan(workspace, model="other")
    with pytest.raises(InvalidInputError, match="predictions are looked at, not vectors"):
        label_errors.scan(workspace, model="net", encoder="test")
    with workspace.database.write() as session:
        run = PredictionRun(model="sorter", digest="q" * 64, kind="classes", classes=NAMES, report={})
        other = PredictionRun(model="cars", digest="r" * 64, kind="boxes", classes=["car"], report={})
        empty = PredictionRun(model="elsewhere", digest="s" * 64, kind="boxes", classes=NAMES, report={})
        session.add_all([run, other, empty])
    with pytest.raises(InvalidInputError, match="'sorter' predicts classes; boxes are needed"):
        label_errors.scan(workspace, model="sorter")
    with pytest.raises(InvalidInputError, match="'cars' predicts none of the classes of 'animals', which are cat, dog"):
        label_errors.scan(workspace, model="cars")
    with pytest.raises(
        NotFoundError, match="none of the 60 images labelled under 'animals': winnow predictions import"
    ):
        label_errors.scan(workspace, model="elsewhere")


@pytest.mark.parametrize("kind", ["polygons", "masks", "keypoints", "rotated-boxes"])
def test_what_cannot_be_looked_at_is_a_sentence(workspace: Workspace, build: Any, kind: str) -> None:
    images = build.images(1)
    build.taxonomy(NAMES, kind=kind)
    build.labels({images[0]: content.to_json(Content())})
    with pytest.raises(InvalidInputError, match=f"'animals' asks for {kind}; classes of images and boxes"):
        label_errors.scan(workspace, model="net")


def test_predictions_are_for_boxes_alone(workspace: Workspace, build: Any) -> None:
    Zoo(workspace, build)
    with pytest.raises(InvalidInputError, match="asks for multilabel: predictions are compared with boxes alone"):
        label_errors.scan(workspace, model="net")


def test_labels_without_any_boxes_are_no_candidates(workspace: Workspace, build: Any) -> None:
    images = build.images(3, side=SIDE)
    build.taxonomy(NAMES, kind="boxes")
    build.labels(dict.fromkeys(images, content.to_json(Content())))
    yard = Yard.__new__(Yard)
    yard.workspace = workspace
    found = [{"box": [10.0, 10.0, 50.0, 50.0], "class": "cat", "score": 0.99}]
    yard.predict(dict.fromkeys(images, found))
    assert label_errors.scan(workspace, model="net").candidates == 0  # by these labels the model is never right


def in_force(contents: Sequence[Content], *, settled: int | None = None) -> list[LabelInForce]:
    return [
        LabelInForce(i, ImageId(100 + i), f"{i:064}", content.to_json(said), None if i == settled else 0.9, i)
        for i, said in enumerate(contents)
    ]


def photos(count: int) -> tuple[list[Content], list[list[predictions.Box]]]:
    """Each with a cat and a car, both labelled, that a detector sees, and a ghost that it hardly believes."""
    cat, car = Box(10, 10, 80, 80), Box(200, 200, 90, 60)
    said = [drawn((cat, "cat"), (car, "car")) for _ in range(count)]
    seen = [
        [
            predictions.Box(11, 10 + i / 20, 80, 80, "cat", 0.9, None),
            predictions.Box(201, 200, 90, 60, "car", 0.9, None),
            predictions.Box(300, 10, 30, 30, "cat", 0.1, None),
        ]
        for i in range(count)
    ]
    return said, seen


EVERYTHING = frozenset({"cat", "car"})


def test_a_class_that_came_later_was_not_overlooked_before() -> None:
    said, seen = photos(40)
    said[0] = drawn((Box(10, 10, 80, 80), "cat"))
    asked = [EVERYTHING] * 40
    [found] = suspect_boxes.search(in_force(said), ["car", "cat"], asked, seen).candidates
    assert (found.label_id, found.why) == (
        0,
        "A 'car' at 201, 200, 90 × 60 that the model is 90% sure of is not in the label.",
    )
    asked[0] = frozenset({"cat"})  # there was no such class
    assert suspect_boxes.search(in_force(said), ["car", "cat"], asked, seen).candidates == []


def test_what_an_expert_drew_is_no_candidate() -> None:
    said, seen = photos(40)
    said[0] = drawn((Box(10, 10, 80, 80), "cat"))
    found = suspect_boxes.search(in_force(said, settled=0), ["car", "cat"], [EVERYTHING] * 40, seen)
    assert (found.candidates, found.sources) == ([], dict.fromkeys(("overlooked", "badly located", "swapped"), 0))


@pytest.mark.parametrize(
    "shape",
    [
        Box(20, 5, 75, 80, rotation=8.0),
        Polygon(((10.0, 10.0), (90.0, 10.0), (90.0, 90.0), (10.0, 90.0))),
        Mask.of(np.pad(np.ones((80, 80), dtype=np.bool_), ((10, 230), (10, 230)))),
    ],
    ids=["rotated", "polygon", "mask"],
)
def test_other_shapes_are_looked_past_and_hide_what_is_predicted_there(shape: Shape) -> None:
    said, seen = photos(40)
    said[0] = Content(regions=(Region("r0", shape, ("car",)), said[0].regions[1]))  # a car, where the model sees a cat
    assert suspect_boxes.search(in_force(said), ["car", "cat"], [EVERYTHING] * 40, seen).candidates == []
    said[0] = Content(regions=(Region("r0", Keypoint(50, 50), ("car",)), said[0].regions[1]))
    [found] = suspect_boxes.search(in_force(said), ["car", "cat"], [EVERYTHING] * 40, seen).candidates
    assert found.why.startswith("A 'cat' at 11, 10, 80 × 80 ")


def test_more_than_three_faults_of_an_image_are_counted() -> None:
    said, seen = photos(80)
    said[0] = Content()
    seen[0] += [predictions.Box(x, 300, 40, 40, "cat", 0.95, None) for x in (10.0, 100.0, 190.0)]
    found = suspect_boxes.search(in_force(said), ["car", "cat"], [EVERYTHING] * 80, seen)
    assert found.candidates[0].why.count("is not in the label.") == 3
    assert found.candidates[0].why.endswith(" And 2 more.")
    assert len(content.from_json(found.candidates[0].suggestion).regions) == 5


def test_a_copy_that_could_not_name_a_class_is_not_said_to_lack_it() -> None:
    held = in_force([chosen(["cat", "dog"]), chosen(["cat"]), chosen([]), chosen(["dog"]), chosen(["cat"])])
    asked = np.ones((5, 2), dtype=np.bool_)
    asked[1, 1] = False
    views = Views.of(lambda rows: np.eye(5, dtype=np.float32)[rows], 5)
    groups = np.array([0, 0, 0, 1, 2])
    found = several_classes.search(held, ["cat", "dog"], asked, views, tied=np.arange(5), groups=groups)
    told = {one.label_id: one.why for one in found.candidates}
    assert told[0].count("the same picture, image 102, is labelled without it.") == 2
    assert 101 not in {held[i].image_id for i in told if "'dog'" in told[i]}
