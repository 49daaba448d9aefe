"""Choosing: hand-checkable pools, and what holds for every pool."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampling import scores
from sampling.head import DEFAULT
from sampling.planner import Choice, choose, rank
from sampling.pool import Kind, Pool, Slice
from sampling.recipes import parse
from store.errors import InvalidInputError

INFORMED = ["cluster-margin", "variance", "uherding", "weighted-k-means", "uncertainty"]
COVERING = ["typiclust", "k-center", "facility-location", "max-herding"]


def pool(count: int, *, reserved: int = 0, seed: int = 0, **changes: Any) -> Pool:
    """`count` images in random directions that may be chosen, the last `reserved` for val and test; then labelled."""
    labelled = changes.pop("labelled", np.empty((0, 5)))
    directions = changes.pop("directions", np.random.default_rng(seed).normal(size=(count, 5)))
    if len(labelled):
        directions = np.concatenate([directions, labelled])
    unit = (directions / np.linalg.norm(directions, axis=1, keepdims=True)).astype(np.float32)
    values: dict[str, Any] = {
        "sha256s": [f"{i:064d}" for i in range(len(unit))],
        "image_ids": list(range(1, len(unit) + 1)),
        "take": lambda positions: unit[positions],
        "eligible": np.arange(count - reserved),
        "reserve": np.arange(count - reserved, count),
        "labelled": np.arange(count, len(unit)),
        "probabilities": None,
        "classes": ["cat", "dog"],
        "settings": DEFAULT,
    }
    return Pool(**(values | changes))


def test_margin_by_hand() -> None:
    probabilities = np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.2, 0.1, 0.7]])
    assert scores.margin(probabilities) == pytest.approx([1.0, 0.0, 0.5])


def test_one_class_is_never_uncertain() -> None:
    assert scores.margin(np.ones((2, 1))).tolist() == [0, 0]


def test_coverage_takes_one_of_each_heap() -> None:
    heaps = np.eye(3, dtype=np.float32).repeat([5, 4, 3], axis=0)
    jitter = np.random.default_rng(0).normal(scale=0.01, size=heaps.shape).astype(np.float32)
    directions = np.concatenate([heaps + jitter, [[1, 1, 1]]])
    choices = choose(pool(13, reserved=1, directions=directions), parse({"budget": 4, "random_share": 0.25}))
    diverse = [choice.position for choice in choices if choice.arm == "diverse"]
    assert sorted(np.searchsorted([5, 9, 12], diverse, side="right").tolist()) == [0, 1, 2]


def test_coverage_leaves_what_is_labelled_for_last() -> None:
    heaps = np.eye(3, dtype=np.float32).repeat(4, axis=0)
    found = choose(
        pool(13, reserved=1, directions=np.concatenate([heaps, heaps[:1]]), labelled=heaps[:2]),
        parse({"budget": 3, "random_share": 0.34}),
    )
    diverse = [choice.position for choice in found if choice.arm == "diverse"]
    assert {position // 4 for position in diverse} == {1, 2}


def test_coverage_goes_on_where_some_regions_hold_only_labelled_images() -> None:
    heaps = np.eye(4, dtype=np.float32).repeat(3, axis=0)
    where = pool(7, reserved=1, directions=np.concatenate([heaps[6:], heaps[:1]]), labelled=heaps[:6])
    choices = choose(where, parse({"budget": 4, "random_share": 0.25}))
    assert [choice.arm for choice in choices] == ["diverse"] * 3 + ["random"]


def test_uncertainty_takes_the_torn_ones_and_says_between_what() -> None:
    probabilities = np.tile([0.99, 0.01], (40, 1))
    probabilities[[3, 30]] = [0.52, 0.48]
    heaps = np.eye(2).repeat(20, axis=0) + np.arange(40)[:, None] / 1000
    where = pool(40, reserved=5, probabilities=probabilities, directions=heaps)
    choices = choose(where, parse({"budget": 3, "random_share": 0.33, "strategy": "cluster-margin"}))
    picked = {choice.position: choice for choice in choices if choice.arm == "uncertain"}
    assert set(picked) == {3, 30}
    assert "torn between cat (0.52) and dog (0.48)" in picked[3].why


def test_slices_get_their_share_the_worst_first() -> None:
    slices = [Slice("mild", 1.5, np.array([0, 1, 2])), Slice("bad", 3.0, np.array([4, 5, 39]))]
    probabilities = np.tile([0.9, 0.1], (40, 1))
    probabilities[5] = [0.6, 0.4]
    found = choose(
        pool(40, reserved=5, probabilities=probabilities, slices=slices),
        parse({"budget": 8, "slice_share": 0.375, "random_share": 0.125}),
    )
    sliced = [choice for choice in found if choice.arm == "slice"]
    assert [choice.position for choice in sliced] == [5, 0, 4]  # in turn; 39 is reserved
    assert "“bad”, where the model fails 3.0 times as often" in sliced[0].why


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 30),
    st.integers(1, 15),
    st.sampled_from(["auto", "random", *INFORMED, *COVERING]),
    st.booleans(),
    st.integers(0, 3),
)
def test_every_batch(count: int, budget: int, strategy: str, predicted: bool, seed: int) -> None:
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet([1, 1], size=count) if predicted else None
    recipe = parse({"budget": budget, "strategy": strategy, "seed": seed, "random_share": 0.2})
    where = pool(count, reserved=count // 3, seed=seed, probabilities=probabilities)
    drawn = budget if strategy == "random" else max(1, round(budget * 0.2))
    feasible = count >= budget if strategy == "random" else count // 3 >= drawn and count - count // 3 >= budget - drawn
    needs_predictions = strategy in INFORMED and not predicted and budget > drawn
    if not feasible or needs_predictions:
        with pytest.raises(InvalidInputError, match=r"available / .* requested|needs predictions"):
            choose(where, recipe)
        return
    choices = choose(where, recipe)
    positions = [choice.position for choice in choices]
    assert len(positions) == len(set(positions)) == budget
    assert choose(where, recipe) == choices
    assert all(choice.why.endswith(".") for choice in choices)
    for choice in choices:
        if strategy != "random":
            assert (choice.position in where.reserve) == (choice.arm == "random")
    assert sorted(rank(choices), key=str) == sorted(choices, key=str)


def test_a_half_finished_batch_has_every_arm_in_proportion() -> None:
    choices = [Choice(i, "diverse", 1 - i / 10, "d") for i in range(8)]
    choices += [Choice(9, "random", 0, "r"), Choice(10, "random", 0, "r")]
    ranked = rank(choices)
    assert [choice.arm for choice in ranked[:5]].count("random") == 1
    assert [choice.position for choice in ranked if choice.arm == "diverse"] == list(range(8))


def test_quotas_and_distance_bound_the_picks_for_training() -> None:
    kinds = [Kind(0, "even", np.arange(0, 40, 2)), Kind(1, "few", np.array([1, 3, 5]))]
    recipe = parse(
        {
            "budget": 10,
            "random_share": 0.2,
            "quotas": [{"where": "source == 'even'", "most": 3}, {"where": "source == 'few'", "least": 3}],
        }
    )
    positions = [one.position for one in choose(pool(40, reserved=5, kinds=kinds), recipe) if one.arm == "diverse"]
    assert len(positions) == 8
    assert sum(position % 2 == 0 for position in positions) <= 3
    assert {1, 3, 5} <= set(positions)
    heaps = np.eye(3).repeat(12, axis=0)
    apart = parse({"budget": 4, "random_share": 0.25, "min_distance": 0.5})
    found = [one.position for one in choose(pool(36, reserved=2, directions=heaps), apart) if one.arm == "diverse"]
    assert sorted(position // 12 for position in found) == [0, 1, 2]
    with pytest.raises(InvalidInputError, match="distance"):
        choose(pool(36, reserved=2, directions=heaps), parse({"budget": 5, "random_share": 0.2, "min_distance": 0.5}))


def test_a_quota_that_cannot_be_met_is_named() -> None:
    recipe = parse({"budget": 10, "random_share": 0.2, "quotas": [{"where": "source == 'few'", "least": 5}]})
    with pytest.raises(InvalidInputError, match=r"source == 'few'.*5.*3"):
        choose(pool(40, reserved=5, kinds=[Kind(0, "source == 'few'", np.array([1, 3, 5]))]), recipe)


def positions(choices: list[Choice], arm: str) -> list[int]:
    return [choice.position for choice in choices if choice.arm == arm]


def test_money_of_one_price_buys_what_it_is_worth() -> None:
    where = pool(40, reserved=10, costs=np.full(40, 0.12))
    choices = choose(where, parse({"money": 1.2, "cost": 0.12, "random_share": 0.2}))
    assert (len(positions(choices, "random")), len(positions(choices, "diverse"))) == (2, 8)
    with pytest.raises(InvalidInputError, match=r"11 images at 0\.12 would cost 1\.32, and 1\.2 buys 10"):
        choose(where, parse({"budget": 11, "money": 1.2, "cost": 0.12}))
    with pytest.raises(InvalidInputError, match=r"1 image at 0\.12 would cost 0\.12, and 0\.1 buys 0"):
        choose(where, parse({"money": 0.1, "cost": 0.12}))


@pytest.mark.parametrize("seed", range(10))
def test_money_of_several_prices_is_never_overspent_and_not_left_lying(seed: int) -> None:
    costs = np.random.default_rng(seed).choice([0.1, 0.5, 2.0], size=60)
    where = pool(60, reserved=20, seed=seed, costs=costs)
    choices = choose(where, parse({"money": 12, "cost": 1, "random_share": 0.2, "seed": seed}))
    chosen = [choice.position for choice in choices]
    assert len(set(chosen)) == len(chosen)
    spent = costs[chosen].sum()
    assert spent <= 12 + 1e-9
    left = np.setdiff1d(where.eligible, chosen)
    assert spent + costs[left].min() > 12  # what is left buys nothing more
    assert len(positions(choices, "random")) == int(2.4 / costs[where.reserve].mean() + 1e-9)


def test_a_sum_that_buys_nothing_says_so() -> None:
    where = pool(40, reserved=10, costs=np.where(np.arange(40) < 5, 1.0, 3.0))
    for seed in range(10):
        with pytest.raises(InvalidInputError, match=r"does not reach for one at their mean price"):
            choose(where, parse({"money": 8, "cost": 1, "random_share": 0.1, "seed": seed}))
    with pytest.raises(InvalidInputError, match="costs at least"):
        choose(where, parse({"budget": 9, "money": 12, "cost": 1, "random_share": 0.1}))


def test_gold_is_drawn_from_what_is_labelled() -> None:
    where = pool(30, reserved=10, labelled=np.eye(5), gold=np.arange(30, 35))
    choices = choose(where, parse({"budget": 10, "random_share": 0.2, "gold_share": 0.2}))
    assert len(choices) == 10
    assert set(positions(choices, "gold")) <= set(range(30, 35))
    assert [len(positions(choices, arm)) for arm in ("gold", "random", "diverse")] == [2, 2, 6]
    with pytest.raises(InvalidInputError, match="of those labelled: 5 available / 8 requested"):
        choose(where, parse({"budget": 20, "gold_share": 0.4}))
    at_random = choose(where, parse({"budget": 5, "strategy": "random", "gold_share": 0.3}))
    assert [len(positions(at_random, arm)) for arm in ("gold", "random")] == [2, 3]


def test_a_quota_for_each_kind_and_none_for_random() -> None:
    kinds = [Kind(0, "source=a", np.arange(15)), Kind(0, "source=b", np.arange(15, 30))]
    values = {"budget": 10, "random_share": 0.2, "quotas": [{"each": "source", "least": 4, "most": 4}]}
    choices = choose(pool(40, reserved=10, kinds=kinds), parse(values))
    assert sorted(position < 15 for position in positions(choices, "diverse")) == [False] * 4 + [True] * 4
    with pytest.raises(InvalidInputError, match="random keeps no quotas"):
        choose(pool(40, reserved=10, kinds=kinds), parse(values | {"strategy": "random"}))


def test_a_given_uncertainty_goes_before_margins_and_is_said() -> None:
    uncertainty = np.where(np.arange(40) == 7, 0.9, 0.1)
    flat = np.tile([0.5, 0.5], (40, 1))
    values = {"budget": 2, "random_share": 0.5, "strategy": "uncertainty"}
    where = pool(40, reserved=5, probabilities=flat, uncertainty=uncertainty)
    (found,) = [one for one in choose(where, parse(values | {"score": "bald"})) if one.arm == "uncertain"]
    assert (found.position, found.score) == (7, 0.9)
    assert found.why.startswith("The model's passes disagree (0.90 by bald); stands for about")
    boxes = pool(40, reserved=5, uncertainty=uncertainty)
    (found,) = [one for one in choose(boxes, parse(values)) if one.arm == "uncertain"]
    assert found.position == 7
    assert found.why.startswith("The model is unsure of the boxes it found (0.90 by max)")


def test_dropquery_takes_what_changes_class_and_needs_passes() -> None:
    changed = np.where(np.isin(np.arange(40), [4, 9, 22]), 0.8, 0.0)
    where = pool(40, reserved=5, probabilities=np.tile([0.6, 0.4], (40, 1)), changed=changed)
    values = {"budget": 4, "random_share": 0.25, "strategy": "dropquery"}
    assert set(positions(choose(where, parse(values)), "uncertain")) == {4, 9, 22}
    with pytest.raises(InvalidInputError, match="compares several passes"):
        choose(pool(40, reserved=5, probabilities=np.tile([0.6, 0.4], (40, 1))), parse(values))


@pytest.mark.parametrize("budget", range(2, 12))
@pytest.mark.parametrize(("random", "gold"), [(0.1, 0.1), (0.5, 0.5), (0.34, 0.34), (1.0, 0.0), (0.05, 0.9)])
@pytest.mark.parametrize("strategy", ["auto", "random"])
def test_whatever_the_shares_a_batch_is_its_budget(budget: int, random: float, gold: float, strategy: str) -> None:
    where = pool(40, reserved=15, labelled=np.random.default_rng(0).normal(size=(15, 5)), gold=np.arange(40, 55))
    recipe = parse({"budget": budget, "strategy": strategy, "random_share": random, "gold_share": gold})
    assert len({choice.position for choice in choose(where, recipe)}) == budget


def test_one_image_cannot_be_both_gold_and_random() -> None:
    where = pool(40, reserved=15, labelled=np.eye(5), gold=np.arange(40, 45))
    with pytest.raises(InvalidInputError, match="either gold or drawn at random"):
        choose(where, parse({"budget": 1, "gold_share": 0.1}))


def test_random_images_are_not_bought_beyond_the_money() -> None:
    where = pool(40, reserved=10, costs=np.where(np.arange(40) % 2, 1.0, 10.0))
    with pytest.raises(InvalidInputError, match=r"cost \d+ of 12"):
        choose(where, parse({"budget": 10, "money": 12, "cost": 1, "strategy": "random"}))
    everything = pool(20, reserved=5, costs=np.where(np.arange(20) % 2, 1.0, 2.0))
    bought = choose(everything, parse({"money": 30, "cost": 1, "strategy": "random"}))
    assert len(bought) == 20


def test_failure_clusters_keep_the_distance_and_the_quotas_too() -> None:
    heaps = np.eye(3).repeat(12, axis=0)
    one_heap = [Slice("bad", 2.0, np.arange(12))]
    values = {"budget": 4, "random_share": 0.25, "slice_share": 0.75}
    where = pool(36, reserved=2, directions=heaps, slices=one_heap, probabilities=np.tile([0.6, 0.4], (36, 1)))
    assert len(positions(choose(where, parse(values)), "slice")) == 3
    apart = choose(where, parse(values | {"min_distance": 0.5}))
    assert len(positions(apart, "slice")) == 1
    assert sorted(one.position // 12 for one in apart if one.arm != "random") == [0, 1, 2]
    bounded = pool(
        36,
        reserved=2,
        directions=heaps,
        slices=one_heap,
        probabilities=np.tile([0.6, 0.4], (36, 1)),
        kinds=[Kind(0, "night", np.arange(12))],
    )
    found = choose(bounded, parse(values | {"quotas": [{"where": "night", "most": 1}]}))
    assert sum(one.position < 12 for one in found) == 1


def test_a_minimum_distance_is_that_of_the_embeddings() -> None:
    directions = np.random.default_rng(0).normal(size=(300, 5))
    choices = choose(pool(300, reserved=20, directions=directions), parse({"budget": 20, "min_distance": 0.2}))
    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    chosen = unit[[choice.position for choice in choices if choice.arm != "random"]]
    assert (chosen @ chosen.T - 2 * np.eye(len(chosen))).max() <= 0.8 + 1e-5


def test_a_dear_image_is_drawn_at_random_as_often_as_a_cheap_one() -> None:
    dear = np.arange(60) % 3 == 0
    where = pool(60, reserved=30, costs=np.where(dear, 1.5, 0.1))
    drawn = [
        position
        for seed in range(200)
        for position in positions(
            choose(where, parse({"money": 12, "cost": 1, "random_share": 0.2, "seed": seed})), "random"
        )
    ]
    assert abs(np.mean(dear[drawn]) - 1 / 3) < 0.06  # of 800: four standard errors
