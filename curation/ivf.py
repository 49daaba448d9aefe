"""A trained index beside the vectors of a large collection: which rows to compare with a query exactly.

Inverted lists of 8-bit codes (FAISS IVF, SQ8) over centred directions. The lists only propose rows; every cosine
that is told was computed on the stored vectors. The mean that centres is the one of the rows it was trained on: it
stays in the file until the index is trained anew. Rows that came after it are compared exactly, see curation.search.
"""

import contextlib
import fcntl
import json
import os
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from curation import servers
from store.arrays import Floats, Ints, Vectors
from store.errors import ConflictError, IntegrityError, WinnowError
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
_ARRAYS = ("mean", "inverse_norms", "trained_on")  # of Trained, kept beside the FAISS file
_RETRIED_AFTER = timedelta(days=1)  # a build that failed is not begun again of itself before


@dataclass(frozen=True)
class Report:
    """What an index file is."""

    file: str
    rows: int  # of the vector file that it covers
    lists: int
    probes: int  # lists that a query looks into
    recall: float  # of the ten nearest, on rows that training did not see, against exact search
    trained_rows: int  # rows there were when the mean and the lists were made
    built_at: str


@dataclass(frozen=True)
class Trained:
    """An index in memory, or mapped."""

    report: Report
    faiss: Any
    mean: Vectors  # (D,)
    inverse_norms: Vectors  # (rows,), of the centred vectors; 0 where there is none
    trained_on: Ints  # (n,) rows, ascending, that speak for no recall


@dataclass(frozen=True)
class Failure:
    """The last build, if it failed."""

    began_at: str
    reason: str


@dataclass(frozen=True)
class Status:
    """How an encoder's vectors are searched now."""

    encoder: str
    rows: int
    dimensions: int
    report: Report | None  # none: all of them exactly
    tail: int  # rows that are searched exactly
    due: bool  # it would be faster with a build
    failure: Failure | None  # of the last build, unless one is under way


def status(workspace: Workspace, encoder: Encoder) -> Status:
    """How the vectors of an encoder are searched now."""
    with workspace.database.read() as session:
        rows = VectorFile(workspace.vectors_dir, encoder).count(session)
    report = _read_report(workspace, encoder)
    tail = rows - (report.rows if report else 0)
    limit = EXACT_FLOATS // _TAIL if report else EXACT_FLOATS
    return Status(
        encoder.name,
        rows,
        encoder.dimensions,
        report,
        tail,
        tail * encoder.dimensions > limit,
        _failure(workspace, encoder),
    )


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
                mean, inverse_norms, trained_on = (arrays[name] for name in _ARRAYS)
            index: Any = faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
        except (OSError, RuntimeError, ValueError, KeyError, zipfile.BadZipFile):
            continue
        lists: Any = faiss.downcast_InvertedLists(index.invlists)
        lists.prefetch_nthread = 0  # the 32 threads that it would start for each query cost more than the query
        index.nprobe = report.probes
        return Trained(report, index, mean, inverse_norms, trained_on)
    return None


