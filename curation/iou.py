"""Intersection over union: the area that two places share, as a share of the area that either covers.

Boxes are `(N, 4)` float64 rows of left, top, right and bottom, in pixels.
"""

import numpy as np

from store.arrays import Bools, Floats

_ON_SIDE = 1e-9  # of the size of what is compared: so far beside a side is on it
_TINY = 1e-300


def of_boxes(first: Floats, second: Floats) -> Floats:
    """`(N, M)` float64, 0 to 1, of boxes `(N, 4)` and `(M, 4)`; 0 with a box that has no area."""
    left_top = np.maximum(first[:, None, :2], second[None, :, :2])
    right_bottom = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.maximum(right_bottom - left_top, 0).prod(axis=2)
    either = areas(first)[:, None] + areas(second)[None, :] - shared
    return np.asarray(np.divide(shared, either, out=np.zeros_like(shared), where=shared > 0))


def areas(boxes: Floats) -> Floats:
    """`(N,)` float64 square pixels of boxes `(N, 4)`."""
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).prod(axis=1))


def shared_by_rectangles(first: Floats, second: Floats) -> Floats:
    """`(P,)` float64 square pixels that rectangles share, however they are turned.

    What two convex shapes share has as corners the corners of each that are in the other, and where their sides cross.

    Args:
        first: `(P, 4, 2)` float64, the corners of each in order.
        second: `(P, 4, 2)`.
    """
    middle = first.mean(axis=1, keepdims=True)
    size = np.maximum(np.abs(np.concatenate([first, second], axis=1) - middle).max(axis=(1, 2), keepdims=True), _TINY)
    one, other = (_clockwise((corners - middle) / size) for corners in (first, second))
    crossings, cross = _crossings(one, other)
    corners = np.concatenate([one, other, crossings], axis=1)
    is_one = np.concatenate([_is_inside(one, other), _is_inside(other, one), cross], axis=1)
    count = is_one.sum(axis=1)
    centre = (corners * is_one[:, :, None]).sum(axis=1) / np.maximum(count, 1)[:, None]
    around = np.where(is_one[:, :, None], corners - centre[:, None], 0)
    angle = np.where(is_one, np.arctan2(around[:, :, 1], around[:, :, 0]), np.inf)
    order = angle.argsort(axis=1)
    in_order = np.take_along_axis(around, order[:, :, None], axis=1)
    # what is no corner comes last, and once more as the first it adds nothing
    is_last = np.arange(in_order.shape[1]) >= count[:, None]
    in_order = np.where(is_last[:, :, None], in_order[:, :1], in_order)
    return np.asarray(np.abs(_cross(in_order, np.roll(in_order, -1, axis=1)).sum(axis=1)) / 2 * size[:, 0, 0] ** 2)


def _cross(first: Floats, second: Floats) -> Floats:
    return np.asarray(first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0])


def _clockwise(corners: Floats) -> Floats:
    """The same in that order, as one sees them where y points down."""
    area = _cross(corners, np.roll(corners, -1, axis=1)).sum(axis=1)
    return np.where((area < 0)[:, None, None], corners[:, ::-1], corners)


def _is_inside(points: Floats, corners: Floats) -> Bools:
    """`(P, 4)`: which of `points` `(P, 4, 2)` are in a rectangle, or on its sides."""
    side = np.roll(corners, -1, axis=1) - corners
    return np.asarray((_cross(side[:, None], points[:, :, None] - corners[:, None]) >= -_ON_SIDE).all(axis=2))


def _crossings(first: Floats, second: Floats) -> tuple[Floats, Bools]:
    """`(P, 16, 2)` where the sides of two meet, and `(P, 16)` whether they do; parallel ones do not."""
    side, other = (np.roll(each, -1, axis=1) - each for each in (first, second))
    apart = second[:, None] - first[:, :, None]
    turn = _cross(side[:, :, None], other[:, None])
    is_parallel = np.abs(turn) < _ON_SIDE
    turn = np.where(is_parallel, 1, turn)
    on_first, on_second = _cross(apart, other[:, None]) / turn, _cross(apart, side[:, :, None]) / turn
    is_on = [(each >= -_ON_SIDE) & (each <= 1 + _ON_SIDE) for each in (on_first, on_second)]
    places = first[:, :, None] + on_first[..., None] * side[:, :, None]
    return places.reshape(len(first), 16, 2), (is_on[0] & is_on[1] & ~is_parallel).reshape(len(first), 16)
