"""The file behind a catalog image, for a browser: as it was ingested, or as a thumbnail."""

import os
import tempfile
from pathlib import Path

from curation import originals
from curation.originals import Original
from store.errors import InvalidInputError, NotFoundError
from store.schema import ImageId
from store.workspace import Workspace

THUMBNAIL_SIZES = (96, 192, 384)  # pixels of the longer side


def original(workspace: Workspace, image_id: ImageId) -> Original:
    """Where an image's own bytes may be read.

    Raises:
        NotFoundError: there is no such image.
    """
    with workspace.database.read() as session:
        found = originals.find(session, [image_id])
    if not found:
        raise NotFoundError(f"There is no image {image_id} in this catalog.")
    return found[0]


def media_type(original: Original) -> str:
    """The content type of an image's bytes, whatever their file is called."""
    from PIL import Image

    Image.init()  # makes Pillow know every format
    return Image.MIME.get(original.format, "application/octet-stream")


def thumbnail(workspace: Workspace, image_id: ImageId, *, size: int) -> Path:
    """A JPEG no larger than `size` by `size` pixels, upright; made once.

    Raises:
        InvalidInputError: `size` is not one of `THUMBNAIL_SIZES`.
        NotFoundError: there is no such image, or its file is gone and it has no thumbnail yet.
    """
    if size not in THUMBNAIL_SIZES:
        raise InvalidInputError(f"Thumbnails come in {', '.join(map(str, THUMBNAIL_SIZES))} pixels, not {size}.")
    found = original(workspace, image_id)
    path = workspace.thumbnails_dir / f"{found.sha256}-{size}.jpg"
    if not path.exists():
        _write(path, found, size)
    return path


def _write(path: Path, original: Original, size: int) -> None:
    """Write beside and rename, so that nobody reads half a thumbnail."""
    from curation.decode import decode

    picture = decode(original.read(), max_pixels=original.max_pixels).picture
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
