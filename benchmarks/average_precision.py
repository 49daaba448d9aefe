"""How well boxes with classes and scores find what is there, over all thresholds of the score.

T.-Y. Lin et al., Microsoft COCO: Common Objects in Context (2014), as its evaluation defines it: 101 levels of recall,
each image's boxes matched by falling score, mean over classes that have truth. Boxes of one score are one threshold, so
their order gives and takes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curation import iou
from store.arrays import Bools, Floats, Ints

THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).round(2).tolist())
_LEVELS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class Boxes:
    """Boxes of many images; R rows."""

    image: Ints  # (R,) int64
    places: Floats  # (R, 4) float64: left, top, right, bottom
    classes: Ints  # (R,) int64


def average_precision(
    found: Boxes, scores: Floats, truth: Boxes, *, thresholds: Sequence[float] = THRESHOLDS
) -> Floats:
    """`(T, C)` float64: the mean precision over levels of recall, 0 to 1, of each class in `truth`, ascending.

    COCO's mAP is the mean of them all.

    Args:
        found: R boxes.
        scores: `(R,)`, the surest the highest.
        truth: What is there.
        thresholds: T, of the IoU from which a box has found what is there.
    """
    right = hits(found, scores, truth, thresholds=thresholds)
    numbers, there = np.unique(truth.classes, return_counts=True)
    mine = [found.classes == number for number in numbers]
    return np.array(
        [
            [_precision(scores[rows], each[rows], count) for rows, count in zip(mine, there.tolist(), strict=True)]
            for each in right
        ]
    )


def hits(found: Boxes, scores: Floats, truth: Boxes, *, thresholds: Sequence[float]) -> Bools:
    """`(T, R)`: whether each box is matched with one of its class that is there, each of which is matched once.

    By falling score, each takes what it overlaps most of what is left; of one score, those go first that fit best.
    """
    right: Bools = np.zeros((len(thresholds), len(scores)), dtype=np.bool_)
    there = _rows_of(truth)
    for key, mine in _rows_of(found).items():
        if key not in there:
            continue
        overlaps = iou.of_boxes(found.places[mine], truth.places[there[key]])
        order = np.lexsort((-overlaps.max(axis=1), -scores[mine]))
        for place, threshold in enumerate(thresholds):
            left = np.where(overlaps >= threshold, overlaps, 0.0)
            for row in order[left[order].any(axis=1)]:
                best = int(left[row].argmax())
                if left[row, best] > 0:
                    right[place, mine[row]] = True
                    left[:, best] = 0
    return right


def _rows_of(boxes: Boxes) -> dict[tuple[int, int], Ints]:
    """Positions by image and class."""
    order = np.lexsort((boxes.classes, boxes.image))
    keys = np.stack([boxes.image[order], boxes.classes[order]], axis=1)
    bounds = np.flatnonzero((np.diff(keys, axis=0) != 0).any(axis=1)) + 1
    parts = np.split(order, bounds) if len(order) else []
    return {(int(boxes.image[part[0]]), int(boxes.classes[part[0]])): part for part in parts}


def _precision(scores: Floats, right: Bools, there: int) -> float:
    """Of one class: the best precision at each level of recall or beyond it, averaged."""
    if not right.any():
        return 0.0
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[order], append=-np.inf))  # a threshold lies below all boxes of one score
    found = right[order].cumsum()[ends]
    precision = np.maximum.accumulate((found / (ends + 1))[::-1])[::-1]
    at = np.searchsorted(found / there, _LEVELS, side="left")
    return float(np.where(at < len(ends), precision[np.minimum(at, len(ends) - 1)], 0.0).mean())
