"""How a campaign is doing, and how good its annotators are. Reads only."""

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from qa import agreement, answers, verdicts
from qa.answers import Answers
from qa.consensus import belief, dawid_skene
from store.schema import Annotator, Campaign, Task, Taxonomy, Vendor
from store.workspace import Workspace


@dataclass(frozen=True)
class AnnotatorQuality:
    """One person, judged by everything they answered under one taxonomy."""

    annotator: str
    vendor: str
    taxonomy: str
    answers: int
    accuracy: float  # estimated chance that an answer of theirs is right
    interval: tuple[float, float]  # its 95 % credible interval


@dataclass(frozen=True)
class QaReport:
    """One campaign in figures."""

    campaign: str
    items: int
    answers: int  # that name a class; adjudicators' left out
    skips: int
    adjudicator_answers: int
    answers_per_label: float | None  # adjudicators' included; none before the first label
    alpha: float | None  # Krippendorff's, nominal; none where undefined
    raw_agreement: float | None
    accepted: int  # items, by consensus or by an adjudicator
    adjudicated: int  # those of them that an adjudicator settled
    in_adjudication: int
    waiting: int  # for another opinion
    rejected: int  # since a migration of the taxonomy left their class uncertain, or with their lot
    unreviewed: int
    annotators: list[AnnotatorQuality]  # of this campaign, by name


def report(workspace: Workspace, campaign_name: str) -> QaReport:
    """Agreement, progress and annotators of one campaign, as its newest review left it.

    Raises:
        NotFoundError: there is no such campaign.
        InvalidInputError: it is an adjudication.
    """
    with workspace.database.read() as session:
        campaign = answers.labelling_campaign(session, campaign_name)
        taxonomy = session.get_one(Taxonomy, campaign.taxonomy_id)
        said = answers.read(session, taxonomy)
        standing = select(Task.id).where(Task.campaign_id == campaign.id, Task.state != "withdrawn")
        task_ids = set(session.scalars(standing))
        decided = {
            task_id: verdict for task_id, verdict in verdicts.newest(session, campaign).items() if task_id in task_ids
        }
        people = _people(session)
    given = [answer for answer in said.given if answer.task_id in task_ids]
    classed = sum(answer.value is not None for answer in given)
    adjudicated = len(task_ids & said.adjudicated.keys())
    outcomes = Counter(verdict.outcome for verdict in decided.values())
    counts = belief.counts(said.table, items=len(said.task_ids), classes=len(said.classes))
    counts = counts[[task_id in task_ids for task_id in said.task_ids]]
    present = {answer.annotator_id for answer in given}
    return QaReport(
        campaign=campaign_name,
        items=len(task_ids),
        answers=classed,
        skips=len(given) - classed,
        adjudicator_answers=adjudicated,
        answers_per_label=(classed + adjudicated) / outcomes["accepted"] if outcomes["accepted"] else None,
        alpha=agreement.krippendorff_alpha(counts),
        raw_agreement=agreement.raw_agreement(counts),
        accepted=outcomes["accepted"],
        adjudicated=sum("adjudicator" in verdict.evidence for verdict in decided.values()),
        in_adjudication=outcomes["adjudication"],
        waiting=outcomes["another-opinion"],
        rejected=outcomes["rejected"],
        unreviewed=len(task_ids - decided.keys()),
        annotators=[
            quality for annotator_id, quality in _qualities(said, taxonomy, people).items() if annotator_id in present
        ],
    )


def annotators(workspace: Workspace) -> list[AnnotatorQuality]:
    """Everybody who answered, by taxonomy, then by name."""
    with workspace.database.read() as session:
        used = select(Campaign.taxonomy_id)
        weighed = select(Taxonomy).where(Taxonomy.id.in_(used), Taxonomy.task_kind == answers.CLASSIFICATION)
        taxonomies = session.scalars(weighed.order_by(Taxonomy.name, Taxonomy.id))
        said = [(taxonomy, answers.read(session, taxonomy)) for taxonomy in taxonomies]
        people = _people(session)
    return [quality for taxonomy, each in said for quality in _qualities(each, taxonomy, people).values()]


def _people(session: Session) -> dict[int, tuple[str, str]]:
    rows = session.execute(
        select(Annotator.id, Annotator.name, Vendor.name).join(Vendor, Vendor.id == Annotator.vendor_id)
    )
    return {annotator_id: (name, vendor) for annotator_id, name, vendor in rows}


def _qualities(said: Answers, taxonomy: Taxonomy, people: dict[int, tuple[str, str]]) -> dict[int, AnnotatorQuality]:
    """By annotator id, in the order of their names."""
    found = dawid_skene.fit_one_coin(
        said.table, said.known, annotators=len(said.annotator_ids), classes=len(said.classes)
    )
    figures = zip(
        said.annotator_ids,
        found.answers.tolist(),
        found.accuracy.tolist(),
        found.interval.tolist(),
        strict=True,
    )
    qualities = {
        annotator_id: AnnotatorQuality(*people[annotator_id], taxonomy.name, count, accuracy, (low, high))
        for annotator_id, count, accuracy, (low, high) in figures
    }
    return dict(sorted(qualities.items(), key=lambda each: (each[1].annotator, each[1].vendor)))
