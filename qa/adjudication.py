"""Disputed items go to an expert, in a campaign of their own."""

from dataclasses import dataclass

from sqlalchemy import select

from labeling import campaigns
from qa import answers, verdicts
from store.schema import Campaign, ImageId, Task
from store.workspace import Workspace


@dataclass(frozen=True)
class AdjudicationSummary:
    """Where the disputed items of a campaign are."""

    campaign: str
    opened: str | None  # the campaign made for the new ones; none when there are none
    items: int  # in it
    already: int  # disputed items that an earlier adjudication holds


def open_campaign(workspace: Workspace, campaign_name: str, *, vendor_name: str | None = None) -> AdjudicationSummary:
    """Plan a campaign over the items whose verdict is adjudication and that are in none yet.

    It is called `NAME-adjudication`, the next ones `NAME-adjudication-2` and so on; push it with
    `winnow campaign push`. Without new items nothing is planned. It goes to the vendor of that name, by default the
    campaign's own.

    Raises:
        NotFoundError: there is no such campaign or vendor.
        InvalidInputError: it is an adjudication itself.
    """
    with workspace.database.read() as session:
        campaign = answers.labelling_campaign(session, campaign_name)
        disputed = {
            task_id
            for task_id, verdict in verdicts.newest(session, campaign).items()
            if verdict.outcome == "adjudication"
        }
        images = {
            ImageId(image_id)
            for task_id, image_id in session.execute(
                select(Task.id, Task.image_id).where(Task.campaign_id == campaign.id)
            )
            if task_id in disputed
        }
        of_campaign = (Campaign.parent_id == campaign.id, Campaign.purpose == "adjudication")
        earlier = session.scalars(select(Campaign.id).where(*of_campaign)).all()
        held = set(session.scalars(select(Task.image_id).where(Task.campaign_id.in_(earlier))))
    fresh = sorted(images - held)
    name = None
    if fresh:
        name = f"{campaign_name}-adjudication" + (f"-{len(earlier) + 1}" if earlier else "")
        campaigns.create_adjudication(workspace, name, parent=campaign_name, image_ids=fresh, vendor_name=vendor_name)
    return AdjudicationSummary(campaign_name, opened=name, items=len(fresh), already=len(images & held))
