"""Lots: what a vendor delivered, accepted or rejected as a whole by an audit of some of it.

A lot is the items of a campaign that people agreed on since its last lot. Its items are put in a random order, which
nobody outside can know, and the first of them go to an auditor, another vendor, in a campaign that shows neither the
labels nor whose they are. An item is defective if the last word on it, an auditor's or an adjudicator's, differs from
its label (`qa.defects`), or if they cannot tell what it is. The plan and its risks are those of `qa.acceptance`; how
severely a vendor is inspected follows from its lots before.

A rejected lot goes back: its vendor labels the items again in a new campaign, whose items are the next lot; or the
auditor goes through all of it. Decisions are appended; a lot that was accepted or rejected stays so. One that is not
decided, and of which nothing was found wrong, can be withdrawn: its items are in the next.
"""

import hashlib
import hmac
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from itertools import takewhile
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from curation import labels
from labeling import campaigns, cancel, evolution, vendors
from labeling import taxonomy as taxonomies
from labeling.definitions import Definition, shape_kinds
from labeling.evolution import Migration
from qa import acceptance, answers, defects, ledger, migrations, rejections
from qa import standing as standings
from qa.acceptance import Decision, Kind, Levels, Plan, Severity, Standing
from qa.answers import LastWord
from qa.defects import Tolerance
from store import fail_points
from store.errors import ConflictError, InvalidInputError, NotFoundError
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
    Verdict,
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
class LeftOut:
    """Accepted items of a campaign that its next lot does not hold."""

    in_lots: int  # already, that were not withdrawn
    settled: int  # by an adjudicator, or an auditor of a lot that was withdrawn: no work of the vendor


@dataclass(frozen=True)
class _Asked:
    """What a lot is to be, before there is a plan."""

    label_of: dict[int, int]  # the label that is judged, by task
    terms: Terms
    severity: Severity
    resubmits_id: int | None
    earlier: int  # lots of the same campaign


@dataclass(frozen=True)
class _Item:
    task_id: int
    image_id: ImageId
    diagonal: float  # of the image, in pixels
    value: str  # the label that is judged
    revision: int  # of the taxonomy it is of


@dataclass(frozen=True)
class _Audit:
    """The last words on the items, by their place."""

    items: list[_Item]
    drawn: int  # so many of them, the first ones, went to the auditor or were settled before
    said: dict[int, LastWord]  # of those that did not, what an adjudicator said
    is_defective: dict[int, bool]
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


def make_plan(terms: Terms, severity: Severity, *, lot_size: int, process: bool = False) -> Plan:
    """The plan for a lot.

    Raises:
        InvalidInputError: neither levels nor numbers are given, or they make no plan for such a lot.
    """
    if not terms.sizes and not terms.accept:
        if terms.levels is None:
            raise InvalidInputError(
                "A plan needs quality levels (--aql, --ltpd) or its own numbers (--sample, --accept)."
            )
        return acceptance.find(terms.kind, terms.levels.under(severity), lot_size=lot_size, process=process)
    if (terms.kind, len(terms.sizes), len(terms.accept)) not in (("single", 1, 1), ("double", 2, 2)):
        raise InvalidInputError(
            "A single plan is given by one --sample and one --accept, a double one by two of each; "
            f"here are {len(terms.sizes)} and {len(terms.accept)}."
        )
    if terms.kind == "single":
        plan = acceptance.single(terms.sizes[0], terms.accept[0])
    else:
        plan = acceptance.double(terms.sizes[0], terms.sizes[1], (terms.accept[0], terms.accept[1]))
    return acceptance.rescale(plan, severity, lot_size=lot_size)


