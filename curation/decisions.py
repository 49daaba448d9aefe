"""What people said of duplicates: the newest word on two images goes before what any scan finds."""

from collections.abc import Iterable
from itertools import combinations

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from store.errors import InvalidInputError, NotFoundError
from store.schema import DuplicateDecision, DuplicateGroup, DuplicateMember, ImageId
from store.workspace import Workspace

_MOST_MEMBERS = 1000  # whose every pair is said at once


def accept(workspace: Workspace, group_id: int) -> int:
    """Say that the members of a group are one picture, whatever later scans find; how many pairs were said.

    Raises:
        NotFoundError: there is no such group.
        InvalidInputError: the group has too many members.
    """
    with workspace.database.write() as session:
        return _say_all(session, group_id, same=True)


def reject(workspace: Workspace, group_id: int, *, image_id: ImageId | None = None) -> int:
    """Say that the members of a group, or one of them and all others, are different pictures; how many pairs were said.

    Raises:
        NotFoundError: there is no such group, or no such image in it.
        InvalidInputError: the group has too many members to reject them all at once.
    """
    with workspace.database.write() as session:
        if image_id is None:
            return _say_all(session, group_id, same=False)
        everyone = _members(session, group_id)
        if image_id not in everyone:
            raise NotFoundError(f"Image {image_id} is not in group {group_id}. See: winnow duplicates show {group_id}.")
        return _say(session, ((image_id, other) for other in everyone if other != image_id), same=False)


def in_force(session: Session) -> dict[tuple[ImageId, ImageId], bool]:
    """The newest word on each pair of images, the smaller id first: whether they are one picture."""
    said = select(DuplicateDecision.first_id, DuplicateDecision.second_id, DuplicateDecision.same)
    rows = session.execute(said.order_by(DuplicateDecision.id))
    return {(ImageId(first), ImageId(second)): same for first, second, same in rows}


def _members(session: Session, group_id: int) -> list[ImageId]:
    if session.get(DuplicateGroup, group_id) is None:
        raise NotFoundError(f"There is no group {group_id}. See: winnow duplicates list.")
    members = select(DuplicateMember.image_id).where(DuplicateMember.group_id == group_id)
    return [ImageId(member) for member in session.scalars(members.order_by(DuplicateMember.image_id))]


def _say_all(session: Session, group_id: int, *, same: bool) -> int:
    everyone = _members(session, group_id)
    if len(everyone) > _MOST_MEMBERS:
        raise InvalidInputError(
            f"Group {group_id} has {len(everyone)} images; every pair can be told of at most {_MOST_MEMBERS}. "
            "Reject single images with --image."
        )
    return _say(session, combinations(everyone, 2), same=same)


def _say(session: Session, pairs: Iterable[tuple[ImageId, ImageId]], *, same: bool) -> int:
    rows = [{"first_id": min(pair), "second_id": max(pair), "same": same} for pair in pairs]
    if rows:
        session.execute(insert(DuplicateDecision), rows)
    return len(rows)
