"""The nearest images of a query: pictures, texts and images of the catalog, for and against.

Cosines are of centred vectors, so that unrelated images have one near 0 whatever the collection. Small collections
and filtered searches compare every permitted vector; a large collection asks its index (curation.ivf) which rows to
compare, and compares the rows that came after the index too. Vectors stay mapped on disk.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from curation import encoders, ivf
from curation.decode import decode
from curation.embed import find_encoder
from store.arrays import Floats, Ints, Vectors
from store.database import batched
from store.errors import ConflictError, InvalidInputError, NotFoundError
from store.schema import Encoder, Image, ImageId, Sighting
from store.vectors import VectorFile
from store.workspace import Workspace

_BLOCK = 1 << 11  # rows copied out of the mapped file at once: into memory that is used again, near the processor
_DENSE = 2  # where one row in so many is wanted, reading all of them in order is faster
_LARGEST_ID = 2**63 - 1


@dataclass(frozen=True)
class Query:
    """What to be near, and what to be far from."""

    like: Sequence[ImageId] = ()
    unlike: Sequence[ImageId] = ()
    pictures: Sequence[bytes] = ()  # image files
    texts: Sequence[str] = ()


@dataclass(frozen=True)
class Neighbour:
    """An image near the query."""

    image_id: ImageId
    cosine: float  # of the centred vectors, 1 is the same direction


class Searcher:
    """The vectors of one encoder, opened for queries; what is embedded later is seen by the next one opened."""

    def __init__(self, workspace: Workspace, session: Session, encoder: Encoder) -> None:
        """Raises: IntegrityError: vectors are missing on disk, or hold NaN."""
        self.encoder = encoder
        stored = VectorFile(workspace.vectors_dir, encoder).open(session)
        self.image_ids = stored.image_ids  # (rows,), -1 in a gap
        self._values = stored.values
        self._trained = ivf.load(workspace, encoder, len(self.image_ids))
        self._indexed = self._trained.report.rows if self._trained else 0
        present = np.flatnonzero(self.image_ids >= 0)
        tail = present[np.searchsorted(present, self._indexed) :]
        if self._trained is None:
            self._mean, self._inverse_norms = ivf.centre(self._values, present)
        else:
            self._mean = self._trained.mean
            _, newer = ivf.centre(self._values, tail, self._mean)
            newer[: self._indexed] = self._trained.inverse_norms
            self._inverse_norms = newer
        self._present = present
        self._tail = tail  # rows that came after the index

    def directions(self, image_ids: Sequence[int]) -> Vectors:
        """The centred unit vectors `(n, D)` of images.

        Raises:
            NotFoundError: one is not embedded.
        """
        rows = np.empty(len(image_ids), dtype=np.int64)
        for position, image_id in enumerate(image_ids):
            found = self.rows_of(np.array([image_id])) if 0 < image_id <= _LARGEST_ID else np.empty(0, np.int64)
            if len(found) == 0:
                raise NotFoundError(f"Image {image_id} is not embedded with {self.encoder.name}. Run: winnow embed.")
            rows[position] = found[0]
        return ivf.directions(self._values, rows, self._mean, self._inverse_norms)

    def centred(self, vectors: Vectors) -> Vectors:
        """New vectors `(n, D)` of this encoder as centred unit vectors."""
        return unit(vectors - self._mean)

    def rows_of(self, image_ids: Ints) -> Ints:
        """The rows, ascending, of those of `image_ids` that are embedded."""
        ordered, rows = self._by_image
        wanted = np.unique(image_ids[image_ids >= 0])
        places = np.searchsorted(ordered, wanted)
        there = places < len(ordered)
        there[there] = ordered[places[there]] == wanted[there]
        return np.sort(rows[places[there]])

    @cached_property
    def _by_image(self) -> tuple[Ints, Ints]:
        """The image ids, ascending, and the row of each; those of gaps first."""
        rows = np.argsort(self.image_ids, kind="stable")
        return self.image_ids[rows], rows

    def nearest(self, query: Vectors, k: int, *, among: Ints | None = None) -> tuple[Ints, Floats]:
        """The rows nearest to the unit vector `query` `(D,)`, and their cosines, the nearest first, then by row.

        `among` names the only rows `(n,)` permitted, which are all compared: a filter never costs recall.
        """
        rows = self._present if among is None else among
        if among is None and self._trained is not None and ivf.reaches(self._trained, k):
            proposed = ivf.propose(self._trained, query[None])[0]
            alive = proposed[(proposed >= 0) & (self.image_ids[proposed] >= 0)]
            rows = np.concatenate([np.sort(alive), self._tail])
        cosines = exact_cosines(self._values, rows, query, self._mean, self._inverse_norms)
        best: Ints = np.arange(len(rows))
        if k < len(rows):
            best = np.flatnonzero(cosines >= -np.partition(-cosines, k - 1)[k - 1])  # with what ties with the last
        best = best[np.argsort(-cosines[best], kind="stable")][:k]
        return rows[best], cosines[best]


def search(
    workspace: Workspace, query: Query, *, k: int = 10, encoder: str | None = None, among: Ints | None = None
) -> list[Neighbour]:
    """The `k` images nearest to a query, those in it left out, and those whose files have all gone.

    Of several examples the mean of the unit vectors counts, those of `unlike` subtracted: an image scores by its mean
    cosine to the one kind less its mean cosine to the other. `among` are the only image ids permitted. Texts are not
    centred: they lie apart from the pictures they describe, and only their direction matters. Ties go to the image
    that was embedded first.

    Raises:
        NotFoundError: nothing is embedded, or an image of the query is not, or does not exist.
        InvalidInputError: the query is empty or cancels out, a picture is no image, or the encoder reads no text.
        ConflictError: the encoder of this name is another one by now, so that no new picture can be compared.
    """
    if not (query.like or query.pictures or query.texts):
        raise InvalidInputError("Say what to be near: an image of the catalog, a picture or a text.")
    with workspace.database.read() as session:
        row = find_encoder(session, encoder)
        session.expunge(row)
        _check_known(session, [*query.like, *query.unlike])
        searcher = Searcher(workspace, session, row)
    positives = [searcher.directions(query.like)]
    if query.pictures or query.texts:
        network = _network(workspace, row)
        if query.pictures:
            decoded = [decode(data, detail=network.preprocessing.detail).picture for data in query.pictures]
            encoded = network.encode(np.stack([network.prepare(picture) for picture in decoded]))
            positives.append(searcher.centred(_checked(encoded, row)))
        if query.texts:
            positives.append(unit(_checked(network.encode_text(query.texts), row)))
    direction = combined(np.concatenate(positives), searcher.directions(query.unlike))
    rows = None if among is None else searcher.rows_of(among)
    named = {*query.like, *query.unlike}
    wanted = min(k, len(searcher.image_ids))
    while True:
        asked = wanted + len(named)
        near, cosines = searcher.nearest(direction, asked, among=rows)
        image_ids = searcher.image_ids[near].tolist()
        with workspace.database.read() as session:
            seen = _seen(session, image_ids)
        kept = [
            Neighbour(ImageId(image_id), float(cosine))
            for image_id, cosine in zip(image_ids, cosines, strict=True)
            if image_id in seen and image_id not in named
        ]
        if len(kept) >= k or len(near) < asked:
            return kept[:k]
        wanted *= 4  # many near it have gone: look further


def combined(positives: Vectors, negatives: Vectors) -> Vectors:
    """The unit vector `(D,)` towards the mean of unit vectors `(P, D)`, away from that of `(N, D)`.

    Raises:
        InvalidInputError: they cancel out.
    """
    direction = positives.mean(axis=0)
    if len(negatives):
        direction = direction - negatives.mean(axis=0)
    if np.linalg.norm(direction) < 1e-4:
        raise InvalidInputError("The examples cancel each other out: the query has no direction.")
    found: Vectors = unit(direction[None])[0]
    return found


def unit(vectors: Vectors) -> Vectors:
    """Rows `(n, D)` at length 1; a row of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)


