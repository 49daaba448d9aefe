"""The embedding pipeline and the index over what it wrote."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from curation import embed, encoders, index, integrity
from curation.ingest import ingest
from store.errors import NotFoundError
from store.schema import ImageId
from store.workspace import Workspace


class MeanColour:
    """An encoder anyone can check by hand."""

    name = encoders.DEFAULT
    dimensions = 3
    digest = "c" * 64

    def prepare(self, picture: Pillow.Image) -> np.ndarray:
        return np.asarray(picture, dtype=np.float32).transpose(2, 0, 1)[:, :4, :4].copy()

    def encode(self, inputs: np.ndarray) -> np.ndarray:
        return inputs.mean(axis=(2, 3))


@pytest.fixture
def photos(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five flat pictures in the catalog: red, nearly red, green, blue, nearly blue."""
    monkeypatch.setattr(encoders, "get", lambda name, models_dir: MeanColour())
    folder = tmp_path / "photos"
    folder.mkdir()
    colours = [(200, 0, 0), (190, 10, 0), (0, 200, 0), (0, 0, 200), (0, 10, 190)]
    for position, colour in enumerate(colours):
        Pillow.new("RGB", (6, 5), colour).save(folder / f"{position}.png")
    ingest(workspace, [str(folder)])
    return folder


def test_everything_is_embedded_once(workspace: Workspace, photos: Path) -> None:
    assert embed.embed(workspace).embedded == 5
    again = embed.embed(workspace)
    assert (again.embedded, again.already) == (0, 5)


def test_a_missing_file_is_said_and_embedded_once_it_is_back(
    workspace: Workspace, photos: Path, tmp_path: Path
) -> None:
    shutil.move(photos / "0.png", tmp_path / "0.png")
    summary = embed.embed(workspace)
    assert summary.embedded == 4
    assert len(summary.unreadable) == 1
    shutil.move(tmp_path / "0.png", photos / "0.png")
    assert embed.embed(workspace).embedded == 1


def test_an_empty_catalog_says_what_to_do_first(workspace: Workspace) -> None:
    with pytest.raises(NotFoundError, match="First run: winnow ingest"):
        embed.embed(workspace)
    with pytest.raises(NotFoundError, match="First run: winnow embed"):
        index.open_index(workspace)


def test_the_nearest_of_red_is_nearly_red(workspace: Workspace, photos: Path) -> None:
    embed.embed(workspace)
    first, *_ = index.like(workspace, ImageId(1), k=4)
    assert first.image_id == 2
    assert len(index.like(workspace, ImageId(1), k=99)) == 4
    assert [near.image_id for near in index.like_picture(workspace, (photos / "3.png").read_bytes(), k=2)] == [4, 5]
    with pytest.raises(NotFoundError, match="Image 77 is not embedded"):
        index.like(workspace, ImageId(77))


def test_search_equals_brute_force(build: Any, workspace: Workspace) -> None:
    values = np.random.default_rng(0).normal(size=(60, 8)) + 5
    ids = build.images(60)
    build.vectors(ids, values)
    centred = values - values.mean(axis=0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    for position in (0, 17, 59):
        cosines = centred @ centred[position]
        cosines[position] = -2
        expected = [ids[i] for i in np.argsort(-cosines)[:5]]
        assert [near.image_id for near in index.like(workspace, ids[position], k=5)] == expected


def test_damaged_vectors_are_found_and_computed_again(workspace: Workspace, photos: Path) -> None:
    embed.embed(workspace)
    assert all(check.ok for check in integrity.verify(workspace))
    (path,) = workspace.vectors_dir.iterdir()
    path.write_bytes(b"\0" * path.stat().st_size)
    broken = [check for check in integrity.verify(workspace) if not check.ok]
    assert [check.name for check in broken] == [f"vectors of {encoders.DEFAULT}"]
    assert "5 of 5 vectors are missing or damaged" in broken[0].detail
    assert all(check.ok for check in integrity.verify(workspace, repair=True))
    assert all(check.ok for check in integrity.verify(workspace))
    path.unlink()
    assert not all(check.ok for check in integrity.verify(workspace))
    assert all(check.ok for check in integrity.verify(workspace, repair=True))


def test_a_missing_picture_is_a_finding(workspace: Workspace, photos: Path) -> None:
    embed.embed(workspace)
    (photos / "2.png").unlink()
    broken = [check for check in integrity.verify(workspace) if not check.ok]
    assert [check.name for check in broken] == ["files"]
    assert "1 of 5 images are gone" in broken[0].detail
