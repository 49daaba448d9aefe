"""Acceptance sampling by attributes: judge a lot by some of its items, with risks that are known beforehand.

A plan inspects items drawn at random, without replacement, and after some sizes of the sample accepts the lot,
rejects it or goes on. Whether a lot or a process is meant decides the arithmetic: the defectives found in a sample of
one lot are hypergeometric, those in samples of lots that a process makes are binomial. All risks are exact, summed
item by item, for every kind of plan.

D. C. Montgomery, Introduction to Statistical Quality Control, chapter 15; A. Wald, Sequential Analysis (1947).
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
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
_TIE = 1e-12  # a risk of exactly 0.1 is one of at most 0.1, whatever floats say
_HARDEST_SINGLE, _HARDEST_DOUBLE = 10**8, 10**6  # items inspected times defectives among them: some seconds
_BLOCK = 128  # items in a sample, at first, when plans are looked for
_ROUNDING = 1e-9  # 0.07 × 100 is 7, whatever floats say


# Of M lots or processes: how likely the next item is defective, (M, K), after K numbers found, and after so many seen
_Draws: TypeAlias = Callable[[Ints], Callable[[int], Floats]]
_Stage: TypeAlias = tuple[int, int, int]  # size of the sample, acceptance number, rejection number


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
        for size, low, _ in stages:
            if low >= size:
                raise InvalidInputError(f"A plan that accepts {low} defectives among {size} items rejects nothing.")


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
    each item, and ends at the first size from that of the single plan on at which it may. Plans that would inspect very
    many items are not looked for: more than 70,000 of a single plan for an LTPD of .02, 7,000 of a double one.

    Args:
        kind: Of plan.
        levels: What it is to tell apart.
        lot_size: Items in a lot.
        process: The levels are those of a process which makes the lots, not of one lot.

    Raises:
        InvalidInputError: lots are too small for such a plan, or it would inspect too many items.
    """
    if lot_size < 1:
        raise InvalidInputError(f"A lot has items; this one has {lot_size}.")
    levels = replace(levels, producers_risk=levels.producers_risk + _TIE, consumers_risk=levels.consumers_risk + _TIE)
    rates = np.array([levels.aql, levels.ltpd])
    draws = _of_process(rates) if process else _of_lots(np.array(levels.defectives(lot_size)), lot_size)
    if kind == "double":
        return _find_double(levels, draws, lot_size)
    plan = _find_single(levels, draws, lot_size)
    return plan if kind == "single" else _find_sequential(levels, draws, plan.sizes[0], lot_size)


def rescale(plan: Plan, severity: Severity, *, lot_size: int) -> Plan:
    """A plan that was given by its numbers under another severity: samples a step larger or smaller, as `Levels.under`.

    Each sample stays larger than its acceptance number. A lot with fewer items than a sample is inspected as a whole,
    and decided by the plan's last numbers.

    Raises:
        InvalidInputError: the lot has too few items for the plan to reject anything.
    """
    factor = {"reduced": 1 / STEP, "normal": 1.0, "tightened": STEP}[severity]
    sizes: list[int] = []
    for size, low in zip(plan.sizes, plan.accept, strict=True):
        sizes.append(max(math.ceil(size * factor - _ROUNDING), max([low, *sizes]) + 1))
    before = sum(size < lot_size for size in sizes[:-1])  # samples that leave something for another
    return Plan(
        sizes=(*sizes[:before], min(sizes[-1], lot_size)),
        accept=(*plan.accept[:before], plan.accept[-1]),
        reject=(*plan.reject[:before], plan.reject[-1]),
    )


def of_lots(plan: Plan, defectives: Ints, *, lot_size: int) -> Curve:
    """The curve over lots with `defectives` `(M,)` int64 of `lot_size` items: hypergeometric, type A."""
    return _walk(plan, defectives / lot_size, _of_lots(defectives, lot_size), lot_size=lot_size)


def of_process(plan: Plan, fractions: Floats, *, lot_size: int) -> Curve:
    """The curve over processes that make defectives at the rates `fractions` `(M,)`: binomial, type B."""
    return _walk(plan, fractions, _of_process(fractions), lot_size=lot_size)


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


