"""Answers from Label Studio, every revision kept: an edit is a new one, and so is a deletion.

A pull lists everything the campaign's project holds, since a deletion shows in no other way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from labeling import campaigns, label_config, label_studio, vendors
from labeling.definitions import Definition
from labeling.label_studio import RemoteAnnotation
from store import fail_points
from store.schema import Annotation, Annotator, Task
from store.workspace import Workspace

_NOBODY = 0  # stands for users whom Label Studio forgot


@dataclass(frozen=True)
class Pulled:
    """What a pull found."""

    answers: int  # that stand in Label Studio now
    new: int
    edited: int
    deleted: int
    missing: int  # of our tasks, that Label Studio has no more


@dataclass(frozen=True)
class Known:
    """The newest revision of one annotation that the catalog has."""

    revision: int
    annotator_id: int
    ls_updated_at: str
    result: list[Any]
    deleted: bool


@dataclass(frozen=True)
class Change:
    """A revision to add: what the server holds now, or nothing if it was deleted."""

    task_id: int
    ls_annotation_id: int
    revision: int
    now: RemoteAnnotation | None


def pull(workspace: Workspace, campaign_name: str) -> Pulled:
    """Add what changed in Label Studio since the last pull as new revisions; nothing is overwritten.

    Raises:
        NotFoundError: there is no such campaign.
        InvalidInputError: it has not been pushed, or the token is not there.
        RemoteError: Label Studio failed or refused; nothing was written.
    """
    with workspace.database.read() as session:
        campaign_id = campaigns.get(session, campaign_name).id
    with campaigns.exclusive(workspace, campaign_id):
        with workspace.database.read() as session:
            terms = campaigns.terms(session, campaign_name)
        with label_studio.connect(terms.ls_url, vendors.token(terms.ls_token_reference)) as server:
            there = server.annotations(campaigns.pushed_project(server, terms))
            emails = server.emails()
        with workspace.database.write() as session:
            tasks = dict(session.execute(select(Task.uid, Task.id).where(Task.campaign_id == terms.id)).all())
            pushed = campaigns.count(session, terms.id)["pushed"]
            remote = {tasks[uid]: annotations for uid, annotations in there.items() if uid in tasks}
            known = _known(session, terms.id)
            changes = compare(known, remote)
            annotators = _annotators(session, terms.vendor_id, changes, emails)
            rows = [_row(change, known, annotators, terms.taxonomy.definition) for change in changes]
            if rows:
                session.execute(insert(Annotation), rows)
            fail_points.reach("pull.before_commit")
    return Pulled(
        answers=sum(len(annotations) for annotations in remote.values()),
        new=sum(change.revision == 0 for change in changes),
        edited=sum(change.revision > 0 and change.now is not None for change in changes),
        deleted=sum(change.now is None for change in changes),
        missing=pushed - len(remote),
    )


def compare(known: Mapping[tuple[int, int], Known], remote: Mapping[int, Sequence[RemoteAnnotation]]) -> list[Change]:
    """The revisions that lead from what is known to what is there, ordered by task and annotation.

    Args:
        known: the newest revision by (task id, Label Studio's annotation id).
        remote: what the server holds, by task id; a task it lacks has no annotations.
    """
    there = {(task_id, each.ls_annotation_id): each for task_id, annotations in remote.items() for each in annotations}
    changes = []
    for place in sorted(known.keys() | there.keys()):
        before, now = known.get(place), there.get(place)
        if before is None:
            changes.append(Change(*place, revision=0, now=now))
        elif now is None and not before.deleted:
            changes.append(Change(*place, revision=before.revision + 1, now=None))
        elif now is not None and (before.deleted, before.ls_updated_at, before.result) != (
            False,
            now.updated_at,
            now.result,
        ):
            changes.append(Change(*place, revision=before.revision + 1, now=now))
    return changes


def _known(session: Session, campaign_id: int) -> dict[tuple[int, int], Known]:
    rows = session.execute(
        select(
            Annotation.task_id,
            Annotation.ls_annotation_id,
            Annotation.revision,
            Annotation.annotator_id,
            Annotation.ls_updated_at,
            Annotation.result,
            Annotation.deleted,
        )
        .join(Task, Task.id == Annotation.task_id)
        .where(Task.campaign_id == campaign_id)
        .order_by(Annotation.revision)
    )
    return {(task_id, ls_annotation_id): Known(*rest) for task_id, ls_annotation_id, *rest in rows}


def _annotators(
    session: Session, vendor_id: int, changes: Sequence[Change], emails: Mapping[int, str]
) -> dict[int, int]:
    """Our ids of the vendor's people, by Label Studio's; whoever is new is added."""
    known = {
        row.ls_user_id: row.id for row in session.scalars(select(Annotator).where(Annotator.vendor_id == vendor_id))
    }
    for ls_user_id in sorted({change.now.ls_user_id or _NOBODY for change in changes if change.now} - known.keys()):
        name = emails.get(ls_user_id, f"user {ls_user_id}")
        annotator = Annotator(vendor_id=vendor_id, ls_user_id=ls_user_id, name=name)
        session.add(annotator)
        session.flush()
        known[ls_user_id] = annotator.id
    return known


def _row(
    change: Change,
    known: Mapping[tuple[int, int], Known],
    annotators: Mapping[int, int],
    definition: Definition,
) -> dict[str, Any]:
    place = {"task_id": change.task_id, "ls_annotation_id": change.ls_annotation_id, "revision": change.revision}
    if change.now is None:
        before = known[change.task_id, change.ls_annotation_id]
        return place | {
            "annotator_id": before.annotator_id,
            "answer": None,
            "result": [],
            "skipped": False,
            "deleted": True,
            "lead_time_s": None,
            "ls_updated_at": before.ls_updated_at,
        }
    return place | {
        "annotator_id": annotators[change.now.ls_user_id or _NOBODY],
        "answer": None if change.now.skipped else label_config.answer(change.now.result, definition),
        "result": change.now.result,
        "skipped": change.now.skipped,
        "deleted": False,
        "lead_time_s": change.now.lead_time_s,
        "ls_updated_at": change.now.updated_at,
    }
