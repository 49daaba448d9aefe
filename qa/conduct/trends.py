"""Whether people get better or worse: within a session, over the weeks, and when they are shown an answer."""

from dataclasses import dataclass

import numpy as np

from curation.evaluation import wilson
from store.arrays import Floats, Ints

SESSION_GAP_S = 1800.0  # a longer pause begins a new session

_Z = 1.959963984540054  # 97.5 % of a normal distribution lie below
_LEAST_ANSWERS = 40  # that a slope is told from,
_LEAST_EACH = 5.0  # and of these right ones, and wrong ones
_LEAST_SPAN = 0.25  # units of x within a stratum: from less, what a unit changes is guessed


@dataclass(frozen=True)
class Slope:
    """By how much a share changes with each unit of something."""

    value: float
    interval: tuple[float, float]  # 95 %
    p_value: float  # that it does not fall, one-sided
    answers: int


@dataclass(frozen=True)
class Difference:
    """One share minus another."""

    value: float
    interval: tuple[float, float]  # 95 %
    p_value: float  # that the first is not greater, one-sided
    totals: tuple[int, int]


def sessions(moments_s: Floats) -> tuple[Ints, Floats]:
    """Of one person's answers: the session each is in, and the hours since that began; `(M,)` both.

    Args:
        moments_s: `(M,)` when each was given, in seconds, in any order; finite.
    """
    order = np.argsort(moments_s, kind="stable")
    begins = np.diff(moments_s[order], prepend=-np.inf) > SESSION_GAP_S
    number = begins.cumsum() - 1
    session, hours = np.empty(len(order), dtype=np.int64), np.empty(len(order))
    session[order] = number
    hours[order] = (moments_s[order] - moments_s[order][begins][number]) / 3600
    return session, hours


def slope(credit: Floats, weight: Floats, x: Floats, strata: Ints) -> Slope | None:
    """How the share of right answers changes with `x`, among answers of one stratum.

    Weighted least squares with an intercept per stratum; the interval holds whatever the variances are: H. White,
    A Heteroskedasticity-Consistent Covariance Matrix Estimator (1980), times n over the degrees of freedom.

    Args:
        credit: `(M,)` see `accuracy.credit`.
        weight: `(M,)` see there.
        x: `(M,)`, in the units of which the change is told.
        strata: `(M,)` int64, numbers from 0.

    Returns:
        `None` where 40 answers, five right and five wrong ones, are not there to tell, or no stratum has a quarter of a
        unit from its least `x` to its greatest.
    """
    from scipy.stats import norm

    if len(x) < _LEAST_ANSWERS:
        return None
    right = float(np.average(credit, weights=weight))
    if len(x) * min(right, 1 - right) < _LEAST_EACH:
        return None
    if not _spans(x, strata):
        return None
    apart, residual = _centred(x, weight, strata), _centred(credit, weight, strata)
    spread = float((weight * apart**2).sum())
    freedom = len(x) - len(np.unique(strata)) - 1
    if freedom < 1 or spread == 0:
        return None
    value = float((weight * apart * residual).sum()) / spread
    noise = weight * apart * (residual - value * apart)
    error = float(np.sqrt((noise**2).sum() * len(x) / freedom)) / spread
    if error == 0:
        return None
    return Slope(value, (value - _Z * error, value + _Z * error), float(norm.cdf(value / error)), len(x))


def difference(first: tuple[int, int], second: tuple[int, int]) -> Difference | None:
    """The share of the first minus that of the second, both given as how many of how many; `None` if either is of none.

    R. G. Newcombe, Interval Estimation for the Difference between Independent Proportions (1998), method 10; the
    p-value is Fisher's exact one.
    """
    from scipy.stats import fisher_exact

    if not first[1] or not second[1]:
        return None
    shares = first[0] / first[1], second[0] / second[1]
    (low_1, high_1), (low_2, high_2) = wilson(*first), wilson(*second)
    value = shares[0] - shares[1]
    below = float(np.hypot(shares[0] - low_1, high_2 - shares[1]))
    above = float(np.hypot(high_1 - shares[0], shares[1] - low_2))
    table = [[first[0], first[1] - first[0]], [second[0], second[1] - second[0]]]
    p_value = float(fisher_exact(table, alternative="greater").pvalue)
    return Difference(value, (value - below, value + above), p_value, (first[1], second[1]))


def _spans(x: Floats, strata: Ints) -> bool:
    """Whether `x` goes far enough within any stratum."""
    return any(np.ptp(x[strata == one]) >= _LEAST_SPAN for one in np.unique(strata))


def _centred(values: Floats, weight: Floats, strata: Ints) -> Floats:
    """`values` minus their weighted mean in each stratum."""
    totals = np.bincount(strata, weights=weight)
    means = np.bincount(strata, weights=weight * values) / np.where(totals > 0, totals, 1)
    centred: Floats = values - means[strata]
    return centred
