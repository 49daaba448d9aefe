"""Ability and difficulty: by hand, crowd-kit's, and which doubt is greater."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import approx_fprime, root

from qa.consensus import glad
from store.arrays import Floats, Ints
from tests.qa.consensus.crowds import as_crowd_kit, coins, crowd, sorted_values, ten_crowds


def unknown(items: int) -> Ints:
    return np.full(items, -1)


@pytest.mark.parametrize("classes", [2, 3])
def test_one_answer_by_hand(classes: int) -> None:
    """Nothing argues with what is believed beforehand: right with the chance σ(1 · exp(0))."""
    found = glad.fit(np.array([(0, 0, 1)]), unknown(1), annotators=1, classes=classes)
    assert found.posteriors[0, 1] == pytest.approx(1 / (1 + np.exp(-1)), abs=1e-4)


def test_two_who_agree_by_hand() -> None:
    """Where the slope of the loss is none: α - 1 = (p - σ) exp(β) and β = 2 (p - σ) α exp(β)."""

    def right(ability: float, ease: float) -> tuple[float, float]:
        odds = ability * np.exp(ease)  # of one answer, and of two that agree
        return 1 / (1 + np.exp(-odds)), 1 / (1 + np.exp(-2 * odds))

    def slope(at: Floats) -> list[float]:
        ability, ease = at
        one, both = right(ability, ease)
        return [ability - 1 - (both - one) * np.exp(ease), ease - 2 * (both - one) * ability * np.exp(ease)]

    found = glad.fit(np.array([(0, 0, 1), (0, 1, 1)]), unknown(1), annotators=2, classes=2)
    assert found.posteriors[0, 1] == pytest.approx(right(*root(slope, [1.0, 0.0]).x)[1], abs=1e-3)


@pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")
def test_it_is_crowd_kits_with_the_same_prior() -> None:
    """Of easiness theirs has the mean 1 unless told otherwise."""
    from crowdkit.aggregation import GLAD

    answers = ten_crowds([0.95, 0.9, 0.85, 0.8, 0.75], 3, items=20, overlap=4)
    theirs = GLAD(n_iter=8, tol=-np.inf, m_step_tol=1e-3, betas_priors_mean=pd.Series(np.zeros(200)))
    theirs.fit(as_crowd_kit(answers))
    found = glad.fit(answers, unknown(200), annotators=50, classes=3)
    assert found.posteriors == pytest.approx(sorted_values(theirs.probas_), abs=1e-3)


def test_the_slope_of_glad_is_that_of_its_loss() -> None:
    answers, _ = crowd(0, coins([0.9, 0.7, 0.6], 3), items=20, overlap=2)
    generator = np.random.default_rng(0)
    parameters, chance = generator.normal(size=23), generator.random(len(answers))

    def loss(at: Floats) -> float:
        return glad._surprise(at, answers, chance, 3)[0]

    _, slope = glad._surprise(parameters, answers, chance, 3)
    assert slope == pytest.approx(approx_fprime(parameters, loss, 1e-7), abs=1e-5)


def test_glad_is_less_sure_of_an_item_that_divides_the_able_than_of_one_that_divides_the_unable() -> None:
    """Two able people and two who guess; one item divides the able, another the guessers, who stand by one each."""
    rows = [(item, person, item % 2) for item in range(60) for person in (0, 1)]
    rows += [(item, person, (item * (person + 3)) // 3 % 2) for item in range(60) for person in (2, 3)]
    rows += [(60, 0, 0), (60, 1, 1), (61, 0, 0), (61, 1, 0), (61, 2, 1), (61, 3, 1)]
    found = glad.fit(np.array(rows, dtype=np.int64), unknown(62), annotators=4, classes=2)
    assert found.posteriors[60].max() < 0.6
    assert found.posteriors[61, 0] > 0.8
