"""Boxes, rotated boxes, keypoints and areas: how alike, and one from several."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation import iou
from labeling.geometry import Box, Mask, Polygon
from qa.consensus.areas import Areas
from qa.consensus.places import Boxes, Keypoints, RotatedBoxes
from store.arrays import Bools, Floats

ALL = np.arange(2)
ONE_THING = {"things": 1, "annotators": 3}


def mask(rows: slice, columns: slice, *, size: tuple[int, int] = (60, 80)) -> Mask:
    pixels: Bools = np.zeros(size, dtype=np.bool_)
    pixels[rows, columns] = True
    return Mask.of(pixels)


def square(x: float, y: float, side: float) -> Polygon:
    return Polygon(((x, y), (x + side, y), (x + side, y + side), (x, y + side)))


def area(polygon: Polygon) -> float:
    x, y = np.array(polygon.points).T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def test_boxes_are_fused_side_by_side_and_one_bad_side_is_passed_over() -> None:
    boxes = Boxes(np.array([[10, 10, 110, 60], [12, 10, 112, 62], [11, 11, 160, 61.0]]))
    fused, spread = boxes.fused(np.zeros(3, np.int64), np.arange(3), **ONE_THING)
    assert fused.sides[0] == pytest.approx([11, 10.3, 113, 61], abs=2.5)
    assert spread[2] > spread[:2].max()


@given(st.floats(-360, 360), st.floats(5, 40), st.floats(5, 40))
def test_a_rotated_box_is_alike_to_itself_however_it_is_read(degrees: float, width: float, height: float) -> None:
    read = np.array([[50, 40, width, height, degrees], [50, 40, height, width, degrees + 90]])
    assert RotatedBoxes(read).likeness(ALL, ALL) == pytest.approx(np.ones((2, 2)), abs=1e-4)
    fused, _ = RotatedBoxes(read).fused(np.zeros(2, np.int64), ALL, **ONE_THING)
    both = RotatedBoxes(np.concatenate([fused.turned, read[:1]]))
    assert both.likeness(ALL, ALL)[0, 1] == pytest.approx(1, abs=1e-3)


def test_unturned_they_overlap_as_boxes_do_and_a_turned_square_by_hand() -> None:
    generator = np.random.default_rng(0)
    corner = generator.random((12, 2)) * 20
    sides = np.concatenate([corner, corner + 5 + generator.random((12, 2)) * 20], axis=1)
    turned = np.column_stack([(sides[:, :2] + sides[:, 2:]) / 2, sides[:, 2:] - sides[:, :2], np.zeros(12)])
    rows = np.arange(12)
    assert RotatedBoxes(turned).likeness(rows, rows) == pytest.approx(iou.of_boxes(sides, sides), abs=1e-5)
    squares = RotatedBoxes(np.array([[0, 0, 2, 2, 0], [0, 0, 2, 2, 45.0]]))
    octagon = 8 * (2**0.5 - 1)  # of the width 2
    assert squares.likeness(ALL, ALL)[0, 1] == pytest.approx(octagon / (8 - octagon), abs=1e-4)


def clipped(first: Floats, second: Floats) -> float:
    """The area that two convex shapes share, cutting one along each side of the other in turn (Sutherland, Hodgman)."""
    kept = list(first)
    for start, end in zip(second, np.roll(second, -1, axis=0), strict=True):
        side, rest, kept = end - start, kept, []
        for before, point in zip([*rest[-1:], *rest[:-1]], rest, strict=True):
            was, now = (side[0] * (each - start)[1] - side[1] * (each - start)[0] for each in (before, point))
            if (was < 0) != (now < 0):
                kept.append(before + was / (was - now) * (point - before))
            if now >= 0:
                kept.append(point)
    x, y = np.array(kept).reshape(-1, 2).T
    return float(abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum())) / 2


@pytest.mark.parametrize("change", ["wider", "moved along", "whole pixels", "turned", "anything"])
def test_rotated_boxes_overlap_as_far_as_clipping_says(change: str) -> None:
    """With sides in common, as where somebody drags one side, OpenCV's areas were wrong by up to all of it."""
    random = np.random.default_rng(0)
    boxes = np.stack([*random.uniform(0, 500, (2, 300)), *random.uniform(5, 300, (2, 300))], axis=1)
    boxes = np.column_stack([boxes, random.uniform(0, 360, 300)])
    if change == "whole pixels":
        boxes = np.round(boxes)
    others = boxes.copy()
    if change in ("wider", "whole pixels"):
        others[:, 2] += random.integers(1, 4, 300)
    elif change == "moved along":
        others[:, :2] += 5 * np.stack([np.cos(np.radians(boxes[:, 4])), np.sin(np.radians(boxes[:, 4]))], axis=1)
    elif change == "turned":
        others[:, 4] += 90
    else:
        others += random.normal(scale=20, size=others.shape)
        others[:, 2:4] = np.abs(others[:, 2:4])
    found = RotatedBoxes(np.concatenate([boxes, others])).likeness(np.arange(300), np.arange(300, 600)).diagonal()
    for row in range(300):
        corners = [
            np.array(Box(*_corner(each), *each[2:4].tolist(), rotation=float(each[4])).corners())
            for each in (boxes[row], others[row])
        ]
        shared = clipped(*corners)
        either = boxes[row, 2:4].prod() + others[row, 2:4].prod() - shared
        assert found[row] == pytest.approx(shared / either, abs=1e-9)