def _of_lots(defectives: Ints, lot_size: int) -> _Draws:
    def given(found: Ints) -> Callable[[int], Floats]:
        left = np.maximum(defectives[:, None] - found, 0)
        return lambda seen: np.minimum(left / max(lot_size - seen, 1), 1)

    return given


def _of_process(rates: Floats) -> _Draws:
    def given(found: Ints) -> Callable[[int], Floats]:
        same = np.repeat(rates[:, None], len(found), axis=1)
        return lambda seen: same

    return given


def _undecided(draws: _Draws, most: int, stages: Iterable[_Stage]) -> Iterator[tuple[_Stage, Floats]]:
    """Inspect item by item; the weights are the chances to be still undecided with so many found, `(M, most + 1)`.

    They are given at each stage before it decides. The last column is of `most` or more.
    """
    chance = draws(np.arange(most + 1))
    weights = np.zeros_like(chance(0))
    weights[:, 0] = 1
    seen = 0
    for size, low, high in stages:
        while seen < size:
            moved = weights * chance(seen)
            moved[:, -1] = 0
            weights = weights - moved
            weights[:, 1:] += moved[:, :-1]
            seen += 1
        yield (size, low, high), weights
        weights[:, : low + 1] = 0
        weights[:, high:] = 0


def _walk(plan: Plan, fractions: Floats, draws: _Draws, *, lot_size: int) -> Curve:
    """What becomes of lots or processes of these qualities, `(M,)`; sorting inspects what is left of a lot."""
    accepted, sampled, outgoing, inspected = np.zeros((4, len(fractions)))
    most = plan.reject[-1]
    next_one = draws(np.arange(most + 1))
    for (size, low, high), weights in _undecided(draws, most, zip(plan.sizes, plan.accept, plan.reject, strict=True)):
        passing, failing = weights[:, : low + 1].sum(axis=1), weights[:, high:].sum(axis=1)
        accepted += passing
        sampled += size * (passing + failing)
        outgoing += (weights * next_one(size))[:, : low + 1].sum(axis=1) * (lot_size - size) / lot_size
        inspected += size * passing + lot_size * failing
    return Curve(fractions, accepted, sampled, outgoing, inspected)


def _counts(draws: _Draws, most: int, *, samples: int = 1) -> Iterator[Floats]:
    """How likely so many are found among the first 0, 1, 2 … `most` items, `(2, K)`: at the AQL, and at the LTPD.

    K is more than what so many samples of these items hold at the LTPD; the last column is of K - 1 or more.
    """
    at_ltpd = float(draws(np.zeros(1, dtype=np.int64))(0)[1, 0])
    given, end = 0, min(_BLOCK, most)
    while given <= most:
        width = math.ceil(samples * end * at_ltpd) + 2
        every = ((size, -1, width) for size in range(end + 1))  # decides nothing
        for (size, _, _), weights in _undecided(draws, width - 1, every):
            if size >= given:
                yield weights
        given, end = end + 1, min(2 * end, most)


def _find_single(levels: Levels, draws: _Draws, lot_size: int) -> Plan:
    """The first size at which the largest number that protects the consumer is fair to the producer too."""
    most = min(lot_size, math.isqrt(int(_HARDEST_SINGLE / levels.ltpd)))
    for size, weights in enumerate(_counts(draws, most)):
        good, bad = weights.cumsum(axis=1)
        accept = int(np.searchsorted(bad, levels.consumers_risk, side="right")) - 1
        if 0 <= accept < size and good[accept] >= 1 - levels.producers_risk:
            return single(size, accept)
    raise _no_plan("single", lot_size, most)


def _find_double(levels: Levels, draws: _Draws, lot_size: int) -> Plan:
    """From the smallest samples on, until they alone are larger than what the best plan so far needs on average."""
    most = min(lot_size, math.isqrt(int(_HARDEST_DOUBLE / levels.ltpd)))
    best, least = None, math.inf
    rows: list[Floats] = []
    for seen, weights in enumerate(_counts(draws, most, samples=2)):
        rows.append(weights)
        size, odd = divmod(seen, 2)
        if odd or not size:
            continue
        if size >= least:
            break
        expected, first, both = _best_of_equal(size, rows[size], weights, levels)
        if expected < least:
            best, least = double(size, size, (first, both)), expected
    if best is None:
        raise _no_plan("double", lot_size, most)
    return best


