"""Counting instead of choosing: whether bounds on a choice can be met, and which contradict each other.

Candidates that no bound tells apart are of one kind, so an integer program over the number chosen of
each kind decides exactly what would be hopeless over a million candidates.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from store.arrays import Bools, Floats, Ints

_TOLERANCE = 1e-6  # the solver's


@dataclass(frozen=True)
class Kinds:
    """Which of `M` candidates no bound tells apart."""

    of_each: Ints  # (M,) kind of a candidate
    examples: Ints  # (K,) the first candidate of each kind


@dataclass(frozen=True)
class Row:
    """A bound on the sum of a coefficient over everything chosen."""

    text: str
    coefficients: Floats  # (K,)
    least: float = -math.inf
    most: float = math.inf
    taken: float = 0.0  # what is chosen beforehand contributes this
    unit: Literal["images", "share", "money"] = "images"  # of the sum; a share's is relative to all that is chosen


@dataclass(frozen=True)
class Solution:
    """How many of each kind `(K,)`, and how far each row is from its bounds `(R,)`: positive where it falls short."""

    counts: Ints
    shortfalls: Floats


def compact(codes: Ints) -> Ints:
    """The same partition, numbered from 0 in ascending order of the codes `(M,)`."""
    numbered: Ints = np.unique(codes, return_inverse=True)[1]
    return numbered


class Program:
    """The integer program over counts per kind; candidates can be withdrawn from it."""

    def __init__(self, kinds: Kinds, rows: Sequence[Row]) -> None:
        from scipy import sparse

        self.rows = rows
        self._of_each = kinds.of_each
        self._capacity = np.bincount(kinds.of_each, minlength=len(kinds.examples))  # (K,)
        self.matrix = np.array([row.coefficients for row in rows], dtype=np.float64).reshape(len(rows), -1)
        self._least = np.array([row.least - row.taken for row in rows])
        self._most = np.array([row.most - row.taken for row in rows])
        slack = sparse.eye_array(len(rows))
        self._system = sparse.hstack([sparse.csr_array(self.matrix), slack, -slack]).tocsc()

    def withdraw(self, candidate: int) -> None:
        """Count one candidate less."""
        self._capacity[self._of_each[candidate]] -= 1

    def meets(self, counts: Ints) -> bool:
        """Whether exactly these counts `(K,)` meet every row."""
        sums = self.matrix @ counts
        return bool(((sums >= self._least - _TOLERANCE) & (sums <= self._most + _TOLERANCE)).all())

    def full(self, counts: Ints) -> Bools:
        """Kinds `(K,)` of which one more alone would exceed a maximum for good."""
        growing = (self.matrix >= 0).all(axis=1)
        sums = (self.matrix @ counts)[growing, None] + self.matrix[growing]
        exceeds: Bools = np.any(sums > self._most[growing, None] + _TOLERANCE, axis=0)
        return exceeds

    def shortfalls(self, counts: Ints) -> Floats:
        """What exactly these counts `(K,)` lack for each row's least `(R,)`."""
        return np.maximum(self._least - self.matrix @ counts, 0)

    def solve(
        self,
        at_least: Ints,
        *,
        rows: Collection[int] | None = None,
        cost: Floats | None = None,
        elastic: Bools | None = None,
        exceedable: bool = True,
    ) -> Solution | None:
        """Counts of no less than `at_least` `(K,)` that meet the rows; none if there are none.

        Args:
            at_least: What is chosen already.
            rows: Which hold; by default all.
            cost: Of one of each kind `(K,)`, minimised.
            elastic: Rows that may be missed `(R,)`, by as little as possible in total.
            exceedable: Whether those may be exceeded too, not only fall short.
        """
        from scipy.optimize import Bounds, LinearConstraint, milp

        if (at_least > self._capacity).any():
            return None
        k, r = len(self._capacity), len(self.rows)
        holds = np.isin(np.arange(r), list(range(r) if rows is None else rows))
        lower = np.where(holds, self._least, -np.inf)
        upper = np.where(holds, self._most, np.inf)
        slack = np.zeros(r) if elastic is None else np.where(elastic, np.inf, 0.0)
        excess = slack if exceedable else np.zeros(r)
        found = milp(
            np.concatenate([np.zeros(k) if cost is None else cost, np.ones(2 * r)]),
            integrality=np.repeat([1, 0], [k, 2 * r]),
            bounds=Bounds(np.concatenate([at_least, np.zeros(2 * r)]), np.concatenate([self._capacity, slack, excess])),
            constraints=LinearConstraint(self._system, lower, upper),
        )
        if found.x is None:
            return None
        shortfalls = found.x[k : k + r] - found.x[k + r :]
        shortfalls[np.abs(shortfalls) < _TOLERANCE] = 0
        return Solution(np.rint(found.x[:k]).astype(np.int64), shortfalls)

    def explain(self) -> str:
        """Which rows cannot be met, and by how many: those impossible alone, else a smallest set that contradicts."""
        nothing = np.zeros(len(self._capacity), dtype=np.int64)
        every = range(len(self.rows))
        alone = [self._alone(i) for i in every if self.solve(nothing, rows=[i]) is None]
        if alone:
            return "; ".join(alone)
        kept = list(every)
        for i in every:
            others = [j for j in kept if j != i]
            if self.solve(nothing, rows=others) is None:
                kept = others
        return self._together(kept)

    def _alone(self, i: int) -> str:
        row = self.rows[i]
        nothing = np.zeros(len(self._capacity), dtype=np.int64)
        if row.taken > row.most:
            return f"{row.text}: {row.taken:g} taken already"
        best = self.solve(nothing, rows=[], cost=-row.coefficients)
        reach = row.taken + (0.0 if best is None else float(row.coefficients @ best.counts))
        if row.unit == "images":
            return f"{row.text}: only {reach:g} candidate{'s' * (reach != 1)}"
        return f"{row.text}: misses by {_whole(row.least - reach)}"

    def _together(self, conflict: Sequence[int]) -> str:
        rows = [self.rows[i] for i in conflict]
        nothing = np.zeros(len(self._capacity), dtype=np.int64)
        texts = ", ".join(row.text for row in rows)
        budgets = [row for row in rows if row.least == row.most]
        minima = [row for row in rows if row.most == math.inf and row.unit == "images"]
        if len(budgets) == 1 and len(minima) == len(rows) - 1 and all(row.taken == 0 for row in rows):
            apart = np.sum([row.coefficients > 0 for row in minima], axis=0).max() == 1
            total = sum(row.least for row in minima)
            if len(minima) > 1 and apart and total > budgets[0].most:
                return f"{texts}: the minima add up to {total:g} of {budgets[0].most:g}"
        money = next((i for i in conflict if self.rows[i].unit == "money"), None)
        if money is not None:
            row = self.rows[money]
            cheapest = self.solve(nothing, rows=[i for i in conflict if i != money], cost=row.coefficients)
            needed = row.taken + (0.0 if cheapest is None else float(row.coefficients @ cheapest.counts))
            return f"{texts} contradict each other: what the others ask for costs at least {needed:g}"
        missed = self.solve(nothing, rows=conflict, elastic=np.isin(np.arange(len(self.rows)), conflict))
        by = 0.0 if missed is None else float(np.abs(missed.shortfalls).sum())
        return f"{texts} contradict each other: they miss by {_whole(by)}"


def _whole(images: float) -> str:
    count = math.ceil(images - _TOLERANCE)
    return f"{count} image{'s' * (count != 1)}"
