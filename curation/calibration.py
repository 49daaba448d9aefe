"""What tells a copy from another picture in this collection: measured on copies made of its own pictures.

No threshold fits two collections: neighbouring solar cells have a cosine of .97, photos of the same animal .5. So a
sample of the collection is changed in the ways in which copies come about, and looked for. How near the copies lie says
which pairs are worth comparing; the residuals of the sample's nearest neighbours say how alike different pictures are
here, and so how much a copy may differ. Where copies and neighbours overlap, vectors alone are not believed.
"""

import io
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from curation import alignment
from curation.alignment import Sketch
from store.arrays import Floats, Ints, Vectors

if TYPE_CHECKING:
    from PIL.Image import Image

LEAST_RESIDUAL = 0.08
"""Two pictures this alike are one in every collection seen so far: see docs/decisions/0003."""
MOST_RESIDUAL = 0.15
"""Beyond this no calibration goes: heavy compression ends here."""

SAMPLED = 30  # pictures that are changed
COMPARED = 100  # pictures that are compared with their nearest neighbours
NEIGHBOURS = 3
_MARGIN = 2.0  # times more different than a copy any other neighbour has to be
_REACHED = 0.95  # the share of copies that vectors and hashes must reach, or local features help
_LOST = 0.005  # the share of copies that vectors need not reach, and some room for those not in the sample
_ROOM = 0.1
_PROPOSED = 8  # others that vectors may propose for each picture on average
_SAME = 1e-4  # less than this from 1 a cosine is of equal pictures
_MOST_PAIRS = 500_000  # that vectors may propose in all
_PRECISE = 0.01  # the share of neighbours above the cosine from which vectors alone are believed
_WORTH_WHILE = 0.5  # the share of copies that must lie above it


@dataclass(frozen=True)
class Evidence:
    """What was measured on a sample."""

    kinds: Sequence[str]  # of change, for each copy
    cosines: Floats  # (copies,) of each copy with its original; NaN where the encoder is not at hand
    bits: Ints  # (copies,) between the nearest of their hashes
    residuals: Floats  # (copies,)
    neighbour_cosines: Floats  # (pairs,) of sampled pictures with their nearest others
    neighbour_residuals: Floats  # (pairs,)
    crowd_cosine: float  # above it there are as many pairs as may be compared


@dataclass(frozen=True)
class Calibration:
    """What a scan goes by, and what may be expected of it."""

    min_cosine: float  # pairs at least this near are compared
    max_residual: float  # pairs at most this different are one picture
    needs_features: bool  # vectors and hashes alone do not reach enough copies here
    copies: int  # planted
    recall: Mapping[str, float]  # by kind of change: the share of planted copies with a small enough residual
    reach: float | None  # the share of those that vectors and hashes propose
    neighbours: int  # pairs of different pictures that were compared
    false_share: (
        float  # of other pairs taken for copies: what the limit of each half of the neighbours does to the other
    )
    trusted_cosine: float | None  # from which vectors alone may be believed; none: copies and others overlap
    trusted_recall: float | None  # the share of planted copies above it

    def expected_recall(self, *, features_used: bool) -> float | None:
        """The share of copies to be found, by those planted; none where they could not be embedded.

        Local features have to find what vectors and hashes do not reach; how many they reach is not measured.
        """
        if self.reach is None or not self.recall:
            return None
        proven = sum(self.recall.values()) / len(self.recall)
        return proven if features_used else proven * self.reach

    @property
    def advice(self) -> str:
        """One sentence on vectors alone."""
        if self.trusted_cosine is None:
            return "By their vectors alone copies cannot be told from other pictures here: every pair is compared."
        return (
            f"By vectors alone, a cosine of {self.trusted_cosine:.3f} would find {self.trusted_recall:.0%} of copies; "
            "for look-alikes too, such as frames of a burst, scan with --min-cosine."
        )


def calibrate(evidence: Evidence, *, max_bits: int) -> Calibration:
    """Thresholds from what was measured."""
    max_residual = _limit(evidence.neighbour_residuals)
    is_copy = evidence.residuals <= max_residual
    cosines = evidence.cosines[is_copy]
    min_cosine, reach = evidence.crowd_cosine, None
    if len(cosines) and not np.isnan(cosines).any():
        min_cosine = max(min_cosine, float(np.quantile(cosines, _LOST)) - _ROOM)
        reach = float(((cosines >= min_cosine) | (evidence.bits[is_copy] <= max_bits)).mean())
    different = evidence.neighbour_residuals > max_residual
    trusted, trusted_recall = _trusted(evidence.neighbour_cosines[different], evidence.cosines)
    return Calibration(
        min_cosine=min_cosine,
        max_residual=max_residual,
        needs_features=reach is None or reach < _REACHED,
        copies=len(evidence.kinds),
        recall=_by_kind(evidence.kinds, is_copy),
        reach=reach,
        neighbours=int(different.sum()),
        false_share=_false_share(evidence.neighbour_residuals),
        trusted_cosine=trusted,
        trusted_recall=trusted_recall,
    )


def changed(picture: "Image", generator: np.random.Generator) -> "dict[str, Image]":
    """Copies of a picture, by the kind of change."""
    return {kind: change(picture, generator) for kind, change in _CHANGES.items()}


