"""Bytes to pixels: the formats found in the wild, and what is refused."""

import io
import re
import struct
import threading
import zlib
from pathlib import Path

import elpv_dataset
import imagehash
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps
from sklearn.datasets import load_sample_images

from curation.decode import THUMBNAIL_SIDE, UndecodableError, decode, fingerprint, pixels_digest, read
from store import schema
from tests.curation.mutated_files import originals

CHINA, FLOWER = (Image.fromarray(pixels) for pixels in load_sample_images().images)
PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8))


def encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def bits_apart(first: str, second: str) -> int:
    return (int(first, 16) ^ int(second, 16)).bit_count()


def mean_difference(first: object, second: object) -> float:
    return float(np.abs(np.asarray(first, np.float32) - np.asarray(second, np.float32)).mean())


def swapped_srgb() -> bytes:
    """An sRGB profile in which the tags of red and blue are exchanged and the name is another."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for at in range(132, 132 + 12 * int.from_bytes(profile[128:132], "big"), 12):
        exchanged = {b"rXYZ": b"bXYZ", b"bXYZ": b"rXYZ"}.get(bytes(profile[at : at + 4]))
        if exchanged:
            profile[at : at + 4] = exchanged
    return bytes(profile).replace("sRGB".encode("utf-16-be"), "BGRs".encode("utf-16-be"))


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


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_a_picture_is_turned_once_whatever_its_format(file_format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # what is on top is stored at the left
    picture = Image.new("RGB", (64, 32), "navy")
    picture.paste("red", (0, 0, 32, 16))
    data = encoded(picture, file_format, exif=exif)
    found, size = decode(data).picture, fingerprint(data)
    assert found.size == (size.width, size.height) == (32, 64)
    red, _, blue = found.getpixel((24, 16))
    assert red > 200
    assert blue < 100


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(24, 32), (1000, 701)])
def test_exif_orientation_is_applied(orientation: int, size: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(CHINA.resize(size), "JPEG", exif=exif.tobytes())
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    found = read(data)
    assert (found.fingerprint.width, found.fingerprint.height) == upright.size
    assert bits_apart(found.fingerprint.phash, str(imagehash.phash(upright))) <= 2
    assert np.array_equal(np.asarray(decode(data).picture), np.asarray(upright))
    assert found.thumbnail is not None
    thumbnail = Image.open(io.BytesIO(found.thumbnail))
    assert mean_difference(thumbnail, upright.resize(thumbnail.size, Image.Resampling.BOX)) < 8


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "WEBP", "GIF", "JPEG"])
@pytest.mark.parametrize("size", [(32, 24), (400, 600), (550, 450)])
def test_without_a_reduced_decode_every_bit_is_imagehashs(file_format: str, size: tuple[int, int]) -> None:
    data = encoded(CHINA.resize(size), file_format)
    image = Image.open(io.BytesIO(data)).convert("RGB")
    found = fingerprint(data)
    assert (found.phash, found.dhash) == (str(imagehash.phash(image)), str(imagehash.dhash(image)))


@pytest.mark.parametrize("side", [630, 900, 1024, 1201, 1999, 3333])
@pytest.mark.parametrize("quality", [60, 90])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_of_a_reduced_decode_two_bits_differ_at_most(side: int, quality: int, subsampling: int) -> None:
    for photo in (CHINA, FLOWER):
        resized = photo.resize((side, side * 2 // 3), Image.Resampling.BICUBIC)
        data = encoded(resized, "JPEG", quality=quality, subsampling=subsampling)
        image = Image.open(io.BytesIO(data))
        for found in (fingerprint(data), read(data).fingerprint):
            assert (found.width, found.height) == image.size
            assert bits_apart(found.phash, str(imagehash.phash(image))) <= 2
            assert bits_apart(found.dhash, str(imagehash.dhash(image))) <= 2


def test_flat_solar_cells_stay_within_two_bits() -> None:
    folder = Path(elpv_dataset.__file__).parent / "data" / "images"
    for path in sorted(folder.glob("*.png"))[::200]:
        data = encoded(Image.open(path).resize((1000, 1000), Image.Resampling.BICUBIC), "JPEG", quality=85)
        found, image = fingerprint(data), Image.open(io.BytesIO(data))
        assert bits_apart(found.phash, str(imagehash.phash(image))) <= 2
        assert bits_apart(found.dhash, str(imagehash.dhash(image))) <= 2


def test_a_fingerprint_is_the_columns_of_an_image() -> None:
    row = schema.Image(**vars(fingerprint(encoded(PHOTO, "PNG"))))
    assert (row.width, row.height, row.format, row.pixels_sha256) == (32, 24, "PNG", None)


def test_equal_pixels_in_other_bytes_have_one_pixel_digest() -> None:
    png, bmp = encoded(PHOTO, "PNG"), encoded(PHOTO, "BMP")
    assert fingerprint(png).sha256 != fingerprint(bmp).sha256
    assert pixels_digest(png) == pixels_digest(bmp) != pixels_digest(encoded(PHOTO.rotate(180), "PNG"))


def test_a_thumbnail_is_small_and_only_made_when_asked_for() -> None:
    found = read(encoded(CHINA, "PNG"))
    assert found.thumbnail is not None
    assert Image.open(io.BytesIO(found.thumbnail)).size == (THUMBNAIL_SIDE, 128)
    assert read(encoded(CHINA, "PNG"), thumbnail=False).thumbnail is None
    tiny = read(encoded(PHOTO, "PNG")).thumbnail
    assert tiny is not None
    assert Image.open(io.BytesIO(tiny)).size == PHOTO.size


# --- formats and colours -------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(originals()))
def test_every_format_is_read_without_a_word_on_stderr(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    found = read(originals()[name]).fingerprint
    assert found.format == name.split(maxsplit=1)[0]
    assert {found.width, found.height} in ({80, 60}, {700, 500}, {32, 24})
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("TIFF pages", "the first of 2 pages"),
        ("GIF animated", "the first of 2 frames"),
        ("WEBP animated", "the first of 2 frames"),
        ("AVIF animated", "the first of 2 frames"),
        ("PNG animated", "the first of 2 frames"),
        ("PNG", "its colour profile is broken or of another kind of picture and was ignored"),
        ("TIFF", None),
        ("JPEG progressive", None),
    ],
)
def test_what_was_left_out_is_noted(name: str, note: str | None) -> None:
    assert fingerprint(originals()[name]).note == note


def test_pillow_alone_sees_the_formats_the_same() -> None:
    for name in ("JPEG CMYK", "JPEG progressive", "WEBP", "AVIF", "GIF", "PNG palette"):
        data = originals()[name]
        expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGBA")
        white = Image.alpha_composite(Image.new("RGBA", expected.size, "white"), expected).convert("RGB")
        assert mean_difference(decode(data).picture, white) < 1


@pytest.mark.parametrize(
    ("values", "expected", "note"),
    [
        (np.array([[0.0, 0.5, 1.0]], np.float32), [0, 128, 255], None),
        (
            np.array([[0.0, 100.0, 255.0]], np.float32),
            [0, 100, 255],
            "its values end at 255 and were taken as from 0 to 255",
        ),
        (np.array([[-1.0, 0.0, 1.0]], np.float32), [0, 128, 255], "its values from -1 to 1 were stretched to 0 to 255"),
        (np.array([[np.nan, np.inf, 1.0]], np.float32), [0, 0, 255], None),
        (np.array([[0, 4095]], np.uint16), [0, 255], "its values end at 4095 and were taken as from 0 to 4095"),
        (np.array([[0, 65535]], np.int32), [0, 255], None),
        (np.array([[-500, 70000]], np.int32), [0, 255], "its values from -500 to 70000 were stretched to 0 to 255"),
    ],
)
def test_numbers_become_greys(values: np.ndarray, expected: list[int], note: str | None) -> None:
    found = decode(encoded(Image.fromarray(values), "TIFF"))
    assert np.asarray(found.picture)[0, :, 0].tolist() == expected
    assert found.note == note


def test_a_colour_profile_is_followed() -> None:
    """In a profile with red and blue exchanged, what is stored as red is blue."""
    swapped = swapped_srgb()
    for file_format in ("JPEG", "PNG", "WEBP", "TIFF"):
        data = encoded(Image.new("RGB", (800, 600), (250, 0, 0)), file_format, icc_profile=swapped)
        red, green, blue = decode(data).picture.getpixel((3, 3))
        assert blue > 200
        assert max(red, green) < 50
        thumbnail = read(data).thumbnail
        assert thumbnail is not None
        assert Image.open(io.BytesIO(thumbnail)).getpixel((3, 3))[2] > 200
        assert fingerprint(data).exposure < 0.2  # blue is dark


def test_an_srgb_profile_changes_nothing() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    with_profile = decode(encoded(PHOTO, "PNG", icc_profile=profile)).picture
    assert np.array_equal(np.asarray(with_profile), np.asarray(PHOTO))


def test_a_detail_looks_like_the_whole() -> None:
    data = encoded(CHINA.resize((1300, 867)), "JPEG", quality=95)
    pillow = Image.open(io.BytesIO(data))
    pillow.draft(None, (200, 200))
    part = decode(data, detail=200).picture
    assert part.size == pillow.size == (325, 217)
    assert mean_difference(part, pillow) < 1


# --- damage --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(640, 427), (1280, 854)])
def test_a_jpeg_cut_short_is_used_while_half_of_it_is_there(size: tuple[int, int]) -> None:
    data = encoded(CHINA.resize(size), "JPEG")
    found = fingerprint(data[: len(data) * 3 // 4])
    assert (found.width, found.height) == size
    assert re.fullmatch(r"it is cut short and lacks (1\d|2\d)% of its rows", found.note or "")
    picture = np.asarray(decode(data[: len(data) * 3 // 4]).picture)
    assert mean_difference(decode(data).picture.crop((0, 0, size[0], size[1] // 2)), picture[: size[1] // 2]) < 0.1
    assert (picture[-5:] == 128).all()
    with pytest.raises(UndecodableError, match=r"cut short and lacks [6-9]\d% of its rows"):
        fingerprint(data[: len(data) // 10])


def test_a_jpeg_that_ends_early_lacks_rows_too() -> None:
    data = encoded(CHINA, "JPEG")
    found = fingerprint(data[: len(data) * 3 // 4] + b"\xff\xd9")
    assert re.fullmatch(r"it is cut short and lacks [12]\d% of its rows", found.note or "")


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_grey_jpeg_lacks_nothing(mode: str) -> None:
    assert fingerprint(encoded(Image.new("RGB", (640, 480), (128, 128, 128)).convert(mode), "JPEG")).note is None


def test_a_jpeg_that_announces_more_than_its_bytes_can_hold_is_refused_at_once() -> None:
    data = bytearray(encoded(PHOTO, "JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", 14_000, 14_000)
    with pytest.raises(UndecodableError, match="bytes cannot hold the 196 megapixels that its header announces"):
        read(bytes(data))


def test_a_progressive_jpeg_cut_short_is_whole_but_coarse() -> None:
    data = encoded(CHINA, "JPEG", progressive=True)
    assert fingerprint(data[: len(data) // 2]).note == "it is cut short"


def test_too_many_progressive_scans_are_refused() -> None:
    data = encoded(PHOTO, "JPEG", progressive=True)
    first, last = data.index(b"\xff\xda"), data.rindex(b"\xff\xda")
    assert first < last
    with pytest.raises(UndecodableError, match="progressive scans, more than 100"):
        decode(data[:-2] + data[last:-2] * 200 + data[-2:])


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


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of one pixel, with chunks before its data."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)), *chunks]
    parts += [(b"IDAT", zlib.compress(b"\0\7")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )


def test_text_that_unpacks_to_a_flood_is_a_sentence() -> None:
    assert fingerprint(png((b"zTXt", b"word\0\0" + zlib.compress(b"short")))).width == 1
    flood = zlib.compress(bytes(50_000_000))
    for chunk in ((b"zTXt", b"word\0\0" + flood), (b"iTXt", b"word\0\1\0\0\0" + flood)):
        with pytest.raises(UndecodableError, match="too large"):
            fingerprint(png(chunk))


@pytest.mark.parametrize(
    "name", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "HEIF", "JPEG2000", "PPM", "ICO"]
)
def test_the_limit_holds_in_every_format(name: str) -> None:
    with pytest.raises(UndecodableError, match=r"over the limit of 0\.0005 megapixels"):
        fingerprint(originals()[name], max_pixels=500)


def test_a_limit_may_be_raised() -> None:
    with pytest.raises(UndecodableError, match="over the limit of 200 megapixels"):
        fingerprint(bomb(15_000))
    with pytest.raises(UndecodableError, match="damaged"):
        fingerprint(bomb(15_000), max_pixels=300_000_000)


def test_threads_neither_warn_nor_disturb_each_other() -> None:
    files = [originals()[name] for name in ("TIFF", "PNG animated", "JPEG CMYK", "GIF animated")] * 5
    expected = [read(data) for data in files]
    found: dict[int, object] = {}
    threads = [threading.Thread(target=lambda i=i: found.update({i: read(files[i])})) for i in range(len(files))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[i] for i in range(len(files))] == expected


def test_scans_are_counted_past_what_only_looks_like_an_end() -> None:
    """A comment that holds the marks of a scan and of the end; progressive JPEGs have ten scans in colour."""
    from curation import decode as module

    plain = encoded(PHOTO, "JPEG", progressive=True)
    comment = b"\xff\xfe\x00\x06\xff\xda\xff\xd9"
    assert module._scans(plain) == 10
    assert module._scans(plain[:2] + comment + plain[2:]) == 10
    assert module._scans(encoded(PHOTO, "JPEG")) == 1
