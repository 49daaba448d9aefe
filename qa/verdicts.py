"""From answers to verdicts, from verdicts to labels.

A verdict stands while the annotations it rests on do: accepted items are not argued again because
people elsewhere turned out better or worse. A new, changed or deleted answer reopens an item,
except that an adjudicator has the last word: only another answer of an adjudicator replaces theirs.
What a migration of the taxonomy made of an accepted item stands as long.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from qa import answers, migrations
from qa.answers import Answers, LastWord
from qa.consensus import dawid_skene
from qa.consensus.belief import Consensus
from store.arrays import Floats
from store.errors import InvalidInputError
from store.schema import Campaign, Label, Task, Taxonomy, Verdict
from store.workspace import Workspace

ACCEPT_AT = 0.9


@dataclass(frozen=True)
class QaSummary:
    """What a review found and wrote."""

    campaign: str
    items: int
    outcomes: dict[str, int]  # how many items stand at each outcome now
    new_verdicts: int
    new_labels: int


@dataclass(frozen=True)
class _Decision:
    task_id: int
    outcome: str
    answer: str | None
    posterior: float | None
    evidence: dict[str, Any]


def review(workspace: Workspace, campaign_name: str, *, accept_at: float = ACCEPT_AT) -> QaSummary:
    """Decide every item of a campaign from the answers so far, and label what is accepted.

    An item is accepted when it has the answers its campaign wants and the posterior of one class
    reaches `accept_at`; a skip counts as an answer that favours no class. With fewer it needs
    another opinion; else it goes to adjudication, and is accepted as the adjudicator answers, or rejected.
    Annotators are judged by all campaigns of the same taxonomy. Reviewing again without new
    answers writes nothing. Gold items are not decided: what they are is known.

    Raises:
        NotFoundError: there is no such campaign.
        InvalidInputError: it is an adjudication, or `accept_at` is not between .5 and 1.
    """
    if not 0.5 <= accept_at <= 1:
        raise InvalidInputError(f"Items are accepted at a posterior between 0.5 and 1, not {accept_at}.")
    with workspace.database.read() as session:
        campaign = answers.labelling_campaign(session, campaign_name)
        said = answers.read(session, session.get_one(Taxonomy, campaign.taxonomy_id))
        asked = select(Task.id, Task.image_id).where(Task.campaign_id == campaign.id, Task.state != "withdrawn")
        tasks = session.execute(asked.order_by(Task.rank))
        image_of = {task_id: image_id for task_id, image_id in tasks if task_id not in said.gold}
    belief = dawid_skene.fit_one_coin(
        said.table, said.known, annotators=len(said.annotator_ids), classes=len(said.classes)
    )
    policy = {"method": "one-coin Dawid-Skene", "overlap": campaign.overlap, "accept_at": accept_at}
    decisions = _decide(said, belief, policy, list(image_of))
    with workspace.database.write() as session:
        standing = newest(session, campaign)
        fresh = [decision for decision in decisions if not _stands(standing.get(decision.task_id), decision)]
        new_labels = _write(session, campaign, image_of, fresh)
        migrations.carry_over(session, session.get_one(Taxonomy, campaign.taxonomy_id).name)
        outcomes = Counter(verdict.outcome for verdict in newest(session, campaign).values())
    return QaSummary(
        campaign=campaign_name,
        items=len(image_of),
        outcomes=dict(sorted(outcomes.items())),
        new_verdicts=len(fresh),
        new_labels=new_labels,
    )


def newest(session: Session, campaign: Campaign) -> dict[int, Verdict]:
    """The verdict in force of each item of a campaign that has one, by task id."""
    ids = (
        select(func.max(Verdict.id))
        .join(Task, Task.id == Verdict.task_id)
        .where(Task.campaign_id == campaign.id)
        .group_by(Verdict.task_id)
    )
    return {verdict.task_id: verdict for verdict in session.scalars(select(Verdict).where(Verdict.id.in_(ids)))}


def _decide(said: Answers, belief: Consensus, policy: dict[str, Any], task_ids: Sequence[int]) -> list[_Decision]:
    accuracy = dict(zip(said.annotator_ids, belief.accuracy.tolist(), strict=True))
    item = {task_id: i for i, task_id in enumerate(said.task_ids)}
    heard: dict[int, list[dict[str, Any]]] = {task_id: [] for task_id in task_ids}
    for answer in said.given:
        if answer.task_id in heard:
            heard[answer.task_id].append(
                {
                    "annotation": answer.annotation_id,
                    "annotator": answer.annotator,
                    "answer": answer.value,
                    "accuracy": accuracy[answer.annotator_id],
                }
            )
    return [
        _by_adjudicator(task_id, heard[task_id], said.adjudicated[task_id])
        if task_id in said.adjudicated
        else _by_consensus(task_id, heard[task_id], belief.posteriors[item[task_id]], said.classes, policy)
        for task_id in task_ids
    ]


def _by_consensus(
    task_id: int, heard: list[dict[str, Any]], posterior: Floats, classes: list[str], policy: dict[str, Any]
) -> _Decision:
    best = int(posterior.argmax())
    if len(heard) < policy["overlap"]:
        outcome = "another-opinion"
    else:
        outcome = "accepted" if posterior[best] >= policy["accept_at"] else "adjudication"
    return _Decision(
        task_id=task_id,
        outcome=outcome,
        answer=classes[best] if outcome == "accepted" else None,
        posterior=float(posterior[best]),
        evidence={"annotations": [each["annotation"] for each in heard], "answers": heard, "policy": policy},
    )


def _by_adjudicator(task_id: int, heard: list[dict[str, Any]], last_word: LastWord) -> _Decision:
    """As they said; what cannot be decided is rejected."""
    why = {"reason": last_word.reason, "comment": last_word.comment}
    said = {"annotator": last_word.adjudicator, "answer": last_word.value} | {k: v for k, v in why.items() if v}
    evidence = {
        "annotations": [] if last_word.annotation_id is None else [last_word.annotation_id],
        "decision": last_word.decision_id,
        "adjudicator": said,
        "answers": heard,
        "policy": {"method": "adjudicator"},
    }
    outcome = "rejected" if last_word.value is None else "accepted"
    return _Decision(task_id, outcome=outcome, answer=last_word.value, posterior=None, evidence=evidence)


def _stands(verdict: Verdict | None, decision: _Decision) -> bool:
    sources = ("annotations", "decision")
    if verdict is not None and migrations.KEY in verdict.evidence:
        return all(verdict.evidence.get(key) == decision.evidence.get(key) for key in sources)
    if verdict is None or any(verdict.evidence.get(key) != decision.evidence.get(key) for key in (*sources, "policy")):
        return False
    return verdict.outcome in ("accepted", decision.outcome)


def _write(session: Session, campaign: Campaign, image_of: Mapping[int, int], decisions: Sequence[_Decision]) -> int:
    """Add the verdicts, and a label for each that accepts; says how many labels."""
    verdicts = [
        Verdict(
            task_id=decision.task_id,
            outcome=decision.outcome,
            answer=decision.answer,
            posterior=decision.posterior,
            evidence=decision.evidence,
        )
        for decision in decisions
    ]
    session.add_all(verdicts)
    session.flush()  # gives them their ids
    labels = [
        {
            "image_id": image_of[verdict.task_id],
            "taxonomy_id": campaign.taxonomy_id,
            "verdict_id": verdict.id,
            "value": verdict.answer,
        }
        for verdict in verdicts
        if verdict.outcome == "accepted"
    ]
    if labels:
        session.execute(insert(Label), labels)
    return len(labels)
