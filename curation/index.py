"""The embedding index: nearest images by cosine, exact, in FAISS."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from curation.embed import newest_encoder
from store import vectors
from store.arrays import Floats, Ints, Vectors
from store.errors import NotFoundError
from store.schema import Encoder, ImageId
from store.workspace import Workspace


@dataclass(frozen=True)
class Neighbour:
    """An image near the query."""

    image_id: ImageId
    cosine: float  # of the centred vectors, 1 is the same direction


class Index:
    """Images of one encoder, searched by the cosine of their centred vectors.

    Centring removes what all images of a collection share, so that unrelated ones have a cosine
    near 0 whatever the collection.
    """

    def __init__(self, image_ids: Ints, values: Vectors) -> None:
        """Args: ids `(N,)` and vectors `(N, D)` float32, aligned."""
        import faiss

        self.image_ids = image_ids
        self._mean = values.mean(axis=0) if len(values) else np.zeros(values.shape[1], dtype=np.float32)
        self.directions = self._direct(values)
        self._faiss: Any = faiss.IndexFlatIP(values.shape[1])
        self._faiss.add(self.directions)

    def search(self, query: Vectors, k: int) -> tuple[Ints, Floats]:
        """The `k` nearest of each query `(Q, D)`: positions `(Q, k)`, -1 where there are fewer, and cosines."""
        return self.search_directions(self._direct(query), k)

    def search_directions(self, query: Vectors, k: int) -> tuple[Ints, Floats]:
        """Like `search`, for queries centred and normalised already, such as rows of `directions`."""
        cosines, positions = self._faiss.search(query, k)
        return positions, cosines

    def _direct(self, values: Vectors) -> Vectors:
        centred = np.ascontiguousarray(values - self._mean, dtype=np.float32)
        directions: Vectors = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
        return directions


def open_index(workspace: Workspace, encoder: str | None = None) -> tuple[Encoder, Index]:
    """The index over everything `encoder` (the newest by default) has seen, ordered by sha256.

    Raises:
        NotFoundError: nothing is embedded.
        IntegrityError: vectors are missing on disk.
    """
    with workspace.database.read() as session:
        row = newest_encoder(session, encoder)
        index = Index(*vectors.load(workspace.vectors_dir, session, row))
        session.expunge(row)
    return row, index


def like(workspace: Workspace, image_id: ImageId, *, k: int = 10) -> list[Neighbour]:
    """The `k` images nearest to one of the catalog, itself left out.

    Raises:
        NotFoundError: the image is not there or not embedded.
    """
    _, index = open_index(workspace)
    position = np.flatnonzero(index.image_ids == image_id)
    if len(position) == 0:
        raise NotFoundError(f"Image {image_id} is not embedded. Run: winnow embed.")
    positions, cosines = index.search_directions(index.directions[position], min(k + 1, len(index.image_ids)))
    return [near for near in _neighbours(index, positions[0], cosines[0]) if near.image_id != image_id][:k]


def like_picture(workspace: Workspace, data: bytes, *, k: int = 10) -> list[Neighbour]:
    """The `k` images nearest to the picture in `data`, which need not be in the catalog.

    Raises:
        UndecodableError: `data` is no image.
        NotFoundError: nothing is embedded.
    """
    from curation import encoders
    from curation.decode import decode

    row, index = open_index(workspace)
    network = encoders.get(row.name, workspace.models_dir)
    query = network.encode(network.prepare(decode(data).picture)[None])
    positions, cosines = index.search(query, min(k, len(index.image_ids)))
    return _neighbours(index, positions[0], cosines[0])


def _neighbours(index: Index, positions: Ints, cosines: Floats) -> list[Neighbour]:
    return [
        Neighbour(ImageId(int(index.image_ids[position])), float(cosine))
        for position, cosine in zip(positions, cosines, strict=True)
        if position >= 0
    ]
