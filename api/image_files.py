"""The bytes behind a catalog image: as they were ingested, or as a thumbnail."""

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from store.errors import InvalidInputError, NotFoundError
from store.schema import Image, ImageId, Sighting
from store.workspace import Workspace

THUMBNAIL_SIZES = (96, 192, 384)  # pixels of the longer side


@dataclass(frozen=True)
class Original:
    """An image file's own bytes, checked against the catalog's sha256."""

    sha256: str
    data: bytes
    media_type: str


def original(workspace: Workspace, image_id: ImageId) -> Original:
    """Read an image from its newest current sighting that still holds the same bytes.

    Raises:
        NotFoundError: there is no such image, or no file holds it any longer.
    """
    from PIL import Image as Pillow

    with workspace.database.read() as session:
        image = session.get(Image, image_id)
        sightings = (
            select(Sighting.uri)
            .where(Sighting.image_id == image_id, Sighting.current)
            .order_by(Sighting.seen_at.desc(), Sighting.id.desc())
        )
        uris = session.scalars(sightings).all()
    if image is None:
        raise NotFoundError(f"There is no image {image_id} in this catalog.")
    Pillow.init()  # makes Pillow know every format's media type
    media_type = Pillow.MIME.get(image.format, "application/octet-stream")
    for uri in uris:
        try:
            data = Path(uri).read_bytes()
        except OSError:
            continue
        if hashlib.sha256(data).hexdigest() == image.sha256:
            return Original(image.sha256, data, media_type)
    raise NotFoundError(
        f"The file of image {image_id} is gone or has changed at all {len(uris)} places it was seen. "
        "Put it back, or ingest it from where it is now."
    )


def thumbnail(workspace: Workspace, image_id: ImageId, *, size: int) -> Path:
    """A JPEG no larger than `size` by `size` pixels, upright; made once.

    Raises:
        InvalidInputError: `size` is not one of `THUMBNAIL_SIZES`.
        NotFoundError: there is no such image, or its file is gone and it has no thumbnail yet.
    """
    if size not in THUMBNAIL_SIZES:
        raise InvalidInputError(f"Thumbnails come in {', '.join(map(str, THUMBNAIL_SIZES))} pixels, not {size}.")
    with workspace.database.read() as session:
        sha256 = session.scalar(select(Image.sha256).where(Image.id == image_id))
    path = workspace.thumbnails_dir / f"{sha256}-{size}.jpg"
    if not path.exists():
        _write(path, original(workspace, image_id).data, size)
    return path


def _write(path: Path, data: bytes, size: int) -> None:
    """Write beside and rename, so that nobody reads half a thumbnail."""
    from curation.decode import decode

    picture = decode(data).picture
    picture.thumbnail((size, size))
    path.parent.mkdir(exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            picture.save(file, "JPEG", quality=85)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
