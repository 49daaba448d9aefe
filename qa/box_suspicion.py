"""How much labelled boxes are to be doubted beside those a detector predicts: pure functions of arrays.

Three things may be wrong: an object was overlooked, a box is badly located, a class was swapped; after U. Tkachenko,
A. Thyagarajan and J. Mueller, ObjectLab: Automated Diagnosis of Mislabeled Images in Object Detection Data (2023). In
each image, predictions are assigned to labelled boxes so that the sum of score times IoU is highest. How sure is sure
enough is measured on the labels themselves:

- a score is believed as often as predictions of such scores come true here (Platt scaling), beside the surest: those
  that do not come true are put down to the labels, which lack or swap a share of everything (C. Elkan and K. Noto,
  Learning Classifiers from Only Positive and Unlabeled Data, 2008). Where something is said to be overlooked or swapped
  it has to be nine times in ten;
- there it also has to be at least as high as those of its class are on average that the label confirms, as in confident
  learning;
- a box is badly located if its IoU with its prediction is lower than IoUs of its class vary here: of all that are
  called so, no more than one in five by chance (Y. Benjamini and Y. Hochberg, 1995).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from curation import iou
from qa import suspicion
from qa.consensus import matching
from store.arrays import Bools, Floats, Ints, positions_of_each

Fault: TypeAlias = Literal["overlooked", "badly located", "swapped"]

FAULTS: tuple[Fault, ...] = ("overlooked", "badly located", "swapped")
UNNAMED = -1  # the class of what is labelled and none of those the detector knows

_SAME = 0.5  # the IoU from which a box and a prediction are of one thing
_NEAR = 0.1  # and from which they are, if their class is the same and nothing else is left for either
_RIDGE = 0.1  # on the slope of a curve over scores, which are brought to unit deviation
_COMPLETE = 5.0  # confirmed predictions' worth of belief that labels lack nothing
_SUREST = 0.75  # the quantile of scores
_TRUSTED = 0.9  # of predictions of such a score come true
_EDGE = 1e-3  # scores are kept away from 0 and 1
_LEAST = 1e-12  # a chance
_LEAST_GAP = 0.1  # 1 - IoU: below this nothing is badly located
_LEAST_SPREAD = 0.3  # of the logarithm of that
_ENOUGH = 20  # pairs of a class from which on it has a measure of its own
_NORMAL = 1.4826  # standard deviations in a median absolute deviation


@dataclass(frozen=True)
class Boxes:
    """Boxes, one a row, in any order."""

    image: Ints  # (R,) int64
    sides: Floats  # (R, 4) float64: left, top, right, bottom
    classes: Ints  # (R,) int64, from 0, or `UNNAMED`


@dataclass(frozen=True)
class Findings:
    """What may be wrong, one a row, image by image."""

    image: Ints  # (F,) int64
    fault: Ints  # (F,) int64, in `FAULTS`
    labelled: Ints  # (F,) int64, the row of the box that is doubted; -1 where one was overlooked
    predicted: Ints  # (F,) int64, the row of the prediction that says so
    overlap: Floats  # (F,) float64, the IoU of the two; 0 where one was overlooked
    doubt: Floats  # (F,) float64, 0 to 1
    is_candidate: Bools  # (F,)
    surest_denied: float | None  # share of the surest quarter of all predictions that labels lack or call otherwise


@dataclass(frozen=True)
class _Matched:
    """Which labelled box each of P predictions goes with, and the other way round."""

    label: Ints  # (P,) -1: none
    overlap: Floats  # (P,) IoU of the two
    is_new: Bools  # (P,): nothing that is labelled, and no surer prediction, is at its place
    is_repeated: Bools  # (P,): a surer prediction is at its place
    own: Floats  # (L,) the highest score of a prediction of the label's own class at its place


def find(labelled: Boxes, predicted: Boxes, scores: Floats) -> Findings:
    """Everything a detector has against the labels of the images it looked at.

    Args:
        labelled: L boxes.
        predicted: P boxes by a detector that did not learn from these labels; each of a class.
        scores: `(P,)`, 0 to 1.
    """
    matched = _match(labelled, predicted, scores)
    paired = np.flatnonzero(matched.label >= 0)
    label = matched.label[paired]
    named = labelled.classes[label] != UNNAMED
    agrees = labelled.classes[label] == predicted.classes[paired]
    at_place = matched.overlap[paired] >= _SAME
    count = int(predicted.classes.max(initial=-1)) + 1
    right = paired[agrees & at_place]
    usual = np.bincount(predicted.classes[right], minlength=count)
    total = np.bincount(predicted.classes[right], weights=scores[right], minlength=count)
    threshold = np.divide(total, usual, out=np.full(count, np.inf), where=usual > 0)
    is_sure = scores >= threshold[predicted.classes] - suspicion.ROUNDING

    first = ~matched.is_repeated
    is_there = _believed(scores, ~matched.is_new, among=first)
    overlooked = np.flatnonzero(matched.is_new)

    located = paired[agrees]
    far = _far(1 - matched.overlap[located], predicted.classes[located], count)

    told = paired[at_place & named]
    holds = np.zeros(len(scores), dtype=np.bool_)
    holds[right] = True
    is_right = _believed(scores, holds, among=np.isin(np.arange(len(scores)), told))
    swapped = paired[at_place & named & ~agrees]
    rival, own = scores[swapped], matched.own[matched.label[swapped]]

    row = np.concatenate([overlooked, located, swapped])
    fault = np.repeat(np.arange(3), [len(overlooked), len(located), len(swapped)])
    doubt = np.concatenate(
        [is_there[overlooked], is_there[located] * far, is_right[swapped] * rival / np.maximum(rival + own, _EDGE)]
    )
    kept = doubt > 0
    order = np.lexsort((row, fault, predicted.image[row]))
    order = order[kept[order]]
    row, doubt = row[order], doubt[order]
    believed = np.where(fault[order] == FAULTS.index("swapped"), is_right[row], is_there[row])
    is_trusted = is_sure[row] & (believed >= _TRUSTED)
    is_candidate = (doubt >= suspicion.AGAINST) & (is_trusted | (fault[order] == FAULTS.index("badly located")))
    denied = np.isin(np.arange(len(scores)), np.concatenate([overlooked, swapped]))
    return Findings(
        predicted.image[row],
        fault[order],
        matched.label[row],
        row,
        matched.overlap[row],
        doubt,
        is_candidate,
        float(denied[scores >= np.quantile(scores, _SUREST)].mean()) if len(scores) else None,
    )


def of_images(findings: Findings, among: Bools, *, images: int) -> Floats:
    """`(N,)`: the highest doubt of those of an image's findings that are `among` `(F,)`; 0 without any."""
    worst = np.zeros(images)
    np.maximum.at(worst, findings.image[among], findings.doubt[among])
    return worst


