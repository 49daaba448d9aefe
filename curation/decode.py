"""One image file's bytes to pixels, upright and in sRGB, or the reason why not."""

import hashlib
import importlib
import io
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from curation import colour, exif, hashes, quality
from store.errors import InvalidInputError

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

MAX_PIXELS = 200_000_000
THUMBNAIL_SIDE = 192  # pixels

_THUMBNAIL_QUALITY = 85
_FEWEST_REDUCED = 250_000  # pixels; a smaller JPEG takes little time in full
_MOST_MISSING = 0.5  # of the rows of a JPEG that is cut short
_MOST_PIXELS_A_BYTE = 1024  # a block of 64 takes a bit at least, so less than half of the picture would be there
_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])", re.DOTALL)  # of a segment that says how long it is
_MOST_SCANS = 100  # of a progressive JPEG; each costs a pass over all its pixels, encoders write about ten
_FORMATS = tuple(
    (name, re.compile(start, re.DOTALL), module, opener)
    for name, start, module, opener in (
        ("JPEG", rb"\xff\xd8\xff", "PIL.JpegImagePlugin", "JpegImageFile"),
        ("PNG", rb"\x89PNG\r\n\x1a\n", "PIL.PngImagePlugin", "PngImageFile"),
        ("WEBP", rb"RIFF....WEBP", "PIL.WebPImagePlugin", "WebPImageFile"),
        ("GIF", rb"GIF8[79]a", "PIL.GifImagePlugin", "GifImageFile"),
        ("TIFF", rb"II[*+]\0|MM\0[*+]|MM[*]\0|II\0[*]", "PIL.TiffImagePlugin", "TiffImageFile"),
        ("BMP", rb"BM", "PIL.BmpImagePlugin", "BmpImageFile"),
        ("AVIF", rb"....ftyp(avif|avis|(mif1|msf1)....(....)*?avi[fs])", "PIL.AvifImagePlugin", "AvifImageFile"),
        ("HEIF", rb"....ftyp(hei[cxms]|hev[cxms]|mif1|msf1)", "pillow_heif", "HeifImageFile"),
        ("JPEG2000", rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n", "PIL.Jpeg2KImagePlugin", "Jpeg2KImageFile"),
        ("PPM", rb"P[0-6fFyY]\s", "PIL.PpmImagePlugin", "PpmImageFile"),
        ("ICO", rb"\0\0\x01\0", "PIL.IcoImagePlugin", "IcoImageFile"),
    )
)
_HEADER_BYTES = 128  # hold every pattern above
_TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # EXIF's orientations as PIL.Image.Transpose


class UndecodableError(InvalidInputError):
    """These bytes cannot become an image; the message is the reason."""


@dataclass(frozen=True)
class Decoded:
    """An upright sRGB picture, the format its bytes were in, and what was left out."""

    picture: "Image"
    format: str
    note: str | None = None


@dataclass(frozen=True)
class Fingerprint:
    """What the catalog records of one content: the columns of `store.schema.Image` that come from the file."""

    sha256: str
    phash: str  # see curation.hashes
    dhash: str
    width: int  # pixels, upright
    height: int
    format: str
    bytes: int
    sharpness: float  # see curation.quality
    exposure: float
    entropy: float
    captured_at: datetime | None  # see curation.exif
    latitude: float | None
    longitude: float | None
    note: str | None


@dataclass(frozen=True)
class Reading:
    """What one decode gave."""

    fingerprint: Fingerprint
    thumbnail: bytes | None  # a JPEG of at most `THUMBNAIL_SIDE` pixels; None when it was not asked for


@dataclass(frozen=True)
class _Header:
    """A file opened, its size within the limit, nothing decoded yet."""

    data: bytes
    format: str
    image: "ImageFile"
    camera: exif.Camera
    notes: tuple[str, ...]

    def reduction(self, *, shorter: int, longer: int) -> int:
        """The largest of 8, 4, 2 and 1 by which a JPEG may be divided and keep such sides; 1 for all else."""
        small, large = sorted(self.image.size)
        if self.format != "JPEG" or self.image.mode not in ("L", "RGB") or small * large < _FEWEST_REDUCED:
            return 1
        return next((by for by in (8, 4, 2) if small >= shorter * by and large >= longer * by), 1)


@dataclass(frozen=True)
class _Pixels:
    """A picture in sRGB, as the file has it: not turned upright."""

    picture: "Image"
    reduction: int
    notes: tuple[str, ...]


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS, detail: int | None = None) -> Decoded:
    """Decode an image file: upright, the first of several pictures, in sRGB on white, 16 bits scaled to 8.

    A JPEG whose shorter side has more than twice `detail` pixels comes at a half, a quarter or an eighth of its
    size, never below `detail`: that saves most of its decoding. One that is cut short comes with grey in the place of
    its missing rows, which are less than half.

    Raises:
        UndecodableError: empty, not an image, damaged, or over `max_pixels` (checked before decoding).
    """
    with _one_sentence():
        header = _open(data, max_pixels)
        reduction = 1 if detail is None else header.reduction(shorter=detail, longer=detail)
        pixels = _decode(header, reduction, max_pixels)
        return Decoded(_upright(pixels.picture, header.camera), header.format, _line(pixels.notes))


