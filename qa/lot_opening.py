"""Opening lots: what is in one, by which plan and how severely it is inspected, and the audits of its samples."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from curation import labels
from labeling import campaigns, vendors
from labeling import taxonomy as taxonomies
from labeling.definitions import Definition, shape_kinds
from qa import acceptance, answers, lots
from qa.acceptance import Decision, Plan, Severity, Standing
from qa.defects import Tolerance
from store import fail_points
from store.errors import ConflictError, InvalidInputError
from store.schema import (
    Campaign,
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
class LeftOut:
    """Accepted items of a campaign that its next lot does not hold."""

    in_lots: int  # already, that were not withdrawn
    settled: int  # by an adjudicator, or an auditor of a lot that was withdrawn: no work of the vendor


@dataclass(frozen=True)
class _Asked:
    """What a lot is to be, before there is a plan."""

    label_of: dict[int, int]  # the label that is judged, by task
    terms: lots.Terms
    severity: Severity
    resubmits_id: int | None
    earlier: int  # lots of the same campaign


def make_plan(terms: lots.Terms, severity: Severity, *, lot_size: int, process: bool = False) -> Plan:
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
    terms: lots.Terms | None = None,
    least_iou: float | None = None,
    least_f1: float | None = None,
    severity: Severity | None = None,
) -> lots.LotStatus:
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
        return _ask(session, campaign_name, auditor=auditor, terms=terms or lots.Terms(), told=told, severity=severity)

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
        draw(
            session,
            workspace.key,
            lot,
            lots.read_audit(session, lot),
            acceptance.next_size(plan, Decision("continue", 0, 0)),
        )
        lot_id = lot.id
        fail_points.reach("lots.before_commit")
    fail_points.reach("lots.after_commit")
    return lots.shown(workspace, lot_id)


def left_out(session: Session, campaign_name: str) -> LeftOut:
    """How many accepted items of a campaign the next lot would leave out, and why.

    Raises:
        NotFoundError: there is no such campaign.
        InvalidInputError: nobody labels in it.
    """
    return _new_labels(session, answers.labelling_campaign(session, campaign_name))[1]


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
    return acceptance.standing([(lots.severity_of(word), outcome == "accepted") for word, outcome in rows])


def _ask(
    session: Session,
    campaign_name: str,
    *,
    auditor: str,
    terms: lots.Terms,
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
    terms = _completed(terms, told, None if before is None else lots.terms_of(before), definition)
    if severity is None:
        severity = _next_severity(session, campaign, before)
    earlier = session.scalar(select(func.count(Lot.id)).where(Lot.campaign_id == campaign.id)) or 0
    return _Asked(label_of, terms, severity, None if before is None else before.id, earlier)


def _completed(
    terms: lots.Terms, told: Mapping[str, float], before: lots.Terms | None, definition: Definition
) -> lots.Terms:
    """With what is not said as it was for the lot that is submitted again, or as it is by default."""
    tolerance = terms.tolerance
    if shape_kinds(definition):
        tolerance = replace(tolerance or (before and before.tolerance) or Tolerance(), **told)
    elif tolerance or told:
        raise InvalidInputError(
            f"Labels of {definition.kind} are the same or not: leave --least-iou and --least-f1 out."
        )
    return replace(before if before is not None and not terms.says_a_plan else terms, tolerance=tolerance)


def _new_labels(session: Session, campaign: Campaign) -> tuple[dict[int, int], LeftOut]:
    """The label in force of each item that people agreed on and that is in no lot as it is, by task; and the others.

    What an adjudicator settled is no work of the vendor. A label that a migration of the taxonomy made of one that is
    in a lot is not judged again. Of items that were withdrawn too: deleting a task leaves its label in force.
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
    return now if before is None else max(now, lots.severity_of(before.severity), key=acceptance.SEVERITIES.index)


def _reworked(session: Session, campaign: Campaign) -> Lot | None:
    """The rejected lot that a campaign is the rework of."""
    return session.scalar(select(Lot).join(LotCampaign).where(LotCampaign.campaign_id == campaign.id))


def _seed(key: bytes, campaign_name: str, asked: _Asked) -> int:
    """Another one for each lot, also for one that was withdrawn; nobody can tell it who has not the workspace's key."""
    words = f"lot/{campaign_name}/{min(asked.label_of.values())}/{asked.earlier}"
    return int.from_bytes(hmac.digest(key, words.encode(), hashlib.sha256)[:4]) >> 1


def draw(session: Session, key: bytes, lot: Lot, audit: lots.Audit, size: int) -> None:
    """Plan the audit of the first `size` items that are in none and that nobody settled, if there are any."""
    audits = [campaign.id for campaign in lots.campaigns_of(session, lot, "audit")]
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
