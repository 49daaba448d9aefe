"""What adaptive overlap costs and how right it is, beside fixed overlaps and others' methods at equal cost.

10,000 CIFAR photos with three real people's answers each (CIFAR-10N, where ../shared/data is), default encoder. The
order of people and the folds change with the seed; the truth serves only to count what is right. ± is the standard
deviation over seeds. Others get as many answers as the adaptive policy of the default target took.
"""

import csv
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import peers, report
from benchmarks.label_efficiency import centred, cifar
from benchmarks.vectors import encoded
from qa import simulate
from qa.overlap import Rules
from qa.simulate import ADAPTIVE, Outcome, Recorded
from sampling.head import Views
from store.arrays import Ints

_VOTES = Path(__file__).parents[2] / "shared" / "data" / "cifar10-votes.csv"
_SCRIPT = Path(__file__).with_name("peer_consensus.py")
_PEOPLE = 3
_TARGETS = (Rules().target_error, 0.05)
_HEADINGS = ("policy", "answers per image", "right", "±", "ECE", "± ECE", "in doubt", "seeds")


def main() -> None:
    """A row for each policy, then for each peer."""
    if not _VOTES.exists():
        raise SystemExit(f"There are no votes at {_VOTES}.")
    seeds = 3 if report.scale() == "small" else 10
    recorded = votes()
    rows: list[tuple[Any, ...]] = []
    budgets: list[int] = []
    for target in _TARGETS:
        rules = Rules(target_error=target)
        policies = simulate.fitting(recorded, rules) if target == _TARGETS[0] else {ADAPTIVE: simulate.adaptive}
        for outcome in simulate.simulate(recorded, rules=rules, seeds=seeds, policies=policies):
            name = f"{ADAPTIVE}, target {target}" if outcome.policy == ADAPTIVE else outcome.policy
            rows.append(row(name, outcome))
            print(*rows[-1], flush=True)
            if outcome.policy == ADAPTIVE and not budgets:
                budgets = np.rint(outcome.answers_per_item * len(recorded.truth)).astype(int).tolist()
    for name, runs in of_peers(recorded, budgets).items():
        answers, right, ece = np.array(runs).T
        rows.append(row(name, Outcome(name, answers, answers, None, right, ece, None)))
    report.tell("adaptive-overlap", ["scikit-learn", "numpy"], _HEADINGS, rows)


def votes() -> Recorded:
    """The photos with everybody's answers."""
    with _VOTES.open() as file:
        told = sorted(csv.DictReader(file), key=lambda one: one["file"])
    classes = sorted({one["clean"] for one in told})
    number = {name: i for i, name in enumerate(classes)}
    answers = [
        (item, person, number[one[f"annotator_{person + 1}"]])
        for item, one in enumerate(told)
        for person in range(_PEOPLE)
    ]
    directions = centred(encoded(*cifar()[:2]))
    return Recorded(
        answers=np.array(answers),
        truth=np.array([number[one["clean"]] for one in told]),
        annotators=_PEOPLE,
        classes=len(classes),
        views=Views.of(lambda rows: directions[rows], len(directions)),
    )


def row(name: str, outcome: Outcome) -> tuple[Any, ...]:
    """Means over seeds."""
    assert outcome.accuracy is not None

    def mean(values: Any) -> float | None:
        return None if values is None else float(values.mean())

    spread = None if outcome.ece is None else float(outcome.ece.std(ddof=1))
    return (
        name,
        mean(outcome.answers_per_item),
        mean(outcome.accuracy),
        float(outcome.accuracy.std(ddof=1)),
        mean(outcome.ece),
        spread,
        mean(outcome.doubtful),
        len(outcome.accuracy),
    )


def of_peers(recorded: Recorded, budgets: list[int]) -> dict[str, Any]:
    """crowd-kit's and cleanlab's methods with the same people in the same order."""
    assert recorded.views is not None
    with tempfile.TemporaryDirectory() as scratch:
        path = str(Path(scratch) / "problem.npz")
        np.savez(
            path,
            plain=recorded.views.plain,
            smooth=recorded.views.smooth,
            truth=recorded.truth,
            classes=recorded.classes,
            votes=np.stack([in_order(recorded, seed) for seed in range(len(budgets))]),
            budgets=budgets,
        )
        root = str(Path(__file__).parents[1])
        python = peers.python("crowds")
        result: dict[str, Any] = peers.run(_SCRIPT, "at_equal_cost", in_python=python, problem=path, root=root).result
    return result


def in_order(recorded: Recorded, seed: int) -> Ints:
    """Answers `(N, 3)` in the order in which `qa.simulate` asks with this seed."""
    shuffled = np.random.default_rng(seed).permutation(recorded.answers)
    by_item = shuffled[np.argsort(shuffled[:, 0], kind="stable")]
    ordered: Ints = by_item[:, 2].reshape(-1, _PEOPLE)
    return ordered


if __name__ == "__main__":
    main()
