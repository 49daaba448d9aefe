"""When, where and which way up a picture was taken, as its camera wrote it; what makes no sense is left out."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

_ORIENTATION = 0x0112
_CAMERA, _GPS = 0x8769, 0x8825  # tables within the table
_TIMES = ((0x9003, 0x9011), (0x9004, 0x9012))  # taken, else digitised; each with its offset from UTC
_OLDEST_YEAR = 1900  # a camera whose clock was never set says 0000 or 0001
_MOMENT = re.compile(r"(\d{4})[:-](\d\d)[:-](\d\d)[ T](\d\d):(\d\d):(\d\d)")
_OFFSET = re.compile(r"([+-])(\d\d):(\d\d)")


@dataclass(frozen=True)
class Camera:
    """What the camera said of one picture."""

    orientation: int  # 1 upright … 8, as EXIF counts
    captured_at: datetime | None  # in UTC, which is also meant where no zone is given
    latitude: float | None  # degrees north
    longitude: float | None  # degrees east


NOTHING = Camera(orientation=1, captured_at=None, latitude=None, longitude=None)


def read(image: "Image") -> Camera:
    """The EXIF data of an opened image; hostile or damaged data is no data."""
    try:
        tags = image.getexif()
        if not tags:
            return NOTHING
        orientation = tags.get(_ORIENTATION)
        camera, gps = tags.get_ifd(_CAMERA), tags.get_ifd(_GPS)
    except Exception:  # whatever a parser makes of damaged tables
        return NOTHING
    latitude, longitude = _degrees(gps, 1, 2, 90), _degrees(gps, 3, 4, 180)
    known = latitude is not None and longitude is not None
    return Camera(
        orientation=orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1,
        captured_at=_captured_at(camera),
        latitude=latitude if known else None,
        longitude=longitude if known else None,
    )


def _captured_at(camera: Mapping[int, Any]) -> datetime | None:
    for moment_tag, offset_tag in _TIMES:
        found = _MOMENT.match(_text(camera.get(moment_tag)))
        if not found or int(found[1]) < _OLDEST_YEAR:
            continue
        try:
            taken = datetime(*map(int, found.groups()), tzinfo=_zone(_text(camera.get(offset_tag))))  # type: ignore[arg-type, misc]
            return taken.astimezone(UTC)
        except (ValueError, OverflowError):  # the 31st of February; the last day of the year 9999, but in UTC
            continue
    return None


def _zone(offset: str) -> timezone:
    found = _OFFSET.match(offset)
    if not found or int(found[2]) > 14 or int(found[3]) > 59:  # no zone is further from UTC
        return UTC
    ahead = timedelta(hours=int(found[2]), minutes=int(found[3]))
    return timezone(ahead if found[1] == "+" else -ahead)


def _degrees(gps: Mapping[int, Any], reference_tag: int, value_tag: int, most: int) -> float | None:
    """Degrees, minutes and seconds as one number, south and west negative; None outside of `most`."""
    try:
        degrees, minutes, seconds = (float(part) for part in gps[value_tag])
    except (KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    found = degrees + minutes / 60 + seconds / 3600
    if _text(gps.get(reference_tag)).upper() in ("S", "W"):
        found = -found
    return found if math.isfinite(found) and abs(found) <= most else None


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    return value.strip("\0 ") if isinstance(value, str) else ""
