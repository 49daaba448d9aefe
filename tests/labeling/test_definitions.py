import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from labeling import definitions
from labeling.definitions import AttributeDefinition, ClassDefinition, Definition, TagNames
from store.errors import InvalidInputError
from tests.labeling import strategies

CAR, BUS = ClassDefinition("car"), ClassDefinition("bus")
BOXES = Definition("boxes", (CAR, BUS))
ONE_OF_TWO = Definition("classification", (CAR, BUS))


@given(strategies.definitions())
def test_every_definition_can_be_used_and_comes_back_from_its_document(definition: Definition) -> None:
    definitions.check(definition)
    assert definitions.parse(json.loads(json.dumps(definitions.document(definition)))) == definition


def test_a_class_may_be_its_name_alone() -> None:
    assert definitions.parse({"kind": "boxes", "classes": ["car", {"name": "bus"}]}) == BOXES


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ({}, "kind"),
        ({"kind": "circles"}, "kind"),
        ({"kind": "boxes", "colours": []}, "colours"),
        ({"kind": "boxes", "classes": [{"name": "car", "color": "red"}]}, "classes.0.color"),
        ({"kind": "boxes", "classes": [True]}, "classes.0"),
        (
            {"kind": "boxes", "attributes": [{"name": "a", "kind": "choice", "options": [True]}]},
            "attributes.0.options.0",
        ),
    ],
)
def test_a_document_that_does_not_fit_says_where(document: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidInputError, match=f"first {place}:"):
        definitions.parse(document)


@pytest.mark.parametrize(
    "names",
    [["one"], ["a", "a"], ["a", ""], ["a", " b"], ["a", "b\n"], ["a", "b\x00c"], ["a", "\ud800"], ["a", "costs $x"]],
)
def test_unusable_classes_are_refused(names: list[str]) -> None:
    with pytest.raises(InvalidInputError):
        definitions.check(Definition("classification", tuple(ClassDefinition(name) for name in names)))


def asks(name: str = "a", kind: Any = "text", **more: Any) -> AttributeDefinition:
    return AttributeDefinition(name, kind, **more)


@pytest.mark.parametrize(
    ("definition", "why"),
    [
        (replace(BOXES, classes=()), "a class or more, not 0"),
        (replace(BOXES, classes=(replace(CAR, colour="red"),)), "colour 'red'"),
        (replace(BOXES, classes=(replace(CAR, colour="#FF0000"),)), "small letters"),
        (replace(BOXES, classes=tuple(replace(c, colour="#ff0000") for c in (CAR, BUS))), "'#ff0000' is there twice"),
        (replace(BOXES, classes=(replace(CAR, hotkey="ab"),)), "hotkey 'ab'"),
        (replace(BOXES, classes=(replace(CAR, hotkey="A"),)), "small letters"),
        (replace(BOXES, classes=(replace(CAR, hotkey=","),)), "hotkey ','"),
        (replace(BOXES, classes=tuple(replace(c, hotkey="a") for c in (CAR, BUS))), "'a' is there twice"),
        (replace(ONE_OF_TWO, attributes=(asks(),)), "say about: image"),
        (replace(BOXES, attributes=(asks(kind="choice"),)), "choice with 0 options"),
        (replace(BOXES, attributes=(asks(options=("a",)),)), "text with 1 options"),
        (replace(BOXES, attributes=(asks(kind="multi", options=("a", "a")),)), "option 'a' is there twice"),
        (replace(BOXES, attributes=(asks(kind="tree", options=("a/b",)),)), "not 'a' that leads to it"),
        (replace(BOXES, attributes=(asks(maximum=3),)), "no such minimum or maximum"),
        (replace(BOXES, attributes=(asks(kind="rating", minimum=1),)), "no such minimum"),
        (replace(BOXES, attributes=(asks(kind="rating", maximum=2.5),)), "whole number"),
        (replace(BOXES, attributes=(asks(kind="rating", maximum=-1),)), "1 or more"),
        (replace(BOXES, attributes=(asks(kind="number", minimum=2, maximum=1),)), "minimum above its maximum"),
        (replace(BOXES, attributes=(asks(), asks())), "name 'a' is there twice"),
        (replace(BOXES, attributes=(asks(name="class"),)), "name 'class' is there twice"),
        (replace(BOXES, attributes=(asks(name="a,b"),)), "name 'a,b'"),
        (replace(BOXES, tags=TagNames(data="uid")), "'uid' cannot be the key"),
        (replace(BOXES, tags=TagNames(data="a b")), "'a b' cannot be the key"),
        (replace(BOXES, tags=TagNames(shapes=(("masks", "brush"),))), "None of the 1 tools draws boxes"),
        (Definition("questions", (CAR,), (asks(about="image"),)), "attributes and no classes"),
        (Definition("questions"), "attributes and no classes"),
        (
            Definition("questions", (), (asks(kind="choice", options=("x",), about="image"),)),
            "classes of a classification",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused(definition: Definition, why: str) -> None:
    with pytest.raises(InvalidInputError, match=why):
        definitions.check(definition)


def test_what_annotators_can_draw() -> None:
    assert definitions.shape_kinds(BOXES) == ("boxes",)
    assert definitions.shape_kinds(ONE_OF_TWO) == ()
    both = TagNames(shapes=(("boxes", "box"), ("polygons", "polygon")))
    assert definitions.shape_kinds(replace(BOXES, tags=both)) == ("boxes", "polygons")
