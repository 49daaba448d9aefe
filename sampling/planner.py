"""Choosing from a pool: a pure function of arrays, a recipe and its seed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from curation.joins import Take
from sampling import constraints, geometry, recipes, scores
from sampling.head import Settings, Views
from sampling.recipes import Recipe
from sampling.situation import Situation, Strategy
from sampling.strategies import regime, strategy_of
from store.arrays import Bools, Floats, Ints, Vectors
from store.errors import InvalidInputError

_SAMPLE = 20_000  # candidates that are asked which pick is nearest
_ROWS = 1024
_DEPTH = 4  # times as many picks are asked of a strategy where constraints may refuse some


@dataclass(frozen=True)
class Slice:
    """A failure cluster that the batch may grow."""

    name: str
    lift: float
    members: Ints  # positions in the pool


@dataclass(frozen=True)
class Pool:
    """Every embedded image, ordered by sha256, and which of them may be chosen."""

    sha256s: list[str]
    image_ids: list[int]
    take: Take  # gives the centred unit vectors at positions
    eligible: Ints  # positions that nobody labels, for training
    reserve: Ints  # likewise for val and test
    labelled: Ints  # positions that are labelled or being labelled
    probabilities: Floats | None  # (N, C), of what is not eligible perhaps 0
    classes: list[str]
    settings: Settings  # of the probe
    slices: list[Slice] = field(default_factory=list)
    members: list[Ints] = field(default_factory=list)  # for each quota of the recipe the positions that count

    @cached_property
    def views(self) -> Views:
        """What the probe sees; taken from disk when a strategy asks."""
        return Views.of(self.take, len(self.image_ids))

    def situation(self, candidates: Ints) -> Situation:
        """What a strategy looks at."""
        return Situation(
            self.views, self.settings, self.labelled, candidates, self.probabilities, classes=len(self.classes)
        )


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
    if isinstance(recipe.strategy, recipes.Random):
        everything = np.sort(np.concatenate([pool.eligible, pool.reserve]))
        _check(len(everything), recipe.budget, "at random")
        return _draw(everything, recipe.budget, recipe.seed)
    drawn = max(1, round(recipe.budget * recipe.random_share))
    informed = recipe.budget - drawn
    _check(len(pool.reserve), drawn, "at random from the val and test reserve")
    _check(len(pool.eligible), informed, "for training")
    choices: list[Choice] = []
    if pool.probabilities is not None:
        choices = _grow_slices(pool, round(recipe.budget * recipe.slice_share))[:informed]
    taken = np.array([choice.position for choice in choices], dtype=np.int64)
    choices += _inform(pool, recipe, taken, informed - len(choices))
    return choices + _draw(pool.reserve, drawn, recipe.seed)


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


def _draw(candidates: Ints, k: int, seed: int) -> list[Choice]:
    why = f"Drawn at random from {len(candidates)} images, so that accuracy measured on it is honest."
    drawn = np.random.default_rng(seed).choice(candidates, size=k, replace=False)
    return [Choice(position, "random", 0.0, why) for position in drawn.tolist()]


def _inform(pool: Pool, recipe: Recipe, taken: Ints, k: int) -> list[Choice]:
    """What the strategy chooses beside what is taken, with what each pick stands for."""
    if k == 0:
        return []
    candidates = np.setdiff1d(pool.eligible, taken)
    situation = pool.situation(candidates)
    strategy = regime(situation) if isinstance(recipe.strategy, recipes.Auto) else recipe.strategy
    positions = _within(pool, recipe, situation, strategy_of(strategy), k=k, taken=taken)
    stood_for = _stood_for(situation.seen, positions, candidates)
    nearest = _nearest(pool, positions)
    choices = []
    for position, count, beside in zip(positions.tolist(), stood_for.tolist(), nearest, strict=True):
        if strategy.arm == "uncertain":
            score, torn = _torn(pool, position)
            why = f"The model {torn}; stands for about {count} images{beside}."
        else:
            score = count / len(candidates)
            why = f"Typical of about {count} images that look alike{beside}."
        choices.append(Choice(position, strategy.arm, score, why))
    return choices


def _within(pool: Pool, recipe: Recipe, situation: Situation, strategy: Strategy, *, k: int, taken: Ints) -> Ints:
    """What the strategy chooses or, where that breaks a constraint, the best in its order that breaks none."""
    if not recipe.quotas and not recipe.min_distance:
        return strategy(situation, k, recipe.seed)
    candidates = situation.candidates
    order = strategy(situation, min(len(candidates), _DEPTH * k), recipe.seed)
    quotas = [
        constraints.Quota(
            one.where, _mask(members, len(pool.image_ids)), one.least, one.most, one.least_share, one.most_share
        )
        for one, members in zip(recipe.quotas, pool.members, strict=True)
    ]
    return constraints.choose(
        np.concatenate([order, np.setdiff1d(candidates, order)]),
        constraints.Constraints(items=k + len(taken), quotas=quotas, min_distance=recipe.min_distance, taken=taken),
        vectors=pool.views.plain,
    )


def _mask(positions: Ints, count: int) -> Bools:
    mask = np.zeros(count, dtype=np.bool_)
    mask[positions] = True
    return mask


def _stood_for(seen: Vectors, positions: Ints, candidates: Ints) -> Ints:
    """For each pick how many of the candidates are nearest to it, extrapolated from a sample of them."""
    sample = candidates[np.random.default_rng(0).permutation(len(candidates))[:_SAMPLE]]
    counts = np.zeros(len(positions))
    for start in range(0, len(sample), _ROWS):
        nearest = (seen[sample[start : start + _ROWS]] @ seen[positions].T).argmax(axis=1)
        counts += np.bincount(nearest, minlength=len(positions))
    extrapolated: Ints = np.maximum(np.rint(counts * len(candidates) / len(sample)), 1).astype(np.int64)
    return extrapolated


def _grow_slices(pool: Pool, k: int) -> list[Choice]:
    """The most uncertain images of each failure cluster, clusters in turn, the highest lift first."""
    allowed = set(pool.eligible.tolist())
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


def _torn(pool: Pool, position: int) -> tuple[float, str]:
    """How torn the model is, from 0 to 1, and what to say of it: between which classes."""
    assert pool.probabilities is not None  # noqa: S101  strategies of this arm refuse to choose without
    row = pool.probabilities[position]
    if len(row) == 1:
        return 0.0, f"knows no class but {pool.classes[0]}"
    first, second = np.argsort(-row, kind="stable")[:2].tolist()
    between = f"{pool.classes[first]} ({row[first]:.2f}) and {pool.classes[second]} ({row[second]:.2f})"
    return float(1 - (row[first] - row[second])), f"is torn between {between}"


def _nearest(pool: Pool, positions: Ints) -> list[str]:
    """For each pick how near the nearest labelled image is, to end a sentence with."""
    if len(pool.labelled) == 0:
        return ["; nothing is labelled yet"] * len(positions)
    nearest = geometry.nearest_cosines(pool.take(positions), pool.take(pool.labelled))
    return [f"; the nearest labelled image has a cosine of {cosine:.2f}" for cosine in nearest.tolist()]
