"""Quality signals on pictures made by hand."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageFilter
from sklearn.datasets import load_sample_image

from curation import quality
from curation.decode import fingerprint
from curation.quality import measure

PHOTO = Image.fromarray(load_sample_image("china.jpg")).convert("L")


def of(picture: Image.Image) -> quality.Quality:
    return measure(np.asarray(picture.convert("L")))


def test_a_flat_picture_has_no_sharpness_and_no_entropy() -> None:
    assert measure(np.full((30, 40), 51, np.uint8)) == quality.Quality(sharpness=0.0, exposure=0.2, entropy=0.0)


def test_exposure_goes_from_black_to_white() -> None:
    black, white = np.zeros((9, 9), np.uint8), np.full((9, 9), 255, np.uint8)
    assert (measure(black).exposure, measure(white).exposure) == (0.0, 1.0)
    assert measure(np.concatenate([black, white])).exposure == 0.5


def test_entropy_counts_the_greys_in_use() -> None:
    assert measure(np.array([[0, 255]], np.uint8)).entropy == 1.0  # two greys equally often: one bit
    assert measure(np.arange(4, dtype=np.uint8).reshape(2, 2)).entropy == 2.0
    assert measure(np.arange(256, dtype=np.uint8).reshape(16, 16).repeat(7, 0).repeat(7, 1)).entropy == 8.0


def test_a_step_is_sharp_and_a_ramp_is_not() -> None:
    step = np.repeat(np.array([[0] * 20 + [90] * 20], np.uint8), 20, axis=0)
    assert measure(step).sharpness == pytest.approx(8 / 9)  # of 90 in one place the average of nine leaves 10
    assert measure(step.T).sharpness == pytest.approx(8 / 9)
    ramp = np.repeat(np.arange(0, 120, 3, dtype=np.uint8)[None], 20, axis=0)
    assert measure(ramp).sharpness == 0.0


def test_the_more_blurred_the_less_sharp() -> None:
    found = [of(PHOTO.filter(ImageFilter.GaussianBlur(radius))).sharpness for radius in (0, 4, 8, 16)]
    assert found == sorted(found, reverse=True)
    assert found[0] > 2 * found[-1]


def test_contrast_and_brightness_leave_sharpness_alone() -> None:
    sharp, pale = of(PHOTO).sharpness, of(PHOTO.point(lambda grey: 100 + grey / 4)).sharpness
    assert pale == pytest.approx(sharp, abs=0.03)


@pytest.mark.parametrize("side", [250, 640, 1280, 2560])
def test_size_and_a_reduced_decode_change_little(side: int) -> None:
    resized = PHOTO.resize((side, side * PHOTO.height // PHOTO.width), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    resized.save(buffer, "JPEG", quality=90)
    for found in (of(resized), fingerprint(buffer.getvalue())):
        assert found.sharpness == pytest.approx(of(PHOTO).sharpness, abs=0.05)
        assert found.exposure == pytest.approx(of(PHOTO).exposure, abs=0.005)
        assert found.entropy == pytest.approx(of(PHOTO).entropy, abs=0.1)


@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 30), st.integers(1, 300))))
def test_every_picture_has_signals_in_range(grey: np.ndarray) -> None:
    found = measure(grey)
    assert 0 <= found.sharpness <= 1
    assert 0 <= found.exposure <= 1
    assert 0 <= found.entropy <= 8
    turned = measure(np.ascontiguousarray(np.rot90(grey)))
    assert found.exposure == pytest.approx(turned.exposure, abs=0.005)
