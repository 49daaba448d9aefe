"""Lots: what a vendor delivered, accepted or rejected as a whole by an audit of some of it.

A lot is the items of a campaign that people agreed on since its last lot. Its items are put in a random order, which
nobody outside can know, and the first of them go to an auditor, another vendor, in a campaign that shows neither the
labels nor whose they are. An item is defective if the last word on it, an auditor's or an adjudicator's, differs from
its label (`qa.defects`), or if they cannot tell what it is. The plan and its risks are those of `qa.acceptance`; how
severely a vendor is inspected follows from its lots before.

A rejected lot goes back: its vendor labels the items again in a new campaign, whose items are the next lot; or the
auditor goes through all of it. Decisions are appended; a lot that was accepted or rejected stays so. One that is not
decided, and of which nothing was found wrong, can be withdrawn: its items are in the next.

Here is what a lot is, what its audit has found, and how it stands; `qa.lot_opening` makes lots and draws samples,
`qa.lot_decisions` accepts and rejects them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from labeling import campaigns, evolution
from labeling import taxonomy as taxonomies
from labeling.evolution import Migration
from qa import acceptance, answers, defects, migrations
from qa import standing as standings
from qa.acceptance import Kind, Levels, Plan, Severity
from qa.answers import LastWord
from qa.defects import Tolerance
from store.errors import NotFoundError
from store.schema import (
    Annotation,
    Campaign,
    Image,
    ImageId,
    Label,
    Lot,
    LotCampaign,
    LotDecision,
    LotItem,
    Task,
    Taxonomy,
    Vendor,
)
from store.workspace import Workspace


@dataclass(frozen=True)
class Terms:
    """What is asked of a plan, quality levels with their risks, its numbers, or both; and what is a defect."""

    kind: Kind = "single"
    levels: Levels | None = None
    sizes: tuple[int, ...] = ()  # of the samples one after another, where given: one, or two for a double plan
    accept: tuple[int, ...] = ()  # with so many defectives after each
    tolerance: Tolerance | None = None  # of regions; of a lot without regions none

    @property
    def says_a_plan(self) -> bool:
        """Whether there are levels or numbers."""
        return self.levels is not None or bool(self.sizes or self.accept)


@dataclass(frozen=True)
class LotStatus:
    """A lot, as the catalog knows since the last pull."""

    id: int
    campaign: str
    vendor: str
    auditor: str
    size: int
    severity: Severity
    terms: Terms
    plan: Plan
    producers_risk: float | None  # of the plan at the levels of normal inspection; none without levels
    consumers_risk: float | None
    audits: list[str]  # campaigns
    drawn: int  # items that went to the auditor, and next ones that were settled before
    audited: int  # of these, with an answer
    found: int  # of these, defective
    skipped: list[int]  # images drawn that the auditor skipped without a reason, and that nobody settled
    outcome: str  # open, withdrawn, accepted, rejected or sorted
    decided_on: int | None  # items of the sample that decided
    rework: str | None  # the campaign in which its vendor labels it again
    resubmits: int | None  # the rejected lot that it was
    created_at: datetime
    decided_at: datetime | None


@dataclass(frozen=True)
class Item:
    """One of a lot, and the label that is judged."""

    task_id: int
    image_id: ImageId
    diagonal: float  # of the image, in pixels
    value: str  # the label that is judged
    revision: int  # of the taxonomy it is of


@dataclass(frozen=True)
class Audit:
    """The last words on the items, by their place."""

    items: list[Item]
    drawn: int  # so many of them, the first ones, went to the auditor or were settled before
    said: dict[int, LastWord]  # of those that did not, what an adjudicator said
    is_defective: dict[int, bool]  # of those that were drawn and have a word
    moves: dict[int, Migration]  # of the taxonomy, by the revision each led to: what was compared is of today's classes

    @property
    def audited(self) -> list[int]:
        """The items drawn that have a word, by place."""
        return [place for place in range(self.drawn) if place in self.said]

    @property
    def found(self) -> int:
        """How many of these are defective."""
        return sum(self.is_defective[place] for place in self.audited)

    @property
    def in_order(self) -> list[bool]:
        """Whether the items drawn are defective, up to the first without a word."""
        return [self.is_defective[place] for place in takewhile(self.is_defective.__contains__, range(self.drawn))]


def show(session: Session, lot_id: int) -> LotStatus:
    """One lot.

    Raises:
        NotFoundError: there is none of this number.
    """
    lot = get(session, lot_id)
    return _status(session, lot, read_audit(session, lot))


def list_lots(session: Session, *, limit: int | None = None) -> list[LotStatus]:
    """The lots, the newest first."""
    words: dict[int, dict[int, LastWord]] = {}  # by campaign, which may have many lots
    found = []
    for lot in session.scalars(select(Lot).order_by(Lot.id.desc()).limit(limit)).all():
        if lot.campaign_id not in words:
            words[lot.campaign_id] = _words(session, lot)
        found.append(_status(session, lot, read_audit(session, lot, words[lot.campaign_id])))
    return found


def shown(workspace: Workspace, lot_id: int) -> LotStatus:
    """One lot, read in a transaction of its own."""
    with workspace.database.read() as session:
        return show(session, lot_id)


def severity_of(word: str) -> Severity:
    """The severity that a row names."""
    return next(each for each in acceptance.SEVERITIES if each == word)


def get(session: Session, lot_id: int) -> Lot:
    """The row of a lot.

    Raises:
        NotFoundError: there is none of this number.
    """
    lot = session.get(Lot, lot_id)
    if lot is None:
        raise NotFoundError(f"There is no lot {lot_id}. See: winnow qa lots list.")
    return lot


def newest_decision(session: Session, lot: Lot) -> LotDecision | None:
    """The decision in force, also one to continue; none before the first."""
    of_lot = select(LotDecision).where(LotDecision.lot_id == lot.id)
    return session.scalar(of_lot.order_by(LotDecision.id.desc()).limit(1))


def _items(session: Session, lot: Lot) -> list[Item]:
    """In the order drawn."""
    rows = session.execute(
        select(LotItem.task_id, Task.image_id, Image.width, Image.height, Label.value, Taxonomy.revision)
        .join(Task, Task.id == LotItem.task_id)
        .join(Image, Image.id == Task.image_id)
        .join(Label, Label.id == LotItem.label_id)
        .join(Taxonomy, Taxonomy.id == Label.taxonomy_id)
        .where(LotItem.lot_id == lot.id)
        .order_by(LotItem.place)
    )
    return [
        Item(task_id, ImageId(image_id), math.hypot(width, height), value, revision)
        for task_id, image_id, width, height, value, revision in rows
    ]


def _words(session: Session, lot: Lot) -> dict[int, LastWord]:
    """The last words on the items of its campaign."""
    campaign = session.get_one(Campaign, lot.campaign_id)
    return answers.last_words(session, session.get_one(Taxonomy, campaign.taxonomy_id), campaign_id=campaign.id)


def read_audit(
    session: Session, lot: Lot, words: Mapping[int, LastWord] | None = None, *, compared: Audit | None = None
) -> Audit:
    """What was said of its items, and which of those drawn are defective in today's classes.

    `words` are the last ones on the items of its campaign, where they are read already; what was `compared` a moment
    ago or for the decision in force is not compared again, unless something else is said of it or the taxonomy was
    migrated since.
    """
    asked = session.get_one(Taxonomy, session.get_one(Campaign, lot.campaign_id).taxonomy_id)
    definition = taxonomies.get(session, asked.id).definition
    words = _words(session, lot) if words is None else words
    items = _items(session, lot)
    said = {place: words[item.task_id] for place, item in enumerate(items) if item.task_id in words}
    rows = session.scalars(select(Taxonomy).where(Taxonomy.name == asked.name)).all()
    moves = {row.revision: evolution.parse(row.migration) for row in rows if row.migration}
    tolerance = terms_of(lot).tolerance or Tolerance()
    migrated_at = max((row.created_at for row in rows if row.migration), default=None)
    found_by_decision = _found_by(newest_decision(session, lot), migrated_at)

    def is_defective(place: int, item: Item, word: LastWord) -> bool:
        if word.value is None:
            return True
        if compared is not None and compared.moves == moves and compared.said.get(place) == word:
            known = compared.is_defective.get(place)
        else:
            known = found_by_decision(item, word)
        if known is not None:
            return known
        label, said_now = (
            migrations.names_now(answers.content_of(each, definition), revision, moves)
            for each, revision in ((item.value, item.revision), (word.value, asked.revision))
        )
        return defects.differ(label, said_now, tolerance, diagonal=item.diagonal)

    drawn = _drawn(session, lot)
    while drawn in said:  # what an adjudicator settled before it was drawn: no audit is planned of that
        drawn += 1
    return Audit(
        items,
        drawn=drawn,
        said=said,
        is_defective={place: is_defective(place, items[place], word) for place, word in said.items() if place < drawn},
        moves=moves,
    )


def _found_by(decision: LotDecision | None, migrated_at: datetime | None) -> Callable[[Item, LastWord], bool | None]:
    """Whether an item was defective by the word on which a decision rests; none where it rests on something else."""
    if decision is None or (migrated_at is not None and decision.decided_at <= migrated_at):
        return lambda item, word: None
    annotations, decisions = (set(decision.evidence[name]) for name in ("annotations", "decisions"))
    defective = {each["task"] for each in decision.evidence["defective"]}

    def found(item: Item, word: LastWord) -> bool | None:
        is_ground = word.annotation_id in annotations or word.decision_id in decisions
        return item.task_id in defective if is_ground else None

    return found


def campaigns_of(session: Session, lot: Lot, purpose: str) -> Sequence[Campaign]:
    """The oldest first."""
    return session.scalars(
        select(Campaign)
        .join(LotCampaign, LotCampaign.campaign_id == Campaign.id)
        .where(LotCampaign.lot_id == lot.id, Campaign.purpose == purpose)
        .order_by(Campaign.id)
    ).all()


def _drawn(session: Session, lot: Lot) -> int:
    """How many items went to the auditor: the first ones, in campaigns that were called off too."""
    audits = [campaign.id for campaign in campaigns_of(session, lot, "audit")]
    images = select(func.max(LotItem.place)).join(Task, Task.id == LotItem.task_id)
    drawn = select(Task.image_id).where(Task.campaign_id.in_(audits))
    last = session.scalar(images.where(LotItem.lot_id == lot.id, Task.image_id.in_(drawn)))
    return 0 if last is None else last + 1


def _skipped(session: Session, lot: Lot, audit: Audit) -> list[int]:
    """The images drawn that are without a word since the auditor skipped them, in the order drawn."""
    return _without_word(session, lot, audit, Annotation.skipped.is_(True), Task.state != "withdrawn")


def unheard(session: Session, lot: Lot, audit: Audit) -> list[int]:
    """The images drawn that are without a word since the auditor is paused, in the order drawn."""
    paused = [annotator for annotator, each in standings.in_force(session).items() if each.state == "paused"]
    return _without_word(session, lot, audit, Annotation.annotator_id.in_(paused))


def _without_word(session: Session, lot: Lot, audit: Audit, *given: ColumnElement[bool]) -> list[int]:
    """The images drawn that are without a word though such an annotation was given."""
    of_audits = Task.campaign_id.in_([campaign.id for campaign in campaigns_of(session, lot, "audit")])
    in_force = campaigns.standing_annotations(of_audits)
    answered = select(Task.image_id).join(Annotation).where(Annotation.id.in_(in_force), *given)
    images = set(session.scalars(answered.where(of_audits)))
    drawn = enumerate(audit.items[: audit.drawn])
    return [item.image_id for place, item in drawn if item.image_id in images and place not in audit.said]


def rework_of(session: Session, lot: Lot) -> str | None:
    """The campaign in which its vendor labels it again."""
    return next((campaign.name for campaign in campaigns_of(session, lot, "labelling")), None)


def resubmitted_as(session: Session, lot_id: int) -> int | None:
    """The newest lot that a rejected lot became when it was labelled again; none without one, withdrawn ones aside."""
    later = session.scalars(select(Lot).where(Lot.resubmits_id == lot_id).order_by(Lot.id.desc()))
    decided = ((one.id, newest_decision(session, one)) for one in later)
    return next((number for number, decision in decided if decision is None or decision.outcome != "withdrawn"), None)


def plan_of(lot: Lot) -> Plan:
    """The plan by which it is judged."""
    return Plan(**{name: tuple(numbers) for name, numbers in lot.plan.items()})


def terms_of(lot: Lot) -> Terms:
    """What was asked of its plan."""
    stored: dict[str, Any] = lot.terms
    levels = None if stored["levels"] is None else Levels(**stored["levels"])
    told = stored.get("tolerance")  # not there in lots of before lots of regions
    tolerance = None if told is None else Tolerance(**told)
    return Terms(stored["kind"], levels, tuple(stored["sizes"]), tuple(stored["accept"]), tolerance)


def _status(session: Session, lot: Lot, audit: Audit) -> LotStatus:
    campaign = session.get_one(Campaign, lot.campaign_id)
    size = len(audit.items)
    plan, terms, decision = plan_of(lot), terms_of(lot), newest_decision(session, lot)
    is_decided = decision is not None and decision.outcome != "continue"
    risks = None if terms.levels is None else acceptance.risks(plan, terms.levels, lot_size=size)
    return LotStatus(
        id=lot.id,
        campaign=campaign.name,
        vendor=session.get_one(Vendor, campaign.vendor_id).name,
        auditor=session.get_one(Vendor, lot.auditor_id).name,
        size=size,
        severity=severity_of(lot.severity),
        terms=terms,
        plan=plan,
        producers_risk=None if risks is None else risks[0],
        consumers_risk=None if risks is None else risks[1],
        audits=[each.name for each in campaigns_of(session, lot, "audit")],
        drawn=audit.drawn,
        audited=len(audit.audited),
        found=audit.found,
        skipped=_skipped(session, lot, audit),
        outcome=decision.outcome if decision is not None and is_decided else "open",
        decided_on=decision.audited if decision is not None and is_decided else None,
        rework=rework_of(session, lot),
        resubmits=lot.resubmits_id,
        created_at=lot.created_at,
        decided_at=decision.decided_at if decision is not None and is_decided else None,
    )
