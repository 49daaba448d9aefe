import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from label_studio_sdk.converter import brush as theirs

from labeling import brush
from store.errors import InvalidInputError

opacities = arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.sampled_from([0, 90, 255]))


@given(opacities)
def test_every_mask_comes_back(opacity: np.ndarray) -> None:
    height, width = opacity.shape
    assert np.array_equal(brush.decode(brush.encode(opacity), width=width, height=height), opacity)


@given(opacities)
def test_label_studio_reads_ours_and_we_read_theirs(opacity: np.ndarray) -> None:
    height, width = opacity.shape
    assert np.array_equal(theirs.decode_rle(brush.encode(opacity)), np.repeat(opacity.ravel(), 4))
    assert np.array_equal(brush.decode(theirs.mask2rle(opacity), width=width, height=height), opacity)


def test_ours_is_theirs_for_runs_of_every_length() -> None:
    opacity = np.zeros((300, 400), dtype=np.uint8)
    for length in (1, 2, 3, 4, 5, 16, 63, 64, 65, 20_000, 50_000):
        row = opacity.ravel()
        start = int(np.flatnonzero(row).max(initial=-2)) + 2
        row[start : start + length] = 255
    ours, packed = brush.encode(opacity), theirs.mask2rle(opacity)
    assert ours == packed[: len(ours)]
    assert set(packed[len(ours) :]) <= {0}  # theirs may end with a byte of padding too many


def test_bytes_that_are_not_repeated_are_read() -> None:
    """As the browser packs what changes from byte to byte: one length, then that many bytes."""
    bits = f"{8:032b}" + "00111" + "0010" + "0011" + "0111" + "1111"
    bits += "0" + "01" + f"{7:04b}" + "".join(f"{value:08b}" for value in (1, 2, 3, 200, 5, 6, 7, 255))
    bits += "0" * (-len(bits) % 8)
    packed = list(int(bits, 2).to_bytes(len(bits) // 8, "big"))
    assert brush.decode(packed, width=2, height=1).tolist() == [[200, 255]]


@given(st.lists(st.integers(0, 255), max_size=40), st.integers(0, 3), st.integers(0, 3))
def test_noise_is_read_or_refused(packed: list[int], width: int, height: int) -> None:
    try:
        opacity = brush.decode(packed, width=width, height=height)
    except InvalidInputError:
        return
    assert opacity.shape == (height, width)


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        ([256], "0 to 255"),
        (["a"], "0 to 255"),
        ([], "ends after 0 bits"),
        (brush.encode(np.zeros((2, 2), dtype=np.uint8)), "holds 16 bytes"),
        (brush.encode(np.zeros((2, 3), dtype=np.uint8))[:8], "ends after 64 bits"),
    ],
)
def test_what_is_no_mask_of_the_image_says_so(packed: list[int], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        brush.decode(packed, width=3, height=2)


def test_half_opaque_pixels_belong_to_the_mask() -> None:
    assert brush.pixels(np.array([[0, 127, 128, 255]], dtype=np.uint8)).tolist() == [[False, False, True, True]]
    assert brush.opacity(np.array([[True, False]])).tolist() == [[255, 0]]
