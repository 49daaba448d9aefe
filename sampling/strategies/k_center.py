"""Greedy k-center, exact and lazy: a candidate is compared with new centres only when it may be the next."""

import numpy as np

from sampling import geometry
from store.arrays import Floats, Ints, Vectors

_BLOCK = 1024  # candidates brought up to date at once, twice as many after a round that chose none
_CHUNK = 128  # of them compared with the same centres
_ROWS = 8192  # candidates compared with their mean at once
_ERROR = 2e-6  # of a cosine in single precision; what differs by less is computed in double


def choose(candidates: Vectors, k: int, *, labelled: Vectors) -> Ints:
    """Farthest first: each pick has the smallest cosine to the nearest of labelled vectors `(L, D)` and earlier picks.

    Where nothing is labelled, the first is the candidate nearest to their mean. The distance is decided in double
    precision, so that the picks are those of comparing everything; copies of a centre come last.
    Distances that are equal in 12 digits go to the smaller position.

    Sener & Savarese 2018 (Core-Set, arXiv 1708.00489).
    """
    k = min(k, len(candidates))
    centres = np.empty((len(labelled) + k, candidates.shape[1]), dtype=np.float32)
    centres[: len(labelled)] = labelled
    picks: list[int] = []
    if k and not len(labelled):
        picks.append(_central(candidates))
        centres[0] = candidates[picks[0]]
    filled = len(labelled) + len(picks)
    nearest = _snapped(
        geometry.nearest_cosines(candidates, centres[:filled])
    )  # a lower bound: some have not met the latest centres
    met = np.full(len(candidates), filled)
    nearest[picks] = np.inf
    size = _BLOCK
    while len(picks) < k:
        block, bar = _lowest(nearest, size)
        _catch_up(block, candidates, centres[:filled], nearest, met)
        rows, cosines = candidates[block], nearest[block]
        before = len(picks)
        while len(picks) < k and (i := _farthest(rows, cosines, centres[:filled], bar)) is not None:
            picks.append(int(block[i]))
            centres[filled] = rows[i]
            filled += 1
            np.maximum(cosines, _snapped(rows @ rows[i]), out=cosines)
            cosines[i] = np.inf
        nearest[block], met[block] = cosines, filled
        size = max(_BLOCK, size // 2) if len(picks) > before else 2 * size
    return np.array(picks, dtype=np.int64)


def _lowest(nearest: Vectors, size: int) -> tuple[Ints, float]:
    """The positions of the `size` smallest, ascending, and the smallest of the others."""
    if size >= len(nearest):
        return np.arange(len(nearest)), np.inf
    order = np.argpartition(nearest, size)
    return np.sort(order[:size]), float(nearest[order[size]])


def _catch_up(block: Ints, candidates: Vectors, centres: Vectors, nearest: Vectors, met: Ints) -> None:
    """Compare candidates with the centres that they have not met; those that met equally many together."""
    late = block[(met[block] < len(centres)) & np.isfinite(nearest[block])]
    late = late[np.argsort(met[late], kind="stable")]
    for start in range(0, len(late), _CHUNK):
        chunk = late[start : start + _CHUNK]
        cosines = (candidates[chunk] @ centres[met[chunk[0]] :].T).max(axis=1)
        nearest[chunk] = np.maximum(nearest[chunk], _snapped(cosines))


def _farthest(rows: Vectors, cosines: Vectors, centres: Vectors, bar: float) -> int | None:
    """Which of the rows is farthest from all centres, unless one outside, at `bar` or nearer, may be farther."""
    least = cosines.min()
    if least + _ERROR >= bar:
        return None
    close = np.flatnonzero(cosines <= least + _ERROR)
    if len(close) == 1 or least == 1:
        return int(close[0])
    exact = np.concatenate(
        [_exact(rows[close[start : start + _CHUNK]], centres) for start in range(0, len(close), _CHUNK)]
    )
    return int(close[exact.argmin()])


def _exact(rows: Vectors, centres: Vectors) -> Floats:
    nearest = (rows.astype(np.float64) @ centres.T.astype(np.float64)).max(axis=1)
    rounded: Floats = nearest.round(12)  # equal rows may differ in the last bits
    return rounded


def _snapped(cosines: Vectors) -> Vectors:
    """Copies are at 1 exactly, whatever the rounding."""
    cosines[cosines > 1 - _ERROR] = 1
    return cosines


def _central(candidates: Vectors) -> int:
    mean = candidates.mean(axis=0, dtype=np.float64)
    closeness = np.concatenate([candidates[start : start + _ROWS] @ mean for start in range(0, len(candidates), _ROWS)])
    return int(closeness.round(12).argmax())
