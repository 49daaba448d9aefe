"""Files of predictions, JSON Lines or Parquet, read a block of rows at a time."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

from curation.prediction_checks import KEYS
from store.errors import InvalidInputError, NotFoundError

SUFFIXES = (".jsonl", ".parquet")
NAMES = ("sha256", "image", "uri")  # how a row may name its image

Row: TypeAlias = tuple[int, dict[str, Any] | None]  # its number, from 1; none: it is no JSON object

_BLOCK = 1024  # rows
_BLOCK_BYTES = 1 << 24  # and about as much JSON


def blocks(path: Path) -> Iterator[list[Row]]:
    """The rows of a file in order, numbered from 1; those of a JSON Lines file by its lines.

    Of a Parquet file only the columns that matter here are read.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: it is of another kind, or cannot be read.
    """
    if not path.is_file():
        raise NotFoundError(f"There is no file {path}.")
    if path.suffix.lower() not in SUFFIXES:
        raise InvalidInputError(f"{path} is neither {' nor '.join(SUFFIXES)}.")
    try:
        yield from (_parquet if path.suffix.lower() == ".parquet" else _json_lines)(path)
    except (OSError, ValueError, NotImplementedError) as error:  # pyarrow's are of these
        raise InvalidInputError(f"{path} cannot be read: {' '.join(str(error).split()).rstrip('.')}.") from error


def _json_lines(path: Path) -> Iterator[list[Row]]:
    block: list[Row] = []
    size = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if not text.strip():
                continue
            block.append((number, _object(text)))
            size += len(text)
            if len(block) == _BLOCK or size >= _BLOCK_BYTES:
                yield block
                block, size = [], 0
    if block:
        yield block


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _parquet(path: Path) -> Iterator[list[Row]]:
    from pyarrow import parquet

    number = 1
    with parquet.ParquetFile(path) as file:
        wanted = [name for name in file.schema_arrow.names if name in (*NAMES, *KEYS)]
        for batch in file.iter_batches(_BLOCK, columns=wanted):
            columns = [_values(column) for column in batch.columns]
            names = batch.schema.names
            yield [(number + i, dict(zip(names, row, strict=True))) for i, row in enumerate(zip(*columns, strict=True))]
            number += batch.num_rows


def _values(column: Any) -> list[Any]:
    """A column's values: numbers in lists as arrays, which is much faster, all others as Python says them."""
    if _is_list_of_numbers(column.type):
        return list(column.to_numpy(zero_copy_only=False))
    if _is_list(column.type) and _is_list_of_numbers(column.type.value_type):
        return [one if one is None else list(one) for one in column.to_numpy(zero_copy_only=False)]
    return list(column.to_pylist(maps_as_pydicts="lossy"))


def _is_list_of_numbers(kind: Any) -> bool:
    from pyarrow import types

    return _is_list(kind) and bool(types.is_floating(kind.value_type) or types.is_integer(kind.value_type))


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))
