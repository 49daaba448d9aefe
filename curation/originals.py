"""The bytes behind a catalog image, read from wherever it was last seen and checked against its name."""

import hashlib
import os
import tempfile
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from curation import uris
from curation.decode import MAX_PIXELS
from store.errors import NotFoundError
from store.schema import Image, ImageId, Sighting


@dataclass(frozen=True)
class Original:
    """An image and the places it may be read from: where it was not missed first, then newest first."""

    image_id: ImageId
    sha256: str
    format: str
    pixels: int
    uris: tuple[str, ...]

    @property
    def max_pixels(self) -> int:
        """The limit to decode it with: what was let into the catalog stays readable."""
        return max(MAX_PIXELS, self.pixels)

    def exists(self) -> bool:
        """Whether any of its files is there; `read` also looks inside."""
        return any(uris.exists(uri) for uri in self.uris)

    def read(self) -> bytes:
        """The bytes with this sha256.

        Raises:
            NotFoundError: no file holds them any longer.
        """
        return self._find()[1]

    def locate(self, folder: Path) -> Path:
        """A file that holds just the bytes with this sha256 now.

        It is the one that was seen; where there is none, the bytes being behind a URL or inside an archive or
        video, it is a copy in `folder`, written at the first call.

        Raises:
            NotFoundError: there is none any longer.
        """
        copy = folder / f"{self.sha256}.{self.format.lower()}"
        if (
            not any(uris.is_local_file(uri) for uri in self.uris)
            and copy.is_file()
            and _digest(copy.read_bytes()) == self.sha256
        ):
            return copy
        uri, data = self._find()
        if uris.is_local_file(uri):
            return Path(uri)
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=folder, suffix=".part")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            os.replace(name, copy)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return copy

    def _find(self) -> tuple[str, bytes]:
        for uri in self.uris:
            try:
                data, _ = uris.read(uri)
            except OSError:
                continue
            if _digest(data) == self.sha256:
                return uri, data
        raise NotFoundError(
            f"The file of image {self.image_id} is gone or has changed at all {len(self.uris)} places it was seen. "
            "Put it back, or ingest it from where it is now."
        )


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def find(session: Session, image_ids: Collection[ImageId] | None = None) -> list[Original]:
    """The originals of `image_ids`, or of every image; ordered by sha256, unknown ids left out."""
    images = select(Image.id, Image.sha256, Image.format, Image.width * Image.height).order_by(Image.sha256)
    sightings = (
        select(Sighting.image_id, Sighting.uri)
        .where(Sighting.current)
        .order_by(Sighting.missing, Sighting.seen_at.desc(), Sighting.id.desc())
    )
    if image_ids is not None and len(image_ids) <= 500:  # a few: let SQL choose; many: read all and choose here
        images = images.where(Image.id.in_(image_ids))
        sightings = sightings.where(Sighting.image_id.in_(image_ids))
    wanted = None if image_ids is None else set(image_ids)
    uris: defaultdict[int, list[str]] = defaultdict(list)
    for image_id, uri in session.execute(sightings):
        uris[image_id].append(uri)
    return [
        Original(ImageId(image_id), sha256, file_format, pixels, tuple(uris[image_id]))
        for image_id, sha256, file_format, pixels in session.execute(images)
        if wanted is None or image_id in wanted
    ]
