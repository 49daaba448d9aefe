"""Lots of items that ask for several classes, or for regions."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom
from sqlalchemy import select

from labeling import content, evolution
from labeling.content import Content, ImageChoice, Region
from labeling.definitions import TaskKind
from labeling.geometry import Box, Keypoint, Mask, Polygon, Shape
from qa import lot_decisions, lots, migrations, verdicts
from qa.acceptance import Levels
from qa.defects import Tolerance
from qa.lots import Terms
from store.errors import InvalidInputError
from store.schema import Campaign, Lot, LotDecision
from tests.qa.test_lots import FIVE, Bench, decided, settled, written

SIDE = 200


def things(*shapes: Shape, name: str = "cat") -> Content:
    return Content(regions=tuple(Region(f"r{i}", shape, (name,)) for i, shape in enumerate(shapes)))


def chosen(*classes: str) -> Content:
    return Content(choice=ImageChoice(classes))


RECTANGLE = Box(60, 40, 50, 30)
KINDS: dict[TaskKind, tuple[Content, Content]] = {
    "multilabel": (chosen("cat", "dog"), chosen("cat")),
    "boxes": (things(RECTANGLE), things()),
    "rotated-boxes": (things(replace(RECTANGLE, rotation=30)), things(replace(RECTANGLE, rotation=75))),
    "polygons": (
        things(Polygon(((20, 20), (90, 30), (80, 100), (25, 80)))),
        things(Polygon(((20, 20), (90, 30), (50, 60)))),
    ),
    "masks": (
        things(Mask.of(np.pad(np.ones((60, 50), dtype=np.bool_), ((30, 110), (40, 110))))),
        things(Mask.of(np.pad(np.ones((60, 50), dtype=np.bool_), ((70, 70), (40, 110))))),
    ),
    "keypoints": (things(Keypoint(77, 88)), things(Keypoint(77, 108))),
}


def said(bench: Bench) -> dict[int, Content]:
    """The labels in force, without ids."""
    return {image: content.essence(content.from_json(value)) for image, value in bench.labels().items()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_lot_of_every_kind_is_rejected_reworked_and_accepted_when_it_comes_back(build: Any, kind: TaskKind) -> None:
    right, wrong = KINDS[kind]
    bench = Bench(build, kind, right, wrong, side=SIDE)
    campaign = bench.deliver_labels(12, wrong=9)
    lot = bench.open(campaign)
    assert lot.terms == replace(FIVE, tolerance=None if kind == "multilabel" else Tolerance(0.5, 0.9))
    [audit] = lot.audits
    assert not any(task.suggestions or task.prediction_run_id for task in bench.tasks(audit))  # nothing is shown

    done = bench.audit(lot)
    audited = bench.drawn(lot)[:5]
    assert (done.outcome, done.found) == ("rejected", sum(image > 3 for image in audited))
    assert said(bench) == dict.fromkeys(audited, content.essence(right))
    with bench.workspace.database.read() as session:
        evidence = session.scalars(select(LotDecision)).one().evidence
    assert len(evidence["defective"]) == done.found
    assert content.from_json(evidence["defective"][0]["answer"]) == content.essence(right)
    before = bench.rows()
    assert lot_decisions.decide(bench.workspace, lot.id) == done
    assert bench.rows() == before

    rework = lot_decisions.rework(bench.workspace, lot.id).rework or ""
    bench.answer(rework, "ann", "bob")
    assert verdicts.review(bench.workspace, rework, accept_at=0.6).new_labels == 7
    again = bench.open(rework, None)
    assert (again.resubmits, again.terms, again.size) == (lot.id, lot.terms, 7)
    assert bench.audit(again).outcome == "accepted"
    assert said(bench).keys() == bench.truth.keys()


def cells(count: int, *, shift: float = 0) -> Content:
    return things(*(Box(40 * (i % 5) + shift, 40 * (i // 5), 30, 30) for i in range(count)))


def test_how_far_a_label_may_differ_is_said_when_the_lot_is_opened_and_kept_for_its_rework(build: Any) -> None:
    """Fourteen of fifteen cells have an F1 of 28/29; boxes a tenth of their width away an IoU of 9/11."""
    bench = Bench(build, "boxes", cells(15), cells(14, shift=3), side=SIDE)
    assert bench.audit(bench.open(bench.deliver_labels(8, wrong=8))).outcome == "accepted"
    for tolerance in (Tolerance(least_iou=0.9), Tolerance(least_f1=0.97)):
        lot = bench.audit(bench.open(bench.deliver_labels(8, wrong=8), replace(FIVE, tolerance=tolerance)))
        assert (lot.outcome, lot.found, lot.terms.tolerance) == ("rejected", 5, tolerance)
    with bench.workspace.database.read() as session:
        assert session.get_one(Lot, lot.id).terms["tolerance"] == {"least_iou": 0.5, "least_f1": 0.97}
    rework = lot_decisions.rework(bench.workspace, lot.id).rework or ""
    bench.answer(rework, "ann", "bob")
    verdicts.review(bench.workspace, rework, accept_at=0.6)
    with bench.workspace.database.read() as session:
        before = lots.list_lots(session)
    again = bench.open(rework, None, least_iou=0.4)  # all else is as before
    assert again.terms == replace(FIVE, tolerance=Tolerance(least_iou=0.4, least_f1=0.97))
    with bench.workspace.database.read() as session:
        assert lots.list_lots(session) == [again, *before]


def test_a_tolerance_where_nothing_is_drawn_is_a_sentence(build: Any) -> None:
    bench = Bench(build, "multilabel", *KINDS["multilabel"])
    campaign = bench.deliver_labels(6)
    with pytest.raises(InvalidInputError, match="Labels of multilabel are the same or not: leave --least-iou"):
        bench.open(campaign, replace(FIVE, tolerance=Tolerance()))


def test_a_lot_of_regions_is_sorted_and_what_experts_say_stands(build: Any) -> None:
    bench = Bench(build, "boxes", *KINDS["boxes"], side=SIDE)
    lot = bench.audit(bench.open(bench.deliver(10, wrong=10)), sort=True)
    assert (lot.outcome, lot.drawn) == ("rejected", 10)
    bench.truth[bench.drawn(lot)[9]] = things()  # the last is empty indeed
    done = bench.audit(lot)
    assert (done.outcome, done.found) == ("sorted", 9)
    assert said(bench) == {image: content.essence(each) for image, each in bench.truth.items()}  # type: ignore[arg-type]
    decided(bench, lot, bench.drawn(lot)[0], None)
    assert bench.drawn(lot)[0] not in settled(bench, lot)


def test_lots_of_regions_count_in_the_switching_rules(build: Any) -> None:
    bench = Bench(build, "boxes", *KINDS["boxes"], side=SIDE)
    severities = [bench.audit(bench.open(bench.deliver_labels(6, wrong=wrong))).severity for wrong in (6, 6, 0)]
    assert severities == ["normal", "normal", "tightened"]


@pytest.mark.parametrize("kind", ["multilabel", "boxes"])
def test_classes_renamed_merged_or_split_since_are_no_defect(build: Any, kind: TaskKind) -> None:
    """The vendor said cat, the auditor dog: since both are pets they agree, unlike before; owls were split."""
    says = chosen if kind == "multilabel" else lambda name: things(RECTANGLE, name=name)
    bench = Bench(build, kind, says("cat"), says("dog"), side=SIDE, classes=("cat", "dog", "owl"))
    first = bench.open(bench.deliver_labels(6, wrong=6))
    second = bench.open(bench.deliver_labels(6))
    bench.truth[bench.drawn(second)[0]] = says("owl")
    third = bench.open(bench.deliver_labels(6, wrong=6))
    bench.answer(third.audits[0], "eve")
    assert lot_decisions.decide(bench.workspace, third.id).found == 5
    migrations.migrate(
        bench.workspace,
        "animals",
        evolution.plan(merge=[(("cat", "dog"), "pet")], split=[("owl", ("barn owl", "eagle owl"))]),
    )
    assert bench.audit(first).found == 0
    assert bench.audit(second).found == 1
    assert lots.shown(bench.workspace, third.id).found == 0
    names = {name for each in said(bench).values() for name in _names(each)}
    assert names == {"pet"}  # what was split waits for another label
    with pytest.raises(InvalidInputError, match="since its last lot"):
        bench.open(first.campaign)


def _names(said: Content) -> Sequence[str]:
    return said.choice.classes if said.choice else [name for one in said.regions for name in one.classes]


class Vendor:
    """Draws cells as well as they can, and in some images makes a mistake that is none to overlook."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)

    def truth(self, kind: TaskKind) -> Content:
        if kind == "classification":
            return chosen(str(self.random.choice(CLASSES)))
        count = int(self.random.integers(1, 16))
        return Content(
            regions=tuple(
                Region(f"r{i}", Box(50.0 * (i % 4), 50.0 * (i // 4), 36, 36), (str(self.random.choice(CLASSES)),))
                for i in range(count)
            )
        )

    def redraws(self, truth: Content) -> Content:
        """Every side a little off."""
        return replace(truth, regions=tuple(replace(one, shape=self._near(one.shape)) for one in truth.regions))

    def draws(self, truth: Content) -> Content:
        """As good as is asked: of many cells one may be missing."""
        regions = list(self.redraws(truth).regions)
        if len(regions) >= 6 and self.random.random() < 0.3:
            regions.pop(int(self.random.integers(len(regions))))
        return replace(truth, regions=tuple(regions))

    def errs(self, truth: Content) -> Content:
        if truth.choice is not None:
            return chosen(_other(truth.choice.classes))
        regions = list(self.draws(truth).regions)
        worst = [self._missing, self._of_another_class, self._elsewhere][int(self.random.integers(3))]
        spoilt = self.random.choice(len(regions), 1 + len(regions) // 5, replace=False)
        for place in sorted(spoilt.tolist(), reverse=True):
            regions[place : place + 1] = worst(regions[place])
        return replace(truth, regions=tuple(regions))

    def _near(self, shape: Shape) -> Shape:
        assert isinstance(shape, Box)
        x, y, width, height = self.random.normal(0, 1.2, 4)
        return Box(max(shape.x + x, 0), max(shape.y + y, 0), shape.width + width, shape.height + height)

    def _missing(self, region: Region) -> list[Region]:
        return []

    def _of_another_class(self, region: Region) -> list[Region]:
        return [replace(region, classes=(_other(region.classes),))]

    def _elsewhere(self, region: Region) -> list[Region]:
        assert isinstance(region.shape, Box)
        return [replace(region, shape=replace(region.shape, x=region.shape.x + 25))]


def _other(classes: Sequence[str]) -> str:
    return next(name for name in CLASSES if name not in classes)


CLASSES = ("cat", "dog")
LEVELS = Levels(aql=0.1, ltpd=0.35, producers_risk=0.1, consumers_risk=0.1)
LOT = 30
SEEDS = range(10)


@pytest.mark.parametrize("kind", ["classification", "boxes"])
def test_vendors_meet_the_risks_that_are_stated(build: Any, kind: TaskKind) -> None:
    """Ten vendors deliver a lot just good enough and one just bad enough; the auditor misses nothing.

    So exactly what was spoilt among the items drawn is found. How many are accepted is binomial with the exact risks of
    the plan: neither tail may be below 1 in 1,000.
    """
    (build.workspace.home / "secret.key").write_text("7" * 64)  # decides which items are drawn
    accepted = {True: 0, False: 0}
    bench = Bench(build, kind, side=SIDE)
    for seed in SEEDS:
        vendor, auditor = Vendor(seed), Vendor(1000 + seed)
        for is_good in (True, False):
            lot, spoilt = _delivered(bench, vendor, kind, wrong=LEVELS.defectives(LOT)[0 if is_good else 1])
            drawn = {image: _said(auditor.redraws(bench.truth[image])) for image in bench.drawn(lot)}
            bench.answer(lot.audits[0], "eve", said=drawn.__getitem__)
            decided = lot_decisions.decide(bench.workspace, lot.id)
            [size], [most] = lot.plan.sizes, lot.plan.accept
            assert decided.found == len(spoilt & set(bench.drawn(lot)[:size]))
            assert decided.outcome == ("accepted" if decided.found <= most else "rejected")
            accepted[is_good] += decided.outcome == "accepted"
    assert lot.producers_risk is not None
    assert lot.consumers_risk is not None
    for count, chance in ((accepted[True], 1 - lot.producers_risk), (accepted[False], lot.consumers_risk)):
        assert binom.cdf(count, len(SEEDS), chance) > 0.001
        assert binom.sf(count - 1, len(SEEDS), chance) > 0.001


def _said(told: Content) -> str | Content:
    """As annotators do: one class in a word."""
    return told.choice.classes[0] if told.choice else told


def _delivered(bench: Bench, vendor: Vendor, kind: TaskKind, *, wrong: int) -> tuple[lots.LotStatus, set[int]]:
    """A lot in which so many labels are defective, and whose these are: images."""
    number = len(bench.truth)
    images = bench.build.images(LOT, order=range(number, number + LOT), side=SIDE)
    truths = [vendor.truth(kind) for _ in images]
    bench.truth |= dict(zip(images, truths, strict=True))
    errs = set(vendor.random.choice(LOT, wrong, replace=False).tolist())
    values = [_said((vendor.errs if i in errs else vendor.draws)(truth)) for i, truth in enumerate(truths)]
    bench.build.labels({image: written(each) for image, each in zip(images, values, strict=True)})
    with bench.workspace.database.read() as session:
        campaign = session.scalars(select(Campaign.name).order_by(Campaign.id.desc())).first() or ""
    return bench.open(campaign, Terms("single", LEVELS), severity="normal"), {images[i] for i in errs}
