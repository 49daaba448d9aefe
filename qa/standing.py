"""Whose answers count: people are paused, put on probation and reinstated by a person, with a reason, never by itself.

Paused: answers given from a moment on, by default that of the pause, count for nothing; items they had settled are
decided anew. Probation: an item that only people on probation answered wants another opinion. Reinstated: everything
they ever said counts again. Label Studio Community cannot keep anybody out of a project: a paused person can go on
answering there, and their answers are kept.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Literal, TypeAlias, get_args

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from labeling import vendors
from store.errors import ConflictError, InvalidInputError, NotFoundError
from store.schema import Annotator, Standing, Vendor, now
from store.workspace import Workspace

State: TypeAlias = Literal["good", "probation", "paused"]


def decide(
    workspace: Workspace,
    name: str,
    state: State,
    *,
    reason: str,
    by: str,
    vendor_name: str | None = None,
    since: datetime | None = None,
) -> Standing:
    """Note what was decided about one annotator; rows are only ever added.

    Args:
        name: the annotator's, as Label Studio has it.
        state: paused, probation or good, which reinstates.
        reason: in words, for those who read it later.
        by: who decided.
        vendor_name: whose annotator, where several vendors have one of that name.
        since: of a pause, the moment from which answers do not count; by default now.

    Raises:
        NotFoundError: nobody of that name answered.
        InvalidInputError: several people have the name, or no reason is given.
        ConflictError: they are in good standing already, or paused from an earlier moment on.
    """
    if state not in get_args(State):
        raise InvalidInputError(f"{state!r} is no standing: say {', '.join(get_args(State))}.")
    if not reason.strip():
        raise InvalidInputError("Say why, with --reason: whoever reads it later should understand.")
    if not by.strip():
        raise InvalidInputError("Say who decides, with --by.")
    with workspace.database.write() as session:
        annotator = find(session, name, vendor_name=vendor_name)
        before = in_force(session).get(annotator.id)
        if state == "good" and before is None:
            raise ConflictError(f"{name!r} is neither paused nor on probation: there is nothing to end.")
        begins = since or now()
        if state == "paused" and before is not None and before.state == "paused" and before.since < begins:
            raise ConflictError(
                f"{name!r} is paused since {before.since:%Y-%m-%d %H:%M} already, and a later pause would make answers "
                "count again: reinstate them first."
            )
        row = Standing(annotator_id=annotator.id, state=state, since=begins, reason=reason, decided_by=by)
        session.add(row)
        session.flush()
        session.expunge(row)
    return row


def find(session: Session, name: str, *, vendor_name: str | None = None) -> Annotator:
    """The annotator called `name`.

    Raises:
        NotFoundError: there is none, or no such vendor.
        InvalidInputError: there are several.
    """
    query = select(Annotator, Vendor.name).join(Vendor, Vendor.id == Annotator.vendor_id).where(Annotator.name == name)
    if vendor_name is not None:
        query = query.where(Vendor.id == vendors.get(session, vendor_name).id)
    rows = session.execute(query.order_by(Vendor.name)).all()
    if not rows:
        raise NotFoundError(f"Nobody called {name!r} has answered. See: winnow qa annotators.")
    if len({vendor for _, vendor in rows}) > 1:
        names = " or ".join(sorted({vendor for _, vendor in rows}))
        raise InvalidInputError(f"{len(rows)} annotators are called {name!r}: say --vendor {names}.")
    if len(rows) > 1:
        raise InvalidInputError(f"{rows[0][1]!r} has {len(rows)} annotators called {name!r}: rename one, and pull.")
    annotator: Annotator = rows[0][0]
    return annotator


def in_force(session: Session) -> dict[int, Standing]:
    """The newest word on everybody who is paused or on probation, by annotator id."""
    newest = select(func.max(Standing.id)).group_by(Standing.annotator_id)
    rows = session.scalars(select(Standing).where(Standing.id.in_(newest), Standing.state != "good"))
    return {row.annotator_id: row for row in rows}


def history(session: Session, annotator_id: int) -> list[Standing]:
    """Everything that was decided about somebody, oldest first."""
    return list(session.scalars(select(Standing).where(Standing.annotator_id == annotator_id).order_by(Standing.id)))


def counts(standing: Standing | None, given_at: datetime | None) -> bool:
    """Whether an answer given then by somebody of this standing counts at all.

    Of a paused person one does not of which nobody can say when it was given: it may be after.
    """
    return standing is None or standing.state != "paused" or (given_at is not None and given_at < standing.since)


def wants_another(annotator_ids: Collection[int], standings: Mapping[int, Standing]) -> bool:
    """Whether an item is answered by people on probation alone, so that somebody else should look."""
    return bool(annotator_ids) and all(
        one in standings and standings[one].state == "probation" for one in annotator_ids
    )
