"""What an expert should look at, the most valuable first, and campaigns of their own in which they do."""

import hashlib
import hmac
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from sqlalchemy import select
from sqlalchemy.orm import Session

from curation import labels
from labeling import campaigns, content, definitions, results
from labeling import taxonomy as taxonomies
from labeling.evolution import Migration
from labeling.results import ImageSize
from labeling.taxonomy import TaxonomyRevision
from qa import answers, conflicts, label_errors, ledger, migrations
from qa.answers import Answer
from store.database import batched
from store.errors import InvalidInputError
from store.schema import Annotation, Campaign, Image, ImageId, Task, Taxonomy, Verdict
from store.workspace import Workspace

Reason: TypeAlias = Literal["disputed", "label-error", "answered-since", "conflict"]

_CONFIRMED = 0.5  # of suspected labels turn out wrong, about: 51 % in Northcutt, Athalye and Mueller (2021)
_DIGITS = 9  # of values that count as equal
_STANDS = Task.state != "withdrawn"


@dataclass(frozen=True)
class Doubt:
    """One item that an expert should look at, and why."""

    campaign: str
    task: int
    image: int
    rank: int  # in the campaign, 0 the most wanted
    value: float  # 0 to 1, orders the queue; see `queue`
    reason: Reason
    why: str
    suspected: str | None  # what it may be instead of its label, of a label error or a conflict


@dataclass(frozen=True)
class QueueItem:
    """The same with all that an expert is told of it."""

    campaign: str
    task: int
    image: int
    rank: int
    value: float
    reason: Reason
    why: str
    kind: str  # of task
    label: str | None  # in force now, in words
    answers: dict[str, int]  # how many people said each class, in the order of the classes; of what else, in words
    suggestions: list[str]  # the values to choose from at once, see `qa.answers.read`, in an order that says nothing
    held_by: str | None  # the adjudication campaign that has it
    skipped: bool  # by an expert there, without a reason: nobody is asked about it again


@dataclass(frozen=True)
class Queue:
    """The items by value, highest first; of equals those more wanted first."""

    items: list[QueueItem]
    decided: int  # items that an adjudicator settled and that no review has seen since


@dataclass(frozen=True)
class AdjudicationSummary:
    """Where the items of a campaign are that an expert should look at."""

    campaign: str
    opened: str | None  # the campaign made for the new ones; none when there are none
    items: int  # in it
    already: int  # items that an earlier adjudication holds


def queue(workspace: Workspace, session: Session, campaign_name: str | None = None) -> Queue:
    """What an expert should look at, in one labelling campaign or in all.

    That is what a review sent to adjudication, what a scan for label errors doubts, what somebody answered differently
    after an adjudicator had settled it, and what another campaign labelled differently. Items that were withdrawn are
    left out.

    The value of a dispute is the chance that its likeliest answer is wrong, 1 where the review had no posterior. Of the
    others nobody has measured one: a suspect label's is half its score, for about half of such labels turn out wrong; a
    settled item's is the share of answers, the adjudicator's among them, that came later and say something else. Of two
    campaigns that differ it is the chance that the one whose label is not in force is right.

    Args:
        workspace: whose key shuffles suggestions, so that nobody sees whose is whose.
        session: an open snapshot.
        campaign_name: a labelling campaign; by default all whose items get verdicts.

    Raises:
        NotFoundError: there is no such campaign.
        InvalidInputError: it is an adjudication, or asks questions alone.
    """
    found, decided = doubts(session, campaign_name)
    return Queue(tell(workspace, session, found), decided)


def doubts(session: Session, campaign_name: str | None = None) -> tuple[list[Doubt], int]:
    """The items of `queue` in its order, and how many others are decided; what is said of each tells `tell`.

    Raises:
        NotFoundError, InvalidInputError: as `queue`.
    """
    if campaign_name is not None:
        chosen = [answers.labelling_campaign(session, campaign_name)]
    else:
        query = select(Campaign).join(Taxonomy, Taxonomy.id == Campaign.taxonomy_id)
        decided_on = (Campaign.purpose == "labelling", Taxonomy.task_kind != answers.UNDECIDED)
        chosen = list(session.scalars(query.where(*decided_on).order_by(Campaign.id)))
    suspects: dict[str, list[label_errors.Suspect]] = {}
    for suspect in label_errors.standing(session, campaign=campaign_name):
        suspects.setdefault(suspect.campaign, []).append(suspect)
    items: list[Doubt] = []
    decided = 0
    for campaign in chosen:
        found, waiting = _of_campaign(session, campaign, suspects.get(campaign.name, []))
        items += found
        decided += waiting
    return sorted(items, key=lambda item: (-round(item.value, _DIGITS), item.rank, item.task)), decided


