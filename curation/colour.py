"""Any picture to sRGB with 8 bits a channel: palettes, transparency, 16 bits, floats, inks, colour profiles."""

from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageCms import ImageCmsTransform

_TRANSPARENT = ("RGBA", "LA", "PA", "RGBa", "La")
_SRGB = (b"sRGB", "sRGB".encode("utf-16-be"))  # in the profile's name, in either of its spellings
_LAB = "LAB"
_INTEGER_TOPS = (255.0, 4095.0, 65535.0)  # white, of 8, 12 and 16 bits
_FLOAT_TOPS = (1.0, 255.0)


def to_srgb(image: "Image", profile: bytes | None) -> tuple["Image", list[str]]:
    """The picture in mode "RGB", and what there is to say of the way.

    Transparency lies on white. Wide integers are scaled, not clipped: 16 bits, or the 12 or 8 that hold all values.
    So are floats up to 1, or up to 255; other numbers are stretched from their smallest to their largest. A colour
    profile is followed unless it is sRGB or broken.
    """
    notes: list[str] = []
    if image.mode.startswith("I") or image.mode == "F":
        image, note = _eight_bits(image)
        notes += note
    if image.mode in _TRANSPARENT or "transparency" in image.info:
        image = _on_white(image)
    if image.mode not in ("L", "RGB", "CMYK", _LAB):
        image = image.convert("RGB")
    if not is_srgb(profile) or image.mode == _LAB:
        image, note = _follow(image, profile)
        notes += note
    return (image if image.mode == "RGB" else image.convert("RGB")), notes  # a copy would take as long as a decode


def is_srgb(profile: bytes | None) -> bool:
    """Whether pixels under this profile, or none, are sRGB as they stand."""
    return not profile or any(name in profile for name in _SRGB)


def _eight_bits(image: "Image") -> tuple["Image", list[str]]:
    """A picture of wide numbers to mode "L"."""
    import numpy as np
    from PIL import Image

    values: Any = np.asarray(image)
    finite = np.isfinite(values)
    low, high = (float(values[finite].min()), float(values[finite].max())) if finite.any() else (0.0, 0.0)
    notes = []
    tops = _FLOAT_TOPS if image.mode == "F" else _INTEGER_TOPS
    top = next((top for top in tops if high <= top), None)
    if low < 0 or top is None:
        notes = [f"its values from {low:g} to {high:g} were stretched to 0 to 255"]
    else:
        if top not in (1.0, 65535.0):
            notes = [f"its values end at {high:g} and were taken as from 0 to {top:g}"]
        low, high = 0.0, top
    with np.errstate(all="ignore"):  # numbers no float32 holds
        factor = np.float32(255 / ((high - low) or 1.0))
        scaled = values.astype(np.float32) * factor - np.float32(low) * factor
        tamed = np.nan_to_num(np.where(finite, scaled, 0.0), nan=0.0).clip(0, 255)
    return Image.fromarray(np.rint(tamed).astype(np.uint8)), notes


def _on_white(image: "Image") -> "Image":
    from PIL import Image

    clear = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")


def _follow(image: "Image", profile: bytes | None) -> tuple["Image", list[str]]:
    """From the profile's colours to sRGB; a profile that is broken or of other channels is ignored."""
    from PIL import ImageCms

    try:
        found = ImageCms.applyTransform(image, _transform(None if image.mode == _LAB else profile, image.mode))
    except (ImageCms.PyCMSError, ValueError, TypeError, OSError):
        if image.mode == _LAB:
            raise
        return image, ["its colour profile is broken or of another kind of picture and was ignored"]
    return (image if found is None else found), []


@lru_cache(maxsize=64)
def _transform(profile: bytes | None, mode: str) -> "ImageCmsTransform":
    """Made once for each profile: a camera puts the same one into every photo."""
    import io

    from PIL import ImageCms

    source: Any = ImageCms.createProfile("LAB") if profile is None else ImageCms.getOpenProfile(io.BytesIO(profile))
    return ImageCms.buildTransform(
        source,
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.NOCACHE,  # the transform's own memory of the last pixel is not made for several threads
    )