def orientation(data: bytes, *, max_pixels: int = MAX_PIXELS) -> int:
    """How the coded picture is to be turned, 1 (not at all) to 8, as EXIF counts; nothing is decoded.

    Raises:
        UndecodableError: empty, not an image, its header damaged, or over `max_pixels`.
    """
    with _one_sentence():
        return _open(data, max_pixels).camera.orientation


def read(data: bytes, *, max_pixels: int = MAX_PIXELS, thumbnail: bool = True) -> Reading:
    """Everything the catalog wants to know of one file, in one decode; a large JPEG is decoded at a fraction.

    The hashes are those of the picture `decode` gives, bit for bit; of a JPEG decoded at a fraction a bit or two may
    differ. Where more may (one photo in twenty, one in three where pictures are flat) it is decoded again in full.
    Without a thumbnail a smaller fraction will do, and grey.

    Raises:
        UndecodableError: see `decode`.
    """
    with _one_sentence():
        header = _open(data, max_pixels)
        longer = THUMBNAIL_SIDE if thumbnail else quality.LONGER_SIDE
        reduction = header.reduction(shorter=hashes.SHORTER_SIDE, longer=longer)
        pixels = None
        grey = None if thumbnail else _reduced_grey(header, reduction)
        if grey is None:
            pixels = _decode(header, reduction, max_pixels)
            grey, reduction = np.asarray(pixels.picture.convert("L")), pixels.reduction
        found = None
        if reduction > 1:
            way_up = header.camera.orientation
            found = hashes.estimate(grey, size=header.image.size, reduction=reduction, orientation=way_up)
        if found is None:
            whole = pixels if reduction == 1 and pixels else _decode(_open(data, max_pixels), 1, max_pixels)
            found = hashes.compute(_upright(whole.picture.convert("L"), header.camera))
        measured = quality.measure(grey)
        size = pixels.picture.size if pixels and reduction == 1 else header.image.size
        width, height = size if header.camera.orientation < 5 else size[::-1]
        return Reading(
            Fingerprint(
                sha256=hashlib.sha256(data).hexdigest(),
                phash=found.phash,
                dhash=found.dhash,
                width=width,
                height=height,
                format=header.format,
                bytes=len(data),
                sharpness=measured.sharpness,
                exposure=measured.exposure,
                entropy=measured.entropy,
                captured_at=header.camera.captured_at,
                latitude=header.camera.latitude,
                longitude=header.camera.longitude,
                note=_line(pixels.notes if pixels else header.notes),
            ),
            thumbnail=_thumbnail(pixels, header) if thumbnail and pixels else None,
        )


