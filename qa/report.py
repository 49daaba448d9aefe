"""How a campaign is doing, and how good its annotators are. Reads only."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from labeling import campaigns
from qa import agreement_tables, annotators, answers, crowd, ledger
from qa.agreement import Level
from qa.agreement_tables import AgreementRow
from qa.annotators import LEAST_ACCURACY, AnnotatorQuality
from qa.answers import Answers
from qa.conduct import accuracy
from qa.consensus import posterior
from qa.crowd import Crowd
from sampling.calibration import Reliability, reliability
from store.arrays import Ints
from store.schema import Campaign, Sighting, Task, Taxonomy
from store.workspace import Workspace

LEAST_KNOWN = 20  # items, before anything is said of how often posteriors are right

MOST_DISPUTED = 12  # items that are shown


@dataclass(frozen=True)
class Confusion:
    """One class taken for another."""

    item: str  # what others say it is
    answer: str
    answers: float  # how many, expected where others are not certain
    share: float  # of the answers to items of that class


@dataclass(frozen=True)
class Disputed:
    """An item on which the answers leave the most doubt."""

    image: int
    name: str  # of its file
    answers: dict[str, int]  # how many said each class
    likeliest: str
    posterior: float  # of that class
    outcome: str | None  # of the verdict in force


@dataclass(frozen=True)
class PosteriorCheck:
    """How often posteriors of answers alone are right, where gold or an adjudicator tells the truth."""

    items: int
    confidence: list[float]  # of each bin of equally many items
    accuracy: list[float]
    in_bin: list[int]
    ece: float


@dataclass(frozen=True)
class Progress:
    """How far a campaign is, as its newest review left it."""

    campaign: str
    taxonomy: str
    revision: int
    kind: str  # of task
    adaptive: bool  # whether a second answer was asked for only where the first left doubt
    items: int
    answers: int  # that say something and count; adjudicators' left out
    skips: int
    nameless: int  # answers that are none of the taxonomy's
    set_aside: int  # answers that do not count, since who gave them is paused
    adjudicator_answers: int
    answers_per_label: float | None  # adjudicators' included; none before the first label
    cost: float | None  # of the answers that have a price, adjudications' and audits' included; none without any price
    cost_per_label: float | None  # none where some answers have no price
    unpriced: dict[str, int]  # answers and skips that the cost is without, by the vendor who has no price for them
    accepted: int  # items, by consensus or by an adjudicator
    adjudicated: int  # those of them that an adjudicator settled
    in_adjudication: int
    waiting: int  # for another opinion
    rejected: int  # with their lot, by an expert who could not tell, or as a migration left their class uncertain
    unreviewed: int
    gold: int  # items whose class was known, which get no verdict


@dataclass(frozen=True)
class QaReport(Progress):
    """One campaign of one class an item in figures."""

    level: Level  # of the classes, as asked for
    alpha: float | None  # Krippendorff's; none where undefined
    raw_agreement: float | None
    agreement: list[AgreementRow]
    check: PosteriorCheck | None  # over all campaigns under this revision; none where too little is known
    annotators: list[AnnotatorQuality]  # of this campaign, by name, judged over all campaigns under this revision
    classes: list[str]
    confusion: list[list[float]]  # row: what items are, as others say; column: what was answered; expected counts
    confusions: list[Confusion]  # the commonest first
    disputed: list[Disputed]  # the most doubtful first


def progress(session: Session, campaign: Campaign, taxonomy: Taxonomy, said: Answers) -> Progress:
    """Of a labelling campaign; `said` is everything answered under its taxonomy."""
    task_ids = answers.standing_items(session, campaign)
    decided = ledger.outcomes(session, campaign)
    outcomes = Counter(decided.values())
    given = [answer for answer in said.given if answer.task_id in task_ids]
    said_something = sum(answer.value is not None for answer in given)
    adjudicated = len(task_ids & said.adjudicated.keys())
    accepted = outcomes["accepted"]
    cost, unpriced = _cost(session, campaign)
    return Progress(
        campaign=campaign.name,
        taxonomy=taxonomy.name,
        revision=taxonomy.revision,
        kind=taxonomy.task_kind,
        adaptive=campaign.adaptive is not None,
        items=len(task_ids),
        answers=said_something,
        skips=sum(answer.skipped for answer in given),
        nameless=sum(answer.value is None and not answer.skipped for answer in given),
        set_aside=sum(answer.task_id in task_ids for answer in said.aside),
        adjudicator_answers=adjudicated,
        answers_per_label=(said_something + adjudicated) / accepted if accepted else None,
        cost=cost,
        cost_per_label=cost / accepted if cost is not None and accepted and not unpriced else None,
        unpriced=unpriced,
        accepted=accepted,
        adjudicated=ledger.count_adjudicated(session, campaign),
        in_adjudication=outcomes["adjudication"],
        waiting=outcomes["another-opinion"],
        rejected=outcomes["rejected"],
        unreviewed=len(task_ids - decided.keys() - said.gold.keys()),
        gold=len(task_ids & said.gold.keys()),
    )


def report(
    workspace: Workspace,
    campaign_name: str,
    *,
    by: str | None = None,
    least_accuracy: float = LEAST_ACCURACY,
    level: Level = "nominal",
) -> QaReport:
    """Agreement, progress, cost and annotators of one campaign, as its newest review left it.

    Args:
        workspace: where it is.
        campaign_name: which campaign.
        by: a column of metadata, `source` or `scene`; the agreement on each of its values is told.
        least_accuracy: under which a pause of an annotator is suggested.
        level: of the agreement: classes are names, ordered as in the taxonomy, or ordered and equally far apart.

    Raises:
        NotFoundError: there is no such campaign, or what a model predicted for its people is gone.
        InvalidInputError: it is an adjudication or asks for something else than one class, the column is not
            there or has more than 30 values, or `least_accuracy` is not between 0 and 1.
    """
    with workspace.database.read() as session:
        campaign = answers.campaign_of_classes(session, campaign_name)
        taxonomy = session.get_one(Taxonomy, campaign.taxonomy_id)
        slices = {} if by is None else annotators.read_slices(session, by)
        people = crowd.load(session, taxonomy)
        task_ids = answers.standing_items(session, campaign)
        decided = ledger.outcomes(session, campaign)
        tables = agreement_tables.read(session, campaign, taxonomy, people.said, slices, level=level)
        disputed = _disputed(session, people, task_ids, decided)
        so_far = progress(session, campaign, taxonomy, people.said)
    said = people.said
    present = {answer.annotator_id for answer in [*said.given, *said.aside] if answer.task_id in task_ids}
    confusion = _confusion(people, task_ids)
    qualities = annotators.qualities(people, least_accuracy)
    return QaReport(
        **vars(so_far),
        level=level,
        alpha=tables[0].alpha,
        raw_agreement=tables[0].raw_agreement,
        agreement=tables,
        check=_check(people),
        annotators=[quality for annotator_id, quality in qualities.items() if annotator_id in present],
        classes=said.classes,
        confusion=confusion.tolist(),
        confusions=_commonest(confusion, said.classes),
        disputed=disputed,
    )


def file_names(session: Session, image_ids: Iterable[int]) -> dict[int, str]:
    """What the file of each image is called where it was seen last; empty where nobody knows."""
    wanted = list(image_ids)
    sightings = select(Sighting.image_id, Sighting.uri).where(Sighting.image_id.in_(wanted)).order_by(Sighting.id)
    uri_of = dict(session.execute(sightings).all())
    return {image_id: PurePath(uri_of.get(image_id, "")).name for image_id in wanted}


def _cost(session: Session, campaign: Campaign) -> tuple[float | None, dict[str, int]]:
    """Of a campaign and what settles its items, see `Progress`; what settles and was never answered costs nothing."""
    settling = select(Campaign.name).where(Campaign.purpose.in_(answers.SETTLING))
    children = session.scalars(settling.where(Campaign.parent_id == campaign.id))  # a rework is a campaign like this
    own, *others = (campaigns.status(session, name) for name in (campaign.name, *children))
    costs = []
    unpriced: Counter[str] = Counter()
    for one in (own, *(other for other in others if other.answers)):
        if one.cost is None:
            unpriced[one.vendor] += one.answers
        else:
            costs.append(one.cost)
    return sum(costs) if costs else None, dict(unpriced)


def _check(people: Crowd) -> PosteriorCheck | None:
    """Posteriors as they were had nobody told the truth."""
    known = people.known
    heard = people.table[people.counted[people.look]]
    answered = np.unique(heard[:, 0])
    told = answered[known[answered] >= 0]
    if len(told) < LEAST_KNOWN:
        return None
    found = posterior.fit(
        heard,
        np.full(len(known), -1),
        annotators=len(people.people),
        classes=len(people.classes),
    )
    bins: Reliability = reliability(found.posteriors[told], known[told])
    return PosteriorCheck(
        len(told), bins.confidence.tolist(), bins.accuracy.tolist(), bins.images.tolist(), float(bins.ece)
    )


def _confusion(people: Crowd, task_ids: Iterable[int]) -> Ints:
    """`(C, C)` of the answers to these items, see `accuracy.confusion`."""
    judged = people.judged
    own = np.isin(people.task[people.look[judged.rows]], list(task_ids))
    part = accuracy.Judged(judged.rows[own], judged.truth[own])
    together: Ints = accuracy.confusion(people.table, part, people.found).sum(axis=0)
    return together


def _commonest(confusion: Ints, classes: list[str]) -> list[Confusion]:
    totals = confusion.sum(axis=1)
    pairs = [
        Confusion(item, answer, float(confusion[i, j]), float(confusion[i, j] / totals[i]))
        for i, item in enumerate(classes)
        for j, answer in enumerate(classes)
        if i != j and confusion[i, j] >= 0.5
    ]
    return sorted(pairs, key=lambda pair: (-pair.answers, pair.item, pair.answer))


def _disputed(session: Session, people: Crowd, task_ids: set[int], decided: Mapping[int, str]) -> list[Disputed]:
    """Items with several answers, that nobody settled, by how little the likeliest class stands out."""
    said = people.said
    heard: dict[int, Counter[str]] = {task_id: Counter() for task_id in task_ids - said.gold.keys()}
    for answer in said.given:
        if answer.task_id in heard and answer.value is not None:
            heard[answer.task_id][answer.value] += 1
    position = {task_id: i for i, task_id in enumerate(said.task_ids)}
    by_people = people.found.posteriors
    belief: dict[int, tuple[str, float]] = {}
    open_ones = [one for one, counts in heard.items() if len(counts) > 1 and one not in said.adjudicated]
    verdicts = ledger.of_tasks(session, open_ones)
    for one in open_ones:
        likeliest = int(by_people[position[one]].argmax())
        belief[one] = said.classes[likeliest], float(by_people[position[one], likeliest])
        verdict = verdicts.get(one)  # which knows what a model says too
        if verdict is not None and verdict.answer is not None and verdict.posterior is not None:
            belief[one] = verdict.answer, verdict.posterior
    worst = sorted(open_ones, key=lambda one: (belief[one][1], one))[:MOST_DISPUTED]
    image_of = dict(session.execute(select(Task.id, Task.image_id).where(Task.id.in_(worst))).all())
    name_of = file_names(session, image_of.values())
    return [
        Disputed(
            image=image_of[one],
            name=name_of[image_of[one]],
            answers=dict(heard[one].most_common()),
            likeliest=belief[one][0],
            posterior=belief[one][1],
            outcome=decided.get(one),
        )
        for one in worst
    ]
