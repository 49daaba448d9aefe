"""Winnow's consensus beside crowd-kit's: speed on a large simulated crowd, then who is right where answers are few.

The speed is that of 100,000 items × 3 answers by 50 people in 10 classes (a tenth if small), CPU seconds of one thread.
The real crowds, 108 pictures of ducks by 39 people and 807 of dogs by 109 (where ../shared/data is), are measured with
all their answers and with the first 1, 2, 3 and 5 to each item, in an order drawn anew for each of ten seeds; so are
small simulated crowds. `gain` is what a method is right more often than the majority with the same answers, ± its
standard error over the seeds; a method that loses stays in the table.
"""

import csv
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import peers, report
from store.arrays import Ints

_SHARED = Path(__file__).parents[2] / "shared" / "data"
_SCRIPT = Path(__file__).with_name("peer_consensus.py")
_SEEDS = 10
_REPEATS = 5  # of which the median CPU time counts
_OURS = ("majority", "weighted majority", "one-coin Dawid-Skene", "Dawid-Skene", "GLAD", "posterior")
_CROWD_KIT = (
    "MajorityVote",
    "DawidSkene",
    "OneCoinDawidSkene",
    "GLAD",
    "MACE",
    "Wawa",
    "ZeroBasedSkill",
    "MMSR",
    "KOS",
)
_HEADINGS = ("crowd", "answers", "method", "right", "gain", "±", "CPU s", "× Winnow's")


@dataclass(frozen=True)
class Crowd:
    """Answers and what is true."""

    answers: Ints  # (M, 3), see qa.consensus
    truth: Ints  # (N,) -1 where not known
    annotators: int
    classes: int

    def save(self, path: Path) -> str:
        """As the scripts of peers read it."""
        np.savez(path, answers=self.answers, items=len(self.truth), annotators=self.annotators, classes=self.classes)
        return f"{path}.npz"

    def first(self, count: int, *, seed: int) -> "Crowd":
        """The first `count` answers to each item, in an order drawn at random."""
        shuffled = np.random.default_rng(seed).permutation(self.answers)
        by_item = shuffled[np.argsort(shuffled[:, 0], kind="stable")]
        _, start, lengths = np.unique(by_item[:, 0], return_index=True, return_counts=True)
        turn = np.arange(len(by_item)) - np.repeat(start, lengths)
        return Crowd(by_item[turn < count], self.truth, self.annotators, self.classes)


def main() -> None:
    """Speed, the real crowds whole, then few answers."""
    small = report.scale() == "small"
    rows: list[tuple[Any, ...]] = []
    with tempfile.TemporaryDirectory() as scratch:
        rows += speed(Path(scratch), 10_000 if small else 100_000)
        for name, crowd in real().items():
            rows += whole(Path(scratch), name, crowd)
        rows += sparse(Path(scratch))
    report.tell("consensus", ["numpy", "scipy"], _HEADINGS, rows, of_peers=("crowd-kit",), environment="crowds")


def speed(scratch: Path, items: int) -> list[tuple[Any, ...]]:
    """Dawid-Skene and the majority, ours and crowd-kit's."""
    crowd = simulated(items, annotators=50, classes=10, overlap=3, seed=0)
    path, rows = crowd.save(scratch / "large"), []
    asked = [("winnow", name) for name in ("Dawid-Skene", "one-coin Dawid-Skene", "posterior")]
    base = None
    for function, method in [*asked, ("crowd_kit", "DawidSkene"), ("crowd_kit", "OneCoinDawidSkene")]:
        runs = [_run(function, path, method) for _ in range(_REPEATS)]
        cpu_seconds = statistics.median(run.cpu_seconds for run in runs)
        base = base or cpu_seconds
        right = _right(crowd, np.array(runs[0].result))
        rows.append(
            (
                f"{items:,} simulated",
                3,
                _named(function, method),
                right,
                None,
                None,
                cpu_seconds,
                cpu_seconds / base,
            )
        )
        print(*rows[-1], flush=True)
    return rows


