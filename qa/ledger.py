"""Where verdicts are rows, and labels with them: a label exists only through a verdict that accepts."""

from collections.abc import Sequence

from sqlalchemy import insert
from sqlalchemy.orm import Session

from labeling import campaigns
from store.schema import Campaign, Label, Verdict


def newest(session: Session, campaign: Campaign) -> dict[int, Verdict]:
    """The verdict in force of each item of a campaign that has one, by task id."""
    return {verdict.task_id: verdict for verdict in campaigns.verdicts_in_force(session, campaign.id)}


def enter(session: Session, taxonomy_id: int, verdicts: Sequence[tuple[int, Verdict]]) -> int:
    """Add verdicts, each with the id of the image it is about, and a label for each that accepts.

    Returns:
        How many labels.
    """
    session.add_all(verdict for _, verdict in verdicts)
    session.flush()  # gives them their ids
    rows = [
        {"image_id": image_id, "taxonomy_id": taxonomy_id, "verdict_id": verdict.id, "value": verdict.answer}
        for image_id, verdict in verdicts
        if verdict.outcome == "accepted"
    ]
    if rows:
        session.execute(insert(Label), rows)
    return len(rows)