def tell(workspace: Workspace, session: Session, found: Sequence[Doubt]) -> list[QueueItem]:
    """All that an expert is told of some items, in this order."""
    told: dict[int, QueueItem] = {}
    for name in dict.fromkeys(doubt.campaign for doubt in found):
        own = [doubt for doubt in found if doubt.campaign == name]
        told |= {item.task: item for item in _told(workspace, session, campaigns.get(session, name), own)}
    return [told[doubt.task] for doubt in found]


def offers(session: Session, campaign: Campaign, task_id: int) -> list[str]:
    """The values that an expert may choose of for an item, see `qa.answers.read`; none of one that nobody answered."""
    asked = session.get_one(Taxonomy, campaign.taxonomy_id)
    suspects = label_errors.standing(session, campaign=campaign.name)
    suspected: list[str | None] = [each.suggestion for each in suspects if each.task == task_id]
    suspected += [each.suggestion for each in conflicts.standing(session, campaign) if each.task == task_id]
    return _offers(
        taxonomies.get(session, asked.id),
        answers.given(session, asked, [task_id]).get(task_id, []),
        ledger.of_tasks(session, [task_id]).get(task_id),
        suspected,
        migrations.of_taxonomy(session, asked.name),
    )


def open_campaign(
    workspace: Workspace,
    campaign_name: str,
    *,
    vendor_name: str | None = None,
    label_errors_too: int = 0,
) -> AdjudicationSummary:
    """Plan a campaign over the items of the queue that are in none yet, in the queue's order.

    It is called `NAME-adjudication`, the next ones `NAME-adjudication-2` and so on; push it with
    `winnow campaign push`. Without new items nothing is planned; of two who ask at once one plans an item, and what is
    decided or withdrawn meanwhile is left out. It goes to the vendor of that name, by default the campaign's own. Of
    suspected label errors the first `label_errors_too` are taken.

    Raises:
        NotFoundError: there is no such campaign or vendor.
        InvalidInputError: it is an adjudication itself.
    """
    if label_errors_too < 0:
        raise InvalidInputError(f"Of label errors 0 or more go to adjudication, not {label_errors_too}.")
    with workspace.database.read() as session:
        items = queue(workspace, session, campaign_name).items
    suspected = [item for item in items if item.reason == "label-error" and item.held_by is None]
    left = {item.task for item in suspected[label_errors_too:]}
    wanted = [item for item in items if item.task not in left]
    with workspace.database.write() as session:
        return _open(workspace, session, campaign_name, wanted, vendor_name=vendor_name)


def open_suspects(
    workspace: Workspace, count: int, *, taxonomy: str, vendor_name: str | None = None
) -> list[AdjudicationSummary]:
    """Plan campaigns over the `count` most suspect labels that are in none yet: one for each campaign they are from.

    Only labels under the name `taxonomy` are taken. All campaigns are planned or none.

    Raises:
        NotFoundError: there is no such vendor.
        InvalidInputError: `count` is below 1.
    """
    if count < 1:
        raise InvalidInputError(f"One label or more goes to adjudication, not {count}.")
    with workspace.database.read() as session:
        of_taxonomy = {one.task for one in label_errors.standing(session) if one.taxonomy == taxonomy}
        items = [item for item in queue(workspace, session).items if item.task in of_taxonomy]
    suspected = [item for item in items if item.reason == "label-error" and item.held_by is None][:count]
    names = sorted({item.campaign for item in suspected})
    with workspace.database.write() as session:
        return [
            _open(
                workspace,
                session,
                name,
                [item for item in suspected if item.campaign == name],
                vendor_name=vendor_name,
            )
            for name in names
        ]