def open_lot(
    workspace: Workspace,
    campaign_name: str,
    *,
    auditor: str,
    terms: Terms | None = None,
    least_iou: float | None = None,
    least_f1: float | None = None,
    severity: Severity | None = None,
) -> LotStatus:
    """Make a lot of what people agreed on in a campaign since its last lot, and plan the audit of its first sample.

    Push that with `winnow campaign push`. All of it is there, or nothing. Whoever has a login to a Label Studio
    Community sees all its projects: auditors who are to see no answers are a vendor with a server of their own.

    Args:
        workspace: Holds the catalog.
        campaign_name: Whose items.
        auditor: The vendor who audits, not the one who labelled.
        terms: A lot that is submitted again has by default those it had: the plan's, the tolerance, or both.
        least_iou: Of the tolerance, instead of what the terms have.
        least_f1: Likewise.
        severity: By default what the switching rules say of the vendor's lots; a lot that is submitted again is
            inspected no less severely than before.

    Raises:
        NotFoundError: there is no such campaign or vendor.
        InvalidInputError: there is nothing to judge, the auditor labelled it, there is no such plan, or a tolerance is
            given where nothing is drawn.
        ConflictError: the vendor's lots are not inspected any more, and no severity is given.
    """
    told = {name: value for name, value in (("least_iou", least_iou), ("least_f1", least_f1)) if value is not None}

    def ask(session: Session) -> _Asked:
        return _ask(session, campaign_name, auditor=auditor, terms=terms or Terms(), told=told, severity=severity)

    with workspace.database.read() as session:
        asked = ask(session)
    plan = make_plan(asked.terms, asked.severity, lot_size=len(asked.label_of))
    seed = _seed(workspace.key, campaign_name, asked)
    task_ids = sorted(asked.label_of)
    order = np.random.default_rng(seed).permutation(len(task_ids)).tolist()
    with workspace.database.write() as session:
        if ask(session) != asked:
            raise ConflictError(f"{campaign_name!r} changed meanwhile: ask again.")
        lot = Lot(
            campaign_id=campaigns.get(session, campaign_name).id,
            auditor_id=vendors.get(session, auditor).id,
            resubmits_id=asked.resubmits_id,
            severity=asked.severity,
            terms=asdict(asked.terms),
            plan=asdict(plan),
            seed=seed,
        )
        session.add(lot)
        session.flush()
        session.add_all(
            LotItem(lot_id=lot.id, place=place, task_id=task_ids[i], label_id=asked.label_of[task_ids[i]])
            for place, i in enumerate(order)
        )
        session.flush()
        _draw(session, workspace.key, lot, _audit(session, lot), acceptance.next_size(plan, Decision("continue", 0, 0)))
        lot_id = lot.id
        fail_points.reach("lots.before_commit")
    fail_points.reach("lots.after_commit")
    return _shown(workspace, lot_id)


def decide(workspace: Workspace, lot_id: int, *, sort: bool = False) -> LotStatus:
    """Judge a lot by the auditor's answers so far.

    What an auditor or adjudicator said of an item is its label. Where the plan asks for another sample, its audit is
    planned; so is that of items drawn whose audit was called off. The other items of a rejected lot have no label in
    force any more; with `sort` they all go to the auditor, and once these are answered the lot is sorted. Deciding
    again without new answers changes nothing.

    Raises:
        NotFoundError: there is no such lot.
        ConflictError: it was withdrawn, or is to be sorted and is not rejected, or its vendor reworks it.
    """
    with workspace.database.read() as session:
        lot = _get(session, lot_id)
        campaign_id = lot.campaign_id
        compared = _audit(session, lot)  # areas take long: nobody waits for that
    with (
        campaigns.exclusive(workspace, campaign_id),  # no review of older answers writes meanwhile, nor later
        workspace.database.write() as session,
    ):
        lot = _get(session, lot_id)
        newest = _decision(session, lot)
        if newest is not None and newest.outcome == "withdrawn":
            raise ConflictError(f"The lot {lot_id} is withdrawn: there is nothing to decide.")
        campaign = session.get_one(Campaign, campaign_id)
        audit = _audit(session, lot, compared=compared)
        newest_of = _settle(session, campaign, lot, audit)
        _draw(session, workspace.key, lot, audit, audit.drawn)  # again what was withdrawn with its campaign
        if newest is None or newest.outcome == "continue":
            newest = _judge(session, workspace.key, lot, audit, newest)
        if newest is not None and newest.outcome in ("rejected", "sorted"):
            others = [newest_of[item.task_id] for place, item in enumerate(audit.items) if place not in audit.said]
            rejections.reject(session, lot.id, others)
        if sort:
            _check_sortable(session, lot, newest)
            _draw(session, workspace.key, lot, audit, len(audit.items))
        if newest is not None and newest.outcome == "rejected" and len(audit.said) == len(audit.items):
            _append(session, lot, "sorted", len(audit.items), audit)
        migrations.carry_over(session, session.get_one(Taxonomy, campaign.taxonomy_id).name)
        fail_points.reach("lots.before_commit")
    fail_points.reach("lots.after_commit")
    return _shown(workspace, lot_id)


