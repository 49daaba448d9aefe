"""Tables that say more about images: CSV, JSON Lines or Parquet with a `uri` and any other columns."""

import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from curation import objects
from store.errors import InvalidInputError

SUFFIXES = (".csv", ".jsonl", ".parquet")


def read(manifest: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row's uri and its other columns; a relative path starts at the manifest's folder.

    Raises:
        InvalidInputError: the file cannot be parsed, has no `uri` column, or a URL in it holds a secret.
    """
    import pandas

    try:
        if manifest.suffix.lower() == ".parquet":
            table = pandas.read_parquet(manifest)
        elif manifest.suffix.lower() == ".jsonl":
            table = pandas.read_json(manifest, lines=True, dtype=False)
        else:
            with warnings.catch_warnings(action="error", category=pandas.errors.ParserWarning):  # rows too long
                table = pandas.read_csv(
                    manifest, dtype={"uri": str, "scene": str}, encoding="utf-8-sig", index_col=False
                )
    except (OSError, ValueError, ImportError, pandas.errors.ParserWarning) as error:
        raise InvalidInputError(
            f"The manifest {manifest} cannot be read: {' '.join(str(error).split()).rstrip('.')}."
        ) from error
    if "uri" not in table.columns:
        columns = ", ".join(map(str, table.columns)) or "none"
        raise InvalidInputError(f"The manifest {manifest} needs a column `uri`; it has: {columns}.")
    unnamed = int(table["uri"].isna().sum())
    if unnamed:
        raise InvalidInputError(f"{unnamed} of {len(table)} rows of the manifest {manifest} have no `uri`.")
    folder = manifest.absolute().parent
    for row in json.loads(table.to_json(orient="records", date_format="iso")):
        uri = str(row.pop("uri"))
        described: dict[str, Any] = {str(name): value for name, value in row.items() if value is not None}
        path = os.path.normpath(folder / uri.removeprefix("file://"))
        yield objects.check(uri) if objects.is_url(uri) else path, described