def _match(labelled: Boxes, predicted: Boxes, scores: Floats) -> _Matched:
    label, overlap = np.full(len(scores), -1), np.zeros(len(scores))
    is_new, is_repeated = np.zeros(len(scores), dtype=np.bool_), np.zeros(len(scores), dtype=np.bool_)
    own = np.zeros(len(labelled.classes))
    for boxes, rows in _images(labelled, predicted):
        likeness = iou.of_boxes(labelled.sides[boxes], predicted.sides[rows])
        same_class = labelled.classes[boxes][:, None] == predicted.classes[rows][None, :]
        worth = likeness * scores[rows]
        at_place = likeness >= _SAME
        own[boxes] = np.where(at_place & same_class, scores[rows], 0.0).max(axis=1, initial=0.0)
        first, second = matching.pairs(np.where(at_place, worth, 0.0), least=0.0)
        covered = at_place.any(axis=0)
        between = iou.of_boxes(predicted.sides[rows], predicted.sides[rows])
        surer = (scores[rows][:, None] > scores[rows][None, :]) | (
            (scores[rows][:, None] == scores[rows][None, :]) & np.triu(np.ones(between.shape, dtype=np.bool_), 1)
        )
        repeated = ((between >= _SAME) & surer).any(axis=0)
        left = np.ones(likeness.shape, dtype=np.bool_)
        left[first] = left[:, second] = False
        left &= same_class & ~covered & ~repeated & (likeness >= _NEAR)
        third, fourth = matching.pairs(np.where(left, worth, 0.0), least=0.0)
        for i, j in ((first, second), (third, fourth)):
            label[rows[j]] = boxes[i]
            overlap[rows[j]] = likeness[i, j]
        is_new[rows] = ~covered & ~repeated & (label[rows] < 0)
        is_repeated[rows] = repeated
    return _Matched(label, overlap, is_new, is_repeated, own)


