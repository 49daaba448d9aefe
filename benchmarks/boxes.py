"""What five people drew, made one: Winnow's consensus of boxes beside the best of them and the usual ways to merge.

The boxes of BCCD (microscope photos of blood, three classes; where ../shared/data is) are the truth. Five simulated
annotators draw them at three levels of noise: each side is off by a share of the box's with heavy tails (Student's t, 3
degrees), things are missed, the small and the hard ones by everybody more often, ghosts are drawn, a third of them at
places where others see one as well, and classes are confused. They differ: the best makes .4 of the errors stated, the
worst 2 times as many. Ten seeds, ± the standard error over them; `gain` is mAP beyond greedy voting on the same boxes.

The last rows leave some of the five out: one, two or three look at an image, drawn at random, or as many as adaptive
overlap asks for: by its defaults, and five at most to be as sure as of three, where whom it names answers, and where
whoever comes does. Images come a fifth at a time, and no more than a fifth is looked at again before the next review.

mAP is COCO's, IoU .50 to .95; whoever has no scores is one point of the curve. F1 is of what each method keeps: Winnow
what is likelier there than not, greedy voting what most drew, the mean of boxes all of which half the people are sure.
"""

import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from benchmarks import average_precision, looks, report
from benchmarks.average_precision import Boxes
from curation import iou
from qa import gains
from qa.consensus import places, regions
from qa.consensus.regions import Drawn, Regions
from qa.overlap import Gain, Rules
from store.arrays import Bools, Floats, Ints

SHARED = Path(__file__).parents[2] / "shared" / "data" / "bccd.tar"
_CLASSES = ("RBC", "WBC", "Platelets")
_SEEDS = 10
_SKILL = np.array([0.4, 0.7, 1.0, 1.4, 2.0])  # what each annotator's errors are multiplied with
_SHARED_GHOSTS = 1 / 3
_HEADINGS = ("noise", "method", "answers", "mAP", "±", "AP50", "AP75", "F1 at .5", "F1 at .75", "gain", "± gain")


@dataclass(frozen=True)
class Noise:
    """How wrong an annotator of skill 1 is."""

    jitter: float  # standard deviation of each side, as a share of the box's width or height
    missed: float  # share of things
    ghosts: float  # in an image
    confused: float  # share of classes


LEVELS = {
    "low": Noise(0.03, 0.05, 0.3, 0.03),
    "middle": Noise(0.07, 0.15, 1.0, 0.1),
    "high": Noise(0.12, 0.3, 2.0, 0.2),
}


@dataclass(frozen=True)
class Found:
    """What a method says is there."""

    boxes: Boxes
    scores: Floats
    kept: Bools  # (R,): what it would hand on


def main() -> None:
    """A row for each level of noise and method."""
    if not SHARED.exists():
        print(f"This benchmark reads {SHARED.name}, which is not in ../shared/data: nothing was measured.")
        return
    truth, sizes = bccd(30 if report.scale() == "small" else None)
    rows: list[tuple[Any, ...]] = []
    for level, noise in LEVELS.items():
        measured: dict[str, list[list[float]]] = {}
        for seed in range(_SEEDS):
            drawn, sides = simulated(truth, sizes, noise, seed=seed)
            singles = [_figures(_single(drawn, sides, annotator), truth) for annotator in range(len(_SKILL))]
            measured.setdefault("best annotator", []).append([1.0, *max(singles)])
            for name, method in METHODS.items():
                found = method(drawn, sides, len(sizes))
                measured.setdefault(name, []).append([float(len(_SKILL)), *_figures(found, truth)])
            for name, seen in _looks(drawn, sides, len(sizes), seed).items():
                found = _found(_fit(drawn, sides, seen, len(sizes)))
                measured.setdefault(name, []).append([len(seen) / len(sizes), *_figures(found, truth)])
        voting = np.array(measured["greedy voting"])[:, 1]
        for name, figures in measured.items():
            values = np.array(figures)
            gain = values[:, 1] - voting
            error, of_gain = (each.std(ddof=1) / _SEEDS**0.5 for each in (values[:, 1], gain))
            answers, mean, *others = values.mean(axis=0).tolist()
            rows.append((level, name, answers, mean, float(error), *others, float(gain.mean()), float(of_gain)))
            print(*rows[-1], flush=True)
    report.tell("boxes", ["numpy", "scipy"], _HEADINGS, rows)


