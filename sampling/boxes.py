"""How much the boxes of an image would tell: flat arrays of all boxes, and where those of each image start.

`offsets` `(N + 1,)` ascends from 0 to the number of boxes `B`; image i has the boxes `offsets[i]` to
`offsets[i + 1]`. An image without boxes scores 0.
"""

from typing import Literal

import numpy as np

from sampling import scores
from store.arrays import Floats, Ints

Aggregate = Literal["sum", "mean", "max", "top"]


def uncertainty(box_scores: Floats, distributions: Floats | None = None) -> Floats:
    """Of each box, from 0 to 1: the margin of its classes `(B, C)` if known, else the entropy of its score `(B,)`.

    Brust, Käding & Denzler 2019 (arXiv 1809.09875).
    """
    if distributions is not None:
        return scores.margin(distributions)
    return scores.entropy(np.stack([box_scores, 1 - box_scores], axis=1))


def aggregate(
    values: Floats,
    offsets: Ints,
    *,
    how: Aggregate,
    top: int = 5,
    classes: Ints | None = None,
    class_weights: Floats | None = None,
) -> Floats:
    """One value for each image from those of its boxes: `(B,)` to `(N,)`.

    Args:
        values: Of each box `(B,)`, from 0.
        offsets: `(N + 1,)`.
        how: The sum, the mean, the largest, or the mean of the `top` largest (of all, where there are fewer).
        top: From 1.
        classes: Of each box `(B,)`; with `class_weights` `(C,)`, from 0, its value is multiplied by its class's.
        class_weights: Only with `classes`.
    """
    if classes is not None and class_weights is not None:
        values = values * class_weights[classes]
    counts = np.diff(offsets)
    owners = np.repeat(np.arange(len(counts)), counts)
    if how == "max":
        top = 1
    if how in ("max", "top"):
        order = np.lexsort((-values, owners))
        place = np.arange(len(values)) - offsets[owners]
        kept = order[place < top]
        values, owners = values[kept], owners[kept]
        counts = np.minimum(counts, top)
    sums: Floats = np.bincount(owners, values, len(counts)).astype(np.float64)
    return sums if how == "sum" else np.asarray(sums / np.maximum(counts, 1))


def count_surprise(counts: Ints) -> Floats:
    """How much passes differ in the number of boxes: `(M, N)` to `(N,)`, standard deviation over (1 + mean), from 0."""
    surprise: Floats = counts.std(axis=0) / (1 + counts.mean(axis=0))
    return surprise
