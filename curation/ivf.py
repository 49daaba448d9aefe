"""A trained index beside the vectors of a large collection: which rows to compare with a query exactly.

Inverted lists of 8-bit codes (FAISS IVF, SQ8) over centred directions. The lists only propose rows; every cosine
that is told was computed on the stored vectors. The mean that centres is the one of the rows it was trained on: it
stays in the file until the index is trained anew. Rows that came after it are compared exactly, see curation.search.
"""

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from store.arrays import Floats, Ints, Vectors
from store.errors import ConflictError, IntegrityError
from store.schema import Encoder
from store.vectors import Stored, VectorFile
from store.workspace import Workspace, open_workspace

LEAST_RECALL = 0.98  # of the ten nearest; below it the index is trained anew
EXACT_FLOATS = 16_000_000  # rows × dimensions that a query may well be compared with one by one: about 5 ms
_TARGET_RECALL = 0.99  # what the number of lists to look into is chosen for
_TAIL = 4  # rows beyond a fourth of EXACT_FLOATS are taken into the index
_LISTS_PER_ROOT = 4  # lists per square root of the rows
_TRAINING_ROWS = 40  # per list
_HELD_OUT = 400  # queries that training does not see
_DEPTH = 10  # recall is of this many
_PROPOSED = 128  # rows that the codes propose, for the nearest to be among them
_EXTENDED = 8  # one in so many lists may be looked into, before it is better to train anew
_BLOCK = 1 << 16  # rows in memory at once


@dataclass(frozen=True)
class Report:
    """What an index file is."""

    file: str
    rows: int  # of the vector file that it covers
    lists: int
    probes: int  # lists that a query looks into
    recall: float  # of the ten nearest, on held-out rows, against exact search
    trained_rows: int  # rows there were when the mean and the lists were made
    built_at: str


@dataclass(frozen=True)
class Trained:
    """An index in memory, or mapped."""

    report: Report
    faiss: Any
    mean: Vectors  # (D,)
    inverse_norms: Vectors  # (rows,), of the centred vectors; 0 where there is none


@dataclass(frozen=True)
class Status:
    """How an encoder's vectors are searched now."""

    encoder: str
    rows: int
    dimensions: int
    report: Report | None  # none: all of them exactly
    tail: int  # rows that are searched exactly
    due: bool  # it would be faster with a build


def status(workspace: Workspace, encoder: Encoder) -> Status:
    """How the vectors of an encoder are searched now."""
    with workspace.database.read() as session:
        rows = VectorFile(workspace.vectors_dir, encoder).count(session)
    report = _read_report(workspace, encoder)
    tail = rows - (report.rows if report else 0)
    limit = EXACT_FLOATS // _TAIL if report else EXACT_FLOATS
    return Status(encoder.name, rows, encoder.dimensions, report, tail, tail * encoder.dimensions > limit)


def load(workspace: Workspace, encoder: Encoder, rows: int) -> Trained | None:
    """The index of an encoder's first rows, mapped; none if there is none, or it knows more than `rows`."""
    import faiss

    for _ in range(2):  # a build may replace the files between reading their name and opening them
        report = _read_report(workspace, encoder)
        if report is None or report.rows > rows:
            return None
        path = workspace.indexes_dir / report.file
        try:
            with path.with_suffix(".npz").open("rb") as file, np.load(file) as arrays:
                mean, inverse_norms = arrays["mean"], arrays["inverse_norms"]
            index: Any = faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
        except (OSError, RuntimeError, ValueError, KeyError, zipfile.BadZipFile):
            continue
        lists: Any = faiss.downcast_InvertedLists(index.invlists)
        lists.prefetch_nthread = 0  # the 32 threads that it would start for each query cost more than the query
        index.nprobe = report.probes
        return Trained(report, index, mean, inverse_norms)
    return None


def build(workspace: Workspace, encoder: Encoder, *, anew: bool = False) -> Report:
    """Take the new rows into the index, and train it anew if there is none, if asked, or if its recall has fallen.

    The recall is measured each time, on held-out rows of the whole collection. Searches go on with what there was;
    the new files are written beside and take its place whole.

    Raises:
        ConflictError: another process builds it now, or there are too few vectors to train on.
        IntegrityError: vectors are missing on disk.
    """
    with _locked(workspace, encoder):
        with workspace.database.read() as session:
            stored = VectorFile(workspace.vectors_dir, encoder).open(session)
        present = np.flatnonzero(stored.image_ids >= 0)
        if len(present) <= _HELD_OUT:
            raise ConflictError(f"{len(present)} vectors are searched exactly faster than through an index.")
        built = None if anew else _extend(workspace, encoder, stored)
        if built is None or built.report.recall < LEAST_RECALL:
            built = train(stored.values, present)
        _save(workspace, encoder, built)
        return built.report


