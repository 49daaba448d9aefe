"""Strategies replayed on images whose labels are known: how accurate the probe would have been after how many."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sampling import head
from sampling.head import Views
from sampling.situation import Situation, Strategy
from store.arrays import Floats, Ints
from store.errors import InvalidInputError

_TEST_SHARE = 1 / 3  # of the images, kept from every strategy to measure on
_MOST_TESTED = 3000


@dataclass(frozen=True)
class Curve:
    """How one strategy did; every seed has test images of its own, the same for all strategies."""

    strategy: str
    budgets: list[int]  # labels, ascending
    runs: Floats  # (S, B) accuracies on the test images, by seed

    @property
    def accuracy(self) -> Floats:
        """The mean over seeds `(B,)`."""
        return np.asarray(self.runs.mean(axis=0))

    @property
    def standard_error(self) -> Floats:
        """Of the mean `(B,)`; 0 for a single seed."""
        seeds = len(self.runs)
        spread = self.runs.std(axis=0, ddof=1) if seeds > 1 else np.zeros(self.runs.shape[1])
        return np.asarray(spread / seeds**0.5)


def simulate(
    views: Views,
    targets: Ints,
    tied: Ints,
    *,
    strategies: Mapping[str, Strategy],
    budgets: Sequence[int],
    seeds: int,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Curve]:
    """Label round by round what each strategy chooses, and train the probe after each.

    Args:
        views: Of `(N,)` images.
        targets: Their classes `(N,)`, from 0.
        tied: The component of each `(N,)`: what is tied is never both chosen and tested on.
        strategies: By name.
        budgets: Labels after each round, ascending.
        seeds: How many times all is repeated, each with another test set.
        on_progress: Told (done, total) rounds.

    Raises:
        InvalidInputError: there are fewer than two classes, or fewer images to choose from than the largest budget.
    """
    problem = _Problem(views, targets, tied, classes=int(targets.max(initial=0)) + 1)
    if len(np.unique(targets)) < 2:
        raise InvalidInputError(f"These {len(targets)} labels are all of one class: there is nothing to learn.")
    total, done = len(strategies) * seeds * len(budgets), 0
    runs: dict[str, list[list[float]]] = {name: [] for name in strategies}
    for seed in range(seeds):
        pool, test = _parts(tied, seed)
        if len(pool) < max(budgets):
            raise InvalidInputError(
                f"A third of the {len(targets)} labelled images is kept for the test: {len(pool)} are left to choose "
                f"from, fewer than the budget {max(budgets)}. Give smaller --budgets, or more labels."
            )
        for name, strategy in strategies.items():
            runs[name].append([])
            for accuracy in _rounds(problem, pool, test, strategy, budgets, seed=seed):
                runs[name][-1].append(accuracy)
                done += 1
                on_progress(done, total)
    return [Curve(name, list(budgets), np.array(rows)) for name, rows in runs.items()]


def labels_needed(curve: Curve, accuracy: float) -> float | None:
    """After how many labels a strategy has reached `accuracy` for good, on a line between budgets; None if never."""
    below = np.flatnonzero(curve.accuracy < accuracy)
    if len(below) == 0:
        return float(curve.budgets[0])
    last = int(below[-1])
    if last == len(curve.budgets) - 1:
        return None
    low, high = curve.accuracy[last : last + 2]
    share = (accuracy - low) / (high - low)
    return float(curve.budgets[last] + share * (curve.budgets[last + 1] - curve.budgets[last]))


def area(curve: Curve) -> float:
    """The mean accuracy over budgets, weighted by the labels between them (trapezoids)."""
    widths = np.diff(curve.budgets)
    heights = (curve.accuracy[1:] + curve.accuracy[:-1]) / 2
    return float((widths * heights).sum() / widths.sum()) if len(widths) else float(curve.accuracy[0])


def _parts(tied: Ints, seed: int) -> tuple[Ints, Ints]:
    """Positions to choose from and to test on, ascending; whole components on one side."""
    _, component = np.unique(tied, return_inverse=True)
    order = np.random.default_rng(seed).permutation(component.max() + 1)
    sizes = np.bincount(component)[order]
    wanted = min(_MOST_TESTED, int(len(tied) * _TEST_SHARE))
    tested, room = [], wanted
    for one, size in zip(order.tolist(), sizes.tolist(), strict=True):
        if size <= room:
            tested.append(one)
            room -= size
    if 2 * room > wanted:
        raise InvalidInputError(
            f"The {len(tied)} labelled images are duplicates or scenes of {len(sizes)} kinds, the largest of "
            f"{sizes.max()}: a third cannot be kept for the test. Label images of more scenes."
        )
    is_test = np.isin(component, tested)
    return np.flatnonzero(~is_test), np.flatnonzero(is_test)


@dataclass(frozen=True)
class _Problem:
    """Images with their classes; see `simulate`."""

    views: Views
    targets: Ints
    tied: Ints
    classes: int


def _rounds(
    problem: _Problem, pool: Ints, test: Ints, strategy: Strategy, budgets: Sequence[int], *, seed: int
) -> Iterator[float]:
    """The accuracy after each budget."""
    views, targets, tied, classes = problem.views, problem.targets, problem.tied, problem.classes
    offered = Views(views.plain[pool], views.smooth[pool])
    labelled: Ints = np.empty(0, dtype=np.int64)
    settings, probabilities = head.DEFAULT, None
    for budget in budgets:
        candidates = np.setdiff1d(np.arange(len(pool)), labelled)
        situation = Situation(offered, settings, labelled, candidates, probabilities, classes=classes)
        labelled = np.concatenate([labelled, strategy(situation, budget - len(labelled), seed)])
        known, answers = pool[labelled], targets[pool[labelled]]
        if len(np.unique(answers)) < 2:
            yield float((targets[test] == answers[0]).mean())
            continue
        settings = head.choose_settings(views, known, answers, tied[known], classes=classes)
        everything = head.probabilities(views, known, answers, classes=classes, settings=settings)
        probabilities = everything[pool]
        yield float((everything[test].argmax(axis=1) == targets[test]).mean())