def _corner(turned: Floats) -> tuple[float, float]:
    """The top-left corner of a box by its centre."""
    turn = np.radians(turned[4])
    across, down = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    x, y = turned[:2] - across * turned[2] / 2 - down * turned[3] / 2
    return float(x), float(y)


def test_angles_are_fused_around_the_circle() -> None:
    turned = np.array([[50, 50, 40, 10, 359.0], [50, 50, 40, 10, 1.0], [50, 50, 40, 10, 3.0]])
    fused, _ = RotatedBoxes(turned).fused(np.zeros(3, np.int64), np.arange(3), **ONE_THING)
    x, y, width, height, degrees = fused.turned[0]
    assert (x, y, width, height) == pytest.approx((50, 50, 40, 10))
    assert degrees == pytest.approx(1, abs=0.3)


def test_which_side_is_the_front_is_what_most_say() -> None:
    turned = np.array([[50, 50, 40, 10, 180.0], [50, 50, 40, 10, 182.0], [50, 50, 10, 40, 91.0]])
    fused, _ = RotatedBoxes(turned).fused(np.zeros(3, np.int64), np.arange(3), **ONE_THING)
    assert fused.turned[0, 2:] == pytest.approx([40, 10, 181], abs=0.5)


def test_keypoints_are_alike_by_distance_and_meet_near_most() -> None:
    points = Keypoints(np.array([[0, 0], [3, 4], [30, 0.0]]), np.full(3, 10.0))
    rows = np.arange(3)
    assert points.likeness(rows, rows)[0].tolist() == [1, 0.75, 0]
    many = np.array([[10, 10], [11, 10], [10, 11], [80, 80.0]])
    fused, _ = Keypoints(many, np.full(4, 10.0)).fused(np.zeros(4, np.int64), np.arange(4), things=1, annotators=4)
    assert fused.points[0] == pytest.approx([10.3, 10.3], abs=1.5)


def test_areas_overlap_as_boxes_do() -> None:
    boxes = np.array([[10, 10, 30, 30], [20, 10, 40, 30.0]])
    expected = iou.of_boxes(boxes, boxes)
    polygons = Areas([square(10, 10, 20), square(20, 10, 20)])
    assert polygons.likeness(ALL, ALL) == pytest.approx(expected, abs=0.01)
    masks = Areas([mask(slice(10, 30), slice(10, 30)), mask(slice(10, 30), slice(20, 40))])
    assert masks.likeness(ALL, ALL) == pytest.approx(expected)
    mixed = Areas([square(10, 10, 20), mask(slice(10, 30), slice(20, 40))])
    assert mixed.likeness(ALL, ALL) == pytest.approx(expected, abs=0.01)


def test_a_polygon_with_a_notch_by_hand() -> None:
    """An L of three quarters of a square."""
    shape = Polygon(((0, 0), (20, 0), (20, 10), (10, 10), (10, 20), (0, 20)))
    assert Areas([shape, square(0, 0, 20)]).likeness(ALL, ALL)[0, 1] == pytest.approx(0.75, abs=0.01)


def test_masks_are_voted_on_pixel_by_pixel() -> None:
    masks = Areas([mask(slice(10, 30), slice(x, x + 20)) for x in (10, 12, 14)])
    fused, _ = masks.fused(np.zeros(3, np.int64), np.arange(3), **ONE_THING)
    assert fused.shapes == [mask(slice(10, 30), slice(12, 32))]


def test_two_masks_meet_midway_and_one_comes_back_as_it_was() -> None:
    masks = Areas(
        [mask(slice(10, 50), slice(10, 50)), mask(slice(10, 50), slice(20, 60)), mask(slice(0, 60), slice(0, 9))]
    )
    fused, _ = masks.fused(np.array([0, 0, 1]), np.arange(3), things=2, annotators=3)
    assert fused.shapes[1] == masks.shapes[2]
    together = Areas([fused.shapes[0], mask(slice(10, 50), slice(15, 55))])
    assert together.likeness(ALL, ALL)[0, 1] > 0.9