def bccd(most: int | None) -> tuple[Boxes, Floats]:
    """The boxes of the first images by name, and the width and height of each image `(N, 2)`."""
    rows, sizes = [], []
    with tarfile.open(SHARED) as archive:
        for member in sorted(archive.getmembers(), key=lambda one: one.name):
            file = archive.extractfile(member) if member.name.endswith(".xml") else None
            if file is None or (most is not None and len(sizes) == most):
                continue
            tree = ElementTree.parse(file)
            for thing in tree.iter("object"):
                sides = [float(thing.findtext(f"bndbox/{side}", "")) for side in ("xmin", "ymin", "xmax", "ymax")]
                if sides[0] < sides[2] and sides[1] < sides[3]:
                    rows.append((len(sizes), *sides, _CLASSES.index(thing.findtext("name", ""))))
            sizes.append([float(tree.findtext(f"size/{side}", "")) for side in ("width", "height")])
    table = np.array(rows)
    return Boxes(table[:, 0].astype(np.int64), table[:, 1:5], table[:, 5].astype(np.int64)), np.array(sizes)


def simulated(truth: Boxes, sizes: Floats, noise: Noise, *, seed: int) -> tuple[Drawn, Floats]:
    """What the five drew, and its sides `(R, 4)`."""
    generator = np.random.default_rng(seed)
    extent = truth.places[:, 2:] - truth.places[:, :2]
    smallness = np.log(np.median(extent.prod(axis=1)) / extent.prod(axis=1))
    hardness = 0.5 * smallness + generator.normal(size=len(extent))  # the same for all five
    lure_image = np.repeat(np.arange(len(sizes)), generator.poisson(2 * noise.ghosts, len(sizes)))
    lures = _anywhere(lure_image, truth, sizes, generator)
    parts: list[tuple[Ints, Ints, Ints, Floats]] = []
    for annotator, skill in enumerate(_SKILL):
        missed = min(noise.missed * skill, 0.9)
        sees = generator.random(len(extent)) > 1 / (1 + np.exp(-np.log(missed / (1 - missed)) - hardness))
        lured = generator.random(len(lures)) < min(_SHARED_GHOSTS * skill / 2, 0.9)
        ghosts = generator.poisson((1 - _SHARED_GHOSTS) * noise.ghosts * skill, len(sizes))
        ghost_image = np.repeat(np.arange(len(sizes)), ghosts)
        confused = generator.random(sees.sum()) < noise.confused * skill
        shift = generator.integers(1, len(_CLASSES), sees.sum())
        named = np.where(confused, (truth.classes[sees] + shift) % len(_CLASSES), truth.classes[sees])
        image = np.concatenate([truth.image[sees], lure_image[lured], ghost_image])
        sides = np.concatenate([truth.places[sees], lures[lured], _anywhere(ghost_image, truth, sizes, generator)])
        made_up = generator.choice(truth.classes, len(image) - len(named))
        tails = generator.standard_t(3, size=sides.shape) / 3**0.5
        drawn = sides + tails * noise.jitter * skill * np.tile(sides[:, 2:] - sides[:, :2], 2)
        drawn = np.clip(drawn, 0, np.tile(sizes[image], 2))
        whole = (drawn[:, 2:] - drawn[:, :2] > 1).all(axis=1)
        who = np.full(len(image), annotator)
        parts.append(tuple(each[whole] for each in (image, who, np.concatenate([named, made_up]), drawn)))  # type: ignore[arg-type]
    image, who, named, sides = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Drawn(image, who, named), sides


def _anywhere(image: Ints, truth: Boxes, sizes: Floats, generator: np.random.Generator) -> Floats:
    """Boxes `(R, 4)` of the sizes that things have, somewhere in the images."""
    extent = (truth.places[:, 2:] - truth.places[:, :2])[generator.integers(0, len(truth.places), len(image))]
    corner = generator.random((len(image), 2)) * np.maximum(sizes[image] - extent, 0)
    return np.concatenate([corner, corner + extent], axis=1)


def _single(drawn: Drawn, sides: Floats, annotator: int) -> Found:
    mine = drawn.annotator == annotator
    boxes = Boxes(drawn.image[mine], sides[mine], drawn.classes[mine])
    return Found(boxes, np.ones(len(boxes.image)), np.ones(len(boxes.image), dtype=np.bool_))


def winnow(drawn: Drawn, sides: Floats, images: int) -> Found:
    """Ours."""
    people = len(_SKILL)
    return _found(_fit(drawn, sides, np.stack(np.divmod(np.arange(images * people), people), axis=1), images))


def _fit(drawn: Drawn, sides: Floats, seen: Ints, images: int) -> Regions[places.Boxes]:
    """Of what was drawn where `seen` `(S, 2)`, image and annotator, says that somebody looked."""
    people = len(_SKILL)
    mine = np.isin(drawn.image * people + drawn.annotator, seen @ [people, 1])
    looked = Drawn(drawn.image[mine], drawn.annotator[mine], drawn.classes[mine])
    size = {"images": images, "annotators": people, "classes": len(_CLASSES)}
    return regions.fit(looked, places.Boxes(sides[mine]), seen, **size)


