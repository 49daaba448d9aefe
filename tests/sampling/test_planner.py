"""Choosing: hand-checkable pools, and what holds for every pool."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampling import scores
from sampling.head import DEFAULT
from sampling.planner import Choice, Pool, Slice, choose, rank
from sampling.recipes import parse
from store.errors import InvalidInputError

INFORMED = ["cluster-margin", "variance", "uherding", "weighted-k-means"]
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
    members = [np.arange(0, 40, 2), np.array([1, 3, 5])]
    recipe = parse(
        {
            "budget": 10,
            "random_share": 0.2,
            "quotas": [{"where": "source == 'even'", "most": 3}, {"where": "source == 'few'", "least": 3}],
        }
    )
    positions = [one.position for one in choose(pool(40, reserved=5, members=members), recipe) if one.arm == "diverse"]
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
        choose(pool(40, reserved=5, members=[np.array([1, 3, 5])]), recipe)
