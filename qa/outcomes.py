"""What becomes of each item of a campaign: what it is believed to be, and whether that is accepted or asked about.

A campaign of a fixed overlap accepts from a posterior on, when all the answers it wants are there. An adaptive one asks
again where that is worth its price (`qa.overlap`); who is still to come counts as somebody like everybody. Neither
knows what kind of items these are: `qa.one_class` and `qa.contents` say how sure we are of them.
"""

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np

from curation import labels
from qa import contents, one_class, overlap
from qa.case import NEW, Belief, Case, Finding, Findings
from qa.overlap import Rules
from store.arrays import Bools, Ints

_BLOCK = 1 << 21  # pairs of task and annotator held at once

_Step: TypeAlias = tuple[str, dict[str, Any]]  # an outcome, and what is to be said of it beside the answers


def find(case: Case) -> Findings:
    """What the answers to the items of a campaign come to."""
    belief = believe(case)
    steps = _fixed(case, belief) if case.campaign.adaptive is None else _adaptive(case, belief)
    item_of = {task_id: item for item, task_id in enumerate(case.said.task_ids)}
    findings = {}
    for task_id, (outcome, reasons) in steps.items():
        item = item_of[task_id]
        value, why = belief.likeliest(item)
        findings[task_id] = Finding(outcome, value, float(belief.sure[item]), {**why, **reasons})
    accuracy = dict(zip(case.annotators, belief.accuracy.tolist(), strict=True))
    precision = belief.precision
    return Findings(
        findings,
        accuracy=accuracy,
        precision=None if precision is None else dict(zip(case.annotators, precision.tolist(), strict=True)),
        model=belief.model,
    )


def believe(case: Case) -> Belief:
    """What the items of all campaigns of the taxonomy are, by all that is said of them."""
    is_one_class = case.said.definition.kind == labels.CLASSIFICATION
    return one_class.believe(case) if is_one_class else contents.believe(case)


def may_ask(case: Case, *, most_answers: int) -> Bools:
    """`(T, A)`: whether an annotator of `case.annotators` may be asked about a task of `case.tasks`.

    Nobody is asked about an item that lies with an expert, or that as many have seen as may.
    """
    tasks = {task_id: i for i, task_id in enumerate(case.tasks)}
    people = {annotator_id: i for i, annotator_id in enumerate(case.annotators)}
    askable = [
        tasks[task_id]
        for task_id, looks in case.looks.items()
        if len(looks) < most_answers and task_id not in case.said.at_expert
    ]
    to_ask = [people[annotator_id] for annotator_id in case.people]
    if not all(case.looks.values()) or len({annotator_id for _, annotator_id in case.seen}) == 1:
        to_ask.append(
            people[NEW]
        )  # the campaign is under way, or one was faster than all colleagues: others may turn up
    may = np.zeros((len(tasks), len(people)), dtype=np.bool_)
    if not case.has_ended:
        may[np.ix_(askable, to_ask)] = True
    for task_id, annotator_id in case.seen:
        if annotator_id in people:
            may[tasks[task_id], people[annotator_id]] = False
    return may


def blocks(may: Bools) -> Iterator[Ints]:
    """`(K, 2)` int64 rows of task and annotator who may be asked, of so many tasks at once as is cheap to hold."""
    step = max(1, _BLOCK // may.shape[1])
    for start in range(0, len(may), step):
        yield np.argwhere(may[start : start + step]) + np.array([start, 0])


def places(case: Case) -> Ints:
    """`(T,)`: where each of `case.tasks` is among the items of the taxonomy."""
    return np.searchsorted(case.said.task_ids, case.tasks)


def _fixed(case: Case, belief: Belief) -> dict[int, _Step]:
    """An item with all its answers is accepted from a posterior on.

    Of what everybody skipped, people said nothing that could be believed.
    """
    sure = dict(zip(case.said.task_ids, belief.sure.tolist(), strict=True))
    steps: dict[int, _Step] = {}
    for task_id, looks in case.looks.items():
        if len(looks) < case.campaign.overlap or task_id in case.said.unsupported:
            steps[task_id] = ("another-opinion", {})
        else:
            is_answered = any(answer.value is not None for answer in looks)
            is_accepted = is_answered and sure[task_id] >= case.accept_at
            steps[task_id] = ("accepted" if is_accepted else "adjudication", {})
    return steps


def _adaptive(case: Case, belief: Belief) -> dict[int, _Step]:
    """What `qa.overlap` decides; what nobody has seen yet waits."""
    rules = Rules(**case.campaign.adaptive or {}, answer_cost=case.price or 1.0)
    item = places(case)
    may = may_ask(case, most_answers=rules.most_answers)
    decisions = overlap.decide(
        1 - belief.sure[item],
        np.array([_given(case, task_id) for task_id in case.tasks], dtype=np.int64),
        blocks(may),
        lambda pairs: belief.gain(np.column_stack([item[pairs[:, 0]], pairs[:, 1]])),
        rules=rules,
        seed=case.campaign.id,
    )
    tasks = {task_id: i for i, task_id in enumerate(case.tasks)}
    steps: dict[int, _Step] = {}
    for task_id, looks in case.looks.items():
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


def _given(case: Case, task_id: int) -> int:
    """How many answers an item that is decided has, without skips."""
    return sum(answer.value is not None for answer in case.looks.get(task_id, ()))
