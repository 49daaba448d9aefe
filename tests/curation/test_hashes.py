"""Perceptual hashes beside the library whose bits they are."""

import imagehash
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_images

from curation import hashes

PHOTOS = [Image.fromarray(pixels).convert("L") for pixels in load_sample_images().images]


def differing_bits(first: str, second: str) -> int:
    return (int(first, 16) ^ int(second, 16)).bit_count()


def means(grey: Image.Image, reduction: int) -> np.ndarray:
    """What a reduced JPEG decode gives: the means of blocks; those at the edge continue the picture."""
    pixels = np.asarray(grey)
    height, width = pixels.shape
    padded = np.pad(pixels, ((0, -height % reduction), (0, -width % reduction)), mode="edge")
    blocks = padded.reshape(len(padded) // reduction, reduction, -1, reduction)
    return np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)


@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 50), st.integers(1, 50))))
def test_every_bit_is_imagehashs(pixels: np.ndarray) -> None:
    grey = Image.fromarray(pixels)
    assert hashes.compute(grey) == hashes.Hashes(str(imagehash.phash(grey)), str(imagehash.dhash(grey)))


def test_a_flat_picture_too() -> None:
    flat = Image.new("L", (70, 50), 77)
    assert hashes.compute(flat) == hashes.Hashes(str(imagehash.phash(flat)), str(imagehash.dhash(flat)))


@pytest.mark.parametrize("reduction", [4, 8])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_means_of_blocks_are_enough(reduction: int, orientation: int) -> None:
    for photo in PHOTOS:
        grey = photo.resize((1203, 805), Image.Resampling.BICUBIC)
        exif = Image.Exif()
        exif[0x0112] = orientation
        grey.info["exif"] = exif.tobytes()
        whole = hashes.compute(ImageOps.exif_transpose(grey))
        found = hashes.estimate(means(grey, reduction), size=grey.size, reduction=reduction, orientation=orientation)
        assert found is not None
        assert differing_bits(found.phash, whole.phash) <= 2
        assert differing_bits(found.dhash, whole.dhash) <= 2


def test_where_many_bits_hang_by_a_hair_there_is_no_estimate() -> None:
    almost_flat = np.full((100, 120), 128, np.uint8)
    almost_flat[::2, 1::2] += 1  # the areas lie half way between two greys
    almost_flat[1::2, ::2] += 1
    assert hashes.estimate(almost_flat, size=(960, 800), reduction=8) is None
