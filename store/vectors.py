"""Append-only vectors on disk, memory-mapped, one growing file per encoder.

Rows are written and synced first and recorded in the catalog after, so a row that the catalog
names is always whole. Whatever lies past the last recorded row was never accepted: the next
append cuts it off. Rows of a block that was forgotten because it was damaged stay as a gap.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import String, cast, delete, func, insert, select
from sqlalchemy.orm import Session

from store import fail_points
from store.arrays import Bools, Floats, Ints, Vectors
from store.database import Database
from store.errors import IntegrityError, InvalidInputError
from store.schema import Embedding, Encoder, Image, ImageId, VectorBlock

_DTYPES: dict[str, np.dtype[Any]] = {"float32": np.dtype("<f4"), "float16": np.dtype("<f2")}
_SUFFIXES = {"float32": "f32", "float16": "f16"}
LONGEST = 1e18  # a length; float32 holds the square of the way between two such
SHORTEST = 1e-12  # a length; below it there is no direction
_PAGE = 1_000_000  # rows whose images are read from the catalog at once


@dataclass(frozen=True)
class Stored:
    """The vectors of one encoder as they lie on disk."""

    image_ids: Ints  # (rows,), -1 in a gap
    values: Floats  # (rows, D) float32 or float16, read-only, mapped not read


class VectorFile:
    """The vectors of one encoder: `(rows, dimensions)` float32 or float16 behind `path`."""

    def __init__(self, folder: Path, encoder: Encoder) -> None:
        self.path = folder / f"{encoder.digest}.{_SUFFIXES[encoder.dtype]}"
        self.encoder_id = encoder.id
        self.dimensions = encoder.dimensions
        self._dtype = _DTYPES[encoder.dtype]
        self._row_bytes = encoder.dimensions * self._dtype.itemsize

    def append(self, database: Database, image_ids: Sequence[ImageId], vectors: Floats) -> int:
        """Store `vectors` `(N, dimensions)`, row i belonging to `image_ids[i]`; durable on return.

        Images that have a vector by now, such as from another process, are left out. A few thousand
        at a time: each call is one block, which is damaged or whole.

        Returns:
            How many were stored.

        Raises:
            InvalidInputError: the shape is wrong, or some are too large or have no direction as they are kept.
            IntegrityError: the file is shorter than what the catalog recorded.
        """
        if vectors.shape != (len(image_ids), self.dimensions):
            raise InvalidInputError(
                f"Vectors of shape {vectors.shape} do not fit {len(image_ids)} images × {self.dimensions} dimensions."
            )
        with np.errstate(over="ignore"):  # said below
            vectors = np.ascontiguousarray(vectors, dtype=self._dtype)
        for broken, why in (
            (too_large(vectors), "hold NaN or infinity, or are too large,"),
            (without_direction(vectors), "are zero"),
        ):
            if broken.any():
                raise InvalidInputError(
                    f"{broken.sum()} of {len(vectors)} vectors {why} as {self._dtype.name}; none was stored."
                )
        with self._locked() as descriptor:
            with database.read() as session:
                start = self.count(session)
                here = (Embedding.encoder_id == self.encoder_id, Embedding.image_id.in_(image_ids))
                done = set(session.scalars(select(Embedding.image_id).where(*here)))
            fresh = [i for i, image_id in enumerate(image_ids) if image_id not in done]
            if not fresh:
                return 0
            data = vectors[fresh].tobytes()
            self._cut_tail(descriptor, start)
            os.pwrite(descriptor, data, start * self._row_bytes)
            fail_points.reach("embed.before_sync")
            os.fsync(descriptor)
            fail_points.reach("embed.before_commit")
            with database.write() as session:
                session.add(
                    VectorBlock(
                        encoder_id=self.encoder_id,
                        start=start,
                        rows=len(fresh),
                        sha256=hashlib.sha256(data).hexdigest(),
                    )
                )
                rows = [
                    {"image_id": image_ids[i], "encoder_id": self.encoder_id, "row": start + offset}
                    for offset, i in enumerate(fresh)
                ]
                session.execute(insert(Embedding), rows)
            return len(fresh)

    def open(self, session: Session) -> Stored:
        """All recorded vectors and whose they are, in the order they were appended.

        Raises:
            IntegrityError: the file is missing or too short.
        """
        rows = self.count(session)
        image_ids = np.full(rows, -1, dtype=np.int64)
        for start in range(0, rows, _PAGE):
            pairs = self._pairs(session, start)
            image_ids[pairs[:, 0]] = pairs[:, 1]
        if rows == 0:
            return Stored(image_ids, np.empty((0, self.dimensions), dtype=self._dtype))
        if not self.path.exists() or self.path.stat().st_size < rows * self._row_bytes:
            raise IntegrityError(
                f"{self.path.name} lacks vectors the catalog recorded. Run: winnow verify --repair, then winnow embed."
            )
        return Stored(image_ids, np.memmap(self.path, dtype=self._dtype, mode="r", shape=(rows, self.dimensions)))

    def count(self, session: Session) -> int:
        """How many rows the catalog recorded, gaps among them."""
        end = select(func.max(VectorBlock.start + VectorBlock.rows)).where(VectorBlock.encoder_id == self.encoder_id)
        return session.scalar(end) or 0

    def damaged_blocks(self, session: Session) -> list[VectorBlock]:
        """The recorded blocks whose bytes on disk are missing or differ from their digest."""
        blocks = session.scalars(
            select(VectorBlock).where(VectorBlock.encoder_id == self.encoder_id).order_by(VectorBlock.start)
        ).all()
        if not self.path.exists():
            return list(blocks)
        with self.path.open("rb") as file:
            return [block for block in blocks if self._digest(file.fileno(), block) != block.sha256]

    def forget_damaged(self, database: Database) -> int:
        """Drop the damaged blocks from the catalog, so that their images count as not embedded; how many images."""
        with self._locked():
            with database.read() as session:
                damaged = [(block.id, block.start, block.rows) for block in self.damaged_blocks(session)]
            with database.write() as session:
                for block_id, start, rows in damaged:
                    of_block = Embedding.row.between(start, start + rows - 1)
                    session.execute(delete(Embedding).where(Embedding.encoder_id == self.encoder_id, of_block))
                    session.execute(delete(VectorBlock).where(VectorBlock.id == block_id))
        return sum(rows for _, _, rows in damaged)

    def _pairs(self, session: Session, start: int) -> Ints:
        """Rows from `start` on and their images `(n, 2)`, as one string: a tenth of the time of a million rows."""
        pair = cast(Embedding.row, String) + "," + cast(Embedding.image_id, String)
        of_page = Embedding.row.between(start, start + _PAGE - 1)
        text = session.scalar(
            select(func.aggregate_strings(pair, ",")).where(Embedding.encoder_id == self.encoder_id, of_page)
        )
        return np.fromstring(text or "", dtype=np.int64, sep=",").reshape(-1, 2)

    def _digest(self, descriptor: int, block: VectorBlock) -> str:
        data = os.pread(descriptor, block.rows * self._row_bytes, block.start * self._row_bytes)
        return hashlib.sha256(data).hexdigest()

    def _cut_tail(self, descriptor: int, rows: int) -> None:
        size = os.fstat(descriptor).st_size
        if size < rows * self._row_bytes:
            raise IntegrityError(f"{self.path.name} lacks vectors the catalog recorded. Run: winnow verify --repair.")
        os.ftruncate(descriptor, rows * self._row_bytes)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)


def too_large(vectors: Floats) -> Bools:
    """Which of `vectors` `(N, D)` hold NaN or infinity, or are so long that comparing them overflows float32."""
    return ~(_lengths(vectors) <= LONGEST)


def without_direction(vectors: Floats) -> Bools:
    """Which of `vectors` `(N, D)` are zero, or as good as that."""
    return _lengths(vectors) < SHORTEST


def _lengths(vectors: Floats) -> Floats:
    with np.errstate(all="ignore"):  # NaN and infinity stay what they are
        return np.asarray(np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)))


def load(folder: Path, session: Session, encoder: Encoder) -> tuple[Ints, Vectors]:
    """The images an encoder has seen and a copy of their vectors, ordered by sha256.

    Returns:
        Image ids `(N,)` int64 and vectors `(N, dimensions)` float32, aligned.

    Raises:
        IntegrityError: the file is missing or too short.
    """
    stored = VectorFile(folder, encoder).open(session)
    by_sha256 = (
        select(Embedding.row)
        .join(Image, Image.id == Embedding.image_id)
        .where(Embedding.encoder_id == encoder.id)
        .order_by(Image.sha256)
    )
    rows = np.fromiter(session.scalars(by_sha256), dtype=np.int64)
    return stored.image_ids[rows], np.asarray(stored.values[rows], dtype=np.float32)
