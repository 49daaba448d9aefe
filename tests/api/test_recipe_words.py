import pytest

from api import recipe_words
from sampling import recipes
from sampling.recipes import Quota


def test_auto_says_what_it_was() -> None:
    recipe = recipes.parse({"budget": 100, "random_share": 0.2})
    assert recipe_words.describe(recipe, arms=["random", "slice", "uncertain"]) == [
        "20% are drawn at random from the val and test reserve.",
        "Up to 25% come from the newest failure clusters.",
        "The rest is chosen by auto: coverage while there are next to no labels, after that what makes the model "
        "surest. Here it was what makes the model surest.",
    ]
    assert recipe_words.describe(recipe, arms=["random", "diverse"])[2].endswith("Here it was coverage.")


def test_a_strategy_comes_with_its_settings_and_the_conditions_as_they_were_written() -> None:
    recipe = recipes.parse(
        {
            "budget": 10,
            "slice_share": 0,
            "strategy": {"name": "cluster-margin", "factor": 5},
            "where": "night == 1",
            "exclude": "duplicate",
            "min_distance": 0.05,
        }
    )
    assert recipe_words.describe(recipe, arms=["random", "uncertain"])[1:] == [
        "The rest is chosen by cluster-margin (factor 5): the most uncertain image of each cluster of the most "
        "uncertain ones (Citovsky et al. 2021, arXiv 2107.14263).",
        "Only images for which this holds: night == 1",
        "No image for which this holds: duplicate",
        "Picks for training keep a cosine distance of 0.05 from each other.",
    ]


def test_a_random_batch_is_nothing_else() -> None:
    recipe = recipes.parse({"budget": 10, "strategy": "random"})
    assert recipe_words.describe(recipe, arms=["random"]) == ["Everything is drawn at random, from every split."]


@pytest.mark.parametrize(
    ("quota", "words"),
    [
        ({"least": 1_000}, "at least 1,000"),
        ({"least_share": 0.25, "most": 0}, "at least 25%, at most 0"),
        ({"most_share": 0.5}, "at most 50%"),
        ({}, "any number"),
    ],
)
def test_the_bounds_of_a_quota(quota: dict[str, float], words: str) -> None:
    assert recipe_words.bounds(Quota.model_validate({"where": "missing", **quota})) == words
