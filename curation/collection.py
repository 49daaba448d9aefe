"""The embedded images of a catalog as arrays: vectors, hashes and what makes one of two the better representative."""

import os
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from sqlalchemy import select

from curation import hamming, ivf, joins, originals
from curation.embed import find_encoder
from curation.joins import Cells, Pairs, Placed
from curation.originals import Original
from curation.proposals import Known
from store.arrays import Floats, Ints, Vectors
from store.schema import Encoder, Image, ImageId, Label
from store.vectors import VectorFile
from store.workspace import Workspace

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Collection:
    """Images by position, ordered by sha256 so that no order of coming matters."""

    encoder: Encoder
    found: Sequence[Original]
    image_ids: Ints  # (N,)
    known: Known
    pixels: Mapping[int, str]  # digests by position, where they are known
    sizes: Ints  # (N, 2) width, height
    preference: Sequence[int]  # positions, the best representative first
    _rows: Ints  # (N,) of the vector file
    _values: Floats  # (rows, D), mapped
    _mean: Vectors  # (D,)
    _inverse_norms: Vectors  # (rows,)

    def take(self, positions: Ints) -> Vectors:
        """The centred unit vectors `(n, D)` at positions."""
        return ivf.directions(self._values, self._rows[positions], self._mean, self._inverse_norms)

    def centred(self, vectors: Vectors) -> Vectors:
        """New vectors `(n, D)` of this encoder as centred unit vectors."""
        centred = vectors - self._mean
        return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12))

    @cached_property
    def _position_of(self) -> dict[int, int]:
        return {image_id: position for position, image_id in enumerate(self.image_ids.tolist())}

    def positions_of(self, pairs: Mapping[tuple[ImageId, ImageId], _Value]) -> dict[tuple[int, int], _Value]:
        """What is said of pairs of image ids, said of pairs of positions, the smaller first; others are left out."""
        position_of = self._position_of
        there = {}
        for (first, second), value in pairs.items():
            a, b = position_of.get(first), position_of.get(second)
            if a is not None and b is not None:
                there[min(a, b), max(a, b)] = value
        return there

    def near_pairs(self, *, min_cosine: float) -> Pairs:
        """Every two images at least so near (see curation.joins)."""
        return joins.find_pairs(self.take, len(self.image_ids), min_cosine=min_cosine)

    def near_pairs_of(self, workspace: Workspace, *, min_cosine: float, fresh: Ints | None) -> Pairs:
        """The same or, if `fresh` is given, those pairs that one of these positions is part of.

        How the collection is divided is kept on disk, so that a few fresh images cost little beside many.
        """
        path = workspace.indexes_dir / f"{self.encoder.digest}.cells.npz"
        kept = None if fresh is None else _read_cells(path)
        if kept is None or kept.cells.min_cosine != min_cosine:
            cells = joins.fit(self.take, len(self.image_ids), min_cosine=min_cosine)
            placed = joins.place(self.take, np.arange(len(self.image_ids)), cells)
            kept = _Kept(cells, placed, self.image_ids, self._mean)
        images = self if kept.mean is self._mean else self._centred_on(kept.mean)
        kept = replace(kept, placed=images._placed(kept), image_ids=self.image_ids)
        workspace.indexes_dir.mkdir(parents=True, exist_ok=True)
        _write_cells(path, kept)
        return joins.join(images.take, kept.placed, kept.cells, fresh=fresh)

    def _centred_on(self, mean: Vectors) -> "Collection":
        _, inverse_norms = ivf.centre(self._values, np.sort(self._rows), mean)
        return replace(self, _mean=mean, _inverse_norms=inverse_norms)

    def _placed(self, kept: "_Kept") -> Placed:
        """Where all images lie: as before, and newly for those that had no place."""
        order = np.argsort(kept.image_ids)
        at = np.searchsorted(kept.image_ids[order], self.image_ids).clip(max=len(order) - 1)
        before = order[at]
        is_new = kept.image_ids[before] != self.image_ids
        new = joins.place(self.take, np.flatnonzero(is_new), kept.cells)
        lifted, homes = kept.placed.lifted[before], kept.placed.homes[before]
        lifted[is_new], homes[is_new] = new.lifted, new.homes
        return Placed(lifted, homes)


@dataclass(frozen=True)
class _Kept:
    """How a collection was divided when it was last divided anew, and where each image lies since."""

    cells: Cells
    placed: Placed
    image_ids: Ints  # (N,), aligned with `placed`
    mean: Vectors  # (D,) of then: what lies where is only comparable if centred alike


def load(workspace: Workspace, encoder: str | None = None) -> Collection:
    """Everything that `encoder`, by default see `embed.find_encoder`, has seen.

    Raises:
        NotFoundError: nothing is embedded.
        IntegrityError: vectors are missing on disk, or hold NaN.
    """
    columns = (Image.id, Image.phash, Image.dhash, Image.pixels_sha256, Image.width, Image.height)
    quality = (Image.sharpness, Image.captured_at)
    with workspace.database.read() as session:
        row = find_encoder(session, encoder)
        stored = VectorFile(workspace.vectors_dir, row).open(session)
        row_of = {image_id: i for i, image_id in enumerate(stored.image_ids.tolist()) if image_id >= 0}
        found = originals.find(session, [ImageId(image_id) for image_id in row_of])
        known = {one.id: one for one in session.execute(select(*columns, *quality))}
        labelled = set(session.scalars(select(Label.image_id)))
        session.expunge(row)
    images = [known[one.image_id] for one in found]
    mean, inverse_norms = ivf.centre(stored.values, np.flatnonzero(stored.image_ids >= 0))

    def merit(position: int) -> tuple[Any, ...]:
        """Labelled, then large, then sharp, then taken first; the rest is chance, but the same every time."""
        one = images[position]
        captured = one.captured_at.isoformat() if one.captured_at else "~"
        sharpness = -1.0 if one.sharpness is None else round(one.sharpness, 6)
        return (one.id not in labelled, -one.width * one.height, -sharpness, captured, position)

    return Collection(
        encoder=row,
        found=found,
        image_ids=np.array([one.image_id for one in found], dtype=np.int64),
        known=Known(
            hamming.from_hex([one.phash for one in images]),
            hamming.from_hex([one.dhash or "0" * 16 for one in images]),
            np.flatnonzero([one.dhash is not None for one in images]),
        ),
        pixels={i: one.pixels_sha256 for i, one in enumerate(images) if one.pixels_sha256 is not None},
        sizes=np.array([(one.width, one.height) for one in images], dtype=np.int64).reshape(-1, 2),
        preference=sorted(range(len(images)), key=merit),
        _rows=np.array([row_of[one.image_id] for one in found], dtype=np.int64),
        _values=stored.values,
        _mean=mean,
        _inverse_norms=inverse_norms,
    )


def _read_cells(path: Path) -> "_Kept | None":
    """What was kept; none where there is nothing, or nothing whole: it is a cache."""
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            values: dict[str, Any] = {one.name: arrays[one.name][()] for one in fields(Cells)}
            placed = Placed(arrays["lifted"], arrays["homes"])
            return _Kept(Cells(**values), placed, arrays["image_ids"], arrays["mean"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _write_cells(path: Path, kept: _Kept) -> None:
    arrays = {**vars(kept.cells), **vars(kept.placed)}
    descriptor, scratch = tempfile.mkstemp(dir=path.parent, suffix=".part")
    with os.fdopen(descriptor, "wb") as file:
        np.savez(file, **arrays, image_ids=kept.image_ids, mean=kept.mean)
    os.replace(scratch, path)
