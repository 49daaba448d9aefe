"""Another opinion, asked for in Label Studio: a task is offered to one more person than its item's verdict rests on.

In Label Studio Community the overlap is a field of each task, though only that of the project has a switch. The
verdicts in force say which tasks want how many answers, and the server is brought to that, whatever became of
earlier attempts. Who has answered or skipped a task is never offered it again: that is the server's own rule.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from labeling import campaigns, label_studio, vendors
from labeling.label_studio import RemoteTask
from store import fail_points
from store.schema import Task, Verdict
from store.workspace import Workspace


@dataclass(frozen=True)
class Offered:
    """What was changed in Label Studio."""

    more: int  # tasks that are offered to another person from now on
    fewer: int  # tasks that no longer are


@dataclass(frozen=True)
class _Wish:
    """How a task is to be offered."""

    overlap: int
    finished: bool


def offer(workspace: Workspace, campaign_name: str) -> Offered:
    """Offer the tasks of an adaptive campaign as the verdicts in force want; again, nothing changes.

    Nothing is done to a campaign that is not adaptive, not in Label Studio yet, rests, or has ended.

    Raises:
        NotFoundError: there is no such campaign.
        InvalidInputError: the token is not there.
        ConflictError: the server was restored from a backup that is older than the last pull.
        RemoteError: Label Studio failed or refused; the same continues.
    """
    with workspace.database.read() as session:
        terms = campaigns.terms(session, campaign_name)
        if not terms.is_adaptive or terms.state != "open":
            return Offered(more=0, fewer=0)
        uid_of = dict(session.execute(select(Task.id, Task.uid).where(Task.campaign_id == terms.id)).all())
        verdicts = campaigns.verdicts_in_force(session, terms.id)
    wishes = {uid_of[verdict.task_id]: wish for verdict in verdicts if (wish := _wish(verdict)) is not None}
    if not wishes:
        return Offered(more=0, fewer=0)
    more = fewer = 0
    with (
        campaigns.exclusive(workspace, terms.id),
        label_studio.connect(terms.ls_url, vendors.token(terms.ls_token_reference)) as server,
    ):
        project = campaigns.pushed_project(server, terms).ls_project_id
        for page in server.tasks(project):
            for task, wish in _changes(page, wishes):
                server.offer(task.ls_task_id, overlap=wish.overlap, finished=wish.finished)
                fail_points.reach("offer.after_request")
                more += not wish.finished
                fewer += wish.finished
    return Offered(more, fewer)


def _changes(page: Sequence[RemoteTask], wishes: dict[str, _Wish]) -> list[tuple[RemoteTask, _Wish]]:
    """Which tasks are offered otherwise than wished.

    One that the server calls finished at the overlap wished has been answered since, and is left alone.
    """
    return [
        (task, wish)
        for task in page
        if task.uid is not None
        and (wish := wishes.get(task.uid)) is not None
        and (task.overlap != wish.overlap or (wish.finished and not task.finished))
    ]


def _wish(verdict: Verdict) -> _Wish | None:
    """None of what a migration of the taxonomy rejected."""
    if verdict.outcome == "rejected":
        return None
    counted = sum(not answer["skipped"] for answer in verdict.evidence.get("answers", []))  # the server counts no skips
    if verdict.outcome == "another-opinion":
        return _Wish(counted + 1, finished=False)
    return _Wish(max(counted, 1), finished=True)
