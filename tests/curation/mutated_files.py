"""Image files of every format, damaged at random, the same for the same seed; and a run that reads them all.

python -m tests.curation.mutated_files COUNT
"""

import collections
import io
import json
import sys
import zlib
from collections.abc import Iterator

import numpy as np
import pillow_heif
from PIL import Image, ImageCms

from curation.decode import UndecodableError, read

_NUMBERS = (
    b"\0",
    b"\x01",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\0\1\0\0",
)
_MAX_PIXELS = 4_000_000  # keeps the run short where a mutated header claims a large picture


def originals() -> dict[str, bytes]:
    """Small pictures in each format and its variants."""
    generator = np.random.default_rng(0)
    noise = Image.fromarray(generator.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    picture = noise.resize((80, 60), Image.Resampling.BICUBIC)
    large = noise.resize((700, 500), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 30.0), 3: "E", 4: (11.0, 34.0, 0.0)})
    profile = {"icc_profile": _profile()}
    more = {"save_all": True, "append_images": [picture.rotate(180)]}
    clear = picture.convert("RGBA")
    clear.putalpha(picture.convert("L"))
    wide = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    heif = io.BytesIO()
    pillow_heif.from_pillow(picture).save(heif)
    return {
        "JPEG": _encoded(picture, "JPEG", exif=exif, **profile),
        "JPEG large": _encoded(large, "JPEG", exif=exif),
        "JPEG progressive": _encoded(picture, "JPEG", progressive=True),
        "JPEG CMYK": _encoded(picture.convert("CMYK"), "JPEG"),
        "PNG": _encoded(picture, "PNG", exif=exif, **profile),
        "PNG 16 bits": _encoded(wide, "PNG"),
        "PNG palette": _encoded(picture.quantize(16), "PNG", transparency=3),
        "PNG alpha": _encoded(clear, "PNG"),
        "PNG animated": _encoded(picture, "PNG", **more),
        "WEBP": _encoded(picture, "WEBP", exif=exif, **profile),
        "WEBP lossless": _encoded(clear, "WEBP", lossless=True),
        "WEBP animated": _encoded(picture, "WEBP", **more),
        "GIF": _encoded(picture, "GIF"),
        "GIF animated": _encoded(picture, "GIF", **more),
        "TIFF": _encoded(picture, "TIFF", exif=exif),
        "TIFF pages": _encoded(picture, "TIFF", **more),
        "TIFF LZW": _encoded(picture, "TIFF", compression="tiff_lzw"),
        "TIFF JPEG": _encoded(picture, "TIFF", compression="jpeg"),
        "TIFF deflate": _encoded(picture, "TIFF", compression="tiff_adobe_deflate"),
        "TIFF G4": _encoded(picture.convert("1"), "TIFF", compression="group4"),
        "TIFF 16 bits": _encoded(wide, "TIFF"),
        "TIFF float": _encoded(picture.convert("F"), "TIFF"),
        "TIFF CMYK": _encoded(picture.convert("CMYK"), "TIFF"),
        "BMP": _encoded(picture, "BMP"),
        "BMP palette": _encoded(picture.quantize(200), "BMP"),
        "AVIF": _encoded(picture, "AVIF"),
        "AVIF animated": _encoded(picture, "AVIF", **more),
        "HEIF": heif.getvalue(),
        "JPEG2000": _encoded(picture, "JPEG2000"),
        "PPM": _encoded(picture, "PPM"),
        "ICO": _encoded(picture, "ICO", sizes=[(32, 24)]),
    }


def files(count: int, *, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """`count` damaged files, format by format in turn."""
    whole = originals()
    names = sorted(whole)
    for number in range(count):
        generator = np.random.default_rng([seed, number])
        name = names[number % len(names)]
        yield name, _mutated(whole[name], whole[names[generator.integers(len(names))]], generator)


def _mutated(data: bytes, other: bytes, generator: np.random.Generator) -> bytes:
    found = bytearray(data)
    for _ in range(int(generator.choice([1, 1, 2, 4, 16]))):
        reach = len(found) if generator.random() < 0.5 else min(len(found), 256)  # headers decide most
        at, length = int(generator.integers(max(reach, 1))), int(generator.integers(1, 64))
        match generator.integers(8):
            case 0 | 1 | 2:
                found[at : at + 1] = bytes([int(generator.integers(256))])
            case 3:
                number = _NUMBERS[generator.integers(len(_NUMBERS))]
                found[at : at + len(number)] = number
            case 4:
                del found[at : at + length]
            case 5:
                found[at:at] = found[at : at + length]
            case 6:
                found[at : at + length] = other[at : at + length]
            case 7:
                del found[int(generator.integers(len(found) + 1)) :]
    return _with_checksums(found) if found[:4] == b"\x89PNG" and generator.random() < 0.8 else bytes(found)


def _encoded(picture: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, file_format, **options)
    return buffer.getvalue()


def _profile() -> bytes:
    """A profile that does not fit, without the moment of its making."""
    found = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    return found[:24] + bytes(12) + found[36:]


def _with_checksums(data: bytes | bytearray) -> bytes:
    """A PNG whose chunks' checksums are right again, so that what is in them is read at all."""
    found, at = bytearray(data), 8
    while at + 12 <= len(found):
        end = at + 8 + int.from_bytes(found[at : at + 4], "big")
        if end + 4 > len(found):
            break
        found[end : end + 4] = zlib.crc32(found[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(found)


def main() -> None:
    """Read them; the number of each is told before it is read, so that a crash names its file."""
    outcomes: collections.Counter[str] = collections.Counter()
    for number, (_, data) in enumerate(files(int(sys.argv[1]))):
        print(number, flush=True)
        try:
            outcomes["read"] += read(data, max_pixels=_MAX_PIXELS).fingerprint.width > 0
        except UndecodableError as error:
            outcomes["refused"] += len(str(error)) > 10
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main()
