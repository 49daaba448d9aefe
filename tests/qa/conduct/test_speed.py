import numpy as np
import pytest
from scipy.stats import median_abs_deviation, quantile_test

from qa.conduct import signs, speed


def test_absurd_lead_times_say_nothing() -> None:
    seconds = np.array([np.nan, np.inf, -3.0, 0.0, 2.0, 90_000.0])
    assert speed.is_plausible(seconds).tolist() == [False, False, False, False, True, False]


def test_who_takes_twice_as_long_by_hand() -> None:
    item = np.repeat(np.arange(10), 3)
    annotator = np.tile([0, 1, 2], 10)
    seconds = np.tile([4.0, 2.0, 2.0], 10)
    paces = speed.paces(seconds, item, annotator)
    assert paces[0].ratio == pytest.approx(2)
    assert paces[1].ratio == pytest.approx(2 / np.sqrt(8))  # against the median of 2 and 4 logarithms
    assert paces[0].interval == pytest.approx((2, 2))
    assert speed.paces(seconds[:21], item[:21], annotator[:21]) == {}  # seven items are too few
    assert speed.paces(seconds[::3], item[::3], annotator[::3]) == {}  # and there is nobody to compare with


@pytest.mark.parametrize("answers", [8, 9, 20, 61])
def test_the_interval_of_a_pace_is_scipys_of_a_median(answers: int) -> None:
    logs = np.random.default_rng(answers).normal(size=(answers, 2))
    pace = speed.paces(np.exp(logs.ravel()), np.repeat(np.arange(answers), 2), np.tile([0, 1], answers))[0]
    theirs = quantile_test(logs[:, 0] - logs[:, 1], q=0, p=0.5).confidence_interval(0.95)
    assert np.log(pace.interval) == pytest.approx((theirs.low, theirs.high))


def test_what_is_too_fast_is_three_deviations_of_scipys_below_what_is_usual() -> None:
    logs = np.random.default_rng(0).normal(np.array([[1.5], [1.6], [2.1]]), 0.6, (3, 31))
    usual = np.median(np.median(logs, axis=1)) - 3 * np.median(median_abs_deviation(logs, axis=1, scale="normal"))
    least_s = speed.least_plausible_s(np.exp(logs.ravel()), np.repeat(np.arange(3), 31))
    assert least_s == pytest.approx(np.exp(usual), rel=1e-4)


def test_the_interval_of_a_pace_holds_it() -> None:
    """Twenty people who take 1.5 times as long: their 95 % intervals hold that in eighteen or more."""
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(20):
        item, annotator = np.repeat(np.arange(60), 4), np.tile(np.arange(4), 60)
        logs = generator.normal(np.log(5), 0.4, 240) + np.log(1.5) * (annotator == 0)
        low, high = speed.paces(np.exp(logs), item, annotator)[0].interval
        held += low <= 1.5 <= high
    assert held >= 18


def test_what_is_too_fast_is_not_for_the_fast_to_decide() -> None:
    """Three who look and one who does not, and who answers more than all others together."""
    generator = np.random.default_rng(0)
    annotator = np.repeat([0, 1, 2, 3], [50, 50, 50, 400])
    usual = np.exp(generator.normal(np.log(6), 0.4, 550))
    seconds = np.where(annotator == 3, 0.2, usual)
    least_s = speed.least_plausible_s(seconds, annotator)
    assert least_s is not None
    assert 0.9 < least_s < 3
    fast = np.bincount(annotator[seconds < least_s], minlength=4)
    assert signs.discoveries(signs.haste(fast, np.bincount(annotator))).tolist() == [False, False, False, True]


def test_two_people_do_not_say_what_is_usual() -> None:
    assert speed.least_plausible_s(np.full(100, 5.0), np.repeat([0, 1], 50)) is None
    assert speed.least_plausible_s(np.zeros(0), np.zeros(0, np.int64)) is None
