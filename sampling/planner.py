"""Choosing from a pool: a pure function of arrays, a recipe and its seed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sampling import constraints, geometry, recipes
from sampling.pool import Kind, Pool
from sampling.recipes import Recipe
from sampling.situation import Situation, Strategy
from sampling.strategies import regime, strategy_of
from store.arrays import Floats, Ints, Vectors
from store.errors import InvalidInputError

_SAMPLE = 20_000  # candidates that are asked which pick is nearest
_ROWS = 1024
_DEPTH = 4  # times as many picks are asked of a strategy where constraints may refuse some
_ROUNDING = 1e-9  # 5 × 0.12 is 0.6, not more


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
    gold: list[int] = []
    if recipe.gold_share:
        part = purse.part(recipe.gold_share)
        if part.images is not None and purse.images is not None:
            part = replace(part, images=min(part.images, purse.images - 1))
            if part.images == 0:
                raise InvalidInputError("One image is either gold or drawn at random. Ask for more, or for no gold.")
        gold = _draw(pool.gold, part, f"for gold, of those labelled{_bounds(recipe)}", recipe.seed + 1)
    if isinstance(recipe.strategy, recipes.Random):
        if recipe.quotas or recipe.min_distance:
            raise InvalidInputError(
                "The strategy random keeps no quotas and no distance. Choose another strategy, or leave them out."
            )
        everything = np.sort(np.concatenate([pool.eligible, pool.reserve]))
        left = purse.without(gold)
        drawn = _draw(everything, left, "at random", recipe.seed)
        left.without(drawn)  # refuses what costs more than there is
        return _arms(pool, recipe, drawn, gold, among=len(everything))
    part = purse.part(recipe.random_share)
    if part.images is not None and purse.images is not None:
        part = replace(part, images=min(part.images, purse.images - len(gold)))
    drawn = _draw(pool.reserve, part, "at random from the val and test reserve", recipe.seed)
    left = purse.without([*gold, *drawn])
    if left.images is not None:
        _check(len(pool.eligible), left.images, "for training")
    grown = _grow_slices(pool, left, purse.part(recipe.slice_share)) if pool.is_predicted else []
    return _inform(pool, recipe, grown, left) + _arms(pool, recipe, drawn, gold, among=len(pool.reserve))


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
    """Positions drawn at random: as many as the purse holds, or as its money buys at their mean price.

    How many is decided before any is drawn, so that a dear image is as likely as a cheap one.
    """
    wanted = purse.images
    if wanted is None:
        _check(len(candidates), 1, what)
        wanted = min(purse.at_mean_price(candidates), len(candidates))
        if wanted == 0:
            raise InvalidInputError(
                f"{purse.money:g} of money should buy images {what}, and does not reach for one at their mean price. "
                "Raise the share or the sum."
            )
    _check(len(candidates), wanted, what)
    order: Ints = np.random.default_rng(seed).permutation(candidates)
    return [int(position) for position in order[:wanted]]


def _arms(pool: Pool, recipe: Recipe, drawn: Sequence[int], gold: Sequence[int], *, among: int) -> list[Choice]:
    """What was drawn at random, and what of that is gold."""
    bounds = _bounds(recipe)
    honest = f"Drawn at random from {among} images{bounds}, so that accuracy measured on it is honest."
    known = (
        f"Drawn at random from {len(pool.gold)} labelled images{bounds}, to see whether the answers agree with what is "
        "known."
    )
    return [Choice(position, "random", 0.0, honest) for position in drawn] + [
        Choice(position, "gold", 0.0, known) for position in gold
    ]


def _bounds(recipe: Recipe) -> str:
    """To end a sentence about images that could be drawn with."""
    return " for which the recipe's conditions hold" if recipe.where or recipe.exclude else ""


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

    def at_mean_price(self, candidates: Ints) -> int:
        """How many of the candidates its money buys on average."""
        if self.money is None or self.costs is None:
            return len(candidates)
        return math.floor(self.money / float(self.costs[candidates].mean()) + _ROUNDING)

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


def _inform(pool: Pool, recipe: Recipe, grown: Sequence[Choice], purse: _Purse) -> list[Choice]:
    """What grows the slices, then what the strategy chooses beside that, with what each pick stands for."""
    front = np.array([choice.position for choice in grown], dtype=np.int64)
    candidates = np.setdiff1d(pool.eligible, front)
    situation = pool.situation(candidates)
    strategy = regime(situation) if isinstance(recipe.strategy, recipes.Auto) else recipe.strategy
    if recipe.quotas or recipe.min_distance or purse.money is not None:
        found = _within(pool, recipe, situation, strategy_of(strategy), front=front, purse=purse)
        positions, kept = found[~np.isin(found, front)], set(found.tolist())
        grown = [choice for choice in grown if choice.position in kept]
    else:
        k = purse.without(front.tolist()).most(candidates)
        positions = strategy_of(strategy)(situation, k, recipe.seed) if k else front[:0]
    if len(positions) == 0:
        return list(grown)
    stood_for = _stood_for(situation.seen, positions, candidates)
    nearest = _nearest(pool, positions)
    choices, is_far = list(grown), isinstance(strategy, recipes.KCenter)
    for position, count, beside in zip(positions.tolist(), stood_for.tolist(), nearest, strict=True):
        if strategy.arm == "uncertain":
            score, doubt = _doubt(pool, recipe, position)
            why = f"{doubt}; stands for about {count} images{beside}."
        else:
            score = count / len(candidates)
            lead = "Far from what is labelled or chosen before; stands for" if is_far else "Typical of"
            why = f"{lead} about {count} images that look alike{beside}."
        choices.append(Choice(position, strategy.arm, score, why))
    return choices


def _within(
    pool: Pool, recipe: Recipe, situation: Situation, strategy: Strategy, *, front: Ints, purse: _Purse
) -> Ints:
    """What comes in front and what the strategy chooses or, where that breaks a bound, the best that breaks none.

    A strategy is asked for more than is needed only where some of what it chose was refused.
    """
    limits = constraints.Constraints(
        items=purse.images,
        money=purse.money,
        costs=purse.costs,
        quotas=[_quota(kind, recipe.quotas[kind.quota], len(pool.image_ids)) for kind in pool.kinds],
        min_distance=recipe.min_distance,
    )
    candidates = situation.candidates
    k = max(purse.most(np.concatenate([front, candidates])) - len(front), 0)
    for depth in (1, _DEPTH):
        asked = min(len(candidates), depth * k)
        order = np.concatenate([front, strategy(situation, asked, recipe.seed) if asked else front[:0]])
        rest = np.setdiff1d(candidates, order)
        found = constraints.choose(np.concatenate([order, rest]), limits, take=pool.take)
        if len(rest) == 0 or not np.isin(found, rest).any():
            break
    return found


def _quota(kind: Kind, bounds: recipes.Quota, count: int) -> constraints.Quota:
    members = np.zeros(count, dtype=np.bool_)
    members[kind.members] = True
    return constraints.Quota(kind.name, members, bounds.least, bounds.most, bounds.least_share, bounds.most_share)


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


_DOUBTS = {  # by the recipe's score; what says nothing of classes
    "novelty": "At a cosine distance of {:.2f} from all that is labelled",
    "outlierness": "Lonelier than {:.0%} of the images",
    "energy": "The model knows less like it than {:.0%} of the images",
    "bald": "The model's passes disagree ({:.2f} by bald)",
    "votes": "The model's passes disagree ({:.2f} by votes)",
    "kl": "The model's passes disagree ({:.2f} by kl)",
}


def _doubt(pool: Pool, recipe: Recipe, position: int) -> tuple[float, str]:
    """How unsure the model is of an image, and of what."""
    score = float(pool.situation(np.array([position])).unsure[0])
    if recipe.score in _DOUBTS:
        return score, _DOUBTS[recipe.score].format(score)
    if pool.probabilities is None:
        return score, f"The model is unsure of the boxes it found ({score:.2f} by {recipe.boxes.aggregate})"
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
