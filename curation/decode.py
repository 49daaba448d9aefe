"""One image file's bytes to pixels, upright and in RGB, or the reason why not."""

import hashlib
import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from store.errors import InvalidInputError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 200_000_000


class UndecodableError(InvalidInputError):
    """These bytes cannot become an image; the message is the reason."""


@dataclass(frozen=True)
class Decoded:
    """An upright RGB picture and the format its bytes were in."""

    picture: "Image"
    format: str


@dataclass(frozen=True)
class Fingerprint:
    """What ingest records of one image content."""

    sha256: str
    pixels_sha256: str  # of width, height and the RGB pixels
    phash: str  # 16 hex digits, equal to imagehash.phash
    width: int
    height: int
    format: str
    bytes: int


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS, detail: int | None = None) -> Decoded:
    """Decode an image file: EXIF orientation applied, the first frame of several, 16 bits scaled to 8.

    A JPEG whose shorter side has more than twice `detail` pixels comes at a half, a quarter or an eighth of its
    size, never below `detail`: that saves most of its decoding.

    Raises:
        UndecodableError: empty, not an image, truncated, or over `max_pixels` (checked before decoding).
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not data:
        raise UndecodableError("the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about bombs and odd metadata; we check for ourselves
            image = Image.open(io.BytesIO(data))
            if image.width * image.height > max_pixels:
                raise UndecodableError(
                    f"{image.width} × {image.height} pixels are over the limit of {max_pixels // 1_000_000} megapixels"
                )
            file_format = image.format or "unknown"
            if detail is not None:
                image.draft(None, (detail, detail))
            return Decoded(picture=_to_rgb(ImageOps.exif_transpose(image)), format=file_format)
    except UnidentifiedImageError as error:
        raise UndecodableError("the file is not an image in a known format") from error
    except Image.DecompressionBombError as error:
        raise UndecodableError(f"more pixels than the limit of {max_pixels // 1_000_000} megapixels") from error
    except UndecodableError:
        raise
    except Exception as error:  # a decoder fed with hostile bytes may raise anything
        raise UndecodableError(
            f"the file is damaged: {' '.join(str(error).split()) or type(error).__name__}"
        ) from error


def fingerprint(data: bytes) -> Fingerprint:
    """Everything the catalog wants to know of one file, in one decode.

    Raises:
        UndecodableError: see `decode`.
    """
    import imagehash

    decoded = decode(data)
    picture = decoded.picture
    pixels = hashlib.sha256(f"{picture.width}x{picture.height}:".encode())
    pixels.update(picture.tobytes())
    return Fingerprint(
        sha256=hashlib.sha256(data).hexdigest(),
        pixels_sha256=pixels.hexdigest(),
        phash=str(imagehash.phash(picture)),
        width=picture.width,
        height=picture.height,
        format=decoded.format,
        bytes=len(data),
    )


def _to_rgb(image: "Image") -> "Image":
    from PIL import Image

    if image.mode.startswith("I;16") or image.mode == "I":
        image = image.convert("I").point(lambda value: value / 257).convert("L")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        opaque = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(opaque, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")