def withdraw(workspace: Workspace, lot_id: int) -> LotStatus:
    """Call off a lot that is not decided: what nobody audited is in the next one, what an auditor said stands.

    Its audits are cancelled first, which brings their last answers; whatever dies after that, the same withdraws on.

    Raises:
        NotFoundError: there is no such lot.
        ConflictError: it was accepted or rejected, or what was audited decides it or is wrong in part, or an auditor
            who answered is paused.
        RemoteError: Label Studio failed or refused; the same withdraws on.
    """
    with workspace.database.read() as session:
        lot = _get(session, lot_id)
        campaign_id = lot.campaign_id
        _check_withdrawable(session, lot)
        audits = _open_audits(session, lot)
    is_done = False
    while not is_done:
        for name in audits:
            cancel.cancel(workspace, name)
        with campaigns.exclusive(workspace, campaign_id), workspace.database.write() as session:
            lot = _get(session, lot_id)
            is_withdrawn = _check_withdrawable(session, lot)
            audits = _open_audits(session, lot)  # that a decision planned meanwhile
            is_done = not audits
            if is_done and not is_withdrawn:
                audit = _audit(session, lot)
                _settle(session, session.get_one(Campaign, campaign_id), lot, audit)
                _append(session, lot, "withdrawn", len(audit.in_order), audit)
            fail_points.reach("lots.before_commit")
    fail_points.reach("lots.after_commit")
    return _shown(workspace, lot_id)


def rework(workspace: Workspace, lot_id: int) -> LotStatus:
    """Plan the campaign in which the vendor of a rejected lot labels again what nobody settled.

    Its tasks are new; what people agree on there is the next lot, submitted again. Asking twice plans it once.

    Raises:
        NotFoundError: there is no such lot.
        ConflictError: it is not rejected, or the auditor sorts it.
    """
    with workspace.database.write() as session:
        lot = _get(session, lot_id)
        decision = _decision(session, lot)
        if decision is None or decision.outcome != "rejected":
            raise ConflictError(f"The lot {lot_id} is {_called(decision)}: only a rejected one is reworked.")
        audit = _audit(session, lot)
        if audit.drawn == len(audit.items):
            raise ConflictError(f"The lot {lot_id} goes to the auditor as a whole: it is not reworked too.")
        if _rework(session, lot) is None:
            campaign = session.get_one(Campaign, lot.campaign_id)
            again = [item for place, item in enumerate(audit.items) if place not in audit.said]
            made = campaigns.derive(
                session,
                workspace.key,
                f"{_first_campaign(session, campaign).name}-rework",
                purpose="labelling",
                parent=campaign,
                vendor_id=campaign.vendor_id,
                image_ids=[item.image_id for item in sorted(again, key=lambda item: item.task_id)],
            )
            session.add(LotCampaign(campaign_id=made.id, lot_id=lot.id))
        fail_points.reach("lots.before_commit")
    fail_points.reach("lots.after_commit")
    return _shown(workspace, lot_id)


def left_out(session: Session, campaign_name: str) -> LeftOut:
    """How many accepted items of a campaign the next lot would leave out, and why.

    Raises:
        NotFoundError: there is no such campaign.
        InvalidInputError: nobody labels in it.
    """
    return _new_labels(session, answers.labelling_campaign(session, campaign_name))[1]


def show(session: Session, lot_id: int) -> LotStatus:
    """One lot.

    Raises:
        NotFoundError: there is none of this number.
    """
    lot = _get(session, lot_id)
    return _status(session, lot, _audit(session, lot))


def list_lots(session: Session, *, limit: int | None = None) -> list[LotStatus]:
    """The lots, the newest first."""
    words: dict[int, dict[int, LastWord]] = {}  # by campaign, which may have many lots
    found = []
    for lot in session.scalars(select(Lot).order_by(Lot.id.desc()).limit(limit)).all():
        if lot.campaign_id not in words:
            words[lot.campaign_id] = _words(session, lot)
        found.append(_status(session, lot, _audit(session, lot, words[lot.campaign_id])))
    return found


