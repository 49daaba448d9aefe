"""Aggregation by us and by others, for benchmarks.consensus and benchmarks.adaptive_overlap: run by benchmarks.peers.

Each is a generator as benchmarks.peers asks for. Problems are .npz files with `answers` `(M, 3)`, rows of item,
annotator and class, the answers to one item in the order in which people were asked.
"""

import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

_ROUNDS = 4  # of ActiveLab: as many as those in which our policy asks nearly all its questions
_AUDITED = 0.02  # images that everybody answers at first, as with our policy: cleanlab has to know every annotator


def winnow(problem: str, method: str) -> Iterator[Any]:
    """The classes by one of our algorithms."""
    held = dict(np.load(problem))
    fit = _ours(method)
    yield
    yield fit(held)


def winnow_each(problem: list[str], method: list[str]) -> Iterator[Any]:
    """The classes of several problems by several of our algorithms."""
    yield
    yield {one: [_ours(one)(np.load(path)) for path in problem] for one in method}


def crowd_kit(problem: str, method: str) -> Iterator[Any]:
    """The classes by one of crowd-kit's algorithms."""
    held = np.load(problem)
    fit, frame = _theirs(method), _frame(held["answers"])
    yield
    yield fit(frame, int(held["items"]))


def crowd_kit_each(problem: list[str], method: list[str]) -> Iterator[Any]:
    """The classes of several problems by several of crowd-kit's algorithms."""
    yield
    held = [np.load(path) for path in problem]
    yield {one: [_theirs(one)(_frame(each["answers"]), int(each["items"])) for each in held] for one in method}


def _ours(method: str) -> Any:
    """A function of a problem; what it needs is imported."""
    import scipy.optimize
    import scipy.sparse
    import scipy.special  # noqa: F401

    from qa.consensus import belief, dawid_skene, glad, majority, posterior

    fits: dict[str, Any] = {
        "majority": majority.fit,
        "weighted majority": majority.fit_weighted,
        "one-coin Dawid-Skene": dawid_skene.fit_one_coin,
        "Dawid-Skene": dawid_skene.fit,
        "GLAD": glad.fit,
        "posterior": posterior.fit,
    }

    def fit(held: Any) -> list[int]:
        known, people = np.full(int(held["items"]), -1), {one: int(held[one]) for one in ("annotators", "classes")}
        likeliest = belief.likeliest(fits[method](held["answers"], known, **people).posteriors)
        # of equals one is drawn: their order is that of the alphabet, which may know more than the crowd
        tied = likeliest.sum(axis=1) > 1
        found = likeliest.argmax(axis=1)
        found[tied] = (likeliest[tied] * np.random.default_rng(0).random(likeliest[tied].shape)).argmax(axis=1)
        return found.tolist()  # type: ignore[no-any-return]

    return fit


def _theirs(method: str) -> Any:
    """A function of a table and how many items there are."""
    warnings.filterwarnings("ignore")
    from crowdkit import aggregation

    def fit(frame: Any, items: int) -> list[int]:
        labels = getattr(aggregation, method)().fit_predict(frame)
        placed = np.full(items, -1)
        placed[labels.index] = labels.to_numpy()
        return placed.tolist()

    return fit


def at_equal_cost(problem: str, root: str) -> Iterator[Any]:
    """crowd-kit's and cleanlab's methods, seed by seed, with as many answers as ours: `[answers, right, ece]` each.

    Aggregators get the first answer to everything and the rest to images at random; ActiveLab chooses them. cleanlab is
    given the same probe as ours, trained out of fold on its own consensus.
    """
    sys.path.insert(0, root)
    warnings.filterwarnings("ignore")
    from crowdkit.aggregation import GLAD, DawidSkene, MajorityVote

    held = np.load(problem)
    yield
    found: dict[str, list[Any]] = {}
    for seed, (votes, budget) in enumerate(zip(held["votes"], held["budgets"], strict=True)):
        lab = _CleanLab(held, votes, seed)
        asked = _at_random(votes, int(budget), seed)
        frame = _frame(_rows(votes, asked))
        for name, method in (("majority", MajorityVote()), ("Dawid-Skene", DawidSkene()), ("GLAD", GLAD())):
            method.fit(frame)
            chances = method.probas_.sort_index()
            found.setdefault(f"crowd-kit {name}", []).append(
                _told(asked, chances.columns.to_numpy()[chances.to_numpy().argmax(1)], chances.max(axis=1), held)
            )
        found.setdefault("cleanlab CROWDLAB", []).append(_told(asked, *lab.consensus(asked), held))
        asked = lab.active(int(budget))
        found.setdefault("cleanlab ActiveLab", []).append(_told(asked, *lab.consensus(asked), held))
    yield found


