"""What two parts of a collection share: a source and another, or a source and a version."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from curation import decisions, duplicates, versions
from store.errors import InvalidInputError, NotFoundError
from store.schema import ImageId, Sighting, VersionItem
from store.workspace import Workspace


@dataclass(frozen=True)
class Leak:
    """An image of the second part and the one of the first that is the same picture, the nearest of several."""

    first: ImageId
    second: ImageId
    kind: str  # bytes: one image in both; otherwise how the pair was proven, see curation.duplicates
    distance: float  # between members of one group: of the farther one to their representative


@dataclass(frozen=True)
class Comparison:
    """What leaks from one part into the other."""

    first_images: int
    second_images: int
    leaks: list[Leak]  # one for each image of the second part that leaks, by its id
    unscanned: int  # images of both parts that no duplicate scan has compared yet


def compare(workspace: Workspace, first: str, second: str) -> Comparison:
    """The images of the second part that are the same picture as one of the first, by the newest scan.

    A part is the name of a source or a version (its name or the beginning of its id); where both exist, say
    `source:NAME` or `version:NAME`. Two members of one group are the same picture, though only their representative
    was compared with both.

    Raises:
        NotFoundError: there is no such source or version, or no duplicate scan.
        InvalidInputError: a name is that of a source and of a version.
    """
    with workspace.database.read() as session:
        one, other = (_images(session, name) for name in (first, second))
        report = duplicates.newest_report(session)
        if report is None:
            raise NotFoundError("No duplicate scan has been made. Run: winnow duplicates scan.")
        leaks: dict[ImageId, Leak] = {}
        for leak in (*_proven(session, one, other), *_grouped(session, one, other)):
            before = leaks.get(leak.second)
            if before is None or leak.distance < before.distance:
                leaks[leak.second] = leak
        leaks |= {image_id: Leak(image_id, image_id, "bytes", 0.0) for image_id in one & other}
    unread = set(report["unread"])
    unscanned = [image_id for image_id in one | other if image_id > report["scanned_until"] or image_id in unread]
    return Comparison(len(one), len(other), [leaks[image_id] for image_id in sorted(leaks)], len(unscanned))


def _proven(session: Session, one: set[ImageId], other: set[ImageId]) -> Iterator[Leak]:
    for pair, match in duplicates.matches_in_force(session).items():
        for first, second in (pair, pair[::-1]):
            if first in one and second in other:
                yield Leak(first, second, match.kind, match.distance)


def _grouped(session: Session, one: set[ImageId], other: set[ImageId]) -> Iterator[Leak]:
    """Each member in the second part with the member in the first that is nearest to the representative."""
    said = decisions.in_force(session)
    for _, _, members in duplicates.newest_groups(session):
        in_one = [member for member in members if member.image_id in one]
        for member in members if in_one else ():
            second = ImageId(member.image_id)
            partners = (
                partner
                for partner in in_one
                if partner.image_id != second
                and said.get((min(ImageId(partner.image_id), second), max(ImageId(partner.image_id), second)), True)
            )
            nearest = next(partners, None) if second in other else None
            if nearest is not None:
                farther = max(nearest, member, key=lambda each: each.distance)
                yield Leak(ImageId(nearest.image_id), second, farther.kind, farther.distance)


def _images(session: Session, name: str) -> set[ImageId]:
    kind, colon, rest = name.partition(":")
    if colon and kind in ("source", "version"):
        name = rest
    of_source: set[ImageId] = set()
    if not colon or kind != "version":
        seen = select(Sighting.image_id).where(Sighting.source == name, Sighting.current)
        of_source = {ImageId(image_id) for image_id in session.scalars(seen)}
    of_version: set[ImageId] | None = None
    if not colon or kind != "source":
        of_version = _of_version(session, name)
    if of_source and of_version is not None:
        raise InvalidInputError(f"{name} is a source and a version: say source:{name} or version:{name}.")
    if of_version is not None:
        return of_version
    if not of_source:
        raise NotFoundError(f"There is no source and no version called {name}. See: winnow version list, images list.")
    return of_source


def _of_version(session: Session, name: str) -> set[ImageId] | None:
    try:
        version = versions.find(session, name)
    except NotFoundError:
        return None
    items = select(VersionItem.image_id).where(VersionItem.version_id == version.id)
    return {ImageId(image_id) for image_id in session.scalars(items)}
