from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling import label_config
from labeling.label_config import ClassDefinition
from store.errors import InvalidInputError

HOSTILE = ['<a "b"', "x & y", "</Choices>", "'", "]]>", "&lt;", "ein großes Ä", "猫", "=1+1", "{{x}}"]


def usable(name: str) -> bool:
    return bool(name) and name == name.strip() and name.isprintable() and "$" not in name


names = st.lists(st.text(min_size=1, max_size=20).filter(usable), min_size=2, max_size=30, unique=True)


def parsed_names(config: str) -> list[str]:
    return [choice.attrib["value"] for choice in ElementTree.fromstring(config).iter("Choice")]


def test_the_config_asks_for_one_class_about_the_image_with_hotkeys_and_guideline() -> None:
    config = label_config.render([ClassDefinition("good"), ClassDefinition("bad", "cracked")], "Look closely.")
    assert config == (
        '<View><Header value="Look closely." size="5" />'
        '<Choices name="class" toName="image" choice="single" required="true" showInline="true">'
        '<Choice value="good" hotkey="1" /><Choice value="bad" hotkey="2" hint="cracked" /></Choices>'
        '<Image name="image" value="$image" /></View>'
    )


def test_hostile_names_round_trip() -> None:
    config = label_config.render([ClassDefinition(name) for name in HOSTILE], "")
    assert parsed_names(config) == HOSTILE


@given(names, st.text(max_size=50), st.text(max_size=50))
def test_every_usable_name_round_trips(names: list[str], guideline: str, description: str) -> None:
    config = label_config.render([ClassDefinition(name, description) for name in names], guideline)
    assert parsed_names(config) == names
    assert [label_config.answer(label_config.result(name), names) for name in names] == names


@given(st.text(max_size=50), st.text(max_size=50))
def test_prose_holds_no_variable_for_label_studio(guideline: str, description: str) -> None:
    config = label_config.render([ClassDefinition("a", description), ClassDefinition("b")], f"${guideline}")
    assert config.count("$") == 1  # the image's


def test_hotkeys_end_with_the_tenth_class() -> None:
    root = ElementTree.fromstring(label_config.render([ClassDefinition(str(i)) for i in range(12)], ""))
    assert [choice.get("hotkey") for choice in root.iter("Choice")] == [*"1234567890", None, None]


@pytest.mark.parametrize(
    "classes",
    [["one"], ["a", "a"], ["a", ""], ["a", " b"], ["a", "b\n"], ["a", "b\x00c"], ["a", "\ud800"], ["a", "costs $x"]],
)
def test_unusable_classes_are_refused(classes: list[str]) -> None:
    with pytest.raises(InvalidInputError):
        label_config.render([ClassDefinition(name) for name in classes], "")


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
    assert label_config.answer(result, ["cat", "dog"]) is None


def test_other_parts_of_an_answer_do_not_matter() -> None:
    comment = {"from_name": "comment", "to_name": "image", "type": "textarea", "value": {"text": ["blurred"]}}
    assert label_config.answer([comment, *label_config.result("dog")], ["cat", "dog"]) == "dog"


def test_a_prediction_names_a_class_with_its_score_and_model() -> None:
    assert label_config.prediction("dog", score=0.75, model_version="probe 1") == {
        "model_version": "probe 1",
        "score": 0.75,
        "result": label_config.result("dog"),
    }
