"""The catalog's rows for what ingest sees: looked up, written, and marked missing, many at a time."""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, and_, delete, exists, insert, or_, select, update
from sqlalchemy.orm import Session

from curation import uris
from curation.decode import Fingerprint
from curation.objects import Stamp
from curation.sources import Root, Said, covers
from store.arrays import Ints
from store.database import batched
from store.schema import Container, Image, Quarantined, Sighting
from store.workspace import Workspace

_CHUNK = 1000  # rows read at once


@dataclass(frozen=True)
class Known:
    """A current sighting."""

    id: int
    stamp: Stamp
    missing: bool


@dataclass(frozen=True)
class Failure:
    """A quarantined file."""

    reason: str
    stamp: Stamp | None


@dataclass(frozen=True)
class Contents:
    """An archive or video that was read to its end."""

    uri: str
    stamp: Stamp
    frames: str | None


@dataclass(frozen=True)
class Page:
    """What the catalog holds of a few uris."""

    known: Mapping[str, Known]
    failures: Mapping[str, Failure]
    contents: Mapping[str, Contents]


@dataclass(frozen=True)
class Outcome:
    """What became of one candidate."""

    uri: str
    said: Said
    stamp: Stamp | None  # of the file that was read; none where a failure is to be tried again in any case
    found: Fingerprint | str  # or the reason for quarantine
    is_gone: bool = False  # it failed because nothing is there


@dataclass(frozen=True)
class Saved:
    """What saving a few outcomes did."""

    new_images: int
    new_sightings: int
    missing: int
    ids: Sequence[int]  # of the sightings that are current now


def look_up(session: Session, wanted: Sequence[str], *, only_whole: bool) -> Page:
    """What is known of `wanted`; with `only_whole`, images recorded before there was a quality count as unknown."""
    known = select(Sighting.uri, Sighting.id, Sighting.bytes, Sighting.modified_ns, Sighting.missing).where(
        Sighting.current, Sighting.uri.in_(wanted)
    )
    if only_whole:
        known = known.join(Image, Image.id == Sighting.image_id).where(Image.dhash.is_not(None))
    failures = select(Quarantined).where(Quarantined.uri.in_(wanted))
    contents = select(Container).where(Container.uri.in_(wanted))
    return Page(
        {uri: Known(row_id, (size, moment), missing) for uri, row_id, size, moment, missing in session.execute(known)},
        {row.uri: _failure(row) for row in session.scalars(failures)},
        {row.uri: Contents(row.uri, (row.bytes, row.modified_ns), row.frames) for row in session.scalars(contents)},
    )


def has_old_rows(session: Session) -> bool:
    """Whether some images were recorded before there was a quality."""
    return bool(session.scalar(select(exists().where(Image.dhash.is_(None)))))


def look_inside(session: Session, container: str) -> Page:
    """What is known of everything in an archive or video, and of itself."""
    within = or_(*(_begins(Sighting.uri, start) for start in uris.inside(container)))
    known = select(Sighting.uri, Sighting.id, Sighting.bytes, Sighting.modified_ns, Sighting.missing)
    failed = or_(Quarantined.uri == container, *(_begins(Quarantined.uri, start) for start in uris.inside(container)))
    return Page(
        {
            uri: Known(row_id, (size, moment), missing)
            for uri, row_id, size, moment, missing in session.execute(known.where(Sighting.current, within))
        },
        {row.uri: _failure(row) for row in session.scalars(select(Quarantined).where(failed).order_by(Quarantined.id))},
        {},
    )


