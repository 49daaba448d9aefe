"""Acceptance sampling by attributes: judge a lot by some of its items, with risks that are known beforehand.

A plan inspects items drawn at random, without replacement, and after some sizes of the sample accepts the lot,
rejects it or goes on. Whether a lot or a process is meant decides the arithmetic: the defectives found in a sample of
one lot are hypergeometric, those in samples of lots that a process makes are binomial. All risks are exact, summed
item by item, for every kind of plan.

D. C. Montgomery, Introduction to Statistical Quality Control, chapter 15; A. Wald, Sequential Analysis (1947).
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Literal, TypeAlias

import numpy as np

from store.arrays import Bools, Floats, Ints
from store.errors import InvalidInputError

Kind: TypeAlias = Literal["single", "double", "sequential"]
Severity: TypeAlias = Literal["reduced", "normal", "tightened"]
Standing: TypeAlias = Literal["reduced", "normal", "tightened", "discontinued"]
Outcome: TypeAlias = Literal["accepted", "rejected", "continue"]

SEVERITIES: tuple[Severity, ...] = ("reduced", "normal", "tightened")  # the later, the more severe
STEP = 10 ** (1 / 5)  # between neighbours in the standards' series of AQLs: 0.65, 1.0, 1.5, 2.5, 4.0 %
_SHRINK = 0.9  # of the risks that Wald's lines aim at, as long as the exact ones are too large
_WIDENINGS = 30
_POINTS = 2000  # at most, to look for the worst outgoing quality
_ROUNDING = 1e-9  # 0.07 × 100 is 7, whatever floats say


@dataclass(frozen=True)
class Levels:
    """What a plan is to tell apart."""

    aql: float  # acceptable quality level: a lot this good is rejected with `producers_risk` at most
    ltpd: float  # lot tolerance percent defective, as a share: a lot this bad is accepted with `consumers_risk` at most
    producers_risk: float = 0.05  # α
    consumers_risk: float = 0.10  # β

    def __post_init__(self) -> None:
        if not 0 < self.aql < self.ltpd <= 0.5:
            raise InvalidInputError(
                f"Quality levels are shares with 0 < AQL < LTPD <= 0.5; these are {self.aql:g} and {self.ltpd:g}."
            )
        if not (0 < self.producers_risk < 0.5 and 0 < self.consumers_risk < 0.5):
            raise InvalidInputError(
                f"Risks lie between 0 and 0.5; these are {self.producers_risk:g} and {self.consumers_risk:g}."
            )

    def under(self, severity: Severity) -> "Levels":
        """The levels one step lower for tightened inspection, one higher for reduced; the same risks.

        A step up ends where the LTPD would exceed a half.
        """
        up = min(STEP, 0.5 / self.ltpd)
        factor = {"reduced": up, "normal": 1.0, "tightened": 1 / STEP}[severity]
        return Levels(self.aql * factor, self.ltpd * factor, self.producers_risk, self.consumers_risk)

    def defectives(self, lot_size: int) -> tuple[int, int]:
        """The most defectives of a lot within the AQL, and the fewest of one at the LTPD or beyond it."""
        return math.floor(self.aql * lot_size + _ROUNDING), math.ceil(self.ltpd * lot_size - _ROUNDING)


@dataclass(frozen=True)
class Plan:
    """After `sizes[k]` items a lot is accepted with `accept[k]` defectives or fewer, rejected with `reject[k]` or more.

    An acceptance number of -1 accepts nothing yet. The last stage leaves nothing open.
    """

    sizes: tuple[int, ...]  # of the whole sample so far
    accept: tuple[int, ...]
    reject: tuple[int, ...]

    def __post_init__(self) -> None:
        stages = list(zip(self.sizes, self.accept, self.reject, strict=True))
        grows = all(before < after for before, after in pairwise((0, *self.sizes)))
        if not stages or not grows or any(not -1 <= low < high for _, low, high in stages):
            raise InvalidInputError("A plan needs samples that grow, each with an acceptance below a rejection number.")
        if self.reject[-1] != self.accept[-1] + 1 or max(self.reject) != self.reject[-1] or self.accept[-1] < 0:
            raise InvalidInputError("The last sample of a plan has to decide: it rejects what it does not accept.")
        if self.accept[-1] >= self.sizes[-1]:
            raise InvalidInputError(
                f"A plan that accepts {self.accept[-1]} defectives among {self.sizes[-1]} items rejects nothing."
            )


@dataclass(frozen=True)
class Curve:
    """What a plan does to lots of several qualities."""

    fractions: Floats  # (M,) share of defectives
    accepted: Floats  # (M,) the operating characteristic: how often such a lot is accepted
    sampled: Floats  # (M,) average sample number, ASN: the sample is inspected to its end
    outgoing: Floats  # (M,) average outgoing quality, AOQ, where rejected lots are sorted and all found is put right
    inspected: Floats  # (M,) average total inspection, ATI, of the same


@dataclass(frozen=True)
class Decision:
    """What a plan says of the items inspected so far."""

    outcome: Outcome
    size: int  # of the sample that decided, or of the largest that did not
    found: int  # defectives in it


def single(size: int, accept: int) -> Plan:
    """One sample decides."""
    return Plan((size,), (accept,), (accept + 1,))


def double(first: int, second: int, accept: tuple[int, int], *, reject: int | None = None) -> Plan:
    """A second sample is drawn where the first does not decide.

    Args:
        first: Its size.
        second: Its size.
        accept: With how many defectives in the first, and in both.
        reject: With how many in the first; by default as many as reject after both.
    """
    last = accept[1] + 1
    return Plan((first, first + second), accept, (last if reject is None else reject, last))


def find(kind: Kind, levels: Levels, *, lot_size: int, process: bool = False) -> Plan:
    """The smallest plan that keeps both risks.

    A double plan has samples of one size and the least average sample number at the AQL; a sequential one looks after
    each item, and ends at the first size from that of the single plan on at which it may.

    Args:
        kind: Of plan.
        levels: What it is to tell apart.
        lot_size: Items in a lot.
        process: The levels are those of a process which makes the lots, not of one lot.

    Raises:
        InvalidInputError: lots are too small for such a plan.
    """
    if lot_size < 1:
        raise InvalidInputError(f"A lot has items; this one has {lot_size}.")
    chances = _process_chances(levels) if process else _lot_chances(levels, lot_size)
    if kind == "double":
        return _find_double(levels, chances, lot_size)
    plan = _find_single(levels, chances, lot_size)
    return plan if kind == "single" else _find_sequential(levels, chances, plan.sizes[0], lot_size)


def rescale(plan: Plan, severity: Severity, *, lot_size: int) -> Plan:
    """A plan that was given by its numbers under another severity: samples a step larger or smaller, as `Levels.under`.

    A lot with fewer items than a sample is inspected as a whole.

    Raises:
        InvalidInputError: it has too few for the plan to reject anything, or for a second sample.
    """
    factor = {"reduced": 1 / STEP, "normal": 1.0, "tightened": STEP}[severity]
    wanted = [
        max(math.ceil(size * factor - _ROUNDING), high) for size, high in zip(plan.sizes, plan.reject, strict=True)
    ]
    return Plan(tuple(min(size, lot_size) for size in wanted), plan.accept, plan.reject)


def of_lots(plan: Plan, defectives: Ints, *, lot_size: int) -> Curve:
    """The curve over lots with `defectives` `(M,)` int64 of `lot_size` items: hypergeometric, type A."""
    found = np.arange(plan.reject[-1] + 1)
    left = np.maximum(defectives[:, None] - found, 0)
    return _walk(
        plan,
        defectives / lot_size,
        chance=lambda seen: np.minimum(left / (lot_size - seen), 1),
        escaped=lambda seen: left / lot_size,
        lot_size=lot_size,
    )


def of_process(plan: Plan, fractions: Floats, *, lot_size: int) -> Curve:
    """The curve over processes that make defectives at the rates `fractions` `(M,)`: binomial, type B."""
    rates = np.repeat(fractions[:, None], plan.reject[-1] + 1, axis=1)
    return _walk(
        plan,
        fractions,
        chance=lambda seen: rates,
        escaped=lambda seen: rates * (lot_size - seen) / lot_size,
        lot_size=lot_size,
    )


def risks(plan: Plan, levels: Levels, *, lot_size: int, process: bool = False) -> tuple[float, float]:
    """The producer's and the consumer's risk: of rejecting a lot at the AQL, and of accepting one at the LTPD."""
    if process:
        curve = of_process(plan, np.array([levels.aql, levels.ltpd]), lot_size=lot_size)
    else:
        curve = of_lots(plan, np.array(levels.defectives(lot_size)), lot_size=lot_size)
    return max(0.0, 1 - float(curve.accepted[0])), float(curve.accepted[1])


def outgoing_limit(plan: Plan, *, lot_size: int, process: bool = False) -> tuple[float, float]:
    """AOQL, the worst average outgoing quality, and the incoming quality that has it; of 2,000 qualities at most."""
    if process:
        curve = of_process(plan, np.linspace(0, 1, _POINTS + 1), lot_size=lot_size)
    else:
        curve = of_lots(plan, grid(lot_size, _POINTS), lot_size=lot_size)
    worst = int(curve.outgoing.argmax())
    return float(curve.outgoing[worst]), float(curve.fractions[worst])


def grid(most: int, points: int) -> Ints:
    """Whole numbers from 0 to `most`, all or about `points` of them evenly spaced."""
    return np.unique(np.linspace(0, most, min(most, points) + 1).round().astype(np.int64))


def decide(plan: Plan, defective: Bools) -> Decision:
    """Go through the items `(M,)` in the order in which they were drawn, as far as they are inspected."""
    found = np.concatenate([[0], np.cumsum(defective)])
    reached = 0
    for size, low, high in zip(plan.sizes, plan.accept, plan.reject, strict=True):
        if size > len(defective):
            break
        reached = size
        if found[size] <= low:
            return Decision("accepted", size, int(found[size]))
        if found[size] >= high:
            return Decision("rejected", size, int(found[size]))
    return Decision("continue", reached, int(found[reached]))


def next_size(plan: Plan, decision: Decision) -> int:
    """How large the sample has to be for an undecided lot to be accepted, if nothing more is found."""
    able = (
        size
        for size, low in zip(plan.sizes, plan.accept, strict=True)
        if size > decision.size and low >= decision.found
    )
    return next(able, plan.sizes[-1])


def may_withdraw(found: int) -> bool:
    """Whether an undecided lot may be withdrawn after so many defectives, and what was not inspected be a new lot.

    Only with none: then the consumer's risk stays as stated, whoever looks after each item. All defectives are still
    there among fewer items, so of a lot at the LTPD the new one is beyond it; and the old one, where something is found
    before it would be withdrawn, is accepted less often than it was to begin with.
    """
    return found == 0


def standing(history: Sequence[tuple[Severity, bool]]) -> Standing:
    """How a vendor's next lot is inspected, after lots that were inspected so and accepted or not, oldest first.

    The switching rules of MIL-STD-105E, 4.7 and 4.8, without limit numbers; ISO 2859-1 has the same, except that it
    counts a score of 30 where ten accepted lots are enough here. Lots submitted again do not count. From a lot that was
    inspected more severely than the rules say they go on there, which is also how a discontinuation ends: with a
    tightened one. Of lots inspected less severely the accepted count for nothing, and the rejected as any.
    """
    now: Standing = "normal"
    run: list[bool] = []  # what became of the lots since the last switch
    for severity, accepted in history:
        if now == "discontinued":
            if severity != "tightened":
                continue
            now, run = severity, []
        elif SEVERITIES.index(severity) > SEVERITIES.index(now):
            now, run = severity, []
        elif severity != now and accepted:
            continue
        run.append(accepted)
        follows = _after(now, run)
        if follows != now:
            now, run = follows, []
    return now


def _after(severity: Severity, run: Sequence[bool]) -> Standing:
    if severity == "normal":
        if run[-5:].count(False) >= 2:
            return "tightened"
        return "reduced" if len(run) >= 10 and all(run[-10:]) else "normal"
    if severity == "tightened":
        if run.count(False) >= 5:
            return "discontinued"
        return "normal" if len(run) >= 5 and all(run[-5:]) else "tightened"
    return "reduced" if run[-1] else "normal"


def _walk(
    plan: Plan,
    fractions: Floats,
    *,
    chance: Callable[[int], Floats],
    escaped: Callable[[int], Floats],
    lot_size: int,
) -> Curve:
    """Inspect item by item; the weights are the chances to be still undecided with so many found, `(M, R + 1)`.

    The last column is of R or more, the largest rejection number: what is there can only be rejected.

    Args:
        plan: What decides.
        fractions: `(M,)`.
        chance: That the item after so many is defective, by what was found.
        escaped: Which share of the lot is defective and was not seen, if it is accepted after so many.
        lot_size: For the items that sorting inspects.
    """
    weights = np.zeros((len(fractions), plan.reject[-1] + 1))
    weights[:, 0] = 1
    accepted, sampled, outgoing, inspected = np.zeros((4, len(fractions)))
    stages = {size: (low, high) for size, low, high in zip(plan.sizes, plan.accept, plan.reject, strict=True)}
    for seen in range(plan.sizes[-1]):
        moved = weights * chance(seen)
        moved[:, -1] = 0
        weights -= moved
        weights[:, 1:] += moved[:, :-1]
        if seen + 1 in stages:
            low, high = stages[seen + 1]
            passing, failing = weights[:, : low + 1].sum(axis=1), weights[:, high:].sum(axis=1)
            accepted += passing
            sampled += (seen + 1) * (passing + failing)
            outgoing += (weights * escaped(seen + 1))[:, : low + 1].sum(axis=1)
            inspected += (seen + 1) * passing + lot_size * failing
            weights[:, : low + 1] = 0
            weights[:, high:] = 0
    return Curve(fractions, accepted, sampled, outgoing, inspected)


@dataclass(frozen=True)
class _Chances:
    """How likely a sample holds so much, once at the AQL and once at the LTPD: all give `(2, …)`."""

    at_most: Callable[[int, int], Floats]  # (found, size)
    passing_two: Callable[[int, int, int], Floats]  # (c1, c2, size): of a double plan that rejects after both only
    next: Callable[[Ints, int], Floats]  # (found, seen): that the item after is defective


def _lot_chances(levels: Levels, lot_size: int) -> _Chances:
    from scipy.stats import hypergeom

    bad = np.array(levels.defectives(lot_size))

    def passing_two(first: int, both: int, size: int) -> Floats:
        found = np.arange(first + 1, both + 1)
        left = np.clip(bad[:, None] - found, 0, lot_size - size)
        second = hypergeom.cdf(both - found, lot_size - size, left, size)
        seen = hypergeom.pmf(found, lot_size, bad[:, None], size)
        return np.asarray(hypergeom.cdf(first, lot_size, bad, size) + (seen * second).sum(axis=1))

    return _Chances(
        at_most=lambda found, size: np.asarray(hypergeom.cdf(found, lot_size, bad, size)),
        passing_two=passing_two,
        next=lambda found, seen: np.clip((bad[:, None] - found) / (lot_size - seen), 0, 1),
    )


def _process_chances(levels: Levels) -> _Chances:
    from scipy.stats import binom

    rates = np.array([levels.aql, levels.ltpd])

    def passing_two(first: int, both: int, size: int) -> Floats:
        found = np.arange(first + 1, both + 1)
        terms = binom.pmf(found, size, rates[:, None]) * binom.cdf(both - found, size, rates[:, None])
        return np.asarray(binom.cdf(first, size, rates) + terms.sum(axis=1))

    return _Chances(
        at_most=lambda found, size: np.asarray(binom.cdf(found, size, rates)),
        passing_two=passing_two,
        next=lambda found, seen: np.repeat(rates[:, None], len(found), axis=1),
    )


def _find_single(levels: Levels, chances: _Chances, lot_size: int) -> Plan:
    """With each acceptance number the first size that protects the consumer, until one is fair to the producer too."""
    for accept in range(lot_size):
        size = _first_safe(partial(chances.at_most, accept), levels, accept + 1, lot_size)
        if size is None:
            break
        if chances.at_most(accept, size)[0] >= 1 - levels.producers_risk:
            return single(size, accept)
    raise _too_small("single", lot_size)


def _find_double(levels: Levels, chances: _Chances, lot_size: int) -> Plan:
    best, least = None, math.inf
    for both in range(1, lot_size):
        for first in range(both):
            passing = partial(chances.passing_two, first, both)
            size = _first_safe(passing, levels, both // 2 + 1, lot_size // 2)
            if size is None or size >= least:
                break  # larger numbers need larger samples
            if passing(size)[0] >= 1 - levels.producers_risk:
                undecided = chances.at_most(both, size)[0] - chances.at_most(first, size)[0]
                expected = size * (1 + float(undecided))
                if expected < least:
                    best, least = double(size, size, (first, both)), expected
        if first == 0 and (size is None or size >= least):
            break
    if best is None:
        raise _too_small("double", lot_size)
    return best


def _first_safe(passing: Callable[[int], Floats], levels: Levels, low: int, high: int) -> int | None:
    """The first size from `low` to `high` that keeps the consumer's risk, as all larger ones do."""
    if low > high or passing(high)[1] > levels.consumers_risk:
        return None
    return low + bisect_left(range(low, high), True, key=lambda size: passing(size)[1] <= levels.consumers_risk)