def exact_cosines(values: Floats, rows: Ints, query: Vectors, mean: Vectors, inverse_norms: Vectors) -> Vectors:
    """The cosines `(n,)` of `query` `(D,)` with the centred `rows` of `values`, which are never all copied."""
    dots = np.empty(len(rows), dtype=np.float32)
    if _DENSE * len(rows) > len(values) and values.dtype == np.float32:
        with np.errstate(all="ignore"):  # whatever a gap holds is not looked at
            dots = np.matmul(values, query)[rows]  # straight from the mapped file
    else:
        copied = np.empty((min(_BLOCK, len(rows)), values.shape[1]), dtype=values.dtype)
        for start in range(0, len(rows), _BLOCK):
            wanted = rows[start : start + _BLOCK]
            block = np.take(values, wanted, axis=0, out=copied[: len(wanted)], mode="clip")  # "raise" copies once more
            np.matmul(block.astype(np.float32, copy=False), query, out=dots[start : start + _BLOCK])
    return np.clip((dots - mean @ query) * inverse_norms[rows], -1, 1)


def _network(workspace: Workspace, row: Encoder) -> encoders.ImageEncoder:
    """The encoder that made the vectors, or the reason why new pictures cannot be compared with them."""
    try:
        network = encoders.get(row.name, workspace.models_dir)
    except NotFoundError as error:
        raise NotFoundError(
            f"{error} Its vectors can be searched by images of the catalog only, or name another with --encoder."
        ) from error
    if network.digest != row.digest:
        raise ConflictError(
            f"The vectors of {row.name} were made with other weights or preprocessing than it has now. "
            "Run: winnow embed, or search by images of the catalog."
        )
    return network


def _check_known(session: Session, image_ids: Sequence[ImageId]) -> None:
    for image_id in image_ids:
        if not 0 < image_id <= _LARGEST_ID or session.get(Image, image_id) is None:
            raise NotFoundError(f"There is no image {image_id}. See: winnow images list.")


def _checked(vectors: Vectors, row: Encoder) -> Vectors:
    if vectors.shape[1] != row.dimensions or not np.isfinite(vectors).all():
        raise InvalidInputError(
            f"{row.name} gives {vectors.shape[1]} numbers, some NaN or infinite or not the {row.dimensions} expected."
        )
    return vectors


def _seen(session: Session, image_ids: Sequence[int]) -> set[int]:
    """Those of which at least one file was there when last looked for."""
    found: set[int] = set()
    for some in batched(image_ids):
        there = select(Sighting.image_id).where(
            Sighting.image_id.in_(some), Sighting.current, Sighting.missing.is_(False)
        )
        found |= set(session.scalars(there))
    return found
