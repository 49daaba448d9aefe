"""Perceptual hashes of a grey picture, bit for bit those of the imagehash library, or nearly so and much cheaper."""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

SHORTER_SIDE = 100  # pixels a reduced picture must keep for `estimate`

_FREQUENCIES, _COLUMNS, _ROWS = 32, 9, 8  # the sizes imagehash takes for phash and dhash
_LOBES = 3  # of the Lanczos kernel
_COEFFICIENT_ERROR = 30.0  # standard deviation of a cosine coefficient of a reduced picture, from rounded greys
_AREA_ERROR = 0.08  # standard deviation of an area's grey
_MOST_PHASH_CHANGES, _MOST_DHASH_CHANGES = 1.2, 0.65  # expected; above lie those pictures where three bits turned
_ONE_THREAD = 260_000  # multiplications that OpenBLAS does not spread over threads, which here cost more than they save


@dataclass(frozen=True)
class Hashes:
    """Both hashes, 64 bits as 16 hex digits each."""

    phash: str  # signs of the low frequencies
    dhash: str  # signs of the steps between neighbouring areas


def compute(grey: "Image") -> Hashes:
    """The hashes of an upright picture in mode "L": those of imagehash."""
    from PIL.Image import Resampling
    from scipy.fftpack import dct  # the very transform imagehash takes: on flat pictures its rounding decides the bits

    pixels = np.asarray(grey.resize((_FREQUENCIES, _FREQUENCIES), Resampling.LANCZOS))
    areas = np.asarray(grey.resize((_COLUMNS, _ROWS), Resampling.LANCZOS))
    frequencies = dct(dct(pixels, axis=0), axis=1)[:8, :8]
    return Hashes(_hex(_less_median(frequencies) > 0), _hex(areas[:, 1:] > areas[:, :-1]))


def estimate(
    reduced: NDArray[np.uint8], *, size: tuple[int, int], reduction: int, orientation: int = 1
) -> Hashes | None:
    """The hashes of a picture of which only the means of its blocks are at hand; None where they are too uncertain.

    The Lanczos kernel of the whole picture is summed over each block, so the areas come out within a tenth of a grey.
    What that, and imagehash's rounding on the way, may change is added up from how close each bit is to turning. On
    photos four in five come out equal and the rest within two bits; on flat, enlarged microscope pictures one in four
    hundred was three or four bits off.

    Args:
        reduced: `(H, W) uint8`, grey, the sides rounded up, as the file has it.
        size: Width and height of the whole picture, as the file has it.
        reduction: The side of a block in pixels.
        orientation: As EXIF counts, see `curation.exif`.
    """
    columns, rows = (_COLUMNS, _ROWS) if orientation < 5 else (_ROWS, _COLUMNS)
    narrow = _product(reduced.astype(np.float32), _weights(size[0], reduction, columns))
    cells = _product(narrow.T, _weights(size[1], reduction, rows)).T  # both hashes' in two corners of one product
    fine, coarse = cells[:_FREQUENCIES, :_FREQUENCIES], cells[_FREQUENCIES:, _FREQUENCIES:]
    cosines = _cosines()
    above = _less_median(cosines @ np.rint(_upright(fine, orientation)).clip(0, 255) @ cosines.T)
    areas = _upright(coarse, orientation).clip(0, 255)
    bits = np.diff(np.rint(areas), axis=1) > 0
    changes = float(_chance(np.abs(above), _COEFFICIENT_ERROR).sum())
    if changes > _MOST_PHASH_CHANGES or _changes(areas, bits) > _MOST_DHASH_CHANGES:
        return None
    return Hashes(_hex(above > 0), _hex(bits))


def _less_median(frequencies: Any) -> Any:
    return frequencies - np.sort(frequencies, axis=None)[31:33].sum() / 2  # of 64, as np.median, which takes longer


def _changes(areas: Any, bits: Any) -> float:
    """How many of the steps' bits to expect to turn, when each area may be rounded the other way."""
    rounded = np.rint(areas)
    beyond = areas - rounded
    chance = _chance(0.5 - np.abs(beyond), _AREA_ERROR)
    other = rounded + np.copysign(1, beyond)
    turned = (chance[:, 1:] * ((other[:, 1:] > rounded[:, :-1]) != bits)).sum()
    return float(turned + (chance[:, :-1] * ((rounded[:, 1:] > other[:, :-1]) != bits)).sum())


def _chance(distance: Any, error: float) -> Any:
    """That a normal error of this standard deviation is larger than `distance`, to one side."""
    from scipy.special import ndtr

    return ndtr(distance * np.float32(-1 / error))


@lru_cache(maxsize=1)
def _cosines() -> NDArray[np.float32]:
    """`(8, 32)`: the lowest frequencies of the discrete cosine transform, at scipy's scale."""
    angles = np.arange(8)[:, None] * (2 * np.arange(_FREQUENCIES) + 1) * np.pi / (2 * _FREQUENCIES)
    return np.asarray(2 * np.cos(angles), dtype=np.float32)


@lru_cache(maxsize=256)
def _weights(side: int, reduction: int, areas: int) -> NDArray[np.float32]:
    """`(32 + areas, blocks)`: the Lanczos kernels that bring `side` pixels to 32 and to `areas`, summed over blocks."""
    kernels = np.concatenate([_kernels(side, _FREQUENCIES), _kernels(side, areas)])
    padded = np.pad(kernels, ((0, 0), (0, -side % reduction)))
    return np.asarray(padded.reshape(len(kernels), -1, reduction).sum(axis=2), dtype=np.float32)


def _kernels(side: int, count: int) -> NDArray[np.float64]:
    scale = side / count
    distance = (np.arange(side) + 0.5 - (np.arange(count)[:, None] + 0.5) * scale) / max(scale, 1.0)
    kernels = np.where(np.abs(distance) < _LOBES, np.sinc(distance) * np.sinc(distance / _LOBES), 0.0)
    return np.asarray(kernels / kernels.sum(axis=1, keepdims=True))


def _product(lines: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """`lines (N, M)` times `weights (K, M)`, in pieces of one thread's size."""
    each = max(1, _ONE_THREAD // weights.size)
    found = np.empty((len(lines), len(weights)), np.float32)
    for start in range(0, len(lines), each):
        np.dot(lines[start : start + each], weights.T, out=found[start : start + each])
    return found


def _upright(cells: Any, orientation: int) -> Any:
    if orientation >= 5:
        cells = cells.T
    if orientation in (2, 3, 6, 7):
        cells = cells[:, ::-1]
    return cells[::-1] if orientation in (3, 4, 7, 8) else cells


def _hex(bits: Any) -> str:
    return np.packbits(bits).tobytes().hex()
