"""Files into the catalog: every content once, every place it was seen, every failure with its reason."""

import os
import stat
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from curation import sources
from curation.decode import Fingerprint, UndecodableError, fingerprint
from store import fail_points
from store.schema import Image, Quarantined, Sighting
from store.workspace import Workspace

_CHUNK = 200  # files a transaction


@dataclass(frozen=True)
class IngestSummary:
    """What one ingest did."""

    files: int
    new_images: int
    new_sightings: int
    unchanged: int
    quarantined: list[tuple[str, str]]  # (uri, reason)


@dataclass(frozen=True)
class _Read:
    """One file as it was read: a fingerprint, or the reason for quarantine."""

    candidate: sources.Candidate
    bytes: int
    modified_ns: int
    outcome: Fingerprint | str


def ingest(
    workspace: Workspace,
    locations: Sequence[str],
    *,
    source: str | None = None,
    metadata: Path | None = None,
    scene: str | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> IngestSummary:
    """Bring everything behind `locations` into the catalog; a second call costs a stat per unchanged file.

    Work is committed every few hundred files, so an interrupted ingest continues where it was.

    Args:
        workspace: Where to.
        locations: Folders, globs, files or manifests, see `sources.find`.
        source: The name these sightings are filed under; by default the first location's.
        metadata: A manifest describing the files.
        scene: A regular expression that finds the scene in a path.
        on_progress: Told (done, total) files.

    Raises:
        NotFoundError: a location does not exist or holds no image.
        InvalidInputError: a manifest or pattern cannot be read.
    """
    candidates = sources.find(locations, metadata=metadata, scene=scene)
    name = source or Path(locations[0]).name
    with workspace.database.read() as session:
        known = _known_files(session)
    fresh: list[sources.Candidate] = []
    unchanged: list[sources.Candidate] = []
    for candidate in candidates:
        stamp = _stamp(candidate.path)
        is_same = stamp is not None and known.get(candidate.uri) == stamp
        (unchanged if is_same else fresh).append(candidate)
    _describe(workspace, unchanged)
    new_images = new_sightings = 0
    quarantined: list[tuple[str, str]] = []
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for start in range(0, len(fresh), _CHUNK):
            reads = list(pool.map(_read, fresh[start : start + _CHUNK]))
            with workspace.database.write() as session:
                images, sightings = _save(session, reads, source=name)
                fail_points.reach("ingest.before_commit")
            fail_points.reach("ingest.after_commit")
            new_images += images
            new_sightings += sightings
            quarantined += [(read.candidate.uri, read.outcome) for read in reads if isinstance(read.outcome, str)]
            on_progress(len(unchanged) + min(start + _CHUNK, len(fresh)), len(candidates))
    return IngestSummary(len(candidates), new_images, new_sightings, len(unchanged), quarantined)


def _read(candidate: sources.Candidate) -> _Read:
    """Read and decode one file; whatever goes wrong becomes the reason."""
    stamp = _stamp(candidate.path) or (0, 0)
    try:
        os.fsencode(candidate.path).decode("utf-8")
        if not stat.S_ISREG(candidate.path.stat().st_mode):
            return _Read(candidate, *stamp, "not a regular file")
        return _Read(candidate, *stamp, fingerprint(candidate.path.read_bytes()))
    except UnicodeDecodeError:
        return _Read(candidate, *stamp, "the file name is not UTF-8: rename it")
    except UndecodableError as error:
        return _Read(candidate, *stamp, str(error))
    except OSError as error:
        return _Read(candidate, *stamp, f"the file cannot be read: {error.strerror or type(error).__name__}")


def _stamp(path: Path) -> tuple[int, int] | None:
    """Size and modification time, by which a file counts as unchanged."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _known_files(session: Session) -> dict[str, tuple[int, int]]:
    rows = session.execute(select(Sighting.uri, Sighting.bytes, Sighting.modified_ns).where(Sighting.current))
    return {uri: (size, modified_ns) for uri, size, modified_ns in rows}


def _describe(workspace: Workspace, unchanged: Sequence[sources.Candidate]) -> None:
    """Take over what is newly said of files that did not change themselves; what is not said stays."""
    said = {candidate.uri: candidate for candidate in unchanged if candidate.details or candidate.scene}
    if not said:
        return
    with workspace.database.write() as session:
        for sighting in session.scalars(select(Sighting).where(Sighting.current)):
            candidate = said.get(sighting.uri)
            if candidate is not None:
                _take_over(sighting, candidate)


def _take_over(sighting: Sighting, candidate: sources.Candidate) -> None:
    """What is newly said replaces what was said; what is not said stays."""
    sighting.details = dict(candidate.details) or sighting.details
    sighting.scene = candidate.scene or sighting.scene


def _save(session: Session, reads: Iterable[_Read], *, source: str) -> tuple[int, int]:
    """Write one chunk; returns the numbers of new images and new sightings."""
    new_images = new_sightings = 0
    for read in reads:
        uri = read.candidate.uri
        session.execute(delete(Quarantined).where(Quarantined.uri == uri))
        session.execute(update(Sighting).where(Sighting.uri == uri).values(current=False))
        if isinstance(read.outcome, str):
            session.add(Quarantined(uri=uri, source=source, reason=read.outcome))
            continue
        image = session.scalar(select(Image).where(Image.sha256 == read.outcome.sha256))
        if image is None:
            image = Image(**vars(read.outcome))
            session.add(image)
            session.flush()
            new_images += 1
        sighting = session.scalar(select(Sighting).where(Sighting.uri == uri, Sighting.image_id == image.id))
        if sighting is None:
            sighting = Sighting(uri=uri, image_id=image.id, details={})
            session.add(sighting)
            new_sightings += 1
        sighting.source = source
        _take_over(sighting, read.candidate)
        sighting.bytes, sighting.modified_ns = read.bytes, read.modified_ns
        sighting.current = True
        session.flush()
    return new_images, new_sightings