def _find_sequential(levels: Levels, chances: _Chances, from_size: int, lot_size: int) -> Plan:
    """Wald's lines, ended where the exact risks allow; they are drawn farther apart where no end does."""
    sizes = np.arange(1, lot_size + 1)
    scale = math.log(levels.ltpd * (1 - levels.aql) / (levels.aql * (1 - levels.ltpd)))
    slope = math.log((1 - levels.aql) / (1 - levels.ltpd)) / scale
    last = np.floor(slope * sizes + _ROUNDING).astype(np.int64)
    for shrink in _SHRINK ** np.arange(_WIDENINGS):
        alpha, beta = levels.producers_risk * shrink, levels.consumers_risk * shrink
        below, above = math.log((1 - alpha) / beta) / scale, math.log((1 - beta) / alpha) / scale
        accept = np.maximum(np.floor(slope * sizes - below + _ROUNDING), -1).astype(np.int64)
        reject = np.ceil(slope * sizes + above - _ROUNDING).astype(np.int64)
        end = _end(levels, chances, from_size=from_size, accept=accept, reject=reject, last=last)
        if end is not None:
            final = int(last[end - 1])
            return Plan(
                sizes=tuple(range(1, end + 1)),
                accept=(*accept[: end - 1].tolist(), final),
                reject=tuple(np.minimum(reject[:end], final + 1).tolist()),
            )
    raise _too_small("sequential", lot_size)


