"""Label Studio's packing of brush masks: a stream of bits that holds runs of the bytes of an RGBA picture.

    32 bits  how many bytes there are: 4 × width × height
     5 bits  the width of a byte, less one: always 7
    4 × 4    four widths for lengths, each less one
    then, until all bytes are there:
     1 bit   whether a single byte follows, that is repeated, or as many bytes as the length says
     2 bits  which of the four widths the length has
     …       the length, less one
     …       the byte, or the bytes

All four channels hold how opaque a pixel is; an edge drawn by hand has values between 0 and 255.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from store.arrays import Bools
from store.errors import InvalidInputError

Opacity = npt.NDArray[np.uint8]

_CHANNELS = 4
_HALF = 128  # from here on a pixel belongs to the mask
_BITS = 8
_LENGTH_BITS = (3, 4, 8, 16)


def decode(packed: Sequence[int], *, width: int, height: int) -> Opacity:
    """The `(height, width)` uint8 opacity of a packed mask.

    Raises:
        InvalidInputError: it is no packed mask, or one of another size.
    """
    try:
        bits = np.unpackbits(np.frombuffer(bytes(packed), dtype=np.uint8))
    except (TypeError, ValueError) as error:
        raise InvalidInputError("A packed mask is a list of numbers from 0 to 255.") from error
    stream = _Bits((bits + ord("0")).tobytes())
    count = stream.number(32)
    if count != width * height * _CHANNELS:
        raise InvalidInputError(
            f"The mask holds {count} bytes, not four for each of the {width} × {height} pixels of the image."
        )
    if stream.number(5) + 1 != _BITS:
        raise InvalidInputError("The mask does not consist of bytes.")
    length_bits = [stream.number(4) + 1 for _ in range(4)]
    values: list[bytes] = []
    lengths: list[int] = []
    done = 0
    while done < count:
        repeated = stream.number(1)
        length = stream.number(length_bits[stream.number(2)]) + 1
        length = min(length, count - done)
        values.append(stream.octets(1 if repeated else length))
        lengths += [length] if repeated else [1] * length
        done += length
    flat = np.repeat(np.frombuffer(b"".join(values), dtype=np.uint8), lengths)
    return flat.reshape(height, width, _CHANNELS)[:, :, _CHANNELS - 1].copy()


def encode(opacity: Opacity) -> list[int]:
    """A `(height, width)` uint8 opacity as Label Studio packs it."""
    flat = opacity.ravel()
    count = flat.size * _CHANNELS
    parts = [f"{count:032b}", f"{_BITS - 1:05b}", *(f"{bits - 1:04b}" for bits in _LENGTH_BITS)]
    edges = np.flatnonzero(np.diff(flat)) + 1
    starts = np.concatenate([[0], edges])[: flat.size]
    lengths = np.diff(np.append(starts, flat.size)) * _CHANNELS
    for length, value in zip(lengths.tolist(), flat[starts].tolist(), strict=True):
        parts += _run(length, value)
    bits = "".join(parts)
    bits += "0" * (-len(bits) % _BITS)
    return list(int(bits, 2).to_bytes(len(bits) // _BITS, "big"))


def pixels(opacity: Opacity) -> Bools:
    """Which pixels are at least half opaque."""
    return opacity >= _HALF


def opacity(pixels: Bools) -> Opacity:
    """Pixels that are opaque or not at all."""
    return np.where(pixels, np.uint8(255), np.uint8(0))


def _run(length: int, value: int) -> list[str]:
    parts = []
    while length > 0:
        taken = min(length, 2 ** _LENGTH_BITS[-1])
        choice = next(i for i, bits in enumerate(_LENGTH_BITS) if taken <= 2**bits)
        parts.append(f"1{choice:02b}{taken - 1:0{_LENGTH_BITS[choice]}b}{value:08b}")
        length -= taken
    return parts


class _Bits:
    """A string of bits, read from the front."""

    def __init__(self, digits: bytes) -> None:
        self._digits = digits
        self._at = 0

    def number(self, bits: int) -> int:
        taken = self._digits[self._at : self._at + bits]
        if len(taken) < bits:
            raise InvalidInputError(f"The mask ends after {len(self._digits)} bits, before all its pixels are there.")
        self._at += bits
        return int(taken, 2)

    def octets(self, count: int) -> bytes:
        return self.number(count * _BITS).to_bytes(count, "big")