def save(session: Session, outcomes: Sequence[Outcome], *, source: str) -> Saved:
    """Write outcomes, no two of one uri; new places are filed under `source` where nothing else is said.

    What is not said now of a place stays, whatever picture it shows. A place that shows another picture, or none
    any longer that can be decoded, has a sighting less that is current. Where nothing can be read the sighting
    stays and is missing.
    """
    wanted = [outcome.uri for outcome in outcomes]
    session.execute(delete(Quarantined).where(Quarantined.uri.in_(wanted)))
    columns = (Sighting.id, Sighting.uri, Sighting.image_id, Sighting.current)
    said_before = (Sighting.source, Sighting.details, Sighting.scene)
    rows = session.execute(select(*columns, *said_before).where(Sighting.uri.in_(wanted))).all()
    before = {(row.uri, row.image_id): row for row in rows}
    current = {row.uri: row for row in rows if row.current}
    fingerprints = {one.found.sha256: one.found for one in outcomes if isinstance(one.found, Fingerprint)}
    image_ids, new_images = _save_images(session, fingerprints)
    inserts: list[dict[str, Any]] = []
    updates: list[dict[str, Any]] = []
    failures: list[dict[str, Any]] = []
    replaced: list[int] = []
    missing: list[int] = []
    for outcome in outcomes:
        seen = current.get(outcome.uri)
        if isinstance(outcome.found, str):
            if seen is not None:
                (missing if outcome.stamp is None else replaced).append(seen.id)
            if seen is None or not outcome.is_gone:
                failures.append(_quarantine_row(outcome, outcome.found, source))
            continue
        image_id = image_ids[outcome.found.sha256]
        if seen is not None and seen.image_id != image_id:
            replaced.append(seen.id)
        row = before.get((outcome.uri, image_id))
        filed = outcome.said.source or (seen.source if seen is not None else source)
        values = _sighting_row(outcome, filed, row if seen is None else seen)
        if row is None:
            inserts.append({"uri": outcome.uri, "image_id": image_id, **values})
        else:
            updates.append({"id": row.id, **values})
    ids = [one["id"] for one in updates]
    _set(session, replaced, current=False)
    _set(session, missing, missing=True)
    if updates:
        session.execute(update(Sighting), updates)
    if inserts:
        ids += session.scalars(insert(Sighting).returning(Sighting.id), inserts).all()
    if failures:
        session.execute(insert(Quarantined), failures)
    return Saved(new_images, len(inserts), len(missing), ids)


def close(session: Session, contents: Contents, *, is_whole: bool) -> None:
    """Remember that everything in an archive or video is in the catalog; out of quarantine where it is whole."""
    if is_whole:
        session.execute(delete(Quarantined).where(Quarantined.uri == contents.uri))
    session.execute(delete(Container).where(Container.uri == contents.uri))
    size, modified_ns = contents.stamp
    session.add(Container(uri=contents.uri, bytes=size, modified_ns=modified_ns, frames=contents.frames))


def describe(session: Session, said: Mapping[int, Said], *, returned: Collection[int]) -> None:
    """Take over what is newly said of sightings, by id; what is not said stays. Those `returned` are there again."""
    _set(session, returned, missing=False)
    for ids in batched(said):
        before = select(Sighting.id, Sighting.source, Sighting.details, Sighting.scene).where(Sighting.id.in_(ids))
        changes = []
        for row in session.execute(before):
            new = said[row.id]
            after = (row.id, new.source or row.source, dict(new.details) or row.details, new.scene or row.scene)
            if after != tuple(row):
                changes.append(dict(zip(row._fields, after, strict=True)))
        if changes:
            session.execute(update(Sighting), changes)


def mark_missing(workspace: Workspace, roots: Iterable[Root], *, seen: Ints, read: Collection[str]) -> int:
    """Mark what lies under `roots`, is not among the `seen` ids, and is not there; returns how many.

    `read` names the archives and videos that were read to their end: what was not seen in them is gone.
    """
    marked = 0
    for root in roots:
        known = select(Sighting.id).where(Sighting.current, ~Sighting.missing, _begins(Sighting.uri, root.prefix))
        with workspace.database.read() as session:
            ids: Ints = np.fromiter(session.scalars(known.execution_options(yield_per=_CHUNK)), dtype=np.int64)
        for chunk in batched(np.setdiff1d(ids, seen).tolist()):
            with workspace.database.read() as session:
                rows = session.execute(select(Sighting.id, Sighting.uri).where(Sighting.id.in_(chunk))).all()
            gone_uris = _gone([uri for _, uri in rows if covers(root, uri)], read)
            gone = [row_id for row_id, uri in rows if uri in gone_uris]
            with workspace.database.write() as session:
                _set(session, gone, missing=True)
            marked += len(gone)
    return marked