def _open(
    workspace: Workspace, session: Session, parent: str, items: Sequence[QueueItem], *, vendor_name: str | None
) -> AdjudicationSummary:
    campaign = campaigns.get(session, parent)
    in_doubt = {doubt.task for doubt in doubts(session, parent)[0]}  # not what was decided since the queue was read
    held = _held(session, campaign)  # also what another planned since
    items = [item for item in items if item.task in in_doubt]
    fresh = [item for item in items if item.image not in held]
    name = None
    if fresh:
        of_campaign = (Campaign.parent_id == campaign.id, Campaign.purpose == "adjudication")
        earlier = session.scalars(select(Campaign.id).where(*of_campaign)).all()
        definition = taxonomies.get(session, campaign.taxonomy_id).definition
        shown = select(Image.id, Image.width, Image.height).where(Image.id.in_([item.image for item in fresh]))
        size_of = {image_id: ImageSize(width, height) for image_id, width, height in session.execute(shown)}
        name = f"{parent}-adjudication" + (f"-{len(earlier) + 1}" if earlier else "")
        suggestions = {
            ImageId(item.image): [
                results.write(
                    content.with_ids(answers.content_of(one, definition), f"suggestion-{place}"),
                    definition,
                    size_of[item.image],
                )
                for place, one in enumerate(item.suggestions)
            ]
            for item in fresh
        }
        campaigns.plan_adjudication(
            session, workspace.key, name, parent=parent, suggestions=suggestions, vendor_name=vendor_name
        )
    return AdjudicationSummary(parent, opened=name, items=len(fresh), already=len(items) - len(fresh))


def _of_campaign(
    session: Session, campaign: Campaign, suspects: Sequence[label_errors.Suspect]
) -> tuple[list[Doubt], int]:
    """The campaign's items in no order, and how many were settled since the last review."""
    asked = session.get_one(Taxonomy, campaign.taxonomy_id)
    words = answers.last_words(session, asked, campaign_id=campaign.id)
    of_campaign = select(Task.id, Task.image_id, Task.rank).where(Task.campaign_id == campaign.id)
    place = {one: (image_id, rank) for one, image_id, rank in session.execute(of_campaign.where(_STANDS))}
    found: dict[int, Doubt] = {}

    def doubt(task_id: int, value: float, reason: Reason, why: str, suspected: str | None = None) -> None:
        image_id, rank = place[task_id]
        found[task_id] = Doubt(campaign.name, task_id, image_id, rank, value, reason, why, suspected)

    in_force = Verdict.id.in_(campaigns.standing_verdicts(Task.campaign_id == campaign.id, _STANDS))
    is_disputed = (in_force, Verdict.outcome == "adjudication")
    disputed = select(Verdict.task_id, Verdict.posterior).where(*is_disputed)
    standing = campaigns.standing_annotations(Task.id.in_(select(Verdict.task_id).where(*is_disputed)))
    answered = select(Annotation.task_id).where(Annotation.id.in_(standing), Annotation.skipped.is_(False))
    is_answered = set(session.scalars(answered))
    for task_id, posterior in session.execute(disputed):
        if task_id not in words:
            value = 1.0 if posterior is None else 1 - posterior
            why = "The answers leave it in doubt." if task_id in is_answered else "Nobody said what it is."
            doubt(task_id, value, "disputed", why)
    decided = 0
    is_comparable = asked.task_kind in definitions.IMAGE_KINDS  # no two people draw exactly the same
    settled = {task_id: words[task_id] for task_id in sorted(words.keys() & place.keys())}
    heard = answers.given(session, asked, settled) if is_comparable else {}
    for task_id, verdict in ledger.of_tasks(session, settled).items():
        word, said = settled[task_id], heard.get(task_id, [])
        decided += not word.is_ground_of(verdict)
        later = [each for each in said if each.order > word.order and each.value is not None]
        against = sum(each.value != word.value for each in later)
        if against:
            why = f"After it was settled as {word.words!r}, {against} answered differently."
            doubt(task_id, against / (len(said) + 1), "answered-since", why)
    for suspect in suspects:
        if suspect.task not in words and suspect.task in place:
            doubt(suspect.task, _CONFIRMED * suspect.score, "label-error", suspect.why, suspect.suggestion)
    for one in conflicts.standing(session, campaign):
        in_queue = found.get(one.task)
        if one.task in place.keys() - words.keys() and (in_queue is None or in_queue.value < one.chance):
            why = f"{one.campaign} accepted {labels.in_words(one.value, asked.task_kind)!r} of the same image."
            doubt(one.task, one.chance, "conflict", why, one.suggestion)
    return list(found.values()), decided


