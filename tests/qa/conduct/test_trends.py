import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hypergeom

from qa.conduct import accuracy, trends
from qa.consensus import posterior
from store.arrays import Floats, Ints
from tests.qa.consensus.crowds import coins, crowd


def test_sessions_by_hand() -> None:
    """Half an hour away begins a new one; the order of the answers does not matter."""
    moments = np.array([7200.0, 0.0, 600.0, 1800.0, 9000.0])
    session, hours = trends.sessions(moments)
    assert session.tolist() == [1, 0, 0, 0, 1]
    assert hours == pytest.approx([0, 0, 1 / 6, 0.5, 0.5])
    assert [each.tolist() for each in trends.sessions(np.zeros(0))] == [[], []]


def test_a_slope_by_hand() -> None:
    """Of twenty answers at 0 a quarter are wrong, of twenty at 1 three quarters: it falls by a half, ± 1.96 · .14."""
    credit = np.concatenate([np.repeat([1.0, 0.0], [15, 5]), np.repeat([1.0, 0.0], [5, 15])])
    found = trends.slope(credit, np.ones(40), np.repeat([0.0, 1.0], 20), np.zeros(40, np.int64))
    assert found is not None
    assert found.value == pytest.approx(-0.5)
    error = np.sqrt(2 * (0.75 * 0.25 / 20) * 40 / 38)  # of the difference of two shares, for two degrees of freedom
    assert found.interval == pytest.approx((-0.5 - 1.959964 * error, -0.5 + 1.959964 * error))


@pytest.mark.parametrize("seed", range(10))
def test_a_slope_is_that_of_statsmodels_with_its_robust_interval(seed: int) -> None:
    import statsmodels.api

    generator = np.random.default_rng(seed)
    x, strata = generator.random(300), np.repeat(np.arange(3), 100)
    weight = generator.random(300) + 0.5
    y = (generator.random(300) < 0.9 - 0.1 * strata - 0.3 * x).astype(float)
    found = trends.slope(y, weight, x, strata)
    design = np.column_stack([x, np.eye(3)[strata]])
    theirs = statsmodels.api.WLS(y, design, weights=weight).fit(cov_type="HC1")
    assert found is not None
    assert found.value == pytest.approx(theirs.params[0])
    assert found.interval == pytest.approx(theirs.conf_int()[0])
    below = theirs.pvalues[0] / 2
    assert found.p_value == pytest.approx(below if found.value < 0 else 1 - below)


@pytest.mark.parametrize(
    ("credit", "x"),
    [
        (np.tile([0.0, 1.0], 15), np.arange(30.0)),  # thirty answers
        (np.repeat([0.0, 1.0], [3, 97]), np.arange(100.0)),  # three of them wrong
        (np.zeros(100), np.arange(100.0)),  # all of them wrong
        (np.tile([0.0, 1.0], 50), np.full(100, 7.0)),  # all at once
        (np.tile([0.0, 1.0], 50), 7 + np.arange(100) / 400),  # within a quarter of a unit
        (np.zeros(0), np.zeros(0)),
    ],
)
def test_without_the_answers_to_tell_there_is_no_slope(credit: Floats, x: Floats) -> None:
    assert trends.slope(credit, np.ones(len(x)), x, np.zeros(len(x), np.int64)) is None


def test_newcombes_own_example() -> None:
    """56 of 70 and 48 of 80: .0524 to .3339, Newcombe (1998), table II, method 10."""
    found = trends.difference((56, 70), (48, 80))
    assert found is not None
    assert found.value == pytest.approx(0.2)
    assert found.interval == pytest.approx((0.0524, 0.3339), abs=5e-5)


@given(st.integers(1, 60), st.integers(1, 60), st.data())
def test_a_difference_is_that_of_statsmodels_and_its_tail_hypergeometric(
    first: int, second: int, data: st.DataObject
) -> None:
    from statsmodels.stats.proportion import confint_proportions_2indep

    one, other = data.draw(st.integers(0, first)), data.draw(st.integers(0, second))
    found = trends.difference((one, first), (other, second))
    assert found is not None
    theirs = confint_proportions_2indep(one, first, other, second, method="newcomb", compare="diff")
    assert found.interval == pytest.approx(theirs, abs=1e-6)
    assert found.p_value == pytest.approx(hypergeom.sf(one - 1, first + second, one + other, first))


def test_the_difference_to_nothing_is_none() -> None:
    assert trends.difference((1, 1), (0, 0)) is None
    assert trends.difference((0, 0), (1, 1)) is None


def tiring(seed: int, *, falls_to: float, people: int = 8) -> tuple[Ints, Ints, Ints]:
    """A crowd whose first member tires: right in 95 % of answers at first and in `falls_to` at the end of a session.

    Sessions last an hour and are of fifty answers; gives the answers, when each was given, and the truth.
    """
    answers, truth = crowd(seed, coins([0.95] + [0.85] * (people - 1), 3), items=800, overlap=3)
    generator = np.random.default_rng(seed)
    moments = np.zeros(len(answers))
    for one in range(people):
        own = np.flatnonzero(answers[:, 1] == one)
        moments[own] = np.arange(len(own)) // 50 * 86_400 + np.arange(len(own)) % 50 * 72
        if one == 0:
            right = generator.random(len(own)) < np.linspace(0.95, falls_to, 50)[np.arange(len(own)) % 50]
            real = truth[answers[own, 0]]
            answers[own, 2] = np.where(right, real, (real + generator.integers(1, 3, len(own))) % 3)
    return answers, moments, truth


def slopes(answers: Ints, moments: Floats, *, people: int = 8) -> list[trends.Slope | None]:
    known = np.full(answers[:, 0].max() + 1, -1)
    found = posterior.fit(answers, known, annotators=people, classes=3)
    judged = accuracy.judge(answers, np.ones(len(answers), np.bool_), known, found)
    who = answers[judged.rows, 1]
    right = accuracy.estimate(judged.chance(answers), who, groups=people, classes=3).accuracy
    credit, weight = accuracy.credit(answers, judged, right, classes=3)
    result = []
    for one in range(people):
        rows = np.flatnonzero(who == one)
        session, hours = trends.sessions(moments[judged.rows[rows]])
        result.append(trends.slope(credit[rows], weight[rows], hours, session))
    return result


def test_who_tires_is_found_and_how_much() -> None:
    """From 95 to 55 % within an hour: found in ten crowds of ten; the intervals hold the true slope in eight."""
    held = 0
    for seed in range(10):
        answers, moments, _ = tiring(seed, falls_to=0.55)
        found = slopes(answers, moments)[0]
        assert found is not None
        assert found.p_value < 0.005
        held += found.interval[0] <= -0.4 / 0.98 <= found.interval[1]
    assert held >= 8


def test_who_does_not_tire_is_seldom_said_to() -> None:
    """Of eighty honest people five in a hundred have a p-value under .05: at most nine here."""
    p_values = []
    for seed in range(10):
        answers, moments, _ = tiring(seed, falls_to=0.95)
        p_values += [one.p_value for one in slopes(answers, moments) if one is not None]
    assert len(p_values) > 60
    assert sum(p < 0.05 for p in p_values) <= 9
