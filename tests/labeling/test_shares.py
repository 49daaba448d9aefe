from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling import shares
from store.errors import InvalidInputError

KEY = bytes(range(32))


def parts(*weights: int) -> dict[str, Fraction]:
    return {f"vendor-{i}": Fraction(weight, sum(weights)) for i, weight in enumerate(weights)}


weights = st.lists(st.integers(1, 9), min_size=1, max_size=4).map(lambda each: parts(*each))


def test_remainders_go_to_the_largest_and_then_to_the_first() -> None:
    assert shares.counts(10, parts(6, 4)) == {"vendor-0": 6, "vendor-1": 4}
    assert shares.counts(11, parts(6, 4)) == {"vendor-0": 7, "vendor-1": 4}  # 6.6 and 4.4
    assert shares.counts(1, parts(1, 1)) == {"vendor-0": 1, "vendor-1": 0}
    assert shares.counts(10, parts(1, 1, 1)) == {"vendor-0": 4, "vendor-1": 3, "vendor-2": 3}


@given(st.integers(0, 500), weights)
def test_counts_are_whole_and_nearest(total: int, each: dict[str, Fraction]) -> None:
    found = shares.counts(total, each)
    assert sum(found.values()) == total
    assert all(abs(found[name] - total * each[name]) < 1 for name in each)


@pytest.mark.parametrize("said", [("0.6", "0.3"), ("0.6", "0.5"), ("1.5", "-0.5"), ("1", "0")])
def test_shares_that_are_no_whole_are_refused(said: tuple[str, str]) -> None:
    with pytest.raises(InvalidInputError, match=r"above 0 and 1\."):
        shares.counts(5, {str(i): Fraction(share) for i, share in enumerate(said)})


def test_takers_take_turns_within_each_kind() -> None:
    kinds = ["random", "diverse"] * 4  # dealt in turns by rank alone, one of two would get everything random
    assert shares.deal(kinds, parts(1, 1)) == {"vendor-0": [0, 1, 4, 5], "vendor-1": [2, 3, 6, 7]}
    assert shares.deal(["diverse"] * 5, parts(3, 2)) == {"vendor-0": [0, 2, 4], "vendor-1": [1, 3]}


@given(st.lists(st.sampled_from("abc"), max_size=80), weights)
def test_every_item_has_one_taker_and_every_taker_the_same_mix(kinds: list[str], each: dict[str, Fraction]) -> None:
    dealt = shares.deal(kinds, each)
    assert sorted(position for positions in dealt.values() for position in positions) == list(range(len(kinds)))
    assert {name: len(positions) for name, positions in dealt.items()} == shares.counts(len(kinds), each)
    for name, positions in dealt.items():
        mix = Counter(kinds[position] for position in positions)
        assert all(abs(mix[kind] - count * each[name]) < 3 for kind, count in Counter(kinds).items())


@given(st.integers(0, 40), st.integers(0, 10), st.text(max_size=5))
def test_gold_is_hidden_among_the_others_in_order(others: int, gold: int, context: str) -> None:
    order = shares.hide(range(others), range(1000, 1000 + gold), key=KEY, context=context)
    assert order == shares.hide(range(others), range(1000, 1000 + gold), key=KEY, context=context)
    assert [item for item in order if item < 1000] == list(range(others))
    assert [item for item in order if item >= 1000] == list(range(1000, 1000 + gold))


def test_places_of_gold_are_uniform_and_the_keys() -> None:
    places = Counter(
        shares.hide(range(9), [1000], key=KEY, context=str(campaign)).index(1000) for campaign in range(2000)
    )
    assert set(places) == set(range(10))
    assert max(places.values()) < 270  # of 200 expected: five standard deviations
    orders = {tuple(shares.hide(range(30), [1000, 1001], key=bytes([i]) * 32, context="x")) for i in range(20)}
    assert len(orders) > 15
