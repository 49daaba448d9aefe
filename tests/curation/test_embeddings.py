"""Vectors from a file: what fits is imported, what does not is counted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select

from curation import embed, embeddings, index, search
from store import vectors
from store.errors import ConflictError, InvalidInputError, NotFoundError
from store.schema import Encoder, Image, ImageId
from store.workspace import Workspace

VALUES = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.fixture
def names(build: Any, workspace: Workspace) -> list[str]:
    """The sha256s of four images, by id."""
    build.images(4)
    with workspace.database.read() as session:
        return list(session.scalars(select(Image.sha256).order_by(Image.id)))


def save(path: Path, **arrays: Any) -> Path:
    np.savez(path, **{name: np.asarray(values) for name, values in arrays.items()})
    return path


def stored(workspace: Workspace, encoder: str) -> dict[int, list[float]]:
    with workspace.database.read() as session:
        row = embed.find_encoder(session, encoder)
        image_ids, values = vectors.load(workspace.vectors_dir, session, row)
    return dict(zip(image_ids.tolist(), values.tolist(), strict=True))


def test_vectors_go_to_the_images_they_name(workspace: Workspace, names: list[str], tmp_path: Path) -> None:
    first = save(tmp_path / "a.npz", sha256=[names[2].upper(), names[0]], vectors=VALUES[:2].astype(np.float64))
    assert embeddings.import_file(workspace, first, encoder="ours").imported == 2
    second = save(tmp_path / "b.npz", uri=np.array(["/photos/1.png", "/photos/3.png"], dtype="S"), vectors=VALUES[2:])
    assert embeddings.import_file(workspace, second, encoder="ours").imported == 2
    expected = {3: VALUES[0], 1: VALUES[1], 2: VALUES[2], 4: VALUES[3]}
    assert stored(workspace, "ours") == {image_id: row.tolist() for image_id, row in expected.items()}


def test_again_changes_nothing_and_other_values_do_not_replace(
    workspace: Workspace, names: list[str], tmp_path: Path
) -> None:
    path = save(tmp_path / "a.npz", sha256=names, vectors=VALUES)
    embeddings.import_file(workspace, path, encoder="ours")
    again = embeddings.import_file(workspace, path, encoder="ours")
    assert (again.imported, again.already, again.kept) == (0, 4, 0)
    changed = VALUES.copy()
    changed[1] += 1
    other = embeddings.import_file(workspace, save(tmp_path / "b.npz", sha256=names, vectors=changed), encoder="ours")
    assert (other.imported, other.already, other.kept) == (0, 3, 1)
    assert stored(workspace, "ours")[2] == VALUES[1].tolist()


def test_what_does_not_fit_is_counted_and_the_rest_imported(
    workspace: Workspace, names: list[str], tmp_path: Path
) -> None:
    broken = np.vstack([VALUES, VALUES[:2]])
    broken[1, 2] = np.nan
    path = save(tmp_path / "a.npz", sha256=[*names, "f" * 64, names[0]], vectors=broken)
    done = embeddings.import_file(workspace, path, encoder="ours")
    assert (done.imported, done.not_finite, done.unknown, done.repeated) == (3, 1, 1, 1)
    assert stored(workspace, "ours") == {i: VALUES[i - 1].tolist() for i in (1, 3, 4)}


def test_half_precision_stays_half(workspace: Workspace, names: list[str], tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", sha256=names, vectors=VALUES.astype(np.float16))
    assert embeddings.import_file(workspace, path, encoder="ours").imported == 4
    assert [file.suffix for file in workspace.vectors_dir.iterdir()] == [".f16"]
    large = VALUES[:2] + np.array([[1e6], [0]])
    beyond = embeddings.import_file(
        workspace, save(tmp_path / "b.npz", sha256=names[:2], vectors=large), encoder="ours"
    )
    assert (beyond.not_finite, beyond.refused, beyond.already) == (1, [0], 1)


def test_what_has_no_length_to_compute_with_is_refused(workspace: Workspace, names: list[str], tmp_path: Path) -> None:
    values = VALUES.astype(np.float32) + 1
    values[1] *= 1e30  # finite, but not its square
    values[2] = 0
    path = save(tmp_path / "a.npz", sha256=names, vectors=values)
    done = embeddings.import_file(workspace, path, encoder="ours")
    assert (done.imported, done.not_finite, done.no_direction, done.refused) == (2, 1, 1, [1, 2])
    near = search.search(workspace, search.Query(like=[ImageId(1)]))
    assert [one.image_id for one in near] == [4]
    index.open_index(workspace)


def test_the_longest_vectors_that_are_taken_can_be_searched(
    workspace: Workspace, names: list[str], tmp_path: Path
) -> None:
    values = vectors.LONGEST * np.array([[1, 0], [-1, 0], [0.6, 0.79], [0, -1]])
    path = save(tmp_path / "a.npz", sha256=names, vectors=values)
    assert embeddings.import_file(workspace, path, encoder="ours").imported == 4
    assert search.search(workspace, search.Query(like=[ImageId(1)]))[0].image_id == 3
    index.open_index(workspace)


def test_an_import_of_nothing_is_an_error_and_leaves_no_encoder(
    workspace: Workspace, names: list[str], tmp_path: Path
) -> None:
    for arrays, complaint in (
        ({"sha256": ["f" * 64] * 4, "vectors": VALUES}, "4 belong to no image"),
        ({"sha256": names, "vectors": VALUES * np.nan}, "4 hold NaN"),
        ({"sha256": names, "vectors": VALUES * 0}, "4 are zero"),
        ({"sha256": np.array([], dtype="U64"), "vectors": VALUES[:0]}, "it is empty"),
    ):
        path = save(tmp_path / "a.npz", **arrays)
        with pytest.raises(InvalidInputError, match=complaint):
            embeddings.import_file(workspace, path, encoder="ours")
    with workspace.database.read() as session:
        assert session.scalar(select(func.count(Encoder.id))) == 0


def test_what_is_wrong_with_the_file_is_said(workspace: Workspace, names: list[str], tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no archive")
    np.save(tmp_path / "bare.npy", VALUES)
    (tmp_path / "lines.jsonl").write_text('{"uri": "a.png", "vector": [1, 2]}\n')
    (tmp_path / "empty.npz").touch()
    whole = save(tmp_path / "whole.npz", sha256=names, vectors=VALUES).read_bytes()
    (tmp_path / "torn.npz").write_bytes(whole[: len(whole) // 2])
    for path, complaint in (
        (tmp_path / "nothing.npz", "There is no file"),
        (tmp_path, "There is no file"),
        (tmp_path / "text.npz", "^[^:]* is not an .npz file with the arrays"),
        (tmp_path / "bare.npy", "^[^:]* is not an .npz file with the arrays"),
        (tmp_path / "lines.jsonl", "^[^:]* is not an .npz file with the arrays"),
        (tmp_path / "empty.npz", "^[^:]* is not an .npz file with the arrays"),
        (tmp_path / "torn.npz", "^[^:]* is not an .npz file with the arrays"),
        (save(tmp_path / "1.npz", vectors=VALUES), "holds vectors; it needs the arrays"),
        (save(tmp_path / "2.npz", sha256=names, uri=names, vectors=VALUES), "either sha256"),
        (save(tmp_path / "3.npz", sha256=names[:3], vectors=VALUES), r"of shape \(3,\), not 4 strings"),
        (save(tmp_path / "4.npz", sha256=names, vectors=VALUES[0]), "float32 of shape"),
        (save(tmp_path / "5.npz", sha256=[1, 2, 3, 4], vectors=VALUES), "not 4 strings"),
        (save(tmp_path / "6.npz", sha256=names, vectors=VALUES.astype(int)), "int64 of shape"),
        (save(tmp_path / "7.npz", sha256=np.array(names, dtype=object), vectors=VALUES), "of plain values"),
    ):
        with pytest.raises((InvalidInputError, NotFoundError), match=complaint):
            embeddings.import_file(workspace, path, encoder="ours")


def test_names_that_mean_something_else_are_refused(workspace: Workspace, names: list[str], tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", sha256=names, vectors=VALUES)
    for name in ("efficientnet-lite0", "hf:mine", "onnx:x.onnx"):
        with pytest.raises(ConflictError, match="computes its own vectors"):
            embeddings.import_file(workspace, path, encoder=name)
    embeddings.import_file(workspace, path, encoder="ours")
    wider = save(tmp_path / "b.npz", sha256=names, vectors=np.ones((4, 5), dtype=np.float32))
    with pytest.raises(ConflictError, match="vectors of 3 dimensions, these have 5"):
        embeddings.import_file(workspace, wider, encoder="ours")
