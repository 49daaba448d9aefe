"""What people said of duplicates: the newest word on two images goes before what any scan finds."""

from collections.abc import Iterable
from itertools import combinations

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from store.errors import InvalidInputError, NotFoundError
from store.schema import DuplicateDecision, DuplicateGroup, DuplicateMember, ImageId
from store.workspace import Workspace

_MOST_MEMBERS = 1000  # whose every pair is rejected at once


def accept(workspace: Workspace, group_id: int) -> int:
    """Say that the members of a group are one picture, whatever later scans find; how many pairs were said.

    Raises:
        NotFoundError: there is no such group.
    """
    with workspace.database.write() as session:
        representative, members = _group(session, group_id)
        return _say(session, ((representative, member) for member in members), same=True)


def reject(workspace: Workspace, group_id: int, *, image_id: ImageId | None = None) -> int:
    """Say that the members of a group, or one of them and all others, are different pictures; how many pairs were said.

    Raises:
        NotFoundError: there is no such group, or no such image in it.
        InvalidInputError: the group has too many members to reject them all at once.
    """
    with workspace.database.write() as session:
        representative, members = _group(session, group_id)
        everyone = [representative, *members]
        if image_id is not None:
            if image_id not in everyone:
                raise NotFoundError(f"Image {image_id} is not in group {group_id}.")
            return _say(session, ((image_id, other) for other in everyone if other != image_id), same=False)
        if len(everyone) > _MOST_MEMBERS:
            raise InvalidInputError(
                f"Group {group_id} has {len(everyone)} images, more than {_MOST_MEMBERS}: reject them with --image."
            )
        return _say(session, combinations(everyone, 2), same=False)


def in_force(session: Session) -> dict[tuple[ImageId, ImageId], bool]:
    """The newest word on each pair of images, the smaller id first: whether they are one picture."""
    said = select(DuplicateDecision.first_id, DuplicateDecision.second_id, DuplicateDecision.same)
    rows = session.execute(said.order_by(DuplicateDecision.id))
    return {(ImageId(first), ImageId(second)): same for first, second, same in rows}


def _group(session: Session, group_id: int) -> tuple[ImageId, list[ImageId]]:
    group = session.get(DuplicateGroup, group_id)
    if group is None:
        raise NotFoundError(f"There is no group {group_id}. See: winnow duplicates list.")
    members = session.scalars(
        select(DuplicateMember.image_id)
        .where(DuplicateMember.group_id == group_id, DuplicateMember.image_id != group.representative_id)
        .order_by(DuplicateMember.image_id)
    )
    return ImageId(group.representative_id), [ImageId(member) for member in members]


def _say(session: Session, pairs: Iterable[tuple[ImageId, ImageId]], *, same: bool) -> int:
    rows = [{"first_id": min(pair), "second_id": max(pair), "same": same} for pair in pairs]
    if rows:
        session.execute(insert(DuplicateDecision), rows)
    return len(rows)
