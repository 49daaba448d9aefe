"""What further labels will bring: accuracy measured on random picks, its curve, and when to stop.

The curve is `error(n) = a + b · n^-c`, the power law of Cortes et al. 1993 (NIPS 6), and each round's errors
are binomial. Intervals are of profile likelihood: whatever some curve promises that the rounds do not contradict.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from store.arrays import Floats
from store.errors import InvalidInputError

_FEWEST_ROUNDS = 3  # a curve has three parameters
_DEVIANCE = 3.841459  # 95 % of a chi-squared with one degree of freedom
_STEPS = 41  # of each parameter
_ZOOMS = 3
_SLOWEST, _FASTEST = 0.1, 2.0  # powers c


@dataclass(frozen=True)
class Round:
    """How the model of one round did on random picks that it had not learnt from."""

    labels: int  # it was trained on
    correct: int
    total: int


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Advice:
    """Whether to go on, in one sentence; none where nothing can be said."""

    stop: bool | None
    sentence: str
    gain: Estimate | None


def forecast(rounds: Sequence[Round], more_labels: int) -> Estimate:
    """The accuracy that `more_labels` will add to the curve at the round with the most labels; never negative.

    Raises:
        InvalidInputError: fewer than three rounds of different size, or a round makes no sense.
    """
    _check(rounds)
    if more_labels < 1:
        raise InvalidInputError(f"A forecast for {more_labels} more labels says nothing: ask for at least 1.")
    labels = np.array([each.labels for each in rounds], dtype=np.float64)
    wrong = np.array([each.total - each.correct for each in rounds], dtype=np.float64)
    total = np.array([each.total for each in rounds], dtype=np.float64)
    first, last = labels.min(), labels.max()
    # the grid is over the error's fall between the first and the last round, the error at the last, and c
    low, high = np.array([0.0, 0.0, _SLOWEST]), np.array([1.0, 1.0, _FASTEST])
    gain, deviance = np.zeros(0), np.zeros(0)
    for _ in range(_ZOOMS):
        rise, late, power = (axis.ravel() for axis in np.meshgrid(*np.linspace(low, high, _STEPS).T, indexing="ij"))
        scale = rise / (first**-power - last**-power)
        floor = late - scale * last**-power
        possible = (floor >= 0) & (late + rise <= 1)
        rise, late, power, scale, floor = (each[possible] for each in (rise, late, power, scale, floor))
        likelihood = _log_likelihood(floor + scale * labels[:, None] ** -power, wrong[:, None], total[:, None])
        deviance = 2 * (likelihood.max() - likelihood)
        gain = scale * (last**-power - (last + more_labels) ** -power)
        kept = np.stack([rise, late, power])[:, deviance <= _DEVIANCE]
        step = (high - low) / (_STEPS - 1)
        low, high = np.maximum(kept.min(axis=1) - step, low), np.minimum(kept.max(axis=1) + step, high)
    inside = gain[deviance <= _DEVIANCE]
    return Estimate(float(gain[deviance.argmin()]), float(inside.min()), float(inside.max()))


def advice(
    rounds: Sequence[Round],
    *,
    more_labels: int | None = None,
    money: float | None = None,
    cost_per_label: float | None = None,
    threshold: float = 0.005,
) -> Advice:
    """What the next labels, or the next sum of money, are expected to bring, and whether it is time to stop.

    Args:
        rounds: In any order.
        more_labels: How many labels are considered; else `money` at `cost_per_label`.
        money: A sum in the currency of `cost_per_label`.
        cost_per_label: Of one label.
        threshold: Stop where even the upper end of the expected gain is below this share.

    Raises:
        InvalidInputError: neither labels nor money for at least one label is given, or a round makes no sense.
    """
    if more_labels is None:
        if money is None or cost_per_label is None or not 0 < cost_per_label <= money:
            raise InvalidInputError("Advice needs a number of labels, or money for at least one and its cost.")
        more_labels = math.floor(money / cost_per_label + 1e-9)
    sizes = len({each.labels for each in rounds})
    if sizes < _FEWEST_ROUNDS:
        missing = _FEWEST_ROUNDS - sizes
        return Advice(
            None,
            f"Nothing can be said about the next {more_labels} labels yet: "
            f"{missing} more round{'s' * (missing > 1)} of another size needed.",
            None,
        )
    gain = forecast(rounds, more_labels)
    price = "" if cost_per_label is None else f" for {more_labels * cost_per_label:,.2f}"
    expected = (
        f"The next {more_labels} labels{price} are expected to add {100 * gain.value:.1f} percentage points of "
        f"accuracy (95 % interval {100 * gain.low:.1f} to {100 * gain.high:.1f})"
    )
    stop = gain.high < threshold
    verdict = (
        f"; that is below your threshold of {100 * threshold:g} points: it is time to stop."
        if stop
        else f"; a gain of {100 * threshold:g} points is not ruled out: go on."
    )
    return Advice(stop, expected + verdict, gain)


def _check(rounds: Sequence[Round]) -> None:
    for each in rounds:
        if each.labels < 1 or not 0 <= each.correct <= each.total or each.total == 0:
            raise InvalidInputError(
                f"A round cannot have {each.correct} of {each.total} right after {each.labels} labels."
            )
    if (sizes := len({each.labels for each in rounds})) < _FEWEST_ROUNDS:
        raise InvalidInputError(f"A curve needs at least {_FEWEST_ROUNDS} rounds of different size: there are {sizes}.")


def _log_likelihood(error: Floats, wrong: Floats, total: Floats) -> Floats:
    """Of binomial counts of errors, summed over rounds: `(R, G)` to `(G,)`."""
    bounded = np.clip(error, 1e-12, 1 - 1e-12)
    result: Floats = (wrong * np.log(bounded) + (total - wrong) * np.log1p(-bounded)).sum(axis=0)
    return result
