"""All vectors of one encoder in memory as directions, for what looks at the whole collection at once.

For the nearest images of a query, see curation.search, which leaves the vectors where they are.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from curation import ivf
from curation.embed import find_encoder
from curation.joins import Take
from store import vectors
from store.arrays import Floats, Ints, Vectors
from store.errors import IntegrityError
from store.schema import Embedding, Encoder, Image
from store.workspace import Workspace

_BLOCK = 1 << 14  # rows whose squares are in memory at once


class Index:
    """Images of one encoder, searched by the cosine of their centred vectors.

    Centring removes what all images of a collection share, so that unrelated ones have a cosine
    near 0 whatever the collection.
    """

    def __init__(self, image_ids: Ints, values: Vectors) -> None:
        """Args: ids `(N,)` and vectors `(N, D)` float32, aligned; centred in a copy.

        Raises:
            IntegrityError: a vector holds NaN or infinity.
        """
        self.image_ids = image_ids
        with np.errstate(all="ignore"):  # said below
            mean = values.mean(axis=0) if len(values) else np.zeros(values.shape[1], dtype=np.float32)
        if not np.isfinite(mean).all():
            raise IntegrityError("Vectors on disk hold NaN or infinity. Run: winnow verify --repair.")
        self.directions: Vectors = values - mean
        for start in range(0, len(values), _BLOCK):
            block = self.directions[start : start + _BLOCK]
            norms = np.linalg.norm(block, axis=1, keepdims=True)
            block /= np.maximum(norms, 1e-12)

    def search_directions(self, query: Vectors, k: int) -> tuple[Ints, Floats]:
        """The `k` nearest of each query `(Q, D)`, centred and normalised such as rows of `directions`.

        Returns:
            Positions `(Q, k)`, -1 where there are fewer, and cosines.
        """
        import faiss

        cosines, positions = faiss.knn(query, self.directions, k, metric=faiss.METRIC_INNER_PRODUCT)
        return positions, cosines


def open_index(workspace: Workspace, encoder: str | None = None) -> tuple[Encoder, Index]:
    """The index over everything `encoder` (by default see `embed.find_encoder`) has seen, ordered by sha256.

    Raises:
        NotFoundError: nothing is embedded.
        IntegrityError: vectors are missing on disk.
    """
    with workspace.database.read() as session:
        row = find_encoder(session, encoder)
        index = Index(*vectors.load(workspace.vectors_dir, session, row))
        session.expunge(row)
    return row, index


@dataclass(frozen=True)
class Directions:
    """Some images of one encoder, and their vectors where they lie on disk."""

    image_ids: Ints  # (N,), ordered by sha256
    take: Take  # gives the centred unit vectors at positions


def open_directions(
    workspace: Workspace, session: Session, encoder: Encoder, *, among: AbstractSet[int] | None = None
) -> Directions:
    """The images that `encoder` has seen, only those `among` a set if one is given, centred on their own mean.

    Raises:
        IntegrityError: vectors are missing on disk, or hold NaN.
    """
    stored = vectors.VectorFile(workspace.vectors_dir, encoder).open(session)
    by_sha256 = select(Embedding.row).join(Image, Image.id == Embedding.image_id).order_by(Image.sha256)
    rows = np.fromiter(session.scalars(by_sha256.where(Embedding.encoder_id == encoder.id)), dtype=np.int64)
    if among is not None:
        rows = rows[np.isin(stored.image_ids[rows], list(among))]
    mean, inverse_norms = ivf.centre(stored.values, np.sort(rows))
    return Directions(
        stored.image_ids[rows],
        lambda positions: ivf.directions(stored.values, rows[positions], mean, inverse_norms),
    )
