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
_URI = ("uri",)
_PROBABILITIES = ("probabilities",)
_DELIMITERS = ",;\t"  # of a CSV, as spreadsheets of different countries write it
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
    repeated_truth: int  # rows of the truth that are replaced by a later one of the same item


@dataclass(frozen=True)
class _Table:
    """A table as it is; rows without any value are left out."""

    path: Path
    columns: Sequence[str]
    rows: list[tuple[int, dict[str, Any]]]  # with their numbers, from 1

    def column(self, names: Sequence[str]) -> str:
        """The column that has one of these names, whatever its capitals and the blanks around it."""
        if (found := self.find(names)) is not None:
            return found
        has = ", ".join(self.columns) or "none"
        raise InvalidInputError(f"{self.path} needs a column {' or '.join(names)}; it has: {has}.")

    def find(self, names: Sequence[str]) -> str | None:
        """The same; none where there is none."""
        for name in names:
            called = [column for column in self.columns if _plain(column) == name]
            if len(called) > 1:
                raise InvalidInputError(
                    f"{self.path} has {len(called)} columns called {name}: leave in the one that counts."
                )
            if called:
                return called[0]
        return None

    def text(self, number: int, row: Mapping[str, Any], column: str) -> str:
        """A name in a row as text; nothing where there is none."""
        value = row.get(column)
        if isinstance(value, list | dict):
            raise InvalidInputError(
                f"Row {number} of {self.path} has more than one value as its {column.strip()}, {value!r}: policies are "
                "replayed on answers of one class each."
            )
        return _text(value)


