"""From answers to verdicts, from verdicts to labels.

What an item is, is believed by all that is said of it, and what becomes of it follows from that: `qa.outcomes`.

A verdict stands while the annotations it rests on do: accepted items are not argued again because people elsewhere
turned out better or worse, or because there are embeddings now. A new, changed or deleted answer reopens an item,
except that an adjudicator has the last word: only another answer of an adjudicator replaces theirs. What a migration of
the taxonomy made of an accepted item stands as long. An item that was accepted by people who are all on probation since
is decided anew. An item of a rejected lot stays rejected until an adjudicator or auditor answers it.

A skip is a look at the item that says nothing. It counts among the answers a campaign wants of an item and among the
most an adaptive one asks for, and favours no class.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from curation import labels
from labeling import campaigns
from qa import answers, case, conflicts, ledger, migrations, outcomes, rejections
from qa.answers import LastWord
from qa.case import Case, Finding
from store.errors import InvalidInputError
from store.schema import Campaign, Taxonomy, Verdict
from store.workspace import Workspace


@dataclass(frozen=True)
class Opinion:
    """An item that somebody has answered, and that another answer is wanted of."""

    task: int
    image: int
    ask: str | None  # whom, as they tell apart what is in doubt; none for somebody who is new


@dataclass(frozen=True)
class QaSummary:
    """What a review found and wrote."""

    campaign: str
    items: int
    outcomes: dict[str, int]  # how many items stand at each outcome now
    new_verdicts: int
    new_labels: int
    replaced: int  # of these: images whose label in force was another campaign's
    overruled: int  # and those where that of an expert, or their rejection, stays in force
    conflicts: int  # items whose label in force another campaign contradicts, see `qa.conflicts`
    model: str | None  # what was heard beside the people
    accept_at: float | None  # none of an adaptive campaign
    too_unsure: float | None  # of one answer an item: the highest posterior, where it is too low to accept any
    opinions: list[Opinion]  # of an adaptive campaign, by rank


@dataclass(frozen=True)
class _Decision:
    task_id: int
    outcome: str
    answer: str | None
    posterior: float | None
    evidence: dict[str, Any]


@dataclass(frozen=True)
class _Before:
    """What was decided in a campaign."""

    last_id: int  # of all verdicts there were
    standing: dict[int, Verdict]  # by task id
    held: set[int]  # tasks in rejected lots
    labelled_by: dict[int, int]  # see `qa.ledger`
    is_behind: bool  # whether labels of the taxonomy are to be carried over

    def fresh(self, decisions: Sequence[_Decision], unsupported: Collection[int]) -> list[_Decision]:
        """Those that are not there yet, see `_stands`."""
        return [
            decision
            for decision in decisions
            if not _stands(self.standing.get(decision.task_id), decision, unsupported)
            and (decision.task_id not in self.held or "adjudicator" in decision.evidence)
        ]


def review(workspace: Workspace, campaign_name: str, *, accept_at: float | None = None) -> QaSummary:
    """Decide every item of a campaign from the answers so far, and label what is accepted.

    Annotators are judged by all campaigns of the same taxonomy. Reviewing again without new answers writes nothing.
    Gold items are not decided: what they are is known. Items that nobody has seen wait for another opinion, and so do
    those that only people on probation gave a class.

    Where the overlap is fixed, an item with all the answers its campaign wants is accepted when the posterior of what
    it is (`qa.gains`) reaches `accept_at`; else it goes to adjudication, and is accepted as the adjudicator answers, or
    rejected. Without one said, it is that of the review before, and .9 the first time.

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
            read = case.read(workspace, session, campaign_name, accept_at)
            before = _before(session, read.campaign)
        decisions, model = _decide(read)
        fresh = before.fresh(decisions, read.said.unsupported)
        new_labels = 0
        if fresh or before.is_behind:  # else nobody waits
            with workspace.database.write() as session:
                if ledger.last_id(session) != before.last_id:  # a migration, or another campaign's review
                    before = _before(session, read.campaign)
                    fresh = before.fresh(decisions, read.said.unsupported)
                verdicts = [(read.image_of[decision.task_id], _verdict(decision)) for decision in fresh]
                new_labels = ledger.enter(session, read.campaign.taxonomy_id, verdicts)
                migrations.carry_over(session, session.get_one(Taxonomy, read.campaign.taxonomy_id).name)
        with workspace.database.read() as session:
            outcome_of = ledger.outcomes(session, read.campaign)
            after = ledger.labelled_by(session, read.campaign) if fresh else before.labelled_by
            differing = conflicts.standing(session, read.campaign)
    labelled = [read.image_of[decision.task_id] for decision in fresh if decision.outcome == "accepted"]
    return QaSummary(
        campaign=campaign_name,
        items=len(read.image_of),
        outcomes=dict(sorted(Counter(outcome_of.values()).items())),
        new_verdicts=len(fresh),
        new_labels=new_labels,
        replaced=sum(before.labelled_by.get(one, campaign_id) != campaign_id == after.get(one) for one in labelled),
        overruled=sum(after.get(one) != campaign_id for one in labelled),
        conflicts=len(differing),
        model=model,
        accept_at=read.accept_at if read.campaign.adaptive is None else None,
        too_unsure=_too_unsure(read, decisions),
        opinions=[
            Opinion(each.task_id, read.image_of[each.task_id], each.evidence["ask"])
            for each in decisions
            if "ask" in each.evidence and outcome_of.get(each.task_id) == "another-opinion"
        ],
    )


