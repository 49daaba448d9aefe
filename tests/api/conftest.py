"""Photos on disk that the catalog knows, and a client of the service."""

import hashlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow
from sqlalchemy import select

from api.app import create_app
from curation import decode
from store import schema
from store.schema import ImageId
from store.workspace import Workspace

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it would rather have httpx2, which no index of ours carries
    from fastapi.testclient import TestClient


class Photos:
    """Puts photos into a folder and into the catalog."""

    def __init__(self, workspace: Workspace, folder: Path) -> None:
        self.workspace = workspace
        self.folder = folder

    def add(self, name: str, colour: str = "navy", *, size: tuple[int, int] = (40, 30), **options: Any) -> ImageId:
        """Write a photo of one colour and catalog it."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Pillow.new("RGB", size, colour).save(path, **options)
        return self.sight(path)

    def sight(self, path: Path) -> ImageId:
        """Catalog a file: an image if its content is new, and a sighting."""
        data = path.read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        with self.workspace.database.write() as session:
            image = session.scalar(select(schema.Image).where(schema.Image.sha256 == sha256))
            if image is None:
                found = decode.fingerprint(data)
                image = schema.Image(
                    sha256=sha256,
                    pixels_sha256=sha256,
                    phash=sha256[:16],
                    width=found.width,
                    height=found.height,
                    format=found.format,
                    bytes=len(data),
                )
                session.add(image)
                session.flush()
            session.add(
                schema.Sighting(
                    image_id=image.id,
                    uri=str(path),
                    source="photos",
                    details={},
                    bytes=len(data),
                    modified_ns=path.stat().st_mtime_ns,
                )
            )
            return ImageId(image.id)


@pytest.fixture
def photos(workspace: Workspace, tmp_path: Path) -> Photos:
    return Photos(workspace, tmp_path / "photos")


@pytest.fixture
def client(workspace: Workspace) -> Iterator[TestClient]:
    app = create_app(workspace)
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 1)) as client:
        yield client