def standing(session: Session, vendor_id: int) -> Standing:
    """How a vendor's next lot is inspected, by those that were decided; lots submitted again do not count."""
    is_judgement = LotDecision.outcome.in_(("accepted", "rejected"))
    first = select(func.min(LotDecision.id)).where(is_judgement).group_by(LotDecision.lot_id)
    rows = session.execute(
        select(Lot.severity, LotDecision.outcome)
        .join(Campaign, Campaign.id == Lot.campaign_id)
        .join(LotDecision, LotDecision.lot_id == Lot.id)
        .where(Campaign.vendor_id == vendor_id, Lot.resubmits_id.is_(None), LotDecision.id.in_(first))
        .order_by(Lot.id)
    )
    return acceptance.standing([(_severity(word), outcome == "accepted") for word, outcome in rows])


def _ask(
    session: Session,
    campaign_name: str,
    *,
    auditor: str,
    terms: Terms,
    told: Mapping[str, float],
    severity: Severity | None,
) -> _Asked:
    campaign = answers.labelling_campaign(session, campaign_name)
    if vendors.get(session, auditor).id == campaign.vendor_id:
        raise InvalidInputError(f"{auditor!r} labelled {campaign_name!r}: let somebody else audit it.")
    label_of, _ = _new_labels(session, campaign)
    if not label_of:
        raise InvalidInputError(
            f"Nothing in {campaign_name!r} was agreed on since its last lot. Run: winnow qa review {campaign_name}."
        )
    before = _reworked(session, campaign)
    definition = taxonomies.get(session, campaign.taxonomy_id).definition
    terms = _completed(terms, told, None if before is None else _terms(before), definition)
    if severity is None:
        severity = _next_severity(session, campaign, before)
    earlier = session.scalar(select(func.count(Lot.id)).where(Lot.campaign_id == campaign.id)) or 0
    return _Asked(label_of, terms, severity, None if before is None else before.id, earlier)


def _completed(terms: Terms, told: Mapping[str, float], before: Terms | None, definition: Definition) -> Terms:
    """With what is not said as it was for the lot that is submitted again, or as it is by default."""
    tolerance = terms.tolerance
    if shape_kinds(definition):
        tolerance = replace(tolerance or (before and before.tolerance) or Tolerance(), **told)
    elif tolerance or told:
        raise InvalidInputError(
            f"Labels of {definition.kind} are the same or not: leave --least-iou and --least-f1 out."
        )
    return replace(before if before is not None and not terms.says_a_plan else terms, tolerance=tolerance)


def _shown(workspace: Workspace, lot_id: int) -> LotStatus:
    with workspace.database.read() as session:
        return show(session, lot_id)


def _severity(word: str) -> Severity:
    return next(each for each in acceptance.SEVERITIES if each == word)


def _get(session: Session, lot_id: int) -> Lot:
    lot = session.get(Lot, lot_id)
    if lot is None:
        raise NotFoundError(f"There is no lot {lot_id}. See: winnow qa lots list.")
    return lot


def _new_labels(session: Session, campaign: Campaign) -> tuple[dict[int, int], LeftOut]:
    """The label in force of each item that people agreed on and that is in no lot as it is, by task; and the others.

    What an adjudicator settled is no work of the vendor. A label that a migration of the taxonomy made of one that is
    in a lot is not judged again.
    """
    taxonomy = session.get_one(Taxonomy, campaign.taxonomy_id)
    withdrawn = select(LotDecision.lot_id).where(LotDecision.outcome == "withdrawn")
    of_campaign = (LotItem.lot_id.not_in(withdrawn), Task.campaign_id == campaign.id)
    rows_in_lots = session.execute(select(LotItem.task_id, LotItem.label_id).join(Task).where(*of_campaign)).all()
    in_lots, judged = ({row[column] for row in rows_in_lots} for column in (0, 1))
    rows = session.execute(
        select(Task.id, Label.id, Verdict)
        .join(Verdict, Verdict.task_id == Task.id)
        .join(Label, Label.verdict_id == Verdict.id)
        .where(Task.campaign_id == campaign.id, Label.id.in_(labels.newest_ids(taxonomy.name)))
    )
    fresh, lot_items, settled = {}, 0, 0
    for task_id, label_id, verdict in rows:
        is_settled = "adjudicator" in verdict.evidence
        is_kept = is_settled or labels.MIGRATED in verdict.evidence
        if label_id in judged or (is_kept and task_id in in_lots):
            lot_items += 1
        elif is_settled:
            settled += 1
        else:
            fresh[task_id] = label_id
    return fresh, LeftOut(lot_items, settled)


