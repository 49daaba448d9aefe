"""Choosing from a pool: a pure function of arrays, a recipe and its seed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sampling import constraints, geometry, recipes
from sampling.pool import Pool
from sampling.recipes import Recipe
from sampling.situation import Situation, Strategy
from sampling.strategies import regime, strategy_of
from store.arrays import Bools, Floats, Ints, Vectors
from store.errors import InvalidInputError

_SAMPLE = 20_000  # candidates that are asked which pick is nearest
_ROWS = 1024
_DEPTH = 4  # times as many picks are asked of a strategy where constraints may refuse some
_ROUNDING = 1e-9  # 5 × 0.12 is 0.6, not more
_HONEST = "Drawn at random from {} images, so that accuracy measured on it is honest."
_GOLD = "Drawn at random from {} labelled images, to see whether the answers agree with what is known."


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
        InvalidInputError: an arm has fewer images than it should choose, or costs more than there is, or needs
            predictions.
    """
    purse = _Purse.of(pool, recipe)
    gold = []
    if recipe.gold_share:
        gold = _draw(pool.gold, purse.part(recipe.gold_share), "of those labelled", recipe.seed + 1)
    if isinstance(recipe.strategy, recipes.Random):
        if recipe.quotas or recipe.min_distance:
            raise InvalidInputError(
                "The strategy random keeps no quotas and no distance. Choose another strategy, or leave them out."
            )
        everything = np.sort(np.concatenate([pool.eligible, pool.reserve]))
        drawn = _draw(everything, purse.without(gold), "at random", recipe.seed)
        return _arm(drawn, "random", _HONEST.format(len(everything))) + _arm(gold, "gold", _GOLD.format(len(pool.gold)))
    part = purse.part(recipe.random_share)
    drawn = _draw(pool.reserve, part, "at random from the val and test reserve", recipe.seed)
    left = purse.without([*gold, *drawn])
    if left.images is not None:
        _check(len(pool.eligible), left.images, "for training")
    choices = _grow_slices(pool, left, purse.part(recipe.slice_share)) if pool.is_predicted else []
    taken = np.array([choice.position for choice in choices], dtype=np.int64)
    choices += _inform(pool, recipe, taken, left.without(taken.tolist()))
    choices += _arm(drawn, "random", _HONEST.format(len(pool.reserve)))
    return choices + _arm(gold, "gold", _GOLD.format(len(pool.gold)))


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


def _draw(candidates: Ints, purse: "_Purse", what: str, seed: int) -> list[int]:
    """Positions drawn at random: as many as the purse holds; of money, those it buys until the next is too dear."""
    order: Ints = np.random.default_rng(seed).permutation(candidates)
    if purse.images is not None:
        _check(len(candidates), purse.images, what)
        return [int(position) for position in order[: purse.images]]
    bought = purse.buys(order)
    if bought in (0, len(candidates)):
        raise InvalidInputError(
            f"{purse.money:g} of money should buy images {what}, and of {len(candidates)} it buys "
            f"{'all, and some is left' if bought else 'none'}. Change the share or the sum."
        )
    return [int(position) for position in order[:bought]]


def _arm(positions: Sequence[int], arm: str, why: str) -> list[Choice]:
    return [Choice(position, arm, 0.0, why) for position in positions]


@dataclass(frozen=True)
class _Purse:
    """What may be spent: images where their number is given or all cost the same, money where costs differ; or both."""

    images: int | None
    money: float | None = None
    costs: Floats | None = None  # (N,), where they differ

    @classmethod
    def of(cls, pool: Pool, recipe: Recipe) -> "_Purse":
        if recipe.money is None or pool.costs is None:
            return cls(recipe.budget)
        prices = np.unique(pool.costs[np.concatenate([pool.eligible, pool.reserve, pool.gold])])
        if len(prices) > 1:
            return cls(recipe.budget, recipe.money, pool.costs)
        price = float(prices[0]) if len(prices) else float(pool.costs.max(initial=0))
        bought = math.floor(recipe.money / price + _ROUNDING) if price else 0
        wanted = recipe.budget or max(bought, 1)
        if bought < wanted:
            raise InvalidInputError(
                f"{wanted} image{'s' * (wanted > 1)} at {price:g} would cost {wanted * price:g}, and {recipe.money:g} "
                f"buys {bought}. Ask for fewer, or give more money."
            )
        return cls(wanted)

    def part(self, share: float) -> "_Purse":
        """A share of it, of images one at least unless the share is 0."""
        images = None if self.images is None else max(int(share > 0), round(self.images * share))
        return replace(self, images=images, money=None if self.money is None else self.money * share)

    def without(self, positions: Sequence[int]) -> "_Purse":
        """What is left after these images."""
        images = None if self.images is None else self.images - len(positions)
        if self.money is None or self.costs is None:
            return replace(self, images=images)
        spent = float(self.costs[list(positions)].sum())
        if spent > self.money + _ROUNDING:
            raise InvalidInputError(
                f"{len(positions)} images that the batch has to hold cost {spent:g} of {self.money:g}. "
                "Ask for fewer, or give more money."
            )
        return replace(self, images=images, money=self.money - spent)

    def buys(self, order: Ints) -> int:
        """How many of these, the first ones, it buys."""
        bought = len(order) if self.images is None else min(self.images, len(order))
        if self.money is None or self.costs is None:
            return bought
        return min(bought, int(np.searchsorted(np.cumsum(self.costs[order]), self.money + _ROUNDING, side="right")))

    def most(self, candidates: Ints) -> int:
        """How many of the candidates it may buy."""
        if self.images is not None or self.costs is None:
            return self.images or 0
        return self.buys(candidates[np.argsort(self.costs[candidates], kind="stable")])


