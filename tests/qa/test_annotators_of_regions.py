"""People who are asked for several classes or for regions, from their answers in the catalog."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from labeling import content
from labeling.content import Content, ImageChoice, Region
from labeling.definitions import TaskKind
from labeling.geometry import Box, Keypoint, Polygon, Shape
from qa import annotators, standing
from qa.annotators import AnnotatorQuality
from store.schema import Annotation, Annotator
from store.workspace import Workspace, open_workspace
from tests.conftest import Builder
from tests.qa.crew import BEGIN

SIDE = 240
CLASSES = ("cat", "dog")


@dataclass(frozen=True)
class Person:
    """How somebody draws."""

    recall: float = 0.93
    ghosts: float = 0.1  # in an image
    naming: float = 0.95
    slip: float = 1.0  # pixels


HONEST = {"ann": Person(), "bob": Person(0.88, 0.15, 0.92, 1.5), "cay": Person(0.9, 0.2)}


class Crew:
    """A campaign in which everybody draws in every image: two to six things, in cells of 60 pixels."""

    def __init__(self, build: Any, kind: TaskKind, items: int = 60, *, gold: int = 0) -> None:
        self.build, self.kind = build, kind
        self.random = np.random.default_rng(0)
        images = build.images(items, side=SIDE)
        taxonomy = build.taxonomy(CLASSES, kind=kind)
        self.truth = [self._truth() for _ in range(items)]
        known = {image: content.to_json(content.essence(said)) for image, said in zip(images, self.truth, strict=True)}
        if gold:
            build.labels({image: known[image] for image in images[:gold]})
        arms = ["gold"] * gold + ["diverse"] * (items - gold)
        self.campaign: int = build.campaign(build.batch(images, arms=arms), taxonomy, overlap=3)

    def _truth(self) -> Content:
        if self.kind == "multilabel":
            return Content(choice=ImageChoice(tuple(name for name in CLASSES if self.random.random() < 0.5)))
        cells = self.random.choice(16, self.random.integers(2, 7), replace=False).tolist()
        return Content(regions=tuple(self._region(cell, str(self.random.choice(CLASSES)), 0) for cell in cells))

    def _region(self, cell: int, name: str, slip: float) -> Region:
        x, y, width, height = np.array([60 * (cell % 4) + 10, 60 * (cell // 4) + 10, 40, 40]) + self.random.normal(
            0, slip, 4
        )
        shape: Shape = Box(x, y, width, height)
        if self.kind == "keypoints":
            shape = Keypoint(x, y)
        elif self.kind == "polygons":
            shape = Polygon(((x, y), (x + width, y), (x + width, y + height), (x, y + height)))
        return Region("", shape, (name,))

    def _said(self, truth: Content, person: Person) -> Content:
        if truth.choice is not None:
            there, ghost = person.recall, person.ghosts
            held = [self.random.random() < (there if name in truth.choice.classes else ghost) for name in CLASSES]
            return Content(choice=ImageChoice(tuple(np.array(CLASSES)[held].tolist())))
        drawn, taken = [], set()
        for region in truth.regions:
            corner = np.array(_corner(region.shape))
            cell = int(corner[0] // 60 + 4 * (corner[1] // 60))
            taken.add(cell)
            if self.random.random() < person.recall:
                [real] = region.classes
                other = CLASSES[1 - CLASSES.index(real)]
                drawn.append(self._region(cell, real if self.random.random() < person.naming else other, person.slip))
        free = [cell for cell in range(16) if cell not in taken]
        for cell in self.random.permutation(free)[: self.random.poisson(person.ghosts)].tolist():
            drawn.append(self._region(cell, "cat", 0))
        return Content(regions=tuple(drawn))

    def answer(self, people: Mapping[str, Person], *, but: int = 0) -> None:
        """Everybody answers all items but the first few."""
        said = {name: [self._said(truth, one) for truth in self.truth] for name, one in people.items()}
        self.build.answers(self.campaign, {name: [None] * but + each[but:] for name, each in said.items()})


def _corner(shape: Shape) -> tuple[float, float]:
    match shape:
        case Box() | Keypoint():
            return shape.x, shape.y
        case Polygon():
            return shape.points[0]
    raise TypeError(shape)


def by_name(workspace: Workspace) -> dict[str, AnnotatorQuality]:
    return {quality.annotator: quality for quality in annotators.list_all(workspace)}


@pytest.mark.parametrize("kind", ["multilabel", "boxes", "polygons", "keypoints"])
def test_everybody_is_judged_by_what_they_find_leave_out_and_make_up(
    workspace: Workspace, build: Any, kind: TaskKind
) -> None:
    items = 60 if kind == "multilabel" else 30  # of few classes
    Crew(build, kind, items).answer(HONEST | {"lax": Person(recall=0.4, ghosts=0.6, naming=0.6, slip=2.5)})
    found = by_name(workspace)
    lax = found["lax"]
    assert lax.detection is not None
    assert lax.detection.images == items
    low, high = lax.detection.recall.interval
    assert low < 0.4 < high
    assert lax.accuracy is not None
    assert lax.accuracy < 0.6
    assert lax.suggestion is not None
    assert "of things right" in lax.suggestion
    assert "winnow qa annotators pause lax" in lax.suggestion
    for name, person in HONEST.items():
        one = found[name]
        assert one.suggestion is None
        assert one.answers == items
        assert one.detection is not None
        assert one.detection.recall.accuracy is not None
        assert one.detection.recall.interval[0] < person.recall < one.detection.recall.interval[1]
        assert one.detection.ghosts_interval is not None
        assert one.detection.ghosts_interval[0] < person.ghosts
        assert (one.detection.likeness is None, one.detection.naming is None) == ((kind == "multilabel",) * 2)
        if one.detection.likeness is not None and lax.detection.likeness is not None:
            assert one.detection.likeness.accuracy is not None
            assert one.detection.likeness.accuracy > lax.detection.likeness.interval[1]
    assert [sign.kind for one in found.values() for sign in one.signs] == []


def test_one_person_in_full_tells_what_they_take_for_what(workspace: Workspace, build: Any) -> None:
    Crew(build, "boxes", 40).answer(HONEST | {"mix": Person(naming=0.55)})
    [mix] = annotators.show(workspace, "mix")
    assert mix.classes == ["cat", "dog", "nothing"]
    assert [part.name for part in mix.by_class] == ["cat", "dog"]
    taken = mix.confusion[0][1] + mix.confusion[1][0]
    assert taken > 3 * (mix.confusion[0][2] + mix.confusion[1][2])  # calls it otherwise far oftener than misses it
    assert mix.quality.detection is not None
    assert mix.quality.detection.naming is not None
    assert mix.quality.detection.naming.accuracy == pytest.approx(0.55, abs=0.1)
    assert mix.anchoring is None


def test_gold_judges_by_itself_and_two_people_alone_do_not(workspace: Workspace, build: Any) -> None:
    crew = Crew(build, "boxes", 30, gold=20)
    crew.answer({"ann": Person(recall=0.6)})
    ann = by_name(workspace)["ann"]
    assert ann.gold is not None
    assert ann.detection is not None
    assert ann.detection.images == 20
    assert ann.judged == ann.gold.answers >= sum(len(said.regions) for said in crew.truth[:20])
    assert ann.detection.recall.interval[0] < 0.6 < ann.detection.recall.interval[1]


def test_gold_that_nobody_has_seen_yet_judges_nobody(workspace: Workspace, build: Any) -> None:
    crew = Crew(build, "boxes", gold=4)
    honest = ("ann", "bob", "cat")
    crew.answer({**dict.fromkeys(honest, Person()), "wild": Person(ghosts=2)}, but=1)
    found = by_name(workspace)
    for name in honest:
        assert found[name].accuracy is not None
        assert found[name].accuracy > 0.75
        assert found[name].suggestion is None
    assert found["wild"].suggestion is not None


def test_two_who_never_agree_are_not_said_to_be_bad(workspace: Workspace, build: Any) -> None:
    """She may see ghosts, or he miss things."""
    crew = Crew(build, "boxes", 30)
    crew.answer({"ann": Person(), "bob": Person(recall=0.0, ghosts=0)})
    for one in by_name(workspace).values():
        assert (one.answers, one.judged, one.accuracy, one.suggestion) == (30, 0, None, None)
        assert one.detection is not None
        assert (one.detection.recall.accuracy, one.detection.ghosts_per_image) == (None, None)
    crew.build.adjudication(crew.campaign, dict(enumerate(crew.truth[:15])))
    bob = by_name(workspace)["bob"]
    assert bob.detection is not None
    assert bob.detection.recall.interval[1] < 0.1
    assert bob.suggestion is not None


def test_two_are_judged_by_the_images_that_are_settled_and_no_others(workspace: Workspace, build: Any) -> None:
    crew = Crew(build, "boxes", 30)
    crew.answer({"ann": Person(ghosts=0), "bob": Person(recall=0.0, ghosts=0)})
    crew.build.adjudication(crew.campaign, {0: crew.truth[0]})
    for one in by_name(workspace).values():
        assert (one.judged, one.accuracy, one.suggestion) == (len(crew.truth[0].regions), None, None)
        assert one.detection is not None
        assert one.detection.images == 1


def test_who_draws_next_to_nothing_in_no_time_is_found(workspace: Workspace, build: Any) -> None:
    crew = Crew(build, "boxes", 40)
    crew.answer(HONEST | {"lazy": Person(recall=0.02, ghosts=0)})
    random = np.random.default_rng(0)
    with workspace.database.write() as session:
        names = dict(session.execute(select(Annotator.id, Annotator.name)).all())
        for i, annotation in enumerate(session.scalars(select(Annotation).order_by(Annotation.id))):
            lazy = names[annotation.annotator_id] == "lazy"
            annotation.lead_time_s = 0.3 if lazy else float(random.lognormal(3, 0.4))
            annotation.ls_updated_at = (BEGIN + timedelta(minutes=i)).isoformat()
    found = by_name(workspace)
    lazy = found.pop("lazy")
    signs = {sign.kind: sign.sentence for sign in lazy.signs}
    assert signs.keys() == {"too-fast", "one-class"}
    assert "gave 40 of 40 answers in under" in signs["too-fast"]
    assert signs["one-class"].startswith("leaves out 9")
    assert lazy.pace is not None
    assert lazy.pace.interval[1] < 0.1
    assert not any(one.signs for one in found.values())
    [full] = annotators.show(workspace, "lazy")
    assert sum(part.answers for part in full.over_time) == lazy.judged


def test_what_a_paused_person_draws_is_judged_and_judges_nobody(workspace: Workspace, build: Any) -> None:
    crew = Crew(build, "boxes", 30)
    crew.answer(HONEST)
    before = {name: one.judged for name, one in by_name(workspace).items()}
    crew.answer({"wild": Person(recall=0.5, ghosts=3)})
    assert by_name(workspace)["ann"].judged > before["ann"]  # whether what only they drew is there
    standing.decide(workspace, "wild", "paused", reason="a test", by="lead", since=BEGIN.replace(year=2020))
    found = by_name(workspace)
    wild = found.pop("wild")
    assert {name: one.judged for name, one in found.items()} == before
    assert wild.detection is not None
    assert wild.detection.recall.interval[0] < 0.5 < wild.detection.recall.interval[1]
    assert wild.accuracy is not None
    assert wild.accuracy < 0.5


@pytest.mark.parametrize("kind", ["multilabel", "boxes", "masks"])
def test_where_nothing_was_drawn_nobody_is_judged(workspace: Workspace, build: Any, kind: TaskKind) -> None:
    images = build.images(6, side=SIDE)
    campaign = build.campaign(build.batch(images), build.taxonomy(["cat"], kind=kind))
    assert annotators.list_all(workspace) == []
    nothing = Content(choice=ImageChoice(()) if kind == "multilabel" else None)
    build.answers(campaign, {name: [nothing] * 6 for name in ("ann", "bob", "cay")})
    for one in annotators.list_all(workspace):
        assert (one.answers, one.skips, one.judged, one.accuracy, one.suggestion) == (6, 0, 0, None, None)
        assert one.detection is not None
        assert one.detection.recall.answers == 0
    assert len(annotators.show(workspace, "ann")[0].by_class) == 1
    with workspace.database.write() as session:
        for annotation in session.scalars(select(Annotation)):
            annotation.skipped = True
    assert [(one.answers, one.skips) for one in annotators.list_all(workspace)] == [(0, 6)] * 3


def test_of_several_classes_accuracy_is_the_share_of_right_words_on_what_anybody_names(tmp_path: Path) -> None:
    """A class is there or not, however many classes there are: half of the guesses are right."""
    right_of = {"ann": 0.93, "bob": 0.92, "cay": 0.72, "dan": 0.85, "eve": 0.63}
    classes, items, held = ("red", "green", "blue"), 100, []
    for seed in range(10):
        random = np.random.default_rng(seed)
        workspace = open_workspace(tmp_path / str(seed))
        build = Builder(workspace)
        taxonomy = build.taxonomy(classes, kind="multilabel")
        campaign = build.campaign(build.batch(build.images(items)), taxonomy, overlap=3)
        truth = random.random((items, 3)) < 0.4
        seen = np.argsort(random.random((items, len(right_of))), axis=1) < 3
        right = random.random((items, len(right_of), 3)) < np.array([*right_of.values()])[:, None]
        ticked = np.where(right, truth[:, None], ~truth[:, None]) & seen[:, :, None]
        answers = {
            name: [
                Content(choice=ImageChoice(tuple(np.array(classes)[ticked[item, who]].tolist())))
                if seen[item, who]
                else None
                for item in range(items)
            ]
            for who, name in enumerate(right_of)
        }
        build.answers(campaign, answers)
        named = seen[:, :, None] & ticked.any(axis=1)[:, None]
        for who, quality in enumerate(by_name(workspace).values()):
            low, high = quality.interval
            held.append(low < right[:, who][named[:, who]].mean() < high)
    assert sum(held) >= 45
