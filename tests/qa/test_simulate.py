"""Policies replayed: that they ask whom they say, cost what they say, and that asking where it matters pays."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from api.cli.main import app
from qa import answer_files, backtest, simulate
from qa.overlap import Rules
from qa.simulate import ADAPTIVE, Recorded
from sampling.head import Views
from store.arrays import Ints, Vectors
from store.errors import InvalidInputError
from store.workspace import Workspace
from tests.qa.consensus.crowds import coins, crowd

RULES = Rules()


def heaps(items: int, *, seed: int, spread: float = 0.35) -> tuple[Vectors, Ints]:
    """Unit vectors around three axes, and which axis each is of."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 3, items)
    vectors = np.eye(3, 9)[truth] + generator.normal(scale=spread, size=(items, 9))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32), truth


def with_vectors(items: int = 900, *, spread: float = 0.35) -> Recorded:
    vectors, truth = heaps(items, seed=0, spread=spread)
    generator = np.random.default_rng(1)
    said = np.where(generator.random((items, 3)) < 0.8, truth[:, None], generator.integers(0, 3, (items, 3)))
    answers = np.stack([np.repeat(np.arange(items), 3), np.tile(np.arange(3), items), said.ravel()], axis=1)
    return Recorded(answers, truth, annotators=3, classes=3, views=Views.of(lambda rows: vectors[rows], items))


def test_fixed_overlaps_cost_what_they_say() -> None:
    answers, truth = crowd(0, coins([0.8] * 6, 3), items=200, overlap=5)
    recorded = Recorded(answers, truth, annotators=6, classes=3)
    found = {one.policy: one for one in simulate.simulate(recorded, rules=Rules(answer_cost=2), seeds=2)}
    assert found["majority of 2"].answers_per_item.tolist() == [2, 2]
    assert found["majority of all"].answers_per_item.tolist() == [5, 5]
    assert found["posterior of 3"].cost.tolist() == [6, 6]
    assert found["majority of 3"].ece is None
    assert found["majority of 3"].doubtful is None
    assert found["majority of 1"].accuracy is not None
    assert found["majority of 1"].accuracy[0] != found["majority of 1"].accuracy[1]  # other people each time
    assert 1 < found[ADAPTIVE].answers_per_item.mean() <= 3


@pytest.mark.parametrize("seed", range(10))
def test_ties_are_not_decided_by_the_order_of_the_classes(seed: int) -> None:
    """Two people are right in 80 %; most items are of one class. By numbers, a tie would be that class, or never."""
    generator = np.random.default_rng(seed)
    truth = (generator.random(400) < 0.9).astype(np.int64)
    said = np.where(generator.random((400, 2)) < 0.8, truth[:, None], 1 - truth[:, None])
    right = {}
    for swapped in (False, True):
        classes, answered = (1 - each if swapped else each for each in (truth, said))
        rows = np.stack([np.repeat(np.arange(400), 2), np.tile(np.arange(2), 400), answered.ravel()], axis=1)
        recorded = Recorded(rows, classes, annotators=2, classes=2)
        [found] = simulate.simulate(recorded, rules=RULES, seeds=1, policies={"two": simulate.majority_of(2)})
        assert found.accuracy is not None
        right[swapped] = found.accuracy[0]
    votes = (said == truth[:, None]).sum(axis=1)
    assert right[False] == right[True] == pytest.approx(np.mean([0, 0.5, 1.0] @ np.eye(3)[:, votes]))


def test_asking_where_it_matters_is_cheaper_than_asking_everywhere() -> None:
    policies = {ADAPTIVE: simulate.adaptive, "three": simulate.majority_of(3), "one": simulate.posterior_of(1)}
    adaptive, three, one = simulate.simulate(with_vectors(), rules=RULES, seeds=3, policies=policies)
    assert adaptive.accuracy is not None
    assert three.accuracy is not None
    assert one.accuracy is not None
    assert adaptive.accuracy.mean() > max(three.accuracy.mean(), one.accuracy.mean())
    assert adaptive.answers_per_item.mean() < 2
    assert adaptive.ece is not None
    assert adaptive.ece.mean() < 0.03


def test_a_lower_target_costs_more_and_is_more_often_right() -> None:
    recorded = with_vectors(spread=0.7)
    loose, strict = (
        simulate.simulate(recorded, rules=Rules(target_error=target), seeds=2, policies={ADAPTIVE: simulate.adaptive})[
            0
        ]
        for target in (0.1, 0.03)
    )
    assert loose.accuracy is not None
    assert strict.accuracy is not None
    assert strict.answers_per_item.mean() > loose.answers_per_item.mean()
    assert strict.accuracy.mean() > loose.accuracy.mean()
    assert 1 - loose.accuracy.mean() < 0.1
    assert 1 - strict.accuracy.mean() < 0.03 + 0.01


