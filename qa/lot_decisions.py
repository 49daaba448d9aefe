"""Deciding lots: accepted, rejected, withdrawn, sorted by the auditor, or reworked by the vendor."""

import numpy as np
from sqlalchemy.orm import Session

from labeling import campaigns, cancel
from qa import acceptance, ledger, lot_opening, lots, migrations, rejections
from store import fail_points
from store.errors import ConflictError
from store.schema import (
    Campaign,
    Lot,
    LotCampaign,
    LotDecision,
    Taxonomy,
    Verdict,
)
from store.workspace import Workspace


def decide(workspace: Workspace, lot_id: int, *, sort: bool = False) -> lots.LotStatus:
    """Judge a lot by the auditor's answers so far.

    What an auditor or adjudicator said of an item is its label. Where the plan asks for another sample, its audit is
    planned; so is that of items drawn whose audit was called off. The other items of a rejected lot have no label in
    force any more; with `sort` they all go to the auditor, and once these are answered the lot is sorted. Deciding
    again without new answers changes nothing.

    An item whose own task was withdrawn stays in its lot as any other: its label is in force and in versions, so it
    is drawn, settled, rejected and labelled again with the lot. Were it left out, who deletes a task on the server
    would spare its label the audit.

    Raises:
        NotFoundError: there is no such lot.
        ConflictError: it was withdrawn, or is to be sorted and is not rejected, or its vendor reworks it.
    """
    with workspace.database.read() as session:
        lot = lots.get(session, lot_id)
        campaign_id = lot.campaign_id
        compared = lots.read_audit(session, lot)  # areas take long: nobody waits for that
    with (
        campaigns.exclusive(workspace, campaign_id),  # no review of older answers writes meanwhile, nor later
        workspace.database.write() as session,
    ):
        lot = lots.get(session, lot_id)
        newest = lots.newest_decision(session, lot)
        if newest is not None and newest.outcome == "withdrawn":
            raise ConflictError(f"The lot {lot_id} is withdrawn: there is nothing to decide.")
        campaign = session.get_one(Campaign, campaign_id)
        audit = lots.read_audit(session, lot, compared=compared)
        newest_of = _settle(session, campaign, lot, audit)
        lot_opening.draw(session, workspace.key, lot, audit, audit.drawn)  # again what was withdrawn with its campaign
        if newest is None or newest.outcome == "continue":
            newest = _judge(session, workspace.key, lot, audit, newest)
        if newest is not None and newest.outcome in ("rejected", "sorted"):
            others = [newest_of[item.task_id] for place, item in enumerate(audit.items) if place not in audit.said]
            rejections.reject(session, lot.id, others)
        if sort:
            _check_sortable(session, lot, newest)
            lot_opening.draw(session, workspace.key, lot, audit, len(audit.items))
        if newest is not None and newest.outcome == "rejected" and len(audit.said) == len(audit.items):
            _append(session, lot, "sorted", len(audit.items), audit)
        migrations.carry_over(session, session.get_one(Taxonomy, campaign.taxonomy_id).name)
        fail_points.reach("lots.before_commit")
    fail_points.reach("lots.after_commit")
    return lots.shown(workspace, lot_id)


def withdraw(workspace: Workspace, lot_id: int) -> lots.LotStatus:
    """Call off a lot that is not decided: what nobody audited is in the next one, what an auditor said stands.

    Its audits are cancelled first, which brings their last answers; whatever dies after that, the same withdraws on.

    Raises:
        NotFoundError: there is no such lot.
        ConflictError: it was accepted or rejected, or what was audited decides it or is wrong in part, or an auditor
            who answered is paused.
        RemoteError: Label Studio failed or refused; the same withdraws on.
    """
    with workspace.database.read() as session:
        lot = lots.get(session, lot_id)
        campaign_id = lot.campaign_id
        compared = lots.read_audit(session, lot)
        _check_withdrawable(session, lot, compared)
        audits = _open_audits(session, lot)
    is_done = False
    while not is_done:
        for name in audits:
            cancel.cancel(workspace, name)
        with workspace.database.read() as session:
            compared = lots.read_audit(session, lots.get(session, lot_id), compared=compared)
        with campaigns.exclusive(workspace, campaign_id), workspace.database.write() as session:
            lot = lots.get(session, lot_id)
            audit = lots.read_audit(session, lot, compared=compared)
            is_withdrawn = _check_withdrawable(session, lot, audit)
            audits = _open_audits(session, lot)  # that a decision planned meanwhile
            is_done = not audits
            if is_done and not is_withdrawn:
                _settle(session, session.get_one(Campaign, campaign_id), lot, audit)
                _append(session, lot, "withdrawn", len(audit.in_order), audit)
            fail_points.reach("lots.before_commit")
    fail_points.reach("lots.after_commit")
    return lots.shown(workspace, lot_id)


