"""Where verdicts are rows, and labels with them: a label exists only through a verdict that accepts."""

import json
from collections.abc import Iterable, Iterator, Sequence

from sqlalchemy import ColumnElement, func, insert, select
from sqlalchemy.orm import Session

from curation import labels
from labeling import campaigns
from store.database import batched
from store.schema import Campaign, Label, Task, Taxonomy, Verdict


def newest(session: Session, campaign: Campaign) -> dict[int, Verdict]:
    """The verdict in force of each item of a campaign that has one, by task id."""
    return {verdict.task_id: verdict for verdict in campaigns.verdicts_in_force(session, campaign.id)}


def of_tasks(session: Session, task_ids: Iterable[int]) -> dict[int, Verdict]:
    """The verdict in force of each of these items that has one, by task id."""
    found: dict[int, Verdict] = {}
    for some in batched(task_ids):
        in_force = Verdict.id.in_(campaigns.standing_verdicts(Task.id.in_(some)))
        found |= {verdict.task_id: verdict for verdict in session.scalars(select(Verdict).where(in_force))}
    return found


def said_by_model(session: Session, taxonomy: Taxonomy) -> Iterator[tuple[int, dict[str, float], float]]:
    """Of each verdict in force that heard a model: the task id, the chances of classes it named, and their power."""
    of_taxonomy = select(Campaign.id).where(Campaign.taxonomy_id == taxonomy.id)
    chances, power = (func.json_extract(Verdict.evidence, f"$.model.{part}") for part in ("chances", "power"))
    in_force = Verdict.id.in_(campaigns.standing_verdicts(Task.campaign_id.in_(of_taxonomy)))
    heard = select(Verdict.task_id, chances, power).where(in_force, chances.is_not(None))
    for task_id, told, counted in session.execute(heard):
        yield task_id, json.loads(told), counted


def outcomes(session: Session, campaign: Campaign) -> dict[int, str]:
    """The outcome of each of these of `newest`, which is read faster."""
    of_campaign = select(Verdict.task_id, Verdict.outcome).where(_in_force(campaign))
    return dict(session.execute(of_campaign).all())


def count_adjudicated(session: Session, campaign: Campaign) -> int:
    """How many items of a campaign are accepted as an adjudicator or auditor said."""
    by_adjudicator = func.json_type(Verdict.evidence, "$.adjudicator").is_not(None)
    accepted = select(func.count(Verdict.id)).where(_in_force(campaign), Verdict.outcome == "accepted")
    return session.scalar(accepted.where(by_adjudicator)) or 0


def _in_force(campaign: Campaign) -> ColumnElement[bool]:
    of_campaign = (Task.campaign_id == campaign.id, Task.state != "withdrawn")
    return Verdict.id.in_(campaigns.standing_verdicts(*of_campaign))


def last_id(session: Session) -> int:
    """Of the newest verdict on anything: as long as it is the same nothing was decided."""
    return session.scalar(select(func.max(Verdict.id))) or 0


def labelled_by(session: Session, campaign: Campaign) -> dict[int, int]:
    """Of the images of a campaign that have a label in force under its taxonomy: the campaign that gave it."""
    taxonomy = session.get_one(Taxonomy, campaign.taxonomy_id)
    own = select(Task.image_id).where(Task.campaign_id == campaign.id)
    rows = session.execute(
        select(Label.image_id, Task.campaign_id)
        .join(Verdict, Verdict.id == Label.verdict_id)
        .join(Task, Task.id == Verdict.task_id)
        .where(Label.id.in_(labels.newest_ids(taxonomy.name, of=own)))
    )
    return dict(rows.all())


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
