"""Bytes to pixels: the formats found in the wild, and what is refused."""

import io
import struct
import zlib

import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from curation.decode import UndecodableError, decode, fingerprint

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8))


def encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "1", "CMYK"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    picture = decode(encoded(PHOTO.convert(mode), "TIFF")).picture
    assert (picture.mode, picture.size) == ("RGB", (32, 24))


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    wide = Image.fromarray(np.array([[0, 257 * 100, 65535]], dtype=np.uint16))
    assert np.asarray(decode(encoded(wide, "PNG")).picture)[0, :, 0].tolist() == [0, 100, 255]


def test_transparency_lies_on_white() -> None:
    clear = Image.new("RGBA", (2, 2), (10, 20, 30, 0))
    assert decode(encoded(clear, "PNG")).picture.getpixel((0, 0)) == (255, 255, 255)


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    found = fingerprint(encoded(PHOTO, "JPEG", exif=exif.tobytes()))
    assert (found.width, found.height) == (24, 32)


def test_the_perceptual_hash_is_imagehashs() -> None:
    assert fingerprint(encoded(PHOTO, "PNG")).phash == str(imagehash.phash(PHOTO))


def test_equal_pixels_in_other_bytes_have_one_pixel_digest() -> None:
    png, bmp = fingerprint(encoded(PHOTO, "PNG")), fingerprint(encoded(PHOTO, "BMP"))
    assert png.sha256 != bmp.sha256
    assert png.pixels_sha256 == bmp.pixels_sha256


def bomb(side: int) -> bytes:
    """A PNG that claims `side` × `side` pixels in a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"hello", "not an image"),
        (encoded(PHOTO, "PNG")[:200], "damaged"),
        (encoded(PHOTO, "JPEG")[:300], "damaged"),
        (bomb(20_000), "over the limit of 200 megapixels|more pixels than the limit"),
        (bomb(60_000), "over the limit of 200 megapixels|more pixels than the limit"),
    ],
)
def test_what_is_no_picture_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(UndecodableError, match=reason):
        decode(data)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"]), st.data())
def test_mutated_files_decode_or_say_why(file_format: str, data: st.DataObject) -> None:
    original = bytearray(encoded(PHOTO, file_format))
    for _ in range(data.draw(st.integers(1, 8))):
        original[data.draw(st.integers(0, len(original) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(original[: data.draw(st.integers(0, len(original)))])
    try:
        found: object = fingerprint(cut).width
    except UndecodableError as error:
        found = str(error)
    assert found
