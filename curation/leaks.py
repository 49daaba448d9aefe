"""What two parts of a collection share: a source and another, or a source and a version."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from curation import duplicates, versions
from store.errors import InvalidInputError, NotFoundError
from store.schema import ImageId, Sighting, VersionItem
from store.workspace import Workspace


@dataclass(frozen=True)
class Leak:
    """An image of the first part and one of the second that are the same picture."""

    first: ImageId
    second: ImageId
    kind: str  # bytes: one image in both; otherwise how the pair was proven, see curation.duplicates
    distance: float


@dataclass(frozen=True)
class Comparison:
    """What leaks from one part into the other."""

    first_images: int
    second_images: int
    leaks: list[Leak]  # by the ids of their images
    unscanned: int  # images of both parts that no duplicate scan has compared yet


def compare(workspace: Workspace, first: str, second: str) -> Comparison:
    """Every two images, one in each part, that are the same picture by the newest scan.

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
        leaks = {(image_id, image_id): Leak(image_id, image_id, "bytes", 0.0) for image_id in one & other}
        for (a, b), match in _pairs(session):
            for pair in ((a, b), (b, a)):
                if pair[0] in one and pair[1] in other:
                    leaks.setdefault(pair, Leak(*pair, match.kind, match.distance))
    unread = set(report["unread"])
    unscanned = [image_id for image_id in one | other if image_id > report["scanned_until"] or image_id in unread]
    return Comparison(len(one), len(other), [leaks[pair] for pair in sorted(leaks)], len(unscanned))


def _pairs(session: Session) -> Iterable[tuple[tuple[ImageId, ImageId], duplicates.Match]]:
    matches = duplicates.matches_in_force(session)
    yield from matches.items()
    for _, representative, members in duplicates.newest_groups(session):
        of_group = []
        for member in members:
            pair = (min(representative, member.image_id), max(representative, member.image_id))
            match = matches.get((ImageId(pair[0]), ImageId(pair[1])))
            if match is not None:  # a person may have said otherwise since
                of_group.append((ImageId(member.image_id), match))
        for position, (a, first) in enumerate(of_group):
            for b, second in of_group[:position]:
                yield (a, b), max(first, second, key=lambda match: match.distance)


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