def read(path: Path, *, truth: Path | None = None) -> AnswerFile:
    """Answers, and the true classes of their items from a second file.

    Columns may be called item, question or task; annotator or worker; label or answer; in the second file also truth.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: a file cannot be read, lacks a column or a value, has two of its names, or names fewer than
            two classes, or nearly as many as answers; or the truth is of other items or classes.
    """
    table = _table(path)
    item_of, annotator_of, label_of = (table.column(names) for names in (_ITEM, _ANNOTATOR, _LABEL))
    uri_of = table.find(_URI)
    said: dict[tuple[str, str], str] = {}
    uris: dict[str, str] = {}
    labelled = 0
    for number, row in table.rows:
        item, annotator, label = (table.text(number, row, name) for name in (item_of, annotator_of, label_of))
        if not item or not annotator:
            nameless = item_of if not item else annotator_of
            raise InvalidInputError(f"Row {number} of {path} names no {nameless.strip()}.")
        if not label:
            continue
        labelled += 1
        said.pop((item, annotator), None)  # the place of an answer is that of its last revision
        said[item, annotator] = label
        if uri_of is not None and (uri := table.text(number, row, uri_of)):
            uris[item] = manifests.place(uri, path.absolute().parent)
    true, repeated_truth = ({}, 0) if truth is None else _true(truth)
    items, annotators = sorted({item for item, _ in said}), sorted({annotator for _, annotator in said})
    classes = sorted({*said.values(), *(true[item] for item in items if item in true)})
    if len(classes) < 2:
        raise InvalidInputError(f"{path} names {len(classes)} classes in {labelled} answers; two are needed.")
    if len(classes) > max(_FEW_CLASSES, labelled // 2):
        raise InvalidInputError(
            f"{path} names {len(classes)} classes in {labelled} answers, too many to agree on: does "
            f"{label_of.strip()} hold labels?"
        )
    if truth is not None:
        _check_truth(truth, true, path, items, {*said.values()})
    numbers = [{name: i for i, name in enumerate(names)} for names in (items, annotators, classes)]
    return AnswerFile(
        items,
        annotators,
        classes,
        answers=np.array([_numbered((*key, label), numbers) for key, label in said.items()], dtype=np.int64),
        truth=np.array([numbers[2].get(true.get(item, ""), -1) for item in items], dtype=np.int64),
        uris=uris,
        skipped=len(table.rows) - labelled,
        repeated=labelled - len(said),
        repeated_truth=repeated_truth,
    )


def read_probabilities(path: Path, answers: AnswerFile) -> tuple[Floats, int]:
    """What a model says of each item, `(N, C)`: rows with `item` and `probabilities`, a list or an object by class.

    Returns:
        These, and how many rows are replaced by a later one of the same item.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: it cannot be read, leaves out an item, or a row does not hold probabilities of the classes.
    """
    if path.suffix.lower() == ".csv":
        raise InvalidInputError(
            f"{path} is a CSV, whose cells hold no lists: write probabilities as "
            f"{' or '.join(suffix for suffix in manifests.SUFFIXES if suffix != '.csv')}."
        )
    table = _table(path)
    item_of, probabilities_of = table.column(_ITEM), table.column(_PROBABILITIES)
    row_of = {table.text(number, row, item_of): (number, row) for number, row in table.rows}
    missing = [item for item in answers.items if item not in row_of]
    if missing:
        raise InvalidInputError(
            f"{path} says nothing of {len(missing)} of {len(answers.items)} items, such as {missing[0]}."
        )
    chosen = [row_of[item] for item in answers.items]
    form = Form("probabilities", answers.classes, passes=1)
    values, reasons = prediction_checks.stack([{"probabilities": row.get(probabilities_of)} for _, row in chosen], form)
    refused = [(number, reason) for (number, _), reason in zip(chosen, reasons, strict=True) if reason is not None]
    if refused:
        number, reason = refused[0]
        raise InvalidInputError(f"{len(refused)} rows of {path} cannot be used; rows such as {number} {reason}.")
    return values[:, 0], len(table.rows) - len(row_of)


def _true(path: Path) -> tuple[dict[str, str], int]:
    """The true classes by item, and how many rows are replaced by a later one of the same item."""
    table = _table(path)
    item_of, truth_of = table.column(_ITEM), table.column(_TRUTH)
    told = [
        (table.text(number, row, item_of), label)
        for number, row in table.rows
        if (label := table.text(number, row, truth_of))
    ]
    true = dict(told)
    return true, len(told) - len(true)


def _check_truth(truth: Path, true: Mapping[str, str], path: Path, items: Sequence[str], labels: set[str]) -> None:
    told = {true[item] for item in items if item in true}
    if not told:
        raise InvalidInputError(f"None of the {len(items)} items of {path} is among the {len(true)} of {truth}.")
    if not told & labels:
        raise InvalidInputError(
            f"None of the {len(told)} classes of {truth}, such as {min(told)!r}, is among the {len(labels)} labels of "
            f"{path}, such as {min(labels)!r}: call them alike in both."
        )


def _table(path: Path) -> _Table:
    columns, rows = _read(path)
    numbered = enumerate(rows, start=1)
    return _Table(path, columns, [(number, row) for number, row in numbered if any(map(_is_told, row.values()))])


def _is_told(value: Any) -> bool:
    """Whether a cell, or one of those beyond the last column, holds anything."""
    return any(map(_text, value)) if isinstance(value, list) else bool(_text(value))


def _read(path: Path) -> tuple[Sequence[str], list[dict[str, Any]]]:
    """A CSV's values stay text, so that an item 007 and a class NA keep their names; headings tell the delimiter."""
    if not path.is_file():
        raise NotFoundError(f"There is no file {path}.")
    if path.suffix.lower() not in manifests.SUFFIXES:
        raise InvalidInputError(f"{path} is none of {', '.join(manifests.SUFFIXES)}.")
    if path.suffix.lower() != ".csv":
        return manifests.table(path, kind="table")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            delimiter = max(_DELIMITERS, key=file.readline().count)
            file.seek(0)
            reader = csv.DictReader(file, delimiter=delimiter)
            return reader.fieldnames or [], list(reader)
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"The table {path} is not UTF-8 text: save it as UTF-8.") from error
    except (ValueError, csv.Error) as error:
        if str(error).startswith("field larger"):
            raise InvalidInputError(
                f"The table {path} holds a value of more than {csv.field_size_limit():,} characters, too long for a "
                "name: is a quotation mark left open?"
            ) from error
        raise InvalidInputError(f"The table {path} cannot be read: {error}.") from error


def _plain(name: str) -> str:
    return name.strip().casefold()


def _text(value: Any) -> str:
    """A name as text; nothing where there is none."""
    return "" if value is None or value != value else str(value).strip()  # noqa: PLR0124  # NaN is not itself


def _numbered(key: tuple[str, ...], numbers: Sequence[Mapping[str, int]]) -> tuple[int, ...]:
    return tuple(number[name] for name, number in zip(key, numbers, strict=True))
