"""The nearest of 64-bit hashes that differ in at most so many bits, found exactly.

Of four parts of two hashes that differ in up to 7 bits one differs in a single bit at most (pigeonhole), so only
hashes that nearly share a part are compared: FAISS keeps them by their parts.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from store.arrays import Ints

Hashes = npt.NDArray[np.uint64]

_BITS = 64
_PARTS = 4
_BLOCK = 1 << 16  # hashes asked for at once


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

    A hash meets itself where both are one array; ordered by position. Of many equally near ones it may be any, but the
    same every time. Pass distinct hashes: equal ones fill each other's places.
    """
    import faiss

    found: Ints = np.empty((0, 2), dtype=np.int64)
    for part in range(_PARTS if len(right) else 0):
        index = faiss.IndexBinaryHash(_BITS, _BITS // _PARTS)
        index.nflip = max_bits // _PARTS
        index.add(_beginning_with(right, part))
        for start in range(0, len(left), _BLOCK):
            bits, near = index.search(_beginning_with(left[start : start + _BLOCK], part), min(most, len(right)))
            row, rank = np.nonzero((near >= 0) & (bits <= max_bits))
            found = np.concatenate([found, np.stack([row + start, near[row, rank]], axis=1)])
        found = _cut(left, right, found, most)
    return found


def _beginning_with(hashes: Hashes, part: int) -> npt.NDArray[np.uint8]:
    """Hashes `(N, 8)` in bytes, the bits of a part first: every so many, as neighbouring bits say nearly the same."""
    bits = np.unpackbits(hashes.astype(">u8").view(np.uint8)).reshape(-1, _BITS)
    order = np.roll(np.arange(_BITS).reshape(-1, _PARTS).T, -part, axis=0).ravel()
    return np.packbits(bits[:, order], axis=1, bitorder="little")


def _cut(left: Hashes, right: Hashes, pairs: Ints, most: int) -> Ints:
    """Each pair once, and of each of `left` the `most` nearest."""
    keys = np.unique(pairs[:, 0] * max(len(right), 1) + pairs[:, 1])
    first, second = np.divmod(keys, max(len(right), 1))
    bits = np.bitwise_count(left[first] ^ right[second])
    order = np.lexsort((second, bits, first))
    rank = np.arange(len(order)) - np.searchsorted(first, first[order])
    kept = np.sort(order[rank < most])
    return np.stack([first[kept], second[kept]], axis=1)