def _found(things: Regions[places.Boxes]) -> Found:
    boxes = Boxes(things.image, things.places.sides, things.classes.argmax(axis=1))
    return Found(boxes, things.scores, things.existence > gains.LIKELIER)


def _looks(drawn: Drawn, sides: Floats, images: int, seed: int) -> dict[str, Ints]:
    """Who looks at which image where not all five do, by name."""
    size = {"items": images, "people": len(_SKILL), "seed": seed}

    def believe(seen: Ints) -> tuple[Floats, Gain]:
        found = [_fit(drawn, sides, seen, images)]
        return 1 - gains.share_right(found, images=images), partial(gains.of_regions, found)

    result = {f"Winnow of {count}": looks.fixed(count, **size) for count in (1, 2, 3)}
    doubt, _ = believe(result["Winnow of 3"])
    as_sure_as_three = Rules(target_error=float(doubt.mean()), most_answers=len(_SKILL))
    return result | {
        "adaptive": looks.as_needed(believe, rules=Rules(), **size),
        "as sure as of 3": looks.as_needed(believe, rules=as_sure_as_three, **size),
        "the same, whoever comes": looks.as_needed(believe, rules=as_sure_as_three, are_named=False, **size),
    }


def greedy_voting(drawn: Drawn, sides: Floats, images: int) -> Found:
    """Each box in turn joins the one it overlaps most, by half at least; what three drew is there: mean, majority."""
    rows = []
    for image in range(images):
        clusters: list[list[int]] = []
        for row in np.flatnonzero(drawn.image == image):
            near = iou.of_boxes(sides[row][None], sides[[cluster[0] for cluster in clusters]])[0] if clusters else []
            joins = [i for i, overlap in enumerate(near) if overlap >= 0.5]
            joins = [i for i in joins if drawn.annotator[row] not in drawn.annotator[clusters[i]]]
            if joins:
                clusters[max(joins, key=lambda i: near[i])].append(row)
            else:
                clusters.append([row])
        for cluster in clusters:
            named = np.bincount(drawn.classes[cluster]).argmax()
            rows.append((image, *sides[cluster].mean(axis=0), named, len(cluster)))
    table = np.array(rows)
    kept = table[:, 6] >= 3
    boxes = Boxes(table[kept, 0].astype(np.int64), table[kept, 1:5], table[kept, 5].astype(np.int64))
    return Found(boxes, table[kept, 6] / len(_SKILL), np.ones(int(kept.sum()), dtype=np.bool_))


def mean_of_boxes(drawn: Drawn, sides: Floats, images: int) -> Found:
    """Weighted boxes fusion, R. Solovyev, W. Wang and T. Gabruseva (2021), of boxes that are all equally sure."""
    rows = []
    for image in range(images):
        for number in range(len(_CLASSES)):
            clusters: list[list[int]] = []
            means: list[Floats] = []
            for row in np.flatnonzero((drawn.image == image) & (drawn.classes == number)):
                near = iou.of_boxes(sides[row][None], np.array(means))[0] if means else np.zeros(0)
                if near.max(initial=0) > 0.55:
                    best = int(near.argmax())
                    clusters[best].append(row)
                    means[best] = sides[clusters[best]].mean(axis=0)
                else:
                    clusters.append([row])
                    means.append(sides[row])
            rows += [
                (image, *mean, number, min(len(cluster), len(_SKILL)) / len(_SKILL))
                for mean, cluster in zip(means, clusters, strict=True)
            ]
    table = np.array(rows)
    boxes = Boxes(table[:, 0].astype(np.int64), table[:, 1:5], table[:, 5].astype(np.int64))
    return Found(boxes, table[:, 6], table[:, 6] >= 0.5)


METHODS: dict[str, Callable[[Drawn, Floats, int], Found]] = {
    "greedy voting": greedy_voting,
    "mean of boxes": mean_of_boxes,
    "Winnow": winnow,
}


def _figures(found: Found, truth: Boxes) -> list[float]:
    """mAP, AP at .5 and .75, F1 at .5 and .75."""
    precision = average_precision.average_precision(found.boxes, found.scores, truth).mean(axis=1)
    kept = Boxes(found.boxes.image[found.kept], found.boxes.places[found.kept], found.boxes.classes[found.kept])
    right = average_precision.hits(kept, found.scores[found.kept], truth, thresholds=(0.5, 0.75)).sum(axis=1)
    f1 = 2 * right / (len(kept.image) + len(truth.image))
    return [float(precision.mean()), float(precision[0]), float(precision[5]), *f1.tolist()]


if __name__ == "__main__":
    main()
