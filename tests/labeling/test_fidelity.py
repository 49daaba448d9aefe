"""The real Label Studio takes our configs, predictions and annotations, and gives them back unchanged."""

from typing import Any

import numpy as np
import pytest

from labeling import definitions, label_config, results
from labeling.content import Choices, Content, ImageChoice, Number, Rating, Region, Text, Value
from labeling.definitions import AttributeDefinition, ClassDefinition, Definition, TagNames, TaskKind
from labeling.geometry import Box, Keypoint, Mask, Polygon, Shape
from labeling.results import ImageSize
from tests.labeling.closeness import close
from tests.labeling.conftest import Site

SIZE = ImageSize(width=640, height=427)
CLASSES = (ClassDefinition('<a "b" & c', "it's", hotkey="a"), ClassDefinition("猫", colour="#123456", examples=(3,)))
ASKED: dict[str, tuple[AttributeDefinition, Value]] = {
    "light": (AttributeDefinition("light", "choice", options=("day & night", "dusk")), Choices(("dusk",))),
    "damage": (AttributeDefinition("damage", "multi", options=("scratch", "dent")), Choices(("scratch", "dent"))),
    "place": (AttributeDefinition("place", "tree", options=("EU", "EU/FR", "US")), Choices(("EU/FR",))),
    "quality": (AttributeDefinition("quality", "rating", maximum=7, required=True), Rating(6)),
    "count": (AttributeDefinition("count", "number", minimum=0, maximum=9.5), Number(2.5)),
    "text": (AttributeDefinition("text", "text", question="What does it say?"), Text(("first\nsecond", "“third”"))),
}
pixels = np.random.default_rng(0).random((SIZE.height, SIZE.width)) > 0.9
pixels[100:200, 50:600] = True
SHAPES: dict[str, tuple[Shape, ...]] = {
    "boxes": (Box(0, 0, 640, 427), Box(1 / 3, 100.5, 0.25, 7e-5)),
    "rotated-boxes": (Box(100, 90, 200, 50, rotation=33.3), Box(639, 1, 30, 20, rotation=180)),
    "polygons": (Polygon(((1, 2), (600, 3.75), (1 / 7, 400))), Polygon(((5, 5), (9, 9)), closed=False)),
    "masks": (Mask.of(pixels), Mask.of(np.ones_like(pixels))),
    "keypoints": (Keypoint(320, 213.5, width=3), Keypoint(0, 0, width=0.1)),
}


def example(kind: TaskKind) -> tuple[Definition, Content]:
    """A definition that asks all there is under a kind, and an answer to all of it."""
    has_regions = kind in definitions.SHAPE_KINDS
    about: Any = "region" if has_regions else "image"
    asked = [
        (each, value) for each, value in ASKED.values() if kind != "questions" or each.kind not in ("choice", "multi")
    ]
    attributes = tuple(AttributeDefinition(**{**vars(each), "about": about}) for each, _ in asked)
    answers = {each.name: value for each, value in asked}
    definition = Definition(
        kind,
        () if kind == "questions" else CLASSES,
        attributes,
        guideline='Say "what" & <where>.',
    )
    if not has_regions:
        chosen = {"classification": ("猫",), "multilabel": tuple(definition.class_names)}.get(kind)
        return definition, Content(ImageChoice(chosen, score=0.5) if chosen else None, answers)
    first, second = SHAPES[kind]
    regions = (
        Region("first", first, ("猫",), 0.25, answers),
        Region("second", second, (definition.class_names[0],), extras={"class": {"origin": "manual"}}),
    )
    return definition, Content(regions=regions)


def both_tools() -> tuple[Definition, Content]:
    """Classes beside two tools, under names of somebody's own."""
    tags = TagNames("img-1", "photo", "what is it", (("polygons", "outline"), ("rotated-boxes", "box")))
    definition = Definition("polygons", CLASSES, tags=tags)
    shapes = SHAPES["polygons"] + SHAPES["rotated-boxes"]
    regions = tuple(Region(f"r{number}", shape, ("猫",)) for number, shape in enumerate(shapes))
    return definition, Content(regions=regions)


def examples() -> list[Any]:
    named = [pytest.param(*example(kind), id=kind) for kind in definitions.TASK_KINDS]
    return [*named, pytest.param(*both_tools(), id="both tools")]


@pytest.mark.label_studio
@pytest.mark.parametrize(("definition", "content"), examples())
def test_label_studio_gives_back_what_we_say(site: Site, definition: Definition, content: Content) -> None:
    config = label_config.render(definition)
    site.call("POST", "/api/projects/validate/", json={"label_config": config})
    project = site.call("POST", "/api/projects/", json={"title": f"fidelity {definition.kind}", "label_config": config})
    stored = site.call("GET", f"/api/projects/{project['id']}/")["label_config"]
    assert stored == config
    assert label_config.parse(stored) == label_config.plain(definition)

    result = results.write(content, definition, SIZE)
    task = {
        "data": {definition.tags.data: "http://127.0.0.1:1/a.png"},
        "annotations": [{"result": result}],
        "predictions": [{"result": result, "score": 0.5, "model_version": "m"}],
    }
    site.call("POST", f"/api/projects/{project['id']}/import", json=[task])
    [imported] = site.call("GET", "/api/tasks", params={"project": project["id"], "fields": "all"})["tasks"]
    for said in (*imported["annotations"], *imported["predictions"]):
        assert said["result"] == result
        assert close(results.write(results.read(said["result"], definition, SIZE), definition, SIZE), result)

    created = site.call("POST", f"/api/tasks/{imported['id']}/annotations/", json={"result": result})
    read = results.read(site.call("GET", f"/api/annotations/{created['id']}/")["result"], definition, SIZE)
    assert read.unread == ()
    assert close(results.write(read, definition, SIZE), result)
