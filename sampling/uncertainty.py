"""How uncertain a prediction run is of each image, by the score a recipe names, and the words for it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from curation import predictions
from curation.predictions import Box
from sampling import boxes, recipes, scores
from sampling.calibration import Calibrator
from store.arrays import Bools, Floats, Ints
from store.errors import InvalidInputError
from store.schema import ImageId, PredictionRun

_BLOCK = 16_384  # images whose passes are in memory at once

_OF_MEANS: Mapping[recipes.Score, Callable[[Floats], Floats]] = {
    "entropy": scores.entropy,
    "least-confidence": scores.least_confidence,
}
_OF_PASSES: Mapping[recipes.Score, Callable[[Floats], Floats]] = {
    "bald": scores.bald,
    "votes": scores.vote_disagreement,
    "kl": scores.kl_disagreement,
}


@dataclass(frozen=True)
class Doubts:
    """What a run says of `N` images; 0 where it says nothing."""

    probabilities: Floats | None  # (N, C) calibrated means over passes; None of boxes
    uncertainty: Floats | None  # (N,) from 0; None: the margins of the probabilities
    changed: Floats | None  # (N,) share of passes with another class than their mean; None of one pass


def read(
    session: Session, run: PredictionRun, calibrator: Mapping[str, Any] | None, image_ids: Ints, recipe: recipes.Recipe
) -> Doubts:
    """What a run says of these images `(N,)`, of which it need not know all.

    Means over passes are calibrated; disagreement between passes is taken as the model gave it.

    Raises:
        InvalidInputError: the recipe asks for a score that this run cannot give.
    """
    known = np.isin(image_ids, predictions.predicted(session, run))
    ids = [ImageId(image_id) for image_id in image_ids[known].tolist()]
    if run.kind == "boxes":
        return Doubts(None, _spread(known, _of_boxes(session, run, ids, recipe.boxes)), None)
    _check(run, recipe.score)
    means = np.zeros((len(image_ids), len(run.classes)), dtype=np.float32)
    changed = np.zeros(len(image_ids)) if run.passes > 1 else None
    disagreement = np.zeros(len(image_ids))
    places = np.flatnonzero(known)
    correct = Calibrator(**(calibrator or {}))
    for start in range(0, len(ids), _BLOCK):
        at = places[start : start + _BLOCK]
        passes = predictions.read_passes(session, run, ids[start : start + _BLOCK]).transpose(1, 0, 2)  # (M, n, C)
        mean = passes.mean(axis=0, dtype=np.float64)
        if changed is not None:
            changed[at] = scores.dropout_consistency(mean, passes)
        if recipe.score in _OF_PASSES:
            disagreement[at] = _OF_PASSES[recipe.score](passes)
        means[at] = correct.apply(mean)
    uncertainty = None
    if recipe.score in _OF_MEANS:
        uncertainty = _OF_MEANS[recipe.score](means)
        uncertainty[~known] = 0
    elif recipe.score in _OF_PASSES:
        uncertainty = disagreement
    elif recipe.score == "energy":
        uncertainty = _spread(known, _shares_below(predictions.read_energies(session, run, ids)))
    return Doubts(means, uncertainty, changed)


def _check(run: PredictionRun, score: recipes.Score) -> None:
    if score in _OF_PASSES and run.passes < 2:
        raise InvalidInputError(
            f"The score {score!r} compares passes, and run {run.id} of {run.model!r} has one. "
            "Import several (`passes`), or choose by margin."
        )
    if score == "energy" and not run.report.get("energies"):
        raise InvalidInputError(
            f"The score 'energy' needs logits, and run {run.id} of {run.model!r} was given as probabilities. "
            "Import its logits, or choose by margin."
        )


def _of_boxes(session: Session, run: PredictionRun, ids: Sequence[ImageId], how: recipes.BoxScore) -> Floats:
    """Of each image `(N,)`; over passes the mean."""
    unknown = how.class_weights.keys() - set(run.classes)
    if unknown:
        raise InvalidInputError(f"Run {run.id} predicts no class {min(unknown)!r}, but: {', '.join(run.classes)}.")
    if how.aggregate == "count" and run.passes < 2:
        raise InvalidInputError(f"The number of boxes is compared between passes, and run {run.id} has one.")
    weights = np.array([how.class_weights.get(name, 1.0) for name in run.classes])
    class_of = {name: i for i, name in enumerate(run.classes)}
    result = np.zeros(len(ids))
    for start in range(0, len(ids), _BLOCK):
        found = predictions.read_boxes(session, run, ids[start : start + _BLOCK])
        of_passes = [[passes[i] for passes in found] for i in range(run.passes)]
        part = slice(start, start + len(found))
        if how.aggregate == "count":
            result[part] = boxes.count_surprise(np.array([list(map(len, images)) for images in of_passes]))
        else:
            result[part] = np.mean([_aggregate(images, how, class_of, weights) for images in of_passes], axis=0)
    return result


def _aggregate(
    images: Sequence[Sequence[Box]], how: recipes.BoxScore, class_of: Mapping[str, int], weights: Floats
) -> Floats:
    flat = [box for image in images for box in image]
    offsets = np.concatenate([[0], np.cumsum([len(image) for image in images])]).astype(np.int64)
    of_scores = boxes.uncertainty(np.array([box.score for box in flat]))
    told = np.array([box.probabilities is not None for box in flat], dtype=np.bool_)
    if told.any():
        distributions = np.stack([box.probabilities for box in flat if box.probabilities is not None])
        of_scores[told] = boxes.uncertainty(of_scores[told], distributions)
    assert how.aggregate != "count"  # noqa: S101  for mypy: the caller counts
    return boxes.aggregate(
        of_scores,
        offsets,
        how=how.aggregate,
        top=how.top,
        classes=np.array([class_of[box.name] for box in flat], dtype=np.int64),
        class_weights=weights,
    )


def _shares_below(values: Floats) -> Floats:
    """The share of values that are lower `(N,)`: any scale becomes 0 to 1."""
    below: Floats = np.searchsorted(np.sort(values), values) / max(len(values) - 1, 1)
    return below


def _spread(known: Bools, values: Floats) -> Floats:
    result = np.zeros(len(known))
    result[known] = values
    return result
