"""What the comparison of two pictures leaves: nothing of a copy, structure of another picture."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from curation import alignment
from curation.calibration import LEAST_RESIDUAL, MOST_RESIDUAL, least_residual


def photo(seed: int, *, side: int = 160) -> Image.Image:
    """A picture with structure at several scales, like a photo and unlike any other seed's."""
    generator = np.random.default_rng(seed)
    total = np.zeros((side, side, 3))
    for cells in (4, 9, 20, 45):
        coarse = Image.fromarray(generator.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        total += np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), dtype=float) / cells**0.4
    total = (total - total.min()) / (total.max() - total.min())
    return Image.fromarray((30 + total * 190).astype(np.uint8))


def painted(image: Image.Image, side: int) -> Image.Image:
    copy = image.copy()
    copy.paste("white", (40, 30, 40 + side, 30 + side))
    return copy


IN_PLACE: dict[str, Callable[[Image.Image], Image.Image]] = {
    "half size": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "in a black frame": lambda image: ImageOps.expand(image, 12, "black"),
    "in a white frame": lambda image: ImageOps.expand(image, 5, "white"),
    "letterboxed": lambda image: ImageOps.expand(image, (0, 20), "black"),
    "a label over a tenth of it": lambda image: painted(image, 50),
}


@pytest.mark.parametrize("change", IN_PLACE)
def test_a_changed_copy_leaves_nothing_in_place(change: str) -> None:
    for seed in range(10):
        first, second = alignment.sketch(photo(seed)), alignment.sketch(IN_PLACE[change](photo(seed)))
        assert alignment.residual_in_place(first, second) < LEAST_RESIDUAL


def test_a_mirrored_copy_leaves_nothing_in_the_mirror() -> None:
    first, second = alignment.sketch(photo(0)), alignment.sketch(ImageOps.mirror(photo(0)))
    assert alignment.residual_in_place(first, second) > LEAST_RESIDUAL
    assert dict(alignment.ways(first, second))["mirrored"] < LEAST_RESIDUAL


def test_a_crop_leaves_nothing_once_it_is_aligned() -> None:
    for seed in range(5):
        whole, part = alignment.sketch(photo(seed)), alignment.sketch(photo(seed).crop((10, 16, 146, 152)))
        assert alignment.residual_in_place(part, whole) > LEAST_RESIDUAL
        assert alignment.residual_aligned(part, whole) < LEAST_RESIDUAL


def test_other_pictures_leave_structure() -> None:
    sketches = [alignment.sketch(photo(seed)) for seed in range(6)]
    for i in range(6):
        for j in range(i):
            assert least_residual(sketches[i], sketches[j]) > 2 * LEAST_RESIDUAL


def test_a_second_photo_of_a_scene_is_no_edit_of_the_first() -> None:
    """Everything is a little different, and a seventh of it very much: something stands there that did not."""
    generator = np.random.default_rng(0)
    noise = generator.normal(scale=4, size=(160, 160, 3))
    blurred = Image.fromarray(np.clip(np.asarray(photo(1)) + noise, 0, 255).astype(np.uint8))
    shifted = Image.fromarray(np.roll(np.asarray(blurred), (1, 1), axis=(0, 1)))
    first, second = alignment.sketch(photo(1)), alignment.sketch(painted(shifted, 60))
    assert alignment.residual_in_place(first, second) > LEAST_RESIDUAL


def test_a_picture_covered_by_half_is_another() -> None:
    first, second = alignment.sketch(photo(2)), alignment.sketch(painted(photo(2), 115))
    assert alignment.residual_in_place(first, second) > LEAST_RESIDUAL


def behind_a_mask(seed: int) -> Image.Image:
    """A picture of which a corner shows, all else black, as at the rim of a lens."""
    seen = Image.new("RGB", (160, 160))
    seen.paste(photo(seed).crop((0, 0, 60, 60)), (100, 100))
    return seen


def test_what_is_flat_in_both_says_nothing() -> None:
    """Nights, skies and the black around a round picture agree with each other and are not one."""
    night = Image.new("RGB", (160, 160), (6, 6, 8))
    for x, y in ((20, 30), (90, 40), (60, 120), (140, 100)):
        night.paste("white", (x, y, x + 3, y + 3))
    ramp = np.linspace(90, 220, 160)[:, None, None] + np.random.default_rng(0).normal(0, 2, (160, 160, 3))
    sky = Image.fromarray(ramp.astype(np.uint8))
    pictures = [
        night,
        sky,
        Image.fromarray(np.asarray(sky).transpose(1, 0, 2)),
        photo(0),
        *map(behind_a_mask, range(4)),
    ]
    sketches = [alignment.sketch(one) for one in pictures]
    for i, first in enumerate(sketches):
        for second in sketches[:i]:
            assert least_residual(first, second) > MOST_RESIDUAL
    for seed in range(4):  # while a copy of what shows there is found
        copy = ImageEnhance.Brightness(behind_a_mask(seed)).enhance(0.8)
        assert least_residual(alignment.sketch(behind_a_mask(seed)), alignment.sketch(copy)) < LEAST_RESIDUAL


def test_flat_pictures_are_never_alike() -> None:
    white, grey = (alignment.sketch(Image.new("RGB", (40, 40), shade)) for shade in ("white", "grey"))
    assert alignment.residual_in_place(white, grey) == float("inf")
    assert alignment.residual_aligned(white, white) == float("inf")


@pytest.mark.parametrize(
    ("grey", "left"),
    [
        ([[0, 0, 0, 0], [0, 9, 90, 0], [0, 40, 70, 0], [0, 0, 0, 0]], [[9, 90], [40, 70]]),
        ([[0, 0, 0], [5, 90, 200], [7, 80, 150], [250, 250, 250]], None),  # sky above, snow below: no frame
        ([[7, 7], [7, 7]], None),  # nothing but frame
    ],
)
def test_a_frame_is_left_out(grey: Any, left: Any) -> None:
    picture = np.array(grey, dtype=np.uint8)
    assert alignment.without_frame(picture).tolist() == (grey if left is None else left)


def test_each_part_of_a_picture_has_its_turn() -> None:
    """Three strong keypoints in one corner, then one in each of two other parts."""
    positions = np.array([[1, 1], [2, 2], [3, 3], [90, 10], [50, 50]], dtype=np.float32)
    assert alignment.spread_order(positions, (100, 100)).tolist() == [0, 3, 4, 1, 2]


def test_imports_stay_light() -> None:
    assert "import cv2" not in Path(alignment.__file__).read_text().split("def ")[0]
