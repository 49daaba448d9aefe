"""Ways to choose: functions `(situation, k, seed) -> (k,)` positions, in order of choosing, made from recipes."""

from collections.abc import Callable
from typing import Any

import numpy as np

from sampling import diversity, recipes, scores
from sampling.situation import Situation, Strategy
from sampling.strategies.variance import least_variance
from store.arrays import Ints

_COLD = 2  # labels a class, on average, below which a model's doubts are worth nothing


def strategy_of(recipe: recipes.Strategy) -> Strategy:
    """The function that a recipe's strategy names, with the recipe's settings."""
    choose = _CHOOSE[type(recipe)]
    return lambda situation, k, seed: choose(recipe, situation, k, seed)


def regime(situation: Situation) -> recipes.Strategy:
    """What `auto` does here: coverage while there are next to no labels, then what makes the model surest."""
    if situation.probabilities is None or len(situation.labelled) < _COLD * situation.classes:
        return recipes.TypiClust()
    return recipes.Variance()


def with_cold_start(recipe: recipes.Strategy) -> Strategy:
    """The same, beginning with coverage where it would need predictions and there are none."""
    chosen, cover = strategy_of(recipe), strategy_of(recipes.TypiClust())

    def choose(situation: Situation, k: int, seed: int) -> Ints:
        is_cold = situation.probabilities is None and recipe.arm == "uncertain"
        return (cover if is_cold else chosen)(situation, k, seed)

    return choose


def _auto(recipe: recipes.Auto, situation: Situation, k: int, seed: int) -> Ints:
    return strategy_of(regime(situation))(situation, k, seed)


def _random(recipe: recipes.Random, situation: Situation, k: int, seed: int) -> Ints:
    generator = np.random.default_rng([seed, len(situation.labelled)])
    return np.asarray(generator.choice(situation.candidates, k, replace=False))


def _typiclust(recipe: recipes.TypiClust, situation: Situation, k: int, seed: int) -> Ints:
    together = np.concatenate([situation.labelled, situation.candidates])
    labelled = len(situation.labelled)
    clusters = diversity.partition(situation.seen[together], labelled + k, seed=seed)
    covered = np.bincount(clusters.of_each[:labelled], minlength=len(clusters.sizes))
    of_candidates = diversity.Clusters(clusters.of_each[labelled:], clusters.sizes)
    typical = diversity.typicality(situation.seen[situation.candidates], of_candidates)
    chosen: Ints = situation.candidates[diversity.best_of_each(of_candidates, typical, k, avoid=covered)]
    return chosen


def _cluster_margin(recipe: recipes.ClusterMargin, situation: Situation, k: int, seed: int) -> Ints:
    torn = scores.margin(situation.predicted()[situation.candidates])
    top = np.lexsort((np.arange(len(torn)), -torn))[: k * recipe.factor]
    clusters = diversity.partition(situation.seen[situation.candidates[top]], k, seed=seed)
    none = np.zeros(len(clusters.sizes), dtype=np.int64)
    chosen: Ints = situation.candidates[top[diversity.best_of_each(clusters, torn[top], k, avoid=none)]]
    return chosen


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
    recipes.ClusterMargin: _cluster_margin,
    recipes.Variance: _variance,
}
