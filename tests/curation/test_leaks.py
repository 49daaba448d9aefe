"""Leaks: what two sources, or a source and a version, share."""

from typing import Any

import pytest
from sqlalchemy import select

from curation import decisions, duplicates, leaks, versions
from store import schema
from store.errors import InvalidInputError, NotFoundError
from store.schema import ImageId
from store.workspace import Workspace


def move(workspace: Workspace, images: list[ImageId], source: str) -> None:
    with workspace.database.write() as session:
        for sighting in session.scalars(select(schema.Sighting).where(schema.Sighting.image_id.in_(images))):
            sighting.source = source


def see_too(workspace: Workspace, image: ImageId, source: str) -> None:
    with workspace.database.write() as session:
        uri = f"/{source}/{image}.png"
        session.add(
            schema.Sighting(image_id=image, uri=uri, source=source, scene=None, details={}, bytes=1, modified_ns=0)
        )


def shared(workspace: Workspace, first: str, second: str) -> list[tuple[int, int, str]]:
    return [(leak.first, leak.second, leak.kind) for leak in leaks.compare(workspace, first, second).leaks]


def test_an_exact_image_a_pair_and_two_members_of_a_group_leak(workspace: Workspace, build: Any) -> None:
    """0 is in both; 1 and 3 are a pair; 2 and 4 are members of a group around 5, which is elsewhere."""
    images = build.images(6)
    move(workspace, images[3:5], "web")
    move(workspace, images[5:], "elsewhere")
    see_too(workspace, images[0], "web")
    build.duplicates((images[1], images[3]), (images[5], images[2], images[4]))
    assert shared(workspace, "photos", "web") == [
        (images[0], images[0], "bytes"),
        (images[1], images[3], "crop"),
        (images[2], images[4], "crop"),
    ]
    found = leaks.compare(workspace, "photos", "web")
    assert (found.first_images, found.second_images, found.unscanned) == (3, 3, 0)


def test_a_rejected_pair_does_not_leak(workspace: Workspace, build: Any) -> None:
    first, second = build.images(2)
    move(workspace, [second], "web")
    build.duplicates((first, second))
    assert shared(workspace, "photos", "web") == [(first, second, "crop")]
    with workspace.database.read() as session:
        ((group, _, _),) = duplicates.newest_groups(session)
    decisions.reject(workspace, group)
    assert shared(workspace, "photos", "web") == []


def test_two_members_that_a_person_parted_do_not_leak(workspace: Workspace, build: Any) -> None:
    """1 and 2 are each like 0, but were said to be different from one another."""
    images = build.images(3)
    move(workspace, images[2:], "web")
    move(workspace, images[:1], "elsewhere")
    build.duplicates(images)
    with workspace.database.write() as session:
        session.add(schema.DuplicateDecision(first_id=images[1], second_id=images[2], same=False))
    assert shared(workspace, "photos", "web") == []


def test_a_source_leaks_into_a_version(workspace: Workspace, build: Any) -> None:
    images = build.images(3)
    move(workspace, images[1:], "web")
    build.labels({images[0]: "cat"})
    build.duplicates((images[0], images[1]))
    version = versions.cut(workspace, "pets")
    for name in ("pets", "version:pets", version.id[:12]):
        assert shared(workspace, "web", name) == [(images[1], images[0], "crop")]


def test_a_name_must_say_one_part(workspace: Workspace, build: Any) -> None:
    images = build.images(2)
    build.labels({images[0]: "cat"})
    build.duplicates()
    versions.cut(workspace, "photos")
    with pytest.raises(InvalidInputError, match="is a source and a version"):
        leaks.compare(workspace, "photos", "photos")
    assert shared(workspace, "source:photos", "version:photos") == [(images[0], images[0], "bytes")]
    with pytest.raises(NotFoundError, match="no source and no version called nowhere"):
        leaks.compare(workspace, "source:photos", "nowhere")


def test_images_no_scan_has_seen_are_counted(workspace: Workspace, build: Any) -> None:
    images = build.images(4)
    move(workspace, images[2:], "web")
    with pytest.raises(NotFoundError, match="winnow duplicates scan"):
        leaks.compare(workspace, "photos", "web")
    build.duplicates()
    with workspace.database.write() as session:
        scan = session.scalars(select(schema.DuplicateScan)).one()
        scan.report = {**scan.report, "scanned_until": images[2], "unread": [images[0]]}
    assert leaks.compare(workspace, "photos", "web").unscanned == 2
