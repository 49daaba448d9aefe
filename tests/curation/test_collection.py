"""The embedded images as arrays: near pairs of all or of a few, and who represents whom."""

import os
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from sqlalchemy import delete

from curation import collection, joins
from curation.collection import Collection
from curation.joins import Pairs
from store.arrays import Vectors
from store.schema import Embedding, Image, ImageId
from store.workspace import Workspace


@pytest.fixture
def images(workspace: Workspace, build: Any) -> list[ImageId]:
    """Sixty images, each with a near one."""
    ids = build.images(60)
    generator = np.random.default_rng(0)
    base = generator.normal(size=(30, 16))
    build.vectors(ids, np.concatenate([base, base + 0.1 * generator.normal(size=(30, 16))]))
    return ids


def keys(pairs: Pairs) -> set[tuple[int, int]]:
    return {(a, b) for a, b in pairs.positions.tolist()}


def test_those_of_a_few_are_those_of_all_that_hold_one(workspace: Workspace, images: list[ImageId]) -> None:
    found = collection.load(workspace)
    everything = keys(found.near_pairs_of(workspace, min_cosine=0.9, fresh=None))
    assert len(everything) >= 30
    few = np.array([3, 20, 41])
    assert keys(found.near_pairs_of(workspace, min_cosine=0.9, fresh=few)) == {
        pair for pair in everything if set(pair) & set(few.tolist())
    }
    assert keys(found.near_pairs(min_cosine=0.9)) == everything


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no archive", None])
def test_what_is_kept_is_a_cache(workspace: Workspace, images: list[ImageId], damage: bytes | None) -> None:
    found = collection.load(workspace)
    few = np.array([3, 20])
    whole = keys(found.near_pairs_of(workspace, min_cosine=0.9, fresh=None))
    (kept,) = workspace.indexes_dir.glob("*.cells")
    kept.unlink() if damage is None else kept.write_bytes(damage)
    again = keys(found.near_pairs_of(workspace, min_cosine=0.9, fresh=few))
    assert again == {pair for pair in whole if set(pair) & {3, 20}}


