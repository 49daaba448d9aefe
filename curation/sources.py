"""Where images come from: folders, globs, files, and manifests that say more about each."""

import glob
import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from store.errors import InvalidInputError, NotFoundError

MANIFEST_SUFFIXES = {".csv", ".jsonl", ".parquet"}
_IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"}
    | {".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)


@dataclass(frozen=True)
class Candidate:
    """A file that may be an image."""

    path: Path
    details: Mapping[str, Any] = field(default_factory=dict)
    scene: str | None = None

    @property
    def uri(self) -> str:
        """The path as text the catalog can hold; bytes that are no UTF-8 are spelled out."""
        return os.fsencode(self.path).decode("utf-8", "backslashreplace")


def find(sources: Sequence[str], *, metadata: Path | None = None, scene: str | None = None) -> list[Candidate]:
    """The candidates behind `sources`, each path once, in path order.

    Args:
        sources: Folders (searched deeply), globs, files, or manifests with a `uri` column.
        metadata: A manifest whose rows describe files that other sources bring in.
        scene: A regular expression over the path; its first group, or all it matched, names the scene.

    Raises:
        NotFoundError: a source does not exist, or none holds an image.
        InvalidInputError: a manifest or pattern cannot be read.
    """
    if not all(source.strip() for source in sources):
        raise InvalidInputError("A source is empty: is a variable unset? Nothing was ingested.")
    pattern = _compile(scene)
    details = {} if metadata is None else dict(read_manifest(metadata))
    found: dict[Path, Mapping[str, Any]] = {}
    for source in sources:
        if Path(source).suffix.lower() in MANIFEST_SUFFIXES and Path(source).is_file():
            found.update(read_manifest(Path(source)))
        else:
            for path in _paths(source):
                found.setdefault(path, {})  # a manifest named before or after says more
    if not found:
        raise NotFoundError(f"No image files in {', '.join(sources)}. Nothing was ingested.")
    candidates = []
    for path in sorted(found):
        columns = {**found[path], **details.get(path, {})}
        named = columns.pop("scene", None)
        match = pattern.search(str(path)) if pattern else None
        candidates.append(
            Candidate(path, columns, str(named) if named is not None else match and match.group(bool(match.groups())))
        )
    return candidates


def read_manifest(manifest: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Each row's file and its other columns; a relative `uri` starts at the manifest's folder.

    Raises:
        InvalidInputError: the file cannot be parsed or has no `uri` column.
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
        uri = str(row.pop("uri")).removeprefix("file://")
        described: dict[str, Any] = {str(name): value for name, value in row.items() if value is not None}
        yield Path(os.path.normpath(folder / uri)), described


def _paths(source: str) -> Iterator[Path]:
    path = Path(os.path.abspath(source))
    if path.is_dir():
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            yield from (
                file for name in names if not name.startswith(".") and _may_be_image(file := Path(folder, name))
            )
    elif os.path.lexists(path):
        yield path
    elif glob.has_magic(source):
        yield from (Path(match) for match in glob.glob(str(path), recursive=True) if not os.path.isdir(match))
    else:
        raise NotFoundError(f"{source} does not exist. Nothing was ingested.")


def _may_be_image(path: Path) -> bool:
    """Whether the name says so or, failing that, the first bytes do."""
    if path.suffix.lower() in _IMAGE_SUFFIXES:
        return True
    if not path.is_file():
        return False
    from PIL import Image

    try:
        with Image.open(path):
            return True
    except Exception:  # whatever it is, it does not open like an image
        return False


def _compile(scene: str | None) -> re.Pattern[str] | None:
    try:
        return re.compile(scene) if scene else None
    except re.error as error:
        raise InvalidInputError(f"The scene pattern {scene!r} is not a regular expression: {error}.") from error
