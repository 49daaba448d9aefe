"""The catalog as JSON documents: the shapes other programs rely on, the same from `/v1` and `--json`."""

from collections import defaultdict
from dataclasses import asdict
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api import dashboard
from store.errors import InvalidInputError, NotFoundError
from store.schema import (
    Batch,
    DuplicateGroup,
    DuplicateMember,
    DuplicateScan,
    Image,
    Pick,
    Sighting,
    Version,
    VersionItem,
)

_MOST = 1000  # rows in one document


def status(session: Session) -> dict[str, Any]:
    """The loop's stages with their counts."""
    return {"stages": [asdict(stage) for stage in dashboard.stages(session)]}


def images(session: Session, *, after: int = 0, limit: int = 100) -> dict[str, Any]:
    """A page of images by id; `next` is what to ask for `after`, none on the last page."""
    page = session.scalars(select(Image).where(Image.id > after).order_by(Image.id).limit(_checked(limit) + 1)).all()
    shown = page[:limit]
    sightings: dict[int, list[Sighting]] = defaultdict(list)
    found = select(Sighting).where(Sighting.image_id.in_([image.id for image in shown])).order_by(Sighting.id.desc())
    for sighting in session.scalars(found):
        sightings[sighting.image_id].append(sighting)
    return {
        "images": [_image(image, sightings[image.id]) for image in shown],
        "next": shown[-1].id if len(page) > limit else None,
    }


def duplicates(session: Session, *, after: int = 0, limit: int = 100) -> dict[str, Any]:
    """A page of the newest scan's groups by id."""
    newest = select(func.max(DuplicateScan.id)).scalar_subquery()
    page = session.scalars(
        select(DuplicateGroup)
        .where(DuplicateGroup.scan_id == newest, DuplicateGroup.id > after)
        .order_by(DuplicateGroup.id)
        .limit(_checked(limit) + 1)
    ).all()
    shown = page[:limit]
    members: dict[int, list[dict[str, Any]]] = defaultdict(list)
    of_groups = DuplicateMember.group_id.in_([group.id for group in shown])
    order = (DuplicateMember.distance, DuplicateMember.image_id)
    for member in session.scalars(select(DuplicateMember).where(of_groups).order_by(*order)):
        members[member.group_id].append({"image": member.image_id, "kind": member.kind, "distance": member.distance})
    return {
        "groups": [
            {"id": group.id, "representative": group.representative_id, "members": members[group.id]} for group in shown
        ],
        "next": shown[-1].id if len(page) > limit else None,
    }


def batch(session: Session, batch_id: int) -> dict[str, Any]:
    """A batch and every pick.

    Raises:
        NotFoundError: there is no such batch.
    """
    row = session.get(Batch, batch_id)
    if row is None:
        raise NotFoundError(f"There is no batch {batch_id}.")
    picks = session.scalars(select(Pick).where(Pick.batch_id == batch_id).order_by(Pick.rank))
    return {
        "id": row.id,
        "digest": row.digest,
        "recipe": row.recipe,
        "picks": [
            {"image": pick.image_id, "rank": pick.rank, "arm": pick.arm, "score": pick.score, "why": pick.why}
            for pick in picks
        ],
    }


def version(session: Session, version_id: str) -> dict[str, Any]:
    """A training-set version, by its digest.

    Raises:
        NotFoundError: there is no such version.
    """
    row = session.get(Version, version_id)
    if row is None:
        raise NotFoundError(f"There is no version {version_id}.")
    counts = session.execute(
        select(VersionItem.split, func.count()).where(VersionItem.version_id == row.id).group_by(VersionItem.split)
    )
    return {
        "id": row.id,
        "name": row.name,
        "number": row.number,
        "parent": row.parent_id,
        "counts": dict(counts.all()),
        "gates": row.gates,
    }


def _image(image: Image, sightings: list[Sighting]) -> dict[str, Any]:
    current = [sighting.uri for sighting in sightings if sighting.current]
    return {
        "id": image.id,
        "sha256": image.sha256,
        "uris": current,
        "source": sightings[0].source if sightings else None,
        "width": image.width,
        "height": image.height,
        "status": "present" if current else "gone",
    }


def _checked(limit: int) -> int:
    if not 1 <= limit <= _MOST:
        raise InvalidInputError(f"A page holds 1 to {_MOST} rows, not {limit}.")
    return limit
