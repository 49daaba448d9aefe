"""Forecasts of simulated curves whose truth is known."""

import numpy as np
import pytest

from sampling.forecast import Round, advice, forecast
from store.errors import InvalidInputError

LABELS = np.array([100, 200, 400, 800, 1600])


def simulate(seed: int, a: float, b: float, c: float, total: int) -> list[Round]:
    errors = np.random.default_rng(seed).binomial(total, a + b * LABELS**-c)
    return [Round(int(n), total - int(wrong), total) for n, wrong in zip(LABELS, errors, strict=True)]


def exact(a: float, b: float, c: float, total: int = 10**9) -> list[Round]:
    return [Round(int(n), round(total * (1 - a - b * float(n) ** -c)), total) for n in LABELS]


def test_a_curve_without_noise_is_continued() -> None:
    gain = forecast(exact(0.05, 2.0, 0.5, total=10**7), 1600)
    assert gain.value == pytest.approx(2 * (1600**-0.5 - 3200**-0.5), rel=0.02)
    assert gain.low <= gain.value <= gain.high


@pytest.mark.parametrize(
    ("a", "b", "c", "total"), [(0.05, 2.0, 0.5, 200), (0.0, 1.5, 0.3, 200), (0.1, 5.0, 0.8, 500), (0.2, 0.0, 1.0, 100)]
)
def test_the_interval_covers_the_truth(a: float, b: float, c: float, total: int) -> None:
    truth = b * (1600**-c - 2600**-c)
    found = [forecast(simulate(seed, a, b, c, total), 1000) for seed in range(30)]
    assert np.mean([gain.low - 1e-9 <= truth <= gain.high + 1e-9 for gain in found]) >= 0.85


def test_more_labels_never_promise_less() -> None:
    for seed in range(10):
        rounds = simulate(seed, 0.05, 2.0, 0.5, 200)
        gains = [forecast(rounds, more) for more in (1, 10, 100, 1000, 10_000)]
        for field in ("value", "low", "high"):
            values = [getattr(gain, field) for gain in gains]
            assert values == sorted(values)
            assert values[0] >= 0


def test_more_test_images_narrow_the_interval() -> None:
    few, many = (forecast(exact(0.05, 2.0, 0.5, total), 1000) for total in (100, 10_000))
    assert many.high - many.low < few.high - few.low


def test_the_order_of_rounds_does_not_matter() -> None:
    rounds = simulate(0, 0.05, 2.0, 0.5, 200)
    forward, backward = forecast(rounds, 500), forecast(rounds[::-1], 500)
    assert (forward.value, forward.low, forward.high) == pytest.approx((backward.value, backward.low, backward.high))


def test_nothing_wrong_or_nothing_right_is_no_trouble() -> None:
    for correct in (0, 50):
        gain = forecast([Round(n, correct, 50) for n in (10, 20, 40)], 40)
        assert 0 <= gain.low <= gain.value <= gain.high <= 1


def test_advice_goes_on_while_a_gain_is_possible() -> None:
    found = advice(exact(0.05, 2.0, 0.5, total=1000), money=50, cost_per_label=0.1)
    assert found.stop is False
    assert found.sentence.startswith("The next 500 labels for 50.00 are expected to add 0.")
    assert found.sentence.endswith("a gain of 0.5 points is not ruled out: go on.")


def test_advice_stops_where_even_the_best_case_is_below_the_threshold() -> None:
    flat = [Round(int(n), 90_000, 100_000) for n in LABELS]
    found = advice(flat, more_labels=500)
    assert found.stop is True
    assert found.sentence.endswith("that is below your threshold of 0.5 points: it is time to stop.")
    assert advice(flat, more_labels=500, threshold=0.0).stop is False


def test_two_rounds_say_nothing() -> None:
    found = advice([Round(10, 5, 10), Round(20, 6, 10), Round(20, 7, 10)], more_labels=10)
    assert (found.stop, found.gain) == (None, None)
    assert found.sentence == "Nothing can be said about the next 10 labels yet: 1 more round of another size needed."
    with pytest.raises(InvalidInputError, match="at least 3 rounds of different size: there are 1"):
        forecast([Round(10, 5, 10)], 10)


def test_what_makes_no_sense_is_refused() -> None:
    rounds = exact(0.05, 2.0, 0.5, total=1000)
    with pytest.raises(InvalidInputError, match="11 of 10 right"):
        forecast([*rounds, Round(5, 11, 10)], 10)
    with pytest.raises(InvalidInputError, match="0 more labels"):
        forecast(rounds, 0)
    with pytest.raises(InvalidInputError, match="number of labels, or money"):
        advice(rounds, money=1, cost_per_label=2)
