"""Replaying strategies: hand-checkable curves, honest test sets, and that a good strategy is seen to be good."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from api.cli.main import app
from sampling import recipes
from sampling.head import Views
from sampling.simulate import Curve, area, labels_needed, simulate
from sampling.situation import Situation
from sampling.strategies import with_cold_start
from store.arrays import Ints, Vectors
from store.errors import InvalidInputError
from store.workspace import Workspace


def heaps(count: int, each: int, *, spread: float, seed: int = 0) -> tuple[Vectors, Ints]:
    """Unit vectors around `count` axes, and which axis each is of."""
    generator = np.random.default_rng(seed)
    targets = np.repeat(np.arange(count), each)
    vectors = np.eye(count, 3 * count)[targets] + generator.normal(scale=spread, size=(count * each, 3 * count))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32), targets


def strategies(*names: str) -> dict[str, Any]:
    return {name: with_cold_start(recipes.parse({"budget": 1, "strategy": name}).strategy) for name in names}


def test_labels_needed_by_hand() -> None:
    curve = Curve("it", [10, 20, 40], np.array([[0.5, 0.7, 0.9], [0.7, 0.7, 0.9]]))
    assert curve.accuracy.tolist() == pytest.approx([0.6, 0.7, 0.9])
    assert curve.standard_error.tolist() == pytest.approx([0.1, 0, 0])
    assert labels_needed(curve, 0.65) == pytest.approx(15)
    assert labels_needed(curve, 0.8) == pytest.approx(30)
    assert labels_needed(curve, 0.1) == 10
    assert labels_needed(curve, 0.95) is None
    assert area(curve) == pytest.approx((10 * 0.65 + 20 * 0.8) / 30)


def test_a_curve_that_falls_back_has_not_reached_it_yet() -> None:
    curve = Curve("it", [10, 20, 30], np.array([[0.8, 0.6, 0.9]]))
    assert labels_needed(curve, 0.75) == pytest.approx(25)


def test_nothing_that_is_tied_is_both_chosen_and_tested_on_and_nothing_is_chosen_twice() -> None:
    vectors, targets = heaps(3, 40, spread=0.2)
    tied = np.arange(120) // 4
    offered: list[set[bytes]] = []

    def watch(situation: Situation, k: int, seed: int) -> Ints:
        assert not set(situation.candidates.tolist()) & set(situation.labelled.tolist())
        offered.append({row.tobytes() for row in situation.views.plain})
        return situation.candidates[:k]

    simulate(Views(vectors, vectors), targets, tied, strategies={"it": watch}, budgets=[6, 12], seeds=3)
    assert len({frozenset(one) for one in offered}) == 3  # one pool a seed
    for pool in offered:
        inside = np.array([row.tobytes() in pool for row in vectors])
        assert all(len(set(inside[tied == one].tolist())) == 1 for one in np.unique(tied))
        assert 70 <= inside.sum() <= 84


def test_auto_finds_the_rare_classes_that_random_misses() -> None:
    """Two big heaps and four small ones: with 24 labels, ten seeds, auto knows all and random does not."""
    big, big_targets = heaps(6, 150, spread=0.12)
    kept = np.concatenate([np.arange(300), *(np.arange(start, start + 15) for start in range(300, 900, 150))])
    views = Views.of(lambda rows: big[kept[rows]], len(kept))
    curves = simulate(
        views,
        big_targets[kept],
        np.arange(len(kept)),
        strategies=strategies("auto", "random"),
        budgets=[12, 24],
        seeds=10,
    )
    auto, random = curves
    assert (auto.runs >= random.runs - 0.02).all()
    assert auto.accuracy[-1] > random.accuracy[-1] + 3 * random.standard_error[-1]


def test_the_same_seeds_give_the_same_curves() -> None:
    vectors, targets = heaps(3, 60, spread=0.3)
    first, again = (
        simulate(
            Views(vectors, vectors),
            targets,
            np.arange(180),
            strategies=strategies("auto", "random", "cluster-margin"),
            budgets=[8, 30],
            seeds=2,
        )
        for _ in range(2)
    )
    assert all((one.runs == other.runs).all() for one, other in zip(first, again, strict=True))


def test_too_large_a_budget_and_a_single_class_are_sentences() -> None:
    vectors, targets = heaps(2, 15, spread=0.2)
    views = Views(vectors, vectors)
    with pytest.raises(InvalidInputError, match="20 are left to choose from, fewer than the budget 25"):
        simulate(views, targets, np.arange(30), strategies=strategies("random"), budgets=[25], seeds=1)
    with pytest.raises(InvalidInputError, match="all of one class"):
        simulate(views, targets * 0, np.arange(30), strategies=strategies("random"), budgets=[5], seeds=1)


def run(workspace: Workspace, *arguments: str) -> Any:
    return CliRunner().invoke(app, ["--home", str(workspace.home), "batch", "simulate", *arguments])


@pytest.fixture
def labels(workspace: Workspace, build: Any, tmp_path: Path) -> Path:
    vectors, targets = heaps(2, 60, spread=0.3)
    build.vectors(build.images(120), vectors)
    path = tmp_path / "labels.csv"
    rows = [f"/photos/{i}.png,{('cat', 'dog')[target]}" for i, target in enumerate(targets)]
    path.write_text("\n".join(["uri,label", *rows, "/nowhere/else.png,cat"]) + "\n")
    return path


def test_the_command_prints_curves_and_draws_them(workspace: Workspace, labels: Path, tmp_path: Path) -> None:
    arguments = ["--labels", str(labels), "--budgets", "5,10,20", "--seeds", "3", "--strategy", "random"]
    arguments += ["--strategy", "auto", "--plot", str(tmp_path / "curves.png")]
    document = json.loads(run(workspace, *arguments, "--json").stdout)
    assert [curve["strategy"] for curve in document["curves"]] == ["random", "auto"]
    for curve in document["curves"]:
        assert (curve["budgets"], curve["seeds"]) == ([5, 10, 20], 3)
        assert len(curve["accuracy"]) == len(curve["standard_error"]) == 3
    assert document["unknown"] == ["/nowhere/else.png"]
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"
    told = run(workspace, *arguments)
    assert "120 images of 2 classes" in told.stdout
    assert "For what random reached with 20, auto needed" in told.stdout
    assert "1 uris are in no catalog" in told.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--budgets", "20,10"], "budgets have to be numbers of labels that rise"),
        (["--budgets", "a"], "--budgets a is not a list of numbers"),
        (["--strategy", "best"], "strategy"),
        (["--labels", "/nowhere.csv"], "There is no file /nowhere.csv"),
    ],
)
def test_what_cannot_be_replayed_is_a_sentence(
    workspace: Workspace, labels: Path, arguments: list[str], complaint: str
) -> None:
    done = run(workspace, "--labels", str(labels), *arguments)
    assert done.exit_code != 0
    assert complaint in str(done.exception or "") + done.output


def test_scenes_that_leave_no_test_are_refused() -> None:
    views, targets = Views(*[np.eye(30, dtype=np.float32)] * 2), np.arange(30) % 2
    with pytest.raises(InvalidInputError, match=r"scenes of 1 kinds, the largest of 30"):
        simulate(views, targets, np.zeros(30, dtype=np.int64), strategies=strategies("random"), budgets=[4], seeds=1)
    tied = np.where(np.arange(30) < 20, 0, np.arange(30))  # one large scene, whenever it is drawn, fits no test
    (curve,) = simulate(views, targets, tied, strategies=strategies("random"), budgets=[4], seeds=10)
    assert np.isfinite(curve.runs).all()