def _next_severity(session: Session, campaign: Campaign, before: Lot | None) -> Severity:
    now = standing(session, campaign.vendor_id)
    if now == "discontinued":
        vendor = session.get_one(Vendor, campaign.vendor_id).name
        raise ConflictError(
            f"The lots of {vendor!r} are not inspected any more: five were rejected under tightened inspection. Once "
            f"{vendor!r} has mended what was wrong, go on with --severity tightened."
        )
    return now if before is None else max(now, _severity(before.severity), key=acceptance.SEVERITIES.index)


def _seed(key: bytes, campaign_name: str, asked: _Asked) -> int:
    """Another one for each lot, also for one that was withdrawn; nobody can tell it who has not the workspace's key."""
    words = f"lot/{campaign_name}/{min(asked.label_of.values())}/{asked.earlier}"
    return int.from_bytes(hmac.digest(key, words.encode(), hashlib.sha256)[:4]) >> 1


def _draw(session: Session, key: bytes, lot: Lot, audit: _Audit, size: int) -> None:
    """Plan the audit of the first `size` items that are in none and that nobody settled, if there are any."""
    audits = [campaign.id for campaign in _of_lot(session, lot, "audit")]
    in_one = set(session.scalars(select(Task.image_id).where(Task.campaign_id.in_(audits), Task.state != "withdrawn")))
    fresh = [
        item.image_id
        for place, item in enumerate(audit.items[:size])
        if item.image_id not in in_one and place not in audit.said
    ]
    if fresh:
        made = campaigns.derive(
            session,
            key,
            f"audit-{lot.id}",
            purpose="audit",
            parent=session.get_one(Campaign, lot.campaign_id),
            vendor_id=lot.auditor_id,
            image_ids=fresh,
        )
        session.add(LotCampaign(campaign_id=made.id, lot_id=lot.id))
        session.flush()


def _settle(session: Session, campaign: Campaign, lot: Lot, audit: _Audit) -> dict[int, Verdict]:
    """Label what an auditor or adjudicator spoke of by that; the verdicts in force before, by task."""
    newest_of = ledger.newest(session, campaign)
    settled = [(audit.items[place], word) for place, word in sorted(audit.said.items())]
    rejections.settle(
        session, campaign, lot.id, [(item.image_id, newest_of[item.task_id], word) for item, word in settled]
    )
    return newest_of


def _judge(session: Session, key: bytes, lot: Lot, audit: _Audit, before: LotDecision | None) -> LotDecision | None:
    """Append what the plan says, and draw what it asks for; as long as a sample is not answered it says nothing."""
    plan = _plan(lot)
    decision = acceptance.decide(plan, np.array(audit.in_order, dtype=np.bool_))
    if decision.outcome == "continue":
        wanted = acceptance.next_size(plan, decision)
        if len(audit.in_order) < audit.drawn or wanted <= audit.drawn:
            return before
        appended = _append(session, lot, "continue", audit.drawn, audit)
        _draw(session, key, lot, audit, wanted)
        return appended
    return _append(session, lot, decision.outcome, decision.size, audit)


def _append(session: Session, lot: Lot, outcome: str, audited: int, audit: _Audit) -> LotDecision:
    words = [audit.said[place] for place in range(audited)]
    found = [place for place in range(audited) if audit.is_defective[place]]
    decision = LotDecision(
        lot_id=lot.id,
        outcome=outcome,
        audited=audited,
        found=len(found),
        evidence={
            "annotations": [word.annotation_id for word in words if word.annotation_id is not None],
            "decisions": [word.decision_id for word in words if word.decision_id is not None],
            "defective": [
                {
                    "task": audit.items[place].task_id,
                    "label": audit.items[place].value,
                    "auditor": audit.said[place].adjudicator,
                    "answer": audit.said[place].value,
                }
                for place in found
            ],
        },
    )
    session.add(decision)
    session.flush()
    return decision


def _check_sortable(session: Session, lot: Lot, decision: LotDecision | None) -> None:
    if decision is None or decision.outcome not in ("rejected", "sorted"):
        raise ConflictError(f"The lot {lot.id} is {_called(decision)}: only a rejected one is sorted.")
    if (again := _rework(session, lot)) is not None:
        raise ConflictError(f"The lot {lot.id} is reworked in {again!r}: it is not sorted too.")