def least_residual(first: Sketch, second: Sketch) -> float:
    """The residual of two pictures in the way of comparing them that leaves least, or one small enough anywhere."""
    least = float("inf")
    for _, residual in alignment.ways(first, second):
        least = min(least, residual)
        if least <= LEAST_RESIDUAL:
            break
    return least


def _limit(residuals: Floats) -> float:
    """How much copies may differ: the largest limit beyond which the next neighbour is far.

    Neighbours may be copies themselves; they lie below the gap, different pictures above it.
    """
    for limit in np.linspace(MOST_RESIDUAL, LEAST_RESIDUAL, 15).tolist():
        beyond = residuals[residuals > limit]
        if len(beyond) == 0 or beyond.min() >= _MARGIN * limit:
            return float(limit)
    return LEAST_RESIDUAL


def _false_share(residuals: Floats) -> float:
    """The expectation after seeing so many wrong ones (with Jeffreys' prior): none among a few proves little."""
    others = residuals[residuals > LEAST_RESIDUAL]
    wrong = sum(int((others[1 - half :: 2] <= _limit(others[half::2])).sum()) for half in (0, 1))
    return (wrong + 0.5) / (len(others) + 1)


def _trusted(neighbours: Floats, copies: Floats) -> tuple[float | None, float | None]:
    if len(neighbours) == 0 or len(copies) == 0 or np.isnan(copies).any():
        return None, None
    cosine = float(np.quantile(neighbours, 1 - _PRECISE))
    recall = float((copies >= cosine).mean())
    return (cosine, recall) if recall >= _WORTH_WHILE else (None, None)


def _by_kind(kinds: Sequence[str], found: Any) -> dict[str, float]:
    shares = defaultdict(list)
    for kind, one in zip(kinds, found.tolist(), strict=True):
        shares[kind].append(one)
    return {kind: sum(ones) / len(ones) for kind, ones in shares.items()}


def crowd_cosine(sample: Vectors, others: Vectors, count: int) -> float:
    """The cosine above which there are as many pairs as may be compared.

    A picture counts for four times the average at most, so that one heap of frames does not decide for all.

    Args:
        sample: Unit vectors `(n, D)`.
        others: Unit vectors `(m, D)` drawn evenly from the collection.
        count: Of pictures in the collection.
    """
    affordable = min(_PROPOSED, 2 * _MOST_PAIRS / count)
    weight = count / len(others)  # pictures that each of `others` stands for
    depth = min(len(others), 1 + int(4 * affordable / weight) + 1)
    nearest = -np.partition(-(sample @ others.T), depth - 1, axis=1)[:, :depth]
    nearest = np.where(nearest > 1 - _SAME, -1.0, nearest)  # itself, and what equals it
    for cosine in np.linspace(0.99, 0.0, 100).tolist():
        crowd = np.minimum(weight * (nearest >= cosine).sum(axis=1), 4 * affordable).mean()
        if crowd > affordable:
            return float(min(cosine + 0.01, 0.99))
    return 0.0


def _part(picture: "Image", share: float, generator: np.random.Generator) -> tuple[int, int, int, int]:
    """A box of `share` of both sides, anywhere."""
    width, height = (max(1, round(side * share)) for side in picture.size)
    left, top = int(generator.integers(picture.width - width + 1)), int(generator.integers(picture.height - height + 1))
    return left, top, left + width, top + height


def _halved(picture: "Image", generator: np.random.Generator) -> "Image":
    return picture.resize((max(1, picture.width // 2), max(1, picture.height // 2)))


def _recompressed(picture: "Image", generator: np.random.Generator) -> "Image":
    from PIL import Image

    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=int(generator.integers(35, 80)))
    with Image.open(buffer) as copy:
        return copy.convert("RGB")


def _lightened(picture: "Image", generator: np.random.Generator) -> "Image":
    from PIL import ImageEnhance

    return ImageEnhance.Brightness(picture).enhance(float(generator.uniform(0.7, 1.3)))


def _cropped(picture: "Image", generator: np.random.Generator) -> "Image":
    return picture.crop(_part(picture, float(generator.uniform(0.75, 0.9)), generator))


def _mirrored(picture: "Image", generator: np.random.Generator) -> "Image":
    from PIL import ImageOps

    return ImageOps.mirror(picture)


def _painted_over(picture: "Image", generator: np.random.Generator) -> "Image":
    copy = picture.copy()
    shade = int(generator.integers(256))
    copy.paste((shade, shade, shade), _part(picture, float(generator.uniform(0.15, 0.3)), generator))
    return copy


def _framed(picture: "Image", generator: np.random.Generator) -> "Image":
    from PIL import ImageOps

    border = max(1, round(float(generator.uniform(0.03, 0.1)) * max(picture.size)))
    return ImageOps.expand(picture, border, str(generator.choice(["black", "white"])))


_CHANGES: "Mapping[str, Callable[[Image, np.random.Generator], Image]]" = {
    "half size": _halved,
    "recompressed": _recompressed,
    "brightness": _lightened,
    "cropped": _cropped,
    "mirrored": _mirrored,
    "painted over": _painted_over,
    "framed": _framed,
}