def whole(scratch: Path, name: str, crowd: Crowd) -> list[tuple[Any, ...]]:
    """Every method on all answers of a real crowd; some cannot do more than two classes."""
    path, rows = crowd.save(scratch / name), []
    majority = _right(crowd, np.array(_run("winnow", path, "majority").result))
    for function, method in [*(("winnow", one) for one in _OURS), *(("crowd_kit", one) for one in _CROWD_KIT)]:
        if method == "KOS" and crowd.classes > 2:
            continue
        run = _run(function, path, method)
        right = _right(crowd, np.array(run.result))
        rows.append((name, "all", _named(function, method), right, right - majority, None, run.cpu_seconds, None))
        print(*rows[-1], flush=True)
    return rows


def sparse(scratch: Path) -> list[tuple[Any, ...]]:
    """Few answers to each item, ten times; all seeds of a method in one process."""
    crowds = {
        (name, count): [crowd.first(count, seed=seed) for seed in range(_SEEDS)]
        for name, crowd in real().items()
        for count in (1, 2, 3, 5)
    }
    for items, annotators, classes, overlap in ((300, 20, 4, 2), (300, 20, 4, 3), (100, 50, 5, 3), (100, 30, 2, 3)):
        crowds[f"{items} simulated, {annotators} people, {classes} classes", overlap] = [
            simulated(items, annotators=annotators, classes=classes, overlap=overlap, seed=seed)
            for seed in range(_SEEDS)
        ]
    rows = []
    for (name, count), drawn in crowds.items():
        paths = [crowd.save(scratch / f"{name}-{count}-{seed}") for seed, crowd in enumerate(drawn)]
        rights: dict[str, Any] = {}
        for function, methods in (("winnow", _OURS), ("crowd_kit", ("DawidSkene", "OneCoinDawidSkene", "GLAD"))):
            found = _run(f"{function}_each", paths, methods).result
            for method, results in found.items():
                rights[_named(function, method)] = np.array(
                    [_right(crowd, np.array(one)) for crowd, one in zip(drawn, results, strict=True)]
                )
        for method, right in rights.items():
            gain = right - rights["majority"]
            rows.append(
                (name, count, method, right.mean(), gain.mean(), gain.std(ddof=1) / len(gain) ** 0.5, None, None)
            )
            print(*rows[-1], flush=True)
    return rows


def simulated(items: int, *, annotators: int, classes: int, overlap: int, seed: int) -> Crowd:
    """People who are right in 50 to 95 % of cases, and else say anything; each item shown to `overlap` of them."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, classes, items)
    accuracy = generator.uniform(0.5, 0.95, annotators)
    people = generator.random((items, annotators)).argpartition(overlap, axis=1)[:, :overlap]
    right = generator.random(people.shape) < accuracy[people]
    wrong = (truth[:, None] + generator.integers(1, classes, people.shape)) % classes
    said = np.where(right, truth[:, None], wrong)
    answers = np.stack([np.repeat(np.arange(items), overlap), people.ravel(), said.ravel()], axis=1)
    return Crowd(answers, truth, annotators, classes)


def real() -> dict[str, Crowd]:
    """The crowds that are on this machine."""
    return {name: _read(name) for name in ("duck", "dog") if (_SHARED / f"crowd-{name}-answer.csv").exists()}


def _read(name: str) -> Crowd:
    with (_SHARED / f"crowd-{name}-answer.csv").open() as file:
        said = [(row["question"], row["worker"], row["answer"]) for row in csv.DictReader(file)]
    with (_SHARED / f"crowd-{name}-truth.csv").open() as file:
        true = {row["question"]: row["truth"] for row in csv.DictReader(file)}
    named = [sorted(set(column)) for column in zip(*said, strict=True)]
    item, annotator, number = ({value: i for i, value in enumerate(values)} for values in named)
    return Crowd(
        np.array([(item[question], annotator[worker], number[answer]) for question, worker, answer in said]),
        np.array([number[true[question]] if question in true else -1 for question in named[0]]),
        len(annotator),
        len(number),
    )


def _run(function: str, problem: Any, method: Any) -> peers.Run:
    python = peers.OURS if function.startswith("winnow") else peers.python("crowds")
    return peers.run(_SCRIPT, function, in_python=python, problem=problem, method=method)


def _right(crowd: Crowd, found: Ints) -> float:
    known = crowd.truth >= 0
    return float((found == crowd.truth)[known].mean())


def _named(function: str, method: str) -> str:
    return method if function == "winnow" else f"crowd-kit {method}"


if __name__ == "__main__":
    main()