def _check_withdrawable(session: Session, lot: Lot) -> bool:
    """Whether it is withdrawn already."""
    decision = _decision(session, lot)
    if decision is not None and decision.outcome == "withdrawn":
        return True
    if decision is not None and decision.outcome != "continue":
        raise ConflictError(f"The lot {lot.id} is {decision.outcome}: only one that is not decided can be withdrawn.")
    audit = _audit(session, lot)
    if acceptance.decide(_plan(lot), np.array(audit.in_order, dtype=np.bool_)).outcome != "continue":
        raise ConflictError(f"What was audited decides the lot {lot.id}. Run: winnow qa lots decide {lot.id}.")
    if not acceptance.may_withdraw(audit.found):
        raise ConflictError(
            f"Of the lot {lot.id} {audit.found} of the items audited are wrong, and only a lot of which none is can be "
            f"withdrawn. Once its sample is answered: winnow qa lots decide {lot.id}."
        )
    if unheard := _unheard(session, lot, audit):
        raise ConflictError(
            f"{len(unheard)} items of the lot {lot.id} have answers that do not count, of auditors who are paused: let "
            f"another answer in {', '.join(each.name for each in _of_lot(session, lot, 'audit'))}, and withdraw it if "
            "nothing is found wrong."
        )
    return False


def _open_audits(session: Session, lot: Lot) -> list[str]:
    return [each.name for each in _of_lot(session, lot, "audit") if each.closed_at is None]


def _decision(session: Session, lot: Lot) -> LotDecision | None:
    of_lot = select(LotDecision).where(LotDecision.lot_id == lot.id)
    return session.scalar(of_lot.order_by(LotDecision.id.desc()).limit(1))


def _called(decision: LotDecision | None) -> str:
    return "not decided" if decision is None or decision.outcome == "continue" else decision.outcome


def _items(session: Session, lot: Lot) -> list[_Item]:
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
        _Item(task_id, ImageId(image_id), math.hypot(width, height), value, revision)
        for task_id, image_id, width, height, value, revision in rows
    ]


def _words(session: Session, lot: Lot) -> dict[int, LastWord]:
    """The last words on the items of its campaign."""
    campaign = session.get_one(Campaign, lot.campaign_id)
    return answers.last_words(session, session.get_one(Taxonomy, campaign.taxonomy_id), campaign_id=campaign.id)


def _audit(
    session: Session, lot: Lot, words: Mapping[int, LastWord] | None = None, *, compared: _Audit | None = None
) -> _Audit:
    """What was said of its items, and which are defective in today's classes.

    `words` are the last ones on the items of its campaign, where they are read already; what was `compared` a moment
    ago is not compared again, unless something else is said of it now.
    """
    asked = session.get_one(Taxonomy, session.get_one(Campaign, lot.campaign_id).taxonomy_id)
    definition = taxonomies.get(session, asked.id).definition
    words = _words(session, lot) if words is None else words
    items = _items(session, lot)
    said = {place: words[item.task_id] for place, item in enumerate(items) if item.task_id in words}
    rows = session.scalars(select(Taxonomy).where(Taxonomy.name == asked.name))
    moves = {row.revision: evolution.parse(row.migration) for row in rows if row.migration}
    tolerance = _terms(lot).tolerance or Tolerance()

    def is_defective(place: int, item: _Item, value: str | None) -> bool:
        if value is None:
            return True
        if compared is not None and compared.moves == moves and compared.said.get(place) == said[place]:
            return compared.is_defective[place]
        label, word = (
            migrations.names_now(answers.content_of(each, definition), revision, moves)
            for each, revision in ((item.value, item.revision), (value, asked.revision))
        )
        return defects.differ(label, word, tolerance, diagonal=item.diagonal)

    drawn = _drawn(session, lot)
    while drawn in said:  # what an adjudicator settled before it was drawn: no audit is planned of that
        drawn += 1
    return _Audit(
        items,
        drawn=drawn,
        said=said,
        is_defective={place: is_defective(place, items[place], word.value) for place, word in said.items()},
        moves=moves,
    )


def _of_lot(session: Session, lot: Lot, purpose: str) -> Sequence[Campaign]:
    """The oldest first."""
    return session.scalars(
        select(Campaign)
        .join(LotCampaign, LotCampaign.campaign_id == Campaign.id)
        .where(LotCampaign.lot_id == lot.id, Campaign.purpose == purpose)
        .order_by(Campaign.id)
    ).all()


