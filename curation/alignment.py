"""Is one picture the other, re-encoded, resized, brightened, framed, mirrored, cropped or written on?

Embeddings and hashes only *propose* pairs: on a homogeneous collection two different solar cells
are nearer than a picture and its own crop. What decides is the residual: what the best alignment, gain and offset
leave, as a fraction of the contrast (standard deviation) of the picture. A copy leaves compression noise; another
object, however similar, leaves structure.

The residual is the 95th percentile of what is left. Where something was painted over, a fifth of the picture may
differ at will, but then the rest has to agree three times as well: an edit leaves it as it was, a second photo of the
same scene does not.

What is flat agrees with everything flat: night, sky, a sheet of paper. So the places where either picture shows
something have to be the same ones and look alike, nearly all of them; where there are hardly any, two pictures cannot
be told apart by what they show, and none is the other.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from store.arrays import Bools, Floats, Ints, Vectors

if TYPE_CHECKING:
    from PIL.Image import Image

Way: TypeAlias = Literal["perceptual", "mirrored", "crop"]  # the same frame; its mirror image; moved and scaled

SIDE = 192  # pixels of the longer side at which pictures are compared
MAX_KEYPOINTS = 120
_PARTS = 4  # into which each side is divided to spread keypoints
_SMOOTHING = SIDE / 128  # pixels; hides compression noise, keeps structure
_SATURATED = 250  # grey values from here on may have been clipped by a change of brightness,
_BRIGHT = 160  # if the other picture is at least this bright there
_SEARCH_RESIDUAL = 0.3  # a rough alignment worse than this is not refined (true crops begin below .1)
_MIN_OVERLAP = 0.3  # of the second picture
_MIN_MATCHES = 4
_RANSAC_ROUNDS = 500
_MIN_SIMILARITY = 0.7  # of two descriptors
_PAINTED_OVER = 0.2  # the share of a picture that an edit may cover
_UNTOUCHED = 3.0  # times as well as elsewhere the rest then has to agree
_PLAIN = 0.02  # a residual that no second look makes better
_STEP = 2  # every so many pixels count: smoothing leaves nothing between them
_PLACE = 17  # pixels of the side of a place: a moving window
_SHOWS = 3.0  # grey values: the standard deviation from which a place shows something
_LOOKS_ALIKE = 0.6  # correlation of a place in two pictures
_MOST_ALIKE = 0.65  # the share of telling places that look alike; writing on a tenth of a photo leaves .78, others .4
_FEWEST_TELLING = 0.02  # of all places
_TRIMMED_FITS = 5  # rounds of fitting gain and offset to what agrees best
_FRAME_SPREAD = 8  # grey values within the lines of a frame; JPEG blurs them
_WIDEST_FRAME = 0.25  # of the picture, on each side


@dataclass(frozen=True)
class Features:
    """Where a picture has corners and blobs, and what they look like."""

    keypoints: Vectors  # (K, 2) x, y in pixels of the sketch; the first ones are strong and spread over the picture
    descriptors: Any  # (K, 128) uint8: SIFT, square-rooted (Arandjelović & Zisserman 2012), times 512


@dataclass(frozen=True)
class Sketch:
    """What a comparison needs of one picture."""

    grey: Any  # (H, W) uint8, longer side SIDE, without a frame of one shade

    @cached_property
    def features(self) -> Features:
        """Local features, found when first asked for: they take most of the time."""
        return _features(self.grey)

    @property
    def mirrored(self) -> "Sketch":
        """The picture seen in a mirror."""
        return Sketch(np.ascontiguousarray(self.grey[:, ::-1]))


def sketch(picture: "Image") -> Sketch:
    """Reduce an RGB picture to what `residual_in_place` and `residual_aligned` compare."""
    import cv2

    grey = without_frame(np.asarray(picture.convert("L")))
    scale = SIDE / max(grey.shape)
    width, height = (max(1, round(size * scale)) for size in (grey.shape[1], grey.shape[0]))
    return Sketch(cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC))


def without_frame(grey: Any) -> Any:
    """The picture `(H, W)` uint8 inside bars of one shade at opposite sides: a border, or letterboxing."""
    for _ in range(2):
        bars = _bar(grey), _bar(grey[::-1])
        if min(bars) > 0 and abs(int(np.median(grey[0])) - int(np.median(grey[-1]))) <= _FRAME_SPREAD:
            grey = grey[bars[0] : len(grey) - bars[1]]
        grey = grey.T
    return grey


def _bar(grey: Any) -> int:
    """How many of the first rows are of one shade, the same for all; 0 where there is no end to them."""
    rows = grey[: int(len(grey) * _WIDEST_FRAME) + 1]
    spread = np.ptp(rows, axis=1) > _FRAME_SPREAD
    shade = np.abs(np.median(rows, axis=1) - np.median(grey[0])) > _FRAME_SPREAD
    ends = np.flatnonzero(spread | shade)
    return int(ends[0]) if len(ends) else 0


def _features(grey: Any) -> Features:
    import cv2

    detector = cv2.SIFT.create(nfeatures=MAX_KEYPOINTS, contrastThreshold=0.01)
    keypoints, descriptors = detector.detectAndCompute(grey, None)  # type: ignore[call-overload]
    if descriptors is None:
        return Features(np.empty((0, 2), np.float32), np.empty((0, 128), np.uint8))
    order = np.argsort([-keypoint.response for keypoint in keypoints], kind="stable")[:MAX_KEYPOINTS]
    positions = np.array([keypoints[i].pt for i in order], dtype=np.float32)
    spread = spread_order(positions, grey.shape)
    order, positions = order[spread], positions[spread]
    rooted = np.sqrt(descriptors[order] / np.maximum(descriptors[order].sum(axis=1, keepdims=True), 1e-6))
    return Features(positions, np.minimum(np.rint(rooted * 512), 255).astype(np.uint8))


def ways(first: Sketch, second: Sketch, *, align: bool = True) -> Iterator[tuple[Way, float]]:
    """Each way of comparing two pictures and the residual it leaves, the cheapest first, made one by one."""
    yield "perceptual", residual_in_place(first, second)
    yield "mirrored", residual_in_place(first.mirrored, second)
    if align:
        yield "crop", residual_aligned(first, second)
        yield "crop", residual_aligned(second, first)


def directions(descriptors: Any) -> Vectors:
    """Descriptors `(K, 128)` uint8 as unit vectors float32, whose product is their similarity."""
    vectors = descriptors.astype(np.float32)
    directions: Vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    return directions


def residual_in_place(first: Sketch, second: Sketch) -> float:
    """The residual when both pictures show the same frame; infinite when their shapes differ by over 3 %."""
    import cv2

    height, width = second.grey.shape
    if abs(np.log((first.grey.shape[1] / first.grey.shape[0]) / (width / height))) > 0.03:
        return float("inf")
    grey = first.grey
    if grey.shape != second.grey.shape:
        grey = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
    return _residual_of_alike(grey, second.grey, np.ones(grey.shape, dtype=bool))


def residual_aligned(first: Sketch, second: Sketch) -> float:
    """The residual over what both pictures show, after moving and scaling the first onto the second.

    Keypoints matched both ways give a first similarity transform (RANSAC), maximising the
    correlation refines it (Evangelidis & Psarakis 2008). Infinite where no transform fits.
    """
    import cv2

    transform = _match(first.features, second.features)
    if transform is None:
        return float("inf")
    warped, inside = _warped(first, second, transform)
    if _residual(warped, second.grey, inside) > _SEARCH_RESIDUAL:
        return float("inf")
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 1e-5)
    try:
        _, refined = cv2.findTransformECC(second.grey, first.grey, transform, cv2.MOTION_AFFINE, criteria, None, 5)  # type: ignore[call-overload]
    except cv2.error:  # it did not converge: not the same picture
        return float("inf")
    warped, inside = _warped(first, second, refined)
    return _residual_of_alike(warped, second.grey, inside)


def spread_order(positions: Vectors, shape: tuple[int, ...]) -> Ints:
    """An order of keypoints, given the strongest first, in which each part of the picture has its turn.

    Writing on a picture has the strongest keypoints of all, and they say nothing of the picture.
    """
    cells = np.minimum((positions / (shape[1], shape[0]) * _PARTS).astype(np.int64), _PARTS - 1)
    cell = cells[:, 0] + _PARTS * cells[:, 1]
    by_cell = np.argsort(cell, kind="stable")
    turn = np.empty(len(cell), dtype=np.int64)
    turn[by_cell] = np.arange(len(cell)) - np.searchsorted(cell[by_cell], cell[by_cell])
    return np.argsort(turn, kind="stable")


def _match(first: Features, second: Features) -> Any | None:
    """The transform `(2, 3)` float32 from pixels of the second to pixels of the first."""
    import cv2

    if min(len(first.keypoints), len(second.keypoints)) < _MIN_MATCHES:
        return None
    similarity = directions(first.descriptors) @ directions(second.descriptors).T
    forward, backward = similarity.argmax(axis=1), similarity.argmax(axis=0)
    own = np.arange(len(forward))
    mutual = (backward[forward] == own) & (similarity[own, forward] > _MIN_SIMILARITY)
    if mutual.sum() < _MIN_MATCHES:
        return None
    cv2.setRNGSeed(0)
    transform, _ = cv2.estimateAffinePartial2D(
        second.keypoints[forward[mutual]], first.keypoints[mutual], ransacReprojThreshold=2.0, maxIters=_RANSAC_ROUNDS
    )
    return None if transform is None else transform.astype(np.float32)


def _warped(first: Sketch, second: Sketch, transform: Any) -> tuple[Any, Bools]:
    """The first picture moved onto the second, and where it lies."""
    import cv2

    height, width = second.grey.shape
    flags = cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(first.grey, transform, (width, height), flags=flags | cv2.INTER_CUBIC)
    inside = cv2.warpAffine(np.ones_like(first.grey), transform, (width, height), flags=flags | cv2.INTER_NEAREST)
    return warped, cv2.erode(inside, np.ones((7, 7), dtype=np.uint8)).astype(np.bool_)


def _residual_of_alike(first: Any, second: Any, inside: Bools) -> float:
    """The residual of two pictures that show the same in the same places; infinite for others."""
    residual = _residual(first, second, inside)
    return residual if residual > _SEARCH_RESIDUAL or _show_the_same(first, second, inside) else float("inf")


def _show_the_same(first: Any, second: Any, inside: Bools) -> bool:
    import cv2

    weight = _unclipped(first, second, inside).astype(np.float32)

    def mean(values: Any) -> Any:
        return cv2.blur(values * weight, (_PLACE, _PLACE)) / share

    share = np.maximum(cv2.blur(weight, (_PLACE, _PLACE)), 1e-6)
    x, y = (cv2.GaussianBlur(grey.astype(np.float32), (0, 0), _SMOOTHING) for grey in (first, second))
    mean_x, mean_y = mean(x), mean(y)
    variance_x, variance_y = (np.maximum(mean(z * z) - m * m, 1e-3) for z, m in ((x, mean_x), (y, mean_y)))
    correlation = (mean(x * y) - mean_x * mean_y) / np.sqrt(variance_x * variance_y)
    there = (weight > 0) & (share > 0.5)
    telling = there & (np.maximum(variance_x, variance_y) > _SHOWS**2)
    alike = np.count_nonzero(telling & (correlation > _LOOKS_ALIKE))
    count = np.count_nonzero(telling)
    return bool(count >= _FEWEST_TELLING * np.count_nonzero(there) and alike >= _MOST_ALIKE * max(count, 1))


def _unclipped(first: Any, second: Any, inside: Bools) -> Bools:
    """Where neither picture may have been cut off at white by a change of brightness."""
    unclipped: Bools = inside & ((np.maximum(first, second) < _SATURATED) | (np.minimum(first, second) < _BRIGHT))
    return inside if unclipped.mean() < _MIN_OVERLAP else unclipped  # nearly all white: nothing to go by but all of it


def _residual(first: Any, second: Any, inside: Bools) -> float:
    """What gain and offset leave between two grey pictures, over the contrast; see the top of this file."""
    import cv2

    if inside.mean() < _MIN_OVERLAP:
        return float("inf")
    unclipped = _unclipped(first, second, inside)[::_STEP, ::_STEP]
    x, y = (
        cv2.GaussianBlur(grey.astype(np.float32), (0, 0), _SMOOTHING)[::_STEP, ::_STEP][unclipped]
        for grey in (first, second)
    )
    contrast = float(y.std())
    if min(float(x.std()), contrast) < 1.0:  # flat pictures are told apart by their bytes alone
        return float("inf")
    everywhere = float(np.percentile(_left(x, y, slice(None)), 95)) / contrast
    if everywhere <= _PLAIN:
        return everywhere
    agreeing: Any = slice(None)
    for _ in range(_TRIMMED_FITS):
        left = _left(x, y, agreeing)
        agreeing = left <= np.percentile(left, 100 * (1 - _PAINTED_OVER))
    left = _left(x, y, agreeing)
    most, rest = np.percentile(left, [95, 100 * (1 - _PAINTED_OVER)]) / contrast
    return float(min(everywhere, most, _UNTOUCHED * rest))


def _left(x: Floats, y: Floats, agreeing: Any) -> Floats:
    """What is left of `y` everywhere by the gain and offset of `x` that fit best where they agree."""
    there_x, there_y = x[agreeing], y[agreeing]
    variance = max(float(there_x.var()), 1e-9)
    gain = float(((there_x - there_x.mean()) * (there_y - there_y.mean())).mean()) / variance
    return np.asarray(np.abs((x - there_x.mean()) * gain - (y - there_y.mean())))
