from dataclasses import replace
from typing import Any

import pytest

from labeling import taxonomy
from labeling.definitions import AttributeDefinition, ClassDefinition, Definition, TagNames
from store import schema
from store.errors import InvalidInputError, NotFoundError
from store.workspace import Workspace

CAT, DOG = ClassDefinition("cat", "meows"), ClassDefinition("dog")
ANIMALS = Definition("classification", (CAT, DOG), guideline="Look.")
CARS = Definition(
    "boxes",
    (ClassDefinition("car", colour="#ff0000", hotkey="c", examples=(3, 5)),),
    (AttributeDefinition("occluded", "choice", options=("no", "partly"), required=True),),
    "Tight boxes.",
    TagNames(image="photo", data="photo", classes="label", shapes=(("boxes", "box"),)),
)


@pytest.mark.parametrize("definition", [ANIMALS, CARS])
def test_the_same_content_is_the_same_revision(workspace: Workspace, build: Any, definition: Definition) -> None:
    build.images(5)
    first = taxonomy.create(workspace, "animals", definition)
    assert taxonomy.create(workspace, "animals", definition) == first
    assert (first.revision, first.definition) == (1, definition)
    with workspace.database.read() as session:
        assert taxonomy.get(session, first.id) == first


@pytest.mark.parametrize(
    "changed",
    [
        replace(ANIMALS, classes=(DOG, CAT)),
        replace(ANIMALS, guideline="Look twice."),
        replace(ANIMALS, classes=(ClassDefinition("cat"), DOG)),
        replace(ANIMALS, kind="multilabel"),
        replace(ANIMALS, attributes=(AttributeDefinition("blurred", "rating", about="image"),)),
        replace(ANIMALS, tags=TagNames(data="photo")),
    ],
)
def test_changed_content_is_the_next_revision(workspace: Workspace, changed: Definition) -> None:
    first = taxonomy.create(workspace, "animals", ANIMALS)
    second = taxonomy.create(workspace, "animals", changed)
    assert second.revision == 2
    with workspace.database.read() as session:
        assert taxonomy.newest(session, "animals") == second
        assert taxonomy.list_all(session) == [first, second]


def test_going_back_is_a_new_revision_too(workspace: Workspace) -> None:
    for classes in ((CAT, DOG), (DOG, CAT), (CAT, DOG)):
        revision = taxonomy.create(workspace, "animals", replace(ANIMALS, classes=classes))
    assert revision.revision == 3


def test_bad_taxonomies_are_refused_and_leave_nothing(workspace: Workspace) -> None:
    with pytest.raises(InvalidInputError):
        taxonomy.create(workspace, "animals", replace(ANIMALS, classes=(CAT,)))
    with pytest.raises(InvalidInputError):
        taxonomy.create(workspace, " ", ANIMALS)
    with workspace.database.read() as session, pytest.raises(NotFoundError, match="animals"):
        taxonomy.newest(session, "animals")


def test_examples_are_images_of_the_catalog(workspace: Workspace, build: Any) -> None:
    build.images(4)
    with pytest.raises(InvalidInputError, match="1 of 2 examples are no images of this catalog, first 5"):
        taxonomy.create(workspace, "cars", CARS)
    with workspace.database.read() as session:
        assert taxonomy.list_all(session) == []


def test_a_revision_from_before_attributes_is_read(workspace: Workspace) -> None:
    with workspace.database.write() as session:
        classes = [{"name": "cat", "description": "meows"}, {"name": "dog", "description": ""}]
        row = schema.Taxonomy(name="old", revision=1, task_kind="classification", classes=classes, guideline="Look.")
        session.add(row)
    with workspace.database.read() as session:
        assert taxonomy.newest(session, "old").definition == ANIMALS
