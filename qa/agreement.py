"""How far annotators agree with each other, whatever the truth may be.

Counts are `(N, C)` int64: how many annotators gave item n the answer c. Items may have any number of answers; those
with fewer than two say nothing about agreement and are left out. 1 is full agreement, 0 what chance would give. Where
annotators draw regions, `of_regions` says how far two of them do alike.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from qa.consensus import matching
from store.arrays import Floats, Ints
from store.errors import InvalidInputError

Level: TypeAlias = Literal["nominal", "ordinal", "interval"]
"""Whether answers are names, have an order, or have distances; the classes' numbers are these."""

REGION_THRESHOLDS = (0.5, 0.75, 0.9)

_DRAWS = 1000
_TAILS = (0.025, 0.975)
_BLOCK = 1 << 22  # numbers held at once
_DIGITS = 9  # of coincidences that count as equal


def krippendorff_alpha(counts: Ints, *, level: Level = "nominal") -> float | None:
    """Krippendorff's α. K. Krippendorff, Computing Krippendorff's Alpha-Reliability (2011).

    Returns:
        At most 1; `None` where it is undefined: no item has two answers, or all answers are the same.
    """
    counts = _comparable(counts)
    alpha = _alpha(_coincidences(counts, np.ones((1, len(counts))))[0], level)
    return None if np.isnan(alpha) else float(alpha)


def alpha_interval(
    counts: Ints,
    *,
    level: Level = "nominal",
    together: Ints | None = None,
    seed: int = 0,
    draws: int = _DRAWS,
) -> tuple[float, float] | None:
    """The 95 % interval of α, by drawing as many items with replacement `draws` times.

    Draws in which α is undefined, since all answers are the same, are left out.

    Args:
        counts: see the module.
        level: of the answers.
        together: `(N,)` int64: items of the same number are drawn together, as questions about one image are; by
            default each by itself.
        seed: draws.
        draws: how many.

    Returns:
        `None` where α is undefined.
    """
    is_comparable = counts.sum(axis=1) >= 2
    counts = counts[is_comparable]
    if len(counts) == 0 or krippendorff_alpha(counts, level=level) is None:
        return None
    random = np.random.default_rng(seed)
    if together is None:
        alike, times = np.unique(counts, axis=0, return_counts=True)
        found = _coincidences(alike, random.multinomial(len(counts), times / len(counts), size=draws))
    else:
        of_group = _together(counts, np.unique(together[is_comparable], return_inverse=True)[1])
        kinds, times = np.unique(of_group.round(_DIGITS), axis=0, return_counts=True)
        found = random.multinomial(len(of_group), times / len(of_group), size=draws) @ kinds
    classes = counts.shape[1]
    alphas = np.array([_alpha(one, level) for one in found.reshape(-1, classes, classes)])
    low, high = np.quantile(alphas[~np.isnan(alphas)], _TAILS)
    return float(low), float(high)


def fleiss_kappa(counts: Ints) -> float | None:
    """Fleiss' κ: J. L. Fleiss, Measuring Nominal Scale Agreement among Many Raters (1971).

    Returns:
        `None` where it is undefined: no item has two answers, or all answers are the same.

    Raises:
        InvalidInputError: items have different numbers of answers; α has no need of that.
    """
    counts = _comparable(counts)
    overlaps = np.unique(counts.sum(axis=1))
    if len(overlaps) > 1:
        raise InvalidInputError(
            f"Fleiss' kappa needs as many answers to each item, and here are {overlaps[0]} to {overlaps[-1]}: "
            "use Krippendorff's alpha."
        )
    if len(overlaps) == 0:
        return None
    shares = counts.sum(axis=0) / counts.sum()
    return _beyond_chance(raw_agreement(counts), float((shares**2).sum()))


def cohen_kappa(first: Ints, second: Ints, *, level: Level = "nominal") -> float | None:
    """Cohen's κ of two annotators' answers `(N,)` to the same items; weighted by distance where classes have one.

    J. Cohen, Weighted Kappa (1968): ordinal weights are linear, those of an interval quadratic.

    Returns:
        `None` where it is undefined: there is no item, or both gave a single answer, the same.
    """
    if len(first) == 0:
        return None
    classes = int(max(first.max(), second.max())) + 1
    table = np.bincount(first * classes + second, minlength=classes**2).reshape(classes, classes) / len(first)
    apart = np.abs(np.subtract.outer(np.arange(classes), np.arange(classes)))
    distances = {"nominal": apart > 0, "ordinal": apart, "interval": apart**2}[level]
    expected = np.outer(table.sum(axis=1), table.sum(axis=0))
    by_chance = float((distances * expected).sum())
    return None if by_chance == 0 else 1 - float((distances * table).sum()) / by_chance


