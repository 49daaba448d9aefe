"""The QA report of several classes, and of regions, as a page."""

import base64
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import select

from api import drawings, report_page
from labeling.content import Content, ImageChoice, Region
from labeling.definitions import TaskKind
from labeling.geometry import Box, Keypoint, Mask, Polygon, Shape
from qa import content_report, report, verdicts
from qa.annotators import Part
from qa.content_report import ContentReport
from store.errors import InvalidInputError
from store.schema import Sighting
from store.workspace import Workspace

HOSTILE_FILE = '<img src=x onerror="alert(1)">.png'
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


def reported(build: Any, kind: TaskKind, said: dict[str, list[Content | None]]) -> ContentReport:
    """A campaign in which people said that, of files that are called as nobody should."""
    images = build.images(len(next(iter(said.values()))), side=SIDE)
    build.answers(build.campaign(build.batch(images), build.taxonomy([HOSTILE, "dog"], kind=kind)), said)
    hostile_files(build.workspace)
    verdicts.review(build.workspace, "campaign-1")
    return content_report.read(build.workspace, "campaign-1")


def hostile_files(workspace: Workspace) -> None:
    with workspace.database.write() as session:
        for sighting in session.scalars(select(Sighting)):
            sighting.uri = f"/photos/{sighting.image_id}{HOSTILE_FILE}"


def page(build: Any, kind: TaskKind, said: dict[str, list[Content | None]]) -> str:
    return report_page.render(build.workspace, reported(build, kind, said))


def colours(text: str) -> list[dict[str, str]]:
    """By whose they are, in each picture of disputed items."""
    groups = '<g stroke="(#[0-9a-f]{6})" fill="none"><title>(.+?)</title>'
    return [
        {name: colour for colour, name in re.findall(groups, picture)}
        for picture in text[text.index('id="disputed"') :].split('<svg class="picture"')[1:]
    ]


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
    assert "<img src=x" not in text
    assert "2&lt;img src=x onerror=&#34;alert(1)&#34;&gt;.png · image 2" in text
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
    assert "No two people differ on what is not settled." in text
    assert "Nothing is disputed" not in text
    found = content_report.read(workspace, "campaign-1")
    report_page.save(tmp_path / "report.html", workspace, found)
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    with pytest.raises(InvalidInputError, match=r"is no \.html"):
        report_page.save(tmp_path / "report.pdf", workspace, found)


def test_one_answer_in_adjudication_is_told_as_nobody_differing(workspace: Workspace, build: Any) -> None:
    """One answer is wanted, and is too little to be sure of: it goes to an expert."""
    campaign = build.campaign(build.batch(build.images(1)), build.taxonomy(), overlap=1)
    build.answers(campaign, {"ann": ["cat"]})
    assert verdicts.review(workspace, "campaign-1", accept_at=0.99).outcomes == {"adjudication": 1}
    text = report_page.render(workspace, report.report(workspace, "campaign-1"))
    assert "No two people differ on what is not settled." in text
    assert "Nothing is disputed" not in text


def test_everybody_has_a_colour_of_their_own_and_keeps_it(workspace: Workspace, build: Any) -> None:
    """ann and bob differ on the first image, bob and eve on the second."""
    one, other = (drawn(shape) for shape in SHAPES["boxes"])
    text = page(build, "boxes", {"bob": [one, one], "ann": [other, None], "eve": [None, other]})
    first, second = colours(text)
    assert (first.keys(), second.keys()) == ({"ann", "bob"}, {"bob", "eve"})
    assert first["bob"] == second["bob"]
    assert len({*first.values(), *second.values()}) == 3
    assert len(set(drawings.colours(map(str, range(40))).values())) == 40


def test_a_mask_covers_what_is_in_it(workspace: Workspace, build: Any) -> None:
    text = page(build, "masks", {"ann": [drawn(DISC)], "bob": [Content()]})
    [picture] = re.findall(r'<image href="data:image/png;base64,([^"]+)"', text)
    with Image.open(io.BytesIO(base64.b64decode(picture))) as shown:
        opacity = np.array(shown.getchannel("A"))
    assert np.array_equal(opacity > 0, DISC.pixels())


def test_a_point_is_a_dot(workspace: Workspace, build: Any) -> None:
    text = page(build, "keypoints", {"ann": [drawn(Keypoint(5, 8))], "bob": [Content()]})
    [(x, y, radius)] = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="([\d.]+)" fill="#', text)[:1]
    assert (float(x), float(y)) == pytest.approx((5, 8))
    assert 0.005 * SIDE < float(radius) < 0.03 * SIDE


def test_intervals_are_where_they_belong(workspace: Workspace, build: Any) -> None:
    """Of ghosts the axis holds every interval, also that of somebody who is not judged."""
    found = reported(build, "boxes", {"ann": [drawn(SHAPES["boxes"][0])]})
    [ann] = found.annotators
    assert ann.detection is not None
    recall = Part("recall", 20, 0.75, (0.5, 0.9))
    detection = replace(ann.detection, recall=recall, ghosts_per_image=None, ghosts_interval=(5.0, 9.5))
    text = report_page.render(workspace, replace(found, annotators=[replace(ann, detection=detection)]))
    share, ghosts = (cell.split("</td>")[0] for cell in text.split('<td class="wide half">')[1:3])
    assert '<rect class="span" x="200.0" y="4" width="160.0" height="6"/>' in share
    assert '<rect class="mark" x="298.5" y="1" width="3" height="12"/>' in share
    assert '<td class="n">0.75</td>' in text
    assert '<rect class="span" x="200.0" y="4" width="180.0" height="6"/>' in ghosts
    assert "<i>10.00</i>" in text
    assert 'class="mark"' not in ghosts


def test_a_file_of_one_class_is_called_what_it_is_called(workspace: Workspace, build: Any) -> None:
    campaign = build.campaign(build.batch(build.images(2)), build.taxonomy())
    build.answers(campaign, {"ann": ["cat", "cat"], "bob": ["cat", "dog"]})
    hostile_files(workspace)
    text = report_page.render(workspace, report.report(workspace, "campaign-1"))
    assert "2&lt;img src=x onerror=&#34;alert(1)&#34;&gt;.png · image 2" in text
    assert "<img src=x" not in text