def release_gone(
    workspace: Workspace, roots: Iterable[Root], *, failed: Collection[str], read: Collection[str]
) -> None:
    """Take out of quarantine what lies under `roots`, did not fail now, and is not there any longer or a folder."""
    for root in roots:
        with workspace.database.read() as session:
            held = session.scalars(select(Quarantined.uri).where(_begins(Quarantined.uri, root.prefix))).all()
        passed = [uri for uri in held if uri not in failed and covers(root, uri)]
        gone = [*{uri for uri in passed if os.path.isdir(uri)} | _gone(passed, read)]
        if gone:
            with workspace.database.write() as session:
                for some in batched(gone):
                    session.execute(delete(Quarantined).where(Quarantined.uri.in_(some)))


def _gone(seen_before: Sequence[str], read: Collection[str]) -> set[str]:
    """Those uris that are certainly not there: their file is not, or it was read to its end without them."""
    addresses = {uri: uris.split(uri) for uri in seen_before}
    is_gone = {file: uris.is_gone(file) for file in {address.file for address in addresses.values()}}
    return {
        uri
        for uri, address in addresses.items()
        if is_gone[address.file] or (not address.is_whole and address.file in read)
    }


def _save_images(session: Session, fingerprints: Mapping[str, Fingerprint]) -> tuple[dict[str, int], int]:
    """The ids of images by sha256, and how many are new."""
    known = session.execute(select(Image.sha256, Image.id, Image.dhash).where(Image.sha256.in_(fingerprints))).all()
    ids = {sha256: image_id for sha256, image_id, _ in known}
    old = [{"id": image_id, **vars(fingerprints[sha256])} for sha256, image_id, dhash in known if dhash is None]
    if old:
        session.execute(update(Image), old)
    new = [vars(one) for one in fingerprints.values() if one.sha256 not in ids]
    if new:
        ids |= dict(session.execute(insert(Image).returning(Image.sha256, Image.id), new).all())
    return ids, len(new)


def _sighting_row(outcome: Outcome, source: str, before: Any) -> dict[str, Any]:
    size, modified_ns = outcome.stamp or (0, 0)
    return {
        "source": source,
        "details": dict(outcome.said.details) or (before.details if before is not None else {}),
        "scene": outcome.said.scene or (before.scene if before is not None else None),
        "bytes": size,
        "modified_ns": modified_ns,
        "current": True,
        "missing": False,
    }


def _quarantine_row(outcome: Outcome, reason: str, source: str) -> dict[str, Any]:
    size, modified_ns = outcome.stamp or (None, None)
    return {"uri": outcome.uri, "source": source, "reason": reason, "bytes": size, "modified_ns": modified_ns}


def _failure(row: Quarantined) -> Failure:
    stamp = None if row.bytes is None or row.modified_ns is None else (row.bytes, row.modified_ns)
    return Failure(row.reason, stamp)


def _set(session: Session, ids: Collection[int], **values: bool) -> None:
    for chunk in batched(ids):
        session.execute(update(Sighting).where(Sighting.id.in_(chunk)).values(**values))


def _begins(column: Any, prefix: str) -> ColumnElement[bool]:
    """Whether a text begins with `prefix`, in a form an index answers."""
    return and_(column >= prefix, column < prefix[:-1] + chr(ord(prefix[-1]) + 1))
