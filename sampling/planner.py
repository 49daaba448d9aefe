"""Choosing from a pool: a pure function of arrays, a recipe and its seed."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sampling import diversity, scores
from sampling.recipes import Recipe
from store.arrays import Floats, Ints, Vectors
from store.errors import InvalidInputError

_UNCERTAIN_FACTOR = 10  # uncertain picks come from the budget's tenfold most uncertain images


@dataclass(frozen=True)
class Slice:
    """A failure cluster that the batch may grow."""

    name: str
    lift: float
    members: Ints  # positions in the pool


@dataclass(frozen=True)
class Pool:
    """What may be chosen, ordered by sha256; arrays are aligned."""

    sha256s: list[str]
    image_ids: list[int]
    directions: Vectors  # (N, D) unit vectors
    reserved: Ints  # (N,) 1 for images of the val and test reserve, 0 for train
    probabilities: Floats | None  # (N, C)
    classes: list[str]
    labelled: Vectors  # (L, D) unit vectors of what is labelled or being labelled
    slices: list[Slice] = field(default_factory=list)


@dataclass(frozen=True)
class Choice:
    """One pick before it has a rank."""

    position: int
    arm: str
    score: float
    why: str


def choose(pool: Pool, recipe: Recipe) -> list[Choice]:
    """The picks of a recipe, arm by arm, best first in each.

    Raises:
        InvalidInputError: an arm has fewer images than it should choose, or needs predictions.
    """
    generator = np.random.default_rng(recipe.seed)
    strategy = recipe.strategy
    if strategy == "auto":
        strategy = "coverage" if pool.probabilities is None else "uncertainty"
    drawn = recipe.budget if strategy == "random" else max(1, round(recipe.budget * recipe.random_share))
    informed = recipe.budget - drawn
    reserve, rest = np.flatnonzero(pool.reserved), np.flatnonzero(pool.reserved == 0)
    if strategy == "random":
        reserve = np.arange(len(pool.sha256s))
    _check(len(reserve), drawn, "at random" + ("" if strategy == "random" else " from the val and test reserve"))
    _check(len(rest), informed, "for training")
    choices = []
    if informed and strategy == "coverage":
        choices = _cover(pool, rest, informed, recipe.seed)
    elif informed:
        if pool.probabilities is None:
            raise InvalidInputError(
                f"The strategy uncertainty needs predictions of {recipe.model!r}. "
                "Run: winnow predictions probe VERSION, or plan with --strategy coverage."
            )
        choices = _grow_slices(pool, rest, round(recipe.budget * recipe.slice_share))[:informed]
        taken = {choice.position for choice in choices}
        open_ = np.array([i for i in rest.tolist() if i not in taken], dtype=np.int64)
        choices += _question(pool, open_, informed - len(choices), recipe.seed)
    for position in generator.choice(reserve, size=drawn, replace=False).tolist():
        why = f"Drawn at random from {len(reserve)} images, so that accuracy measured on it is honest."
        choices.append(Choice(position, "random", 0.0, why))
    return choices


def rank(choices: Sequence[Choice]) -> list[Choice]:
    """All arms in proportion at every depth, so that a half-finished batch is a smaller batch of the same kind."""
    of_arm: dict[str, list[Choice]] = {}
    for choice in choices:
        of_arm.setdefault(choice.arm, []).append(choice)
    keyed = [
        ((i + 0.5) / len(members), arm, choice) for arm, members in of_arm.items() for i, choice in enumerate(members)
    ]
    return [choice for _, _, choice in sorted(keyed, key=lambda item: item[:2])]


def _check(available: int, wanted: int, what: str) -> None:
    if available < wanted:
        raise InvalidInputError(
            f"Pool exhausted {what}: {available} available / {wanted} requested. "
            "Ask for a smaller budget, or ingest more."
        )


def _cover(pool: Pool, candidates: Ints, k: int, seed: int) -> list[Choice]:
    """One typical image from each of as many clusters as there are labelled images and picks together."""
    if k == 0:
        return []
    together = np.concatenate([pool.labelled, pool.directions[candidates]])
    clusters = diversity.partition(together, len(pool.labelled) + k, seed=seed)
    covered = np.bincount(clusters.of_each[: len(pool.labelled)], minlength=len(clusters.sizes))
    of_candidates = diversity.Clusters(clusters.of_each[len(pool.labelled) :], clusters.sizes)
    typical = diversity.typicality(pool.directions[candidates], of_candidates)
    chosen = diversity.best_of_each(of_candidates, typical, k, avoid=covered)
    return [
        Choice(
            int(candidates[i]),
            "diverse",
            float(typical[i]),
            f"Typical of {clusters.sizes[clusters.of_each[len(pool.labelled) + i]]} images that look alike"
            f"{_nearest(pool, int(candidates[i]))}.",
        )
        for i in chosen.tolist()
    ]


def _question(pool: Pool, candidates: Ints, k: int, seed: int) -> list[Choice]:
    """The most uncertain image of each region among the most uncertain tenfold.

    Citovsky et al. 2021 (Cluster-Margin, arXiv 2107.14263), with k-means.
    """
    if k == 0 or pool.probabilities is None:
        return []
    uncertainty = scores.margin(pool.probabilities[candidates])
    top = np.lexsort((np.arange(len(candidates)), -uncertainty))[: k * _UNCERTAIN_FACTOR]
    clusters = diversity.partition(pool.directions[candidates[top]], k, seed=seed)
    chosen = diversity.best_of_each(clusters, uncertainty[top], k, avoid=np.zeros(len(clusters.sizes), dtype=np.int64))
    return [
        Choice(
            int(candidates[top[i]]),
            "uncertain",
            float(uncertainty[top[i]]),
            f"The model is torn between {_torn(pool, int(candidates[top[i]]))}; "
            f"stands for {clusters.sizes[clusters.of_each[i]]} such images{_nearest(pool, int(candidates[top[i]]))}.",
        )
        for i in chosen.tolist()
    ]


def _grow_slices(pool: Pool, candidates: Ints, k: int) -> list[Choice]:
    """The most uncertain images of each failure cluster, clusters in turn, the highest lift first."""
    allowed = set(candidates.tolist())
    uncertainty = np.zeros(len(pool.sha256s)) if pool.probabilities is None else scores.margin(pool.probabilities)
    queues = [
        (one, sorted((i for i in one.members.tolist() if i in allowed), key=lambda i: (-uncertainty[i], i)))
        for one in sorted(pool.slices, key=lambda one: (-one.lift, one.name))
    ]
    choices: list[Choice] = []
    taken: set[int] = set()
    for turn in range(max((len(queue) for _, queue in queues), default=0)):
        for one, queue in queues:
            if turn < len(queue) and queue[turn] not in taken and len(choices) < k:
                taken.add(queue[turn])
                why = f"In the failure cluster “{one.name}”, where the model fails {one.lift:.1f} times as often."
                choices.append(Choice(queue[turn], "slice", float(uncertainty[queue[turn]]), why))
    return choices


def _torn(pool: Pool, position: int) -> str:
    assert pool.probabilities is not None  # noqa: S101  the caller has looked
    first, second = np.argsort(-pool.probabilities[position], kind="stable")[:2].tolist()
    row = pool.probabilities[position]
    return f"{pool.classes[first]} ({row[first]:.2f}) and {pool.classes[second]} ({row[second]:.2f})"


def _nearest(pool: Pool, position: int) -> str:
    if len(pool.labelled) == 0:
        return "; nothing is labelled yet"
    return f"; the nearest labelled image has a cosine of {(pool.labelled @ pool.directions[position]).max():.2f}"
