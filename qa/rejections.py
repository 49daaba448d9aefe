"""What the audit of a lot does to labels: each through a verdict that names the lot.

What an auditor said of an item is the last word on it, as an adjudicator's is. The other items of a rejected lot get a
verdict that rejects them: their labels are in force no more, whatever their annotators answer later in that campaign.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from qa.answers import Answer
from store.schema import Campaign, Label, Task, Verdict

KEY = "lot"  # of the evidence of such a verdict


def holds(verdict: Verdict, evidence: dict[str, Any]) -> bool:
    """Whether an item stays rejected with its lot, though a review would decide otherwise on this evidence."""
    return verdict.outcome == "rejected" and KEY in verdict.evidence and "adjudicator" not in evidence


def settle(session: Session, campaign: Campaign, lot_id: int, audited: Sequence[tuple[Verdict, Answer]]) -> int:
    """Label the items as an auditor answered them, where their verdicts rest on something else.

    Returns:
        How many were labelled anew.
    """
    fresh = [
        Verdict(
            task_id=standing.task_id,
            outcome="accepted",
            answer=answer.value,
            posterior=None,
            evidence={
                "annotations": [answer.annotation_id],
                "adjudicator": {"annotator": answer.annotator, "answer": answer.value},
                "answers": standing.evidence.get("answers", []),
                "policy": {"method": "adjudicator"},
                KEY: lot_id,
            },
        )
        for standing, answer in audited
        if "adjudicator" not in standing.evidence or standing.evidence["annotations"] != [answer.annotation_id]
    ]
    session.add_all(fresh)
    session.flush()  # gives them their ids
    tasks = select(Task.id, Task.image_id).where(Task.id.in_([verdict.task_id for verdict in fresh]))
    image_of = dict(session.execute(tasks).all())
    rows = [
        {
            "image_id": image_of[verdict.task_id],
            "taxonomy_id": campaign.taxonomy_id,
            "verdict_id": verdict.id,
            "value": verdict.answer,
        }
        for verdict in fresh
    ]
    if rows:
        session.execute(insert(Label), rows)
    return len(fresh)


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
