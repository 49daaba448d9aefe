"""Pushing as commands, ticks and `winnow serve` do it: with signed links to images, and a webhook to `winnow serve`."""

import math
from collections.abc import Callable

from sqlalchemy.orm import Session

from api import image_urls
from labeling import campaigns, push, webhooks
from labeling.push import Manner, Pushed
from store.errors import InvalidInputError
from store.schema import ImageId, Vendor, now
from store.workspace import Workspace

_WORTHWHILE = 0.1  # of a vendor's capacity: a push lists the whole project, so not one for every answer
_PAST_DEADLINE = 7  # days, as work is late


def manner(
    session: Session,
    campaign_name: str,
    *,
    image_base_url: str | None = None,
    predictions: str | None = None,
    blind_share: float | None = None,
    min_score: float | None = None,
    webhook: bool | None = None,
    link_days: int | None = None,
) -> Manner:
    """How a campaign is to be pushed: as said, and where nothing is said as it was pushed last.

    Args:
        session: reads the catalog.
        campaign_name: which campaign.
        image_base_url: of `winnow serve`.
        predictions: a model's name; an empty one for no predictions, and no share of blind tasks either.
        blind_share: of the tasks.
        min_score: of the boxes that are shown.
        webhook: whether Label Studio tells `winnow serve` of changes.
        link_days: for which links to images last, 1 or more.

    Raises:
        NotFoundError: there is no such campaign.
        InvalidInputError: it was never pushed, and `image_base_url` is not said.
    """
    last = campaigns.get(session, campaign_name).pushing or {}
    said = {
        "image_base_url": image_base_url,
        "predictions": predictions,
        "blind_share": 0.0 if predictions == "" else blind_share,
        "min_score": min_score,
        "webhook": webhook,
        "link_days": link_days,
    }
    merged = last | {name: value for name, value in said.items() if value is not None}
    if "image_base_url" not in merged:
        raise InvalidInputError(
            f"{campaign_name!r} was not pushed before: say with --image-base-url where annotators reach `winnow serve`."
        )
    return Manner(**merged | {"predictions": merged.get("predictions") or None})


def image_links(session: Session, key: bytes, campaign_name: str, manner: Manner) -> Callable[[ImageId], str]:
    """The address at which annotators see an image of a campaign: as long as was said, and a week past its deadline.

    Raises:
        NotFoundError: there is no such campaign.
        InvalidInputError: links cannot be made to the manner's address.
    """
    deadline = campaigns.get(session, campaign_name).deadline
    to_deadline = 0 if deadline is None else (deadline - now().date()).days + _PAST_DEADLINE
    return image_urls.signer(key, manner.image_base_url, days=max(manner.link_days, to_deadline))


def start(
    workspace: Workspace,
    campaign_name: str,
    manner: Manner,
    *,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Pushed:
    """Push a campaign, and remember how, so that `winnow serve` goes on with what died, or when its vendor has room.

    Raises:
        NotFoundError, InvalidInputError, ConflictError, RemoteError: as `labeling.push` says; what was refused before
            there was a project is not remembered.
    """
    with workspace.database.read() as session:
        campaign_id = campaigns.get(session, campaign_name).id
        image_url = image_links(session, workspace.key, campaign_name, manner)
    hook = webhooks.of_campaign(workspace.key, manner.image_base_url, campaign_id) if manner.webhook else None
    pushed = push.push(
        workspace,
        campaign_name,
        image_url=image_url,
        predictions_model=manner.predictions,
        blind_share=manner.blind_share,
        min_score=manner.min_score,
        webhook=hook,
        manner=manner,
        on_progress=on_progress,
    )
    if hook is None:
        webhooks.remove(workspace, campaign_name)
    return pushed


def top_up(workspace: Workspace, campaign_name: str) -> int:
    """Push what waits in the manner of the last push, if the campaign is open and its vendor has room for all of it,
    or for a tenth of their capacity; or look for tasks that a late request made twice, while there may be some.

    Returns:
        How many tasks were created.

    Raises:
        NotFoundError, InvalidInputError, ConflictError, RemoteError: as `labeling.push` says.
    """
    with workspace.database.read() as session:
        manner = _manner_of_what_waits(session, campaign_name)
    return 0 if manner is None else start(workspace, campaign_name, manner).created


def _manner_of_what_waits(session: Session, campaign_name: str) -> Manner | None:
    campaign = campaigns.get(session, campaign_name)
    if campaign.pushing is None or campaigns.state(campaign) != "open":
        return None
    states = campaigns.count(session, campaign.id)
    capacity = session.get_one(Vendor, campaign.vendor_id).capacity
    room = campaigns.room(session, campaign.vendor_id)
    is_worthwhile = (
        states["intended"] > 0
        or campaign.unsure_until is not None
        or (
            states["planned"] > 0
            and (
                capacity is None
                or room is None
                or room >= min(states["planned"], max(1, math.ceil(capacity * _WORTHWHILE)))
            )
        )
    )
    return Manner(**campaign.pushing) if is_worthwhile else None
