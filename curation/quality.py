"""How sharp, how bright and how varied a picture is: signals to sort a collection by, not verdicts.

All three are taken at one size, the picture reduced by area average until its longer side has `LONGER_SIDE` pixels.
So a photo, the same photo enlarged, and a scaled JPEG decode of it measure the same within a few hundredths, and a
blur counts by its share of the picture rather than by its pixels: a 12-megapixel photo that is soft at the level of
single pixels is still sharp, one that is out of focus is not. A picture smaller than that is measured as it is.
What is sharp or dark differs between collections: compare with the collection's own quantiles, as in
`--where "sharpness < quantile(0.05)"`, not with a constant.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LONGER_SIDE = 120  # pixels
_BLUR = 9  # pixels of the moving average that sharpness compares with
_END = (_BLUR - 1) // 2  # differences at each end over which it has no full average
_GREYS = np.arange(256)


@dataclass(frozen=True)
class Quality:
    """The signals of one picture."""

    sharpness: float  # 0 flat or smooth … 0.89 steps from one pixel to the next … 1 single pixels
    exposure: float  # 0 black … 1 white
    entropy: float  # bits, 0 one grey … 8 all greys equally often


def measure(grey: NDArray[np.uint8]) -> Quality:
    """The signals of a grey picture `(H, W) uint8`.

    Sharpness is the share of the differences between neighbouring pixels that a moving average takes away, as in
    Crete et al. 2007, "The blur effect": a blurred picture has little left to lose. Neither contrast nor brightness
    changes it; noise counts as sharp. Exposure is the mean grey over white. Entropy is that of the histogram of the
    256 greys; with few greys in use a picture is flat, clipped or synthetic.
    """
    small = _reduce(grey)
    shares = np.bincount(small.ravel(), minlength=256) / small.size
    used = shares[shares > 0]
    return Quality(
        sharpness=_sharpness(small),
        exposure=float(shares @ _GREYS) / 255,
        entropy=max(0.0, -float(used @ np.log2(used))),
    )


def _reduce(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import cv2

    longer = max(grey.shape)
    if longer <= LONGER_SIDE:
        return grey
    height, width = (max(1, round(side * LONGER_SIDE / longer)) for side in grey.shape)
    return np.asarray(cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _sharpness(grey: NDArray[np.uint8]) -> float:
    """Along both axes together; a moving average changes by the difference of its two ends over its length."""
    wide: NDArray[Any] = grey.astype(np.int16)
    across = np.abs(wide[:, 1:] - wide[:, :-1])[:, _END:-_END], np.abs(wide[:, _BLUR:] - wide[:, :-_BLUR])
    down = np.abs(wide[1:] - wide[:-1])[_END:-_END], np.abs(wide[_BLUR:] - wide[:-_BLUR])
    total = lost = 0
    for fine, coarse in (across, down):
        total += _BLUR * int(fine.sum())
        lost += int(np.maximum(_BLUR * fine - coarse, 0).sum())
    return lost / total if total else 0.0
