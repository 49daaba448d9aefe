"""Predictions of any model, brought in from a file as a run of its own."""

import hashlib
import json
import tempfile
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from curation import prediction_checks as checks
from curation import prediction_files as files
from curation.prediction_checks import Form, RowError
from store import fail_points
from store.arrays import Bools, Floats
from store.errors import ConflictError, InvalidInputError
from store.schema import BoxPrediction, Image, Prediction, PredictionRun, Sighting, Taxonomy
from store.workspace import Workspace

_BUILT_IN = "probe"
_NAMED = 20  # rows that are named one by one, for each reason
_BLOCK = 4096  # rows an insert
_MOST_CLASSES = 20_000
_LARGEST_ID = 2**63 - 1  # SQLite's


@dataclass(frozen=True)
class Refused:
    """Rows of a file that were left out for one reason."""

    reason: str  # what they do
    count: int
    rows: list[int]  # the numbers of the first of them, from 1


@dataclass(frozen=True)
class ImportSummary:
    """What became of a file's rows."""

    run: int
    model: str
    kind: str  # classes or boxes
    classes: list[str]
    passes: int
    imported: int
    already: bool  # the same predictions of this model were there: nothing was written
    refused: list[Refused]

    @property
    def remarks(self) -> list[str]:
        """What was not imported and why, a line each."""
        return [_remark(one) for one in self.refused]


@dataclass(frozen=True)
class _Known:
    """An image as a row found it."""

    id: int
    width: int
    height: int


class _Tally:
    """Why rows were refused."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._rows: dict[str, list[int]] = {}

    def add(self, number: int, reason: str) -> None:
        self._counts[reason] = self._counts.get(reason, 0) + 1
        rows = self._rows.setdefault(reason, [])
        if len(rows) < _NAMED:
            rows.append(number)

    def refused(self) -> list[Refused]:
        return [Refused(reason, count, self._rows[reason]) for reason, count in self._counts.items()]


class _Spool:
    """Checked predictions on disk, until all are there and can be written at once."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._image_ids, self._ends = array("q"), array("q", [0])

    def __len__(self) -> int:
        return len(self._image_ids)

    def append(self, image_id: int, payload: bytes) -> None:
        self._file.write(payload)
        self._image_ids.append(image_id)
        self._ends.append(self._ends[-1] + len(payload))

    def blocks(self) -> Iterator[list[tuple[int, bytes]]]:
        """Images and what was said of them, by image id."""
        self._file.flush()
        data = np.memmap(self._file, dtype=np.uint8, mode="r")
        order = np.argsort(np.frombuffer(self._image_ids, dtype=np.int64))
        for start in range(0, len(order), _BLOCK):
            yield [
                (self._image_ids[i], data[self._ends[i] : self._ends[i + 1]].tobytes())
                for i in order[start : start + _BLOCK].tolist()
            ]