def fingerprint(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Fingerprint:
    """What `read` finds, without a thumbnail.

    Raises:
        UndecodableError: see `decode`.
    """
    return read(data, max_pixels=max_pixels, thumbnail=False).fingerprint


def pixels_digest(data: bytes, *, max_pixels: int = MAX_PIXELS) -> str:
    """The sha256 of a picture's width, height and pixels: equal for equal pictures in different files.

    Raises:
        UndecodableError: see `decode`.
    """
    picture = decode(data, max_pixels=max_pixels).picture
    digest = hashlib.sha256(f"{picture.width}x{picture.height}:".encode())
    digest.update(picture.tobytes())
    return digest.hexdigest()


@contextmanager
def _one_sentence() -> Iterator[None]:
    """Whatever goes wrong inside becomes an `UndecodableError`."""
    from PIL.Image import DecompressionBombError

    try:
        yield
    except UndecodableError:
        raise
    except MemoryError as error:
        raise UndecodableError("decoding takes more memory than there is") from error
    except DecompressionBombError as error:  # some formats' own limit on what their header announces
        raise UndecodableError(f"more pixels than its format's decoder takes: {error}") from error
    except Exception as error:  # a decoder fed with hostile bytes may raise anything
        text = " ".join(str(error).split())
        reason = text if " " in text else f"{type(error).__name__} {text}".strip()
        raise UndecodableError(f"the file is damaged: {reason}") from error


def _open(data: bytes, max_pixels: int) -> _Header:
    """Read the header by the opener for these first bytes: no other format's code sees them."""
    if not data:
        raise UndecodableError("the file is empty")
    _hush()
    head = data[:_HEADER_BYTES]
    found = next(((name, module, opener) for name, start, module, opener in _FORMATS if start.match(head)), None)
    if found is None:
        raise UndecodableError("the file is not an image in a known format")
    name, module, opener = found
    open_file = getattr(importlib.import_module(module), opener)
    image = open_file(io.BytesIO(data), "")
    _check_size(image, max_pixels)
    notes = []
    if name in ("TIFF", "GIF", "WEBP", "AVIF", "HEIF", "PNG") and getattr(image, "is_animated", False):
        count = open_file(io.BytesIO(data), "").n_frames  # of another opener: counting moves this one from its place
        notes.append(f"the first of {count} {'pages' if name == 'TIFF' else 'frames'}")
    camera = exif.read(image)
    if name == "TIFF":
        camera = replace(camera, orientation=1)  # its opener turns what it decodes
    return _Header(data, name, image, camera, tuple(notes))


def _hush() -> None:
    """Keep remarks on odd files off stderr: what matters of them is in our sentences.

    Done at each call, since a test or a notebook may have reset the filters; entering `warnings.catch_warnings`
    instead would let threads undo each other's.
    """
    quiet = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
    if quiet not in warnings.filters:
        warnings.filterwarnings("ignore", module=r"PIL\.")
    _hush_loggers()


@lru_cache(maxsize=1)
def _hush_loggers() -> None:
    """Pillow's logger, and libtiff, which writes to stderr unless it is told to have no handler."""
    import ctypes

    from PIL import Image

    logging.getLogger("PIL").addHandler(logging.NullHandler())
    with suppress(AttributeError, OSError):  # a Pillow whose libtiff cannot be reached keeps its remarks
        ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler(None)  # type: ignore[attr-defined]


def _check_size(image: "Image", max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise UndecodableError(
            f"{image.width} × {image.height} pixels are over the limit of {max_pixels / 1_000_000:g} megapixels"
        )


def _decode(header: _Header, reduction: int, max_pixels: int) -> _Pixels:
    """Decode what was opened, which can be done once."""
    image: Image = header.image
    reduced: Image | None = None
    remarks: list[str] = []
    if header.format == "JPEG":
        _check_jpeg(header)
        reduced = _reduced(header, reduction)
        image, remarks = (reduced, []) if reduced is not None else _whole_jpeg(header)
    else:
        image.load()
        _check_size(image, max_pixels)  # again, since some headers only announce
    image, more = colour.to_srgb(image, header.image.info.get("icc_profile"))
    return _Pixels(image, 1 if reduced is None else reduction, (*header.notes, *remarks, *more))


def _line(notes: tuple[str, ...]) -> str | None:
    return "; ".join(notes) or None


def _upright(picture: "Image", camera: exif.Camera) -> "Image":
    from PIL.Image import Transpose

    turn = _TURNS.get(camera.orientation)
    return picture if turn is None else picture.transpose(Transpose(turn))


def _check_jpeg(header: _Header) -> None:
    """Refuse what would take long and come to nothing, by the header and the length alone."""
    if not header.image.info.get("progressive"):
        pixels = header.image.width * header.image.height
        if len(header.data) * _MOST_PIXELS_A_BYTE < pixels:
            raise UndecodableError(
                f"the file is damaged: {len(header.data)} bytes cannot hold the {pixels / 1_000_000:.0f} megapixels "
                "that its header announces"
            )
        return
    scans = _scans(header.data)
    if scans > _MOST_SCANS:
        raise UndecodableError(f"the file has {scans} progressive scans, more than {_MOST_SCANS}")


def _scans(data: bytes) -> int:
    """How many scans a JPEG has: a walk from marker to marker, since what a segment holds may look like one."""
    scans, position = 0, 2
    while (marker := _MARKER.search(data, position)) is not None and marker[1] != b"\xd9":
        scans += marker[1] == b"\xda"
        position = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2])
    return scans


