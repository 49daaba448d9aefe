"""What is in the catalog is decoded again whatever the limit of megapixels is now."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from api import image_files
from curation import contact_sheet, decode, duplicates
from curation.ingest import ingest
from store.schema import ImageId
from store.workspace import Workspace


@pytest.fixture
def low_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    for function in (decode.decode, decode.pixels_digest):
        monkeypatch.setitem(function.__kwdefaults__, "max_pixels", 1)


@pytest.fixture
def pictures(workspace: Workspace, tmp_path: Path, build: Any) -> list[ImageId]:
    """Three of 64 × 64 pixels, the first two equal in all of them."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, seed in (("a.png", 0), ("b.bmp", 0), ("c.png", 1)):
        values = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Pillow.fromarray(values).save(folder / name)
    ingest(workspace, [str(folder)])
    ids = [ImageId(i) for i in (1, 2, 3)]
    build.vectors(ids, np.array([[1, 0], [1, 0], [0.8, 0.6]], dtype=np.float32))
    return ids


def test_duplicates_are_proven(workspace: Workspace, pictures: list[ImageId], low_limit: None) -> None:
    summary = duplicates.scan(workspace)
    assert (summary.groups, summary.unreadable) == (1, [])
    with workspace.database.read() as session:
        ((_, _, members),) = duplicates.newest_groups(session)
    assert [member.kind for member in members][1:] == ["pixels"]


def test_a_contact_sheet_shows_them(workspace: Workspace, pictures: list[ImageId], low_limit: None) -> None:
    assert any(band.shown for band in contact_sheet.make(workspace).bands)


def test_thumbnails_of_every_size_are_made(workspace: Workspace, pictures: list[ImageId], low_limit: None) -> None:
    assert image_files.thumbnail(workspace, pictures[0], size=384).is_file()
