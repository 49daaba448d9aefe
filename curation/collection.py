"""The embedded images of a catalog as arrays: vectors, hashes and what makes one of two the better representative."""

import contextlib
import fcntl
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
from sqlalchemy import select

from curation import hamming, ivf, joins, originals
from curation.embed import find_encoder
from curation.joins import Cells, Pairs, Placed, Take
from curation.originals import Original
from curation.proposals import Known
from store.arrays import Floats, Ints, Vectors
from store.schema import Encoder, Image, ImageId, Label
from store.vectors import VectorFile
from store.workspace import Workspace

Places: TypeAlias = npt.NDArray[np.void]
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

        How the collection is divided is kept on disk, and the places of fresh images are added to it, so that a few
        cost little beside many.
        """
        path = workspace.indexes_dir / f"{self.encoder.digest}.cells"
        kept = None if fresh is None else _read_cells(path)
        if kept is None or kept.cells.min_cosine != min_cosine:
            cells = joins.fit(self.take, len(self.image_ids), min_cosine=min_cosine)
            kept = _Kept(cells, self._mean, np.empty(0, dtype=_place_type(cells)), 0)
            kept = replace(kept, places=self._new_places(kept))
            workspace.indexes_dir.mkdir(parents=True, exist_ok=True)
            _write_cells(path, kept)
        elif len(new := self._new_places(kept)):
            kept = _add_places(path, kept, new)
        return self._joined(kept, fresh)

    def _centred_on(self, mean: Vectors) -> Take:
        """What takes vectors centred on another mean."""
        if mean is self._mean:
            return self.take
        other = replace(self, _mean=mean)
        return lambda positions: other.centred(self._values[self._rows[positions]])

    def _new_places(self, kept: "_Kept") -> Places:
        """Where the images lie that have no place yet."""
        new = np.flatnonzero(~np.isin(self.image_ids, kept.places["image_id"]))
        placed = joins.place(self._centred_on(kept.mean), new, kept.cells)
        places = np.empty(len(new), dtype=kept.places.dtype)
        places["image_id"], places["home"], places["lifted"] = self.image_ids[new], placed.homes, placed.lifted
        return places

    def _joined(self, kept: "_Kept", fresh: Ints | None) -> Pairs:
        """The join by place; places are looked up where they lie on disk, not put in order."""
        image_ids, places = np.unique(kept.places["image_id"], return_index=True)
        order = np.argsort(self.image_ids)
        at = np.searchsorted(self.image_ids, image_ids, sorter=order).clip(max=len(order) - 1)
        is_here = self.image_ids[order[at]] == image_ids
        position_of = np.full(len(kept.places), -1)
        position_of[places[is_here]] = order[at[is_here]]
        homes = np.where(position_of >= 0, kept.places["home"], -1)  # an image that is gone lives nowhere
        take = self._centred_on(kept.mean)
        found = joins.join(
            lambda chosen: take(position_of[chosen]),
            Placed(kept.places["lifted"], homes),
            kept.cells,
            fresh=None if fresh is None else np.flatnonzero(np.isin(position_of, fresh)),
        )
        positions = np.sort(position_of[found.positions], axis=1)
        sequence = np.lexsort((positions[:, 1], positions[:, 0]))
        return Pairs(positions[sequence], found.cosines[sequence], found.truncated)


@dataclass(frozen=True)
class _Kept:
    """How a collection was divided when it was last divided anew, and where each image lies since."""

    cells: Cells
    mean: Vectors  # (D,) of then: what lies where is only comparable if centred alike
    places: Places  # (P,), mapped; of an image that is there twice, the first counts
    start: int  # of the places in the file


def _place_type(cells: Cells) -> np.dtype[Any]:
    """An image, its home and its vector there, see curation.joins.Placed."""
    return np.dtype([("image_id", "<i8"), ("home", "<i8"), ("lifted", "<f4", (cells.basis.shape[1] + 1,))])


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
        with path.open("rb") as file:
            values: dict[str, Any] = {one.name: np.load(file)[()] for one in fields(Cells)}
            cells, mean = Cells(**values), np.load(file)
            start = file.tell()
        place = _place_type(cells)
        count = (path.stat().st_size - start) // place.itemsize
        return _Kept(cells, mean, np.memmap(path, place, mode="r", offset=start, shape=(count,)), start)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def _write_cells(path: Path, kept: _Kept) -> None:
    """Write beside, then put in place; what a killed process left beside is overwritten."""
    scratch = path.with_name(f"{path.name}.part")
    with _locked(path):
        try:
            with scratch.open("wb") as file:
                for one in (*(getattr(kept.cells, one.name) for one in fields(Cells)), kept.mean):
                    np.save(file, one)
                kept.places.tofile(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(scratch, path)
        except BaseException:
            scratch.unlink(missing_ok=True)
            raise


def _add_places(path: Path, kept: _Kept, new: Places) -> _Kept:
    """Write more places behind those that are there, over what an interrupted write left of one."""
    with _locked(path):
        now = _read_cells(path)
        if now is None or not np.array_equal(now.cells.centroids, kept.cells.centroids):  # another divided it anew
            return replace(kept, places=np.concatenate([kept.places, new]))
        with path.open("r+b") as file:
            file.seek(now.start + now.places.nbytes)
            file.truncate()
            file.write(new.tobytes())
            file.flush()
            os.fsync(file.fileno())
        return _read_cells(path) or now


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One writer at a time."""
    with path.with_name(f"{path.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
