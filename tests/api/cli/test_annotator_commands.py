"""`winnow qa annotators` of people who draw, as people and programs see it."""

from typing import Any

from labeling.content import Content, Region
from labeling.geometry import Box
from store.workspace import Workspace
from tests.api.cli.conftest import said, winnow
from tests.api.test_pages import Page


def test_people_who_draw_are_told_by_what_they_find(workspace: Workspace, build: Any, client: Any) -> None:
    images = build.images(30, side=100)
    campaign = build.campaign(build.batch(images), build.taxonomy(kind="boxes"), overlap=3)
    cat, dog = (Region(name, Box(x, 10, 30, 30), (name,)) for x, name in ((10, "cat"), (60, "dog")))
    both, one, none = Content(regions=(cat, dog)), Content(regions=(cat,)), Content()
    build.answers(campaign, {"ann": [both] * 30, "bob": [both] * 29 + [one], "lax": [one] * 3 + [none] * 27})

    found = {each["annotator"]: each for each in winnow(workspace, "qa", "annotators")["annotators"]}
    ann, lax = found["ann"]["detection"], found["lax"]["detection"]
    assert ann.keys() == {"recall", "naming", "images", "ghosts_per_image", "ghosts_interval", "likeness"}
    assert ann["recall"]["accuracy"] > 0.95
    assert ann["likeness"]["accuracy"] == 1
    assert lax["recall"]["interval"][1] < 0.2
    assert lax["likeness"]["answers"] == 3

    lines = said(workspace, "qa", "annotators").splitlines()
    heading = next(i for i, line in enumerate(lines) if "ghosts an image" in line)
    row = next(line for line in lines[heading:] if line.startswith("ann "))
    assert row.split()[:4] == ["ann", "animals", "1", "30"]
    assert row.split()[-1] == "1.00"
    assert any(line.startswith("lax gets at most") and "pause lax" in line for line in lines)
    told = said(workspace, "qa", "annotators", "show", "lax")
    assert "nothing" in told
    assert "where a prediction is shown" not in told

    page = " ".join(Page(client.get("/").text).text.split())
    assert f"finds {100 * ann['recall']['accuracy']:.0f}" in page
    assert "0.00 ghosts an image · IoU 1.00" in page
