"""Label Studio's results and our content: the same said in two ways."""

import copy
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_studio_sdk.converter import brush as their_brush

from labeling import content as said
from labeling import definitions, results
from labeling.content import Choices, Content, ImageChoice, Number, Rating, Region, Text
from labeling.definitions import AttributeDefinition, ClassDefinition, Definition, TagNames, TaskKind
from labeling.geometry import Box, Keypoint, Mask, Polygon
from labeling.results import ImageSize, Part
from store.errors import InvalidInputError
from tests.labeling import strategies
from tests.labeling.closeness import close

SIZE = ImageSize(width=8, height=6)
PHOTO = ImageSize(width=800, height=600)
CLASSES = (ClassDefinition("car"), ClassDefinition("bus"))
OCCLUDED = AttributeDefinition("occluded", "choice", options=("no", "yes"))
COMMON = {"to_name": "image", "original_width": 800, "original_height": 600, "image_rotation": 0}


def about(kind: TaskKind, *attributes: AttributeDefinition, tags: TagNames | None = None) -> Definition:
    return Definition(kind, CLASSES, attributes, tags=tags or TagNames())


def near(one: Content, other: Content) -> bool:
    return close(json.loads(said.to_json(one)), json.loads(said.to_json(other)))


# --- by hand -------------------------------------------------------------------------------------


def test_a_box_is_percent_of_width_and_height() -> None:
    box = Region("a", Box(80, 60, 400, 150, rotation=30), ("car",), score=0.75)
    [part] = results.write(Content(regions=(box,)), about("rotated-boxes"), PHOTO)
    place = {"x": 10.0, "y": 10.0, "width": 50.0, "height": 25.0, "rotation": 30}
    assert part == COMMON | {
        "id": "a",
        "from_name": "class",
        "type": "rectanglelabels",
        "value": place | {"rectanglelabels": ["car"]},
        "score": 0.75,
    }
    assert results.read([part], about("rotated-boxes"), PHOTO) == Content(regions=(box,))


def test_polygons_and_keypoints_are_percent_too() -> None:
    polygon = Region("a", Polygon(((0, 0), (800, 300), (400, 600)), closed=False), ("car",))
    [part] = results.write(Content(regions=(polygon,)), about("polygons"), PHOTO)
    assert part["value"] == {"points": [[0, 0], [100, 50], [50, 100]], "closed": False, "polygonlabels": ["car"]}
    keypoint = Region("a", Keypoint(400, 300, width=8), ("bus",))
    [part] = results.write(Content(regions=(keypoint,)), about("keypoints"), PHOTO)
    assert part["value"] == {"x": 50, "y": 50, "width": 1, "keypointlabels": ["bus"]}


def test_a_mask_is_what_the_sdk_decodes() -> None:
    pixels = np.zeros((6, 8), dtype=bool)
    pixels[2:5, 3:7] = True
    [part] = results.write(Content(regions=(Region("a", Mask.of(pixels), ("car",)),)), about("masks"), SIZE)
    assert (part["type"], part["value"]["format"], part["value"]["brushlabels"]) == ("brushlabels", "rle", ["car"])
    theirs = their_brush.decode_rle(part["value"]["rle"]).reshape(6, 8, 4)
    assert np.array_equal(theirs[:, :, 3] == 255, pixels)


def test_classes_of_the_image_and_answers_about_it() -> None:
    definition = about("multilabel", AttributeDefinition("note", "text", about="image"))
    content = Content(ImageChoice(("car", "bus")), {"note": Text(("dark",))})
    assert results.write(content, definition, PHOTO) == [
        {"from_name": "class", "to_name": "image", "type": "choices", "value": {"choices": ["car", "bus"]}},
        {"from_name": "note", "to_name": "image", "type": "textarea", "value": {"text": ["dark"]}},
    ]