def import_file(
    workspace: Workspace,
    path: Path,
    *,
    model: str,
    classes: Sequence[str] | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> ImportSummary:
    """Store what a JSON Lines or Parquet file says as a new run of `model`; the same again changes nothing.

    A row names its image by `sha256`, `image` (its id) or `uri`, and holds one of: `probabilities` or `logits`
    (a list in the order of the classes, or an object), `passes` (a list of such probabilities), `boxes`, or
    `passes` of boxes. What can be used is imported, what cannot is counted. The run appears as a whole or not at all.

    Args:
        workspace: where to.
        path: the file.
        model: a name for what made the predictions.
        classes: in the order of lists; by default those that objects or boxes name, else the taxonomy's.
        on_progress: told the rows read, and 0 as nobody knows how many there are.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: it cannot be read, its classes are not known, or nothing in it can be used.
        ConflictError: `model` is the name of the built-in probe.
    """
    if not model.strip():
        raise InvalidInputError("A model needs a name.")
    if model == _BUILT_IN:
        raise ConflictError(f"{_BUILT_IN} is the built-in model. Give yours a name of its own.")
    with tempfile.TemporaryFile(dir=workspace.home) as file:
        spool, tally = _Spool(file), _Tally()
        with workspace.database.read() as session:
            form = _form(session, path, classes)
            seen = np.zeros((session.scalar(select(func.max(Image.id))) or 0) + 1, dtype=np.bool_)
            for block in files.blocks(path):
                _check(session, block, form, seen=seen, spool=spool, tally=tally)
                on_progress(block[-1][0], 0)
        refused = tally.refused()
        if not len(spool):
            remarks = "; ".join(map(_remark, refused))
            raise InvalidInputError(f"Nothing of {path} was imported: {remarks or 'it is empty'}.")
        run, already = _save(workspace, model, form, spool, refused)
    kind = "boxes" if form.of_boxes else "classes"
    return ImportSummary(run, model, kind, form.classes, form.passes, len(spool), already, refused)


def _form(session: Session, path: Path, classes: Sequence[str] | None) -> Form:
    """What the first row that holds a prediction holds; every other has to hold the same."""
    rows = (row for block in files.blocks(path) for _, row in block if row is not None)
    for row in rows:
        try:
            kind = checks.kind(row)
            passes = len(checks.passes(row, kind))
            break
        except RowError:
            continue
    else:
        raise InvalidInputError(f"No row of {path} holds one of {', '.join(checks.KEYS)}.")
    of_boxes = "boxes" in kind
    if classes is None:
        classes = _named(path) if of_boxes or checks.names(row) else _taxonomy_classes(session)
    names = list(classes)
    if not all(_text(name).strip() for name in names) or len(set(names)) != len(names):
        raise InvalidInputError("A class has no name, or two have the same. Say them: --classes a,b,c.")
    if len(names) < 2 and not of_boxes:
        raise InvalidInputError(f"{len(names)} class is no choice: give the probability of its opposite too.")
    return Form(kind, names, passes)


def _named(path: Path) -> list[str]:
    """The classes that a file's objects or boxes name, sorted."""
    named: set[str] = set()
    for block in files.blocks(path):
        named = named.union(*(checks.names(row) for _, row in block if row is not None))
        if len(named) > _MOST_CLASSES:
            raise InvalidInputError(f"{path} names more than {_MOST_CLASSES} classes. Say them: --classes a,b,c.")
    return sorted(named)


def _taxonomy_classes(session: Session) -> list[str]:
    """The classes of the only taxonomy's newest revision."""
    names = sorted(session.scalars(select(Taxonomy.name).distinct()))
    if len(names) != 1:
        raise InvalidInputError(
            f"The file names no classes, and there are {len(names)} taxonomies to take them from. "
            "Say them in the order of the lists: --classes a,b,c."
        )
    taxonomy = session.scalars(select(Taxonomy).order_by(Taxonomy.revision.desc()).limit(1)).one()
    return [each["name"] for each in taxonomy.classes]


def _check(
    session: Session, block: Sequence[files.Row], form: Form, *, seen: Bools, spool: _Spool, tally: _Tally
) -> None:
    """Put the rows that can be used into `spool` and count the others; `seen` says which images had one already."""
    rows = []
    for number, row in block:
        if row is None:
            tally.add(number, checks.UNPARSABLE)
        else:
            rows.append((number, row))
    images = _images(session, [row for _, row in rows])
    found = [(number, row, image) for (number, row), image in zip(rows, images, strict=True) if image is not None]
    for (number, _), image in zip(rows, images, strict=True):
        if image is None:
            tally.add(number, checks.UNKNOWN_IMAGE)
    for (number, _, image), payload in zip(found, _payloads(found, form), strict=True):
        if isinstance(payload, str):
            tally.add(number, payload)
        elif seen[image.id]:
            tally.add(number, checks.REPEATED)
        else:
            seen[image.id] = True
            spool.append(image.id, payload)


def _payloads(found: Sequence[tuple[int, dict[str, Any], _Known]], form: Form) -> Iterator[bytes | str]:
    """What is stored of each row, or why it is refused."""
    if not form.of_boxes:
        values, reasons = checks.stack([row for _, row, _ in found], form)
        for matrix, reason in zip(values, reasons, strict=True):
            yield reason or _packed(matrix, form)
        return
    for _, row, image in found:
        try:
            yield json.dumps(checks.check_boxes(row, form, width=image.width, height=image.height)).encode()
        except RowError as error:
            yield str(error)


def _packed(matrix: Floats, form: Form) -> bytes:
    """The probabilities `(M, C)`; of logits `(1, C)` the energy after them."""
    if form.kind != "logits":
        return matrix.astype("<f4").tobytes()
    probabilities, energy = checks.of_logits(matrix)
    largest = np.finfo(np.float32).max
    return probabilities.astype("<f4").tobytes() + energy.clip(-largest, largest).astype("<f4").tobytes()


def _unpacked(data: bytes, form: Form) -> dict[str, Any]:
    end = 4 * form.passes * len(form.classes)
    energy = float(np.frombuffer(data[end:], dtype="<f4")[0]) if form.kind == "logits" else None
    return {"probabilities": data[:end], "energy": energy}


def _images(session: Session, rows: Sequence[Mapping[str, Any]]) -> list[_Known | None]:
    """The image each row names by `sha256`, else by `image`, else by `uri`; a relative path is one from here."""
    columns = (Image.id, Image.width, Image.height)
    sha256s = {name.lower() for row in rows if (name := _text(row.get("sha256")))}
    ids = {image_id for row in rows if (image_id := _id(row.get("image")))}
    uris = {place for row in rows if (name := _text(row.get("uri"))) for place in (name, str(Path(name).absolute()))}
    by_sha256 = {
        key: _Known(*image)
        for key, *image in session.execute(select(Image.sha256, *columns).where(Image.sha256.in_(sha256s)))
    }
    by_id = {image[0]: _Known(*image) for image in session.execute(select(*columns).where(Image.id.in_(ids)))}
    current = select(Sighting.uri, *columns).join(Image, Image.id == Sighting.image_id).where(Sighting.current)
    by_uri = {key: _Known(*image) for key, *image in session.execute(current.where(Sighting.uri.in_(uris)))}
    found: list[_Known | None] = []
    for row in rows:
        if row.get("sha256") is not None:
            found.append(by_sha256.get(_text(row["sha256"]).lower()))
        elif row.get("image") is not None:
            found.append(by_id.get(_id(row["image"])))
        else:
            name = _text(row.get("uri"))
            found.append(by_uri.get(name) or by_uri.get(str(Path(name).absolute())))
    return found


def _text(value: Any) -> str:
    """A name the database can be asked for, else an empty one."""
    if not isinstance(value, str):
        return ""
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return ""
    return value


def _id(value: Any) -> int:
    """An image id the database can be asked for, else 0, which is none."""
    return value if type(value) is int and 0 < value <= _LARGEST_ID else 0


def _save(workspace: Workspace, model: str, form: Form, spool: _Spool, refused: Sequence[Refused]) -> tuple[int, bool]:
    """The run's id and whether it was there already."""
    kind = "boxes" if form.of_boxes else "classes"
    content = hashlib.sha256(json.dumps([model, kind, form.classes, form.passes]).encode())
    for block in spool.blocks():
        for image_id, payload in block:
            content.update(image_id.to_bytes(8, "little") + payload)
    digest = content.hexdigest()
    with workspace.database.write() as session:
        there = session.scalar(select(PredictionRun.id).where(PredictionRun.digest == digest))
        if there is not None:
            return there, True
        report = {
            "predicted": len(spool),
            "refused": {one.reason: one.count for one in refused},
            "energies": form.kind == "logits",
        }
        run = PredictionRun(
            model=model, digest=digest, kind=kind, classes=form.classes, passes=form.passes, report=report
        )
        session.add(run)
        session.flush()
        for block in spool.blocks():
            if form.of_boxes:
                rows = [{"run_id": run.id, "image_id": i, "passes": json.loads(data)} for i, data in block]
                session.execute(insert(BoxPrediction), rows)
            else:
                rows = [{"run_id": run.id, "image_id": i, **_unpacked(data, form)} for i, data in block]
                session.execute(insert(Prediction), rows)
        fail_points.reach("predictions.before_commit")
        return run.id, False


def _remark(one: Refused) -> str:
    more = ", …" if one.count > len(one.rows) else ""
    return f"{one.count} {one.reason}: rows {', '.join(map(str, one.rows))}{more}"