def _reduced_grey(header: _Header, reduction: int) -> NDArray[np.uint8] | None:
    """The luminance `(H, W)` of a JPEG at a fraction of its size; None where that is not its picture in grey."""
    if reduction == 1 or not colour.is_srgb(header.image.info.get("icc_profile")):
        return None
    _check_jpeg(header)
    pixels = _blocks(header, reduction, "GRAY")
    return None if pixels is None else pixels[:, :, 0]


def _reduced(header: _Header, reduction: int) -> "Image | None":
    """A JPEG at a fraction of its size, None where there is none to be had."""
    from PIL import Image

    is_grey = header.image.mode == "L"
    pixels = _blocks(header, reduction, "GRAY" if is_grey else "RGB") if reduction > 1 else None
    return None if pixels is None else Image.fromarray(pixels[:, :, 0] if is_grey else pixels)


def _blocks(header: _Header, reduction: int, colours: str) -> NDArray[np.uint8] | None:
    """A JPEG `(H, W, C)` at a fraction of its size, sides rounded up; None where its data are damaged in some way."""
    import simplejpeg

    width, height = (-(-side // reduction) for side in header.image.size)
    try:
        pixels = simplejpeg.decode_jpeg(header.data, colours, min_width=width, min_height=height)
    except ValueError:
        return None
    return np.asarray(pixels) if pixels.shape[:2] == (height, width) else None


def _whole_jpeg(header: _Header) -> "tuple[Image, list[str]]":
    """A JPEG in full; the rows it lacks at its end are grey."""
    from PIL.JpegImagePlugin import JpegImageFile

    image = header.image
    try:
        image.load()
        last = np.asarray(image.crop((0, image.height - 1, image.width, image.height)))
        if not _grey_rows(last) or _blocks(header, 8, "GRAY") is not None:
            return image, []
    except OSError:
        image = JpegImageFile(io.BytesIO(header.data + b"\xff\xd9"), "")  # with its end, what is there can be had
        image.load()
    missing = _grey_rows(np.asarray(image)) / image.height
    reason = f"it is cut short and lacks {missing:.0%} of its rows" if missing else "it is cut short"
    if missing > _MOST_MISSING:
        raise UndecodableError(f"the file is damaged: {reason}")
    return image, [reason]


def _grey_rows(pixels: Any) -> int:
    """How many of the last rows are the middle grey that stands for no data."""
    rows = pixels.reshape(len(pixels), -1)
    is_grey = ((rows == rows[-1, 0]) & (rows >= 127) & (rows <= 128)).all(axis=1)
    return int(np.argmin(is_grey[::-1])) if not is_grey.all() else len(rows)


def _thumbnail(pixels: _Pixels, header: _Header) -> bytes:
    from PIL.Image import Resampling

    picture = pixels.picture
    longer = max(picture.size)
    if longer > THUMBNAIL_SIDE:
        width, height = (max(1, round(side * THUMBNAIL_SIDE / longer)) for side in picture.size)
        picture = picture.resize((width, height), Resampling.BICUBIC, reducing_gap=2.0)
    buffer = io.BytesIO()
    _upright(picture, header.camera).save(buffer, "JPEG", quality=_THUMBNAIL_QUALITY)
    return buffer.getvalue()
