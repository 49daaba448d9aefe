"""What items are of which one class is asked: believed by all that is known of them (`qa.consensus.posterior`).

That is who said what, what each of them confuses, and what a probe on the catalog's embeddings sees in an item that was
taught by other items; without embeddings the people alone. A campaign of a fixed overlap accepts at a posterior, when
all the answers it wants are there. An adaptive one asks again where that is worth its price (`qa.overlap`); who is
still to come counts as somebody like everybody.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from qa import overlap
from qa.case import Case, Finding, Findings
from qa.consensus import posterior, probed
from qa.consensus.posterior import Posterior
from qa.overlap import Rules
from store.arrays import Bools, Ints

NEW = 0  # in place of an annotator's id: somebody who has not answered anything yet
_Step = tuple[str, dict[str, Any]]  # an outcome, and what is to be said of it beside the answers


def find(case: Case) -> Findings:
    """What the answers to the items of a campaign come to."""
    annotators, belief = believe(case)
    if case.campaign.adaptive is None:
        surest = dict(zip(case.said.task_ids, belief.posteriors.max(axis=1).tolist(), strict=True))
        steps: dict[int, _Step] = {task_id: (case.outcome(task_id, surest[task_id]), {}) for task_id in case.looks}
    else:
        steps = _adaptive(case, belief, annotators)
    position = {task_id: i for i, task_id in enumerate(case.said.task_ids)}
    return Findings(
        of={task_id: _finding(case, belief, position[task_id], *step) for task_id, step in steps.items()},
        accuracy=dict(zip(annotators, belief.accuracy.tolist(), strict=True)),
        model=None if case.items is None or belief.probabilities is None else case.items.model,
    )


def believe(case: Case) -> tuple[list[int], Posterior]:
    """The annotators by number, who answered, then who else can be asked, and last `NEW`; what all items are."""
    said = case.said
    answered = said.annotator_ids
    annotators = [*answered, *sorted(case.people.keys() - set(answered)), NEW]
    problem: dict[str, Any] = {"annotators": len(annotators), "classes": len(said.classes)}
    if case.items is None or len(said.table) == 0:
        return annotators, posterior.fit(said.table, said.known, **problem)
    return annotators, probed.fit(said.table, said.known, case.items.views(), case.items.tied, **problem)


def may_ask(case: Case, annotators: Sequence[int], *, most_answers: int) -> Bools:
    """`(T, A)`: whether an annotator may be asked about a task of `case.tasks`.

    Nobody is asked about an item that lies with an expert, or that as many have seen as may.
    """
    tasks = {task_id: i for i, task_id in enumerate(case.tasks)}
    people = {annotator_id: i for i, annotator_id in enumerate(annotators)}
    askable = [
        tasks[task_id]
        for task_id, looks in case.looks.items()
        if len(looks) < most_answers and task_id not in case.said.at_expert
    ]
    to_ask = [people[annotator_id] for annotator_id in case.people]
    if not all(case.looks.values()):
        to_ask.append(people[NEW])  # the campaign is under way: others may turn up
    may = np.zeros((len(tasks), len(people)), dtype=np.bool_)
    if not case.has_ended:
        may[np.ix_(askable, to_ask)] = True
    for task_id, annotator_id in case.seen:
        if annotator_id in people:
            may[tasks[task_id], people[annotator_id]] = False
    return may


def of_campaign(case: Case, belief: Posterior) -> tuple[Posterior, Ints]:
    """The belief about the tasks of `case.tasks` alone, and the answers `(M, 3)` to those that are decided."""
    tasks = {task_id: i for i, task_id in enumerate(case.tasks)}
    place = np.array([tasks[task_id] if task_id in case.looks else -1 for task_id in case.said.task_ids])
    answered = case.said.table[place[case.said.table[:, 0]] >= 0]
    posteriors = belief.posteriors[np.isin(case.said.task_ids, case.tasks)]
    return replace(belief, posteriors=posteriors), np.column_stack([place[answered[:, 0]], answered[:, 1:]])


def _adaptive(case: Case, belief: Posterior, annotators: Sequence[int]) -> dict[int, _Step]:
    """What `qa.overlap` decides; what nobody has seen yet waits."""
    rules = Rules(**case.campaign.adaptive or {}, answer_cost=case.price or 1.0)
    tasks = {task_id: i for i, task_id in enumerate(case.tasks)}
    may = may_ask(case, annotators, most_answers=rules.most_answers)
    own, answered = of_campaign(case, belief)
    decisions = overlap.decide(own, answered, np.argwhere(may), rules=rules, seed=case.campaign.id)
    steps: dict[int, _Step] = {}
    for task_id, looks in case.looks.items():
        asked = int(decisions.asked[tasks[task_id]])
        if not looks or (asked < 0 and task_id in case.said.unsupported and may[tasks[task_id]].any()):
            steps[task_id] = ("another-opinion", {})
        elif asked >= 0:
            ask = case.people.get(annotators[asked])
            steps[task_id] = ("another-opinion", {"most_doubt": decisions.most_doubt, "ask": ask})
        else:
            outcome = "accepted" if decisions.accepted[tasks[task_id]] else "adjudication"
            steps[task_id] = (outcome, {"most_doubt": decisions.most_doubt})
    return steps


def _finding(case: Case, belief: Posterior, item: int, outcome: str, reasons: dict[str, Any]) -> Finding:
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
    method = "confusions" if belief.probabilities is None else "confusions and probe"
    return Finding(outcome, classes[best], float(row[best]), {"method": method, "model": model, **reasons})
