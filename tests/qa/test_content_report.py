"""Reports of campaigns that ask for several classes, or for regions, by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from labeling.content import Content, ImageChoice, Region
from labeling.geometry import Box, Keypoint, Mask, Polygon, Shape
from qa import agreement, content_report, shapes, verdicts
from store.schema import Annotator, Campaign, Taxonomy, Vendor
from store.workspace import Workspace

NAME = "campaign-1"


def drawn(*regions: tuple[Shape, str]) -> Content:
    return Content(regions=tuple(Region(f"r{i}", shape, (name,)) for i, (shape, name) in enumerate(regions)))


def test_how_far_two_people_draw_the_same(workspace: Workspace, build: Any) -> None:
    """Of three images: one drawn alike, one where a box is off by a third, one that only one of them drew in."""
    images = build.images(4, side=100)
    campaign = build.campaign(build.batch(images), build.taxonomy(["cat", "dog"], kind="boxes"), overlap=2)
    same = drawn((Box(10, 10, 30, 30), "cat"), (Box(60, 60, 20, 20), "dog"))
    build.answers(
        campaign,
        {
            "ann": [same, drawn((Box(0, 0, 30, 40), "cat")), drawn((Box(5, 5, 10, 10), "cat")), None],
            "bob": [same, drawn((Box(10, 0, 30, 40), "cat")), Content(), None],
        },
    )
    verdicts.review(workspace, NAME)
    found = content_report.read(workspace, NAME)
    assert (found.kind, found.items, found.answers, found.waiting) == ("boxes", 4, 6, 1)
    assert found.agreement == []
    everything, cat, dog, vendor, guideline, both = found.drawn
    iou = 20 / 40  # of the shifted box
    assert (everything.of, everything.images, everything.regions, everything.matched) == ("campaign", 3, 7, 3)
    assert everything.mean_likeness == pytest.approx((1 + 1 + iou) / 3)
    assert everything.f1 == pytest.approx((6 / 7, 4 / 7, 4 / 7))
    assert (cat.name, cat.regions, cat.matched) == ("cat", 5, 2)
    assert (dog.name, dog.images, dog.f1) == ("dog", 1, (1, 1, 1))
    assert (both.of, both.name, both.matched) == ("people", "ann and bob", 3)
    for row, of, name in ((vendor, "vendor", "nobody"), (guideline, "guideline", "animals 1")):
        assert row == replace(everything, of=of, name=name)


def test_vendors_and_guidelines_are_told_apart(workspace: Workspace, build: Any) -> None:
    """One vendor's two people draw alike, another's apart; under the second revision everybody's do."""
    at, off = drawn((Box(10, 10, 30, 30), "cat")), drawn((Box(60, 60, 30, 30), "cat"))
    first = build.taxonomy(["cat"], kind="boxes")
    with workspace.database.write() as session:
        more = {"task_kind": "boxes", "classes": [{"name": "cat", "description": ""}], "guideline": ""}
        session.add(Taxonomy(name="animals", revision=2, **more))
    images = build.images(4, side=100)
    for number, (taxonomy_id, seconds) in enumerate([(first, at), (first, off), (first + 1, off)]):
        campaign_id = build.campaign(build.batch(images), taxonomy_id)
        build.answers(campaign_id, {f"ann {number}": [at] * 4, f"bob {number}": [seconds] * 4})
        if number == 1:
            with workspace.database.write() as session:
                other = Vendor(name="other", ls_url="http://127.0.0.1:1", ls_token_reference="env:NOTHING")
                session.add(other)
                session.flush()
                session.get_one(Campaign, campaign_id).vendor_id = other.id
    found = content_report.read(workspace, NAME)
    told = {row.name: (row.of, row.images, row.matched) for row in found.drawn}
    assert told == {
        NAME: ("campaign", 4, 4),
        "cat": ("class", 4, 4),
        "nobody": ("vendor", 4, 4),
        "other": ("vendor", 4, 0),
        "animals 1": ("guideline", 4, 4),
        "animals 2": ("guideline", 4, 0),
        "ann 0 and bob 0": ("people", 4, 4),
    }


def rename(workspace: Workspace, **names: str) -> None:
    """Call people otherwise, also as somebody else is called."""
    with workspace.database.write() as session:
        for annotator in session.scalars(select(Annotator)):
            annotator.name = names.get(annotator.name, annotator.name)


