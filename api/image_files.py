"""The file behind a catalog image, for a browser: as it was ingested, as a PNG, or as a thumbnail."""

import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curation import bare, decode, originals
from curation.bare import NotBareError
from curation.originals import Original
from store.errors import InvalidInputError, NotFoundError
from store.schema import ImageId
from store.workspace import Workspace

if TYPE_CHECKING:
    from PIL.Image import Image

THUMBNAIL_SIZES = (96, 192, 384, 1024)  # pixels of the longer side


@dataclass(frozen=True)
class Shown:
    """Bytes that a browser shows, and their content type."""

    data: bytes
    media_type: str


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


def shown(workspace: Workspace, image_id: ImageId) -> Shown:
    """An image without what its file says of where, when and by whom it was taken.

    Of a JPEG, PNG or WebP the coded pixels are its own; of all else it is a PNG of the same size, upright, in sRGB with
    8 bits a channel, made once.

    Raises:
        NotFoundError: there is no such image, or its file is gone and there is no PNG of it yet.
        UndecodableError: a PNG cannot be made.
    """
    found = original(workspace, image_id)
    if found.format in bare.FORMATS:
        data = found.read()
        with suppress(NotBareError):
            way_up = decode.orientation(data, max_pixels=found.max_pixels)
            bytes_ = bare.without_metadata(data, found.format, orientation=way_up)
            return Shown(bytes_, f"image/{found.format.lower()}")
    path = workspace.renditions_dir / f"{found.sha256}.png"
    if not path.exists():
        _write(path, _picture(found), format="PNG", compress_level=1)  # a fifth larger, in a quarter of the time
    return Shown(path.read_bytes(), "image/png")


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
        picture = _picture(found)
        picture.thumbnail((size, size))
        picture.info.pop("comment", None)  # Pillow would write it again
        _write(path, picture, format="JPEG", quality=85)
    return path


def _picture(original: Original) -> "Image":
    return decode.decode(original.read(), max_pixels=original.max_pixels).picture


def _write(path: Path, picture: "Image", **options: Any) -> None:
    """Write beside and rename, so that nobody reads half a picture."""
    path.parent.mkdir(exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            picture.save(file, **options)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
