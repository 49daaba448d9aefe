"""How long people take, compared with others on the same items."""

from dataclasses import dataclass

import numpy as np

from store.arrays import Bools, Floats, Ints

LONGEST_S = 3600.0  # a longer lead time is a tab left open, and says nothing

_LEAST_TIMED = 10  # answers with a time before somebody's tempo says what is usual,
_LEAST_PEOPLE = 3  # and people of whom that is known
_MAD_TO_SIGMA = 1.4826
_SIGMAS = 3.0  # below what is usual, of logarithms, is no time to look
_LEAST_SPREAD = 0.25  # of logarithms of seconds
_LEAST_COMPARED = 8  # answers


@dataclass(frozen=True)
class Pace:
    """How many times as long as others somebody takes for an item."""

    ratio: float  # the median
    interval: tuple[float, float]  # 95 %, by order statistics
    answers: int


def is_plausible(seconds: Floats) -> Bools:
    """`(M,)`: whether a lead time says how long somebody looked: it is there, more than nothing, within an hour."""
    return np.asarray(np.isfinite(seconds) & (seconds > 0) & (seconds <= LONGEST_S))


def least_plausible_s(seconds: Floats, annotator: Ints) -> float | None:
    """The seconds below which nobody can have looked: three robust standard deviations under what is usual.

    What is usual is the median over people of their median logarithm, and of the spread of their logarithms, so that
    one who answers much, or fast, does not decide it.

    Args:
        seconds: `(M,)` plausible lead times.
        annotator: `(M,)` int64, whose they are.

    Returns:
        `None` where fewer than three people have ten times each.
    """
    centres, spreads = [], []
    for one in np.unique(annotator):
        logs = np.log(seconds[annotator == one])
        if len(logs) >= _LEAST_TIMED:
            centres.append(np.median(logs))
            spreads.append(_MAD_TO_SIGMA * np.median(np.abs(logs - centres[-1])))
    if len(centres) < _LEAST_PEOPLE:
        return None
    return float(np.exp(np.median(centres) - _SIGMAS * max(float(np.median(spreads)), _LEAST_SPREAD)))


def paces(seconds: Floats, item: Ints, annotator: Ints) -> dict[int, Pace]:
    """The pace of everybody who can be compared with others on eight items or more, by annotator.

    Args:
        seconds: `(M,)` plausible lead times.
        item: `(M,)` int64.
        annotator: `(M,)` int64.
    """
    from scipy.stats import binom

    apart = _apart(np.log(seconds), item)
    found = {}
    for one in np.unique(annotator).tolist():
        own = np.sort(apart[(annotator == one) & ~np.isnan(apart)])
        if len(own) >= _LEAST_COMPARED:
            rank = max(int(binom.ppf(0.025, len(own), 0.5)) - 1, 0)
            low, middle, high = np.exp([own[rank], np.median(own), own[-1 - rank]]).tolist()
            found[one] = Pace(middle, (low, high), len(own))
    return found


def _apart(values: Floats, item: Ints) -> Floats:
    """`(M,)`: each value minus the median of the others of its item; NaN where there are none."""
    order = np.argsort(item, kind="stable")
    _, starts, counts = np.unique(item[order], return_index=True, return_counts=True)
    result = np.full(len(values), np.nan)
    for count in np.unique(counts[counts > 1]).tolist():
        places = order[starts[counts == count][:, None] + np.arange(count)]
        for j in range(count):
            others = np.delete(places, j, axis=1)
            result[places[:, j]] = values[places[:, j]] - np.median(values[others], axis=1)
    return result