def _told(workspace: Workspace, session: Session, campaign: Campaign, found: Sequence[Doubt]) -> list[QueueItem]:
    """What is said of items of one campaign."""
    asked = session.get_one(Taxonomy, campaign.taxonomy_id)
    kind = asked.task_kind
    task_ids = [doubt.task for doubt in found]
    held = _held(session, campaign)
    in_skip = _skipped(session, campaign) & held.keys()
    heard, verdicts = answers.given(session, asked, task_ids), ledger.of_tasks(session, task_ids)
    uid_of: dict[int, str] = {}
    for some in batched(task_ids):
        uid_of |= dict(session.execute(select(Task.id, Task.uid).where(Task.id.in_(some))).all())
    revision, moves = taxonomies.get(session, asked.id), migrations.of_taxonomy(session, asked.name)
    order = {name: i for i, name in enumerate(revision.definition.class_names)}
    items = []
    for doubt in found:
        skipped = doubt.image in in_skip and doubt.reason != "answered-since"  # which was settled
        said, verdict = heard.get(doubt.task, []), verdicts[doubt.task]
        votes = Counter(each.words for each in said if each.words is not None)
        label = verdict.answer if verdict.outcome == "accepted" else None
        suggestions = _offers(revision, said, verdict, [doubt.suspected], moves)
        items.append(
            QueueItem(
                campaign=campaign.name,
                task=doubt.task,
                image=doubt.image,
                rank=doubt.rank,
                value=doubt.value,
                reason=doubt.reason,
                why=f"{doubt.why} An expert skipped it without a reason." if skipped else doubt.why,
                kind=kind,
                label=None if label is None else labels.in_words(label, kind),
                answers=dict(sorted(votes.items(), key=lambda vote: order.get(vote[0], len(order)))),
                suggestions=_shuffled(suggestions, workspace.key, uid_of[doubt.task]),
                held_by=held.get(doubt.image),
                skipped=skipped,
            )
        )
    return items


def _skipped(session: Session, campaign: Campaign) -> set[int]:
    """The images that were skipped, for a reason or not, in an adjudication of a campaign."""
    of_campaign = (Campaign.parent_id == campaign.id, Campaign.purpose == "adjudication")
    in_force = campaigns.standing_annotations(Task.campaign_id.in_(select(Campaign.id).where(*of_campaign)))
    skips = (
        select(Task.image_id)
        .join(Annotation, Annotation.task_id == Task.id)
        .where(Annotation.id.in_(in_force), Annotation.skipped.is_(True), Task.state != "withdrawn")
    )
    return set(session.scalars(skips))


def _held(session: Session, campaign: Campaign) -> dict[int, str]:
    """By image, the adjudication that has an item and in which nobody has answered it yet."""
    of_campaign = (Campaign.parent_id == campaign.id, Campaign.purpose == "adjudication")
    in_force = campaigns.standing_annotations(Task.campaign_id.in_(select(Campaign.id).where(*of_campaign)))
    answered = select(Annotation.task_id).where(Annotation.id.in_(in_force), Annotation.skipped.is_(False))
    rows = session.execute(
        select(Task.image_id, Campaign.name)
        .join(Campaign, Campaign.id == Task.campaign_id)
        .where(
            *of_campaign,
            Task.state != "withdrawn",
            Task.id.not_in(answered),
        )
        .order_by(Campaign.id)
    )
    return dict(rows.all())


def _offers(
    asked: TaxonomyRevision,
    heard: Sequence[Answer],
    verdict: Verdict | None,
    suspected: Sequence[str | None],
    moves: Mapping[int, Migration],
) -> list[str]:
    """What people said of an item, what stands, what it is suspected to be and what all that comes to."""
    kind = asked.definition.kind
    values = [each.value for each in heard]
    if verdict is not None and verdict.outcome == "accepted" and verdict.answer is not None:
        migrated = verdict.evidence.get(labels.MIGRATED)
        since = asked.revision if migrated is None else migrated["to"]
        values.append(migrations.value_then(verdict.answer, since, moves, asked=asked))
    values += suspected
    if verdict is not None and kind != labels.CLASSIFICATION and any(each.words is not None for each in heard):
        values.append(verdict.evidence.get("likeliest"))
    return _different(values, kind)


def _different(values: Sequence[str | None], kind: str) -> list[str]:
    """Those that are not the same for an expert as an earlier one: what is drawn, to a tenth of a pixel."""
    if kind == labels.CLASSIFICATION:
        return [*dict.fromkeys(one for one in values if one is not None)]
    seen: dict[str, str] = {}
    for one in values:
        if one is not None:
            seen.setdefault(json.dumps(json.loads(one, parse_float=lambda text: round(float(text), 1))), one)
    return [*seen.values()]


def _shuffled(values: Sequence[str], key: bytes, uid: str) -> list[str]:
    """In an order that is another one for each item, the same each time, and tells nothing."""
    return sorted(values, key=lambda value: hmac.digest(key, f"suggestion/{uid}/{value}".encode(), hashlib.sha256))
