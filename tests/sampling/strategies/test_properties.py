"""What holds for every strategy a recipe can name, whatever the pool: taken from the union, so that a new one is asked.

A tie is, for every strategy but the random one, at least this: candidates with the same vector and the same
probabilities are chosen in the order of their positions. What else is a tie, each strategy's docstring says.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from random import Random
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampling import planner, recipes
from sampling.head import DEFAULT, Views
from sampling.pool import Pool, Slice
from sampling.recipes import parse
from sampling.situation import Situation
from sampling.strategies import strategy_of
from store.arrays import Floats, Ints, Vectors
from store.errors import InvalidInputError
from tests.sampling.strategies import chosen

KINDS: list[type[recipes.Strategy]] = list(get_args(get_args(recipes.Strategy)[0]))
every_strategy = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind().name)
every_tying_strategy = pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind is not recipes.Random], ids=lambda kind: kind().name
)


def unit(values: Floats) -> Vectors:
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def scattered(generator: np.random.Generator, count: int, dimensions: int = 5) -> Vectors:
    return unit(generator.normal(size=(count, dimensions)))


VECTORS: dict[str, Callable[[np.random.Generator, int], Vectors]] = {
    "scattered": scattered,
    "copies of a few": lambda generator, count: scattered(generator, 4)[generator.integers(0, 4, count)],
    "all equal": lambda generator, count: scattered(generator, 1).repeat(count, axis=0),
    "axes": lambda generator, count: np.eye(5, dtype=np.float32)[generator.integers(0, 5, count)],
}
PROBABILITIES: dict[str, Callable[[np.random.Generator, int], Floats]] = {
    "any": lambda generator, count: generator.dirichlet(np.ones(3), size=count),
    "few": lambda generator, count: generator.dirichlet(np.ones(3), size=3)[generator.integers(0, 3, count)],
    "flat": lambda _, count: np.full((count, 3), 1 / 3),
    "certain": lambda generator, count: np.eye(3)[generator.integers(0, 3, count)],
    "one class": lambda _, count: np.ones((count, 1)),
    "partly certain": lambda generator, count: np.where(
        generator.random((count, 1)) < 0.7, np.eye(3)[0], generator.dirichlet(np.ones(3), size=count)
    ),
}


@st.composite
def situations(draw: st.DrawFn) -> tuple[Situation, int, int]:
    """Any situation, nothing of which can be written to, with a number to choose and a seed."""
    count, seed = draw(st.integers(1, 50)), draw(st.integers(0, 10_000))
    generator = np.random.default_rng(seed)
    vectors = VECTORS[draw(st.sampled_from(sorted(VECTORS)))](generator, count)
    probabilities = PROBABILITIES[draw(st.sampled_from(sorted(PROBABILITIES)))](generator, count)
    role = generator.integers(0, 3, count)  # candidates, labelled, neither
    if draw(st.booleans()):
        role[:] = 0
    candidates = np.flatnonzero(role == 0)
    k = draw(st.integers(0, len(candidates)))
    if draw(st.booleans()):
        k = len(candidates)
    return situation(vectors, probabilities, candidates, np.flatnonzero(role == 1)), k, seed


def situation(vectors: Vectors, probabilities: Floats, candidates: Ints, labelled: Ints) -> Situation:
    changed = changed_as(probabilities)
    for array in (vectors, probabilities, candidates, labelled, changed):
        array.flags.writeable = False
    classes = probabilities.shape[1]
    return Situation(
        Views(vectors, vectors), DEFAULT, labelled, candidates, probabilities, classes=classes, changed=changed
    )


def changed_as(probabilities: Floats) -> Floats:
    """The share of passes with another class, as a model that doubts so much might have it."""
    return 1 - probabilities.max(axis=1)


@every_strategy
@settings(max_examples=60)
@given(situations())
def test_so_many_candidates_each_once_and_the_same_again(
    kind: type[recipes.Strategy], drawn: tuple[Situation, int, int]
) -> None:
    where, k, seed = drawn
    found = strategy_of(kind())(where, k, seed)
    assert len(found) == len(np.unique(found)) == k
    assert np.isin(found, where.candidates).all()
    assert strategy_of(kind())(where, k, seed).tolist() == found.tolist()


@every_strategy
@settings(max_examples=15)
@given(situations(), st.integers(1, 5))
def test_more_than_there_are_is_refused_with_the_numbers(
    kind: type[recipes.Strategy], drawn: tuple[Situation, int, int], more: int
) -> None:
    where, _, seed = drawn
    there = len(where.candidates)
    with pytest.raises(InvalidInputError, match=rf"{there} available / {there + more} requested"):
        strategy_of(kind())(where, there + more, seed)


@every_tying_strategy
@settings(max_examples=100)
@given(situations())
def test_of_equals_the_first_are_chosen_in_their_order(
    kind: type[recipes.Strategy], drawn: tuple[Situation, int, int]
) -> None:
    where, k, seed = drawn
    chosen = strategy_of(kind())(where, k, seed).tolist()
    for equals in alike(where):
        assert [position for position in chosen if position in equals] == equals[: len(set(equals) & set(chosen))]


def alike(where: Situation) -> list[list[int]]:
    """The candidates of each vector and probabilities, ascending."""
    assert where.probabilities is not None
    found: dict[bytes, list[int]] = {}
    for position in where.candidates.tolist():
        key = where.seen[position].tobytes() + where.probabilities[position].tobytes()
        found.setdefault(key, []).append(position)
    return list(found.values())


@every_tying_strategy
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("count", "dimensions", "distinct"), [(1500, 64, 1), (2000, 64, 40), (2000, 192, 300)])
def test_of_many_equals_the_first_are_chosen(
    kind: type[recipes.Strategy], count: int, dimensions: int, distinct: int, seed: int
) -> None:
    """Products of large matrices round equal rows differently, depending on where they are."""
    generator = np.random.default_rng(seed)
    which = generator.integers(0, distinct, count)
    vectors = scattered(generator, distinct, dimensions)[which]
    probabilities = generator.dirichlet(np.ones(5), size=distinct)[which]
    where = situation(vectors, probabilities, np.arange(count - 50), np.arange(count - 50, count))
    found = strategy_of(kind())(where, 150, seed)
    for one in np.unique(which[found]):
        picked = found[which[found] == one].tolist()
        assert picked == np.flatnonzero(which == one)[: len(picked)].tolist()


class Collection:
    """Images by their content: what the planner may choose from, whatever ids and places in a catalog they get."""

    def __init__(self, vectors: Vectors, probabilities: Floats, seed: int) -> None:
        generator = np.random.default_rng(seed)
        self.vectors, self.probabilities = vectors, probabilities
        self.sha256s = [generator.bytes(32).hex() for _ in vectors]
        self.roles = generator.choice(
            ["train", "val", "labelled", "excluded"], size=len(vectors), p=[0.5, 0.2, 0.2, 0.1]
        )
        self.clusters = [generator.choice(len(vectors), size=len(vectors) // 3, replace=False) for _ in range(2)]

    def pool(self, ingested: Sequence[int]) -> Pool:
        """As the planner sees it where the images were ingested in this order."""
        stored, ids = self.vectors[ingested], {image: i + 1 for i, image in enumerate(ingested)}
        by_sha256 = sorted(range(len(self.sha256s)), key=lambda image: self.sha256s[image])
        rows = np.array([ids[image] - 1 for image in by_sha256], dtype=np.int64)
        probabilities, roles = self.probabilities[by_sha256], self.roles[by_sha256]
        for array in (stored, probabilities):
            array.flags.writeable = False
        return Pool(
            sha256s=[self.sha256s[image] for image in by_sha256],
            image_ids=[ids[image] for image in by_sha256],
            take=lambda positions: stored[rows[positions]],
            eligible=np.flatnonzero(roles == "train"),
            reserve=np.flatnonzero(roles == "val"),
            labelled=np.flatnonzero(roles == "labelled"),
            probabilities=probabilities,
            changed=changed_as(probabilities),
            classes=["cat", "dog", "owl"][: probabilities.shape[1]],
            settings=DEFAULT,
            slices=[
                Slice(name, 2.0, np.flatnonzero(np.isin(by_sha256, members)))
                for name, members in zip("ab", self.clusters, strict=True)
            ],
        )


@st.composite
def collections(draw: st.DrawFn) -> Collection:
    count, seed = draw(st.integers(1, 60)), draw(st.integers(0, 10_000))
    generator = np.random.default_rng(seed)
    vectors = VECTORS[draw(st.sampled_from(sorted(VECTORS)))](generator, count)
    probabilities = PROBABILITIES[draw(st.sampled_from(sorted(PROBABILITIES)))](generator, count)
    return Collection(vectors, probabilities, seed)


@every_strategy
@settings(max_examples=40)
@given(collections(), st.integers(1, 30), st.integers(0, 9), st.randoms(use_true_random=False))
def test_a_batch_is_whole_and_the_same_in_whatever_order_images_were_ingested(
    kind: type[recipes.Strategy], collection: Collection, budget: int, seed: int, random: Random
) -> None:
    count = len(collection.sha256s)
    recipe = parse({"budget": budget, "strategy": kind().name, "seed": seed})
    pool = collection.pool(range(count))
    try:
        choices = planner.choose(pool, recipe)
    except InvalidInputError as error:
        available, requested = map(int, re.findall(r"(\d+) available / (\d+) requested", str(error))[0])
        assert available < requested <= budget
        return
    positions = [choice.position for choice in choices]
    assert len(positions) == len(set(positions)) == budget
    assert np.isin(positions, np.concatenate([pool.eligible, pool.reserve])).all()
    other = collection.pool(random.sample(range(count), count))
    assert [described(other, choice) for choice in planner.choose(other, recipe)] == [
        described(pool, choice) for choice in choices
    ]


def described(pool: Pool, choice: planner.Choice) -> tuple[str, str, float, str]:
    return pool.sha256s[choice.position], choice.arm, round(choice.score, 6), choice.why


@pytest.mark.parametrize("pools", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_other_processes_with_other_threads_or_an_older_processor_choose_the_same(pools: int) -> None:
    found = chosen.lines(pools)
    for machine in ({"OMP_NUM_THREADS": "1"}, {"OMP_NUM_THREADS": "2"}, {"OPENBLAS_CORETYPE": "Nehalem"}):
        command = [sys.executable, chosen.__file__, str(pools)]
        done = subprocess.run(command, env=os.environ | machine, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines() == found, machine