def build(workspace: Workspace, encoder: Encoder, *, anew: bool = False) -> Report:
    """Take the new rows into the index, and train it anew if there is none, if asked, or if its recall has fallen.

    The recall is measured each time, on rows that training did not see. Searches go on with what there was;
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
        with _noting_failure(workspace, encoder):
            built = None if anew else _extend(workspace, encoder, stored)
            if built is None or built.report.recall < LEAST_RECALL:
                built = train(stored.values, present)
            _save(workspace, encoder, built)
        return built.report


def drop(workspace: Workspace, encoder: Encoder) -> None:
    """Forget the index, such as when rows under it were replaced."""
    (workspace.indexes_dir / f"{encoder.digest}.json").unlink(missing_ok=True)


def build_in_background(workspace: Workspace, encoder: Encoder) -> bool:
    """Start a process that builds the index if that is due, and outlives this one; whether it was started.

    One that failed less than a day ago is not: it would most likely fail again.
    """
    now = status(workspace, encoder)
    failed = now.failure and datetime.fromisoformat(now.failure.began_at) > datetime.now(UTC) - _RETRIED_AFTER
    if not now.due or failed:
        return False
    command = [sys.executable, "-P", "-m", "curation.ivf", str(workspace.home), encoder.name]
    process = servers.spawn(command, log=log_of(workspace))
    threading.Thread(target=process.wait, daemon=True).start()  # or it would stay a zombie
    return True


def log_of(workspace: Workspace) -> Path:
    """What builds in the background print."""
    return workspace.home / "logs" / "index-build.log"


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
    trained_on = np.sort(seen[: lists * _TRAINING_ROWS])
    index.train(directions(values, trained_on, mean, inverse_norms))
    _add(index, values, present, mean, inverse_norms)
    report = Report("", len(values), lists, 1, 0.0, len(values), "")
    trained = Trained(report, index, mean, inverse_norms, trained_on)
    return _measured(trained, values, present, np.sort(held_out), most=lists)


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
    """The index with the rows that came after it, measured again on any that training did not see.

    None if there is none, or too few such rows are left.
    """
    import faiss

    old = load(workspace, encoder, len(stored.values))
    if old is None:
        return None
    index = faiss.read_index(str(workspace.indexes_dir / old.report.file))
    present = np.flatnonzero(stored.image_ids >= 0)
    unseen = np.setdiff1d(present, old.trained_on)
    if len(unseen) < _HELD_OUT:
        return None
    mean, inverse_norms = centre(stored.values, present, old.mean)
    _add(index, stored.values, present[present >= old.report.rows], mean, inverse_norms)
    report = replace(old.report, rows=len(stored.values))
    held_out = np.random.default_rng(report.rows).choice(unseen, _HELD_OUT, replace=False)
    most = max(report.lists // _EXTENDED, 1)
    extended = Trained(report, index, mean, inverse_norms, old.trained_on)
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


@contextlib.contextmanager
def _noting_failure(workspace: Workspace, encoder: Encoder) -> Iterator[None]:
    """Leave a note unless what is done inside succeeds; it is written first, for who is killed writes none."""
    path = _note_path(workspace, encoder)
    began = datetime.now(UTC).isoformat()
    path.write_text(json.dumps(asdict(Failure(began, "It was killed, maybe for want of memory."))))
    try:
        yield
    except Exception as error:
        reason = str(error) if isinstance(error, WinnowError) else f"{type(error).__name__}: {error}"
        path.write_text(json.dumps(asdict(Failure(began, reason))))
        raise
    except KeyboardInterrupt:
        path.unlink()
        raise
    path.unlink()


def _failure(workspace: Workspace, encoder: Encoder) -> Failure | None:
    try:
        failure = Failure(**json.loads(_note_path(workspace, encoder).read_text()))
        with _locked(workspace, encoder):
            return failure
    except (OSError, ValueError, TypeError, ConflictError):
        return None  # no note, or that of a build under way


def _note_path(workspace: Workspace, encoder: Encoder) -> Path:
    return workspace.indexes_dir / f"{encoder.digest}.failure.json"


def _save(workspace: Workspace, encoder: Encoder, built: Trained) -> None:
    """Write both files under a name of their own, then point to them; what was there before goes last."""
    import faiss

    folder = workspace.indexes_dir
    name = f"{encoder.digest[:16]}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}.faiss"
    faiss.write_index(built.faiss, str(folder / name))
    with (folder / name).with_suffix(".npz").open("wb") as file:
        np.savez(file, **{name: getattr(built, name) for name in _ARRAYS})
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


def main(home: str, encoder: str) -> None:
    """What the process in the background does."""
    from curation.embed import find_encoder

    os.nice(10)
    workspace = open_workspace(Path(home))
    with workspace.database.read() as session:
        row = find_encoder(session, encoder)
        session.expunge(row)
    with contextlib.suppress(ConflictError):  # another process has begun
        build(workspace, row)


if __name__ == "__main__":
    main(*sys.argv[1:])