def test_people_of_one_name_are_several_people(workspace: Workspace, build: Any) -> None:
    at, off = drawn((Box(10, 10, 30, 30), "cat")), drawn((Box(60, 60, 30, 30), "cat"))
    campaign = build.campaign(build.batch(build.images(3, side=100)), build.taxonomy(["cat"], kind="boxes"), overlap=3)
    build.answers(campaign, {"ann": [at] * 3, "bob": [at] * 3, "ann too": [off] * 3})
    rename(workspace, **{"ann too": "ann"})
    found = content_report.read(workspace, NAME)
    assert {row.name: (row.images, row.matched) for row in found.drawn if row.of in ("campaign", "people")} == {
        NAME: (3, 3),
        "ann (1) and ann (3)": (3, 0),
        "ann (1) and bob": (3, 3),
        "ann (3) and bob": (3, 0),
    }
    assert [len(each.said) for each in found.disputed] == [3, 3, 3]


def test_agreement_on_classes_is_of_people_whatever_their_names(workspace: Workspace, build: Any) -> None:
    taxonomy = build.taxonomy(["cat", "dog"], kind="multilabel")
    campaign = build.campaign(build.batch(build.images(4)), taxonomy, overlap=2)
    cat, dog = (Content(choice=ImageChoice((name,))) for name in ("cat", "dog"))
    build.answers(campaign, {"ann": [cat, cat, dog, dog], "bob": [cat, cat, dog, cat]})
    before = content_report.read(workspace, NAME)
    rename(workspace, bob="ann")
    after = content_report.read(workspace, NAME)
    assert (after.agreement, len(after.disputed)) == (before.agreement, 1)
    assert after.disputed[0].said == {"ann (1)": dog, "ann (2)": cat}


def test_agreement_on_each_of_several_classes(workspace: Workspace, build: Any) -> None:
    images = build.images(40)
    campaign = build.campaign(build.batch(images), build.taxonomy(["cat", "dog"], kind="multilabel"), overlap=2)
    ann = [Content(choice=ImageChoice(("cat", "dog")))] * 20 + [Content(choice=ImageChoice(()))] * 20
    bob = [Content(choice=ImageChoice(("cat",)))] * 20 + [Content(choice=ImageChoice(()))] * 20
    build.answers(campaign, {"ann": ann, "bob": bob})
    found = content_report.read(workspace, NAME)
    everything, cat, dog, vendor, guideline = found.agreement
    assert (everything.items, everything.raw_agreement) == (40, 0.75)
    for row, of, name in ((vendor, "vendor", "nobody"), (guideline, "guideline", "animals 1")):
        assert row == replace(everything, of=of, name=name)
    counts = np.array([[0, 2], [1, 1]] * 20 + [[2, 0], [2, 0]] * 20)  # without and with each class, of each image
    both = np.repeat(np.arange(40), 2)
    assert everything.interval == agreement.alpha_interval(counts, together=both)
    assert everything.interval != agreement.alpha_interval(counts)
    assert (cat.name, cat.items, cat.alpha, cat.raw_agreement, cat.kappa) == ("cat", 20, 1, 1, 1)
    assert (dog.items, dog.raw_agreement) == (20, 0.5)
    assert dog.alpha is not None
    assert dog.alpha < 0
    assert found.drawn == []


def test_shapes_of_one_kind_are_compared_and_of_two_are_not() -> None:
    square = Polygon(((0, 0), (10, 0), (10, 10), (0, 10)))
    mask = Mask.of(np.pad(np.ones((10, 10), dtype=np.bool_), ((0, 90), (0, 90))))
    first: list[Shape] = [Box(0, 0, 10, 10), square, Keypoint(50, 50)]
    second: list[Shape] = [Keypoint(50, 52), mask, Box(0, 0, 10, 5)]
    found = shapes.likeness(first, second, diagonal=100)
    assert found[0] == pytest.approx([0, 0, 0.5])
    assert found[1] == pytest.approx([0, 1, 0], abs=0.02)
    assert found[2] == pytest.approx([0.5, 0, 0])  # as far apart as .02 of the diagonal


def test_a_campaign_without_answers_has_a_report(workspace: Workspace, build: Any) -> None:
    build.campaign(build.batch(build.images(2)), build.taxonomy(kind="polygons"))
    found = content_report.read(workspace, NAME)
    assert (found.answers, found.unreviewed, found.drawn[0].f1, found.drawn[0].mean_likeness) == (0, 2, None, None)


def test_what_is_drawn_by_different_hands_is_not_disputed(workspace: Workspace, build: Any) -> None:
    """Of four images one is drawn a little apart, one far, one is called something else, one is missed by one."""
    images = build.images(4, side=100)
    campaign = build.campaign(build.batch(images), build.taxonomy(["cat", "dog"], kind="boxes"), overlap=2)
    ann = drawn((Box(10, 10, 30, 30), "cat"))
    bob = [
        drawn((Box(12.5, 11, 30, 29), "cat")),
        drawn((Box(60, 60, 30, 30), "cat")),
        drawn((Box(10, 10, 30, 30), "dog")),
    ]
    build.answers(campaign, {"ann": [ann] * 4, "bob": [*bob, Content()]})
    assert {one.image for one in content_report.read(workspace, NAME).disputed} == set(images[1:])