def _end(levels: Levels, chances: _Chances, *, from_size: int, accept: Ints, reject: Ints, last: Ints) -> int | None:
    """The first size at which accepting with `last` found, and rejecting with more, keeps both risks.

    Returns:
        `None` where the lines alone, each `(N,)`, break a risk, or no size keeps them.
    """
    found = np.arange(reject[-1] + 1)
    weights = np.zeros((2, len(found)))
    weights[:, 0] = 1
    accepted, rejected = np.zeros((2, 2))
    for seen, (low, high, final) in enumerate(zip(accept, reject, last, strict=True)):
        moved = weights * chances.next(found, seen)
        weights -= moved
        weights[:, 1:] += moved[:, :-1]
        passing = accepted + weights[:, : final + 1].sum(axis=1)
        if seen + 1 >= from_size and 1 - passing[0] <= levels.producers_risk and passing[1] <= levels.consumers_risk:
            return seen + 1
        accepted += weights[:, : low + 1].sum(axis=1)
        rejected += weights[:, high:].sum(axis=1)
        if rejected[0] > levels.producers_risk or accepted[1] > levels.consumers_risk:
            return None
        weights[:, : low + 1] = 0
        weights[:, high:] = 0
    return None


def _too_small(kind: Kind, lot_size: int) -> InvalidInputError:
    advice = "give levels farther apart" if kind == "single" else "use a single plan"
    return InvalidInputError(f"Lots of {lot_size} items are too small for a {kind} plan with these risks: {advice}.")
