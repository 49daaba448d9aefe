"""Images that the people of two campaigns labelled differently: one label is in force, and one of the two is wrong."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from curation import labels
from labeling import taxonomy
from labeling.definitions import IMAGE_KINDS
from labeling.evolution import NeedsRelabelling
from qa import migrations
from store.schema import Campaign, Label, Task, Taxonomy, Verdict


@dataclass(frozen=True)
class Conflict:
    """An item whose label is in force, and what another campaign accepted of the same image."""

    task: int
    campaign: str  # the other one
    value: str  # what its people say, see `qa.answers.read`; in today's classes, where they still are
    suggestion: str | None  # the same in those of the item's campaign, where they have it
    chance: float  # that they are right, if one of the two is and each is as sure as its verdict says


def standing(session: Session, campaign: Campaign) -> list[Conflict]:
    """Those of a campaign's items, one each; what an expert said is in none, and of regions there are none.

    No two people draw exactly the same, so that regions cannot be compared by what they say. Classes are compared as
    they are called today, whatever revisions of the taxonomy the two campaigns have; one that was split or retired
    since as it was called then, where it is known what the label in force was called then. Withdrawn items are left
    out.
    """
    asked = taxonomy.get(session, campaign.taxonomy_id)
    kind = asked.definition.kind
    if kind not in IMAGE_KINDS:
        return []
    moves = migrations.of_taxonomy(session, asked.name)
    revisions = {one.id: one for one in taxonomy.list_all(session) if one.name == asked.name}
    other_task, other_verdict, other_label, newer = aliased(Task), aliased(Verdict), aliased(Label), aliased(Verdict)
    revision, other_revision = aliased(Taxonomy), aliased(Taxonomy)
    shared = select(Task.image_id).where(
        Task.campaign_id == campaign.id,
        select(other_task.id)
        .where(other_task.image_id == Task.image_id, other_task.campaign_id != campaign.id)
        .exists(),
    )
    rows = session.execute(
        select(
            Task.id,
            Label.value,
            revision.revision,
            Verdict.posterior,
            Campaign.name,
            other_label.value,
            other_label.taxonomy_id,
            other_verdict.posterior,
        )
        .join(Verdict, Verdict.task_id == Task.id)
        .join(Label, Label.verdict_id == Verdict.id)
        .join(revision, revision.id == Label.taxonomy_id)
        .join(
            other_label,
            (other_label.image_id == Label.image_id)
            & ((other_label.taxonomy_id != Label.taxonomy_id) | (other_label.value != Label.value)),
        )
        .join(other_revision, other_revision.id == other_label.taxonomy_id)
        .join(other_verdict, other_verdict.id == other_label.verdict_id)
        .join(other_task, (other_task.id == other_verdict.task_id) & (other_task.id != Task.id))
        .join(Campaign, Campaign.id == other_task.campaign_id)
        .where(
            Task.campaign_id == campaign.id,
            Task.state != "withdrawn",
            Label.id.in_(labels.newest_ids(asked.name, of=shared)),
            other_revision.name == asked.name,
            other_revision.task_kind == kind,
            other_task.state != "withdrawn",
            ~select(newer.id).where(newer.task_id == other_task.id, newer.id > other_verdict.id).exists(),
        )
        .order_by(Task.id, other_verdict.id)
    )
    surest: dict[int, Conflict] = {}
    for task_id, value, since, posterior, name, other_value, other_id, other_posterior in rows:
        if posterior is None or other_posterior is None:  # an expert said so
            continue
        other = revisions[other_id]
        here: str | NeedsRelabelling | None = migrations.value_now(value, since, moves, kind=kind)
        there = migrations.value_now(other_value, other.revision, moves, kind=kind)
        if isinstance(there, NeedsRelabelling):
            here, there = migrations.value_then(value, since, moves, asked=other), other_value
        if here is None or here == there:
            continue
        suggestion = migrations.value_then(other_value, other.revision, moves, asked=asked)
        found = Conflict(task_id, name, there, suggestion, _chance(other_posterior, against=posterior))
        surest[task_id] = max(found, surest.get(task_id, found), key=lambda each: each.chance)
    return [*surest.values()]


def _chance(posterior: float, *, against: float) -> float:
    right, wrong = posterior * (1 - against), (1 - posterior) * against
    return 0.5 if right + wrong == 0 else right / (right + wrong)
