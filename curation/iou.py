"""Intersection over union: the area that two places share, as a share of the area that either covers.

Boxes are `(N, 4)` float64 rows of left, top, right and bottom, in pixels.
"""

import numpy as np

from store.arrays import Floats


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
