"""How well wrong labels of several classes and of boxes are found, beside cleanlab, at several shares of wrong ones.

Several classes are simulated: 400 images of six, of which a share of what labels say of a class is flipped
(tests/qa/pictures.py); cleanlab is given the probabilities that Winnow's probes gave out of fold. Boxes are of 200
simulated images, and of the photos of BCCD where ../shared/data is, beside a simulated detector (tests/qa/detector.py);
a share of the images has one mistake, or a share of all things was overlooked; cleanlab's method is ObjectLab.

`AUROC` and `AP` are of telling what is wrong by its suspicion, ± the standard deviation over seeds. `doubted` is the
share that are candidates, or that cleanlab flags, `found` the share of what is wrong that is among them, and `right of
it` how many of them are wrong.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks import boxes, report
from qa import bit_suspicion, box_suspicion
from qa.box_suspicion import FAULTS, Boxes
from sampling.head import Views
from store.arrays import Bools, Floats
from tests.qa import detector, pictures
from tests.qa.detector import Scene

_FLIPPED = (0.0, 0.05, 0.1, 0.2, 0.3)
_IMAGES_WRONG = (0.0, 0.05, 0.15, 0.3)
_OVERLOOKED = (0.05, 0.15, 0.3, 0.5)
_IN_BCCD = (0.0, 0.1, 0.3)
_HEADINGS = ("labels", "wrong", "method", "AUROC", "±", "AP", "± AP", "doubted", "found", "right of it", "seeds")


@dataclass(frozen=True)
class _Told:
    """What a method says of N labels, and which are wrong."""

    wrong: Bools  # (N,)
    doubted: Bools  # (N,)
    scores: Floats | None  # (N,), of what has no order none


_Methods = dict[str, _Told]


def main() -> None:
    """A row for each method, kind of label and share of wrong ones."""
    seeds = 3 if report.scale() == "small" else 10
    rows = []
    for labels, share, of in _problems():
        runs = [of(seed) for seed in range(seeds)]
        for method in runs[0]:
            rows.append((labels, share, method, *_row([run[method] for run in runs]), seeds))
            print(*rows[-1], flush=True)
    report.tell("label-errors-of-contents", ["scikit-learn", "numpy", "cleanlab"], _HEADINGS, rows)


def _problems() -> Iterator[tuple[str, float, Callable[[int], _Methods]]]:
    """What is labelled, the share of wrong labels, and what is said of them by the seed."""
    for share in _FLIPPED:
        yield "several classes, each", share, lambda seed, share=share: _of_classes(seed, share)
    for share in _IMAGES_WRONG:
        yield "images of boxes", share, lambda seed, share=share: _of_images(detector.scene(seed, share=share))
    for share in _OVERLOOKED:
        yield "overlooked things", share, lambda seed, share=share: _of_things(seed, share)
    if boxes.SHARED.exists():
        for share in _IN_BCCD:
            yield "photos of BCCD", share, lambda seed, share=share: _of_images(_photos(seed, share))


def _of_classes(seed: int, share: float) -> _Methods:
    from cleanlab.multilabel_classification.filter import find_multilabel_issues_per_class
    from cleanlab.multilabel_classification.rank import get_label_quality_scores_per_class

    wrong, held, vectors = pictures.pictures(seed, flipped=share)
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    alone, views = np.arange(len(held)), Views.of(lambda rows: unit[rows], len(held))
    ours = bit_suspicion.doubt(held, np.ones_like(held), views, tied=alone, groups=alone)
    lists = [np.flatnonzero(row).tolist() for row in held]
    flagged = find_multilabel_issues_per_class(lists, ours.model, filter_by="confident_learning", n_jobs=1)
    theirs = 1 - get_label_quality_scores_per_class(lists, ours.model)
    return {
        "Winnow": _Told(wrong.ravel(), ours.is_candidate.ravel(), ours.score.ravel()),
        "cleanlab": _Told(wrong.ravel(), flagged.ravel(), theirs.ravel()),
    }


def _of_images(scene: Scene) -> _Methods:
    found = box_suspicion.find(scene.labelled, scene.predicted, scene.scores)
    every = np.ones(len(found.image), dtype=np.bool_)
    ours = box_suspicion.of_images(found, every, images=scene.images)
    candidates = box_suspicion.of_images(found, found.is_candidate, images=scene.images) > 0
    wrong = scene.wrong > 0
    return {
        "Winnow": _Told(wrong, candidates, ours),
        "cleanlab": _Told(wrong, detector.doubted_by_cleanlab(scene), detector.of_cleanlab(scene)),
    }


def _of_things(seed: int, share: float) -> _Methods:
    """Of the things that labels lack and of the predictions that say so; ObjectLab tells images alone."""
    scene, gone = detector.lacking(seed, share=share)
    found = box_suspicion.find(scene.labelled, scene.predicted, scene.scores)
    said = found.predicted[found.is_candidate & (found.fault == FAULTS.index("overlooked"))]
    candidates = Boxes(scene.predicted.image[said], scene.predicted.sides[said], scene.predicted.classes[said])
    is_there = detector.at_places(candidates, gone)
    missed = len(gone.image) - int(is_there.sum())
    things = _Told(
        np.append(is_there, np.ones(missed, dtype=np.bool_)), np.arange(len(said) + missed) < len(said), None
    )
    of_images = _of_images(scene)
    return {"Winnow": things, "Winnow, by image": of_images["Winnow"], "cleanlab, by image": of_images["cleanlab"]}


def _photos(seed: int, share: float) -> Scene:
    truth, sizes = boxes.bccd(None)
    random = np.random.default_rng(seed)
    held = Boxes(truth.image, truth.places, truth.classes)
    predicted, scores = detector.seen(random, held, len(sizes))
    labelled, wrong = detector.planted(random, held, len(sizes), share=share)
    return Scene(len(sizes), labelled, predicted, scores, wrong)


def _row(runs: list[_Told]) -> tuple[float | None, ...]:
    """The figures of a method, over seeds."""
    wrong, doubted = (np.concatenate([getattr(run, name) for run in runs]) for name in ("wrong", "doubted"))
    scored = [run for run in runs if run.scores is not None and run.wrong.any() and not run.wrong.all()]
    orders: list[float | None] = [None] * 4
    if scored:
        curves = [
            [score(run.wrong, run.scores) for run in scored] for score in (roc_auc_score, average_precision_score)
        ]
        orders = [float(figure(curve)) for curve in curves for figure in (np.mean, lambda each: np.std(each, ddof=1))]
    return (
        *orders,
        float(doubted.mean()) if scored or not wrong.any() else None,
        float(doubted[wrong].mean()) if wrong.any() else None,
        float(wrong[doubted].mean()) if wrong.any() and doubted.any() else None,
    )


if __name__ == "__main__":
    main()
