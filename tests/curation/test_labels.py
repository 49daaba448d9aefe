from typing import Any

import pytest

from curation import labels
from store.errors import InvalidInputError, NotFoundError
from store.schema import Taxonomy
from store.workspace import Workspace


def test_the_newest_label_is_in_force(workspace: Workspace, build: Any) -> None:
    first, second = build.images(2)
    build.labels({first: "cat", second: "dog"})
    build.labels({first: "dog"})
    with workspace.database.read() as session:
        found = labels.in_force(session, "animals")
        assert labels.in_force(session, "cars") == []
    assert {label.image_id: label.value for label in found} == {first: "dog", second: "dog"}
    assert [label.sha256 for label in found] == sorted(label.sha256 for label in found)


def test_the_only_labelled_taxonomy_needs_no_name(workspace: Workspace, build: Any) -> None:
    with workspace.database.read() as session, pytest.raises(NotFoundError, match="No image has a label"):
        labels.the_taxonomy(session, None)
    build.labels({build.images(1)[0]: "cat"})
    with workspace.database.write() as session:
        for revision in (1, 2):
            session.add(Taxonomy(name="cars", revision=revision, task_kind="c", classes=[], guideline=""))
    with workspace.database.read() as session:
        assert labels.the_taxonomy(session, None).name == "animals"
        assert labels.the_taxonomy(session, "cars").revision == 2
        with pytest.raises(NotFoundError, match="'boats'"):
            labels.the_taxonomy(session, "boats")


def test_of_several_labelled_taxonomies_one_must_be_named(workspace: Workspace, build: Any) -> None:
    image = build.images(1)[0]
    build.labels({image: "cat"})
    with workspace.database.write() as session:
        session.add(Taxonomy(name="cars", revision=1, task_kind="c", classes=[], guideline=""))
    build.labels({image: "red"})
    with workspace.database.read() as session, pytest.raises(InvalidInputError, match="2 taxonomies have labels"):
        labels.the_taxonomy(session, None)
