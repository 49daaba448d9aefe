"""Every command of qa on campaigns of several classes and of regions in which little was said, or nothing."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from sqlalchemy import update
from typer.testing import CliRunner

from api.cli.main import app
from labeling import vendors
from labeling.content import Content
from labeling.definitions import TaskKind
from labeling.geometry import Box, Keypoint, Mask, Polygon, Shape
from qa import agreement, annotators, content_report, lot_decisions, lot_opening, next_answers, shapes
from qa.lots import Terms
from store.errors import InvalidInputError
from store.schema import Annotation, Annotator
from store.workspace import Workspace
from tests.qa.test_contents import NAME, NOTHING, SIDE, Bench, chosen, drawn
from tests.qa.test_edges import ALL_THREE, OTHERS, TWO

SHAPES: dict[TaskKind, Shape] = {
    "boxes": Box(20, 30, 40, 40),
    "rotated-boxes": Box(60, 40, 50, 20, rotation=30),
    "polygons": Polygon(((20, 20), (90, 30), (80, 100), (25, 80))),
    "masks": Mask.of(np.pad(np.ones((60, 50), dtype=np.bool_), ((30, 110), (40, 110)))),
    "keypoints": Keypoint(77, 88),
}
KINDS: list[TaskKind] = ["multilabel", *SHAPES]


@dataclass(frozen=True)
class Edge:
    """A campaign of twelve items, what people say of each (none: that it holds nothing), and what comes of it."""

    said: dict[str, list[str | None]] = field(default_factory=dict)
    skipped: bool = False  # instead of what was said
    gone: tuple[str, ...] = ()  # from Label Studio
    outcome: str = "another-opinion"
    compared: int = 0  # items that two people said something of
    raw: float | None = None  # agreement on which of three classes are there
    alpha: float | None = None
    judged: int = 0  # of the answers of each: of two people nobody can tell who is right
    asked: tuple[int, int] = (0, 0)  # items that `qa next` would ask about again, and new ones


EDGES = {
    "nobody answered": Edge(asked=(0, 12)),
    "one annotator": Edge({"ann": ALL_THREE}, asked=(12, 0)),
    "everyone agrees": Edge(
        dict.fromkeys(("ann", "bob", "cay"), ALL_THREE), outcome="accepted", compared=12, raw=1, alpha=1, judged=12
    ),
    "everyone agrees that there is nothing": Edge(
        dict.fromkeys(("ann", "bob"), [None] * 12), outcome="accepted", compared=12, raw=1
    ),
    "nobody agrees": Edge(  # of 72 answers whether a class is there 24 say yes: 2 · 24 · 48 of 72 · 71 pairs differ
        {"ann": ALL_THREE, "bob": OTHERS},
        outcome="adjudication",
        compared=12,
        raw=1 / 3,
        alpha=1 - (2 / 3) / (48 / 71 * 2 / 3),
    ),
    "a class nobody saw": Edge(dict.fromkeys(("ann", "bob"), TWO), outcome="accepted", compared=12, raw=1, alpha=1),
    "all skipped": Edge(dict.fromkeys(("ann", "bob"), ALL_THREE), skipped=True, outcome="adjudication"),
    "an annotator deleted": Edge(
        dict.fromkeys(("ann", "bob"), ALL_THREE), gone=("bob",), outcome="accepted", compared=12, raw=1, alpha=1
    ),
}


def content(kind: TaskKind, name: str | None) -> Content:
    if kind == "multilabel":
        return chosen() if name is None else chosen(name)
    return NOTHING if name is None else drawn((SHAPES[kind], name))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("edge", EDGES.values(), ids=EDGES)
def test_every_command_says_what_there_is(workspace: Workspace, build: Any, kind: TaskKind, edge: Edge) -> None:
    bench = Bench(workspace, build, kind, items=12, overlap=2)
    bench.answer({who: [content(kind, name) for name in names] for who, names in edge.said.items()})
    with workspace.database.write() as session:
        session.execute(update(Annotator).where(Annotator.name.in_(edge.gone)).values(gone=True))
        if edge.skipped:
            session.execute(update(Annotation).values(skipped=True, answer=None))
    accepted = 12 if edge.outcome == "accepted" else 0
    reviewed = bench.review()
    assert (reviewed.outcomes, reviewed.new_labels) == ({edge.outcome: 12}, accepted)
    assert bench.review().new_verdicts == 0
    names = next(iter(edge.said.values()), [])
    for rank, name in enumerate(names[:accepted]):
        label, wanted = bench.label(rank), content(kind, name)
        assert label.choice == wanted.choice
        assert [region.classes for region in label.regions] == [region.classes for region in wanted.regions]
        places = ([region.shape for region in each.regions] for each in (label, wanted))
        assert np.diag(shapes.likeness(*places, diagonal=SIDE)) == pytest.approx(1)

    told = content_report.read(workspace, NAME)
    given = 0 if edge.skipped else 12 * len(edge.said)
    assert (told.items, told.accepted, told.answers) == (12, accepted, given)
    assert told.skips == (24 if edge.skipped else 0)
    assert len(told.disputed) == (12 if edge.outcome == "adjudication" and not edge.skipped else 0)
    if kind == "multilabel":
        assert told.drawn == []
        whole = told.agreement[0]
        assert whole.items == edge.compared
        assert whole.raw_agreement == (None if edge.raw is None else pytest.approx(edge.raw))
        assert whole.alpha == (None if edge.alpha is None else pytest.approx(edge.alpha))
    else:
        assert told.agreement == []
        drew = edge.compared * len(edge.said) * (len(edge.said) - 1) * (None not in names)
        whole_drawn = told.drawn[0]
        assert (whole_drawn.regions, whole_drawn.matched) == (drew, drew // 2)
        assert whole_drawn.f1 == ((1.0,) * len(agreement.REGION_THRESHOLDS) if drew else None)

    people = annotators.list_all(workspace)
    assert [(one.annotator, one.judged) for one in people] == [(who, edge.judged) for who in sorted(edge.said)]
    assert [one.accuracy is not None for one in people] == [edge.judged > 0] * len(people)
    assert not any(one.signs or one.suggestion for one in people)

    ranked = next_answers.rank(workspace, NAME, 100)
    assert (ranked.again, ranked.new) == edge.asked

    vendors.add(workspace, "auditors", url="http://127.0.0.1:2", token="env:NOTHING")
    whole_lot = Terms("single", sizes=(12,), accept=(0,))
    if accepted:
        lot = lot_opening.open_lot(workspace, NAME, auditor="auditors", terms=whole_lot)
        assert (lot.size, lot.drawn, lot_decisions.decide(workspace, lot.id).outcome) == (12, 12, "open")
    else:
        with pytest.raises(InvalidInputError, match="Nothing in 'campaign-1' was agreed on"):
            lot_opening.open_lot(workspace, NAME, auditor="auditors", terms=whole_lot)


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_batch_is_a_campaign_of_nothing(workspace: Workspace, build: Any, kind: TaskKind) -> None:
    bench = Bench(workspace, build, kind, items=0)
    reviewed = bench.review()
    assert (reviewed.items, reviewed.outcomes, reviewed.new_verdicts) == (0, {}, 0)
    told = content_report.read(workspace, NAME)
    assert (told.items, told.answers, told.annotators, told.disputed) == (0, 0, [], [])
    assert next_answers.rank(workspace, NAME, 10).items == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("people", [0, 1])
def test_a_report_of_next_to_nothing_is_written_and_shown(
    workspace: Workspace, build: Any, kind: TaskKind, people: int
) -> None:
    bench = Bench(workspace, build, kind, items=3)
    bench.answer({"ann": [content(kind, "cat")] * 3} if people else {})
    page = workspace.home / "report.html"
    done = CliRunner().invoke(app, ["--home", str(workspace.home), "qa", "report", NAME, "--html", str(page)])
    assert done.exit_code == 0, done.output
    assert f"{NAME}: 3 items under animals 1; 0 accepted" in done.output
    assert NAME in page.read_text()
