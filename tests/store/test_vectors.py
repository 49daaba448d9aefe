"""Vectors on disk: what is recorded is whole, what was not accepted is cut."""

from typing import Any

import numpy as np
import pytest

from store import vectors
from store.errors import IntegrityError, InvalidInputError
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
        assert np.array_equal(file.open(session), VALUES)
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
    ],
)
def test_bad_vectors_are_refused_whole(build: Any, workspace: Workspace, values: np.ndarray, complaint: str) -> None:
    ids = build.images(2)
    encoder = build.vectors(ids[:1], VALUES[:1])
    file = VectorFile(workspace.vectors_dir, encoder)
    with pytest.raises(InvalidInputError, match=complaint):
        file.append(workspace.database, ids[1:], values)
    with workspace.database.read() as session:
        assert len(file.open(session)) == 1


def test_what_another_process_embedded_meanwhile_is_left_out(build: Any, workspace: Workspace) -> None:
    ids = build.images(3)
    encoder = build.vectors(ids[:2], VALUES[:2])
    file = VectorFile(workspace.vectors_dir, encoder)
    file.append(workspace.database, ids, VALUES[::-1].copy())
    file.append(workspace.database, [], VALUES[:0])
    with workspace.database.read() as session:
        assert np.array_equal(file.open(session), np.stack([VALUES[0], VALUES[1], VALUES[0]]))
        assert file.damaged_blocks(session) == []