def test_answers_about_a_region_carry_its_id_and_place() -> None:
    region = Region("a", Keypoint(80, 60, 8), ("car",), attributes={"occluded": Choices(("yes",))})
    _, part = results.write(Content(regions=(region,)), about("keypoints", OCCLUDED), PHOTO)
    assert part == COMMON | {
        "id": "a",
        "from_name": "occluded",
        "type": "choices",
        "value": {"x": 10, "y": 10, "width": 1, "choices": ["yes"]},
    }


def test_a_tree_is_paths() -> None:
    place = AttributeDefinition("place", "tree", about="image", options=("EU", "EU/FR", "US"))
    definition = Definition("questions", attributes=(place,))
    content = Content(attributes={"place": Choices(("EU/FR", "US"))})
    [part] = results.write(content, definition, PHOTO)
    assert (part["type"], part["value"]) == ("taxonomy", {"taxonomy": [["EU", "FR"], ["US"]]})
    assert results.read([part], definition, PHOTO) == content


def test_tools_beside_the_classes_are_two_parts_of_one_id() -> None:
    tags = TagNames(image="img", classes="label", shapes=(("boxes", "bbox"), ("polygons", "poly")))
    definition = about("boxes", tags=tags)
    drawn = (
        Region("a", Box(80, 60, 8, 6), ("car",), score=0.5),
        Region("b", Polygon(((80, 60), (160, 60), (80, 120))), ("bus",)),
        Region("c", Box(0, 0, 8, 6)),
    )
    parts = results.write(Content(regions=drawn), definition, PHOTO)
    assert [(each["id"], each["from_name"], each["type"]) for each in parts] == [
        ("a", "bbox", "rectangle"),
        ("a", "label", "labels"),
        ("b", "poly", "polygon"),
        ("b", "label", "labels"),
        ("c", "bbox", "rectangle"),
    ]
    assert parts[1]["value"] == {"x": 10, "y": 10, "width": 1, "height": 1, "rotation": 0, "labels": ["car"]}
    assert near(results.read(parts, definition, PHOTO), Content(regions=drawn))


def test_what_has_no_tool_cannot_be_written() -> None:
    box = Content(regions=(Region("a", Box(0, 0, 1, 1)),))
    with pytest.raises(InvalidInputError, match="box cannot be drawn under a taxonomy of polygons"):
        results.write(box, about("polygons"), PHOTO)
    with pytest.raises(InvalidInputError, match="no attribute 'colour'"):
        results.write(Content(attributes={"colour": Text(())}), about("boxes"), PHOTO)
    small = Content(regions=(Region("a", Mask(1, 1, (1,))),))
    with pytest.raises(InvalidInputError, match="mask of 1 × 1 pixels"):
        results.write(small, about("masks"), PHOTO)


def drawn(**more: Any) -> Part:
    value = {"x": 10.0, "y": 10.0, "width": 50.0, "height": 25.0, "rotation": 0, "rectanglelabels": ["car"]}
    return COMMON | {"id": "a", "from_name": "class", "type": "rectanglelabels", "value": value} | more


def test_a_smaller_copy_of_the_image_has_the_same_places() -> None:
    part = drawn(original_width=133, original_height=100)
    content = results.read([part], about("boxes"), PHOTO)
    assert near(
        content, Content(regions=(Region("a", Box(80, 60, 400, 150), ("car",), extras=content.regions[0].extras),))
    )
    assert close(results.write(content, about("boxes"), PHOTO), [part])


def test_a_turned_view_and_what_we_have_no_word_for_are_kept() -> None:
    part = drawn(image_rotation=90, origin="prediction-changed", meta={"text": ["why"]}, parentID="b")
    part["value"]["custom"] = [1]
    content = results.read([part], about("boxes"), PHOTO)
    assert content.regions[0].shape == Box(80, 60, 400, 150)
    assert close(results.write(content, about("boxes"), PHOTO), [part])