def test_large_masks_are_compared_pixel_by_pixel() -> None:
    masks = Areas([mask(slice(100, 1100), slice(x, x + 1000), size=(1200, 1600)) for x in (100, 120, 140)])
    assert masks.likeness(ALL, ALL)[0, 1] == pytest.approx(980 / 1020)
    fused, _ = masks.fused(np.zeros(3, np.int64), np.arange(3), **ONE_THING)
    assert fused.shapes == [masks.shapes[1]]


def crack(length: float, width: float, degrees: float, *, off: float = 0.0) -> Polygon:
    """A strip, moved to its side by `off`."""
    turn = np.radians(degrees)
    along, aside = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    corners = [(0, off), (length, off), (length, off + width), (0, off + width)]
    places = [(50, 80) + x * along + y * aside for x, y in corners]
    return Polygon(tuple((float(x), float(y)) for x, y in places))


@pytest.mark.parametrize("degrees", [0, 5, 30, 45])
@pytest.mark.parametrize(("length", "width", "off"), [(1000, 1.5, 0.1), (1000, 3, 1), (4000, 10, 2)])
def test_thin_polygons_are_compared_and_fused_like_others(
    length: float, width: float, off: float, degrees: float
) -> None:
    """They were compared as 0 or 1, and what came out had two points, or .02 of the area."""
    cracks = Areas([crack(length, width, degrees, off=off * number) for number in range(3)])
    assert cracks.likeness(ALL, ALL)[0, 1] == pytest.approx((width - off) / (width + off), abs=0.05)
    fused, _ = cracks.fused(np.zeros(3, np.int64), np.arange(3), **ONE_THING)
    [shape] = fused.shapes
    assert isinstance(shape, Polygon)
    assert area(shape) == pytest.approx(length * width, rel=0.02)
    assert Areas([shape, cracks.shapes[1]]).likeness(ALL, ALL)[0, 1] > 0.93


@pytest.mark.parametrize("degrees", [0, 2, 30, 45, 90])
@pytest.mark.parametrize(("width", "off"), [(1.5, 0.1), (3, 1), (4, 3), (40, 7)])
def test_strips_overlap_exactly_as_far_as_their_widths_say(width: float, off: float, degrees: float) -> None:
    strips = Areas([crack(1000, width, degrees), crack(1000, width, degrees, off=off)])
    assert strips.likeness(ALL, ALL)[0, 1] == pytest.approx((width - off) / (width + off), abs=1e-3)