def _too_unsure(found: Case, decisions: Sequence[_Decision]) -> float | None:
    """See `QaSummary`."""
    if found.campaign.adaptive is not None or found.campaign.overlap > 1:
        return None
    by_consensus = [each for each in decisions if each.posterior is not None and found.looks[each.task_id]]
    if any(each.outcome == "accepted" for each in by_consensus):
        return None
    unsure = [each.posterior for each in by_consensus if each.outcome == "adjudication" and each.posterior is not None]
    return max(unsure, default=None)


def _before(session: Session, campaign: Campaign) -> _Before:
    return _Before(
        last_id=ledger.last_id(session),
        standing=ledger.newest(session, campaign),
        held=rejections.held(session, campaign),
        labelled_by=ledger.labelled_by(session, campaign),
        is_behind=migrations.is_behind(session, session.get_one(Taxonomy, campaign.taxonomy_id).name),
    )


def _decide(found: Case) -> tuple[list[_Decision], str | None]:
    """Of each item, and what was heard beside the people."""
    said = found.said
    findings = outcomes.find(found)
    decisions = []
    for task_id, looks in found.looks.items():
        heard = [
            {
                "annotation": answer.annotation_id,
                "annotator": answer.annotator,
                "answer": answer.words,
                "skipped": answer.skipped,
                "accuracy": findings.accuracy[answer.annotator_id],
                **({} if findings.precision is None else {"precision": findings.precision[answer.annotator_id]}),
            }
            for answer in looks
        ]
        if task_id in said.adjudicated:
            decisions.append(_by_adjudicator(task_id, heard, said.adjudicated[task_id]))
        else:
            decisions.append(_by_consensus(found, task_id, heard, findings.of[task_id]))
    return decisions, findings.model


def _by_consensus(found: Case, task_id: int, heard: Sequence[dict[str, Any]], finding: Finding) -> _Decision:
    return _Decision(
        task_id=task_id,
        outcome=finding.outcome,
        answer=finding.likeliest if finding.outcome == "accepted" else None,
        posterior=finding.posterior,
        evidence={
            "annotations": [each["annotation"] for each in heard],
            "answers": heard,
            "likeliest": finding.likeliest,
            "policy": found.policy,
            **({"aside": aside} if (aside := found.aside[task_id]) else {}),
            **finding.reasons,
        },
    )


def _by_adjudicator(task_id: int, heard: list[dict[str, Any]], last_word: LastWord) -> _Decision:
    """As they said; what cannot be decided is rejected."""
    evidence = last_word.evidence(heard)
    outcome = "rejected" if last_word.value is None else "accepted"
    return _Decision(task_id, outcome=outcome, answer=last_word.value, posterior=None, evidence=evidence)


def _stands(verdict: Verdict | None, decision: _Decision, unsupported: Collection[int]) -> bool:
    """Whether a verdict is not decided anew.

    It rests on the same, was decided by the same policy, and is accepted by others than people on probation alone.
    """
    sources = ("annotations", "decision")
    if verdict is None or any(verdict.evidence.get(key) != decision.evidence.get(key) for key in sources):
        return False
    if labels.MIGRATED in verdict.evidence:
        return True
    before, now = ({**each.evidence.get("policy", {}), "method": None} for each in (verdict, decision))
    may_differ = verdict.outcome == "accepted" and decision.task_id not in unsupported
    return before == now and (may_differ or verdict.outcome == decision.outcome)


def _verdict(decision: _Decision) -> Verdict:
    return Verdict(
        task_id=decision.task_id,
        outcome=decision.outcome,
        answer=decision.answer,
        posterior=decision.posterior,
        evidence=decision.evidence,
    )
