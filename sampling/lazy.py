"""Greedy choice by gains that only shrink: a stale gain is an upper bound, so few need computing again.

Minoux 1978 (lazy greedy).
"""

from collections.abc import Callable, Iterator

import numpy as np

from store.arrays import Floats, Ints

_BLOCK = 256  # candidates whose similarities are held at once
_ROWS = 1024  # the same while the first gains are computed

Similarities = Callable[[Ints], Floats]
"""Gives for candidates at positions `(n,)` their similarity to each reference, from 0: `(n, R)`."""


def cover(similarities: Similarities, count: int, k: int, *, weights: Floats, covered: Floats) -> Ints:
    """`k` of `count` candidates, each of which adds the most to the weighted similarity of references to the nearest.

    Args:
        similarities: Of candidates to references.
        count: Candidates.
        k: At most `count`.
        weights: Of each reference `(R,)`, from 0.
        covered: Each reference's similarity to what is chosen already `(R,)`.

    Gains that differ by a millionth of the weights' sum are ties, which go to the smaller position: two that only stand
    for each other are one. All arrays are in double precision: in single, rounding may exceed a tie.
    """
    tie = 1e-6 * float(weights.sum())
    covered = covered.copy()

    def gains(of: Floats) -> Floats:
        added: Floats = np.maximum(of - covered, 0) @ weights
        return added

    bounds = np.empty(count)
    for start in range(0, count, _ROWS):
        rows = np.arange(start, min(start + _ROWS, count))
        bounds[rows] = gains(similarities(rows))
    picks: list[int] = []
    while len(picks) < k:
        block = _highest(bounds, _BLOCK)
        similar, inside = similarities(block), bounds[block]
        if inside.max() <= tie:  # everything is covered
            picks += np.flatnonzero(bounds > -np.inf)[: k - len(picks)].tolist()
            break
        bounds[block] = -np.inf
        outside, before = bounds.max(), len(picks)
        while len(picks) < k and inside.max() >= outside and inside.max() > tie:
            best = int(inside.argmax())
            gain = gains(similar[best : best + 1])[0]
            if gain < inside[best]:
                inside[best] = gain
                continue
            if gain - tie < outside and len(picks) > before:
                break
            close = np.flatnonzero(inside >= gain - tie)
            inside[close] = np.minimum(inside[close], gains(similar[close]))
            first = close[inside[close] >= gain - tie][0]
            pick, similarity = int(block[first]), similar[first]
            for earlier in _chunks(np.flatnonzero(bounds[:pick] >= gain - tie)):  # outside, if it ties too
                there = similarities(earlier)
                bounds[earlier] = gains(there)
                if (bounds[earlier] >= gain - tie).any():
                    place = int((bounds[earlier] >= gain - tie).argmax())
                    pick, similarity = int(earlier[place]), there[place]
                    bounds[pick] = -np.inf
                    break
            else:
                inside[first] = -np.inf
            picks.append(pick)
            np.maximum(covered, similarity, out=covered)
        bounds[block] = inside
    return np.array(picks, dtype=np.int64)


def _chunks(positions: Ints) -> Iterator[Ints]:
    return (positions[start : start + _BLOCK] for start in range(0, len(positions), _BLOCK))


def _highest(bounds: Floats, size: int) -> Ints:
    """The positions of the `size` highest, ascending; the first of the highest is among them."""
    if size >= len(bounds):
        return np.arange(len(bounds))
    among = np.argpartition(-bounds, size)[:size]
    return np.union1d(among, bounds.argmax())
