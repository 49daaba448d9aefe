"""Embed what is missing: as many batches side by side as there are cores, each from file to vectors in one thread."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from curation import encoders, ivf, originals
from curation.decode import decode
from store.arrays import Vectors
from store.errors import ConflictError, NotFoundError, WinnowError
from store.schema import Embedding, Encoder, Image, ImageId, VectorBlock
from store.vectors import VectorFile, too_large, without_direction
from store.workspace import Workspace

_BATCH = 16  # pictures the network sees at once
_BLOCK = 256  # vectors a commit

Dtype = Literal["float32", "float16"]


@dataclass(frozen=True)
class EmbedSummary:
    """What one embedding pass did."""

    encoder: str
    embedded: int
    already: int
    unreadable: list[str]  # a sentence each


@dataclass(frozen=True)
class _Encoded:
    """What became of one batch."""

    image_ids: list[ImageId]
    vectors: Vectors  # (n, D), aligned
    unreadable: list[str]


def embed(
    workspace: Workspace,
    *,
    encoder: str = encoders.DEFAULT,
    dtype: Dtype | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> EmbedSummary:
    """Embed every image that this encoder has not seen; an interrupted pass continues where it was.

    `dtype` is what vectors are kept as on disk, float32 by default; it is settled by the first pass. Memory
    holds the batches under way, the ids of what is missing, and a sentence for each image that cannot be read.
    Two passes at once do no harm. Where there are many by now, a process of its own is left to make them fast to
    search (see curation.ivf).

    Raises:
        NotFoundError: there is no such encoder, or no image.
        ConflictError: its vectors are kept as another `dtype` already.
    """
    network = encoders.get(encoder, workspace.models_dir)
    with workspace.database.write() as session:
        row = _register(session, network, dtype)
        session.expunge(row)
    with workspace.database.read() as session:
        seen = select(Embedding.image_id).where(Embedding.encoder_id == row.id)
        missing = [ImageId(one) for one in session.scalars(select(Image.id).where(Image.id.not_in(seen)))]
        already = session.scalar(select(func.count()).select_from(seen.subquery())) or 0
    if not missing and not already:
        raise NotFoundError("There is no image to embed. First run: winnow ingest FOLDER.")
    file = VectorFile(workspace.vectors_dir, row)
    embedded = 0
    unreadable: list[str] = []
    for block in _blocks(_encoded(workspace, network, missing, row.dtype)):
        embedded += file.append(workspace.database, block.image_ids, block.vectors)
        unreadable += block.unreadable
        on_progress(embedded + len(unreadable), len(missing))
    ivf.build_in_background(workspace, row)
    return EmbedSummary(row.name, embedded, already, unreadable)


def find_encoder(session: Session, name: str | None = None) -> Encoder:
    """The newest encoder called `name`; without one, the one that has seen the most images, then the newest.

    Raises:
        NotFoundError: nothing has been embedded with it.
    """
    of_each = select(VectorBlock.encoder_id, func.sum(VectorBlock.rows).label("vectors"))
    counts = of_each.group_by(VectorBlock.encoder_id).subquery()
    used = select(Encoder).join(counts, counts.c.encoder_id == Encoder.id).limit(1)
    if name is None:
        row = session.scalar(used.order_by(counts.c.vectors.desc(), Encoder.id.desc()))
    else:
        row = session.scalar(used.where(Encoder.name == encoders.resolve(name)).order_by(Encoder.id.desc()))
    if row is None:
        raise NotFoundError(f"Nothing is embedded{f' with {name}' if name else ''} yet. First run: winnow embed.")
    return row


def _register(session: Session, network: encoders.ImageEncoder, dtype: Dtype | None) -> Encoder:
    row = session.scalar(select(Encoder).where(Encoder.digest == network.digest))
    if row is None:
        row = Encoder(name=network.name, digest=network.digest, dimensions=network.dimensions, dtype=dtype or "float32")
        session.add(row)
        session.flush()
    elif dtype not in (None, row.dtype):
        raise ConflictError(f"The vectors of {row.name} are kept as {row.dtype} already, not as {dtype}.")
    return row


def _encoded(
    workspace: Workspace, network: encoders.ImageEncoder, missing: Sequence[ImageId], dtype: str
) -> Iterator[_Encoded]:
    """Every batch of `missing`, in order, a few of them computed ahead."""
    workers = os.cpu_count() or 1
    under_way: deque[Future[_Encoded]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for batch in _batches(workspace, missing):
            under_way.append(pool.submit(_encode, network, batch, dtype))
            if len(under_way) > 2 * workers:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _batches(workspace: Workspace, missing: Sequence[ImageId]) -> Iterator[list[originals.Original]]:
    for start in range(0, len(missing), _BLOCK):
        with workspace.database.read() as session:
            found = originals.find(session, missing[start : start + _BLOCK])
        for first in range(0, len(found), _BATCH):
            yield found[first : first + _BATCH]


def _encode(network: encoders.ImageEncoder, batch: Sequence[originals.Original], dtype: str) -> _Encoded:
    """Read, decode, resize and run the network, all in this thread; what fails is a sentence."""
    image_ids: list[ImageId] = []
    inputs: list[Vectors] = []
    unreadable: list[str] = []
    for original in batch:
        try:
            picture = decode(
                original.read(), max_pixels=original.max_pixels, detail=network.preprocessing.detail
            ).picture
        except WinnowError as error:
            unreadable.append(str(error))
        else:
            image_ids.append(original.image_id)
            inputs.append(network.prepare(picture))
    vectors: Vectors = np.empty((0, network.dimensions), dtype=np.float32)
    if inputs:
        vectors = network.encode(np.stack(inputs))
    with np.errstate(over="ignore"):  # said below
        kept = vectors.astype(dtype)
    large, zero = too_large(kept), without_direction(kept)
    for broken, what in ((large, "NaN or infinity, or too large numbers,"), (zero, "zeros, which have no direction,")):
        unreadable += [f"Image {image_ids[i]} gives {what} under {network.name}." for i in np.flatnonzero(broken)]
    good = np.flatnonzero(~(large | zero)).tolist()
    return _Encoded([image_ids[i] for i in good], vectors[good], unreadable)


def _blocks(batches: Iterator[_Encoded]) -> Iterator[_Encoded]:
    """Batches joined to blocks of `_BLOCK` vectors or more, but for the last."""
    waiting: list[_Encoded] = []
    for batch in batches:
        waiting.append(batch)
        if sum(len(one.image_ids) for one in waiting) >= _BLOCK:
            yield _joined(waiting)
            waiting = []
    if waiting:
        yield _joined(waiting)


def _joined(batches: Sequence[_Encoded]) -> _Encoded:
    return _Encoded(
        [image_id for batch in batches for image_id in batch.image_ids],
        np.concatenate([batch.vectors for batch in batches]),
        [sentence for batch in batches for sentence in batch.unreadable],
    )
