"""Where a thing is, from several: by hand, and beside the mean and the median."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qa.consensus import location
from store.arrays import Floats, Ints


def located(drawn: Floats, thing: Ints, annotator: Ints) -> location.Location:
    things, annotators = int(thing.max()) + 1, int(annotator.max()) + 1
    sizes = np.full((things, drawn.shape[1]), 100.0)
    return location.locate(drawn, thing, annotator, things=things, annotators=annotators, sizes=sizes)


def crowd(seed: int, spreads: list[float], *, gaussian: bool) -> tuple[Floats, Ints, Ints, Floats]:
    """Drawn, thing, annotator and the truth of 200 things of size 100."""
    generator = np.random.default_rng(seed)
    truth = generator.random((200, 2)) * 1000
    thing, annotator = np.repeat(np.arange(200), len(spreads)), np.tile(np.arange(len(spreads)), 200)
    shape = (len(thing), 2)
    errors = generator.normal(size=shape) if gaussian else generator.standard_cauchy(shape)
    return truth[thing] + 100 * errors * np.array(spreads)[annotator][:, None], thing, annotator, truth


def test_medians_by_hand() -> None:
    drawn = np.array([[1.0, 10], [5, 30], [2, 20], [7, 7], [9, 8]])
    thing = np.array([0, 0, 0, 1, 1])
    assert location.medians(drawn, thing, things=2).tolist() == [[2, 20], [8, 7.5]]


def test_two_strangers_meet_in_the_middle_and_one_is_taken_at_their_word() -> None:
    found = located(np.array([[10.0], [14], [70]]), np.array([0, 0, 1]), np.array([0, 1, 2]))
    assert found.places[:, 0] == pytest.approx([12, 70])


def test_one_who_is_far_off_is_passed_over() -> None:
    found = located(np.array([[10.0], [11], [12], [13], [90]]), np.zeros(5, np.int64), np.arange(5))
    assert 11 < found.places[0, 0] < 13


@pytest.mark.parametrize("gaussian", [True, False])
def test_spreads_are_learnt_and_places_better_than_mean_and_median(gaussian: bool) -> None:
    gains = []
    for seed in range(10):
        drawn, thing, annotator, truth = crowd(seed, [0.01, 0.02, 0.04, 0.08, 0.08], gaussian=gaussian)
        found = located(drawn, thing, annotator)
        assert (np.diff(found.spread[:4]) > 0).all()
        if gaussian:
            assert found.spread == pytest.approx([0.01, 0.02, 0.04, 0.08, 0.08], rel=0.5)
        mean = np.stack([np.bincount(thing, column) / 5 for column in drawn.T], axis=1)
        errors = [
            np.abs(each - truth).mean() for each in (found.places, location.medians(drawn, thing, things=200), mean)
        ]
        gains.append(errors[0] / min(errors[1:]))
    assert np.mean(gains) < 0.9
    assert max(gains) < 1


def test_of_equals_with_normal_errors_it_is_nearly_as_good_as_the_mean() -> None:
    ratios = []
    for seed in range(10):
        drawn, thing, annotator, truth = crowd(seed, [0.05] * 5, gaussian=True)
        mean = np.stack([np.bincount(thing, column) / 5 for column in drawn.T], axis=1)
        found = located(drawn, thing, annotator).places
        ratios.append(np.abs(found - truth).mean() / np.abs(mean - truth).mean())
    assert np.mean(ratios) < 1.07  # the median: 1.2


@given(st.integers(0, 1000), st.floats(-500, 500), st.permutations(range(4)))
def test_it_moves_with_what_is_drawn_whoever_is_who(seed: int, shift: float, names: list[int]) -> None:
    generator = np.random.default_rng(seed)
    drawn, thing, annotator = generator.random((12, 2)) * 50, np.repeat(np.arange(3), 4), np.tile(np.arange(4), 3)
    found = located(drawn, thing, annotator)
    moved = located(drawn + shift, thing, np.array(names)[annotator])
    assert moved.places == pytest.approx(found.places + shift, abs=1e-6)
    assert moved.spread[names] == pytest.approx(found.spread)