@pytest.mark.parametrize("width", [1.5, 3, 6])
def test_bent_strips_overlap_as_counted_by_hand(width: float) -> None:
    """On cells .600 came out where .666 is true."""

    def bent(off: float) -> Polygon:
        inner, outer = 1000.0, 1000 + width
        corners = [(0, 0), (outer, 0), (outer, outer), (inner, outer), (inner, width), (0, width)]
        return Polygon(tuple((50 + x + off, 50 + y + off) for x, y in corners))

    off = width / 5
    covered = 2 * 1000 * width + width**2
    # of each arm all but `off` of its width and length, less what is of both, and where one's arms cross the other's
    shared = 2 * (1000 + width - off) * (width - off) - (width - off) ** 2 + off**2
    found = Areas([bent(0.0), bent(off)]).likeness(ALL, ALL)[0, 1]
    assert found == pytest.approx(shared / (2 * covered - shared), abs=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_polygons_overlap_as_rotated_boxes_do(seed: int) -> None:
    random = np.random.default_rng(seed)
    turned = np.column_stack(
        [random.uniform(0, 60, (12, 2)), random.uniform(2, 80, (12, 2)), random.uniform(0, 360, 12)]
    )
    corners = [Box(*_corner(each), *each[2:4].tolist(), rotation=float(each[4])).corners() for each in turned]
    rows = np.arange(12)
    found = Areas([Polygon(each) for each in corners]).likeness(rows, rows)
    assert found == pytest.approx(RotatedBoxes(turned).likeness(rows, rows), abs=2e-3)


def test_what_an_outline_goes_around_twice_is_outside() -> None:
    """A bow tie is half of the square around it, and a square drawn twice over is nothing."""
    bow = Polygon(((0, 0), (20, 20), (20, 0), (0, 20)))
    twice = Polygon(square(0, 0, 20).points * 2)
    rows = np.arange(3)
    found = Areas([square(0, 0, 20), bow, twice]).likeness(rows, rows)
    assert found[0].tolist() == pytest.approx([1, 0.5, 0])


def thin_masks() -> list[Mask]:
    """A slanting line three pixels wide, and a ring of twelve."""
    down, across = np.mgrid[:500, :1000]
    line = (np.abs(down - 50 - 0.3 * across) < 1.5) & (across > 20) & (across < 980)
    away = np.hypot(down - 250, across - 300)
    return [Mask.of(line), Mask.of((away > 188) & (away < 200))]


@pytest.mark.parametrize("shape", [*thin_masks(), crack(180, 0.9, 2), crack(2000, 12, 2), square(10, 10, 20)])
def test_what_one_drew_or_all_alike_comes_back_as_it_was(shape: Polygon | Mask) -> None:
    """Of a line three pixels wide that three people drew alike .48 came back."""
    for people in (1, 3):
        fused, _ = Areas([shape] * people).fused(
            np.zeros(people, np.int64), np.arange(people), things=1, annotators=people
        )
        assert fused.shapes == [shape]


@pytest.mark.parametrize("shape", thin_masks())
def test_thin_masks_are_voted_on_pixel_by_pixel(shape: Mask) -> None:
    pixels = shape.pixels()
    moved = [np.roll(pixels, by, axis=0) for by in (-1, 0, 1)]
    masks = Areas([Mask.of(each) for each in moved])
    shared, either = (moved[0] & moved[1]).sum(), (moved[0] | moved[1]).sum()
    assert masks.likeness(ALL, ALL)[0, 1] == pytest.approx(shared / either)
    fused, _ = masks.fused(np.zeros(3, np.int64), np.arange(3), **ONE_THING)
    assert Areas([fused.shapes[0], masks.shapes[1]]).likeness(ALL, ALL)[0, 1] > 0.95


def test_where_the_outline_would_be_worse_than_what_somebody_drew_that_is_taken() -> None:
    """Of a crack too fine for any grid nothing was left."""
    cracks = Areas([crack(60_000, 0.05, 30, off=off) for off in (0, 0.001, 0.002)])
    fused, _ = cracks.fused(np.zeros(3, np.int64), np.arange(3), **ONE_THING)
    assert fused.shapes[0] in cracks.shapes


def test_polygons_come_back_as_polygons() -> None:
    polygons = Areas([square(100, 100, 50), square(102, 100, 50), square(104, 100, 50)])
    fused, spread = polygons.fused(np.zeros(3, np.int64), np.arange(3), **ONE_THING)
    [shape] = fused.shapes
    assert isinstance(shape, Polygon)
    assert len(shape.points) < 12
    assert area(shape) == pytest.approx(2500, rel=0.02)
    assert Areas([shape, polygons.shapes[1]]).likeness(ALL, ALL)[0, 1] > 0.97
    assert spread[1] < spread[0]


def test_who_draws_badly_is_outvoted_by_one_who_draws_well() -> None:
    """In twenty things the third is far off, so in another, which only two drew, the first counts more."""
    generator = np.random.default_rng(0)
    shapes, thing, annotator = [], [], []
    for each in range(20):
        for who, error in enumerate((1.0, 1.0, 15.0)):
            if each == 19 and who == 1:
                continue
            x, y = 100 + generator.normal(size=2) * error
            shapes.append(square(float(x), float(y), 60))
            thing.append(each)
            annotator.append(who)
    fused, spread = Areas(shapes).fused(np.array(thing), np.array(annotator), things=20, annotators=3)
    assert spread[2] > 2 * spread[0]
    last = Areas([fused.shapes[19], shapes[-2]])
    assert last.likeness(ALL, ALL)[0, 1] > 0.95


def test_nothing_drawn_inside_is_no_crash() -> None:
    empty = Areas([mask(slice(0, 0), slice(0, 0)), Polygon(()), Polygon(((5, 5), (9, 9)))])
    rows = np.arange(3)
    assert empty.likeness(rows, rows).tolist() == np.zeros((3, 3)).tolist()
    fused, _ = empty.fused(rows, rows, things=3, annotators=3)
    assert len(fused.shapes) == 3


@given(st.integers(0, 1000))
def test_polygons_are_painted_as_a_point_in_polygon_test_says(seed: int) -> None:
    from matplotlib.path import Path

    from qa.consensus.areas import _Grid

    generator = np.random.default_rng(seed)
    angle = np.sort(generator.random(8)) * 2 * np.pi
    radius = 5 + generator.random(8) * 20
    points: Floats = np.stack([30 + radius * np.cos(angle), 30 + radius * np.sin(angle)], axis=1)
    grid = _Grid(0.0, 0.0, 2.0, 30, 30)
    [cells] = grid.paint([Polygon(tuple(map(tuple, points.tolist())))])
    middles = np.stack(np.meshgrid(np.arange(30) * 2 + 1.0, np.arange(30) * 2 + 1.0), axis=-1).reshape(-1, 2)
    assert cells.ravel().tolist() == Path(points).contains_points(middles).tolist()
