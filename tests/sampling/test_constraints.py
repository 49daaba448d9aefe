"""Choosing within bounds: by hand, and against every subset of small pools."""

import itertools
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampling.constraints import Constraints, Quota, choose
from store.arrays import Bools, Ints
from store.errors import InvalidInputError


def members(count: int, *positions: int) -> Bools:
    return np.isin(np.arange(count), positions)


def pick(count: int, constraints: Constraints, **more: Any) -> list[int]:
    return choose(np.arange(count), constraints, **more).tolist()


def test_without_bounds_it_is_the_top_of_the_order() -> None:
    assert choose(np.array([3, 1, 0, 2]), Constraints(items=2)).tolist() == [3, 1]
    assert pick(4, Constraints(items=0)) == []


def test_a_minimum_takes_the_places_of_the_last() -> None:
    late = Quota("source=b", members(6, 3, 5), least=2)
    assert pick(6, Constraints(items=3, quotas=[late])) == [0, 3, 5]


def test_a_maximum_passes_over() -> None:
    early = Quota("source=a", members(6, 0, 1, 2), most=1)
    assert pick(6, Constraints(items=3, quotas=[early])) == [0, 3, 4]
    none = Quota("source=a", members(6, 0, 1, 2), most=0)
    assert pick(6, Constraints(items=3, quotas=[none])) == [3, 4, 5]


def test_one_image_can_serve_two_overlapping_minima() -> None:
    quotas = [Quota("a", members(5, 3, 4), least=1), Quota("b", members(5, 2, 4), least=1)]
    assert pick(5, Constraints(items=2, quotas=quotas)) == [0, 4]


def test_shares_are_of_the_whole_choice() -> None:
    third = Quota("a", members(60, *range(30, 60)), least_share=0.1)
    assert sum(i >= 30 for i in pick(60, Constraints(items=30, quotas=[third]))) == 3
    half = Quota("a", members(10, *range(6)), most_share=0.5)
    costs = np.ones(10)
    assert pick(10, Constraints(money=8, costs=costs, quotas=[half])) == [0, 1, 2, 3, 6, 7, 8, 9]


def test_money_is_a_ceiling() -> None:
    costs = np.array([5.0, 1, 5, 1, 1])
    assert pick(5, Constraints(money=8, costs=costs)) == [0, 1, 3, 4]
    cheap_later = Quota("a", members(5, 2), least=1)
    assert pick(5, Constraints(money=8, costs=costs, quotas=[cheap_later])) == [1, 2, 3, 4]
    assert pick(5, Constraints(items=2, money=6, costs=costs)) == [0, 1]


def test_what_was_taken_counts() -> None:
    quota = Quota("a", members(6, 0, 1, 5), most=2)
    assert pick(6, Constraints(items=4, quotas=[quota], taken=np.array([5]))) == [0, 2, 3]


def test_picks_keep_their_distance() -> None:
    vectors = np.array([[1, 0], [0.8, 0.6], [0, 1], [-1, 0]], dtype=np.float32)
    assert pick(4, Constraints(items=3, min_distance=0.5), take=vectors.__getitem__) == [0, 2, 3]
    assert pick(4, Constraints(items=3, min_distance=1.0), take=vectors.__getitem__) == [
        0,
        2,
        3,
    ]  # a right angle is enough
    assert pick(4, Constraints(items=2, min_distance=0.5, taken=np.array([0])), take=vectors.__getitem__) == [2]


def test_a_minimum_that_distance_leaves_short_goes_first() -> None:
    vectors = np.array([[1, 0], [0.8, 0.6], [0, 1], [-1, 0]], dtype=np.float32)
    quota = Quota("a", members(4, 1), least=1)
    assert pick(4, Constraints(items=2, min_distance=0.5, quotas=[quota]), take=vectors.__getitem__) == [1, 3]


def test_a_pick_that_blocks_the_only_image_for_two_minima_gives_way() -> None:
    vectors = np.array([[1, 0], [0.8, 0.6], [-1, 0], [0, -1]], dtype=np.float32)
    quotas = [Quota("a", members(4, 1, 2), least=1), Quota("b", members(4, 1, 3), least=1)]
    assert pick(4, Constraints(items=2, min_distance=0.5, quotas=quotas), take=vectors.__getitem__) == [1, 2]


