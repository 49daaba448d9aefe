"""The QA report of several classes, and of regions, as a page."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from api import report_page
from labeling.content import Content, ImageChoice, Region
from labeling.definitions import TaskKind
from labeling.geometry import Box, Keypoint, Mask, Polygon, Shape
from qa import content_report, verdicts
from store.errors import InvalidInputError
from store.workspace import Workspace

HOSTILE = '<script>alert("bob")</script>'
SIDE = 60
DISC = Mask.of((np.arange(SIDE)[:, None] - 20) ** 2 + (np.arange(SIDE) - 30) ** 2 < 100)
SHAPES: dict[TaskKind, tuple[Shape, Shape]] = {
    "boxes": (Box(5, 5, 20, 20), Box(30, 30, 20, 20)),
    "rotated-boxes": (Box(20, 5, 20, 10, 30), Box(30, 30, 20, 20)),
    "polygons": (Polygon(((5, 5), (25, 5), (5, 25))), Polygon(((30, 30), (50, 30), (30, 50)), closed=False)),
    "masks": (DISC, DISC),
    "keypoints": (Keypoint(5, 5), Keypoint(50, 50)),
}


def page(build: Any, kind: TaskKind, said: dict[str, list[Content | None]]) -> str:
    """Of a campaign in which people said that."""
    images = build.images(len(next(iter(said.values()))), side=SIDE)
    build.answers(build.campaign(build.batch(images), build.taxonomy([HOSTILE, "dog"], kind=kind)), said)
    verdicts.review(build.workspace, "campaign-1")
    return report_page.render(build.workspace, content_report.read(build.workspace, "campaign-1"))


def drawn(*shapes: Shape, name: str = "dog") -> Content:
    return Content(regions=tuple(Region(f"r{i}", shape, (name,)) for i, shape in enumerate(shapes)))


@pytest.mark.parametrize("kind", SHAPES)
def test_what_people_drew_is_over_the_images_they_dispute(workspace: Workspace, build: Any, kind: TaskKind) -> None:
    """Of three images one is drawn alike, one by one person alone, and one by nobody, who skipped it."""
    one, other = SHAPES[kind]
    said: dict[str, list[Content | None]] = {
        "ann": [drawn(one), drawn(one, other, name=HOSTILE), None],
        HOSTILE: [drawn(one), Content(), None],
    }
    text = page(build, kind, said)
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    disputed = text[text.index('id="disputed"') :]
    assert re.findall(r"image (\d+)</small>", disputed) == ["2"]
    assert f'viewBox="0 0 {SIDE} {SIDE}"' in disputed
    marks = {mark: disputed.count(f"<{mark} ") for mark in ("polygon", "polyline", "image")}
    assert marks == {
        "polygon": {"boxes": 2, "rotated-boxes": 2, "polygons": 1}.get(kind, 0),
        "polyline": 1 if kind == "polygons" else 0,
        "image": 2 if kind == "masks" else 0,
    }
    assert disputed.count("<circle cx=") == (2 if kind == "keypoints" else 0) + 2  # and the legend's
    assert "ann: 2 &lt;script&gt;" in disputed
    assert ": nothing<br>" in disputed
    assert ("Mean nearness" if kind == "keypoints" else "Mean IoU") in text
    assert "Regions compared" in text
    assert "a region counts once for each other person" in text
    for outside in ("http:", "https:", "<link", "url(", 'src="/'):
        assert outside not in text


def test_a_turned_box_has_its_corners_where_they_are(workspace: Workspace, build: Any) -> None:
    text = page(build, "rotated-boxes", {"ann": [drawn(Box(20, 5, 20, 10, 90))], "bob": [Content()]})
    assert '<polygon points="20.0,5.0 20.0,25.0 10.0,25.0 10.0,5.0"/>' in text


def test_who_names_which_classes(workspace: Workspace, build: Any) -> None:
    both, dog = (Content(choice=ImageChoice(classes)) for classes in ((HOSTILE, "dog"), ("dog",)))
    text = page(build, "multilabel", {"ann": [both, dog], "bob": [dog, dog]})
    assert "ann: &lt;script&gt;alert(&#34;bob&#34;)&lt;/script&gt;, dog" in text
    assert "bob: dog" in text
    assert "Krippendorff’s α on whether an image holds a class" in text
    assert "Called rightly" not in text
    assert "<script" not in text
    assert "Items of a class are those that anyone gave it" in text


def test_where_nobody_answered_it_says_so(workspace: Workspace, build: Any, tmp_path: Path) -> None:
    text = page(build, "boxes", {"ann": [None]})
    assert "Nothing is disputed." in text
    found = content_report.read(workspace, "campaign-1")
    report_page.save(tmp_path / "report.html", workspace, found)
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    with pytest.raises(InvalidInputError, match=r"is no \.html"):
        report_page.save(tmp_path / "report.pdf", workspace, found)
