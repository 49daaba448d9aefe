"""What the page of adjudication shows: one item to decide, what waits after it, questions to the guideline."""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.orm import Session

from api import dashboard, image_urls
from api.dashboard import Tile
from curation import labels
from labeling import reasons, taxonomy
from qa import adjudication, questions
from qa.adjudication import QueueItem
from qa.questions import Question
from store.schema import Campaign, ImageId, Task, now
from store.workspace import Workspace

HEADER = "X-Winnow-Token"
_NEXT = 24
_REASON_KEYS = "qwertyuiop"


@dataclass(frozen=True)
class Choice:
    """A class or a reason, and the key that chooses it."""

    name: str
    meaning: str
    key: str | None
    said: int = 0  # people who answered it
    suggested: bool = False


@dataclass(frozen=True)
class Item:
    """What is to be decided."""

    queued: QueueItem
    tile: Tile
    address: str  # of the whole image, for an hour
    place: int  # in the queue, from 1
    classes: list[Choice]  # none where the answer is given in Label Studio
    following: int | None  # the task after it
    majority: str | None  # the class that most people said, if one is


@dataclass(frozen=True)
class AdjudicationPage:
    """The page."""

    campaign: str | None  # the only one whose items are shown
    total: int
    decided: int  # that await a review
    item: Item | None
    waiting: list[tuple[QueueItem, Tile]]
    reasons: list[Choice]
    undecidable: tuple[str, ...]
    questions: list[tuple[Question, list[Tile]]]
    token: str


def token(workspace: Workspace) -> str:
    """What a page of this workspace sends along when it changes something; other sites cannot read it."""
    return hmac.digest(workspace.key, b"dashboard", hashlib.sha256).hex()


def is_genuine(workspace: Workspace, said: str) -> bool:
    """Whether a request comes from a page of this workspace."""
    return hmac.compare_digest(token(workspace).encode(), said.encode("utf-8", "replace"))


def read(workspace: Workspace, *, campaign: str | None = None, task: int | None = None) -> AdjudicationPage:
    """The item of a task; without one, or if it has left the queue meanwhile, the most valuable.

    Raises:
        NotFoundError: there is no such campaign.
        InvalidInputError: it is an adjudication, or asks questions alone.
    """
    asked = questions.ask(workspace, campaign)
    with workspace.database.read() as session:
        queue = adjudication.queue(workspace, session, campaign)
        place = next((place for place, item in enumerate(queue.items) if item.task == task), 0)
        shown = queue.items[place + 1 : place + 1 + _NEXT]
        images = [item.image for item in queue.items[place : place + 1 + _NEXT]]
        tiles = dashboard.tiles_of(session, images + [image for one in asked for image in one.images])
        return AdjudicationPage(
            campaign=campaign,
            total=len(queue.items),
            decided=queue.decided,
            item=_item(workspace, session, queue.items, place, tiles) if queue.items else None,
            waiting=[(item, tiles[item.image]) for item in shown],
            reasons=[
                Choice(code, meaning, key)
                for (code, meaning), key in zip(reasons.MEANINGS.items(), _REASON_KEYS, strict=False)
            ],
            undecidable=reasons.UNDECIDABLE,
            questions=[(one, [tiles[image] for image in one.images]) for one in asked],
            token=token(workspace),
        )


def _item(workspace: Workspace, session: Session, items: list[QueueItem], place: int, tiles: dict[int, Tile]) -> Item:
    queued = items[place]
    campaign = session.get_one(Campaign, session.get_one(Task, queued.task).campaign_id)
    definition = taxonomy.get(session, campaign.taxonomy_id).definition
    classes = [
        Choice(
            each.name,
            each.description,
            str((number + 1) % 10) if number < 10 else None,
            said=queued.answers.get(each.name, 0),
            suggested=each.name in queued.suggestions,
        )
        for number, each in enumerate(definition.classes)
        if definition.kind == labels.CLASSIFICATION
    ]
    after = items[place + 1].task if place + 1 < len(items) else None
    signed = image_urls.sign(workspace.key, ImageId(queued.image), expires=now() + timedelta(hours=1))
    most = max(queued.answers.values(), default=0)
    leaders = [name for name, count in queued.answers.items() if count == most]
    return Item(
        queued,
        tiles[queued.image],
        f"/images/{signed}",
        place + 1,
        classes,
        after,
        leaders[0] if len(leaders) == 1 else None,
    )