class _CleanLab:
    """cleanlab on the votes `(N, 3)` of one seed, with the probe."""

    def __init__(self, held: Any, votes: Any, seed: int) -> None:
        from sampling.head import Views

        self._votes, self._seed = votes, seed
        self._views, self._classes = Views(held["plain"], held["smooth"]), int(held["classes"])

    def consensus(self, asked: Any) -> Any:
        """Classes and confidence, both `(N,)`, after the answers where `asked` `(N, 3)` is true."""
        from cleanlab.multiannotator import get_label_quality_multiannotator

        found = get_label_quality_multiannotator(
            self._labels(asked), self._probe(asked), consensus_method="best_quality", verbose=False
        )["label_quality"]
        return found["consensus_label"].to_numpy(), found["consensus_quality_score"].to_numpy()

    def active(self, budget: int) -> Any:
        """Which answers `(N, 3)` ActiveLab asks for: one of everything, then those of the lowest score."""
        from cleanlab.multiannotator import get_active_learning_scores

        asked = np.zeros(self._votes.shape, dtype=bool)
        asked[:, 0] = True
        asked[np.random.default_rng(self._seed).random(len(asked)) < _AUDITED] = True
        for turn in range(_ROUNDS):
            scores, _ = get_active_learning_scores(self._labels(asked), self._probe(asked))
            left = (budget - asked.sum()) // (_ROUNDS - turn)
            open_ = np.flatnonzero(~asked.all(axis=1))
            chosen = open_[np.argsort(scores[open_], kind="stable")[:left]]
            asked[chosen, asked[chosen].sum(axis=1)] = True
        return asked

    def _labels(self, asked: Any) -> Any:
        import pandas

        return pandas.DataFrame(np.where(asked, self._votes, np.nan))

    def _probe(self, asked: Any) -> Any:
        """The probe out of fold on the consensus before; at first on the majority, as cleanlab's manual has it."""
        from cleanlab.multiannotator import get_label_quality_multiannotator, get_majority_vote_label

        from qa.consensus import probed

        folds = np.random.default_rng(self._seed).permutation(len(asked)) % 5
        label = get_majority_vote_label(self._labels(asked), verbose=False)
        for turn in range(2):
            targets = np.eye(self._classes)[np.asarray(label, dtype=int)]
            chances = probed.out_of_fold(self._views, targets, np.ones(len(asked), dtype=bool), folds)
            if turn == 0:
                label = get_label_quality_multiannotator(self._labels(asked), chances, verbose=False)["label_quality"][
                    "consensus_label"
                ]
        return chances


def _at_random(votes: Any, budget: int, seed: int) -> Any:
    """Which answers `(N, 3)` are asked for: every first one, and others of images at random."""
    asked = np.zeros(votes.shape, dtype=bool)
    asked[:, 0] = True
    extra = np.random.default_rng([seed, 1]).permutation(np.repeat(np.arange(len(votes)), votes.shape[1] - 1))
    for item in extra[: budget - len(votes)]:
        asked[item, asked[item].sum()] = True
    return asked


def _rows(votes: Any, asked: Any) -> Any:
    item, annotator = np.nonzero(asked)
    return np.stack([item, annotator, votes[item, annotator]], axis=1)


def _told(asked: Any, classes: Any, confidence: Any, held: Any) -> list[float]:
    from sampling.calibration import reliability

    right = np.asarray(classes) == held["truth"]
    of_one = np.asarray(confidence, dtype=float)[:, None]
    return [float(asked.sum() / len(asked)), float(right.mean()), reliability(of_one, np.where(right, 0, 1)).ece]


def _frame(answers: Any) -> Any:
    import pandas

    return pandas.DataFrame(answers, columns=["task", "worker", "label"])
