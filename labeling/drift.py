"""Where a campaign's Label Studio project differs from what was pushed: people delete and copy tasks there."""

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import select

from labeling import campaigns, label_studio, vendors
from store.schema import ImageId, Task
from store.workspace import Workspace


@dataclass(frozen=True)
class Drift:
    """Differences between the catalog and the server."""

    missing: list[ImageId]  # pushed, but no task there carries them any more; by rank
    copies: int  # tasks that carry an item which another task carries too
    strangers: int  # tasks that are not ours


def find(workspace: Workspace, campaign_name: str) -> Drift:
    """Compare a pushed campaign with its Label Studio project; changes nothing.

    Raises:
        NotFoundError: there is no such campaign.
        InvalidInputError: it has not been pushed, or the token is not there.
        RemoteError: Label Studio failed or refused.
    """
    with workspace.database.read() as session:
        terms = campaigns.terms(session, campaign_name)
        rows = session.execute(
            select(Task.uid, Task.image_id, Task.state).where(Task.campaign_id == terms.id).order_by(Task.rank)
        ).all()
    with label_studio.connect(terms.ls_url, vendors.token(terms.ls_token_reference)) as server:
        there = Counter(task.uid for task in server.tasks(campaigns.pushed_project(server, terms)))
    ours = {uid: there[uid] for uid, _, _ in rows if uid in there}
    return Drift(
        missing=[ImageId(image_id) for uid, image_id, state in rows if state == "pushed" and uid not in there],
        copies=sum(ours.values()) - len(ours),
        strangers=there.total() - sum(ours.values()),
    )
