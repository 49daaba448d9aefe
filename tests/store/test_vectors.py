"""Vectors on disk: what is recorded is whole, what was not accepted is cut."""

from typing import Any

import numpy as np
import pytest

from store import vectors
from store.errors import IntegrityError, InvalidInputError
from store.schema import Encoder, ImageId
from store.vectors import VectorFile
from store.workspace import Workspace

VALUES = np.arange(12, dtype=np.float32).reshape(3, 4)


def test_vectors_come_back_in_the_order_of_sha256(build: Any, workspace: Workspace) -> None:
    ids = build.images(3)
    encoder = build.vectors(ids[:2], VALUES[:2])
    build.vectors(ids[2:], VALUES[2:])
    with workspace.database.read() as session:
        found, values = vectors.load(workspace.vectors_dir, session, encoder)
    assert sorted(found.tolist()) == ids
    assert np.array_equal(values, VALUES[found - 1])
    # sha256 of "0", "1", "2" begin with 5f, 6b, d4
    assert found.tolist() == ids


def test_a_torn_tail_is_cut_by_the_next_append(build: Any, workspace: Workspace) -> None:
    ids = build.images(3)
    encoder = build.vectors(ids[:2], VALUES[:2])
    file = VectorFile(workspace.vectors_dir, encoder)
    with file.path.open("ab") as torn:
        torn.write(b"\xff" * 21)  # a kill in the middle of a row, before the commit
    build.vectors(ids[2:], VALUES[2:])
    with workspace.database.read() as session:
        assert np.array_equal(file.open(session).values, VALUES)
        assert file.damaged_blocks(session) == []
    assert file.path.stat().st_size == VALUES.nbytes


def test_damage_is_found_block_by_block(build: Any, workspace: Workspace) -> None:
    ids = build.images(3)
    encoder = build.vectors(ids[:2], VALUES[:2])
    build.vectors(ids[2:], VALUES[2:])
    file = VectorFile(workspace.vectors_dir, encoder)
    with file.path.open("r+b") as bytes_:
        bytes_.seek(2 * 16)
        bytes_.write(b"\x01")
    with workspace.database.read() as session:
        assert [(block.start, block.rows) for block in file.damaged_blocks(session)] == [(2, 1)]
    file.path.unlink()
    with workspace.database.read() as session:
        assert len(file.damaged_blocks(session)) == 2
        with pytest.raises(IntegrityError, match="lacks vectors"):
            file.open(session)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        (np.ones((2, 4), dtype=np.float32), "do not fit"),
        (np.ones((1, 3), dtype=np.float32), "do not fit"),
        (np.array([[1, np.nan, 0, 0]], dtype=np.float32), "1 of 1 vectors hold NaN"),
        (np.array([[1, np.inf, 0, 0]], dtype=np.float32), "1 of 1 vectors hold NaN"),
        (np.array([[1e30, 0, 0, 0]], dtype=np.float32), "or are too large, as float32"),
        (np.zeros((1, 4), dtype=np.float32), "1 of 1 vectors are zero as float32"),
    ],
)
def test_bad_vectors_are_refused_whole(build: Any, workspace: Workspace, values: np.ndarray, complaint: str) -> None:
    ids = build.images(2)
    encoder = build.vectors(ids[:1], VALUES[:1])
    file = VectorFile(workspace.vectors_dir, encoder)
    with pytest.raises(InvalidInputError, match=complaint):
        file.append(workspace.database, ids[1:], values)
    with workspace.database.read() as session:
        assert len(file.open(session).values) == 1


def test_what_another_process_embedded_meanwhile_is_left_out(build: Any, workspace: Workspace) -> None:
    ids = build.images(3)
    encoder = build.vectors(ids[:2], VALUES[:2])
    file = VectorFile(workspace.vectors_dir, encoder)
    assert file.append(workspace.database, ids, VALUES[::-1].copy()) == 1
    assert file.append(workspace.database, [], VALUES[:0]) == 0
    with workspace.database.read() as session:
        assert np.array_equal(file.open(session).values, np.stack([VALUES[0], VALUES[1], VALUES[0]]))
        assert file.damaged_blocks(session) == []


def half(workspace: Workspace, *, name: str = "half") -> Encoder:
    with workspace.database.write() as session:
        encoder = Encoder(name=name, digest=name[0] * 64, dimensions=4, dtype="float16")
        session.add(encoder)
        session.flush()
        session.expunge(encoder)
    return encoder


def test_half_precision_takes_half_the_room(build: Any, workspace: Workspace) -> None:
    ids = build.images(3)
    file = VectorFile(workspace.vectors_dir, half(workspace))
    values = np.array([[1 / 3, -2, 0, 1e-3], [1, 2, 3, 4], [0.1, 0.2, 0.3, 0.4]], dtype=np.float32)
    file.append(workspace.database, ids[:2], values[:2])
    with file.path.open("ab") as torn:
        torn.write(b"\xff" * 3)
    file.append(workspace.database, ids[2:], values[2:])
    with workspace.database.read() as session:
        stored = file.open(session)
        assert file.damaged_blocks(session) == []
    assert file.path.stat().st_size == 3 * 4 * 2
    assert np.array_equal(stored.values, values.astype(np.float16))
    assert np.allclose(stored.values, values, rtol=2**-11)
    with pytest.raises(InvalidInputError, match="1 of 1 vectors hold NaN or infinity, or are too large, as float16"):
        file.append(workspace.database, [ImageId(99)], np.full((1, 4), 1e5, dtype=np.float32))


def test_a_copy_by_sha256_is_always_float32(build: Any, workspace: Workspace) -> None:
    ids = build.images(3)
    encoder = half(workspace)
    VectorFile(workspace.vectors_dir, encoder).append(workspace.database, ids[::-1], VALUES)
    with workspace.database.read() as session:
        found, values = vectors.load(workspace.vectors_dir, session, encoder)
    assert values.dtype == np.float32
    assert found.tolist() == ids
    assert np.array_equal(values, VALUES[::-1])


def test_only_what_is_damaged_is_forgotten(build: Any, workspace: Workspace) -> None:
    ids = build.images(5)
    encoder = build.vectors(ids[:2], VALUES[:2])
    build.vectors(ids[2:3], VALUES[2:])
    build.vectors(ids[3:], VALUES[:2])
    file = VectorFile(workspace.vectors_dir, encoder)
    with file.path.open("r+b") as bytes_:
        bytes_.seek(2 * 16)
        bytes_.write(b"\x01")
    assert file.forget_damaged(workspace.database) == 1
    assert file.forget_damaged(workspace.database) == 0
    with workspace.database.read() as session:
        assert file.open(session).image_ids.tolist() == [*ids[:2], -1, *ids[3:]]
        found, _ = vectors.load(workspace.vectors_dir, session, encoder)
        assert sorted(found.tolist()) == [*ids[:2], *ids[3:]]
    file.append(workspace.database, ids[2:3], VALUES[2:])
    with workspace.database.read() as session:
        found, values = vectors.load(workspace.vectors_dir, session, encoder)
    assert np.array_equal(values[found == ids[2]], VALUES[2:])
    file.path.unlink()
    assert file.forget_damaged(workspace.database) == 5
    with workspace.database.read() as session:
        assert len(file.open(session).values) == 0


def test_more_rows_than_are_read_at_once(build: Any, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "_PAGE", 2)
    ids = build.images(5)
    encoder = build.vectors(ids[::-1], np.ones((5, 4)))
    with workspace.database.read() as session:
        assert VectorFile(workspace.vectors_dir, encoder).open(session).image_ids.tolist() == ids[::-1]
