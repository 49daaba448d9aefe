"""The catalog as JSON documents: the shapes other programs rely on, the same from `/v1` and `--json`."""

from collections import defaultdict
from collections.abc import Sequence
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
    Embedding,
    Encoder,
    Image,
    Pick,
    Quarantined,
    Sighting,
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


def image(session: Session, image_id: int) -> dict[str, Any]:
    """One image and every place it was seen, current ones first.

    Raises:
        NotFoundError: there is no such image.
    """
    row = session.get(Image, image_id)
    if row is None:
        raise NotFoundError(f"There is no image {image_id}. See: winnow images list.")
    order = (Sighting.current.desc(), Sighting.uri)
    sightings = list(session.scalars(select(Sighting).where(Sighting.image_id == image_id).order_by(*order)))
    seen = [
        {"uri": one.uri, "source": one.source, "scene": one.scene, "details": one.details, "current": one.current}
        for one in sightings
    ]
    return {**_image(row, sightings), "sightings": seen}


def quarantine(session: Session) -> dict[str, Any]:
    """Every file that could not be taken in, by uri."""
    rows = session.scalars(select(Quarantined).order_by(Quarantined.uri))
    return {"quarantined": [{"uri": row.uri, "source": row.source, "reason": row.reason} for row in rows]}


def encoders(session: Session, *, known: Sequence[str]) -> dict[str, Any]:
    """Encoders that have vectors, then the forms of those that could have."""
    embedded = select(Embedding.encoder_id, func.count()).group_by(Embedding.encoder_id)
    counts = dict(session.execute(embedded).all())
    used = [
        {"name": row.name, "digest": row.digest, "dimensions": row.dimensions, "embedded": counts.get(row.id, 0)}
        for row in session.scalars(select(Encoder).order_by(Encoder.id))
    ]
    names = {row["name"] for row in used}
    unused = [{"name": name, "digest": None, "dimensions": None, "embedded": 0} for name in known if name not in names]
    return {"encoders": used + unused}


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


def _image(image: Image, sightings: list[Sighting]) -> dict[str, Any]:
    current = [sighting.uri for sighting in sightings if sighting.current]
    return {
        "id": image.id,
        "sha256": image.sha256,
        "uris": current,
        "source": sightings[0].source if sightings else None,
        "width": image.width,
        "height": image.height,
        "format": image.format,
        "status": "present" if current else "gone",
    }


def _checked(limit: int) -> int:
    if not 1 <= limit <= _MOST:
        raise InvalidInputError(f"A page holds 1 to {_MOST} rows, not {limit}.")
    return limit