@pytest.mark.parametrize(
    ("constraints", "message"),
    [
        (Constraints(items=7), "a budget of 7: only 6 candidates"),
        (Constraints(items=2, taken=np.arange(3)), "a budget of 2: 3 taken already"),
        (Constraints(items=5, quotas=[Quota("source=a", members(6, 0, 1), least=4)]), "source=a at least 4: only 2 c"),
        (
            Constraints(
                items=4, quotas=[Quota("a", members(6, 0, 1, 2), least=3), Quota("b", members(6, 4, 5), least=2)]
            ),
            "a at least 3, b at least 2, a budget of 4: the minima add up to 5 of 4",
        ),
        (
            Constraints(
                items=4, quotas=[Quota("a", members(6, 0, 1, 2, 3, 4), most=1), Quota("c", members(6, 5), least=1)]
            ),
            "a at most 1, a budget of 4 contradict each other: they miss by 2 images",
        ),
        (
            Constraints(money=5, costs=np.full(6, 2.0), quotas=[Quota("a", members(6, 0, 1, 2), least=3)]),
            "a at least 3, 5 of money contradict each other: what the others ask for costs at least 6",
        ),
        (
            Constraints(items=2, quotas=[Quota("a", members(6, 0, 1), most=1)], taken=np.array([0, 1])),
            "a at most 1: 2 taken already",
        ),
        (
            Constraints(
                money=2, costs=np.ones(6), quotas=[Quota("a", members(6, 0), least_share=0.5)], taken=np.arange(1, 5)
            ),
            "a at least 50%: misses by 2 images",
        ),
        (
            Constraints(
                money=2, costs=np.ones(6), quotas=[Quota("a", np.ones(6, dtype=np.bool_), least=1, most_share=0.5)]
            ),
            "a at most 50%, a at least 1 contradict each other: they miss by 1 image",
        ),
        (
            Constraints(
                money=9,
                costs=np.ones(6),
                quotas=[Quota("a", members(6, 0, 1, 2, 3), most_share=0.1)],
                taken=np.arange(3),
            ),
            "a at most 10%: misses by 3 images",
        ),
    ],
)
def test_what_is_impossible_is_named_with_its_number(constraints: Constraints, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        pick(6, constraints)


def test_distance_that_leaves_too_few_says_how_many() -> None:
    vectors = np.eye(3, dtype=np.float32).repeat(4, axis=0)
    with pytest.raises(InvalidInputError, match=r"minimum distance of 0.5 .* a budget of 5: only 3"):
        pick(12, Constraints(items=5, min_distance=0.5), take=vectors.__getitem__)
    half = Constraints(money=9, costs=np.ones(4), min_distance=0.5, quotas=[Quota("a", members(4, 0), most_share=0.5)])
    assert pick(4, half, take=np.ones((4, 1), dtype=np.float32).__getitem__) == [1]
    quota = Quota("a", members(12, 0, 1, 2, 3), least=2)
    with pytest.raises(InvalidInputError, match="a at least 2: only 1"):
        pick(12, Constraints(items=3, min_distance=0.5, quotas=[quota]), take=vectors.__getitem__)


@pytest.mark.parametrize(
    "constraints",
    [
        Constraints(),
        Constraints(items=-1),
        Constraints(items=1, min_distance=0.1),
        Constraints(money=1.0),
        Constraints(money=1.0, costs=np.array([1.0, np.nan, 1, 1])),
        Constraints(money=1.0, costs=np.arange(200.0)),
        Constraints(items=1, quotas=[Quota("a", members(4, 0), least=2, most=1)]),
        Constraints(items=1, quotas=[Quota("a", members(4, 0), least_share=0.6, most_share=0.5)]),
    ],
)
def test_bounds_that_make_no_sense_are_refused(constraints: Constraints) -> None:
    with pytest.raises(InvalidInputError):
        pick(4, constraints)


def fulfils(chosen: list[int], constraints: Constraints) -> bool:
    """The constraints read off their definition, distances apart."""
    taken = [] if constraints.taken is None else constraints.taken.tolist()
    everything = chosen + taken
    if constraints.items is not None and len(everything) != constraints.items:
        return False
    if constraints.money is not None and constraints.costs[everything].sum() > constraints.money + 1e-6:  # type: ignore[index]
        return False
    for quota in constraints.quotas:
        count, size = quota.members[everything].sum(), len(everything)
        if not max(quota.least, quota.least_share * size - 1e-6) <= count:
            return False
        if not count <= min(np.inf if quota.most is None else quota.most, quota.most_share * size + 1e-6):
            return False
    return True


def first_by_hand(order: Ints, constraints: Constraints) -> list[int] | None:
    """The lexicographically first of all subsets that fulfil the constraints; a longer one before its beginning."""
    taken = [] if constraints.taken is None else constraints.taken.tolist()
    free = [i for i in order.tolist() if i not in taken]
    subsets = itertools.product([True, False], repeat=len(free))  # in this very order
    for keep in subsets:
        chosen = [i for i, kept in zip(free, keep, strict=True) if kept]
        if fulfils(chosen, constraints):
            return chosen
    return None


@st.composite
def problems(draw: st.DrawFn) -> tuple[Ints, Constraints]:
    n = draw(st.integers(1, 9))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    quotas = []
    for i in range(draw(st.integers(0, 4))):
        least = int(generator.integers(0, 3))
        most = least + int(generator.integers(0, 4)) if generator.random() < 0.6 else None
        shares = np.sort(generator.random(2)).round(1) if generator.random() < 0.3 else [0, 1]
        quotas.append(Quota(f"q{i}", generator.random(n) < 0.5, least, most, float(shares[0]), float(shares[1])))
    by_money = draw(st.sampled_from([False, False, True]))
    return generator.permutation(n), Constraints(
        items=None if by_money else draw(st.integers(0, min(n, 6))),
        money=float(generator.integers(0, 12)) if by_money or generator.random() < 0.2 else None,
        costs=generator.choice([0.5, 1, 3], size=n),
        quotas=quotas,
        taken=generator.choice(n, size=draw(st.sampled_from([0, 0, 1])), replace=False),
    )


@settings(deadline=None, max_examples=300)
@given(problems())
def test_it_is_the_first_of_all_subsets_that_fulfil_the_constraints(problem: tuple[Ints, Constraints]) -> None:
    order, constraints = problem
    expected = first_by_hand(order, constraints)
    if expected is None:
        with pytest.raises(InvalidInputError, match=r"cannot be met: .+"):
            choose(order, constraints)
    else:
        assert choose(order, constraints).tolist() == expected


@settings(deadline=None, max_examples=100)
@given(problems(), st.integers(0, 2**32 - 1))
def test_with_a_distance_everything_holds_or_it_says_what_does_not(
    problem: tuple[Ints, Constraints], seed: int
) -> None:
    order, constraints = problem
    vectors = np.random.default_rng(seed).normal(size=(len(order), 3))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    limited = Constraints(**{**constraints.__dict__, "min_distance": 0.4})
    try:
        chosen = choose(order, limited, take=vectors.__getitem__).tolist()
    except InvalidInputError as error:
        assert re.search(r"cannot be met: .+|best first: .+(only|short)", str(error))  # noqa: PT017
        return
    assert fulfils(chosen, constraints)
    everything = chosen + constraints.taken.tolist()  # type: ignore[union-attr]
    cosines = vectors[everything] @ vectors[everything].T
    assert (cosines[: len(chosen)][~np.eye(len(everything), dtype=bool)[: len(chosen)]] <= 0.6 + 1e-6).all()


@settings(deadline=None, max_examples=50)
@given(problems(), st.integers(0, 2**32 - 1))
def test_renaming_the_positions_renames_the_choice(problem: tuple[Ints, Constraints], seed: int) -> None:
    order, constraints = problem
    new = np.random.default_rng(seed).permutation(len(order))  # position i becomes new[i]
    old = np.argsort(new)
    renamed = Constraints(
        items=constraints.items,
        money=constraints.money,
        costs=constraints.costs[old],  # type: ignore[index]
        quotas=[Quota(**{**quota.__dict__, "members": quota.members[old]}) for quota in constraints.quotas],
        taken=new[constraints.taken],
    )
    try:
        expected = new[choose(order, constraints)].tolist()
    except InvalidInputError:
        with pytest.raises(InvalidInputError):
            choose(new[order], renamed)
    else:
        assert choose(new[order], renamed).tolist() == expected
