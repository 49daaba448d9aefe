"""A label goes when what it rests on goes; a class that was retired takes its labels along."""

from typing import Any

import pytest
from sqlalchemy import select

from curation import labels, versions
from store import schema
from store.errors import NotFoundError
from store.workspace import Workspace


def test_a_label_whose_verdict_was_reopened_is_not_in_force(workspace: Workspace, build: Any) -> None:
    first, second, _ = build.images(3)
    build.labels({first: "cat", second: "dog"})
    with workspace.database.write() as session:
        task = session.scalars(select(schema.Task).where(schema.Task.image_id == first)).one()
        session.add(schema.Verdict(task_id=task.id, outcome="another-opinion", evidence={}))
    with workspace.database.read() as session:
        assert [label.image_id for label in labels.in_force(session, "animals")] == [second]
        for images in (None, select(schema.Image.id).where(schema.Image.id <= second)):
            [label] = session.scalars(labels.newest_ids(of=images))
            assert session.get_one(schema.Label, label).image_id == second
        of_first = select(schema.Image.id).where(schema.Image.id == first)
        assert session.scalars(labels.newest_ids(of=of_first)).all() == []


def test_labels_of_a_retired_class_are_left_out_and_named(workspace: Workspace, build: Any) -> None:
    images = build.images(40)
    build.labels({image_id: ("cat", "dog")[i % 2] for i, image_id in enumerate(images)})
    with workspace.database.write() as session:
        session.add(
            schema.Taxonomy(
                name="animals", revision=2, task_kind="classification", classes=[{"name": "cat"}], guideline=""
            )
        )
    cut = versions.cut(workspace, "pets")
    assert sum(cut.counts.values()) == 20
    gate = next(gate for gate in cut.gates if gate.gate == "retired classes")
    assert (gate.outcome, "20 dog" in gate.detail) == ("warn", True)


def test_images_no_scan_has_seen_are_counted_by_a_gate(workspace: Workspace, build: Any) -> None:
    build.labels(dict.fromkeys(build.images(10), "cat"))
    gate = next(gate for gate in versions.cut(workspace, "pets").gates if gate.gate == "scanned")
    assert (gate.outcome, gate.detail.split(":")[0]) == ("warn", "10 of 10 images were never compared for duplicates")


def test_nothing_in_force_is_nothing_to_cut(workspace: Workspace) -> None:
    with pytest.raises(NotFoundError, match="No image has a label"):
        versions.cut(workspace, "pets")