def test_edges_of_a_mask_drawn_by_hand_are_kept() -> None:
    opacity = np.array([[0, 60, 200, 255]], dtype=np.uint8)
    size = ImageSize(4, 1)
    value = {"format": "rle", "rle": their_brush.mask2rle(opacity), "brushlabels": ["car"]}
    part = drawn(type="brushlabels", original_width=4, original_height=1, value=value)
    content = results.read([part], about("masks"), size)
    assert content.regions[0].shape == Mask.of(np.array([[False, False, True, True]]))
    assert results.write(content, about("masks"), size) == [part]


@pytest.mark.parametrize(
    ("part", "why"),
    [
        ("text", "no part"),
        ({"type": "relation", "from_id": "a", "to_id": "b", "direction": "right"}, "relates two regions"),
        (drawn(original_width=600, original_height=800), "drawn on a picture of 600 × 800 pixels"),
        (drawn(original_width="wide"), "cannot be read"),
        (drawn(item_index=2), "one of several images"),
        (drawn(to_name="video"), "about 'video'"),
        (drawn(from_name="other"), "no tag called 'other'"),
        (drawn(from_name=["class"]), "no text"),
        (drawn(id=7), "no text"),
        (drawn(value=None), "no value"),
        (drawn(type="ellipselabels"), "'ellipselabels' have no place"),
        (drawn(type="polygonlabels", value={"points": [[1, 2], [3, 4]]}), "polygon cannot be drawn"),
        (drawn(type="polygonlabels", value={"points": [[1]]}), "without a list of points"),
        (drawn(value={"x": "1", "y": 0, "width": 1, "height": 1}), "x is '1'"),
        (drawn(value={"x": math.nan, "y": 0, "width": 1, "height": 1}), "x is nan"),
        (drawn(value={"x": 0, "y": 0, "width": 1}), "height is None"),
        (drawn(value=drawn()["value"] | {"rectanglelabels": ["tram"]}), "no class 'tram'"),
        (drawn(value=drawn()["value"] | {"rectanglelabels": "car"}), "names of its classes"),
        (drawn(from_name="occluded", type="choices", value={"choices": ["no"]}), "drawn 0 times"),
    ],
)
def test_what_cannot_be_read_says_why_and_is_not_lost(part: Any, why: str) -> None:
    fine = drawn(id="fine")
    content = results.read([part, fine], about("boxes", OCCLUDED), PHOTO)
    assert [each.id for each in content.regions] == ["fine"]
    [unread] = content.unread
    assert why in unread.why
    assert unread.part is part
    assert close(results.write(content, about("boxes", OCCLUDED), PHOTO)[0], fine)
    assert results.write(content, about("boxes", OCCLUDED), PHOTO)[1] is part


@pytest.mark.parametrize(
    "value",
    [{"choices": ["perhaps"]}, {"choices": "no"}, {"rating": 3}, {}],
)
def test_an_answer_that_is_none_leaves_the_whole_region_unread(value: dict[str, Any]) -> None:
    parts = [drawn(), drawn(from_name="occluded", type="choices", value=value)]
    content = results.read(parts, about("boxes", OCCLUDED), PHOTO)
    assert content.regions == ()
    assert [each.part for each in content.unread] == parts


def test_a_mask_of_another_size_is_unread() -> None:
    packed = their_brush.mask2rle(np.zeros((3, 4), dtype=np.uint8))
    part = drawn(type="brushlabels", original_width=4, original_height=3, value={"format": "rle", "rle": packed})
    assert "copy of 4 × 3 pixels" in results.read([part], about("masks"), PHOTO).unread[0].why


def test_the_same_said_twice_is_unread() -> None:
    definition = about("classification", AttributeDefinition("note", "text", about="image"))
    choice = {"from_name": "class", "to_name": "image", "type": "choices", "value": {"choices": ["car"]}}
    note = {"from_name": "note", "to_name": "image", "type": "textarea", "value": {"text": "dark"}}
    content = results.read([choice, note, choice, note], definition, PHOTO)
    assert (content.choice, content.attributes) == (ImageChoice(("car",)), {"note": Text(("dark",))})
    assert results.write(content, definition, PHOTO) == [choice, note, choice, note]


