"""The nearest of 64-bit hashes that differ in at most so many bits, found exactly.

Two hashes that differ in k bits agree in at least one of k + 1 chunks of their bits (pigeonhole), so only hashes
with an equal chunk are compared.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from store.arrays import Ints

Hashes = npt.NDArray[np.uint64]

_BITS = 64
_BLOCK = 1 << 22  # comparisons in memory at once


def from_hex(hashes: Sequence[str]) -> Hashes:
    """Hashes of 16 hex digits as numbers `(N,)`, the first digit the most significant."""
    return np.frombuffer(bytes.fromhex("".join(hashes)), dtype=">u8").astype(np.uint64)


def mirrored(hashes: Hashes) -> Hashes:
    """The difference hashes `(N,)` of the pictures mirrored left to right.

    A bit says that a pixel is darker than its right neighbour: mirrored, each of the 8 rows of 8 bits is reversed
    and every bit turns round. Neighbours of equal brightness, whose bit does not turn, make it an estimate.
    """
    rows = np.unpackbits(hashes.astype(">u8").view(np.uint8)).reshape(-1, 8, 8)
    turned = np.packbits(1 - rows[:, :, ::-1], axis=None)
    return turned.view(">u8").astype(np.uint64)


def nearest(left: Hashes, right: Hashes, *, max_bits: int, most: int) -> Ints:
    """Positions `(P, 2)`: each of `left` with the `most` of `right` that differ in the fewest bits, `max_bits` at most.

    Ties go to the earlier of `right`; a hash meets itself where both are one array. Ordered by position. Takes time
    with the square of how many hashes share a chunk: pass distinct hashes. Memory is bounded by `most` of each.
    """
    edges = np.linspace(0, _BITS, max_bits + 2).round().astype(int).tolist()
    found: Ints = np.empty((0, 2), dtype=np.int64)
    for low, high in pairwise(edges):
        mask = np.uint64((1 << (high - low)) - 1)
        chunks = [(side >> np.uint64(low)) & mask for side in (left, right)]
        new = list(_equal_chunks(left, right, *chunks, max_bits=max_bits, most=most))
        found = _cut(left, right, np.concatenate([found, *new]), most)
    return found


def _cut(left: Hashes, right: Hashes, pairs: Ints, most: int) -> Ints:
    """Each pair once, and of each of `left` the `most` nearest."""
    keys = np.unique(pairs[:, 0] * max(len(right), 1) + pairs[:, 1])
    first, second = np.divmod(keys, max(len(right), 1))
    bits = np.bitwise_count(left[first] ^ right[second])
    order = np.lexsort((second, bits, first))
    rank = np.arange(len(order)) - np.searchsorted(first, first[order])
    kept = np.sort(order[rank < most])
    return np.stack([first[kept], second[kept]], axis=1)


def _equal_chunks(
    left: Hashes, right: Hashes, first: Hashes, second: Hashes, *, max_bits: int, most: int
) -> Iterator[Ints]:
    by_first, by_second = np.argsort(first, kind="stable"), np.argsort(second, kind="stable")
    values = np.intersect1d(first, second)
    spans = [
        np.searchsorted(chunk[order], values, side=side)
        for chunk, order in ((first, by_first), (second, by_second))
        for side in ("left", "right")
    ]
    for from_first, to_first, from_second, to_second in zip(*(span.tolist() for span in spans), strict=True):
        columns = by_second[from_second:to_second]
        step = max(1, _BLOCK // len(columns))
        for start in range(from_first, to_first, step):
            rows = by_first[start : min(start + step, to_first)]
            bits = np.bitwise_count(left[rows, None] ^ right[columns])
            i, j = np.divmod(np.flatnonzero(bits <= max_bits), len(columns))
            pairs = np.stack([rows[i], columns[j]], axis=1)
            yield pairs if len(pairs) <= most * len(rows) else _cut(left, right, pairs, most)