def test_a_write_that_fails_leaves_nothing_behind(
    workspace: Workspace, images: list[ImageId], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = collection.load(workspace)

    def full(descriptor: int) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            found.near_pairs_of(workspace, min_cosine=0.9, fresh=None)
    assert not list(workspace.indexes_dir.glob("*.part"))
    (workspace.indexes_dir / f"{found.encoder.digest}.cells.part").write_bytes(b"of one that was killed")
    found.near_pairs_of(workspace, min_cosine=0.9, fresh=None)
    assert not list(workspace.indexes_dir.glob("*.part"))


def test_images_that_came_later_find_their_place(workspace: Workspace, images: list[ImageId], build: Any) -> None:
    collection.load(workspace).near_pairs_of(workspace, min_cosine=0.9, fresh=None)
    with workspace.database.write() as session:
        one = session.get_one(Image, images[0])
        copy = {column.name: getattr(one, column.name) for column in Image.__table__.columns if column.name != "id"}
        session.add(Image(**{**copy, "sha256": "f" * 64}))
    vector = collection.load(workspace)
    position = vector.image_ids.tolist().index(images[0])
    raw = vector._values[vector._rows[position]]
    build.vectors([ImageId(61)], raw[None])
    grown = collection.load(workspace)
    fresh = np.flatnonzero(grown.image_ids == 61)
    found = keys(grown.near_pairs_of(workspace, min_cosine=0.9, fresh=fresh))
    twin = grown.image_ids.tolist().index(images[0])
    assert (min(twin, int(fresh[0])), max(twin, int(fresh[0]))) in found


def test_places_are_added_to_what_is_kept(workspace: Workspace, build: Any) -> None:
    """Whatever an interrupted write left of a place; images that are gone are in no pair."""
    ids = build.images(60)
    base = np.random.default_rng(0).normal(size=(30, 16))
    vectors = np.concatenate([base, base + 0.01])
    build.vectors(ids[:50], vectors[:50])
    collection.load(workspace).near_pairs_of(workspace, min_cosine=0.9, fresh=None)
    (kept,) = workspace.indexes_dir.glob("*.cells")
    before = kept.read_bytes()
    place = collection._place_type(collection._read_cells(kept).cells).itemsize
    kept.write_bytes(before + b"x" * (place - 1))
    build.vectors(ids[50:], vectors[50:])
    with workspace.database.write() as session:
        session.execute(delete(Embedding).where(Embedding.image_id.in_([ids[0], ids[55]])))
    images = collection.load(workspace)
    fresh = np.flatnonzero(np.isin(images.image_ids, ids[50:]))
    for _ in range(2):
        pairs = images.image_ids[images.near_pairs_of(workspace, min_cosine=0.9, fresh=fresh).positions]
        wanted = {(ids[i - 30], ids[i]) for i in range(50, 60) if i != 55}
        assert {(a, b) for a, b in np.sort(pairs, axis=1).tolist()} == wanted
        assert kept.read_bytes()[: len(before)] == before
        assert kept.stat().st_size == len(before) + 9 * place
    grown = kept.read_bytes()
    kept.write_bytes(grown + grown[len(before) :])  # as if two had added them at once
    assert len(images.near_pairs_of(workspace, min_cosine=0.9, fresh=fresh).positions) == 9


def test_places_are_not_added_to_what_was_divided_anew_meanwhile(workspace: Workspace, images: list[ImageId]) -> None:
    found = collection.load(workspace)
    found.near_pairs_of(workspace, min_cosine=0.9, fresh=None)
    (path,) = workspace.indexes_dir.glob("*.cells")
    kept = collection._read_cells(path)
    assert kept is not None
    other = replace(kept, cells=replace(kept.cells, centroids=-kept.cells.centroids))
    collection._write_cells(path, other)
    before = path.read_bytes()
    assert len(collection._add_places(path, kept, kept.places[:2]).places) == len(images) + 2
    assert path.read_bytes() == before


def crowded(count: int, seed: int) -> np.ndarray:
    """Vectors around places of their own, along axes of very different length."""
    generator = np.random.default_rng(seed)
    scales = 1 / np.sqrt(1 + np.arange(24))
    places = generator.normal(size=(count // 5, 24)) * scales
    return places[generator.integers(0, len(places), count)] + 0.3 * generator.normal(size=(count, 24)) * scales


def brute(images: Collection, mean: Vectors, min_cosine: float) -> set[tuple[int, int]]:
    """Pairs of image ids of vectors that are so near when centred on `mean`."""
    directions = images._values[images._rows] - mean
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    near = np.sort(images.image_ids[np.argwhere(np.triu(directions @ directions.T >= min_cosine, 1))], axis=1)
    return {(a, b) for a, b in near.tolist()}


def test_what_came_later_and_before_are_together_all_pairs(
    workspace: Workspace, build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many cells; twice there come vectors that lie to one side, so that the mean moves away from the first one."""
    monkeypatch.setattr(joins, "_FEWEST_IN_CELLS", 500)
    ids = build.images(1800)
    ids = [ids[i] for i in np.random.default_rng(1).permutation(1800)]  # in the order of sha256 the new are anywhere
    first = crowded(1500, 0)
    aside = crowded(300, 1) + 0.5
    aside[:100] = first[:100] + 0.1 * crowded(100, 2)  # some have a near one among the old
    aside[200:250] = aside[:50] + 0.1 * crowded(50, 3)  # and among those that came before them
    known: set[tuple[int, int]] = set()
    for start, stop, values in ((0, 1500, first), (1500, 1700, aside[:200]), (1700, 1800, aside[200:])):
        build.vectors(ids[start:stop], values)
        images = collection.load(workspace)
        fresh = np.flatnonzero(np.isin(images.image_ids, ids[start:stop])) if start else None
        found = images.near_pairs_of(workspace, min_cosine=0.8, fresh=fresh)
        if fresh is not None:
            assert np.isin(found.positions, fresh).any(axis=1).all()
        known |= {(a, b) for a, b in np.sort(images.image_ids[found.positions], axis=1).tolist()}
    mean = first.mean(axis=0)
    assert np.linalg.norm(images._mean - mean) > 0.15  # of vectors whose length is about 2
    true, of_now = brute(images, mean, 0.8), brute(images, images._mean, 0.8)
    assert len(true & known) >= 0.99 * len(true)
    assert len(known - true) <= 0.001 * len(true)  # rounding at the very edge
    whole = images.near_pairs(min_cosine=0.8)
    anew = {(a, b) for a, b in np.sort(images.image_ids[whole.positions], axis=1).tolist()}
    assert len(anew & of_now) >= 0.99 * len(of_now)
    assert len(known & anew) >= 0.95 * len(anew)  # what is near differs a little about another mean


def test_the_labelled_then_the_large_then_the_sharp_then_the_first_taken_represent(
    workspace: Workspace, build: Any
) -> None:
    ids = build.images(5)
    build.vectors(ids, np.eye(5))
    with workspace.database.write() as session:
        rows = [session.get_one(Image, image_id) for image_id in ids]
        rows[1].width = 99
        rows[2].sharpness = 2.0
        rows[3].captured_at = datetime(2020, 1, 1, tzinfo=UTC)
        rows[4].captured_at = datetime(2021, 1, 1, tzinfo=UTC)
    build.labels({ids[0]: "cat"})
    found = collection.load(workspace)
    assert [found.found[position].image_id for position in found.preference] == ids
