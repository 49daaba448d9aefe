from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling import definitions, evolution
from labeling.content import Content, ImageChoice, Region
from labeling.definitions import ClassDefinition, Definition
from labeling.evolution import Migration, NeedsRelabelling
from labeling.geometry import Box
from store.errors import InvalidInputError


def of(*names: str) -> Definition:
    return Definition("classification", tuple(ClassDefinition(name, description=f"a {name}") for name in names))


def evolved(migration: Migration, *names: str) -> list[str]:
    return evolution.evolve(of(*names), migration).class_names


def test_classes_keep_their_places() -> None:
    migration = evolution.plan(
        rename=[("b", "B")], merge=[(["c", "d"], "cd")], split=[("e", ["e1", "e2"])], add=["g"], retire=["f"]
    )
    assert evolved(migration, "a", "b", "c", "d", "e", "f") == ["a", "B", "cd", "e1", "e2", "g"]
    after = {name: evolution.class_after(migration, name) for name in "abcdef"}
    assert after == {
        "a": "a",
        "b": "B",
        "c": "cd",
        "d": "cd",
        "e": NeedsRelabelling("The class 'e' was split into e1, e2."),
        "f": NeedsRelabelling("The class 'f' was retired."),
    }


def test_a_renamed_class_keeps_how_it_looks_and_a_split_one_does_not() -> None:
    car = ClassDefinition("car", "four wheels", "#ff0000", "c", (3,))
    definition = Definition("boxes", (car,))
    [renamed] = evolution.evolve(definition, evolution.plan(rename=[("car", "auto")])).classes
    assert renamed == ClassDefinition("auto", "four wheels", "#ff0000", "c", (3,))
    split = evolution.evolve(definition, evolution.plan(split=[("car", ["car", "van"])]))
    assert split.classes == (car, ClassDefinition("van"))


def test_merging_into_a_class_that_stays_keeps_that_class() -> None:
    migration = evolution.plan(merge=[(["a", "b"], "b")])
    assert evolution.evolve(of("a", "b", "c"), migration).classes == of("b", "c").classes


@given(st.permutations("abc"))
def test_names_may_change_places(order: list[str]) -> None:
    migration = evolution.plan(rename=list(zip("abc", order, strict=True)))
    changed = evolution.evolve(of("a", "b", "c"), migration)
    assert [(each.name, each.description) for each in changed.classes] == [
        (new, f"a {old}") for old, new in zip("abc", order, strict=True)
    ]
    assert [evolution.class_after(migration, name) for name in "abc"] == order


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        ({}, "this does not"),
        ({"rename": [("a", "x")], "retire": ["a"]}, "'a' is renamed, merged, split or retired twice"),
        ({"split": [("a", ["x", "x"])]}, "split into 1"),
    ],
)
def test_rules_that_contradict_are_refused(rules: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidInputError, match=why):
        evolution.plan(**rules)


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        ({"rename": [("z", "x")]}, "no class 'z', but: a, b"),
        ({"rename": [("a", "b")]}, "merge a,b=b instead"),
        ({"add": ["a"]}, "'a' cannot be added"),
        ({"rename": [("a", "x")], "add": ["x"]}, "'x' cannot be added"),
    ],
)
def test_rules_that_do_not_fit_the_taxonomy_are_refused(rules: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidInputError, match=why):
        evolution.evolve(of("a", "b"), evolution.plan(**rules))


def test_content_is_said_in_the_new_words() -> None:
    migration = evolution.plan(merge=[(["a", "b"], "ab")], retire=["c"])
    regions = (Region("1", Box(0, 0, 1, 1), ("a", "b")), Region("2", Box(0, 0, 1, 1), ()))
    after = evolution.apply(migration, Content(ImageChoice(("b", "d")), regions=regions))
    assert isinstance(after, Content)
    assert after.choice == ImageChoice(("ab", "d"))
    assert [region.classes for region in after.regions] == [("ab",), ()]
    retired = NeedsRelabelling("The class 'c' was retired.")
    assert evolution.apply(migration, Content(ImageChoice(("c",)))) == retired
    assert evolution.apply(migration, Content(regions=(Region("1", Box(0, 0, 1, 1), ("c",)),))) == retired


@given(st.lists(st.sampled_from("abcde"), min_size=1, unique=True), st.data())
def test_every_class_after_is_one_the_next_revision_has(names: list[str], data: st.DataObject) -> None:
    news = st.lists(st.sampled_from("abcdexyz"), max_size=3, unique=True).map(tuple)
    changing = data.draw(st.lists(st.sampled_from(names), unique=True))
    migration = Migration({name: data.draw(news) for name in changing})
    try:
        definition = evolution.evolve(of(*names), migration)
    except InvalidInputError:
        return
    after = [evolution.class_after(migration, name) for name in names]
    assert {each for each in after if isinstance(each, str)} <= set(definition.class_names)
    if len(definition.classes) > 1:
        definitions.check(definition)


def test_a_migration_comes_back_from_its_document() -> None:
    migration = evolution.plan(rename=[("a", "b")], split=[("c", ["d", "e"])], add=["f"], retire=["g"])
    assert evolution.parse(evolution.document(migration)) == migration
