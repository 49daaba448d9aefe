"""A version as files a trainer reads. Written beside the destination and renamed: all of it or nothing."""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from sqlalchemy import select
from sqlalchemy.orm import Session

from curation import originals, versions
from curation.originals import Original
from store import fail_points
from store.errors import ConflictError, InvalidInputError, NotFoundError
from store.schema import Image, Label, Sighting, Verdict, VersionId, VersionItem
from store.workspace import Workspace

Format: TypeAlias = Literal["parquet", "image-folder"]

_HOSTILE = re.compile(r"[^\w\- .]|^[. ]|[. ]$")  # to some file system, or to a shell
_LONGEST_NAME = 200  # bytes; file systems take 255


@dataclass(frozen=True)
class ExportSummary:
    """What was written where."""

    version: VersionId
    format: str
    folder: Path
    images: int


@dataclass(frozen=True)
class _Row:
    sha256: str
    uri: str
    label: str
    split: str
    width: int
    height: int
    scene: str | None
    source: str
    posterior: float | None  # that the label is right; none when an adjudicator said so
    decided_by: str  # consensus or adjudicator


def export(workspace: Workspace, reference: str, *, format: str, folder: Path) -> ExportSummary:
    """Write a version, verified first, into a new or empty folder, with its manifest in `version.json`.

    `parquet` writes `images.parquet`, one row per image, ordered by sha256. `image-folder` writes
    links `split/class/sha256.extension` to the images' files and `metadata.jsonl` with the same
    columns. Characters of a class name that could hurt are written `%` and their code in hex.

    Raises:
        NotFoundError, InvalidInputError: `reference` means no version or several, as in `versions.show`.
        InvalidInputError: the format is unknown, or an image to link is not where it was.
        ConflictError: the folder holds something.
        IntegrityError: the version is not what was cut.
    """
    if format not in get_args(Format):
        raise InvalidInputError(f"There is no format {format!r}: say {' or '.join(get_args(Format))}.")
    version = versions.verify(workspace, reference)
    with workspace.database.read() as session:
        manifest = versions.find(session, version.id).manifest
        rows, links = _read(session, version.id)
        sources = {original.sha256: original for original in originals.find(session)}
    with _beside(folder.expanduser().absolute()) as partial:
        (partial / "version.json").write_text(json.dumps({"id": version.id, **manifest}, indent=2) + "\n")
        if format == "parquet":
            _write_parquet(partial, rows)
        else:
            _write_image_folder(partial, rows, links, sources, workspace.originals_dir)
        fail_points.reach("export.before_rename")
    return ExportSummary(version.id, format, folder, len(rows))


def safe_name(value: str) -> str:
    """`value` as a file name no file system stumbles over; different values give different names."""
    name = _HOSTILE.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), value) or "%"
    if len(name.encode()) > _LONGEST_NAME:
        digest = hashlib.sha256(value.encode()).hexdigest()
        name = f"{name.encode()[: _LONGEST_NAME - 65].decode(errors='ignore')}%{digest}"
    return name


def _read(session: Session, version_id: VersionId) -> tuple[list[_Row], list[Path]]:
    """The rows, ordered by sha256, and the path each image's link is to have."""
    sightings = {
        sighting.image_id: sighting  # the last wins: of those that are current, the first by uri
        for sighting in session.scalars(
            select(Sighting)
            .join(VersionItem, VersionItem.image_id == Sighting.image_id)
            .where(VersionItem.version_id == version_id)
            .order_by(Sighting.current, Sighting.uri.desc())
        )
    }
    found = session.execute(
        select(Image, Label.value, VersionItem.split, Verdict)
        .join(VersionItem, VersionItem.image_id == Image.id)
        .join(Label, Label.id == VersionItem.label_id)
        .join(Verdict, Verdict.id == Label.verdict_id)
        .where(VersionItem.version_id == version_id)
        .order_by(Image.sha256)
    ).all()
    rows = [
        _Row(
            sha256=image.sha256,
            uri=sightings[image.id].uri,
            label=label,
            split=split,
            width=image.width,
            height=image.height,
            scene=sightings[image.id].scene,
            source=sightings[image.id].source,
            posterior=verdict.posterior,
            decided_by="adjudicator" if "adjudicator" in verdict.evidence else "consensus",
        )
        for image, label, split, verdict in found
    ]
    links = [
        Path(split, safe_name(label), f"{image.sha256}.{image.format.lower()}") for image, label, split, _ in found
    ]
    return rows, links


def _write_parquet(folder: Path, rows: Sequence[_Row]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = pa.schema(
        [
            ("sha256", pa.string()),
            ("uri", pa.string()),
            ("label", pa.string()),
            ("split", pa.string()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("scene", pa.string()),
            ("source", pa.string()),
            ("posterior", pa.float64()),
            ("decided_by", pa.string()),
        ]
    )
    pq.write_table(pa.Table.from_pylist([asdict(row) for row in rows], schema=columns), folder / "images.parquet")


def _write_image_folder(
    folder: Path, rows: Sequence[_Row], links: Sequence[Path], sources: Mapping[str, Original], copies: Path
) -> None:
    """Links to files whose bytes were looked at now: a name in a version stands for one content."""
    files, gone = [], []
    for row in rows:
        try:
            files.append(sources[row.sha256].locate(copies))
        except NotFoundError:
            gone.append(row.uri)
    if gone:
        raise InvalidInputError(
            f"{len(gone)} of {len(rows)} images are not where they were, the first at {gone[0]}. "
            "Put them back or ingest them from where they are now; --format parquet needs no files."
        )
    with (folder / "metadata.jsonl").open("w") as metadata:
        for row, link, file in zip(rows, links, files, strict=True):
            (folder / link).parent.mkdir(parents=True, exist_ok=True)
            if file.parent == copies:  # a cache, which may be deleted
                shutil.copyfile(file, folder / link)
            else:
                (folder / link).symlink_to(file)
            metadata.write(json.dumps({"file_name": str(link), **asdict(row)}) + "\n")


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """A folder to fill that becomes `folder` at the end; what a killed export left there is cleared."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConflictError(f"{folder} holds something already. Name a new or an empty folder.")
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        partial.rename(folder)
    except OSError as error:
        raise InvalidInputError(f"{folder} cannot be written: {error.strerror}.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
