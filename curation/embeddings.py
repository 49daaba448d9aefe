"""Vectors that somebody else computed, brought in as the embeddings of an encoder of their own."""

import hashlib
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from curation import encoders, ivf
from store.arrays import Bools, Floats, Ints
from store.errors import ConflictError, InvalidInputError, NotFoundError
from store.schema import Encoder, Image, ImageId, Sighting
from store.vectors import VectorFile, too_large, without_direction
from store.workspace import Workspace

_BLOCK = 4096  # vectors a commit
_ARRAYS = "the arrays vectors (N, D) and either sha256 (N,) or uri (N,)"
_NAMED = 20  # rows that are named one by one


@dataclass(frozen=True)
class ImportSummary:
    """What became of a file's vectors; the counts add up to its rows."""

    encoder: str
    dimensions: int
    imported: int
    already: int  # the same vector was there
    kept: int  # another vector was there, and stays
    unknown: int  # no image of the catalog
    not_finite: int  # NaN, infinity, or too large to compare or for float16
    no_direction: int  # zero
    repeated: int  # an image further up in the file
    refused: list[int]  # rows of the file, from 0, that are not finite or have no direction

    @property
    def remarks(self) -> list[str]:
        """What was not imported and why, a line each."""
        counts = {
            "were there already": self.already,
            "differ from what is there, which stays": self.kept,
            "belong to no image of the catalog": self.unknown,
            "hold NaN or infinity, or are too large": self.not_finite,
            "are zero, which has no direction": self.no_direction,
            "repeat an image of the file": self.repeated,
        }
        lines = [f"{count} {what}" for what, count in counts.items() if count]
        if self.refused:
            more = ", …" if len(self.refused) > _NAMED else ""
            lines.append(f"refused: vectors[{', '.join(map(str, self.refused[:_NAMED]))}{more}]")
        return lines


def import_file(workspace: Workspace, path: Path, *, encoder: str) -> ImportSummary:
    """Store the vectors of an .npz with the arrays `vectors (N, D)` and either `sha256 (N,)` or `uri (N,)`.

    What fits is imported, what does not is counted. The same file again changes nothing. float16 vectors are
    kept as float16, all others as float32.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: it is no .npz, lacks an array, their shapes do not fit each other, or nothing in it can
            be used.
        ConflictError: `encoder` is the name of one that computes its own, or has vectors of other dimensions.
    """
    if encoder in encoders.KNOWN or encoder.partition(":")[0] in {name.partition(":")[0] for name in encoders.KNOWN}:
        raise ConflictError(f"{encoder} computes its own vectors. Give the imported ones a name of their own.")
    if not encoder.strip():
        raise InvalidInputError("An encoder needs a name.")
    names, by_sha256, vectors = _read(path)
    with workspace.database.read() as session:
        row = _known(session, encoder, vectors)
        dtype = row.dtype if row else _dtype(vectors)
        image_ids = _image_ids(session, names, by_sha256=by_sha256)
    with np.errstate(over="ignore"):  # counted below
        vectors = vectors.astype(dtype)
    unknown = image_ids < 0
    large = ~unknown & too_large(vectors)
    zero = ~unknown & without_direction(vectors)
    repeated = _repeated(np.where(unknown | large | zero, -1, image_ids))
    good = np.flatnonzero(~(unknown | large | zero | repeated))
    summary = ImportSummary(
        encoder=encoder,
        dimensions=vectors.shape[1],
        imported=0,
        already=0,
        kept=0,
        unknown=int(unknown.sum()),
        not_finite=int(large.sum()),
        no_direction=int(zero.sum()),
        repeated=int(repeated.sum()),
        refused=np.flatnonzero(large | zero).tolist(),
    )
    if not len(good):
        raise InvalidInputError(f"Nothing of {path} was imported: {'; '.join(summary.remarks) or 'it is empty'}.")
    with workspace.database.write() as session:
        row = _register(session, encoder, vectors)
        session.expunge(row)
    with workspace.database.read() as session:
        stored = VectorFile(workspace.vectors_dir, row).open(session)
    row_of = {image_id: i for i, image_id in enumerate(stored.image_ids.tolist()) if image_id >= 0}
    there = np.array([row_of.get(image_id, -1) for image_id in image_ids[good].tolist()], dtype=np.int64)
    old = there >= 0
    same = (stored.values[there[old]] == vectors[good[old]]).all(axis=1)
    fresh = good[~old]
    file = VectorFile(workspace.vectors_dir, row)
    imported = 0
    for start in range(0, len(fresh), _BLOCK):
        block = fresh[start : start + _BLOCK]
        ids = [ImageId(image_id) for image_id in image_ids[block].tolist()]
        imported += file.append(workspace.database, ids, vectors[block])
    ivf.build_in_background(workspace, row)
    already = int(same.sum()) + len(fresh) - imported
    return replace(summary, imported=imported, already=already, kept=int((~same).sum()))


