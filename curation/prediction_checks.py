"""What a row of a file of predictions has to hold: rows to arrays, and a reason where that is impossible."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from store.arrays import Floats

Kind: TypeAlias = Literal["probabilities", "logits", "passes", "boxes", "passes of boxes"]

KEYS = ("probabilities", "logits", "passes", "boxes")

# Why a row is refused, as what its rows do.
UNPARSABLE = "are no JSON objects"
UNKNOWN_IMAGE = "name no image of the catalog"
REPEATED = "repeat an image of the file"
NO_KIND = f"hold none or several of {', '.join(KEYS)}"
OTHER_KIND = "hold another kind of prediction than the first row"
OTHER_PASSES = "hold another number of passes than the first row"
OTHER_LENGTH = "do not have one value for each class"
UNKNOWN_CLASS = "name a class that the run does not have"
NO_NUMBER = "hold something that is no number where one belongs"
NOT_FINITE = "hold NaN or infinity"
NEGATIVE = "hold a negative probability"
NOT_ONE = "hold probabilities that do not sum to one"
NO_BOXES = "hold boxes that are not {box: [x, y, width, height], class, score}"
NO_AREA = "hold a box without area"
OUTSIDE = "hold a box that leaves its image"
BAD_SCORE = "hold a score outside 0 to 1"

_SUM_TOLERANCE = 1e-3  # a model that computes in float16 comes this near
_EDGE_TOLERANCE = 1.0  # pixels that a detector's rounding may leave an image by


@dataclass(frozen=True)
class Form:
    """What every row of a file holds."""

    kind: Kind
    classes: list[str]
    passes: int

    @property
    def of_boxes(self) -> bool:
        """Whether it holds boxes."""
        return self.kind in ("boxes", "passes of boxes")


class RowError(Exception):
    """This row cannot be used; the message is one of the reasons above."""


def kind(row: Mapping[str, Any]) -> Kind:
    """What a row holds.

    Raises:
        RowError: none or several of what it may hold.
    """
    given = [key for key in KEYS if row.get(key) is not None]
    if len(given) != 1:
        raise RowError(NO_KIND)
    if given == ["passes"] and _of_boxes(row["passes"]):
        return "passes of boxes"
    return given[0]  # type: ignore[return-value]  # one of KEYS is a kind


def passes(row: Mapping[str, Any], kind: Kind) -> list[Any]:
    """What each pass says in a row of this kind; a single pass where the kind is none of passes.

    Raises:
        RowError: the passes are no list, or none.
    """
    if kind not in ("passes", "passes of boxes"):
        return [row[kind]]
    if not isinstance(row["passes"], list) or not row["passes"]:
        raise RowError(NO_NUMBER if kind == "passes" else NO_BOXES)
    return row["passes"]


def names(row: Mapping[str, Any]) -> set[str]:
    """The classes a row names by itself, in objects or in boxes; nothing where it cannot be used."""
    try:
        found = kind(row)
        each_pass = passes(row, found)
        if found in ("boxes", "passes of boxes"):
            return {name for boxes in each_pass for box in _list(boxes) for name in _names_of_box(box)}
    except RowError:
        return set()
    return {name for one in each_pass if isinstance(one, dict) for name in one}


def stack(rows: Sequence[Mapping[str, Any]], form: Form) -> tuple[Floats, list[str | None]]:
    """Class probabilities or logits `(N, M, C)` of rows as they are, and why a row is refused, else none.

    Probabilities are scaled to sum to one in each pass. The values of refused rows mean nothing.
    """
    values = np.full((len(rows), form.passes, len(form.classes)), 1.0)
    reasons: list[str | None] = [None] * len(rows)
    for i, row in enumerate(rows):
        try:
            values[i] = _matrix(row, form)
        except RowError as error:
            reasons[i] = str(error)
    found = [(~np.isfinite(values).all(axis=(1, 2)), NOT_FINITE)]
    if form.kind != "logits":
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            found.append(((values < 0).any(axis=(1, 2)), NEGATIVE))
            found.append(((abs(values.sum(axis=2) - 1) > _SUM_TOLERANCE).any(axis=1), NOT_ONE))
            values /= values.sum(axis=2, keepdims=True)
    for bad, reason in found:
        for i in np.flatnonzero(bad).tolist():
            reasons[i] = reasons[i] or reason
    return values, reasons


def of_logits(logits: Floats) -> tuple[Floats, Floats]:
    """Of finite logits `(…, C)` the probabilities `(…, C)`, exp z / Σ exp z, and the free energies `(…)`, -log Σ exp z.

    An energy is high for what is unlike the training images. Liu et al. 2020 (arXiv 2010.03759).
    """
    top = logits.max(axis=-1, keepdims=True)
    with np.errstate(over="ignore"):  # a difference beyond any number is a probability of 0
        exponentials = np.exp(logits - top)
    total = exponentials.sum(axis=-1, keepdims=True)
    return exponentials / total, -(top + np.log(total))[..., 0]


def check_boxes(row: Mapping[str, Any], form: Form, *, width: int, height: int) -> list[list[dict[str, Any]]]:
    """For each pass the boxes of a row, cut at the edges of its image of `width` by `height` pixels.

    Raises:
        RowError: one of them cannot be used.
    """
    each_pass = _of_row(row, form)
    return [[_box(box, form.classes, width, height) for box in _list(boxes)] for boxes in each_pass]


def _of_row(row: Mapping[str, Any], form: Form) -> list[Any]:
    if kind(row) != form.kind:
        raise RowError(OTHER_KIND)
    each_pass = passes(row, form.kind)
    if len(each_pass) != form.passes:
        raise RowError(OTHER_PASSES)
    return each_pass


def _matrix(row: Mapping[str, Any], form: Form) -> list[Floats]:
    missing = None if form.kind == "logits" else 0.0
    return [_vector(one, form.classes, missing=missing) for one in _of_row(row, form)]


def _vector(value: Any, classes: Sequence[str], *, missing: float | None = 0.0) -> Floats:
    """One value per class, from a list in their order or an object, where `missing` stands for what it leaves out."""
    if isinstance(value, dict):
        given = {name: number for name, number in value.items() if number is not None}
        if not given.keys() <= set(classes):
            raise RowError(UNKNOWN_CLASS)
        value = [given.get(name, missing) for name in classes]
        if None in value:
            raise RowError(OTHER_LENGTH)
    if not isinstance(value, list | np.ndarray):
        raise RowError(NO_NUMBER)
    vector = _numbers(value)
    if len(vector) != len(classes):
        raise RowError(OTHER_LENGTH)
    return vector


def _numbers(values: "list[Any] | Floats") -> Floats:
    """From JSON, or from Parquet, where all are numbers."""
    if isinstance(values, np.ndarray):
        return values.astype(np.float64)
    if not all(type(value) in (float, int) for value in values):  # True is none
        raise RowError(NO_NUMBER)
    try:
        return np.array(values, dtype=np.float64)
    except OverflowError as error:  # a whole number of hundreds of digits
        raise RowError(NOT_FINITE) from error


def _of_boxes(given: Any) -> bool:
    """Whether passes are of boxes: lists of objects, or all of them empty."""
    if not isinstance(given, list) or not all(isinstance(one, list) for one in given):
        return False
    return any(isinstance(box, dict) for one in given for box in one) or not any(given)


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise RowError(NO_BOXES)
    return value


def _names_of_box(box: Any) -> set[str]:
    if not isinstance(box, dict):
        return set()
    given = box.get("probabilities")
    named = {box["class"]} if isinstance(box.get("class"), str) else set()
    return named | (given.keys() if isinstance(given, dict) else set())


def _box(box: Any, classes: Sequence[str], width: int, height: int) -> dict[str, Any]:
    if not isinstance(box, dict) or not {"box", "class", "score"} <= box.keys():
        raise RowError(NO_BOXES)
    edges = box["box"]
    if not isinstance(edges, list) or len(edges) != 4 or not isinstance(box["class"], str):
        raise RowError(NO_BOXES)
    if box["class"] not in classes:
        raise RowError(UNKNOWN_CLASS)
    numbers = _numbers([*edges, box["score"]])
    if not np.isfinite(numbers).all():
        raise RowError(NOT_FINITE)
    left, top, across, down, score = numbers.tolist()
    if not 0 <= score <= 1:
        raise RowError(BAD_SCORE)
    if across <= 0 or down <= 0:
        raise RowError(NO_AREA)
    right, bottom = left + across, top + down
    if min(left, top, width - right, height - bottom) < -_EDGE_TOLERANCE:
        raise RowError(OUTSIDE)
    left, top, right, bottom = max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height))
    if right <= left or bottom <= top:
        raise RowError(NO_AREA)
    checked = {"box": [left, top, right - left, bottom - top], "class": box["class"], "score": score}
    if box.get("probabilities") is not None:
        form = Form("probabilities", list(classes), 1)
        values, (reason,) = stack([{"probabilities": box["probabilities"]}], form)
        if reason is not None:
            raise RowError(reason)
        checked["probabilities"] = values[0, 0].tolist()
    return checked