def test_what_goes_to_an_expert_costs_what_an_expert_does() -> None:
    """Three people contradict each other on every fourth item, and nothing else is known of these."""
    said = np.zeros((80, 3), dtype=np.int64)
    said[::4] = [0, 1, 2]
    rows = np.stack([np.repeat(np.arange(80), 3), np.tile(np.arange(3), 80), said.ravel()], axis=1)
    recorded = Recorded(rows, np.zeros(80, dtype=np.int64), annotators=3, classes=3)
    policies = {"three": simulate.majority_of(3), ADAPTIVE: simulate.adaptive}
    rules = Rules(target_error=0.01, audited=1.0, answer_cost=2)
    _, free = simulate.simulate(recorded, rules=rules, seeds=1, policies=policies)
    assert free.cost_with_experts is None
    priced = replace(rules, adjudication_cost=10.0)
    three, found = simulate.simulate(recorded, rules=priced, seeds=1, policies=policies)
    assert three.cost_with_experts == pytest.approx([6.0])
    assert found.cost_with_experts is not None
    assert found.doubtful == pytest.approx([0.25])
    assert found.cost_with_experts == pytest.approx(found.cost + 2.5)


def test_the_same_seeds_give_the_same_figures() -> None:
    answers, truth = crowd(2, coins([0.7] * 4, 3), items=80, overlap=3)
    recorded = Recorded(answers, truth, annotators=4, classes=3)
    first, again = (simulate.simulate(recorded, rules=RULES, seeds=2) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        assert one.accuracy == pytest.approx(other.accuracy)
        assert one.answers_per_item == pytest.approx(other.answers_per_item)


def test_more_people_and_classes_than_fit_are_a_sentence(workspace: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "wide.csv"
    file.write_text("item,annotator,label\n" + "".join(f"{i},p{i % 500},c{i % 400}\n" for i in range(2000)))
    with pytest.raises(InvalidInputError, match="500 people and 400 classes"):
        backtest.backtest(workspace, file, rules=Rules(), seeds=1)


def test_what_people_are_called_does_not_matter() -> None:
    """Of equals the first by name was asked: 2.3 answers an item where the best came first, 3.0 where the worst did."""
    random = np.random.default_rng(0)
    truth = random.integers(3, size=200)
    right = random.random((200, 5)) < (0.9, 0.85, 0.8, 0.7, 0.5)
    said = np.where(right, truth[:, None], (truth[:, None] + random.integers(1, 3, (200, 5))) % 3)
    item, person = np.divmod(np.arange(1000), 5)
    cost, accuracy = [], []
    for named in (person, 4 - person):
        recorded = Recorded(np.stack([item, named, said.ravel()], axis=1), truth, annotators=5, classes=3)
        policies = {simulate.ADAPTIVE: simulate.adaptive}
        [done] = simulate.simulate(recorded, rules=Rules(), seeds=10, policies=policies)
        cost.append(done.answers_per_item.mean())
        accuracy.append(done.accuracy.mean() if done.accuracy is not None else 0)
    assert cost[0] == pytest.approx(cost[1], abs=0.25)
    assert accuracy[0] == pytest.approx(accuracy[1], abs=0.04)


def test_without_truth_only_costs_are_told() -> None:
    answers, _ = crowd(2, coins([0.7] * 4, 3), items=80, overlap=3)
    recorded = Recorded(answers, np.full(80, -1), annotators=4, classes=3)
    assert all(one.accuracy is None and one.ece is None for one in simulate.simulate(recorded, rules=RULES, seeds=1))


def write(path: Path, header: str, rows: list[tuple[Any, ...]]) -> Path:
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def run(workspace: Workspace, *arguments: str) -> Any:
    return CliRunner().invoke(app, ["--home", str(workspace.home), "qa", "simulate", *arguments])


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    answers, truth = crowd(5, coins([0.85] * 5, 3), items=120, overlap=3)
    names = ("cat", "dog", "NA")
    said = [(f"{item:03}", f"p{annotator}", names[label]) for item, annotator, label in answers]
    return (
        write(tmp_path / "answers.csv", "question,worker,answer", said),
        write(
            tmp_path / "truth.csv", "question,truth", [(f"{item:03}", names[label]) for item, label in enumerate(truth)]
        ),
    )


def test_the_command(workspace: Workspace, files: tuple[Path, Path]) -> None:
    arguments = ["--answers", str(files[0]), "--truth", str(files[1]), "--seeds", "2"]
    document = json.loads(run(workspace, *arguments, "--json").stdout)
    assert (document["items"], document["known"], document["classes"]) == (120, 120, ["NA", "cat", "dog"])
    policies = {one["policy"]: one for one in document["policies"]}
    assert {"majority of 1", "majority of 3", "Dawid-Skene", "GLAD", "posterior of 2", "adaptive"} <= policies.keys()
    assert policies["majority of 3"]["ece"] is None
    assert policies["adaptive"]["cost"] == policies["adaptive"]["answers_per_item"]
    assert policies["majority of 1"]["accuracy"] == pytest.approx(0.85, abs=0.06)
    assert policies["adaptive"]["cost_with_experts"] is None
    told = run(workspace, *arguments).stdout
    assert "360 answers by 5 people to 120 items of 3 classes" in told
    assert "adaptive leaves " in told
    document = json.loads(run(workspace, *arguments, "--adjudication-cost", "8", "--json").stdout)
    adaptive = next(one for one in document["policies"] if one["policy"] == "adaptive")
    assert adaptive["cost_with_experts"] == pytest.approx(adaptive["cost"] + 8 * adaptive["doubtful"])


def test_the_command_with_the_model_of_somebody_and_with_the_probe(
    workspace: Workspace, build: Any, tmp_path: Path
) -> None:
    recorded = with_vectors(300)
    vectors, truth = heaps(300, seed=0)
    build.vectors(build.images(300), vectors)
    said = [(f"i{item}", person, f"c{label}", f"/photos/{item}.png") for item, person, label in recorded.answers]
    answers = write(tmp_path / "answers.csv", "item,annotator,label,uri", said)
    true = write(tmp_path / "truth.csv", "item,truth", [(f"i{item}", f"c{label}") for item, label in enumerate(truth)])
    model = tmp_path / "model.jsonl"
    chances = 0.97 * np.eye(3)[truth] + 0.01
    model.write_text(
        "\n".join(json.dumps({"item": f"i{item}", "probabilities": row.tolist()}) for item, row in enumerate(chances))
    )
    shared = ["--answers", str(answers), "--truth", str(true), "--seeds", "1", "--json"]
    probed = json.loads(run(workspace, *shared).stdout)
    assert probed["model"] == "probe on test"
    modelled = json.loads(run(workspace, *shared, "--predictions", str(model)).stdout)
    assert modelled["model"] == "model.jsonl"
    for document in (probed, modelled):
        policies = {one["policy"]: one for one in document["policies"]}
        assert policies["posterior of 1"]["accuracy"] > policies["majority of 1"]["accuracy"] + 0.03
    both = run(workspace, *shared, "--predictions", str(model), "--encoder", "test")
    assert both.exit_code != 0
    assert "not both" in str(both.exception) + both.output


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ("item,who,label\n1,a,x\n", "needs a column annotator or worker"),
        ("item,annotator,label\n1,a,x\n2,,y\n", "Row 2 of"),
        ("item,annotator,label\n1,a,x\n2,b,x\n", "names 1 classes in 2 answers"),
        ("item,annotator,label\n1,a,\n", "names 0 classes in 0 answers"),
        (
            "item,annotator,label\n" + "".join(f"{i},a,text {i}\n" for i in range(30)),
            "names 30 classes in 30 answers, too many to agree on: does label hold labels",
        ),
        ("", "it has: none"),
        ("item,annotator,label,label\n1,a,x,y\n", "has 2 columns called label: leave in the one that counts."),
        ("item,annotator,Label, label\n1,a,x,y\n", "has 2 columns called label: leave in the one that counts."),
        (f"item,annotator,label\n1,a,{'x' * 140_000}\n", "holds a value of more than 131,072 characters"),
    ],
)
def test_what_cannot_be_replayed_is_a_sentence(workspace: Workspace, tmp_path: Path, rows: str, complaint: str) -> None:
    path = tmp_path / "answers.csv"
    path.write_text(rows)
    done = run(workspace, "--answers", str(path))
    assert done.exit_code != 0
    assert complaint in str(done.exception or "") + done.output


