"""Answers that people gave elsewhere, as tables: CSV, JSON Lines or Parquet with an item, an annotator and a label."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curation import manifests, prediction_checks
from curation.prediction_checks import Form
from store.arrays import Floats, Ints
from store.errors import InvalidInputError, NotFoundError

_ITEM = ("item", "question", "task")
_ANNOTATOR = ("annotator", "worker")
_LABEL = ("label", "answer")
_TRUTH = ("truth", *_LABEL)
_FEW_CLASSES = 20  # which are never too many


@dataclass(frozen=True)
class AnswerFile:
    """Who said what, numbered."""

    items: list[str]  # ascending
    annotators: list[str]  # ascending
    classes: list[str]  # ascending, those of the truth included
    answers: Ints  # (M, 3) item, annotator and class, in the order of the file
    truth: Ints  # (N,), -1 where nothing is said
    uris: dict[str, str]  # the image of an item, where the file has a column uri
    skipped: int  # rows without a label
    repeated: int  # rows that are replaced by a later one of the same item and annotator


def read(path: Path, *, truth: Path | None = None) -> AnswerFile:
    """Answers, and the true classes of their items from a second file.

    Columns may be called item, question or task; annotator or worker; label or answer; in the second file also truth.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: a file cannot be read, lacks a column or a value, or names fewer than two classes, or nearly
            as many as answers.
    """
    columns, rows = _table(path)
    item_of, annotator_of, label_of = (_column(columns, names, path) for names in (_ITEM, _ANNOTATOR, _LABEL))
    said: dict[tuple[str, str], str] = {}
    uris: dict[str, str] = {}
    labelled = 0
    for number, row in enumerate(rows, start=1):
        item, annotator, label = (_text(row.get(name)) for name in (item_of, annotator_of, label_of))
        if not item or not annotator:
            raise InvalidInputError(f"Row {number} of {path} names no {item_of if not item else annotator_of}.")
        if not label:
            continue
        labelled += 1
        said.pop((item, annotator), None)  # the place of an answer is that of its last revision
        said[item, annotator] = label
        if uri := _text(row.get("uri")):
            uris[item] = manifests.place(uri, path.absolute().parent)
    true = {} if truth is None else _true(truth)
    items, annotators = sorted({item for item, _ in said}), sorted({annotator for _, annotator in said})
    classes = sorted({*said.values(), *(true[item] for item in items if item in true)})
    if len(classes) < 2:
        raise InvalidInputError(f"{path} names {len(classes)} classes in {labelled} answers; two are needed.")
    if len(classes) > max(_FEW_CLASSES, labelled // 2):
        raise InvalidInputError(
            f"{path} names {len(classes)} classes in {labelled} answers, too many to agree on: does {label_of} hold "
            "labels?"
        )
    if truth is not None and not any(item in true for item in items):
        raise InvalidInputError(f"None of the {len(items)} items of {path} is among the {len(true)} of {truth}.")
    numbers = [{name: i for i, name in enumerate(names)} for names in (items, annotators, classes)]
    return AnswerFile(
        items,
        annotators,
        classes,
        answers=np.array([_numbered((*key, label), numbers) for key, label in said.items()], dtype=np.int64),
        truth=np.array([numbers[2].get(true.get(item, ""), -1) for item in items], dtype=np.int64),
        uris=uris,
        skipped=len(rows) - labelled,
        repeated=labelled - len(said),
    )


def read_probabilities(path: Path, answers: AnswerFile) -> Floats:
    """What a model says of each item, `(N, C)`: rows with `item` and `probabilities`, a list or an object by class.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: it cannot be read, leaves out an item, or a row does not hold probabilities of the classes.
    """
    columns, rows = _table(path)
    item_of = _column(columns, _ITEM, path)
    row_of = {_text(row.get(item_of)): (number, row) for number, row in enumerate(rows, start=1)}
    missing = [item for item in answers.items if item not in row_of]
    if missing:
        raise InvalidInputError(
            f"{path} says nothing of {len(missing)} of {len(answers.items)} items, such as {missing[0]}."
        )
    chosen = [row_of[item] for item in answers.items]
    form = Form("probabilities", answers.classes, passes=1)
    values, reasons = prediction_checks.stack([{"probabilities": row.get("probabilities")} for _, row in chosen], form)
    refused = [(number, reason) for (number, _), reason in zip(chosen, reasons, strict=True) if reason is not None]
    if refused:
        number, reason = refused[0]
        raise InvalidInputError(f"{len(refused)} rows of {path} cannot be used; rows such as {number} {reason}.")
    return values[:, 0]


def _true(path: Path) -> dict[str, str]:
    columns, rows = _table(path)
    item_of, truth_of = _column(columns, _ITEM, path), _column(columns, _TRUTH, path)
    return {_text(row.get(item_of)): label for row in rows if (label := _text(row.get(truth_of)))}


def _table(path: Path) -> tuple[Sequence[str], list[dict[str, Any]]]:
    """A CSV's values stay text, so that an item 007 and a class NA keep their names."""
    if not path.is_file():
        raise NotFoundError(f"There is no file {path}.")
    if path.suffix.lower() not in manifests.SUFFIXES:
        raise InvalidInputError(f"{path} is none of {', '.join(manifests.SUFFIXES)}.")
    if path.suffix.lower() != ".csv":
        return manifests.table(path, kind="table")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            return reader.fieldnames or [], list(reader)
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"The table {path} is not UTF-8 text: save it as UTF-8.") from error
    except (ValueError, csv.Error) as error:
        raise InvalidInputError(f"The table {path} cannot be read: {error}.") from error


def _column(columns: Sequence[str], names: Sequence[str], path: Path) -> str:
    for name in names:
        if name in columns:
            return name
    raise InvalidInputError(f"{path} needs a column {' or '.join(names)}; it has: {', '.join(columns) or 'none'}.")


def _text(value: Any) -> str:
    """A name as text; nothing where there is none."""
    return "" if value is None or value != value else str(value).strip()  # noqa: PLR0124  # NaN is not itself


def _numbered(key: tuple[str, ...], numbers: Sequence[Mapping[str, int]]) -> tuple[int, ...]:
    return tuple(number[name] for name, number in zip(key, numbers, strict=True))
