"""The catalog as JSON documents: the shapes other programs rely on, the same from `/v1` and `--json`."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from api import dashboard, operating_curve
from curation import where as expressions
from qa import lots as audited
from qa.acceptance import Curve
from qa.lots import LotStatus
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
_POINTS = 12  # of an operating curve, about


def status(session: Session) -> dict[str, Any]:
    """The loop's stages with their counts."""
    return {"stages": [asdict(stage) for stage in dashboard.stages(session)]}


def images(
    session: Session, *, after: int = 0, limit: int = 100, where: str | None = None, sort: str | None = None
) -> dict[str, Any]:
    """A page of images; `next` is what to ask for `after`, none on the last page.

    `where` chooses images (see curation.where). They come by id, or by the field `sort`, downwards with a `-`
    before it; those without a value come last.

    Raises:
        InvalidInputError: `where` or `sort` cannot be understood, or `limit` is too large.
    """
    found = select(Image).limit(_checked(limit) + 1)
    if where is not None:
        found = found.where(expressions.clause(where, session))
    if sort is None:
        found = found.where(Image.id > after).order_by(Image.id)
    else:
        value = expressions.own_value(sort.removeprefix("-"))
        downwards = sort.startswith("-")
        found = found.order_by(value.is_(None), value.desc() if downwards else value, Image.id)
        if after:
            last = session.scalar(select(value).where(Image.id == after))
            beyond = and_(value.is_(None), Image.id > after)
            if last is not None:
                further = value < last if downwards else value > last
                beyond = or_(further, and_(value == last, Image.id > after), value.is_(None))
            found = found.where(beyond)
    page = session.scalars(found).all()
    shown = page[:limit]
    sightings: dict[int, list[Sighting]] = defaultdict(list)
    order = (Sighting.current.desc(), Sighting.missing, Sighting.id.desc())
    rows = select(Sighting).where(Sighting.image_id.in_([image.id for image in shown])).order_by(*order)
    for sighting in session.scalars(rows):
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
    order = (Sighting.current.desc(), Sighting.missing, Sighting.uri)
    sightings = list(session.scalars(select(Sighting).where(Sighting.image_id == image_id).order_by(*order)))
    seen = [
        {
            "uri": one.uri,
            "source": one.source,
            "scene": one.scene,
            "details": one.details,
            "current": one.current,
            "missing": one.missing,
        }
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
        "report": row.report,
        "picks": [
            {"image": pick.image_id, "rank": pick.rank, "arm": pick.arm, "score": pick.score, "why": pick.why}
            for pick in picks
        ],
    }


def lots(session: Session) -> dict[str, Any]:
    """Every lot, the newest first."""
    return {"lots": [asdict(each) for each in audited.list_lots(session)]}


def lot(found: LotStatus) -> dict[str, Any]:
    """One lot with some points of its plan's operating curve."""
    curve = operating_curve.over_range(found.plan, lot_size=found.size, points=_POINTS)
    return asdict(found) | {"curve": points(curve)}


def points(curve: Curve) -> list[dict[str, float]]:
    """The points of an operating curve."""
    names = ("fractions", "accepted", "sampled", "outgoing", "inspected")
    rows: list[list[Any]] = [getattr(curve, name).tolist() for name in names]
    return [dict(zip(("fraction", *names[1:]), row, strict=True)) for row in zip(*rows, strict=True)]


def _image(image: Image, sightings: list[Sighting]) -> dict[str, Any]:
    """An image, and where it is present, or if it is so nowhere, where it was; `sightings` have those first."""
    current = [one for one in sightings if one.current]
    present = [one for one in current if not one.missing]
    return {
        "id": image.id,
        "sha256": image.sha256,
        "uris": [one.uri for one in present or current],
        "source": sightings[0].source if sightings else None,
        "width": image.width,
        "height": image.height,
        "format": image.format,
        "bytes": image.bytes,
        "sharpness": image.sharpness,
        "exposure": image.exposure,
        "entropy": image.entropy,
        "captured_at": None if image.captured_at is None else image.captured_at.isoformat(),
        "latitude": image.latitude,
        "longitude": image.longitude,
        "note": image.note,
        "status": "present" if present else "missing",
    }


def _checked(limit: int) -> int:
    if not 1 <= limit <= _MOST:
        raise InvalidInputError(f"A page holds 1 to {_MOST} rows, not {limit}.")
    return limit
