"""Images with boxes, a detector that looks at them, and labels with planted mistakes, for tests and measurements."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from curation import iou
from qa.box_suspicion import Boxes
from store.arrays import Bools, Floats, Ints

CLASSES = 3


@dataclass(frozen=True)
class Scene:
    """What is in N images, what is labelled, and what the detector says."""

    images: int
    labelled: Boxes
    predicted: Boxes
    scores: Floats
    wrong: Ints  # (N,) what was planted: 0 nothing, 1 overlooked, 2 badly located, 3 swapped


def scattered(random: np.random.Generator, images: int, *, most: int = 8) -> Boxes:
    """Up to `most` boxes an image that overlap little; the first and last images have none."""
    rows: list[tuple[float, ...]] = []
    for image in range(1, images - 1):
        placed: list[tuple[float, ...]] = []
        for _ in range(int(random.integers(1, most + 1))):
            width, height = np.exp(random.normal(4.0, 0.4, 2)).clip(20, 200)
            left, top = random.uniform(0, 640 - width), random.uniform(0, 480 - height)
            box = (left, top, left + width, top + height)
            if not placed or iou.of_boxes(np.array([box]), np.array(placed)).max() < 0.2:
                placed.append(box)
        rows += [(image, *box, int(random.integers(CLASSES))) for box in placed]
    table = np.array(rows)
    return Boxes(table[:, 0].astype(np.int64), table[:, 1:5], table[:, 5].astype(np.int64))


def seen(random: np.random.Generator, truth: Boxes, images: int, *, classes: int = CLASSES) -> tuple[Boxes, Floats]:
    """What a detector says: it misses, confuses, is unsure where, says a thing twice, and sees what is not there."""
    count = len(truth.image)
    found = random.random(count) < 0.93
    sides = _shaken(random, truth.sides, 0.05)
    is_confused = random.random(count) < 0.05
    named = np.where(is_confused, (truth.classes + random.integers(1, max(classes, 2), count)) % classes, truth.classes)
    scores = np.where(is_confused, random.beta(4, 3, count), random.beta(9, 1.2, count))
    again = found & (random.random(count) < 0.1)
    ghosts = random.poisson(1.0, images)
    places = random.integers(0, count, int(ghosts.sum()))
    moved = truth.sides[places] + np.repeat(random.normal(0, 60, (len(places), 2)), 2, axis=0).reshape(-1, 4)
    moved = np.concatenate([np.minimum(moved[:, :2], moved[:, 2:]), np.maximum(moved[:, :2], moved[:, 2:])], axis=1)
    moved[:, 2:] += 5.0
    image = np.concatenate([truth.image[found], truth.image[again], np.repeat(np.arange(images), ghosts)])
    boxes = Boxes(
        image,
        np.concatenate([sides[found], _shaken(random, truth.sides, 0.1)[again], moved]),
        np.concatenate([named[found], truth.classes[again], random.integers(0, classes, len(places))]),
    )
    all_scores = np.concatenate([scores[found], random.beta(2, 5, int(again.sum())), random.beta(1.5, 5, len(places))])
    return boxes, all_scores


def planted(
    random: np.random.Generator, truth: Boxes, images: int, *, share: float, classes: int = CLASSES
) -> tuple[Boxes, Ints]:
    """The labels with one mistake in a share of the images with boxes, a third each overlooked, shifted and swapped."""
    wrong = np.zeros(images, dtype=np.int64)
    holding = np.unique(truth.image)
    chosen = random.permutation(holding)[: round(share * len(holding))]
    wrong[chosen] = 1 + np.arange(len(chosen)) % 3
    sides, named = truth.sides.copy(), truth.classes.copy()
    kept: Bools = np.ones(len(named), dtype=np.bool_)
    for image in chosen.tolist():
        row = int(random.choice(np.flatnonzero(truth.image == image)))
        if wrong[image] == 1:
            kept[row] = False
        elif wrong[image] == 2:
            size = sides[row, 2:] - sides[row, :2]
            sides[row] += np.tile(size * random.choice([-1, 1], 2) * random.uniform(0.25, 0.45, 2), 2)
        else:
            named[row] = (named[row] + random.integers(1, classes)) % classes
    return Boxes(truth.image[kept], sides[kept], named[kept]), wrong


def scene(seed: int, *, images: int = 200, share: float = 0.15) -> Scene:
    """A detector that did not see the labels, and labels of which a share is wrong."""
    random = np.random.default_rng(seed)
    truth = scattered(random, images)
    predicted, scores = seen(random, truth, images)
    labelled, wrong = planted(random, truth, images, share=share)
    return Scene(images, labelled, predicted, scores, wrong)


def lacking(seed: int, *, share: float, images: int = 200) -> tuple[Scene, Boxes]:
    """A detector that did not see the labels, labels that lack a share of everything, and what they lack."""
    whole = scene(seed, images=images, share=0.0)
    kept = np.random.default_rng(seed).random(len(whole.labelled.image)) >= share
    gone = _rows(whole.labelled, ~kept)
    wrong = np.isin(np.arange(images), gone.image).astype(np.int64)
    return Scene(images, _rows(whole.labelled, kept), whole.predicted, whole.scores, wrong), gone


def at_places(said: Boxes, things: Boxes) -> Bools:
    """`(R,)`: whether each box is at the place of one of some things."""
    together = said.image[:, None] == things.image
    return np.asarray((together & (iou.of_boxes(said.sides, things.sides) >= 0.5)).any(axis=1))


def of_cleanlab(scene: Scene, *, classes: int = CLASSES) -> Floats:
    """`(N,)`: the suspicion of each image by cleanlab's ObjectLab, one less its quality score."""
    from cleanlab.object_detection.rank import get_label_quality_scores

    return 1 - np.asarray(get_label_quality_scores(*_for_cleanlab(scene, classes), verbose=False))


def doubted_by_cleanlab(scene: Scene, *, classes: int = CLASSES) -> Bools:
    """`(N,)`: the images in which ObjectLab finds anything."""
    from cleanlab.object_detection.filter import find_label_issues

    return np.asarray(find_label_issues(*_for_cleanlab(scene, classes)), dtype=np.bool_)


def _for_cleanlab(scene: Scene, classes: int) -> tuple[list[dict[str, Any]], list[Any]]:
    labels, predictions = [], []
    for image in range(scene.images):
        mine, theirs = scene.labelled.image == image, scene.predicted.image == image
        labels.append({"bboxes": scene.labelled.sides[mine], "labels": scene.labelled.classes[mine]})
        of_class = np.empty(classes, dtype=object)
        for number in range(classes):
            rows = theirs & (scene.predicted.classes == number)
            of_class[number] = np.column_stack([scene.predicted.sides[rows], scene.scores[rows]])
        predictions.append(of_class)
    return labels, predictions


def _rows(held: Boxes, rows: Bools) -> Boxes:
    return Boxes(held.image[rows], held.sides[rows], held.classes[rows])


def _shaken(random: np.random.Generator, sides: Floats, share: float) -> Floats:
    size = np.tile(sides[:, 2:] - sides[:, :2], 2)
    off = random.standard_t(5, sides.shape) * share * size
    shaken = sides + off.clip(-0.3 * size, 0.3 * size)
    return np.asarray(shaken)
