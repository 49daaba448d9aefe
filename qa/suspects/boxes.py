"""Suspects among labels of boxes, by what a detector that did not see them predicts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from curation import predictions
from curation.labels import LabelInForce
from labeling import content
from labeling.content import Content, Region
from labeling.geometry import Box, Keypoint
from qa import box_suspicion
from qa.box_suspicion import FAULTS, UNNAMED, Boxes, Findings
from qa.consensus.areas import Areas
from qa.suspects.found import Candidate, Found, together
from store.arrays import Floats


@dataclass(frozen=True)
class _Labelled:
    """The boxes of N labels, a row each."""

    boxes: Boxes
    place: list[int]  # of each among the regions of its label


def search(
    held: Sequence[LabelInForce],
    classes: Sequence[str],
    asked: Sequence[frozenset[str]],
    predicted: Sequence[Sequence[predictions.Box]],
) -> Found:
    """Set what is labelled beside what is predicted, image by image; an image is as suspect as its worst box.

    Args:
        held: N labels.
        classes: all that predictions or labels may name.
        asked: of each label the classes its taxonomy had; predictions of others say nothing about it.
        predicted: of each image the boxes.
    """
    contents = [content.from_json(label.value) for label in held]
    number = {name: i for i, name in enumerate(classes)}
    labelled = _labelled(contents, number)
    said = [(i, one) for i, found in enumerate(predicted) for one in found if one.name in asked[i]]
    model = Boxes(
        np.array([i for i, _ in said], dtype=np.int64),
        _sides([(one.x, one.y, one.x + one.width, one.y + one.height) for _, one in said]),
        np.array([number[one.name] for _, one in said], dtype=np.int64),
    )
    findings = box_suspicion.find(labelled.boxes, model, np.array([one.score for _, one in said], dtype=np.float64))
    worst = box_suspicion.of_images(findings, findings.is_candidate, images=len(held))
    settled = np.array([label.posterior is None for label in held], dtype=np.bool_)
    suspects = np.flatnonzero((worst > 0) & ~settled)
    suspects = suspects[np.argsort(-worst[suspects], kind="stable")]
    rows_of: dict[int, list[int]] = {}
    for row in np.flatnonzero(findings.is_candidate).tolist():
        rows_of.setdefault(int(findings.image[row]), []).append(row)
    candidates = []
    for i in suspects.tolist():
        rows = sorted(rows_of[i], key=lambda row: -float(findings.doubt[row]))
        better, sentences = list(contents[i].regions), []
        for row in rows:
            box = said[int(findings.predicted[row])][1]
            place = labelled.place[int(findings.labelled[row])] if findings.labelled[row] >= 0 else None
            sentences.append(_why(findings, row, box, None if place is None else contents[i].regions[place]))
            _mend(better, place, FAULTS[findings.fault[row]], box)
        suggestion = content.essence(replace(contents[i], regions=tuple(better)))
        candidates.append(
            Candidate(held[i].label_id, float(worst[i]), content.to_json(suggestion), together(sentences))
        )
    shown = findings.is_candidate & np.isin(findings.image, suspects)
    sources: dict[str, int] = {
        fault: len(np.unique(findings.image[shown & (findings.fault == i)])) for i, fault in enumerate(FAULTS)
    }
    return Found(candidates, sources, surest_denied=findings.surest_denied)


def _labelled(contents: Sequence[Content], number: dict[str, int]) -> _Labelled:
    """Upright boxes with their one class; of all else with an area the bounds, where nothing was overlooked."""
    image, sides, named, place = [], [], [], []
    for i, said in enumerate(contents):
        for j, region in enumerate(said.regions):
            shape = region.shape
            if isinstance(shape, Keypoint):
                continue
            is_upright = isinstance(shape, Box) and not shape.rotation
            image.append(i)
            place.append(j)
            named.append(number.get(region.classes[0], UNNAMED) if is_upright and len(region.classes) == 1 else UNNAMED)
            if isinstance(shape, Box):
                across, down = zip(*shape.corners(), strict=True)
                sides.append((min(across), min(down), max(across), max(down)))
            else:
                left, top, right, bottom = Areas([shape]).keys()[0].tolist()
                sides.append((left, top, right, bottom))
    boxes = Boxes(np.array(image, dtype=np.int64), _sides(sides), np.array(named, dtype=np.int64))
    return _Labelled(boxes, place)


def _sides(rows: Sequence[tuple[float, float, float, float]]) -> Floats:
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def _mend(regions: list[Region], place: int | None, fault: str, box: predictions.Box) -> None:
    """Bring regions to what the model says."""
    shape = Box(box.x, box.y, box.width, box.height)
    if place is None:
        regions.append(Region("", shape, (box.name,)))
    elif fault == "badly located":
        regions[place] = replace(regions[place], shape=shape)
    else:
        regions[place] = replace(regions[place], classes=(box.name,))


def _why(findings: Findings, row: int, box: predictions.Box, region: Region | None) -> str:
    there = _where(box)
    if region is None:
        article = "An" if box.name[:1].lower() in ("a", "e", "i", "o", "u") else "A"
        return f"{article} {box.name!r} at {there} that the model is {box.score:.0%} sure of is not in the label."
    assert isinstance(region.shape, Box)  # noqa: S101  other shapes are only looked past
    what = f"The {region.classes[0]!r} at {_where(region.shape)}"
    if FAULTS[findings.fault[row]] == "badly located":
        overlap = findings.overlap[row]
        return (
            f"{what} is rather at {there}, by the model that is {box.score:.0%} sure of it; their IoU is {overlap:.2f}."
        )
    return f"{what} is rather {box.name!r}, by the model that is {box.score:.0%} sure of it."


def _where(box: Box | predictions.Box) -> str:
    return f"{box.x:.0f}, {box.y:.0f}, {box.width:.0f} × {box.height:.0f}"
