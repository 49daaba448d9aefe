"""What annotators are sent shows the same picture and says nothing else."""

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from curation import bare, decode
from curation.bare import NotBareError

SECRET = "Kilroy was here"
FORMATS = sorted(bare.FORMATS)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


def told(file_format: str, *, orientation: int = 1, **options: Any) -> bytes:
    """A picture whose file tells where it was taken, by whom, and its colours."""
    pixels = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = SECRET
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0), 29: SECRET})
    file = io.BytesIO()
    xmp = f'<x:xmpmeta xmlns:x="adobe:ns:meta/">{SECRET}</x:xmpmeta>'.encode()
    more: dict[str, Any] = {"exif": exif, "xmp": xmp, "icc_profile": PROFILE, **options}
    if file_format == "JPEG":
        more["comment"] = SECRET.encode()
    if file_format == "PNG":
        more["pnginfo"] = PngImagePlugin.PngInfo()
        more["pnginfo"].add_text("Author", SECRET)
        more["pnginfo"].add_itxt("Title", SECRET)
    Image.fromarray(pixels).save(file, file_format, **more)
    return file.getvalue()


def pixels(data: bytes) -> Any:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("file_format", FORMATS)
def test_the_picture_stays_and_the_rest_is_gone(file_format: str) -> None:
    data = told(file_format)
    assert SECRET.encode() in data
    without = bare.without_metadata(data, file_format)
    assert (pixels(without) == pixels(data)).all()
    assert SECRET.encode() not in without
    with Image.open(io.BytesIO(without)) as image:
        assert image.info["icc_profile"] == PROFILE
        assert (dict(image.getexif()), image.info.keys() & {"exif", "xmp", "comment", "Author"}) == ({}, set())


@pytest.mark.parametrize("options", [{"progressive": True}, {"restart_marker_blocks": 1}, {"quality": 100}])
def test_every_kind_of_jpeg_stays_as_it_was_coded(options: dict[str, Any]) -> None:
    data = told("JPEG", **options)
    assert (pixels(bare.without_metadata(data, "JPEG")) == pixels(data)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_that_was_turned_goes_on_being_turned(orientation: int) -> None:
    data = told("JPEG", orientation=orientation)
    without = bare.without_metadata(data, "JPEG", orientation=decode.orientation(data))
    assert SECRET.encode() not in without
    assert decode.orientation(without) == orientation
    upright = decode.decode(data).picture
    assert decode.decode(without).picture.tobytes() == upright.tobytes()


@pytest.mark.parametrize("file_format", ["PNG", "WEBP"])
def test_others_that_were_turned_cannot_say_so(file_format: str) -> None:
    with pytest.raises(NotBareError):
        bare.without_metadata(told(file_format, orientation=6), file_format, orientation=6)


def test_a_thumbnail_of_what_was_cut_off_goes() -> None:
    data = told("JPEG")
    thumbnail = b"JFIF\0\1\2\0\0\1\0\1\1\1" + SECRET[:3].encode()
    at = data.index(b"JFIF\0") - 4
    data = data[:at] + b"\xff\xe0" + (len(thumbnail) + 2).to_bytes(2) + thumbnail + data[at + 18 :]
    without = bare.without_metadata(data, "JPEG")
    assert (pixels(without) == pixels(data)).all()
    assert b"JFIF\0\1\2\0\0\1\0\1\0\0\xff" in without


@pytest.mark.parametrize("kind", [0x02, 0xC8, 0xE1, 0xF0, 0xFD, 0xFE])
def test_segments_that_no_picture_needs_go(kind: int) -> None:
    data = told("JPEG")
    said = SECRET.encode() + bytes([kind])
    with_one = data[:2] + bytes([0xFF, kind]) + (len(said) + 2).to_bytes(2) + said + data[2:]
    assert bare.without_metadata(with_one, "JPEG") == bare.without_metadata(data, "JPEG")


def test_pictures_that_move_are_not_told_bare() -> None:
    file = io.BytesIO()
    frames = [Image.new("RGB", (8, 8), name) for name in ("red", "blue")]
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:])
    with pytest.raises(NotBareError, match="moves"):
        bare.without_metadata(file.getvalue(), "WEBP")


@pytest.mark.parametrize("file_format", FORMATS)
def test_what_follows_the_end_goes(file_format: str) -> None:
    data = told(file_format)
    assert bare.without_metadata(data + told("JPEG"), file_format) == bare.without_metadata(data, file_format)


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_file_that_is_cut_short_is_none(file_format: str) -> None:
    data = bare.without_metadata(told(file_format), file_format)
    for length in range(len(data)):
        with pytest.raises(NotBareError):
            bare.without_metadata(data[:length], file_format)


@pytest.mark.filterwarnings("ignore:::PIL")  # of the damage
@given(st.sampled_from(FORMATS), st.integers(0, 2000), st.binary(min_size=1, max_size=8))
def test_damage_is_refused_or_harmless(file_format: str, at: int, damage: bytes) -> None:
    data = bytearray(told(file_format, quality=20))
    data[at : at + len(damage)] = damage
    try:
        without = bare.without_metadata(bytes(data), file_format)
    except NotBareError:
        return
    assert bare.without_metadata(without, file_format) == without
    try:
        shown = pixels(bytes(data))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # what Pillow raises
        return
    assert (pixels(without) == shown).all()
    assert SECRET.encode() not in without
