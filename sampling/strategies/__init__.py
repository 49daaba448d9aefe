"""Ways to choose: functions `(situation, k, seed) -> (k,)` positions, in order of choosing, made from recipes."""

from collections.abc import Callable
from typing import Any

import numpy as np

from sampling import recipes
from sampling.situation import Situation, Strategy
from sampling.strategies import (
    cluster_margin,
    dropquery,
    facility_location,
    k_center,
    max_herding,
    typiclust,
    uherding,
    weighted_k_means,
)
from sampling.strategies.variance import least_variance
from store.arrays import Ints
from store.errors import InvalidInputError

_COLD = 2  # labels a class, on average, below which a model's doubts are worth nothing


def strategy_of(recipe: recipes.Strategy) -> Strategy:
    """The function that a recipe's strategy names, with the recipe's settings.

    Asked for more than there are candidates, it raises InvalidInputError.
    """
    choose = _CHOOSE[type(recipe)]

    def checked(situation: Situation, k: int, seed: int) -> Ints:
        available = len(situation.candidates)
        if k > available:
            raise InvalidInputError(f"Pool exhausted: {available} available / {k} requested. Ask for fewer.")
        return choose(recipe, situation, k, seed)

    return checked


def regime(situation: Situation) -> recipes.Strategy:
    """What `auto` does here: coverage while there are next to no labels, then what makes the model surest."""
    if not situation.is_predicted or len(situation.labelled) < _COLD * situation.classes:
        return recipes.TypiClust()
    return recipes.Variance()


def with_cold_start(recipe: recipes.Strategy) -> Strategy:
    """The same, beginning with coverage where it would need predictions and there are none."""
    chosen, cover = strategy_of(recipe), strategy_of(recipes.TypiClust())

    def choose(situation: Situation, k: int, seed: int) -> Ints:
        is_cold = not situation.is_predicted and recipe.arm == "uncertain"
        return (cover if is_cold else chosen)(situation, k, seed)

    return choose


def _auto(recipe: recipes.Auto, situation: Situation, k: int, seed: int) -> Ints:
    return strategy_of(regime(situation))(situation, k, seed)


def _random(recipe: recipes.Random, situation: Situation, k: int, seed: int) -> Ints:
    generator = np.random.default_rng([seed, len(situation.labelled)])
    return np.asarray(generator.choice(situation.candidates, k, replace=False))


def _k_center(recipe: recipes.KCenter, situation: Situation, k: int, seed: int) -> Ints:
    found = k_center.choose(situation.offered, k, labelled=situation.seen[situation.labelled])
    return situation.picked(found)


def _typiclust(recipe: recipes.TypiClust, situation: Situation, k: int, seed: int) -> Ints:
    found = typiclust.choose(situation.offered, k, labelled=situation.seen[situation.labelled], seed=seed)
    return situation.picked(found)


def _facility_location(recipe: recipes.FacilityLocation, situation: Situation, k: int, seed: int) -> Ints:
    found = facility_location.choose(situation.offered, k, labelled=situation.seen[situation.labelled], seed=seed)
    return situation.picked(found)


def _max_herding(recipe: recipes.MaxHerding, situation: Situation, k: int, seed: int) -> Ints:
    labelled = situation.seen[situation.labelled]
    return situation.picked(
        max_herding.choose(situation.offered, k, labelled=labelled, radius=recipe.radius, seed=seed)
    )


def _uherding(recipe: recipes.UHerding, situation: Situation, k: int, seed: int) -> Ints:
    labelled = situation.seen[situation.labelled]
    return situation.picked(
        uherding.choose(situation.offered, situation.unsure, k, labelled=labelled, radius=recipe.radius, seed=seed)
    )


def _weighted_k_means(recipe: recipes.WeightedKMeans, situation: Situation, k: int, seed: int) -> Ints:
    weights = situation.unsure**recipe.power
    return situation.picked(weighted_k_means.choose(situation.offered, weights, k, seed=seed))


def _cluster_margin(recipe: recipes.ClusterMargin, situation: Situation, k: int, seed: int) -> Ints:
    found = cluster_margin.choose(situation.offered, situation.unsure, k, factor=recipe.factor, seed=seed)
    return situation.picked(found)


def _uncertainty(recipe: recipes.Uncertainty, situation: Situation, k: int, seed: int) -> Ints:
    return situation.picked(np.argsort(-situation.unsure, kind="stable")[:k])


def _dropquery(recipe: recipes.DropQuery, situation: Situation, k: int, seed: int) -> Ints:
    if situation.changed is None:
        raise InvalidInputError(
            "The strategy dropquery compares several passes of a model, with dropout or of an ensemble, and there are "
            "none. Import some (`passes`), or choose another strategy."
        )
    changed = situation.changed[situation.candidates]
    return situation.picked(dropquery.choose(situation.offered, changed, k, seed=seed))


def _variance(recipe: recipes.Variance, situation: Situation, k: int, seed: int) -> Ints:
    return least_variance(
        situation.seen,
        situation.doubts,
        labelled=situation.labelled,
        candidates=situation.candidates,
        k=k,
        penalty=1 / situation.settings.inverse_penalty,
    )


_CHOOSE: dict[type, Callable[[Any, Situation, int, int], Ints]] = {
    recipes.Auto: _auto,
    recipes.Random: _random,
    recipes.TypiClust: _typiclust,
    recipes.KCenter: _k_center,
    recipes.FacilityLocation: _facility_location,
    recipes.MaxHerding: _max_herding,
    recipes.Uncertainty: _uncertainty,
    recipes.UHerding: _uherding,
    recipes.WeightedKMeans: _weighted_k_means,
    recipes.ClusterMargin: _cluster_margin,
    recipes.DropQuery: _dropquery,
    recipes.Variance: _variance,
}
