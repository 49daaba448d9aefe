"""Tables that say more about images: CSV, JSON Lines or Parquet with a `uri` and any other columns."""

import csv
import json
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias

from curation import objects
from store.errors import InvalidInputError

SUFFIXES = (".csv", ".jsonl", ".parquet")

_Table: TypeAlias = tuple[Sequence[str], list[dict[str, Any]]]  # columns, rows


def read(manifest: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row's uri and its other columns; a relative path starts at the manifest's folder.

    Raises:
        InvalidInputError: the file cannot be parsed, has no `uri` column, or a URL in it holds a secret.
    """
    columns, rows = table(manifest, kind="manifest")
    if "uri" not in columns:
        raise InvalidInputError(
            f"The manifest {manifest} needs a column `uri`; it has: {', '.join(columns) or 'none'}."
        )
    unnamed = sum(_is_missing(row.get("uri")) for row in rows)
    if unnamed:
        raise InvalidInputError(f"{unnamed} of {len(rows)} rows of the manifest {manifest} have no `uri`.")
    folder = manifest.absolute().parent
    for row in rows:
        uri = place(str(row.pop("uri")), folder)
        yield uri, {name: _plain(name, value, manifest) for name, value in row.items() if not _is_missing(value)}


def table(path: Path, *, kind: str) -> _Table:
    """The names of the columns of a table, and its rows.

    Raises:
        InvalidInputError: the file cannot be parsed; the sentence calls it a `kind`.
    """
    if path.suffix.lower() not in _READERS:
        raise InvalidInputError(f"{path} is no {kind}: it has to end in {', '.join(_READERS)}.")
    try:
        return _READERS[path.suffix.lower()](path)
    except (OSError, ValueError, ImportError, Warning) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise InvalidInputError(f"The {kind} {path} cannot be read: {reason}.") from error


def place(uri: str, folder: Path) -> str:
    """Where an image is that a table in `folder` names: a URL as it is, a path from that folder on.

    Raises:
        InvalidInputError: the URL holds a secret.
    """
    return objects.check(uri) if objects.is_url(uri) else os.path.normpath(folder / uri.removeprefix("file://"))


def _parquet(manifest: Path) -> _Table:
    from pyarrow import parquet

    table = parquet.read_table(manifest)
    return table.column_names, table.to_pylist()


def _jsonl(manifest: Path) -> _Table:
    lines = enumerate(manifest.read_text(encoding="utf-8-sig").split("\n"), start=1)
    rows = [_json_object(number, line) for number, line in lines if line.strip()]
    return list(dict.fromkeys(name for row in rows for name in row)), rows


def _json_object(number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {number}, column {error.colno}: {error.msg}") from error
    except ValueError as error:
        raise ValueError(f"line {number}: {error}") from error
    if not isinstance(row, dict):
        raise ValueError(f"line {number} is no JSON object")
    return row


def _csv(manifest: Path) -> _Table:
    import pandas

    _check_header(next(_csv_lines(manifest), (1, []))[1])
    try:
        with warnings.catch_warnings(action="error", category=pandas.errors.ParserWarning):  # rows too long
            table = pandas.read_csv(
                manifest,
                dtype={"uri": "string", "scene": "string"},
                dtype_backend="numpy_nullable",  # whole numbers stay whole where some are missing
                encoding="utf-8-sig",
                index_col=False,
            )
    except (pandas.errors.ParserError, pandas.errors.ParserWarning) as error:
        raise ValueError(_longer_row(manifest) or str(error)) from error
    columns = [str(name) for name in table.columns]
    return columns, [dict(zip(columns, row, strict=True)) for row in table.astype(object).itertuples(index=False)]


def _csv_lines(manifest: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV and the numbers of their last lines."""
    with manifest.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        try:
            for row in reader:
                yield reader.line_num, row
        except csv.Error as error:
            raise ValueError(f"line {reader.line_num}: {error}") from error


def _check_header(names: Sequence[str]) -> None:
    """Refuse what pandas would take for something else."""
    if not names:
        raise ValueError("it is empty")
    separator = next((sign for sign in ";\t|" if sign in names[0]), None)
    if len(names) == 1 and separator is not None:
        raise ValueError(f"its values seem to be separated by {separator!r}, and have to be by commas")
    for name in ("uri", "scene"):
        if names.count(name) > 1:
            raise ValueError(f"it has {names.count(name)} columns `{name}`")


def _longer_row(manifest: Path) -> str | None:
    """A sentence about the first row with more values than there are columns."""
    lines = _csv_lines(manifest)
    _, names = next(lines)
    longer = ((number, len(row)) for number, row in lines if len(row) > len(names))
    return next(
        (
            f"line {number} has {count} values, and the first line names {len(names)} columns"
            for number, count in longer
        ),
        None,
    )


_READERS: Mapping[str, Callable[[Path], _Table]] = {".parquet": _parquet, ".jsonl": _jsonl, ".csv": _csv}


def _is_missing(value: Any) -> bool:
    """None, NaN, or what pandas says for either."""
    return value is None or type(value).__name__ == "NAType" or (isinstance(value, float) and math.isnan(value))


def _plain(name: str, value: Any, manifest: Path) -> Any:
    """A value as JSON can say it, exactly.

    Raises:
        InvalidInputError: it holds bytes.
    """
    if isinstance(value, bytes):
        raise InvalidInputError(f"The column {name} of the manifest {manifest} holds bytes: leave it out.")
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, float) and math.isinf(value):
        return str(value)
    if isinstance(value, dict):
        return {str(key): _plain(name, one, manifest) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(name, one, manifest) for one in value]
    return value.isoformat() if hasattr(value, "isoformat") else value
