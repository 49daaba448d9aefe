import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from label_studio_sdk.converter.utils import convert_annotation_to_yolo_obb

from labeling.geometry import Box, Mask
from store.errors import InvalidInputError

lengths = st.floats(0, 500, allow_nan=False)


def test_a_box_turns_clockwise_about_its_top_left_corner() -> None:
    corners = Box(10, 20, 4, 2, rotation=90).corners()
    assert np.allclose(corners, [(10, 20), (10, 24), (8, 24), (8, 20)])


@given(lengths, lengths, lengths, lengths, st.floats(-360, 360))
def test_corners_are_where_label_studio_has_them(
    x: float, y: float, width: float, height: float, rotation: float
) -> None:
    percent = {"x": x / 8, "y": y / 6, "width": width / 8, "height": height / 6, "rotation": rotation}
    theirs = convert_annotation_to_yolo_obb(percent | {"original_width": 800, "original_height": 600}, normalize=False)
    assert np.allclose(Box(x, y, width, height, rotation).corners(), theirs, atol=1e-9)


@pytest.mark.parametrize(
    ("pixels", "runs"),
    [
        ([[0, 0, 0], [0, 0, 0]], (6,)),
        ([[1, 1, 1], [1, 1, 1]], (0, 6)),
        ([[0, 0, 1], [1, 0, 1]], (2, 2, 1, 1)),
    ],
)
def test_a_mask_is_runs_in_reading_order_from_outside(pixels: list[list[int]], runs: tuple[int, ...]) -> None:
    mask = Mask.of(np.array(pixels, dtype=bool))
    assert mask == Mask(height=2, width=3, runs=runs)
    assert mask.pixels().tolist() == np.array(pixels, dtype=bool).tolist()


@given(arrays(bool, st.tuples(st.integers(0, 9), st.integers(0, 9))))
def test_every_mask_comes_back(pixels: np.ndarray) -> None:
    mask = Mask.of(pixels)
    assert np.array_equal(mask.pixels(), pixels)
    for first in range(len(pixels) + 1):
        for last in range(first, len(pixels) + 1):
            assert np.array_equal(mask.pixels(first, last), pixels[first:last])


@given(arrays(bool, st.tuples(st.integers(0, 9), st.integers(0, 9))))
def test_the_box_of_a_mask_holds_its_pixels_and_no_empty_edge(pixels: np.ndarray) -> None:
    left, top, right, bottom = Mask.of(pixels).box()
    if not pixels.any():
        assert (left, top, right, bottom) == (0, 0, 0, 0)
        return
    held = pixels[top:bottom, left:right]
    assert held.sum() == pixels.sum()
    assert all(edge.any() for edge in (held[0], held[-1], held[:, 0], held[:, -1]))


def test_a_box_sees_runs_of_no_length() -> None:
    assert Mask(height=2, width=4, runs=(1, 1, 0, 1, 5, 0)).box() == (1, 0, 3, 1)


@pytest.mark.parametrize("runs", [(5,), (7,), (-1, 7), ()])
def test_runs_that_do_not_fill_the_mask_are_refused(runs: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInputError, match="2 × 3 pixels has 6"):
        Mask(height=3, width=2, runs=runs).pixels()
    with pytest.raises(InvalidInputError, match="2 × 3 pixels has 6"):
        Mask(height=3, width=2, runs=runs).box()


@given(st.integers(0, 1000))
def test_what_two_masks_share_is_counted_by_their_runs(seed: int) -> None:
    random = np.random.default_rng(seed)
    height, width = random.integers(1, 9, 2)
    pixels = random.random((2, height, width)) < random.random((2, 1, 1))
    first, second = map(Mask.of, pixels)
    assert first.shared(second) == (pixels[0] & pixels[1]).sum()
    with pytest.raises(InvalidInputError, match="none in common"):
        first.shared(Mask.of(np.ones((height + 1, width), dtype=np.bool_)))