def raw_agreement(counts: Ints) -> float | None:
    """The share of pairs of answers to one item that agree, averaged over items; 0 to 1.

    Returns:
        `None` when no item has two answers.
    """
    counts = _comparable(counts)
    if len(counts) == 0:
        return None
    per_item = counts.sum(axis=1)
    agreeing_pairs = (counts * (counts - 1)).sum(axis=1)
    return float(np.mean(agreeing_pairs / (per_item * (per_item - 1))))


@dataclass(frozen=True)
class RegionAgreement:
    """How far two annotators draw the same things in the same places, classes aside; none where neither drew any."""

    regions: tuple[int, int]  # how many each drew
    matched: int  # pairs that overlap by half
    mean_iou: float | None  # of these
    f1: tuple[float, ...] | None  # at each of REGION_THRESHOLDS: twice the pairs by all that both drew


def of_regions(overlaps: Iterable[Floats]) -> RegionAgreement:
    """Match the regions of two annotators in each image that both saw, by assignment, and count.

    Args:
        overlaps: For each image `(N, M)` float64, the IoU of every region of the one with every one of the other.
    """
    drawn = np.zeros(2, dtype=np.int64)
    found: dict[float, list[float]] = {threshold: [] for threshold in REGION_THRESHOLDS}
    for each in overlaps:
        drawn += each.shape
        for threshold in found:
            found[threshold] += each[matching.pairs(each, least=threshold)].tolist()
    ious = found[REGION_THRESHOLDS[0]]
    total = int(drawn.sum())
    return RegionAgreement(
        regions=(int(drawn[0]), int(drawn[1])),
        matched=len(ious),
        mean_iou=float(np.mean(ious)) if ious else None,
        f1=tuple(2 * len(each) / total for each in found.values()) if total else None,
    )


def _beyond_chance(observed: float | None, expected: float) -> float | None:
    return None if observed is None or expected == 1 else (observed - expected) / (1 - expected)


def _comparable(counts: Ints) -> Ints:
    comparable: Ints = counts[counts.sum(axis=1) >= 2]
    return comparable


def _coincidences(counts: Ints, times: Ints | Floats) -> Floats:
    """How often answers c and k meet in one item `(D, C, C)`, each item counted as often as `times` `(D, N)` says."""
    classes = counts.shape[1]
    result = np.zeros((len(times), classes**2))
    for rows in _blocks(counts):
        result += times[:, rows] @ _meetings(counts[rows])
    return result.reshape(-1, classes, classes)


def _together(counts: Ints, group: Ints) -> Floats:
    """The coincidences of all items of each of G groups `(G, C²)`; `group` is `(N,)`."""
    result = np.zeros((group.max() + 1, counts.shape[1] ** 2))
    for rows in _blocks(counts):
        np.add.at(result, group[rows], _meetings(counts[rows]))
    return result


def _blocks(counts: Ints) -> Iterator[slice]:
    """Of rows whose coincidences fit into memory."""
    step = max(1, _BLOCK // counts.shape[1] ** 2)
    return (slice(start, start + step) for start in range(0, len(counts), step))


def _meetings(counts: Ints) -> Floats:
    """The coincidences of each item `(N, C²)`."""
    classes = counts.shape[1]
    pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(classes, dtype=np.int64)
    meetings: Floats = pairs / (counts.sum(axis=1) - 1)[:, None, None]
    return meetings.reshape(len(counts), -1)


def _alpha(coincidences: Floats, level: Level) -> float:
    """α of coincidences `(C, C)`; NaN where it is undefined."""
    totals = coincidences.sum(axis=1)
    by_chance = np.outer(totals, totals) - np.diag(totals)
    distances = _DISTANCES[level](totals)
    expected = (by_chance * distances).sum() / max(totals.sum() - 1, 1)
    return float("nan") if expected <= 0 else float(1 - (coincidences * distances).sum() / expected)


def _ordinal(totals: Floats) -> Floats:
    """Squares of how many answers lie between two classes, half of those at either end included."""
    middle = totals.cumsum() - totals / 2
    return np.asarray(np.subtract.outer(middle, middle) ** 2)


def _interval(totals: Floats) -> Floats:
    return np.asarray(np.subtract.outer(np.arange(len(totals)), np.arange(len(totals))) ** 2.0)


_DISTANCES: dict[Level, Callable[[Floats], Floats]] = {
    "nominal": lambda totals: 1 - np.eye(len(totals)),
    "ordinal": _ordinal,
    "interval": _interval,
}