def test_other_files_that_do_not_fit(workspace: Workspace, files: tuple[Path, Path], tmp_path: Path) -> None:
    def complaint(*arguments: str) -> str:
        done = run(workspace, "--answers", str(files[0]), *arguments)
        assert done.exit_code != 0
        return str(done.exception or "") + done.output

    elsewhere = write(tmp_path / "other.csv", "item,truth", [("x", "cat")])
    assert "None of the 120 items" in complaint("--truth", str(elsewhere))
    assert "There is no file" in complaint("--truth", str(tmp_path / "nothing.csv"))
    assert "needs a column uri" in complaint("--encoder", "test")
    few = tmp_path / "few.jsonl"
    few.write_text('{"item": "000", "probabilities": [1, 0, 0]}\n')
    assert "says nothing of 119 of 120 items, such as 001" in complaint("--predictions", str(few))
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text("\n".join(f'{{"item": "{item:03}", "probabilities": [1, 1, 0]}}' for item in range(120)))
    assert "sum to one" in complaint("--predictions", str(wrong))
    table = write(tmp_path / "table.csv", "item,probabilities", [("000", "x")])
    assert "is a CSV, whose cells hold no lists: write probabilities as .jsonl or .parquet" in complaint(
        "--predictions", str(table)
    )
    other = write(tmp_path / "others.csv", "item,truth", [("000", "0"), ("001", "1")])
    told = complaint("--truth", str(other))
    assert f"None of the 2 classes of {other}, such as '0', is among the 3 labels of {files[0]}, such as 'NA'" in told
    lists = tmp_path / "lists.jsonl"
    lists.write_text(
        '{"item": 1, "annotator": "a", "label": "x"}\n{"item": 1, "annotator": "b", "label": ["x", "y"]}\n'
    )
    told = str(run(workspace, "--answers", str(lists)).exception)
    assert "Row 2 of" in told
    assert "has more than one value as its label, ['x', 'y']" in told


