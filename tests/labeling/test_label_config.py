from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling import label_config
from labeling.definitions import AttributeDefinition, ClassDefinition, Definition, TagNames
from store.errors import InvalidInputError
from tests.labeling import strategies

HOSTILE = ['<a "b"', "x & y", "</Choices>", "'", "]]>", "&lt;", "ein großes Ä", "猫", "=1+1", "{{x}}"]
CATS = Definition("classification", (ClassDefinition("cat"), ClassDefinition("dog")))


def one_of(names: list[str], guideline: str = "", description: str = "") -> Definition:
    """The choice of one of these classes."""
    classes = tuple(ClassDefinition(name, description) for name in names)
    return Definition("classification", classes, guideline=guideline)


def parsed_names(config: str) -> list[str]:
    return [choice.attrib["value"] for choice in ElementTree.fromstring(config).iter("Choice")]


def test_the_config_asks_for_one_class_about_the_image_with_hotkeys_and_guideline() -> None:
    classes = (ClassDefinition("good"), ClassDefinition("bad", "cracked"))
    assert label_config.render(Definition("classification", classes, guideline="Look closely.")) == (
        '<View><Header value="Look closely." size="5" />'
        '<Choices name="class" toName="image" choice="single" required="true" showInline="true">'
        '<Choice value="good" hotkey="1" /><Choice value="bad" hotkey="2" hint="cracked" /></Choices>'
        '<Image name="image" value="$image" /></View>'
    )


def test_the_config_of_boxes_with_attributes() -> None:
    definition = Definition(
        "boxes",
        (ClassDefinition("car", colour="#ff0000", examples=(3, 5)), ClassDefinition("bus", hotkey="b")),
        (
            AttributeDefinition("occluded", "choice", options=("no", "yes"), required=True),
            AttributeDefinition("sharpness", "rating", about="image", maximum=3, question="How sharp is it?"),
        ),
    )
    assert label_config.render(definition) == (
        '<View><RectangleLabels name="class" toName="image" canRotate="false">'
        '<Label value="car" hotkey="1" background="#ff0000" />'
        '<Label value="bus" hotkey="b" background="#22e65b" /></RectangleLabels>'
        '<Header value="occluded" size="6" />'
        '<Choices name="occluded" toName="image" perRegion="true" required="true" choice="single">'
        '<Choice value="no" /><Choice value="yes" /></Choices>'
        '<Header value="How sharp is it?" size="6" /><Rating name="sharpness" toName="image" maxRating="3" />'
        '<Image name="image" value="$image" /></View>'
    )


@given(strategies.definitions())
def test_every_definition_comes_back_from_its_config(definition: Definition) -> None:
    assert label_config.parse(label_config.render(definition)) == label_config.plain(definition)


@given(strategies.definitions())
def test_what_a_config_says_by_place_may_be_left_out(definition: Definition) -> None:
    plain = label_config.plain(definition)
    assert label_config.plain(plain) == plain
    assert label_config.render(plain) == label_config.render(definition)


def test_hostile_names_round_trip() -> None:
    config = label_config.render(one_of(HOSTILE))
    assert parsed_names(config) == HOSTILE


@given(st.lists(strategies.names, min_size=2, max_size=30, unique=True))
def test_every_usable_name_is_an_answer(names: list[str]) -> None:
    asked = one_of(names)
    assert [label_config.answer(label_config.result(name), asked) for name in names] == names


@given(st.text(max_size=50), st.text(max_size=50))
def test_prose_holds_no_variable_for_label_studio(guideline: str, description: str) -> None:
    config = label_config.render(one_of(["a", "b"], f"${guideline}", description))
    assert config.count("$") == 1  # the image's


def test_hotkeys_end_with_the_tenth_class() -> None:
    root = ElementTree.fromstring(label_config.render(one_of([str(i) for i in range(12)])))
    assert [choice.get("hotkey") for choice in root.iter("Choice")] == [*"1234567890", None, None]


def test_colours_and_hotkeys_by_place_give_way_to_chosen_ones() -> None:
    by_place = label_config.render(Definition("masks", (ClassDefinition("a"), ClassDefinition("b"))))
    colour = [each.attrib["background"] for each in ElementTree.fromstring(by_place).iter("Label")]
    classes = (ClassDefinition("a"), ClassDefinition("b", colour=colour[0], hotkey="1"))
    root = ElementTree.fromstring(label_config.render(Definition("masks", classes)))
    assert [(each.get("background"), each.get("hotkey")) for each in root.iter("Label")] == [
        (None, None),
        (colour[0], "1"),
    ]


@pytest.mark.parametrize("config", ["", "<View>", "plain text", "<!DOCTYPE x [<!ENTITY y 'z'>]><View>&y;</View>"])
def test_what_is_no_config_is_refused(config: str) -> None:
    with pytest.raises(InvalidInputError, match="config"):
        label_config.parse(config)


@pytest.mark.parametrize(
    "result",
    [
        [],
        label_config.result("bird"),
        label_config.result("cat") + label_config.result("dog"),
        [{"from_name": "class", "type": "choices", "value": {"choices": ["cat", "dog"]}}],
        [{"from_name": "class", "type": "choices", "value": {"choices": []}}],
        [{"from_name": "class", "type": "choices", "value": None}],
        [{"from_name": "class", "type": "choices", "value": {"choices": [["cat"]]}}],
        [{"from_name": "other", "type": "choices", "value": {"choices": ["cat"]}}],
        ["cat"],
    ],
)
def test_what_names_no_single_class_is_no_answer(result: list[Any]) -> None:
    assert label_config.answer(result, CATS) is None


def test_other_parts_of_an_answer_do_not_matter() -> None:
    comment = {"from_name": "comment", "to_name": "image", "type": "textarea", "value": {"text": ["blurred"]}}
    assert label_config.answer([comment, *label_config.result("dog")], CATS) == "dog"


def test_a_prediction_names_a_class_with_its_score_and_model() -> None:
    assert label_config.prediction(label_config.result("dog"), score=0.75, model_version="probe 1") == {
        "model_version": "probe 1",
        "score": 0.75,
        "result": label_config.result("dog"),
    }


def test_an_adopted_project_is_answered_under_its_own_names() -> None:
    adopted = Definition("classification", CATS.classes, tags=TagNames(image="img-1", classes="kind"))
    result = label_config.result("dog", adopted.tags)
    assert (result[0]["from_name"], result[0]["to_name"]) == ("kind", "img-1")
    assert label_config.answer(result, adopted) == "dog"
    assert label_config.answer(result, CATS) is None
