"""Embed what is missing: decode and resize in threads while the network runs."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from curation import encoders, originals
from curation.decode import decode
from store.arrays import Vectors
from store.errors import NotFoundError, WinnowError
from store.schema import Embedding, Encoder, Image, ImageId
from store.vectors import VectorFile
from store.workspace import Workspace

_BATCH = 32  # pictures the network sees at once
_CHUNK = 8  # batches a commit


@dataclass(frozen=True)
class EmbedSummary:
    """What one embedding pass did."""

    encoder: str
    embedded: int
    already: int
    unreadable: list[str]  # a sentence each


def embed(
    workspace: Workspace,
    *,
    encoder: str = encoders.DEFAULT,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> EmbedSummary:
    """Embed every image that this encoder has not seen; an interrupted pass continues where it was.

    Raises:
        NotFoundError: there is no such encoder, or no image.
    """
    network = encoders.get(encoder, workspace.models_dir)
    with workspace.database.write() as session:
        row = _register(session, network)
        session.expunge(row)
    with workspace.database.read() as session:
        seen = set(session.scalars(select(Embedding.image_id).where(Embedding.encoder_id == row.id)))
        missing = [ImageId(image_id) for image_id in session.scalars(select(Image.id)) if image_id not in seen]
        if not missing and not seen:
            raise NotFoundError("There is no image to embed. First run: winnow ingest FOLDER.")
        pending = originals.find(session, missing)
    file = VectorFile(workspace.vectors_dir, row)
    embedded = 0
    unreadable: list[str] = []
    for image_ids, vectors, errors in _vectors(network, pending):
        if image_ids:
            file.append(workspace.database, image_ids, vectors)
        embedded += len(image_ids)
        unreadable += errors
        on_progress(embedded + len(unreadable), len(pending))
    return EmbedSummary(encoder, embedded, len(seen), unreadable)


def newest_encoder(session: Session, name: str | None = None) -> Encoder:
    """The encoder called `name`, or the last one registered.

    Raises:
        NotFoundError: nothing has been embedded with it.
    """
    query = select(Encoder).where(Encoder.id.in_(select(Embedding.encoder_id))).order_by(Encoder.id.desc()).limit(1)
    row = session.scalar(query if name is None else query.where(Encoder.name == name))
    if row is None:
        raise NotFoundError(f"Nothing is embedded{f' with {name}' if name else ''} yet. First run: winnow embed.")
    return row


def _register(session: Session, network: encoders.ImageEncoder) -> Encoder:
    row = session.scalar(select(Encoder).where(Encoder.digest == network.digest))
    if row is None:
        row = Encoder(name=network.name, digest=network.digest, dimensions=network.dimensions)
        session.add(row)
        session.flush()
    return row


def _vectors(
    network: encoders.ImageEncoder, pending: Sequence[originals.Original]
) -> Iterator[tuple[list[ImageId], Vectors, list[str]]]:
    """Chunks of image ids, their vectors `(n, D)`, and sentences about what could not be read."""

    def prepare(original: originals.Original) -> Vectors | str:
        try:
            return network.prepare(decode(original.read()).picture)
        except WinnowError as error:
            return str(error)

    size = _BATCH * _CHUNK
    chunks = [pending[start : start + size] for start in range(0, len(pending), size)]
    with ThreadPoolExecutor() as pool:
        ahead = [pool.submit(prepare, original) for original in chunks[0]] if chunks else []
        for position, chunk in enumerate(chunks):
            prepared = [future.result() for future in ahead]
            following = chunks[position + 1] if position + 1 < len(chunks) else []
            ahead = [pool.submit(prepare, original) for original in following]
            image_ids = [o.image_id for o, p in zip(chunk, prepared, strict=True) if not isinstance(p, str)]
            inputs = [p for p in prepared if not isinstance(p, str)]
            vectors = [
                network.encode(np.stack(inputs[start : start + _BATCH])) for start in range(0, len(inputs), _BATCH)
            ]
            empty = np.empty((0, network.dimensions), dtype=np.float32)
            yield image_ids, np.concatenate([empty, *vectors]), [p for p in prepared if isinstance(p, str)]
