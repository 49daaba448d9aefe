"""Ending a campaign before its time: what nobody has answered leaves Label Studio, every answer stays.

The cancellation is noted first, so that nothing more is pushed; whatever dies after that, the same cancels on.
"""

from dataclasses import dataclass

from sqlalchemy import select, update

from labeling import campaigns, label_studio, pull, push, vendors, webhooks
from labeling.campaigns import Terms
from store import fail_points
from store.errors import ConflictError
from store.schema import Campaign, Task, now
from store.workspace import Workspace


@dataclass(frozen=True)
class Cancelled:
    """What a cancellation left."""

    withdrawn: int  # items that nobody had answered
    kept: int  # items with an answer or a skip


def cancel(workspace: Workspace, campaign_name: str) -> Cancelled:
    """Pull the answers once more, remove the tasks without any from Label Studio, and close; again is a no-op.

    An answer that is saved while this runs keeps its task: the server itself looks when it removes. Drafts are
    no answers.

    Raises:
        NotFoundError: there is no such campaign.
        InvalidInputError: the token is not there.
        ConflictError: it is closed or adopted, or the server was restored from a backup.
        RemoteError: Label Studio failed or refused; the same cancels on.
    """
    terms = _note(workspace, campaign_name)
    fail_points.reach("cancel.noted")
    if terms.state == "cancelling":
        if terms.ls_project_id is not None:
            pull.pull(workspace, campaign_name)
            fail_points.reach("cancel.pulled")
            with campaigns.exclusive(workspace, terms.id):
                _withdraw(workspace, terms)
            fail_points.reach("cancel.withdrawn")
            pull.pull(workspace, campaign_name)  # what came in between
        with workspace.database.write() as session:
            untouched = update(Task).where(Task.campaign_id == terms.id, Task.state != "pushed")
            session.execute(untouched.values(state="withdrawn", ls_task_id=None))
            session.get_one(Campaign, terms.id).closed_at = now()
    with workspace.database.read() as session:
        states = campaigns.count(session, terms.id)
    return Cancelled(states["withdrawn"], states["pushed"])


def _note(workspace: Workspace, campaign_name: str) -> Terms:
    with workspace.database.write() as session:
        campaign = campaigns.get(session, campaign_name)
        if campaigns.terms(session, campaign_name).adopted:
            raise ConflictError(
                f"The project of {campaign_name!r} was adopted: nothing is removed from it. Run: winnow campaign close."
            )
        if campaigns.state(campaign) == "closed":
            raise ConflictError(f"The campaign {campaign_name!r} is closed: there is nothing to cancel.")
        campaign.cancelled_at = campaign.cancelled_at or now()
        session.flush()
        return campaigns.terms(session, campaign_name)


def _withdraw(workspace: Workspace, terms: Terms) -> None:
    """Remove the unanswered tasks from the server, and note which of ours are not there any more."""
    with workspace.database.read() as session:
        uids = set(session.scalars(select(Task.uid).where(Task.campaign_id == terms.id)))
    with label_studio.connect(terms.ls_url, vendors.token(terms.ls_token_reference)) as server:
        project = campaigns.pushed_project(server, terms).ls_project_id
        push.settle(workspace, server, project, terms)
        there = [task for page in server.tasks(project) for task in page]
        unanswered = [task.ls_task_id for task in there if task.uid in uids and task.annotation_count == 0]
        server.delete_unanswered(project, unanswered)
        server.remove_webhooks(project, webhooks.path(terms.id))
        fail_points.reach("cancel.removed")
        kept = {task.uid for page in server.tasks(project) for task in page}
    with workspace.database.write() as session:
        for task in session.scalars(select(Task).where(Task.campaign_id == terms.id)):
            if task.uid not in kept:
                task.state, task.ls_task_id = "withdrawn", None