def test_headings_are_read_whatever_their_capitals_and_empty_rows_are_nothing(
    workspace: Workspace, tmp_path: Path
) -> None:
    rows = [(1, "a", "x"), (2, "a", "y"), ("", "", ""), ("", " ", "", "")]
    path = write(tmp_path / "answers.csv", "Item, Annotator ,LABEL", rows)
    document = json.loads(run(workspace, "--answers", str(path), "--seeds", "1", "--json").stdout)
    assert (document["answers"], document["skipped"], document["classes"]) == (2, 0, ["x", "y"])
    path.write_text("Item, Annotator ,LABEL\n1,a,x\n,,\n2,,y\n")
    assert "Row 3 of" in str(run(workspace, "--answers", str(path)).exception)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_may_be_parted_as_spreadsheets_of_any_country_part_it(tmp_path: Path, delimiter: str) -> None:
    rows = [("item", "annotator", "label"), ("1", "ann", "a cat, or so"), ("1", "bob", "dog"), ("2", "ann", "dog")]
    with (tmp_path / "answers.csv").open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    assert answer_files.read(tmp_path / "answers.csv").classes == ["a cat, or so", "dog"]


def test_rows_of_truth_and_of_predictions_that_are_replaced_are_told(workspace: Workspace, tmp_path: Path) -> None:
    answers = write(tmp_path / "answers.csv", "item,annotator,label", [(1, "a", "x"), (2, "a", "y")])
    truth = write(tmp_path / "truth.csv", "item,truth", [(1, "y"), (1, "x"), (1, "x"), (2, "")])
    model = tmp_path / "model.jsonl"
    model.write_text("".join(f'{{"Item": {item}, "Probabilities": [0.5, 0.5]}}\n' for item in (1, 2, 2)))
    command = ("--answers", str(answers), "--truth", str(truth), "--predictions", str(model), "--seeds", "1")
    told = run(workspace, *command).stdout
    assert "2 rows of --truth were replaced by a later one of the same item." in told
    assert "1 rows of --predictions were replaced by a later one of the same item." in told
    document = json.loads(run(workspace, *command, "--json").stdout)
    assert (document["known"], document["repeated_truth"], document["repeated_predictions"]) == (1, 2, 1)


def test_a_later_answer_replaces_an_earlier_one_and_skips_are_counted(workspace: Workspace, tmp_path: Path) -> None:
    rows = [(1, "a", "x"), (1, "b", ""), (1, "a", "y"), (2, "a", "x")]
    path = write(tmp_path / "answers.csv", "item,annotator,label", rows)
    document = json.loads(run(workspace, "--answers", str(path), "--seeds", "1", "--json").stdout)
    assert (document["answers"], document["skipped"], document["repeated"]) == (2, 1, 1)
    assert {one["accuracy"] for one in document["policies"]} == {None}