# --- whatever there may be -----------------------------------------------------------------------


def parts_with_extras(data: st.DataObject, content: Content, definition: Definition) -> list[Part]:
    parts = results.write(content, definition, SIZE)
    return [part | data.draw(strategies.extras) for part in parts]


@settings(max_examples=30)  # of each kind
@given(st.data())
@pytest.mark.parametrize("kind", definitions.TASK_KINDS)
def test_ours_to_theirs_and_back(kind: TaskKind, data: st.DataObject) -> None:
    definition = data.draw(strategies.definitions((kind,)))
    content = data.draw(strategies.contents(definition, SIZE))
    parts = json.loads(json.dumps(results.write(content, definition, SIZE)))
    assert near(results.read(parts, definition, SIZE), content)


@settings(max_examples=30)  # of each kind
@given(st.data())
@pytest.mark.parametrize("kind", definitions.TASK_KINDS)
def test_theirs_to_ours_and_back(kind: TaskKind, data: st.DataObject) -> None:
    definition = data.draw(strategies.definitions((kind,)))
    content = data.draw(strategies.contents(definition, SIZE))
    parts = parts_with_extras(data, content, definition)
    parts.append({"type": "relation", "from_id": "r0", "to_id": "r1", "direction": "right"})
    before = copy.deepcopy(parts)
    read = results.read(parts, definition, SIZE)
    assert parts == before
    assert [each.part for each in read.unread] == parts[-1:]
    assert close(results.write(read, definition, SIZE), parts)


@given(st.data())
def test_content_is_the_same_after_the_database(data: st.DataObject) -> None:
    definition = data.draw(strategies.definitions())
    content = data.draw(strategies.contents(definition, SIZE))
    read = results.read([*parts_with_extras(data, content, definition), "?"], definition, SIZE)
    assert said.from_json(said.to_json(read)) == read


@pytest.mark.parametrize("text", ["", "[]", '{"regions": [{}]}', '{"choice": 3}'])
def test_what_is_no_content_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="does not fit in"):
        said.from_json(text)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.sampled_from(["car", "r0", "x"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["x", "rle"]), inner)),
    max_leaves=5,
)


def holds(whole: Any, part: Any) -> bool:
    """Whether `whole` says all that `part` says, and perhaps more."""
    if isinstance(whole, dict) and isinstance(part, dict):
        return all(key in whole and holds(whole[key], part[key]) for key in part)
    return close(whole, part)


@settings(max_examples=60)
@given(st.data())
def test_noise_in_a_part_stops_nothing_and_is_not_lost(data: st.DataObject) -> None:
    definition = data.draw(strategies.definitions())
    parts = results.write(data.draw(strategies.contents(definition, SIZE)), definition, SIZE)
    for part in parts:
        target = part if data.draw(st.booleans()) else part["value"]
        target[data.draw(st.sampled_from(sorted(target)))] = data.draw(json_values)
    written = results.write(results.read(parts, definition, SIZE), definition, SIZE)
    for part in parts:
        assert any(holds(each, part) for each in written), (part, written)


def test_a_part_that_should_name_a_class_and_names_none_is_kept_unread() -> None:
    tags = TagNames(shapes=(("polygons", "tool"),))
    definition = Definition("polygons", (ClassDefinition("car"),), tags=tags)
    region = Region("r0", Polygon(((1.0, 1.0), (4.0, 1.0), (4.0, 4.0))), classes=("car",))
    parts = results.write(Content(regions=(region,)), definition, SIZE)
    parts[1]["value"] = {}
    found = results.read(parts, definition, SIZE)
    assert found.regions == ()
    assert [each.part for each in found.unread] == parts
    assert found.unread[0].why == "The part that says the region's class says none."


def test_values_are_told_apart_in_json() -> None:
    values = {"a": Choices(("x",)), "b": Rating(3), "c": Number(3.0), "d": Text(("3",))}
    assert said.from_json(said.to_json(Content(attributes=values))).attributes == values