def drop(workspace: Workspace, encoder: Encoder) -> None:
    """Forget the index, such as when rows under it were replaced."""
    (workspace.indexes_dir / f"{encoder.digest}.json").unlink(missing_ok=True)


def build_in_background(workspace: Workspace, encoder: Encoder) -> bool:
    """Start a process that builds the index if that is due, and outlives this one; whether it was due."""
    if not status(workspace, encoder).due:
        return False
    subprocess.Popen(
        [sys.executable, "-m", "curation.ivf", str(workspace.home), encoder.name],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    return True


def train(values: Floats, present: Ints, *, seed: int = 0) -> Trained:
    """An index over the rows `present` of `values` `(rows, D)`; the same input and seed give the same index."""
    import faiss

    mean, inverse_norms = centre(values, present)
    generator = np.random.default_rng(seed)
    held_out, seen = np.split(generator.permutation(present), [_HELD_OUT])
    lists = max(1, min(int(_LISTS_PER_ROOT * len(present) ** 0.5), len(seen)))
    dimensions = values.shape[1]
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(dimensions), dimensions, lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    index.cp.seed = seed + 1
    index.cp.min_points_per_centroid = 1  # it is told nothing new by FAISS's warning
    index.cp.max_points_per_centroid = _TRAINING_ROWS
    index.train(directions(values, np.sort(seen[: lists * _TRAINING_ROWS]), mean, inverse_norms))
    _add(index, values, present, mean, inverse_norms)
    report = Report("", len(values), lists, 1, 0.0, len(values), "")
    return _measured(Trained(report, index, mean, inverse_norms), values, present, np.sort(held_out), most=lists)


def centre(values: Floats, present: Ints, mean: Vectors | None = None) -> tuple[Vectors, Vectors]:
    """The mean `(D,)` of the rows `present`, unless given, and 1 / the length of each centred row, 0 for others.

    Raises:
        IntegrityError: one of those rows holds NaN or infinity.
    """
    if mean is None:
        total = np.zeros(values.shape[1])
        for rows in _in_blocks(present):
            with np.errstate(all="ignore"):  # said below
                total += values[rows].sum(axis=0, dtype=np.float64)
        mean = (total / max(len(present), 1)).astype(np.float32)
    inverse_norms = np.zeros(len(values), dtype=np.float32)
    for rows in _in_blocks(present):
        with np.errstate(all="ignore"):
            centred = values[rows] - mean
            squares = np.einsum("ij,ij->i", centred, centred)
        if not np.isfinite(squares).all():
            raise IntegrityError("Vectors on disk hold NaN or infinity. Run: winnow verify --repair.")
        inverse_norms[rows] = 1 / np.maximum(np.sqrt(squares), 1e-12)
    return mean, inverse_norms


def directions(values: Floats, rows: Ints, mean: Vectors, inverse_norms: Vectors) -> Vectors:
    """The centred unit vectors `(n, D)` float32 of `rows`."""
    result: Vectors = (values[rows] - mean) * inverse_norms[rows, None]
    return result


def propose(trained: Trained, query: Vectors) -> Ints:
    """Rows `(Q, 128)` that are near the unit vectors `(Q, D)` by their codes, -1 where there are fewer."""
    rows: Ints = trained.faiss.search(query, _PROPOSED)[1]
    return rows


def reaches(trained: Trained, k: int) -> bool:
    """Whether the recall that was measured speaks for the `k` nearest; deeper queries are compared exactly."""
    return k <= 2 * _DEPTH and trained.report.rows > 2 * _PROPOSED


def recall(trained: Trained, values: Floats, queries: Ints, truth: Ints) -> float:
    """The share of `truth` `(Q, 10)`, -1 where there are fewer, that the index finds for the rows `queries` `(Q,)`."""
    query = directions(values, queries, trained.mean, trained.inverse_norms)
    proposed = propose(trained, query)
    hits = [
        len(set(_best(values, trained, near[(near >= 0) & (near != row)], one)) & set(true))
        for near, row, one, true in zip(proposed, queries.tolist(), query, truth.tolist(), strict=True)
    ]
    return sum(hits) / max(int((truth >= 0).sum()), 1)


def _best(values: Floats, trained: Trained, rows: Ints, query: Vectors) -> list[int]:
    rows = np.sort(rows)
    cosines = directions(values, rows, trained.mean, trained.inverse_norms) @ query
    best: list[int] = rows[np.argsort(-cosines, kind="stable")[:_DEPTH]].tolist()
    return best


def _measured(trained: Trained, values: Floats, present: Ints, held_out: Ints, *, most: int) -> Trained:
    """The index with as many probes as the target recall takes, `most` at most, and the recall it has then."""
    truth = _nearest(trained, values, present, held_out)
    probes = 1
    while True:
        trained.faiss.nprobe = probes
        found = recall(trained, values, held_out, truth)
        if found >= _TARGET_RECALL or probes >= most:
            report = replace(trained.report, probes=probes, recall=found, built_at=datetime.now(UTC).isoformat())
            return replace(trained, report=report)
        probes = min(probes + max(probes // 4, 1), most)


def _nearest(trained: Trained, values: Floats, present: Ints, queries: Ints) -> Ints:
    """The rows of the ten exact nearest `(Q, 10)` of each of `queries`, -1 for itself and where there are fewer."""
    import faiss

    query = directions(values, queries, trained.mean, trained.inverse_norms)
    rows: Ints = np.empty((len(queries), 0), dtype=np.int64)
    cosines: Vectors = np.empty((len(queries), 0), dtype=np.float32)
    for block in _in_blocks(present):
        there = directions(values, block, trained.mean, trained.inverse_norms)
        near, positions = faiss.knn(query, there, min(_DEPTH + 1, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
        rows = np.hstack([rows, block[positions]])
        cosines = np.hstack([cosines, np.where(block[positions] == queries[:, None], -np.inf, near)])
        best = np.argsort(-cosines, axis=1, kind="stable")[:, :_DEPTH]
        rows, cosines = np.take_along_axis(rows, best, axis=1), np.take_along_axis(cosines, best, axis=1)
    return np.where(np.isfinite(cosines), rows, -1)


def _extend(workspace: Workspace, encoder: Encoder, stored: Stored) -> Trained | None:
    """The index with the rows that came after it, measured again on queries from all of them."""
    import faiss

    old = load(workspace, encoder, len(stored.values))
    if old is None:
        return None
    index = faiss.read_index(str(workspace.indexes_dir / old.report.file))
    present = np.flatnonzero(stored.image_ids >= 0)
    mean, inverse_norms = centre(stored.values, present, old.mean)
    _add(index, stored.values, present[present >= old.report.rows], mean, inverse_norms)
    report = replace(old.report, rows=len(stored.values))
    held_out = np.random.default_rng(report.rows).choice(present, _HELD_OUT, replace=False)
    most = max(report.lists // _EXTENDED, 1)
    extended = Trained(report, index, mean, inverse_norms)
    return _measured(extended, stored.values, present, np.sort(held_out), most=most)


def _add(index: Any, values: Floats, rows: Ints, mean: Vectors, inverse_norms: Vectors) -> None:
    for block in _in_blocks(rows):
        index.add_with_ids(directions(values, block, mean, inverse_norms), block)


def _in_blocks(rows: Ints) -> Iterator[Ints]:
    for start in range(0, len(rows), _BLOCK):
        yield rows[start : start + _BLOCK]


def _read_report(workspace: Workspace, encoder: Encoder) -> Report | None:
    try:
        return Report(**json.loads((workspace.indexes_dir / f"{encoder.digest}.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None  # none yet, or of another release: a cache, built again when due


def _save(workspace: Workspace, encoder: Encoder, built: Trained) -> None:
    """Write both files under a name of their own, then point to them; what was there before goes last."""
    import faiss

    folder = workspace.indexes_dir
    name = f"{encoder.digest[:16]}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}.faiss"
    faiss.write_index(built.faiss, str(folder / name))
    with (folder / name).with_suffix(".npz").open("wb") as file:
        np.savez(file, mean=built.mean, inverse_norms=built.inverse_norms)
    for path in (folder / name, (folder / name).with_suffix(".npz")):
        _sync(path)
    pointer = folder / f"{encoder.digest}.json"
    scratch = pointer.with_suffix(".part")
    scratch.write_text(json.dumps(asdict(replace(built.report, file=name))))
    _sync(scratch)
    os.replace(scratch, pointer)
    for path in folder.glob(f"{encoder.digest[:16]}-*"):  # also what an interrupted build left
        if path.stem != Path(name).stem:
            path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def _locked(workspace: Workspace, encoder: Encoder) -> Iterator[None]:
    workspace.indexes_dir.mkdir(parents=True, exist_ok=True)
    with (workspace.indexes_dir / f"{encoder.digest}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(f"The index of {encoder.name} is being built by another process.") from error
        yield


if __name__ == "__main__":
    from curation.embed import find_encoder

    os.nice(10)
    here = open_workspace(Path(sys.argv[1]))
    with here.database.read() as reading:
        named = find_encoder(reading, sys.argv[2])
        reading.expunge(named)
    with contextlib.suppress(ConflictError):  # another process has begun
        build(here, named)
