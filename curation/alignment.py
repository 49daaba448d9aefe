"""Is one picture the other, re-encoded, resized, brightened or cropped? Align them and look at what is left.

Embeddings and hashes only *propose* pairs: on a homogeneous collection two different solar cells
are nearer than a picture and its own crop. What decides is the residual: after the best
alignment and the best gain and offset, the 95th percentile of the remaining difference, as a
fraction of the contrast (standard deviation) of the picture. A copy leaves compression noise;
another object, however similar, leaves structure.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from store.arrays import Floats, Vectors

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 192  # pixels of the longer side at which pictures are compared
MAX_KEYPOINTS = 120
_SMOOTHING = SIDE / 128  # pixels; hides compression noise, keeps structure
_SATURATED = 250  # grey values from here on may have been clipped by a change of brightness
_SEARCH_RESIDUAL = 0.3  # a rough alignment worse than this is not refined (true crops begin below .1)
_MIN_OVERLAP = 0.3  # of the second picture
_MIN_MATCHES = 4
_MIN_SIMILARITY = 0.7  # of two descriptors


@dataclass(frozen=True)
class Sketch:
    """What a comparison needs of one picture."""

    grey: Any  # (H, W) uint8, longer side SIDE
    keypoints: Vectors  # (K, 2) x, y in pixels of `grey`, strongest first
    descriptors: Any  # (K, 128) uint8: SIFT, square-rooted (Arandjelović & Zisserman 2012), times 512


def sketch(picture: "Image") -> Sketch:
    """Reduce an RGB picture to what `residual` compares."""
    import cv2

    grey = np.asarray(picture.convert("L"))
    scale = SIDE / max(grey.shape)
    width, height = (max(1, round(size * scale)) for size in (grey.shape[1], grey.shape[0]))
    grey = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    detector = cv2.SIFT.create(nfeatures=MAX_KEYPOINTS, contrastThreshold=0.01)
    keypoints, descriptors = detector.detectAndCompute(grey, None)  # type: ignore[call-overload]
    if descriptors is None:
        return Sketch(grey, np.empty((0, 2), np.float32), np.empty((0, 128), np.uint8))
    order = np.argsort([-keypoint.response for keypoint in keypoints], kind="stable")[:MAX_KEYPOINTS]
    rooted = np.sqrt(descriptors[order] / np.maximum(descriptors[order].sum(axis=1, keepdims=True), 1e-6))
    positions = np.array([keypoints[i].pt for i in order], dtype=np.float32)
    return Sketch(grey, positions, np.minimum(np.rint(rooted * 512), 255).astype(np.uint8))


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
    return _residual(grey, second.grey, np.ones(grey.shape, dtype=bool))


def residual_aligned(first: Sketch, second: Sketch) -> float:
    """The residual over what both pictures show, after moving and scaling the first onto the second.

    Keypoints matched both ways give a first similarity transform (RANSAC), maximising the
    correlation refines it (Evangelidis & Psarakis 2008). Infinite where no transform fits.
    """
    import cv2

    transform = _match(first, second)
    if transform is None or _warped_residual(first, second, transform) > _SEARCH_RESIDUAL:
        return float("inf")
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 1e-5)
    try:
        _, refined = cv2.findTransformECC(second.grey, first.grey, transform, cv2.MOTION_AFFINE, criteria, None, 5)  # type: ignore[call-overload]
    except cv2.error:  # it did not converge: not the same picture
        return float("inf")
    return _warped_residual(first, second, refined)


def _match(first: Sketch, second: Sketch) -> Any | None:
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
        second.keypoints[forward[mutual]], first.keypoints[mutual], ransacReprojThreshold=2.0
    )
    return None if transform is None else transform.astype(np.float32)


def _warped_residual(first: Sketch, second: Sketch, transform: Any) -> float:
    import cv2

    height, width = second.grey.shape
    flags = cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(first.grey, transform, (width, height), flags=flags | cv2.INTER_CUBIC)
    inside = cv2.warpAffine(np.ones_like(first.grey), transform, (width, height), flags=flags | cv2.INTER_NEAREST)
    inside = cv2.erode(inside, np.ones((7, 7), dtype=np.uint8)).astype(bool)
    if inside.mean() < _MIN_OVERLAP:
        return float("inf")
    return _residual(warped, second.grey, inside)


def _residual(first: Any, second: Any, inside: Any) -> float:
    """The 95th percentile of what gain and offset leave between two grey pictures, over the contrast."""
    import cv2

    unclipped = inside & (first < _SATURATED) & (second < _SATURATED)
    if unclipped.mean() < _MIN_OVERLAP:  # nearly all white: nothing to go by but all of it
        unclipped = inside
    x, y = (
        cv2.GaussianBlur(grey.astype(np.float32), (0, 0), _SMOOTHING)[unclipped].astype(np.float64)
        for grey in (first, second)
    )
    contrast = float(min(x.std(), y.std()))
    if contrast < 1.0:  # flat pictures are told apart by their bytes alone
        return float("inf")
    gain = float(((x - x.mean()) * (y - y.mean())).mean() / x.var())
    left: Floats = np.abs((x - x.mean()) * gain - (y - y.mean()))
    return float(np.percentile(left, 95) / y.std())
