"""What the audit of a lot does to labels: each through a verdict that names the lot.

What an auditor said of an item is the last word on it, as an adjudicator's is. The other items of a rejected lot get a
verdict that rejects them: their labels are in force no more, whatever their annotators answer later in that campaign.
"""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from qa import ledger
from qa.answers import LastWord
from store.schema import Campaign, LotDecision, LotItem, Task, Verdict

KEY = "lot"  # of the evidence of such a verdict


def held(session: Session, campaign: Campaign) -> set[int]:
    """The items of a campaign that are in rejected lots: their annotators' answers label them no more."""
    newest = select(func.max(LotDecision.id)).group_by(LotDecision.lot_id)
    lots = select(LotDecision.lot_id).where(LotDecision.id.in_(newest), LotDecision.outcome.in_(("rejected", "sorted")))
    of_lots = select(LotItem.task_id).join(Task, Task.id == LotItem.task_id).where(LotItem.lot_id.in_(lots))
    return set(session.scalars(of_lots.where(Task.campaign_id == campaign.id)))


def settle(session: Session, campaign: Campaign, lot_id: int, audited: Sequence[tuple[int, Verdict, LastWord]]) -> int:
    """Label the items by the last word on them, where their verdicts rest on something else.

    Args:
        session: writes.
        campaign: whose items.
        lot_id: named by the verdicts.
        audited: the image of each item, its verdict in force, and what an auditor or adjudicator said; where they
            could not tell what it is, the item has no label any more.

    Returns:
        How many were labelled anew.
    """
    fresh = [
        (
            image_id,
            Verdict(
                task_id=standing.task_id,
                outcome="rejected" if word.value is None else "accepted",
                answer=word.value,
                posterior=None,
                evidence=word.evidence(standing.evidence.get("answers", [])) | {KEY: lot_id},
            ),
        )
        for image_id, standing, word in audited
        if not word.is_ground_of(standing)
    ]
    return ledger.enter(session, campaign.taxonomy_id, fresh)


def reject(session: Session, lot_id: int, standing: Sequence[Verdict]) -> int:
    """Take the labels of these items out of force; of those that are rejected with the lot already, nothing.

    Returns:
        How many were rejected.
    """
    fresh = [
        Verdict(
            task_id=verdict.task_id,
            outcome="rejected",
            answer=None,
            posterior=verdict.posterior,
            evidence={name: value for name, value in verdict.evidence.items() if name != "adjudicator"}
            | {KEY: lot_id, "rejects": verdict.id},
        )
        for verdict in standing
        if not (verdict.outcome == "rejected" and verdict.evidence.get(KEY) == lot_id)
    ]
    session.add_all(fresh)
    return len(fresh)
