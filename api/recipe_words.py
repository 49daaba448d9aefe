"""A recipe in sentences, for people who look at the batch it chose."""

from collections.abc import Collection

from sampling import recipes
from sampling.recipes import Quota, Recipe

_AUTO = {"diverse": "coverage", "uncertain": "what makes the model surest"}  # what auto did, by the arm it filled


def describe(recipe: Recipe, *, arms: Collection[str]) -> list[str]:
    """What the recipe asks for, and where it left the choice open, what that was in a batch with these arms."""
    if isinstance(recipe.strategy, recipes.Random):
        sentences = ["Everything is drawn at random, from every split."]
    else:
        sentences = [f"{_percent(recipe.random_share)} are drawn at random from the val and test reserve."]
        if recipe.slice_share:
            sentences.append(f"Up to {_percent(recipe.slice_share)} come from the newest failure clusters.")
        sentences.append(_strategy(recipe.strategy, arms))
    if recipe.gold_share:
        sentences.append(f"{_percent(recipe.gold_share)} are gold: their labels are known, and show how people answer.")
    if recipe.money is not None:
        sentences.append(f"All of it may cost {recipe.money:g} at most.")
    if recipe.where is not None:
        sentences.append(f"Only images for which this holds: {recipe.where}")
    if recipe.exclude is not None:
        sentences.append(f"No image for which this holds: {recipe.exclude}")
    if recipe.min_distance:
        sentences.append(f"Picks for training keep a cosine distance of {recipe.min_distance:g} from each other.")
    return sentences


def counted(quota: Quota) -> str:
    """What a quota counts."""
    if quota.where is not None:
        return quota.where
    if quota.each is not None:
        return f"each {quota.each}"
    return f"slice={quota.slice}" if quota.predicted is None else f"predicted={quota.predicted}"


def bounds(quota: Quota) -> str:
    """How many of the picks for training a quota asks for."""
    parts = []
    if quota.least:
        parts.append(f"at least {quota.least:,}")
    if quota.least_share:
        parts.append(f"at least {quota.least_share:.0%}")
    if quota.most is not None:
        parts.append(f"at most {quota.most:,}")
    if quota.most_share < 1:
        parts.append(f"at most {quota.most_share:.0%}")
    return ", ".join(parts) or "any number"


def _percent(share: float) -> str:
    return f"{100 * share:g}%"


def _strategy(strategy: recipes.Strategy, arms: Collection[str]) -> str:
    meaning = type(strategy).__doc__ or ""
    settings = ", ".join(f"{name} {value}" for name, value in strategy.model_dump(exclude={"name"}).items())
    text = f"The rest is chosen by {strategy.name}{f' ({settings})' if settings else ''}: "
    text += meaning[:1].lower() + meaning[1:]
    if isinstance(strategy, recipes.Auto):
        text += "".join(f" Here it was {what}." for arm, what in _AUTO.items() if arm in arms)
    return text