def _images(labelled: Boxes, predicted: Boxes) -> Iterator[tuple[Ints, Ints]]:
    """Of each image with predictions the rows of its labelled boxes, and of its predictions."""
    boxes_of = {int(labelled.image[rows[0]]): rows for rows in positions_of_each(labelled.image)}
    nothing: Ints = np.empty(0, dtype=np.int64)
    for rows in positions_of_each(predicted.image):
        yield boxes_of.get(int(predicted.image[rows[0]]), nothing), rows


def _believed(scores: Floats, came_true: Bools, *, among: Bools) -> Floats:
    """`(P,)`: how often predictions of such a score are right, by those `among` that came true; Platt's targets."""
    from scipy.special import expit

    true, false = int(came_true[among].sum()), int((~came_true[among]).sum())
    share = (true + 1) / (true + false + 2)
    if true + false == 0:
        return np.full(len(scores), share)
    values = np.log(scores.clip(_EDGE, 1 - _EDGE)) - np.log1p(-scores.clip(_EDGE, 1 - _EDGE))
    values = (values - values[among].mean()) / max(float(values[among].std()), _EDGE)
    target = np.where(came_true[among], (true + 1) / (true + 2), 1 / (false + 2))
    slope, offset = _below_ceiling(values[among], target)
    if slope <= 0:  # scores tell nothing here
        return np.full(len(scores), share)
    return np.asarray(expit(slope * values + offset))


def _below_ceiling(values: Floats, target: Floats) -> tuple[float, float]:
    """Slope and offset of the logistic curve of being right, of which a share is confirmed: the curve's ceiling.

    Args:
        values: `(n,)`.
        target: `(n,)`, the chance that each was confirmed.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    def loss(parameters: Floats) -> tuple[float, Floats]:
        slope, offset, height = parameters
        right, ceiling = expit(slope * values + offset), expit(height)
        chance = (right * ceiling).clip(_LEAST, 1 - _LEAST)
        told = target * np.log(chance) + (1 - target) * np.log1p(-chance)
        steep = target / chance - (1 - target) / (1 - chance)
        along = steep * ceiling * right * (1 - right)
        up = ((steep * right).sum() * ceiling + _COMPLETE) * (1 - ceiling)
        gradient = np.array([_RIDGE * slope - (along * values).sum(), -along.sum(), -up])
        return float(_RIDGE * slope**2 / 2 - told.sum() - _COMPLETE * np.log(ceiling)), gradient

    fitted = minimize(loss, (1.0, 0.0, 1.0), jac=True, method="L-BFGS-B", options={"ftol": 1e-12, "gtol": 1e-6})
    return float(fitted.x[0]), float(fitted.x[1])


def _far(gap: Floats, classes: Ints, count: int) -> Floats:
    """`(n,)`: one less the share of false alarms among gaps as wide or wider, each beside those of its class."""
    from scipy.special import ndtr
    from scipy.stats import false_discovery_control

    if len(gap) == 0:
        return gap
    width = np.log(gap.clip(min=_LEAST_GAP))
    z = np.empty(len(gap))
    for number in range(count):
        mine = classes == number
        middle, spread = _middle(width[mine] if mine.sum() >= _ENOUGH else width)
        z[mine] = (width[mine] - middle) / spread
    return np.asarray(1 - false_discovery_control(ndtr(-z)))


def _middle(values: Floats) -> tuple[float, float]:
    middle = float(np.median(values))
    return middle, max(_NORMAL * float(np.median(np.abs(values - middle))), _LEAST_SPREAD)
