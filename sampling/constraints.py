"""Choosing best first within a budget, quotas and a minimum distance, all at once.

A candidate is taken if what is still asked for can be met afterwards, which an integer program over the
counts decides exactly (`sampling.allocation`). So the choice is the first in lexicographic order of all
that meet the bounds, and where no bound binds it is simply the first of the order.

Distances alone are beyond counting: they are looked up as the walk goes. Where they leave a minimum short
the walk starts again with that minimum's candidates; a choice that is refused after that might exist.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curation.joins import Take
from sampling.allocation import Kinds, Program, Row, compact
from store.arrays import Bools, Floats, Ints
from store.errors import InvalidInputError

_MOST_PRICES = 100  # each may double the kinds of candidates
_ROUNDING = 1e-9  # 0.1 × 30 is 3, not 4
_BLOCK = 1024  # candidates compared with what is chosen at once
_CHOSEN_BLOCK = 4096
_UNSURE = 2e-6  # float32 cosines this close to the limit are computed again in double precision


@dataclass(frozen=True)
class Quota:
    """How many of a choice may be members; a share is of everything chosen, what was taken before included."""

    name: str  # as the user knows it: source=vendor-a
    members: Bools  # (N,)
    least: int = 0
    most: int | None = None
    least_share: float = 0.0
    most_share: float = 1.0


@dataclass(frozen=True)
class Constraints:
    """Bounds on a choice from `N` positions; all count what was taken before."""

    items: int | None = None  # exactly so many
    money: float | None = None  # at most so much; without `items` as many as it buys
    costs: Floats | None = None  # (N,) of each position, of few different prices
    quotas: Sequence[Quota] = ()
    min_distance: float = 0.0  # cosine distance between what is chosen, and to what was taken
    taken: Ints | None = None  # positions chosen already


def choose(order: Ints, constraints: Constraints, *, take: Take | None = None) -> Ints:
    """The first choice in `order` that meets all constraints: positions, best first, without those taken.

    Args:
        order: Distinct positions `(M,)`, the best first.
        constraints: Over `N` positions.
        take: Gives the unit vectors at positions `(n,)` as `(n, D)`, for a minimum distance.

    Raises:
        InvalidInputError: a bound makes no sense, or the constraints cannot be met; it says which and by how many.
    """
    _check(constraints, take)
    taken = np.zeros(0, dtype=np.int64) if constraints.taken is None else constraints.taken
    candidates = order[~np.isin(order, taken)]
    kinds = _kinds(candidates, constraints)
    rows = _rows(candidates[kinds.examples], taken, constraints)
    distance = None
    if take is not None and constraints.min_distance:
        distance = _Distance(take, constraints.min_distance)
    program = Program(kinds, rows)
    if program.solve(np.zeros(len(kinds.examples), dtype=np.int64)) is None:
        raise InvalidInputError(f"The constraints cannot be met: {program.explain()}. Relax one of them.")
    room = len(candidates) if constraints.items is None else constraints.items - len(taken)
    first: dict[int, int] = {}  # minima whose candidates go first: the row, and how many of them
    while True:
        walk = _Walk(candidates, kinds, rows, taken, distance=distance, room=room)
        for i, limit in first.items():
            walk.go(np.flatnonzero(rows[i].coefficients[kinds.of_each] > 0), limit)
        walk.go(np.arange(len(candidates)), room)
        if walk.program.meets(walk.counts):
            return candidates[np.sort(np.array(walk.chosen, dtype=np.int64))]
        short = walk.shortfalls()
        more = [i for i in np.flatnonzero(short > 0).tolist() if i not in first and rows[i].most == math.inf]
        if not more:
            left = "; ".join(_left(rows[i], float(short[i])) for i in np.flatnonzero(short > 0).tolist())
            raise InvalidInputError(
                f"A minimum distance of {constraints.min_distance:g} leaves too few images, taken best first: {left}. "
                "Lower it, or ask for fewer."
            )
        for i in more:
            row = rows[i]
            others = float(np.minimum(row.coefficients, 0) @ walk.counts)
            first[i] = math.ceil((row.least - row.taken - others) / row.coefficients.max())


class _Distance:
    """Who is too near whom."""

    def __init__(self, take: Take, least: float) -> None:
        self._take, self._limit = take, 1 - least

    def near(self, positions: Ints, chosen: Ints) -> Bools:
        """Which of the positions `(B,)` are too near one of the chosen."""
        result: Bools = np.zeros(len(positions), dtype=np.bool_)
        for start in range(0, len(chosen), _CHOSEN_BLOCK):
            result |= self.pairs(positions, chosen[start : start + _CHOSEN_BLOCK]).any(axis=1)
        return result

    def pairs(self, a: Ints, b: Ints) -> Bools:
        """Which pairs `(A, B)` are too near."""
        left, right = self._take(a), self._take(b)
        cosines = left @ right.T
        result: Bools = cosines > self._limit
        rows, columns = np.nonzero(np.abs(cosines - self._limit) < _UNSURE)
        for start in range(0, len(rows), _CHOSEN_BLOCK):
            i, j = rows[start : start + _CHOSEN_BLOCK], columns[start : start + _CHOSEN_BLOCK]
            result[i, j] = np.einsum("nd,nd->n", left[i], right[j], dtype=np.float64) > self._limit
        return result


class _Walk:
    """One pass over the candidates, best first; places are indices into them."""

    def __init__(
        self,
        candidates: Ints,
        kinds: Kinds,
        rows: Sequence[Row],
        taken: Ints,
        *,
        distance: _Distance | None,
        room: int,
    ) -> None:
        self.program = Program(kinds, rows)
        self.counts = np.zeros(len(kinds.examples), dtype=np.int64)  # chosen of each kind
        self.chosen: list[int] = []
        self._candidates, self._kinds, self._taken = candidates, kinds, taken
        self._distance, self._room = distance, room
        self._possible: Ints | None = None  # counts known to meet the rows
        self._open = np.ones(len(kinds.examples), dtype=np.bool_)
        self._usable = np.ones(len(candidates), dtype=np.bool_)
        self._stuck = False  # too few are left, wherever the walk goes on

    def go(self, places: Ints, limit: int) -> None:
        """Choose at most `limit` of these places, as many as may be."""
        at, ahead = 0, _BLOCK
        end = min(self._room, len(self.chosen) + limit)
        while at < len(places) and len(self.chosen) < end and not self._stuck:
            found, lost = self._look(places, at, min(ahead, end - len(self.chosen)))
            accepted = len(found)
            while accepted and not self._allows(places[found[:accepted]]):
                accepted //= 2
            if accepted:
                self._take(places[found[:accepted]])
                at = found[accepted - 1] + 1
            elif found:
                at = found[0] + 1
            else:
                at = len(places)
            self._lose(places[[i for i in lost if i < at]])
            if found and not accepted:
                self._close(places[found[0]])
            ahead = 2 * ahead if accepted == len(found) else max(1, accepted // 2)

    def shortfalls(self) -> Floats:
        """By how much this walk leaves each row short `(R,)`."""
        lasting = np.array([row.least > -math.inf for row in self.program.rows])
        best = self.program.solve(self.counts, elastic=lasting, exceedable=False) if self._stuck else None
        if best is not None:
            return best.shortfalls
        return self.program.shortfalls(self.counts)

    def _look(self, places: Ints, at: int, ahead: int) -> tuple[list[int], list[int]]:
        """Indices into `places` from `at` on: the next ones that nothing chosen forbids, and those too near before."""
        found: list[int] = []
        lost: list[int] = []
        size = min(_BLOCK, max(32, 2 * ahead))
        while at < len(places) and len(found) < ahead:
            window = places[at : at + size]
            kept = np.flatnonzero(self._usable[window] & self._open[self._kinds.of_each[window]])
            near: Bools = np.zeros(len(kept), dtype=np.bool_)
            pairs = None
            if self._distance is not None:
                rows = self._candidates[window[kept]]
                chosen = self._candidates[np.array(self.chosen + places[found].tolist(), dtype=np.int64)]
                near = self._distance.near(rows, np.concatenate([self._taken, chosen]))
                pairs = self._distance.pairs(rows, rows)
            for j, i in enumerate(kept.tolist()):
                if near[j]:
                    lost.append(at + i)
                    continue
                found.append(at + i)
                if len(found) == ahead:
                    break
                if pairs is not None:
                    near |= pairs[j]
            at += size
            size = min(_BLOCK, 2 * size)
        return found, lost

    def _allows(self, places: Ints) -> bool:
        """Whether all of these can be chosen and the rest of the bounds still be met."""
        wanted = self.counts + np.bincount(self._kinds.of_each[places], minlength=len(self.counts))
        if self._possible is not None and (wanted <= self._possible).all():
            return True
        solution = self.program.solve(wanted)
        if solution is not None:
            self._possible = solution.counts
        return solution is not None

    def _take(self, places: Ints) -> None:
        self.chosen += places.tolist()
        self.counts += np.bincount(self._kinds.of_each[places], minlength=len(self.counts))
        self._open &= ~self.program.full(self.counts)

    def _lose(self, places: Ints) -> None:
        for place in places.tolist():
            self._usable[place] = False
            self.program.withdraw(place)
            self._possible = None

    def _close(self, place: int) -> None:
        """Take no more of a kind: what cannot be had now cannot be had later."""
        self._open[self._kinds.of_each[place]] = False
        self._stuck = not self._usable.all() and self.program.solve(self.counts) is None


def _check(constraints: Constraints, take: Take | None) -> None:
    if constraints.items is None and constraints.money is None:
        raise InvalidInputError("A choice needs a budget: a number of images, or a sum of money.")
    if constraints.items is not None and constraints.items < 0:
        raise InvalidInputError(f"A budget of {constraints.items} images is less than nothing.")
    if constraints.min_distance and take is None:
        raise InvalidInputError("A minimum distance needs vectors. Run: winnow embed.")
    if constraints.money is not None:
        costs = constraints.costs
        if costs is None or not (np.isfinite(costs).all() and (costs >= 0).all() and constraints.money >= 0):
            raise InvalidInputError("A budget in money needs what each image costs, none less than nothing.")
        if (prices := len(np.unique(costs))) > _MOST_PRICES:
            raise InvalidInputError(f"There are {prices} different costs, at most {_MOST_PRICES} can be: round them.")
    for quota in constraints.quotas:
        if not (0 <= quota.least_share <= quota.most_share <= 1) or quota.least > (
            math.inf if quota.most is None else quota.most
        ):
            raise InvalidInputError(f"The quota of {quota.name} asks for more than it allows.")


def _kinds(candidates: Ints, constraints: Constraints) -> Kinds:
    """Candidates `(M,)` that are members of the same quotas at the same cost are of one kind."""
    cells: Ints = np.zeros(len(candidates), dtype=np.int64)
    for i, quota in enumerate(constraints.quotas):
        cells = 2 * cells + quota.members[candidates]
        if i % 32 == 31:  # before 64 bits overflow
            cells = compact(cells)
    if constraints.money is not None and constraints.costs is not None:
        _, prices = np.unique(constraints.costs[candidates], return_inverse=True)
        cells = compact(cells) * _MOST_PRICES + prices
    _, examples, of_each = np.unique(cells, return_index=True, return_inverse=True)
    return Kinds(of_each, examples)


def _rows(examples: Ints, taken: Ints, constraints: Constraints) -> list[Row]:
    """The bounds as rows over kinds, of which one position each is given `(K,)`."""
    rows = []
    for quota in constraints.quotas:
        members = quota.members.astype(np.float64)
        of_kinds, of_taken = members[examples], float(members[taken].sum())
        least = float(quota.least)
        most = math.inf if quota.most is None else float(quota.most)
        if constraints.items is not None:
            least = max(least, math.ceil(quota.least_share * constraints.items - _ROUNDING))
            if quota.most_share < 1:
                most = min(most, math.floor(quota.most_share * constraints.items + _ROUNDING))
        else:
            if quota.least_share > 0:
                share = quota.least_share
                offset = of_taken - share * len(taken)
                text = f"{quota.name} at least {share:.0%}"
                rows.append(Row(text, of_kinds - share, least=0.0, taken=offset, unit="share"))
            if quota.most_share < 1:  # a minimum for the others
                share = quota.most_share
                offset = share * len(taken) - of_taken
                text = f"{quota.name} at most {share:.0%}"
                rows.append(Row(text, share - of_kinds, least=0.0, taken=offset, unit="share"))
        if least > 0:
            rows.append(Row(f"{quota.name} at least {least:g}", of_kinds, least=least, taken=of_taken))
        if most < math.inf:
            rows.append(Row(f"{quota.name} at most {most:g}", of_kinds, most=most, taken=of_taken))
    if constraints.items is not None:
        k = float(constraints.items)
        rows.append(Row(f"a budget of {k:g}", np.ones(len(examples)), least=k, most=k, taken=float(len(taken))))
    if constraints.money is not None and constraints.costs is not None:
        costs = constraints.costs.astype(np.float64)
        spent = float(costs[taken].sum())
        rows.append(
            Row(f"{constraints.money:g} of money", costs[examples], most=constraints.money, taken=spent, unit="money")
        )
    return rows


def _left(row: Row, short: float) -> str:
    if row.unit == "images":
        return f"{row.text}: only {row.least - short:g}"
    return f"{row.text}: short by {short:.1f}"