def _best_of_equal(size: int, once: Floats, twice: Floats, levels: Levels) -> tuple[float, int, int]:
    """The least average sample number of two samples of `size`, and its acceptance numbers; infinite if none are safe.

    A lot passes with `first` found in the first sample, or with more if there are `both` in the two. Of so many in the
    two, those in the first are hypergeometric whatever the quality, as either half of the items may come first.

    Args:
        size: Of a sample.
        once: How likely so many are found in one, at the AQL and at the LTPD, `(2, K)`.
        twice: Likewise in two, as wide or wider.
        levels: What is to be told apart.
    """
    fair, safe = 1 - levels.producers_risk, levels.consumers_risk
    in_one, in_two = once.cumsum(axis=1), twice.cumsum(axis=1)
    first, both = np.flatnonzero(in_one[1] <= safe), np.flatnonzero(in_two[1] <= safe)
    if in_two[0, len(both)] < fair:  # no test of the two samples together is safe and fair (Neyman and Pearson)
        return math.inf, 0, 0
    both = both[in_one[0, both] >= fair]
    if not len(first) or not len(both):
        return math.inf, 0, 0
    total = int(both[-1])
    halves = _undecided(
        _of_lots(np.array([size]), 2 * size), len(first), ((n, -1, total + 2) for n in range(total + 1))
    )
    more = 1 - np.concatenate([weights for _, weights in halves])[:, first].cumsum(axis=1)  # (total + 1, F)
    later = (twice[:, : total + 1, None] * more).cumsum(axis=1)[:, both]
    passing = in_one[:, None, first] + later  # (2, B, F)
    is_plan = (passing[0] >= fair) & (passing[1] <= safe) & (first < both[:, None])
    expected = np.where(is_plan, size * (1 + in_one[0, both, None] - in_one[0, first]), math.inf)
    best = np.unravel_index(int(expected.argmin()), expected.shape)
    return float(expected[best]), int(first[best[1]]), int(both[best[0]])


def _find_sequential(levels: Levels, draws: _Draws, from_size: int, lot_size: int) -> Plan:
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
        end = _end(levels, draws, from_size=from_size, accept=accept, reject=reject, last=last)
        if end is not None:
            final = int(last[end - 1])
            return Plan(
                sizes=tuple(range(1, end + 1)),
                accept=(*accept[: end - 1].tolist(), final),
                reject=tuple(np.minimum(reject[:end], final + 1).tolist()),
            )
    raise _no_plan("sequential", lot_size, lot_size)


def _end(levels: Levels, draws: _Draws, *, from_size: int, accept: Ints, reject: Ints, last: Ints) -> int | None:
    """The first size at which accepting with `last` found, and rejecting with more, keeps both risks.

    Returns:
        `None` where the lines alone, each `(N,)`, break a risk, or no size keeps them.
    """
    accepted, rejected = np.zeros((2, 2))
    stages = zip(range(1, len(last) + 1), accept.tolist(), reject.tolist(), strict=True)
    for (size, low, high), weights in _undecided(draws, int(reject[-1]), stages):
        passing = accepted + weights[:, : last[size - 1] + 1].sum(axis=1)
        if size >= from_size and 1 - passing[0] <= levels.producers_risk and passing[1] <= levels.consumers_risk:
            return size
        accepted += weights[:, : low + 1].sum(axis=1)
        rejected += weights[:, high:].sum(axis=1)
        if rejected[0] > levels.producers_risk or accepted[1] > levels.consumers_risk:
            return None
    return None


def _no_plan(kind: Kind, lot_size: int, most: int) -> InvalidInputError:
    advice = "give levels farther apart" if kind == "single" else "use a single plan"
    if most < lot_size:
        return InvalidInputError(f"A {kind} plan with these risks would inspect more than {most:,} items: {advice}.")
    return InvalidInputError(f"Lots of {lot_size} items are too small for a {kind} plan with these risks: {advice}.")
