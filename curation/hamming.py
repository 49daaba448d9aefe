"""Every two 64-bit hashes that differ in at most so many bits, found exactly.

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


def join(left: Hashes, right: Hashes, *, max_bits: int) -> Ints:
    """Positions `(P, 2)` of all hashes of `left` and `right` that differ in at most `max_bits`, each pair once, sorted.

    Takes time with the square of how many hashes share a chunk: pass distinct hashes. Joined with itself, a hash
    meets only those after it.
    """
    found: list[Ints] = [np.empty((0, 2), dtype=np.int64)]
    edges = np.linspace(0, _BITS, max_bits + 2).round().astype(int).tolist()
    for low, high in pairwise(edges):
        mask = np.uint64((1 << (high - low)) - 1)
        chunks = [(side >> np.uint64(low)) & mask for side in (left, right)]
        found += _equal_chunks(left, right, *chunks, max_bits=max_bits)
    pairs = np.concatenate(found)
    if left is right:
        pairs = np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1)
    return np.unique(pairs, axis=0)


def _equal_chunks(left: Hashes, right: Hashes, first: Hashes, second: Hashes, *, max_bits: int) -> Iterator[Ints]:
    by_first, by_second = np.argsort(first, kind="stable"), np.argsort(second, kind="stable")
    values = np.intersect1d(first, second)
    spans = [
        np.searchsorted(chunk[order], values, side=side)
        for chunk, order in ((first, by_first), (second, by_second))
        for side in ("left", "right")
    ]
    for from_first, to_first, from_second, to_second in zip(*(span.tolist() for span in spans), strict=True):
        step = max(1, _BLOCK // (to_second - from_second))
        for start in range(from_first, to_first, step):
            rows = by_first[start : min(start + step, to_first)]
            columns = by_second[start if left is right else from_second : to_second]
            bits = np.bitwise_count(left[rows, None] ^ right[columns])
            i, j = np.nonzero(bits <= max_bits)
            yield np.stack([rows[i], columns[j]], axis=1)
