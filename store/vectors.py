"""Append-only vectors on disk, memory-mapped, one file per encoder.

Rows are written and synced first and recorded in the catalog after, so a row that the catalog
names is always whole. Whatever lies past the last recorded row was never accepted: the next
append cuts it off.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from store import fail_points
from store.arrays import Ints, Vectors
from store.database import Database
from store.errors import IntegrityError, InvalidInputError
from store.schema import Embedding, Encoder, Image, ImageId, VectorBlock

_DTYPE = np.dtype("<f4")


class VectorFile:
    """The vectors of one encoder: `(rows, dimensions)` float32 behind `path`."""

    def __init__(self, folder: Path, encoder: Encoder) -> None:
        self.path = folder / f"{encoder.digest}.f32"
        self.encoder_id = encoder.id
        self.dimensions = encoder.dimensions
        self._row_bytes = encoder.dimensions * _DTYPE.itemsize

    def append(self, database: Database, image_ids: Sequence[ImageId], vectors: Vectors) -> None:
        """Store `vectors` `(N, dimensions)` float32, row i belonging to `image_ids[i]`; durable on return.

        Images that have a vector by now, such as from another process, are left out.

        Raises:
            InvalidInputError: the shape is wrong or a value is not finite.
            IntegrityError: the file is shorter than what the catalog recorded.
        """
        vectors = np.ascontiguousarray(vectors, dtype=_DTYPE)
        if vectors.shape != (len(image_ids), self.dimensions):
            raise InvalidInputError(
                f"Vectors of shape {vectors.shape} do not fit {len(image_ids)} images × {self.dimensions} dimensions."
            )
        broken = int((~np.isfinite(vectors).all(axis=1)).sum())
        if broken:
            raise InvalidInputError(f"{broken} of {len(vectors)} vectors hold NaN or infinity; none was stored.")
        with self._locked() as descriptor:
            with database.read() as session:
                start = self._recorded_rows(session)
                done = set(session.scalars(select(Embedding.image_id).where(Embedding.encoder_id == self.encoder_id)))
            fresh = [i for i, image_id in enumerate(image_ids) if image_id not in done]
            if not fresh:
                return
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

    def open(self, session: Session) -> Vectors:
        """All recorded vectors, read-only `(rows, dimensions)` float32, mapped not read.

        Raises:
            IntegrityError: the file is missing or too short.
        """
        rows = self._recorded_rows(session)
        if rows == 0:
            return np.empty((0, self.dimensions), dtype=_DTYPE)
        if not self.path.exists() or self.path.stat().st_size < rows * self._row_bytes:
            raise IntegrityError(
                f"{self.path.name} lacks vectors the catalog recorded. Run: winnow verify --repair, then winnow embed."
            )
        return np.memmap(self.path, dtype=_DTYPE, mode="r", shape=(rows, self.dimensions))

    def damaged_blocks(self, session: Session) -> list[VectorBlock]:
        """The recorded blocks whose bytes on disk are missing or differ from their digest."""
        blocks = session.scalars(
            select(VectorBlock).where(VectorBlock.encoder_id == self.encoder_id).order_by(VectorBlock.start)
        ).all()
        if not self.path.exists():
            return list(blocks)
        with self.path.open("rb") as file:
            return [block for block in blocks if self._digest(file.fileno(), block) != block.sha256]

    def _digest(self, descriptor: int, block: VectorBlock) -> str:
        data = os.pread(descriptor, block.rows * self._row_bytes, block.start * self._row_bytes)
        return hashlib.sha256(data).hexdigest()

    def _recorded_rows(self, session: Session) -> int:
        end = select(func.max(VectorBlock.start + VectorBlock.rows)).where(VectorBlock.encoder_id == self.encoder_id)
        return session.scalar(end) or 0

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


def load(folder: Path, session: Session, encoder: Encoder) -> tuple[Ints, Vectors]:
    """The images an encoder has seen and their vectors, ordered by sha256.

    Returns:
        Image ids `(N,)` int64 and vectors `(N, dimensions)` float32, aligned.
    """
    rows = session.execute(
        select(Embedding.image_id, Embedding.row)
        .join(Image, Image.id == Embedding.image_id)
        .where(Embedding.encoder_id == encoder.id)
        .order_by(Image.sha256)
    ).all()
    table = np.array(rows, dtype=np.int64).reshape(-1, 2)
    return table[:, 0], VectorFile(folder, encoder).open(session)[table[:, 1]]