def _inform(pool: Pool, recipe: Recipe, taken: Ints, purse: _Purse) -> list[Choice]:
    """What the strategy chooses beside what is taken, with what each pick stands for."""
    candidates = np.setdiff1d(pool.eligible, taken)
    k = purse.most(candidates)
    if k == 0:
        return []
    situation = pool.situation(candidates)
    strategy = regime(situation) if isinstance(recipe.strategy, recipes.Auto) else recipe.strategy
    positions = _within(pool, recipe, situation, strategy_of(strategy), k=k, taken=taken, purse=purse)
    stood_for = _stood_for(situation.seen, positions, candidates)
    nearest = _nearest(pool, positions)
    choices = []
    for position, count, beside in zip(positions.tolist(), stood_for.tolist(), nearest, strict=True):
        if strategy.arm == "uncertain":
            score, doubt = _doubt(pool, recipe, position)
            why = f"{doubt}; stands for about {count} images{beside}."
        else:
            score = count / len(candidates)
            why = f"Typical of about {count} images that look alike{beside}."
        choices.append(Choice(position, strategy.arm, score, why))
    return choices


def _within(
    pool: Pool, recipe: Recipe, situation: Situation, strategy: Strategy, *, k: int, taken: Ints, purse: _Purse
) -> Ints:
    """What the strategy chooses or, where that breaks a constraint, the best in its order that breaks none."""
    if not recipe.quotas and not recipe.min_distance and purse.money is None:
        return strategy(situation, k, recipe.seed)
    candidates = situation.candidates
    order = strategy(situation, min(len(candidates), _DEPTH * k), recipe.seed)
    bounds = [(kind, recipe.quotas[kind.quota]) for kind in pool.kinds]
    quotas = [
        constraints.Quota(
            kind.name, _mask(kind.members, len(pool.image_ids)), one.least, one.most, one.least_share, one.most_share
        )
        for kind, one in bounds
    ]
    money = None if purse.money is None or purse.costs is None else purse.money + float(purse.costs[taken].sum())
    return constraints.choose(
        np.concatenate([order, np.setdiff1d(candidates, order)]),
        constraints.Constraints(
            items=None if purse.images is None else k + len(taken),
            money=money,
            costs=purse.costs,
            quotas=quotas,
            min_distance=recipe.min_distance,
            taken=taken,
        ),
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


def _grow_slices(pool: Pool, left: "_Purse", part: "_Purse") -> list[Choice]:
    """The most uncertain images of each failure cluster, clusters in turn, the highest lift first."""
    allowed = set(pool.eligible.tolist())
    members = np.unique(np.concatenate([np.empty(0, dtype=np.int64), *(one.members for one in pool.slices)]))
    uncertainty = dict(zip(members.tolist(), pool.situation(members).unsure.tolist(), strict=True))
    queues = [
        (one, sorted((i for i in one.members.tolist() if i in allowed), key=lambda i: (-uncertainty[i], i)))
        for one in sorted(pool.slices, key=lambda one: (-one.lift, one.name))
    ]
    choices: dict[int, Choice] = {}
    for turn in range(max((len(queue) for _, queue in queues), default=0)):
        for one, queue in queues:
            if turn < len(queue) and queue[turn] not in choices:
                why = f"In the failure cluster “{one.name}”, where the model fails {one.lift:.1f} times as often."
                choices[queue[turn]] = Choice(queue[turn], "slice", float(uncertainty[queue[turn]]), why)
    order = np.array(list(choices), dtype=np.int64)
    return [choices[position] for position in order[: min(part.buys(order), left.buys(order))].tolist()]


def _doubt(pool: Pool, recipe: Recipe, position: int) -> tuple[float, str]:
    """How unsure the model is of an image, and of what."""
    score = float(pool.situation(np.array([position])).unsure[0])
    if pool.probabilities is None:
        return score, f"The model is unsure of the boxes it found ({score:.2f} by {recipe.boxes.aggregate})"
    if recipe.score == "energy":
        return score, f"The model knows less like it than {score:.0%} of the images"
    if recipe.score in ("bald", "votes", "kl"):
        return score, f"The model's passes disagree ({score:.2f} by {recipe.score})"
    row = pool.probabilities[position]
    if len(row) == 1:
        return score, f"The model knows no class but {pool.classes[0]}"
    first, second = np.argsort(-row, kind="stable")[:2].tolist()
    between = f"{pool.classes[first]} ({row[first]:.2f}) and {pool.classes[second]} ({row[second]:.2f})"
    return score, f"The model is torn between {between}"


def _nearest(pool: Pool, positions: Ints) -> list[str]:
    """For each pick how near the nearest labelled image is, to end a sentence with."""
    if len(pool.labelled) == 0:
        return ["; nothing is labelled yet"] * len(positions)
    nearest = geometry.nearest_cosines(pool.take(positions), pool.take(pool.labelled))
    return [f"; the nearest labelled image has a cosine of {cosine:.2f}" for cosine in nearest.tolist()]
