"""The bytes behind a catalog image, read from wherever it was last seen and checked against its name."""

import hashlib
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from store.errors import NotFoundError
from store.schema import Image, ImageId, Sighting


@dataclass(frozen=True)
class Original:
    """An image and the places it may be read from, newest first."""

    image_id: ImageId
    sha256: str
    format: str
    uris: tuple[str, ...]

    def exists(self) -> bool:
        """Whether any of its files is there; `read` also looks inside."""
        return any(Path(uri).is_file() for uri in self.uris)

    def read(self) -> bytes:
        """The bytes with this sha256.

        Raises:
            NotFoundError: no file holds them any longer.
        """
        return self._find()[1]

    def locate(self) -> Path:
        """The file that holds the bytes with this sha256 now.

        Raises:
            NotFoundError: there is none any longer.
        """
        return self._find()[0]

    def _find(self) -> tuple[Path, bytes]:
        for uri in self.uris:
            try:
                data = Path(uri).read_bytes()
            except OSError:
                continue
            if hashlib.sha256(data).hexdigest() == self.sha256:
                return Path(uri), data
        raise NotFoundError(
            f"The file of image {self.image_id} is gone or has changed at all {len(self.uris)} places it was seen. "
            "Put it back, or ingest it from where it is now."
        )


def find(session: Session, image_ids: Collection[ImageId] | None = None) -> list[Original]:
    """The originals of `image_ids`, or of every image; ordered by sha256, unknown ids left out."""
    images = select(Image.id, Image.sha256, Image.format).order_by(Image.sha256)
    sightings = (
        select(Sighting.image_id, Sighting.uri)
        .where(Sighting.current)
        .order_by(Sighting.seen_at.desc(), Sighting.id.desc())
    )
    if image_ids is not None and len(image_ids) <= 500:  # a few: let SQL choose; many: read all and choose here
        images = images.where(Image.id.in_(image_ids))
        sightings = sightings.where(Sighting.image_id.in_(image_ids))
    wanted = None if image_ids is None else set(image_ids)
    uris: defaultdict[int, list[str]] = defaultdict(list)
    for image_id, uri in session.execute(sightings):
        uris[image_id].append(uri)
    return [
        Original(ImageId(image_id), sha256, file_format, tuple(uris[image_id]))
        for image_id, sha256, file_format in session.execute(images)
        if wanted is None or image_id in wanted
    ]
