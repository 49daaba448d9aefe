"""Every command of qa on campaigns of little: one person, full agreement or none, an unseen class, nothing at all."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select, update

from labeling import vendors
from qa import annotators, label_errors, lot_decisions, lot_opening, next_answers, report, verdicts
from qa.lots import Terms
from qa.overlap import Rules
from qa.simulate import Outcome, Recorded, simulate
from store.errors import InvalidInputError, NotFoundError
from store.schema import Annotation, Annotator, Label, Task, Verdict
from store.workspace import Workspace
from tests.qa.consensus.crowds import coins, crowd

NAME = "campaign-1"
CLASSES = ("cat", "dog", "owl")
ALL_THREE, TWO, OTHERS = list(CLASSES) * 4, ["cat", "dog"] * 6, ["dog", "owl", "cat"] * 4


@dataclass(frozen=True)
class Edge:
    """A campaign of twelve items, and what comes of it: of two people nobody can tell who is right."""

    said: dict[str, list[str | None]] = field(default_factory=dict)
    skipped: bool = False  # instead of what was said
    gone: tuple[str, ...] = ()  # from Label Studio
    outcomes: dict[str, int] = field(default_factory=lambda: {"another-opinion": 12})
    raw: float | None = None
    alpha: float | None = None
    disputed: int = 0
    judged: int = 0  # of the answers of each
    enough: bool = False  # to say how often each is right
    asked: tuple[int, int] = (0, 0)  # items that `qa next` would ask about again, and new ones
    no_suspects: str | None = None  # why label errors cannot be looked for


NO_LABELS = "No image has a label yet"
EDGES = {
    "nobody answered": Edge(asked=(0, 12), no_suspects=NO_LABELS),
    "one annotator": Edge({"ann": ALL_THREE}, asked=(12, 0), no_suspects=NO_LABELS),
    "everyone agrees": Edge(
        {"ann": ALL_THREE, "bob": ALL_THREE, "cay": ALL_THREE},
        outcomes={"accepted": 12},
        raw=1,
        alpha=1,
        judged=12,
        enough=True,
    ),
    "everyone agrees on one class": Edge(
        {"ann": ["cat"] * 12, "bob": ["cat"] * 12},
        outcomes={"accepted": 12},
        raw=1,
        no_suspects="All 12 labels are 'cat'",
    ),
    "nobody agrees": Edge(  # 24 answers, 8 of a class: by chance 24 · 16 of 24 · 23 pairs differ
        {"ann": ALL_THREE, "bob": OTHERS},
        outcomes={"adjudication": 12},
        raw=0,
        alpha=1 - 23 / 16,
        disputed=12,
        no_suspects=NO_LABELS,
    ),
    "a class nobody saw": Edge({"ann": TWO, "bob": TWO}, outcomes={"accepted": 12}, raw=1, alpha=1),
    "all skipped": Edge(
        {"ann": ALL_THREE, "bob": ALL_THREE},
        skipped=True,
        outcomes={"adjudication": 12},
        no_suspects=NO_LABELS,
    ),
    "an annotator deleted": Edge(
        {"ann": ALL_THREE, "bob": ALL_THREE},
        gone=("bob",),
        outcomes={"accepted": 12},
        raw=1,
        alpha=1,
    ),
}


@pytest.fixture(params=EDGES)
def edge(request: pytest.FixtureRequest, workspace: Workspace, build: Any) -> Edge:
    found = EDGES[request.param]
    images = build.images(12)
    build.answers(build.campaign(build.batch(images), build.taxonomy(CLASSES)), found.said)
    kinds = [CLASSES.index(value or "") for value in next(iter(found.said.values()), ALL_THREE)]
    noise = np.random.default_rng(0).normal(scale=0.1, size=(12, 8))
    build.vectors(images, np.eye(8)[kinds] + noise)
    with workspace.database.write() as session:
        session.execute(update(Annotator).where(Annotator.name.in_(found.gone)).values(gone=True))
        if found.skipped:
            session.execute(update(Annotation).values(skipped=True, answer=None))
    return found


def test_every_command_says_what_there_is(workspace: Workspace, edge: Edge) -> None:
    reviewed = verdicts.review(workspace, NAME)
    accepted = edge.outcomes.get("accepted", 0)
    assert (reviewed.outcomes, reviewed.new_labels) == (edge.outcomes, accepted)
    assert verdicts.review(workspace, NAME).new_verdicts == 0

    told = report.report(workspace, NAME)
    given = 0 if edge.skipped else 12 * len(edge.said)
    assert (told.items, told.accepted, told.answers) == (12, accepted, given)
    assert told.skips == (24 if edge.skipped else 0)
    assert (told.raw_agreement, told.alpha) == (edge.raw, None if edge.alpha is None else pytest.approx(edge.alpha))
    assert len(told.disputed) == edge.disputed
    assert np.sum(told.confusion) == pytest.approx(edge.judged * len(edge.said))
    classes = {row.name: row for row in told.agreement if row.of == "class"}
    assert list(classes) == list(CLASSES)
    assert classes["owl"].items == sum("owl" in both for both in zip(*edge.said.values(), strict=True) if given)

    people = annotators.list_all(workspace)
    assert [one.annotator for one in people] == sorted(edge.said)
    assert [one.judged for one in people] == [edge.judged] * len(people)
    assert [one.accuracy is not None for one in people] == [edge.enough] * len(people)
    assert not any(one.signs or one.suggestion for one in people)
    for one in people:
        [full] = annotators.show(workspace, one.annotator)
        assert sum(part.answers for part in full.by_class) == edge.judged
        assert (full.per_hour, full.per_week, full.anchoring) == (None, None, None)

    ranked = next_answers.rank(workspace, NAME, 100)
    assert (ranked.again, ranked.new) == edge.asked


def test_label_errors_and_lots_take_what_was_agreed_on_or_say_that_there_is_nothing(
    workspace: Workspace, edge: Edge
) -> None:
    vendors.add(workspace, "auditors", url="http://127.0.0.1:2", token="env:NOTHING")
    accepted = verdicts.review(workspace, NAME).outcomes.get("accepted", 0)

    if edge.no_suspects is None:
        found = label_errors.scan(workspace)
        assert (found.labels, found.candidates, found.expected_wrong) == (accepted, 0, 0)
    else:
        with pytest.raises((NotFoundError, InvalidInputError), match=edge.no_suspects):
            label_errors.scan(workspace)

    whole = Terms("single", sizes=(12,), accept=(0,))
    if accepted:
        lot = lot_opening.open_lot(workspace, NAME, auditor="auditors", terms=whole)
        assert (lot.size, lot.drawn, lot.outcome) == (12, 12, "open")
        assert lot_decisions.decide(workspace, lot.id).outcome == "open"  # the auditor has said nothing yet
    else:
        with pytest.raises(InvalidInputError, match="Nothing in 'campaign-1' was agreed on"):
            lot_opening.open_lot(workspace, NAME, auditor="auditors", terms=whole)


def test_an_empty_batch_is_a_campaign_of_nothing(workspace: Workspace, build: Any) -> None:
    build.campaign(build.batch([]), build.taxonomy(CLASSES))
    reviewed = verdicts.review(workspace, NAME)
    assert (reviewed.items, reviewed.outcomes, reviewed.new_verdicts) == (0, {}, 0)
    told = report.report(workspace, NAME)
    assert (told.items, told.alpha, told.raw_agreement, told.cost_per_label, told.check) == (0, None, None, None, None)
    assert (told.annotators, told.disputed, told.confusions) == ([], [], [])
    assert annotators.list_all(workspace) == []
    assert next_answers.rank(workspace, NAME, 10).items == []
    with pytest.raises(NotFoundError, match=NO_LABELS):
        label_errors.scan(workspace)
    vendors.add(workspace, "auditors", url="http://127.0.0.1:2", token="env:NOTHING")
    with pytest.raises(InvalidInputError, match="Nothing in 'campaign-1' was agreed on"):
        lot_opening.open_lot(workspace, NAME, auditor="auditors")


def test_who_was_deleted_is_believed_and_not_asked(workspace: Workspace, build: Any) -> None:
    """Bob answered half before he was taken out of Label Studio: that is settled, and nobody is left for the rest."""
    campaign = build.campaign(build.batch(build.images(12)), build.taxonomy(CLASSES))
    build.answers(campaign, {"ann": ALL_THREE, "bob": [*ALL_THREE[:6], *[None] * 6]})
    assert verdicts.review(workspace, NAME).outcomes == {"accepted": 6, "another-opinion": 6}
    assert [item.ask for item in next_answers.rank(workspace, NAME, 100).items] == ["bob"] * 6
    with workspace.database.write() as session:
        session.execute(update(Annotator).where(Annotator.name == "bob").values(gone=True))
    assert verdicts.review(workspace, NAME).new_verdicts == 0
    assert next_answers.rank(workspace, NAME, 100).items == []
    with workspace.database.read() as session:
        of_campaign = select(Label.value).join(Verdict, Verdict.id == Label.verdict_id).join(Task)
        assert session.scalars(of_campaign.order_by(Task.rank)).all() == ALL_THREE[:6]
    assert [one.annotator for one in annotators.list_all(workspace)] == ["ann", "bob"]


def of_two(first: list[int], second: list[int]) -> Recorded:
    """Both answered everything; the truth is what the first says."""
    table = [(item, who, said[item]) for item in range(len(first)) for who, said in enumerate((first, second))]
    return Recorded(np.array(table), np.array(first), annotators=2, classes=3)


CYCLE = [0, 1, 2] * 8


@pytest.mark.parametrize(
    ("recorded", "right"),
    [
        (Recorded(crowd(0, coins([1.0], 3), items=24, overlap=1)[0], np.full(24, -1), annotators=1, classes=3), None),
        (of_two(CYCLE, CYCLE), 1.0),
        (of_two([0, 1] * 12, [0, 1] * 12), 1.0),  # a third class that nobody names
        (Recorded(of_two(CYCLE, CYCLE).answers, np.full(24, 2), annotators=2, classes=3), 1 / 3),
    ],
    ids=["one annotator", "everyone agrees", "a class nobody saw", "all of one class"],
)
def test_policies_replayed_on_little(recorded: Recorded, right: float | None) -> None:
    for outcome in simulate(recorded, rules=Rules(), seeds=1):
        assert 1 <= outcome.answers_per_item[0] <= recorded.annotators, outcome.policy
        assert (None if outcome.accuracy is None else outcome.accuracy.tolist()) == (None if right is None else [right])


def test_policies_replayed_where_nobody_agrees_leave_it_to_chance_and_experts() -> None:
    outcomes: dict[str, Outcome] = {
        one.policy: one for one in simulate(of_two(CYCLE, CYCLE[1:] + CYCLE[:1]), rules=Rules(), seeds=10)
    }
    assert outcomes["majority of 1"].accuracy == pytest.approx(np.full(10, 0.5), abs=0.35)
    adaptive = outcomes["adaptive"]
    assert adaptive.doubtful is not None
    assert adaptive.answers_per_item.tolist() == [2] * 10
    assert adaptive.doubtful.min() > 0.9
