"""Campaigns of several classes and of regions that ask as often as needed: who is asked again, and what it saves."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import pytest

from benchmarks import average_precision, boxes, looks
from labeling import campaigns
from labeling.content import Content
from labeling.definitions import TaskKind
from labeling.geometry import Box, Keypoint, Mask, Polygon, Shape
from qa import gains, next_answers
from qa.consensus import multilabel, places, regions
from qa.consensus.multilabel import Multilabel
from qa.consensus.regions import Drawn, Regions
from qa.overlap import Gain, Rules
from store.arrays import Bools, Floats, Ints
from store.workspace import Workspace
from tests.qa.test_contents import NAME, NOTHING, Bench, box, chosen, drawn

ITEMS = 20
IMAGES = 24  # of simulated crowds
RIGHT: dict[TaskKind, list[Content]] = {
    "boxes": [drawn((box(20, 30), "cat"), (box(120, 110), "dog"))] * ITEMS,
    "multilabel": [chosen("cat", "dog"), chosen("dog")] * (ITEMS // 2),
}
WRONG: dict[TaskKind, Content] = {"boxes": drawn((box(20, 30), "cat")), "multilabel": chosen("cat")}  # no dog


def asking(workspace: Workspace, build: Any, kind: TaskKind, **rules: Any) -> Bench:
    """A campaign that asks as often as needed; nobody is audited."""
    adaptive = asdict(Rules(**{"audited": 0.0, **rules}))
    del adaptive["answer_cost"]
    return Bench(workspace, build, kind, items=ITEMS, adaptive=adaptive)


def asked(bench: Bench) -> dict[int, str | None]:
    """Who is asked about which item, by rank; and again nothing changes."""
    summary, again = bench.review(), bench.review()
    assert (again.new_verdicts, again.opinions) == (0, summary.opinions)
    assert summary.model is None
    return {bench.images.index(each.image): each.ask for each in summary.opinions}


def at(rank: int, content: Content | None) -> list[Content | None]:
    """An answer to one item alone."""
    return [content if i == rank else None for i in range(ITEMS)]


def progress(workspace: Workspace) -> tuple[int, int, int]:
    """Items that are answered, in work and accepted."""
    with workspace.database.read() as session:
        found = campaigns.status(session, NAME)
    return found.answered, found.in_work, found.accepted


@pytest.mark.parametrize("kind", ["multilabel", "boxes"])
def test_a_third_person_is_asked_where_two_disagree_and_then_it_is_accepted(
    workspace: Workspace, build: Any, kind: TaskKind
) -> None:
    bench, right = asking(workspace, build, kind, target_error=0.005), RIGHT[kind]
    bench.answer({"ann": right, "bob": [*right[:-1], WRONG[kind]], "cleo": [*right[:4], *[None] * 16]})
    assert asked(bench) == {19: "cleo"}
    verdict = bench.verdict(19)
    assert verdict.outcome == "another-opinion"
    assert verdict.evidence["policy"]["overlap"] == "adaptive"
    assert 1 - (verdict.posterior or 0) > verdict.evidence["most_doubt"] > 0
    assert bench.verdict(0).outcome == "accepted"
    assert bench.verdict(0).evidence["most_doubt"] == verdict.evidence["most_doubt"]
    assert progress(workspace) == (19, 1, 19)
    bench.answer({"cleo": at(19, right[19])})
    assert asked(bench) == {}
    assert progress(workspace) == (20, 0, 20)
    assert bench.verdict(19).outcome == "accepted"
    assert bench.label(19).choice == right[19].choice
    assert [region.classes for region in bench.label(19).regions] == [r.classes for r in right[19].regions]


@pytest.mark.parametrize(
    "shape",
    [
        Box(60, 40, 50, 20, rotation=30),
        Polygon(((20, 20), (90, 30), (80, 100), (25, 80))),
        Mask.of(np.pad(np.ones((60, 50), dtype=np.bool_), ((30, 110), (40, 110)))),
        Keypoint(77, 88),
    ],
)
def test_every_kind_of_region_is_asked_about_where_only_one_drew_it(
    workspace: Workspace, build: Any, shape: Shape
) -> None:
    kinds: dict[type[Shape], TaskKind] = {Polygon: "polygons", Mask: "masks", Keypoint: "keypoints"}
    bench = asking(workspace, build, kinds.get(type(shape), "rotated-boxes"), target_error=0.005)
    thing = drawn((shape, "cat"))
    bench.answer({"ann": [thing] * ITEMS, "bob": [*[thing] * 19, NOTHING], "cleo": [*[thing] * 4, *[None] * 16]})
    assert asked(bench) == {19: "cleo"}


@pytest.mark.parametrize("kind", ["multilabel", "boxes"])
def test_asked_is_who_sees_what_is_in_doubt(workspace: Workspace, build: Any, kind: TaskKind) -> None:
    """Cleo leaves dogs out, dan does not."""
    bench, right, wrong = asking(workspace, build, kind, target_error=0.005, most_answers=5), RIGHT[kind], WRONG[kind]
    others: Sequence[Content | None] = [wrong if i % 2 == 0 else right[i] for i in range(19)]
    bench.answer({"ann": right, "bob": [*right[:-1], wrong], "cleo": [*others, None], "dan": [*right[:19], None]})
    assert asked(bench)[19] == "dan"


@pytest.mark.parametrize("kind", ["multilabel", "boxes"])
def test_one_person_alone_is_followed_by_anybody_and_then_by_who_came(
    workspace: Workspace, build: Any, kind: TaskKind
) -> None:
    bench, right = asking(workspace, build, kind, target_error=0.005), RIGHT[kind]
    assert asked(bench) == {}
    assert bench.review().outcomes == {"another-opinion": ITEMS}
    bench.answer({"ann": [*right[:-1], None]})
    assert asked(bench) == dict.fromkeys(range(19))
    bench.answer({"ann": at(19, right[19])})
    assert asked(bench) == dict.fromkeys(range(ITEMS))
    bench.answer({"bob": at(0, right[0])})
    assert {who for rank, who in asked(bench).items() if rank} == {"bob"}


@pytest.mark.parametrize("kind", ["multilabel", "boxes"])
def test_after_the_most_answers_an_expert_decides_and_skips_are_looks(
    workspace: Workspace, build: Any, kind: TaskKind
) -> None:
    bench, right = asking(workspace, build, kind, target_error=0.005, most_answers=2), RIGHT[kind]
    bench.answer({"ann": right, "bob": [*right[:-1], WRONG[kind]], "cleo": [*right[:4], *[None] * 16]})
    bench.skip(18)
    assert asked(bench) == {}
    assert [bench.verdict(rank).outcome for rank in (17, 18, 19)] == ["accepted", "adjudication", "adjudication"]


def test_an_expert_who_costs_little_is_asked_instead(workspace: Workspace, build: Any) -> None:
    bench, right = asking(workspace, build, "boxes", target_error=0.005, adjudication_cost=0.1), RIGHT["boxes"]
    bench.answer({"ann": right, "bob": [*right[:-1], WRONG["boxes"]], "cleo": [*right[:4], *[None] * 16]})
    assert asked(bench) == {}
    assert bench.verdict(19).outcome == "adjudication"


@pytest.mark.parametrize("kind", ["multilabel", "boxes"])
def test_new_items_come_before_settled_ones_and_disputed_before_agreed(
    workspace: Workspace, build: Any, kind: TaskKind
) -> None:
    bench, right = asking(workspace, build, kind), RIGHT[kind]
    bench.answer({"ann": [*right[:18], None, None], "bob": [*right[:17], WRONG[kind], None, None]})
    bench.answer({"cleo": [*right[:4], *[None] * 16]})
    found = next_answers.rank(workspace, NAME, 17)
    ranks = [bench.images.index(item.image) for item in found.items]
    assert set(ranks[:3]) == {17, 18, 19}
    assert (found.again, found.new, found.model) == (14, 2, None)
    disputed = found.items[ranks.index(17)]
    assert (disputed.answers, disputed.ask) == (2, "cleo")
    assert disputed.posterior < found.items[-1].posterior
    assert disputed.gain > 5 * found.items[-1].gain
    assert found.items[-1].likeliest in ("1 cat, 1 dog", "cat, dog", "dog")
    assert found.items[ranks.index(18)].gain == found.items[ranks.index(19)].gain  # nothing tells new ones apart


def crowd_of_classes(seed: int, *, items: int = 150) -> tuple[Bools, Bools]:
    """Which of four classes are there `(N, 4)`, and what five people of differing care name, `(N, 5, 4)`."""
    random = np.random.default_rng(seed)
    truth = random.random((items, 4)) < (0.5, 0.3, 0.1, 0.1)
    wrong = np.array([0.02, 0.04, 0.06, 0.1, 0.16])[:, None] * (1.0, 1.0, 0.5, 0.5)
    return truth, truth[:, None] ^ (random.random((items, 5, 4)) < wrong)


def of_classes(named: Bools, seen: Ints) -> Multilabel:
    unknown = np.full((len(named), 4), -1)
    return multilabel.fit(seen, named[seen[:, 0], seen[:, 1]], unknown, annotators=5)


def as_sure_as_of_three(believe: looks.Believe, *, items: int, seed: int, are_named: bool = True) -> tuple[Ints, Ints]:
    """Who looks at what where three do, and where as many do as it takes to leave no more doubt than that."""
    fixed = looks.fixed(3, items=items, people=5, seed=seed)
    rules = Rules(target_error=float(believe(fixed)[0].mean()), most_answers=5)
    return fixed, looks.as_needed(believe, items=items, people=5, rules=rules, seed=seed, are_named=are_named)


@pytest.mark.slow
@pytest.mark.parametrize("are_named", [True, False])
def test_several_classes_are_as_right_as_of_three_answers_with_fewer(are_named: bool) -> None:
    """Whether those answer whom the review names, or whoever comes."""
    answers, right = [], []
    for seed in range(10):
        truth, named = crowd_of_classes(seed)

        def believe(seen: Ints, named: Bools = named) -> tuple[Floats, Gain]:
            found = of_classes(named, seen)
            return 1 - gains.all_right(found), partial(gains.of_classes, found)

        both = as_sure_as_of_three(believe, items=len(truth), seed=seed, are_named=are_named)
        answers.append([len(seen) / len(truth) for seen in both])
        kept = [of_classes(named, seen).posteriors > gains.LIKELIER for seen in both]
        right.append([(each == truth).all(axis=1).mean() for each in kept])
    three, fewer = np.mean(answers, axis=0)
    assert fewer < 0.85 * three
    of_three, of_fewer = np.mean(right, axis=0)
    assert of_fewer > of_three - 0.005


def crowd_of_boxes(seed: int) -> tuple[boxes.Boxes, Drawn, Floats]:
    """What is there, and what five people drew: `benchmarks.boxes`, somewhat careless."""
    random = np.random.default_rng(seed)
    image = np.repeat(np.arange(IMAGES), random.poisson(4, IMAGES))
    corner, extent = random.uniform(0, 500, (len(image), 2)), random.uniform(40, 100, (len(image), 2))
    truth = boxes.Boxes(image, np.concatenate([corner, corner + extent], axis=1), random.integers(0, 3, len(image)))
    noise = boxes.Noise(jitter=0.05, missed=0.08, ghosts=0.4, confused=0.06)
    return truth, *boxes.simulated(truth, np.full((IMAGES, 2), 600.0), noise, seed=seed)


def of_boxes(rows: Drawn, sides: Floats, seen: Ints) -> Regions[places.Boxes]:
    mine = np.isin(rows.image * 5 + rows.annotator, seen @ [5, 1])
    of_these = Drawn(rows.image[mine], rows.annotator[mine], rows.classes[mine])
    return regions.fit(of_these, places.Boxes(sides[mine]), seen, images=IMAGES, annotators=5, classes=3)


@pytest.mark.slow
def test_boxes_are_as_right_as_of_three_answers_with_fewer() -> None:
    answers, precision = [], []
    for seed in range(10):
        truth, rows, sides = crowd_of_boxes(seed)

        def believe(seen: Ints, rows: Drawn = rows, sides: Floats = sides) -> tuple[Floats, Gain]:
            found = [of_boxes(rows, sides, seen)]
            return 1 - gains.share_right(found, images=IMAGES), partial(gains.of_regions, found)

        both = as_sure_as_of_three(believe, items=IMAGES, seed=seed)
        answers.append([len(seen) / IMAGES for seen in both])
        found = [of_boxes(rows, sides, seen) for seen in both]
        precision.append([mean_average_precision(each, truth) for each in found])
    three, fewer = np.mean(answers, axis=0)
    assert fewer < 0.85 * three
    of_three, of_fewer = np.mean(precision, axis=0)
    assert of_fewer > of_three - 0.01


def mean_average_precision(found: Regions[places.Boxes], truth: boxes.Boxes) -> float:
    held = boxes.Boxes(found.image, found.places.sides, found.classes.argmax(axis=1))
    return float(average_precision.average_precision(held, found.scores, truth).mean())
