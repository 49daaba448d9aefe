"""What the probe sees of items: the vectors of their images, and which of them must not teach about each other."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy.orm import Session

from curation import splits
from curation.embed import find_encoder
from curation.index import open_directions
from curation.joins import Take
from sampling.head import Views
from store.arrays import Bools, Ints, Vectors
from store.workspace import Workspace


@dataclass(frozen=True)
class Seen:
    """N items under one encoder."""

    encoder: str  # its name
    has_vector: Bools  # (N,)
    tied: Ints  # (N,) the component of each image, see curation.splits; of its own where it shows none of the catalog
    take: Take  # gives the centred unit vectors at positions; zeros where there is none

    @property
    def model(self) -> str:
        """What the posterior hears beside the people, in words."""
        return f"probe on {self.encoder}"

    def views(self) -> Views:
        """The views of all items."""
        return Views.of(self.take, len(self.has_vector))


def of_images(
    workspace: Workspace, session: Session, image_ids: Sequence[int | None], *, encoder: str | None = None
) -> Seen:
    """Items by the images they show, the same one as often as it is an item.

    Args:
        workspace: holds the vectors.
        session: reads the catalog.
        image_ids: of each item; none where there is no image.
        encoder: its name; by default see `curation.embed.find_encoder`.

    Raises:
        NotFoundError: nothing is embedded.
        IntegrityError: vectors are missing on disk.
    """
    row = find_encoder(session, encoder)
    directions = open_directions(workspace, session, row)
    catalog = splits.read(session)
    component_of: dict[int | None, int] = dict(zip(catalog.image_ids, catalog.components.tolist(), strict=True))
    row_of: dict[int | None, int] = {image_id: i for i, image_id in enumerate(directions.image_ids.tolist())}
    rows = np.array([row_of.get(image_id, -1) for image_id in image_ids], dtype=np.int64)
    alone = len(catalog.image_ids)
    tied = [component_of.get(image_id, alone + i) for i, image_id in enumerate(image_ids)]

    def take(positions: Ints) -> Vectors:
        wanted = rows[positions]
        found = directions.take(np.maximum(wanted, 0))
        found[wanted < 0] = 0
        return found

    return Seen(row.name, rows >= 0, np.array(tied, dtype=np.int64), take)
