"""What is said of a recipe that cannot be used."""

from typing import Any, get_args

import pytest

from sampling import recipes
from sampling.recipes import Recipe, parse
from store.errors import InvalidInputError

STRATEGIES = ", ".join(kind().name for kind in get_args(get_args(recipes.Strategy)[0]))


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({}, "say how many images: a budget, or the money they may cost"),
        ({"money": 5}, "a sum of money buys nothing that can be counted without the cost of an image"),
        ({"money": 5, "cost": {}}, "cost: say either the price of an image or the vendor who is paid for it"),
        ({"money": 5, "cost": {"prize": 2}}, "cost has no setting 'prize', perhaps price is meant"),
        (
            {"budget": 5, "cost": {"price": 1, "exceptions": [{"where": "id > 3", "price": 0}]}},
            "price of number 1 of exceptions has to be more than 0, not 0",
        ),
        (
            {"budget": 5, "quotas": [{"least": 3}]},
            "number 1 of quotas: say which images count by one of where, predicted, slice and each",
        ),
        ({"budget": 5, "gold_share": 0.95}, "the shares at random and of gold are more than everything"),
        (
            {"budget": 5, "boxes": {"class_weights": {"cat": -1}}},
            "boxes.class_weights: weights are numbers from 0 up",
        ),
        (
            {"budget": 5, "score": "best"},
            "score has to be one of 'margin', 'entropy', 'least-confidence', 'bald', 'votes', 'kl', 'energy', "
            "'novelty' or 'outlierness', not 'best'",
        ),
        ({"budget": 0}, "budget has to be more than 0, not 0"),
        ({"budget": "many"}, "budget has to be a whole number, not 'many'"),
        ({"budget": 2.5}, "budget has to be a whole number, not 2.5"),
        (
            {"budget": 9, "model": None, "seed": -1},
            "model has to be a text, not nothing; seed has to be at least 0, not -1",
        ),
        ({"budget": 9, "random_share": 1.5}, "random_share has to be at most 1, not 1.5"),
        ({"budget": 9, "random_share": "half"}, "random_share has to be a number, not 'half'"),
        ({"budget": 9, "stratgy": "auto"}, "a recipe has no setting 'stratgy', perhaps strategy is meant"),
        ({"budget": 9, "colour": 1}, f"a recipe has no setting 'colour', only {', '.join(Recipe.model_fields)}"),
        ({"budget": 9, "strategy": "best"}, f"there is no strategy 'best', only {STRATEGIES}"),
        ({"budget": 9, "strategy": {"name": "best"}}, f"there is no strategy 'best', only {STRATEGIES}"),
        ({"budget": 9, "strategy": {"radius": 1}}, f"strategy has to have a name, one of {STRATEGIES}"),
        ({"budget": 9, "strategy": 5}, "strategy has to be a name, or a mapping of name and settings, not 5"),
        ({"budget": 9, "strategy": {"name": "uherding", "radius": 3}}, "radius of uherding has to be at most 2, not 3"),
        (
            {"budget": 9, "strategy": {"name": "uherding", "radus": 1}},
            "uherding has no setting 'radus', perhaps radius is meant",
        ),
        ({"budget": 9, "strategy": {"name": "k-center", "radius": 1}}, "k-center has no setting 'radius'"),
        ({"budget": 9, "quotas": 3}, "quotas has to be a list, not 3"),
        ({"budget": 9, "quotas": [4]}, "number 1 of quotas has to be a mapping of names to values, not 4"),
        (
            {"budget": 9, "quotas": [{"where": "id < 9"}, {"where": "id > 9", "lest": 1}]},
            "number 2 of quotas has no setting 'lest', perhaps least is meant",
        ),
    ],
)
def test_a_wrong_recipe_is_one_sentence(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        parse(values)
    assert str(raised.value) == f"The recipe cannot be used: {complaint}."


def test_a_long_value_is_cut_short() -> None:
    with pytest.raises(InvalidInputError, match=r"not 'x{5,40}\.\.\.x{5,40}'\.$"):
        parse({"budget": 9, "min_distance": "x" * 5000})