def rework(workspace: Workspace, lot_id: int) -> lots.LotStatus:
    """Plan the campaign in which the vendor of a rejected lot labels again what nobody settled.

    Its tasks are new; what people agree on there is the next lot, submitted again. Asking twice plans it once.

    Raises:
        NotFoundError: there is no such lot.
        ConflictError: it is not rejected, or the auditor sorts it.
    """
    with workspace.database.read() as session:
        compared = lots.read_audit(session, lots.get(session, lot_id))
    with workspace.database.write() as session:
        lot = lots.get(session, lot_id)
        decision = lots.newest_decision(session, lot)
        if decision is None or decision.outcome != "rejected":
            raise ConflictError(f"The lot {lot_id} is {_called(decision)}: only a rejected one is reworked.")
        audit = lots.read_audit(session, lot, compared=compared)
        if audit.drawn == len(audit.items):
            raise ConflictError(f"The lot {lot_id} goes to the auditor as a whole: it is not reworked too.")
        if lots.rework_of(session, lot) is None:
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
    return lots.shown(workspace, lot_id)


def _settle(session: Session, campaign: Campaign, lot: Lot, audit: lots.Audit) -> dict[int, Verdict]:
    """Label what an auditor or adjudicator spoke of by that; the verdicts in force before, by task."""
    newest_of = ledger.of_tasks(session, [item.task_id for item in audit.items])
    settled = [(audit.items[place], word) for place, word in sorted(audit.said.items())]
    rejections.settle(
        session, campaign, lot.id, [(item.image_id, newest_of[item.task_id], word) for item, word in settled]
    )
    return newest_of


def _judge(session: Session, key: bytes, lot: Lot, audit: lots.Audit, before: LotDecision | None) -> LotDecision | None:
    """Append what the plan says, and draw what it asks for; as long as a sample is not answered it says nothing."""
    plan = lots.plan_of(lot)
    decision = acceptance.decide(plan, np.array(audit.in_order, dtype=np.bool_))
    if decision.outcome == "continue":
        wanted = acceptance.next_size(plan, decision)
        if len(audit.in_order) < audit.drawn or wanted <= audit.drawn:
            return before
        appended = _append(session, lot, "continue", audit.drawn, audit)
        lot_opening.draw(session, key, lot, audit, wanted)
        return appended
    return _append(session, lot, decision.outcome, decision.size, audit)


def _append(session: Session, lot: Lot, outcome: str, audited: int, audit: lots.Audit) -> LotDecision:
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
    if (again := lots.rework_of(session, lot)) is not None:
        raise ConflictError(f"The lot {lot.id} is reworked in {again!r}: it is not sorted too.")


def _check_withdrawable(session: Session, lot: Lot, audit: lots.Audit) -> bool:
    """Whether it is withdrawn already."""
    decision = lots.newest_decision(session, lot)
    if decision is not None and decision.outcome == "withdrawn":
        return True
    if decision is not None and decision.outcome != "continue":
        raise ConflictError(f"The lot {lot.id} is {decision.outcome}: only one that is not decided can be withdrawn.")
    if acceptance.decide(lots.plan_of(lot), np.array(audit.in_order, dtype=np.bool_)).outcome != "continue":
        raise ConflictError(f"What was audited decides the lot {lot.id}. Run: winnow qa lots decide {lot.id}.")
    if not acceptance.may_withdraw(audit.found):
        raise ConflictError(
            f"Of the lot {lot.id} {audit.found} of the items audited are wrong, and only a lot of which none is can be "
            f"withdrawn. Once its sample is answered: winnow qa lots decide {lot.id}."
        )
    if unheard := lots.unheard(session, lot, audit):
        audits = ", ".join(each.name for each in lots.campaigns_of(session, lot, "audit"))
        raise ConflictError(
            f"{len(unheard)} items of the lot {lot.id} have answers that do not count, of auditors who are paused: let "
            f"another answer in {audits}, and withdraw it if nothing is found wrong."
        )
    return False


def _open_audits(session: Session, lot: Lot) -> list[str]:
    return [each.name for each in lots.campaigns_of(session, lot, "audit") if each.closed_at is None]


def _called(decision: LotDecision | None) -> str:
    return "not decided" if decision is None or decision.outcome == "continue" else decision.outcome


def _first_campaign(session: Session, campaign: Campaign) -> Campaign:
    """The one that all reworks go back to."""
    while campaign.parent_id is not None:
        campaign = session.get_one(Campaign, campaign.parent_id)
    return campaign
