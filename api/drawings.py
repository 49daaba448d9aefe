"""What was drawn in an image, for an SVG in its pixels: see the macro `drawn` of parts.html."""

import base64
import colorsys
import io
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageColor

from labeling.content import Content
from labeling.geometry import Box, Keypoint, Mask, Point, Polygon

_COLOURS = ("#e4572e", "#29a3e0", "#f2c230", "#8a5cf0", "#2fbf71", "#e655a8", "#11b5b5", "#a06a3b")  # seen on photos
_GOLDEN_RATIO = 0.618034  # of a circle: its multiples lie apart, however many there are
_MASK_SIDE = 192  # pixels of the longer side of a mask that is shown
_MASK_OPACITY = 110  # of 255
_DOT = 0.012  # radius of a point, as a share of the longer side of its image


@dataclass(frozen=True)
class Drawing:
    """One answer."""

    name: str  # whose it is, or its number
    colour: str
    outlines: list[str]  # points of polygons
    lines: list[str]  # points of lines that are not closed
    dots: list[Point]
    masks: list[str]  # data: URLs of pictures that cover the image
    says: str  # what they call what they see, and how much of it there is


@dataclass(frozen=True)
class Picture:
    """An image, and what was drawn in it."""

    address: str | None  # of a copy of the image; none where its file is gone
    width: int  # of the image in pixels,
    height: int
    dot: float  # and the radius of a point in it
    drawings: list[Drawing]


def colours(names: Iterable[str]) -> dict[str, str]:
    """A colour of its own for each: whose drawings they are."""
    return {name: _colour(number) for number, name in enumerate(names)}


def picture(
    address: str | None, width: int, height: int, said: Mapping[str, Content], colour_of: Mapping[str, str]
) -> Picture:
    """An image of these sides with the answers to it, by whose they are."""
    drawn = [_drawing(name, content, colour_of[name]) for name, content in said.items()]
    return Picture(address, width, height, _DOT * max(width, height), drawn)


def _colour(number: int) -> str:
    """Beyond those that are easy to tell apart, hues that never come again."""
    if number < len(_COLOURS):
        return _COLOURS[number]
    hue, lightness = _GOLDEN_RATIO * number % 1, 0.45 + 0.1 * (number % 3)
    return "#" + "".join(f"{round(255 * part):02x}" for part in colorsys.hls_to_rgb(hue, lightness, 0.8))


def _drawing(name: str, said: Content, colour: str) -> Drawing:
    drawing = Drawing(name, colour, [], [], [], [], _says(said))
    for region in said.regions:
        match region.shape:
            case Box() as box:
                drawing.outlines.append(_points(box.corners()))
            case Polygon(points, closed=True):
                drawing.outlines.append(_points(points))
            case Polygon(points):
                drawing.lines.append(_points(points))
            case Keypoint(x, y):
                drawing.dots.append((x, y))
            case Mask() as mask:
                drawing.masks.append(_picture(mask, colour))
    return drawing


def _says(said: Content) -> str:
    chosen = said.choice.classes if said.choice else ()
    drawn = Counter(" and ".join(region.classes) or "unnamed" for region in said.regions)
    return ", ".join([*chosen, *(f"{count} {name}" for name, count in drawn.items())]) or "nothing"


def _points(points: tuple[Point, ...]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _picture(mask: Mask, colour: str) -> str:
    """A PNG of the mask in its colour, half transparent."""
    inside = Image.fromarray(np.where(mask.pixels(), np.uint8(_MASK_OPACITY), np.uint8(0)))
    inside.thumbnail((_MASK_SIDE, _MASK_SIDE))
    picture = Image.new("RGB", inside.size, ImageColor.getrgb(colour))
    picture.putalpha(inside)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
