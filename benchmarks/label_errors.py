"""How well wrong labels are found, beside cleanlab: CIFAR photos with one real person's answer as the label.

10,000 photos (CIFAR-10N, where ../shared/data is), default encoder; whose answer is the label changes with the seed,
and about 18 % are wrong. `AUROC` is of telling wrong labels from right ones; `wrong of first K` the share of the K most
suspect that are wrong; ± the standard deviation over seeds. cleanlab is given the probabilities that Winnow's probe
gave out of fold. `flagged` counts the labels that confident learning flags. Labels of several classes and of boxes come
first, as benchmarks.label_errors_of_contents tells.
"""

import tempfile
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks import adaptive_overlap, label_errors_of_contents, peers, report
from qa import suspicion
from qa.simulate import Recorded
from qa.suspicion import Doubt
from store.arrays import Bools, Floats, Ints

_SCRIPT = Path(__file__).with_name("peer_label_errors.py")
_FIRST = (100, 500, 1000)
_HEADINGS = ("method", "AUROC", "±", *(f"wrong of first {count}" for count in _FIRST), "flagged", "seeds")


def main() -> None:
    """The other kinds, then a row for each way to rank."""
    label_errors_of_contents.main()
    seeds = 3 if report.scale() == "small" else 10
    recorded = adaptive_overlap.votes()
    runs: dict[str, list[list[float]]] = {}
    flags: dict[str, list[int]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        paths, wrongs = [], []
        for seed in range(seeds):
            labels = adaptive_overlap.in_order(recorded, seed)[:, 0]
            probabilities, ours, flagged = of_winnow(recorded, labels)
            wrongs.append(labels != recorded.truth)
            for name, scores in ours.items():
                runs.setdefault(name, []).append(figures(scores, wrongs[-1]))
            flags.setdefault("Winnow: the probe", []).append(int(flagged.sum()))
            path = str(Path(scratch) / f"{seed}.npz")
            np.savez(path, labels=labels, probabilities=probabilities)
            paths.append(path)
            print(seed, {name: each[-1] for name, each in runs.items()}, flush=True)
        theirs = peers.run(_SCRIPT, "cleanlab", in_python=peers.python("crowds"), problem=paths).result
        for score in ("self_confidence", "normalized_margin"):
            name = f"cleanlab: {score}, same probabilities"
            runs[name] = [figures(np.array(one[score]), wrong) for one, wrong in zip(theirs, wrongs, strict=True)]
            flags[name] = [len(one["flagged"]) for one in theirs]
    rows = []
    for name, found in runs.items():
        means = np.mean(found, axis=0)
        spread = float(np.std([one[0] for one in found], ddof=1))
        count = float(np.mean(flags[name])) if name in flags else None
        rows.append((name, float(means[0]), spread, *map(float, means[1:]), count, seeds))
    report.tell("label-errors", ["scikit-learn", "numpy"], _HEADINGS, rows)


def of_winnow(recorded: Recorded, labels: Ints) -> tuple[Floats, dict[str, Floats], Bools]:
    """The probe's probabilities, suspicion by each source and by all, and what confident learning flags."""
    assert recorded.views is not None
    count = len(labels)
    apart = np.arange(count)
    probabilities = suspicion.out_of_fold(recorded.views, labels, apart, classes=recorded.classes)
    assert probabilities is not None
    model = suspicion.confident_learning(labels, probabilities)
    near = suspicion.of_neighbours(recorded.views.plain, labels, apart, classes=recorded.classes)
    no_copies = Doubt(np.zeros(count), labels)
    scores = {
        "Winnow": suspicion.combined(model, near, no_copies),
        "Winnow: the probe": model.score,
        "Winnow: neighbours": near.score,
    }
    return probabilities, scores, model.flagged


def figures(scores: Floats, wrong: Bools) -> list[float]:
    """AUROC, and the share of wrong ones among the first."""
    order = np.argsort(-scores, kind="stable")
    return [float(roc_auc_score(wrong, scores)), *(float(wrong[order[:count]].mean()) for count in _FIRST)]


if __name__ == "__main__":
    main()