def _read(path: Path) -> tuple[list[str], bool, Floats]:
    """The names, whether they are sha256s, and the vectors."""
    if not path.is_file():
        raise NotFoundError(f"There is no file {path}.")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in ("sha256", "uri", "vectors") if name in archive.files}
    except PermissionError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror}.") from error
    except (OSError, ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidInputError(f"{path} is not an .npz file with {_ARRAYS} of plain values.") from error
    keys = [name for name in ("sha256", "uri") if name in arrays]
    if len(keys) != 1 or "vectors" not in arrays:
        raise InvalidInputError(f"{path} holds {', '.join(arrays) or 'nothing of ours'}; it needs {_ARRAYS}.")
    names, vectors = arrays[keys[0]], arrays["vectors"]
    if vectors.ndim != 2 or vectors.shape[1] == 0 or vectors.dtype.kind != "f":
        raise InvalidInputError(f"vectors are {vectors.dtype} of shape {vectors.shape}, not floats of shape (N, D).")
    if names.shape != vectors.shape[:1] or names.dtype.kind not in "US":
        raise InvalidInputError(
            f"{keys[0]} is {names.dtype} of shape {names.shape}, not {len(vectors)} strings for {len(vectors)} vectors."
        )
    text = np.char.decode(names, "utf-8") if names.dtype.kind == "S" else names
    return text.tolist(), keys[0] == "sha256", vectors


def _register(session: Session, name: str, vectors: Floats) -> Encoder:
    """The encoder of this name; its digest says that nobody knows the weights."""
    row = _known(session, name, vectors)
    if row is None:
        digest = hashlib.sha256(f"imported {name} {vectors.shape[1]}".encode()).hexdigest()
        row = Encoder(name=name, digest=digest, dimensions=vectors.shape[1], dtype=_dtype(vectors))
        session.add(row)
        session.flush()
    return row


def _dtype(vectors: Floats) -> str:
    return "float16" if vectors.dtype == np.float16 else "float32"


def _known(session: Session, name: str, vectors: Floats) -> Encoder | None:
    """The encoder of this name, if there is one, and `vectors` fit it."""
    row = session.scalar(select(Encoder).where(Encoder.name == name))
    if row is not None and row.dimensions != vectors.shape[1]:
        raise ConflictError(
            f"{name} has vectors of {row.dimensions} dimensions, these have {vectors.shape[1]}. "
            "Import them under another name."
        )
    return row


def _image_ids(session: Session, names: list[str], *, by_sha256: bool) -> Ints:
    """The image of each name, -1 where there is none; a relative path is one from here."""
    if by_sha256:
        known = dict(session.execute(select(Image.sha256, Image.id)).all())
        found = [known.get(name.lower(), -1) for name in names]
    else:
        known = dict(session.execute(select(Sighting.uri, Sighting.image_id).where(Sighting.current)).all())
        found = [known.get(name, known.get(str(Path(name).absolute()), -1)) for name in names]
    return np.array(found, dtype=np.int64)


def _repeated(image_ids: Ints) -> Bools:
    """Which ids have come before; -1 never counts."""
    again = np.ones(len(image_ids), dtype=np.bool_)
    again[np.unique(image_ids, return_index=True)[1]] = False
    return again & (image_ids >= 0)
