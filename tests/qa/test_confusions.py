"""Confused pairs: by hand, nothing where there is nothing, and the peers' p-values."""

import numpy as np
import pytest
from scipy import stats

from qa import confusions
from qa.conduct import signs
from store.arrays import Floats, Ints
from tests.qa.consensus.crowds import coins, crowd


def test_by_hand() -> None:
    answers = np.array([(0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 1), (2, 0, 2), (2, 1, 2)])
    truth = np.array([0, 1, 2])
    [found] = confusions.tabulate(answers, truth, np.array([0.8, 0.6]), classes=3)
    assert (found.first, found.second) == (0, 1)
    assert found.items.tolist() == [0, 1]
    assert found.annotators.tolist() == [0]
    slips = 1 - 0.9 * 0.8  # of either into one of the two other classes: .1 and .2
    assert found.expected == pytest.approx(2 * slips)
    assert found.p_value == 1  # without that one person there is nothing


@pytest.mark.parametrize("seed", range(10))
def test_the_tail_is_no_smaller_than_the_exact_one_and_near_it(seed: int) -> None:
    generator = np.random.default_rng(seed)
    chances = generator.uniform(0, 0.1, 60)
    mean = float(chances.sum())
    for count in range(int(mean) + 2, 12):
        exact = stats.poisson_binom(chances).sf(count - 1)
        ours = confusions._tail(count, mean)
        assert exact <= ours <= 3 * exact
        assert ours == pytest.approx(stats.poisson(mean).sf(count - 1))


def people(confused: float) -> Floats:
    """Twelve people who are right in 90 %; of class 0 they take a share for class 1."""
    matrices = coins([0.9] * 12, 5)
    matrices[:, 0] = [0.9 - confused, 0.025 + confused, 0.025, 0.025, 0.025]
    return matrices


def tabulated(seed: int, confused: float) -> tuple[list[confusions.Confusion], list[bool]]:
    answers, truth = crowd(seed, people(confused), items=400, overlap=3)
    right = answers[:, 2] == truth[answers[:, 0]]
    accuracy = np.array([right[answers[:, 1] == person].mean() for person in range(12)])
    found = confusions.tabulate(answers, truth, accuracy, classes=5)
    return found, signs.discoveries(np.array([one.p_value for one in found]), tests=10).tolist()


def test_what_people_confuse_is_found_and_nothing_else_in_ten_seeds() -> None:
    pairs = [
        (one.first, one.second)
        for seed in range(10)
        for one, is_sure in zip(*tabulated(seed, 0.3), strict=True)
        if is_sure
    ]
    assert pairs == [(0, 1)] * 10


def test_plain_mistakes_are_no_confusion_in_ten_seeds() -> None:
    assert sum(any(tabulated(seed, 0.0)[1]) for seed in range(10)) <= 1


def test_one_person_alone_makes_no_confusion() -> None:
    matrices = people(0.0)
    matrices[0] = np.eye(5)[[1, 0, 2, 3, 4]]  # who always swaps the two
    answers, truth = crowd(0, matrices, items=400, overlap=3)
    accuracy = np.array([0.6] + [0.9] * 11)
    found = {(one.first, one.second): one for one in confusions.tabulate(answers, truth, accuracy, classes=5)}
    assert len(found[0, 1].items) > 2 * found[0, 1].expected
    assert found[0, 1].p_value > 0.01


def test_items_of_unknown_class_and_no_answers_say_nothing() -> None:
    nothing: Ints = np.zeros((0, 3), dtype=np.int64)
    assert confusions.tabulate(nothing, np.array([0]), np.array([0.9]), classes=2) == []
    one = np.array([(0, 0, 1)])
    assert confusions.tabulate(one, np.array([-1]), np.array([0.9]), classes=2) == []
