"""What the page of adjudication shows, one item to decide and what waits after it, and that of questions.

An expert opens it at each click: what was said is read of the one item that is shown.
"""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.orm import Session

from api import dashboard, drawings, image_urls
from api.dashboard import Tile
from api.drawings import Picture
from curation import labels
from labeling import content, definitions, reasons, taxonomy
from labeling.definitions import Definition
from qa import adjudication, questions
from qa.adjudication import Doubt, QueueItem
from qa.questions import Question
from store.schema import Campaign, Image, ImageId, Task, now
from store.workspace import Workspace

HEADER = "X-Winnow-Token"
_NEXT = 24
_REASON_KEYS = "qwertyuiop"


@dataclass(frozen=True)
class Choice:
    """An answer or a reason, and the key that chooses it."""

    name: str
    meaning: str
    key: str | None
    value: str = ""  # of an answer, as it is kept
    said: int = 0  # people who answered it
    suggested: bool = False


@dataclass(frozen=True)
class Item:
    """What is to be decided."""

    queued: QueueItem
    tile: Tile
    address: str  # of the whole image, for an hour
    place: int  # in the queue, from 1
    choices: list[Choice]
    picture: Picture | None  # where something is drawn, with every choice in this order
    following: int | None  # the task after it
    majority: str | None  # the choice that most people said, by name, if one is


@dataclass(frozen=True)
class AdjudicationPage:
    """The page."""

    campaign: str | None  # the only one whose items are shown
    total: int
    decided: int  # that await a review
    item: Item | None
    waiting: list[tuple[Doubt, Tile]]
    reasons: list[Choice]
    undecidable: tuple[str, ...]
    token: str


@dataclass(frozen=True)
class QuestionsPage:
    """What to ask whoever writes the guideline, with examples."""

    campaign: str | None  # the only one whose answers raise them
    questions: list[tuple[Question, list[Tile]]]


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
    with workspace.database.read() as session:
        found, decided = adjudication.doubts(session, campaign)
        place = next((place for place, doubt in enumerate(found) if doubt.task == task), 0)
        shown = found[place : place + 1 + _NEXT]
        tiles = dashboard.tiles_of(session, [doubt.image for doubt in shown])
        return AdjudicationPage(
            campaign=campaign,
            total=len(found),
            decided=decided,
            item=_item(workspace, session, found, place, tiles) if found else None,
            waiting=[(doubt, tiles[doubt.image]) for doubt in shown[1:]],
            reasons=[
                Choice(code, meaning, key)
                for (code, meaning), key in zip(reasons.MEANINGS.items(), _REASON_KEYS, strict=False)
            ],
            undecidable=reasons.UNDECIDABLE,
            token=token(workspace),
        )


def read_questions(workspace: Workspace, *, campaign: str | None = None) -> QuestionsPage:
    """The questions of one campaign, or of all; every answer is weighed for them.

    Raises:
        NotFoundError: there is no such campaign.
        InvalidInputError: it is an adjudication, or asks for more than one class.
    """
    asked = questions.ask(workspace, campaign)
    with workspace.database.read() as session:
        tiles = dashboard.tiles_of(session, [image for one in asked for image in one.images])
    return QuestionsPage(campaign, [(one, [tiles[image] for image in one.images]) for one in asked])


def _item(workspace: Workspace, session: Session, found: list[Doubt], place: int, tiles: dict[int, Tile]) -> Item:
    [queued] = adjudication.tell(workspace, session, [found[place]])
    campaign = session.get_one(Campaign, session.get_one(Task, queued.task).campaign_id)
    definition = taxonomy.get(session, campaign.taxonomy_id).definition
    is_class = definition.kind == labels.CLASSIFICATION
    choices = _classes(queued, definition) if is_class else _suggested(queued)
    after = found[place + 1].task if place + 1 < len(found) else None
    signed = image_urls.sign(workspace.key, ImageId(queued.image), expires=now() + timedelta(hours=1))
    most = max(queued.answers.values(), default=0)
    leaders = [name for name, count in queued.answers.items() if count == most]
    return Item(
        queued,
        tiles[queued.image],
        f"/images/{signed}",
        place + 1,
        choices,
        _drawn(session, queued) if definitions.shape_kinds(definition) else None,
        after,
        leaders[0] if len(leaders) == 1 and definition.kind in definitions.IMAGE_KINDS else None,
    )


def _classes(queued: QueueItem, definition: Definition) -> list[Choice]:
    return [
        Choice(
            each.name,
            each.description,
            _digit(number),
            value=each.name,
            said=queued.answers.get(each.name, 0),
            suggested=each.name in queued.suggestions,
        )
        for number, each in enumerate(definition.classes)
    ]


def _suggested(queued: QueueItem) -> list[Choice]:
    """What more than one class can come to, of which an expert takes one."""
    named = [(value, labels.in_words(value, queued.kind)) for value in queued.suggestions]
    return [
        Choice(
            words,
            "",
            _digit(number),
            value=value,
            said=queued.answers.get(words, 0) if queued.kind in definitions.IMAGE_KINDS else 0,
        )
        for number, (value, words) in enumerate(named)
    ]


def _drawn(session: Session, queued: QueueItem) -> Picture:
    """The image with each suggestion in it, by its number."""
    image = session.get_one(Image, queued.image)
    said = {str(number): content.from_json(value) for number, value in enumerate(queued.suggestions, 1)}
    address = f"/thumbnails/{image.id}.jpg?size=1024"
    return drawings.picture(address, image.width, image.height, said, drawings.colours(said))


def _digit(number: int) -> str | None:
    return str((number + 1) % 10) if number < 10 else None