def _drawn(session: Session, lot: Lot) -> int:
    """How many items went to the auditor: the first ones, in campaigns that were called off too."""
    audits = [campaign.id for campaign in _of_lot(session, lot, "audit")]
    images = select(func.max(LotItem.place)).join(Task, Task.id == LotItem.task_id)
    drawn = select(Task.image_id).where(Task.campaign_id.in_(audits))
    last = session.scalar(images.where(LotItem.lot_id == lot.id, Task.image_id.in_(drawn)))
    return 0 if last is None else last + 1


def _skipped(session: Session, lot: Lot, audit: _Audit) -> list[int]:
    """The images drawn that are without a word since the auditor skipped them, in the order drawn."""
    return _without_word(session, lot, audit, Annotation.skipped.is_(True), Task.state != "withdrawn")


def _unheard(session: Session, lot: Lot, audit: _Audit) -> list[int]:
    """The images drawn that are without a word since the auditor is paused, in the order drawn."""
    paused = [annotator for annotator, each in standings.in_force(session).items() if each.state == "paused"]
    return _without_word(session, lot, audit, Annotation.annotator_id.in_(paused))


def _without_word(session: Session, lot: Lot, audit: _Audit, *given: ColumnElement[bool]) -> list[int]:
    """The images drawn that are without a word though such an annotation was given."""
    of_audits = Task.campaign_id.in_([campaign.id for campaign in _of_lot(session, lot, "audit")])
    in_force = campaigns.standing_annotations(of_audits)
    answered = select(Task.image_id).join(Annotation).where(Annotation.id.in_(in_force), *given)
    images = set(session.scalars(answered.where(of_audits)))
    drawn = enumerate(audit.items[: audit.drawn])
    return [item.image_id for place, item in drawn if item.image_id in images and place not in audit.said]


def _rework(session: Session, lot: Lot) -> str | None:
    return next((campaign.name for campaign in _of_lot(session, lot, "labelling")), None)


def _reworked(session: Session, campaign: Campaign) -> Lot | None:
    """The rejected lot that a campaign is the rework of."""
    return session.scalar(select(Lot).join(LotCampaign).where(LotCampaign.campaign_id == campaign.id))


def _first_campaign(session: Session, campaign: Campaign) -> Campaign:
    """The one that all reworks go back to."""
    while campaign.parent_id is not None:
        campaign = session.get_one(Campaign, campaign.parent_id)
    return campaign


def _plan(lot: Lot) -> Plan:
    return Plan(**{name: tuple(numbers) for name, numbers in lot.plan.items()})


def _terms(lot: Lot) -> Terms:
    stored: dict[str, Any] = lot.terms
    levels = None if stored["levels"] is None else Levels(**stored["levels"])
    told = stored.get("tolerance")  # not there in lots of before lots of regions
    tolerance = None if told is None else Tolerance(**told)
    return Terms(stored["kind"], levels, tuple(stored["sizes"]), tuple(stored["accept"]), tolerance)


def _status(session: Session, lot: Lot, audit: _Audit) -> LotStatus:
    campaign = session.get_one(Campaign, lot.campaign_id)
    size = len(audit.items)
    plan, terms, decision = _plan(lot), _terms(lot), _decision(session, lot)
    is_decided = decision is not None and decision.outcome != "continue"
    risks = None if terms.levels is None else acceptance.risks(plan, terms.levels, lot_size=size)
    return LotStatus(
        id=lot.id,
        campaign=campaign.name,
        vendor=session.get_one(Vendor, campaign.vendor_id).name,
        auditor=session.get_one(Vendor, lot.auditor_id).name,
        size=size,
        severity=_severity(lot.severity),
        terms=terms,
        plan=plan,
        producers_risk=None if risks is None else risks[0],
        consumers_risk=None if risks is None else risks[1],
        audits=[each.name for each in _of_lot(session, lot, "audit")],
        drawn=audit.drawn,
        audited=len(audit.audited),
        found=audit.found,
        skipped=_skipped(session, lot, audit),
        outcome=decision.outcome if decision is not None and is_decided else "open",
        decided_on=decision.audited if decision is not None and is_decided else None,
        rework=_rework(session, lot),
        resubmits=lot.resubmits_id,
        created_at=lot.created_at,
        decided_at=decision.decided_at if decision is not None and is_decided else None,
    )
