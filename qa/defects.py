"""Whether a label is defective: whether it differs from the last word on its item by more than is tolerated.

One class, several classes and attributes of the image are to be the same. Regions never are: a thing of the label is
right if it is matched by assignment with one of the last word's that has its classes and attributes and overlaps it
enough (keypoints: is near enough). The label's F1 is twice the things that are right by all that both hold, and has to
reach a least one. So what a mistake weighs hangs on how much there is to see: a car that is missed is the whole image,
a cell among fifteen is not.

What somebody wrote in words of their own is not compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from labeling.content import Choices, Content, Region, Text, Value
from qa import shapes
from qa.consensus import matching
from store.errors import InvalidInputError


@dataclass(frozen=True)
class Tolerance:
    """How far the regions of a label may differ from those of the last word.

    The defaults are the usual IoU of detection, and the share of things that `qa review` wants right before it accepts
    a label. They tolerate a thing that is missing among six or more, one too many beside five or more, and a wrong
    class or place among ten or more.
    """

    least_iou: float = 0.5  # from which two regions are one thing; of keypoints the likeness of `qa.shapes`
    least_f1: float = 0.9  # from which a label is not defective

    def __post_init__(self) -> None:
        if not (0 < self.least_iou <= 1 and 0 < self.least_f1 <= 1):
            raise InvalidInputError(
                f"The least IoU and the least F1 lie above 0 and up to 1; these are {self.least_iou:g} and "
                f"{self.least_f1:g}."
            )


def differ(said: Content, meant: Content, tolerance: Tolerance, *, diagonal: float) -> bool:
    """Whether a label differs too far from the last word on its item; it does not matter which is which.

    Args:
        said: one of the two.
        meant: the other, in the same classes.
        tolerance: of regions.
        diagonal: of the image, in pixels.
    """
    if said == meant:
        return False
    if _of_image(said) != _of_image(meant):
        return True
    return f1(said.regions, meant.regions, least_iou=tolerance.least_iou, diagonal=diagonal) < tolerance.least_f1


def f1(drawn: Sequence[Region], there: Sequence[Region], *, least_iou: float, diagonal: float) -> float:
    """Twice the regions that are right by all of both; 1 where neither has any."""
    total = len(drawn) + len(there)
    if not total:
        return 1.0
    likeness = shapes.likeness(
        [region.shape for region in drawn], [region.shape for region in there], diagonal=diagonal
    )
    said, meant = ([_said(region) for region in each] for each in (drawn, there))
    same = np.array([[one == other for other in meant] for one in said], dtype=np.bool_).reshape(likeness.shape)
    right, _ = matching.pairs(np.where(same, likeness, 0.0), least=least_iou)
    return 2 * len(right) / total


def _of_image(said: Content) -> tuple[Any, ...]:
    return frozenset(said.choice.classes if said.choice else ()), _compared(said.attributes)


def _said(region: Region) -> tuple[Any, ...]:
    return frozenset(region.classes), _compared(region.attributes)


def _compared(attributes: Mapping[str, Value]) -> dict[str, Any]:
    return {
        name: frozenset(value.choices) if isinstance(value, Choices) else value
        for name, value in attributes.items()
        if not isinstance(value, Text)
    }
