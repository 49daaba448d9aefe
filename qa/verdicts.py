"""From answers to verdicts, from verdicts to labels.

What an item is, is believed by all that is known of it (`qa.consensus.posterior`): who said what, what each of them
confuses, and what a probe on the catalog's embeddings sees in it that was taught by other items; without embeddings the
people alone. A campaign of a fixed overlap accepts at a posterior, when all the answers it wants are there. An adaptive
one asks again where that is worth its price (`qa.overlap`); who is still to come counts as somebody like everybody.

A verdict stands while the annotations it rests on do: accepted items are not argued again because people elsewhere
turned out better or worse, or because there are embeddings now. A new, changed or deleted answer reopens an item,
except that an adjudicator has the last word: only another answer of an adjudicator replaces theirs. What a migration of
the taxonomy made of an accepted item stands as long. An item of a rejected lot stays rejected until an adjudicator or
auditor answers it.

A skip is a look at the item that says nothing. It counts among the answers a campaign wants of an item and among the
most an adaptive one asks for, and favours no class.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from labeling import campaigns
from qa import answers, ledger, migrations, overlap, rejections, views
from qa.answers import Answers, LastWord
from qa.consensus import posterior, probed
from qa.consensus.posterior import Posterior
from qa.overlap import Rules
from qa.views import Seen
from store.errors import InvalidInputError, NotFoundError
from store.schema import Campaign, Task, Taxonomy, Vendor, Verdict
from store.workspace import Workspace

ACCEPT_AT = 0.9
_NEW = 0  # in place of an annotator's id: somebody who has not answered anything yet


@dataclass(frozen=True)
class Opinion:
    """An item that somebody has answered, and that another answer is wanted of."""

    task: int
    image: int
    ask: str | None  # whom, as they tell the classes in doubt apart; none for somebody who is new


@dataclass(frozen=True)
class QaSummary:
    """What a review found and wrote."""

    campaign: str
    items: int
    outcomes: dict[str, int]  # how many items stand at each outcome now
    new_verdicts: int
    new_labels: int
    model: str | None  # what was heard beside the people
    opinions: list[Opinion]  # of an adaptive campaign, by rank


@dataclass(frozen=True)
class _Case:
    """All that a review reads."""

    campaign: Campaign
    said: Answers
    tasks: list[int]  # of the campaign, ascending: all of them, so that the same places are audited every time
    image_of: dict[int, int]  # what those of them show that are decided, by rank
    has_ended: bool  # closed or called off: nobody can be asked any more
    people: dict[int, str]  # who else can: names by annotator id
    seen: set[tuple[int, int]]  # which task was before which annotator
    items: Seen | None  # what is embedded of all items of the taxonomy
    accept_at: float
    price: float | None  # of an answer

    @property
    def annotators(self) -> list[int]:
        """Who answered, then who else can be asked, and last somebody new."""
        return [*self.said.annotator_ids, *sorted(self.people.keys() - set(self.said.annotator_ids)), _NEW]

    @cached_property
    def aside(self) -> Counter[int]:
        """How many answers to each task count for nothing, as somebody is paused."""
        return Counter(answer.task_id for answer in self.said.aside if not answer.skipped)

    @property
    def policy(self) -> dict[str, Any]:
        """What a verdict was decided by: it is decided anew by another one."""
        if self.campaign.adaptive is None:
            return {"overlap": self.campaign.overlap, "accept_at": self.accept_at}
        return {"overlap": "adaptive", **self.campaign.adaptive}


@dataclass(frozen=True)
class _Decision:
    task_id: int
    outcome: str
    answer: str | None
    posterior: float | None
    evidence: dict[str, Any]


def review(workspace: Workspace, campaign_name: str, *, accept_at: float | None = None) -> QaSummary:
    """Decide every item of a campaign from the answers so far, and label what is accepted.

    Annotators are judged by all campaigns of the same taxonomy. Reviewing again without new answers writes nothing.
    Gold items are not decided: what they are is known. Items that nobody has seen wait for another opinion, and so do
    those that only people on probation gave a class.

    Where the overlap is fixed, an item with all the answers its campaign wants is accepted when the posterior of one
    class reaches `accept_at`; else it goes to adjudication, and is accepted as the adjudicator answers, or rejected.
    Without one said, it is that of the review before, and .9 the first time.

    Where it is adaptive, `qa.overlap.decide` accepts, asks another of the vendor's people who has not seen the item, or
    sends it to adjudication; so it does where nobody is left, once every item has been seen by somebody.

    Raises:
        NotFoundError: there is no such campaign.
        InvalidInputError: it is an adjudication; `accept_at` is not between .5 and 1, or said of an adaptive campaign.
        IntegrityError: vectors are missing on disk.
    """
    if accept_at is not None and not 0.5 <= accept_at <= 1:
        raise InvalidInputError(f"Items are accepted at a posterior between 0.5 and 1, not {accept_at}.")
    with workspace.database.read() as session:
        campaign_id = answers.labelling_campaign(session, campaign_name).id
    with campaigns.exclusive(workspace, campaign_id):  # nobody reviews older answers meanwhile, and writes later
        with workspace.database.read() as session:
            case = _read(workspace, session, campaign_name, accept_at)
        belief = _believe(case)
        decisions = _decide(case, belief)
        with workspace.database.write() as session:
            standing = newest(session, case.campaign)
            fresh = [decision for decision in decisions if not _stands(standing.get(decision.task_id), decision)]
            verdicts = [(case.image_of[decision.task_id], _verdict(decision)) for decision in fresh]
            new_labels = ledger.enter(session, case.campaign.taxonomy_id, verdicts)
            migrations.carry_over(session, session.get_one(Taxonomy, case.campaign.taxonomy_id).name)
            outcome_of = {task_id: verdict.outcome for task_id, verdict in newest(session, case.campaign).items()}
    return QaSummary(
        campaign=campaign_name,
        items=len(case.image_of),
        outcomes=dict(sorted(Counter(outcome_of.values()).items())),
        new_verdicts=len(fresh),
        new_labels=new_labels,
        model=None if case.items is None or belief.probabilities is None else case.items.model,
        opinions=[
            Opinion(each.task_id, case.image_of[each.task_id], each.evidence["ask"])
            for each in decisions
            if "ask" in each.evidence and outcome_of[each.task_id] == "another-opinion"
        ],
    )


def newest(session: Session, campaign: Campaign) -> dict[int, Verdict]:
    """The verdict in force of each item of a campaign that has one, by task id."""
    return {verdict.task_id: verdict for verdict in campaigns.verdicts_in_force(session, campaign.id)}


def _read(workspace: Workspace, session: Session, campaign_name: str, accept_at: float | None) -> _Case:
    campaign = answers.labelling_campaign(session, campaign_name)
    if campaign.adaptive is not None and accept_at is not None:
        raise InvalidInputError(
            f"{campaign_name!r} is adaptive: it accepts as its target error of {campaign.adaptive['target_error']:g} "
            "allows. Leave --accept-at out."
        )
    taxonomy = session.get_one(Taxonomy, campaign.taxonomy_id)
    said = answers.read(session, taxonomy)
    of_campaign = select(Task.id, Task.image_id, Task.state).where(Task.campaign_id == campaign.id)
    tasks = session.execute(of_campaign.order_by(Task.id)).all()
    ranked = session.execute(of_campaign.where(Task.state != "withdrawn").order_by(Task.rank))
    case = _Case(
        campaign=campaign,
        said=said,
        tasks=[task_id for task_id, _, _ in tasks],
        image_of={task_id: image_id for task_id, image_id, _ in ranked if task_id not in said.gold},
        has_ended=campaign.closed_at is not None or campaign.cancelled_at is not None,
        people=answers.people(session, campaign),
        seen=answers.seen(session, campaign),
        items=_embedded(workspace, session, said),
        accept_at=accept_at or _last_accept_at(session, campaign) or ACCEPT_AT,
        price=session.get_one(Vendor, campaign.vendor_id).prices.get(taxonomy.task_kind),
    )
    session.expunge(campaign)
    return case


def _last_accept_at(session: Session, campaign: Campaign) -> float | None:
    """What the newest verdict of a fixed overlap was decided by."""
    by_age = sorted(newest(session, campaign).values(), key=lambda verdict: -verdict.id)
    policies = (verdict.evidence.get("policy", {}) for verdict in by_age)
    return next((policy["accept_at"] for policy in policies if "accept_at" in policy), None)


def _embedded(workspace: Workspace, session: Session, said: Answers) -> Seen | None:
    """What a probe can see of the items; none where nothing is embedded."""
    try:
        found = views.of_images(workspace, session, said.image_ids)
    except NotFoundError:
        return None
    return found if found.has_vector.any() else None


def _believe(case: _Case) -> Posterior:
    """Of all items of the taxonomy."""
    said = case.said
    problem: dict[str, Any] = {"annotators": len(case.annotators), "classes": len(said.classes)}
    if case.items is None or len(said.table) == 0:
        return posterior.fit(said.table, said.known, **problem)
    return probed.fit(said.table, said.known, case.items.views(), case.items.tied, **problem)


def _decide(case: _Case, belief: Posterior) -> list[_Decision]:
    said = case.said
    accuracy = dict(zip(case.annotators, belief.accuracy.tolist(), strict=True))
    heard: dict[int, list[dict[str, Any]]] = {task_id: [] for task_id in case.image_of}
    for answer in said.given:
        if answer.task_id in heard:
            heard[answer.task_id].append(
                {
                    "annotation": answer.annotation_id,
                    "annotator": answer.annotator,
                    "answer": answer.value,
                    "skipped": answer.skipped,
                    "accuracy": accuracy[answer.annotator_id],
                }
            )
    steps = _fixed(case, belief, heard) if case.campaign.adaptive is None else _adaptive(case, belief, heard)
    believed = {task_id: i for i, task_id in enumerate(said.task_ids)}
    return [
        _by_adjudicator(task_id, heard[task_id], said.adjudicated[task_id])
        if task_id in said.adjudicated
        else _by_consensus(case, belief, believed[task_id], heard[task_id], steps[task_id])
        for task_id in case.image_of
    ]


_Heard = Mapping[int, Sequence[dict[str, Any]]]  # the answers to each task that is decided
_Step = tuple[str, dict[str, Any]]  # an outcome, and what is to be said of it beside the answers


def _fixed(case: _Case, belief: Posterior, heard: _Heard) -> dict[int, _Step]:
    """An item with all its answers is accepted from a posterior on."""
    surest = dict(zip(case.said.task_ids, belief.posteriors.max(axis=1).tolist(), strict=True))
    steps: dict[int, _Step] = {}
    for task_id, looks in heard.items():
        if len(looks) < case.campaign.overlap or task_id in case.said.unsupported:
            steps[task_id] = ("another-opinion", {})
        else:
            steps[task_id] = ("accepted" if surest[task_id] >= case.accept_at else "adjudication", {})
    return steps


def _adaptive(case: _Case, belief: Posterior, heard: _Heard) -> dict[int, _Step]:
    """What `qa.overlap` decides; what nobody has seen yet waits.

    Nobody is asked about an item that lies with an expert, or that as many have seen as may.
    """
    rules = Rules(**case.campaign.adaptive or {}, answer_cost=case.price or 1.0)
    tasks = {task_id: i for i, task_id in enumerate(case.tasks)}
    people = {annotator_id: i for i, annotator_id in enumerate(case.annotators)}
    askable = [
        tasks[task_id]
        for task_id, looks in heard.items()
        if len(looks) < rules.most_answers and task_id not in case.said.at_expert
    ]
    to_ask = [people[annotator_id] for annotator_id in case.people]
    if not all(heard.values()):
        to_ask.append(people[_NEW])  # the campaign is under way: others may turn up
    may = np.zeros((len(tasks), len(people)), dtype=np.bool_)
    if not case.has_ended:
        may[np.ix_(askable, to_ask)] = True
    for task_id, annotator_id in case.seen:
        if annotator_id in people:
            may[tasks[task_id], people[annotator_id]] = False
    place = np.array([tasks[task_id] if task_id in heard else -1 for task_id in case.said.task_ids])
    answered = case.said.table[place[case.said.table[:, 0]] >= 0]
    decisions = overlap.decide(
        replace(belief, posteriors=belief.posteriors[np.isin(case.said.task_ids, list(tasks))]),
        np.column_stack([place[answered[:, 0]], answered[:, 1:]]),
        np.argwhere(may),
        rules=rules,
        seed=case.campaign.id,
    )
    steps: dict[int, _Step] = {}
    for task_id, looks in heard.items():
        asked = int(decisions.asked[tasks[task_id]])
        if not looks or (asked < 0 and task_id in case.said.unsupported and may[tasks[task_id]].any()):
            steps[task_id] = ("another-opinion", {})
        elif asked >= 0:
            ask = case.people.get(case.annotators[asked])
            steps[task_id] = ("another-opinion", {"most_doubt": decisions.most_doubt, "ask": ask})
        else:
            outcome = "accepted" if decisions.accepted[tasks[task_id]] else "adjudication"
            steps[task_id] = (outcome, {"most_doubt": decisions.most_doubt})
    return steps


def _by_consensus(case: _Case, belief: Posterior, item: int, heard: Sequence[dict[str, Any]], step: _Step) -> _Decision:
    outcome, reasons = step
    row, classes = belief.posteriors[item], case.said.classes
    best = int(row.argmax())
    model = None
    if case.items is not None and case.items.has_vector[item] and belief.probabilities is not None:
        says = belief.probabilities[item]
        model = {
            "model": case.items.model,
            "says": classes[int(says.argmax())],
            "probability": float(says.max()),
            "probability_of_answer": float(says[best]),
            "power": belief.trust.model,
        }
    return _Decision(
        task_id=case.said.task_ids[item],
        outcome=outcome,
        answer=classes[best] if outcome == "accepted" else None,
        posterior=float(row[best]),
        evidence={
            "annotations": [each["annotation"] for each in heard],
            "answers": heard,
            "method": "confusions" if belief.probabilities is None else "confusions and probe",
            "model": model,
            "likeliest": classes[best],
            "policy": case.policy,
            **({"aside": aside} if (aside := case.aside[case.said.task_ids[item]]) else {}),
            **reasons,
        },
    )


def _by_adjudicator(task_id: int, heard: list[dict[str, Any]], last_word: LastWord) -> _Decision:
    """As they said; what cannot be decided is rejected."""
    evidence = last_word.evidence(heard)
    outcome = "rejected" if last_word.value is None else "accepted"
    return _Decision(task_id, outcome=outcome, answer=last_word.value, posterior=None, evidence=evidence)


def _stands(verdict: Verdict | None, decision: _Decision) -> bool:
    """Whether a verdict is not decided anew: it rests on the same, was decided by the same policy, and is accepted."""
    if verdict is not None and rejections.holds(verdict, decision.evidence):
        return True
    sources = ("annotations", "decision")
    if verdict is None or any(verdict.evidence.get(key) != decision.evidence.get(key) for key in sources):
        return False
    if migrations.KEY in verdict.evidence:
        return True
    before, now = ({**each.evidence.get("policy", {}), "method": None} for each in (verdict, decision))
    return before == now and verdict.outcome in ("accepted", decision.outcome)


def _verdict(decision: _Decision) -> Verdict:
    return Verdict(
        task_id=decision.task_id,
        outcome=decision.outcome,
        answer=decision.answer,
        posterior=decision.posterior,
        evidence=decision.evidence,
    )
