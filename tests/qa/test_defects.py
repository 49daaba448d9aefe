"""Which labels differ too far from the last word on their item."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling import content
from labeling.content import Choices, Content, ImageChoice, Number, Region, Text
from labeling.geometry import Box, Keypoint, Mask, Polygon, Shape
from qa import defects
from qa.defects import Tolerance
from store.errors import InvalidInputError

SIDE = 400
DIAGONAL = float(np.hypot(SIDE, SIDE))


def cells(count: int) -> Content:
    """So many boxes in rows of ten, none of which touches another."""
    boxes = [Box(40 * (i % 10), 40 * (i // 10), 30, 30) for i in range(count)]
    return Content(regions=tuple(Region(f"r{i}", box, ("cell",)) for i, box in enumerate(boxes)))


def without(said: Content, place: int) -> Content:
    return replace(said, regions=said.regions[:place] + said.regions[place + 1 :])


def renamed(said: Content, place: int, *classes: str) -> Content:
    regions = list(said.regions)
    regions[place] = replace(regions[place], classes=classes)
    return replace(said, regions=tuple(regions))


def moved(said: Content, x: float) -> Content:
    """Every box so far to the right."""
    return replace(
        said,
        regions=tuple(
            replace(one, shape=replace(one.shape, x=one.shape.x + x))
            for one in said.regions
            if isinstance(one.shape, Box)
        ),
    )


def is_defective(label: Content, word: Content, **tolerance: float) -> bool:
    said, meant = (content.from_json(content.to_json(content.essence(each))) for each in (label, word))
    return defects.differ(said, meant, Tolerance(**tolerance), diagonal=DIAGONAL)


def test_what_a_mistake_weighs_hangs_on_how_much_there_is_to_see() -> None:
    assert is_defective(cells(0), cells(1))  # the one car is missed
    assert not is_defective(cells(14), cells(15))
    assert [is_defective(cells(count - 1), cells(count)) for count in (5, 6)] == [True, False]
    assert [is_defective(cells(count + 1), cells(count)) for count in (0, 4, 5)] == [True, True, False]
    assert [is_defective(renamed(cells(count), 3, "dust"), cells(count)) for count in (9, 10)] == [True, False]
    assert not is_defective(cells(0), cells(0))
    empty = Content(regions=(Region("r", Mask.of(np.zeros((9, 9), dtype=np.bool_)), ("cell",)),))
    assert not is_defective(empty, empty)  # which overlaps nothing, not even itself


def test_boxes_are_one_thing_from_the_iou_on_that_is_agreed() -> None:
    """Moved by a third of its width, a box has IoU 1/2 with where it was."""
    for x, least_iou, expected in ((10, 0.5, False), (10.1, 0.5, True), (10.1, 0.45, False), (4, 0.8, True)):
        assert is_defective(moved(cells(3), x), cells(3), least_iou=least_iou) is expected


def test_f1_counts_each_region_once_and_twice_for_a_pair() -> None:
    drawn, there = (*cells(4).regions, *cells(1).regions), cells(5).regions
    assert defects.f1(drawn, there, least_iou=0.5, diagonal=DIAGONAL) == pytest.approx(2 * 4 / 10)


def test_a_thing_goes_to_the_one_of_its_class_where_two_lie_on_each_other() -> None:
    box, near = Box(10, 10, 30, 30), Box(12, 10, 30, 30)
    label = Content(regions=(Region("a", box, ("cat",)), Region("b", near, ("dog",))))
    word = Content(regions=(Region("c", box, ("dog",)), Region("d", near, ("cat",))))
    assert not is_defective(label, word)


def test_several_classes_are_the_same_set_and_attributes_count_save_for_words() -> None:
    assert not is_defective(
        Content(choice=ImageChoice(("cat", "dog"))), Content(choice=ImageChoice(("dog", "cat"), 0.4))
    )
    assert is_defective(Content(choice=ImageChoice(("cat", "dog"))), Content(choice=ImageChoice(("cat",))))
    assert is_defective(Content(choice=ImageChoice(())), Content(choice=ImageChoice(("cat",))))

    def night(value: str, note: str) -> Content:
        return replace(cells(20), attributes={"night": Choices((value,)), "note": Text((note,))})

    assert not is_defective(night("yes", "dark"), night("yes", "very dark"))
    assert is_defective(night("yes", "dark"), night("no", "dark"))

    def cut(*options: str, number: float = 1) -> Content:
        return Content(
            regions=(Region("r", Box(1, 1, 9, 9), attributes={"cut": Choices(options), "number": Number(number)}),)
        )

    assert not is_defective(cut("left", "right"), cut("right", "left"))
    assert is_defective(cut("left"), cut("right"))
    assert is_defective(cut("left", number=2), cut("left"))


@pytest.mark.parametrize(
    ("shape", "near", "far"),
    [
        (Box(60, 40, 50, 20, rotation=30), Box(62, 41, 50, 20, rotation=33), Box(60, 40, 50, 20, rotation=100)),
        (
            Polygon(((20, 20), (90, 20), (90, 90), (20, 90))),
            Polygon(((22, 20), (92, 20), (92, 90), (22, 90))),
            Polygon(((60, 60), (130, 60), (130, 130), (60, 130))),
        ),
        (
            Mask.of(np.pad(np.ones((60, 50), dtype=np.bool_), ((30, 110), (40, 110)))),
            Mask.of(np.pad(np.ones((60, 50), dtype=np.bool_), ((31, 109), (43, 107)))),
            Mask.of(np.pad(np.ones((60, 50), dtype=np.bool_), ((80, 60), (60, 90)))),
        ),
        (Keypoint(77, 88), Keypoint(80, 91), Keypoint(110, 88)),  # 2 % of the diagonal are 11 pixels
    ],
    ids=["rotated boxes", "polygons", "masks", "keypoints"],
)
def test_every_kind_of_region_is_compared(shape: Shape, near: Shape, far: Shape) -> None:
    word = Content(regions=(Region("r", shape, ("cat",)),))
    assert not is_defective(Content(regions=(Region("s", near, ("cat",)),)), word)
    assert is_defective(Content(regions=(Region("s", far, ("cat",)),)), word)
    assert is_defective(Content(regions=(Region("s", Box(1, 1, 2, 2), ("cat",)),)), word)  # another kind of shape


boxes = st.builds(
    lambda x, y, width, height, name: Region("", Box(x, y, width, height), (name,)),
    *(st.integers(0, 40), st.integers(0, 40), st.integers(5, 40), st.integers(5, 40), st.sampled_from("ab")),
)


@given(st.lists(boxes, max_size=6), st.lists(boxes, max_size=6), st.randoms())
def test_f1_is_symmetric_does_not_hang_on_the_order_and_is_1_of_the_same(
    drawn: list[Region], there: list[Region], random: object
) -> None:
    def f1(one: list[Region], other: list[Region]) -> float:
        return defects.f1(one, other, least_iou=0.5, diagonal=100)

    shuffled = sorted(drawn, key=lambda each: random.random())  # type: ignore[attr-defined]
    found = f1(drawn, there)
    assert 0 <= found <= 1
    assert f1(there, drawn) == found
    assert f1(shuffled, there) == found
    assert f1(drawn, shuffled) == 1


def test_a_tolerance_that_means_nothing_is_a_sentence() -> None:
    for tolerance in ({"least_iou": 0.0}, {"least_f1": 1.5}, {"least_iou": float("nan")}):
        with pytest.raises(InvalidInputError, match="above 0 and up to 1"):
            Tolerance(**tolerance)
