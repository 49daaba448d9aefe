"""Pairs of pictures by how near their vectors are, side by side, so that a person sees where copies end."""

import base64
import html
import io
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from curation import calibration, collection, evidence, proposals
from curation.calibration import Calibration
from curation.collection import Collection
from curation.decode import decode
from curation.duplicates import Match, compare
from curation.originals import Original
from curation.sketchbook import Sketchbook
from store.arrays import Ints
from store.errors import WinnowError
from store.schema import ImageId
from store.workspace import Workspace

if TYPE_CHECKING:
    from PIL.Image import Image

_EDGES = (1.001, 0.99, 0.97, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
_SIDE = 160  # pixels of a picture on the sheet


@dataclass(frozen=True)
class Shown:
    """A pair on the sheet."""

    images: tuple[ImageId, ImageId]
    cosine: float
    match: Match | None  # how the pair was proven to be one picture; none: it was not
    pictures: "tuple[Image, Image]"


@dataclass(frozen=True)
class Band:
    """The pairs whose cosine lies from `low` up to `high`."""

    low: float
    high: float
    pairs: int  # in the whole collection
    shown: list[Shown]  # a few of them, chosen by chance

    @property
    def proven_share(self) -> float | None:
        """Of those shown, the share that are one picture; none where none is shown."""
        return sum(one.match is not None for one in self.shown) / len(self.shown) if self.shown else None


@dataclass(frozen=True)
class Sheet:
    """Bands from the nearest pairs down, and what calibration makes of them."""

    encoder: str
    images: int
    bands: list[Band]
    calibration: Calibration


def make(workspace: Workspace, *, encoder: str | None = None, per_band: int = 8) -> Sheet:
    """Calibrate, and choose up to `per_band` pairs of each band.

    Raises:
        NotFoundError: nothing is embedded.
    """
    images = collection.load(workspace, encoder)
    book = Sketchbook(images.found)
    measured = calibration.calibrate(evidence.gather(workspace, images, book), max_bits=proposals.MAX_BITS)
    near = images.near_pairs(min_cosine=measured.min_cosine)
    edges = [edge for edge in _EDGES if edge > measured.min_cosine] + [measured.min_cosine]
    bands = []
    for high, low in pairwise(edges):
        inside = near.positions[(near.cosines >= low) & (near.cosines < high)]
        cosines = near.cosines[(near.cosines >= low) & (near.cosines < high)]
        chosen = np.sort(np.random.default_rng(0).permutation(len(inside))[:per_band])
        shown = _shown(images, book, inside[chosen], cosines[chosen], measured.max_residual)
        bands.append(Band(low, min(high, 1.0), len(inside), shown))
    return Sheet(images.encoder.name, len(images.found), bands, measured)


def render_html(sheet: Sheet) -> str:
    """The sheet as one file that needs no other."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>Where copies end</title>",
        f"<style>{_STYLE}</style><h1>Where copies end</h1>",
        f"<p>{sheet.images} images by {html.escape(sheet.encoder)}. {html.escape(sheet.calibration.advice)}</p>",
        f"<p>Green pairs were proven to be one picture (residual at most {sheet.calibration.max_residual:.3f}).</p>",
    ]
    for band in sheet.bands:
        parts.append(f"<h2>{html.escape(title(band))}</h2><div class=band>")
        for one in band.shown:
            pairs = zip(one.images, one.pictures, strict=True)
            pictures = "".join(f'<img alt="image {image}" src="{_data(picture)}">' for image, picture in pairs)
            kind = "other" if one.match is None else "same"
            parts.append(
                f"<figure class={kind}>{pictures}<figcaption>{html.escape(caption(one))}</figcaption></figure>"
            )
        parts.append("</div>")
    return "\n".join(parts)


def render_png(sheet: Sheet) -> "Image":
    """The sheet as one picture."""
    from PIL import Image, ImageDraw

    columns = max([len(band.shown) for band in sheet.bands] + [1])
    width, height, heading = 2 * _SIDE + 16, _SIDE + 26, 24
    rows = [band for band in sheet.bands if band.shown]
    picture = Image.new("RGB", (columns * width + 8, len(rows) * (height + heading) + 8), "white")
    drawing = ImageDraw.Draw(picture)
    for row, band in enumerate(rows):
        top = row * (height + heading) + 8
        drawing.text((8, top), title(band), fill="black", font_size=14)
        for column, one in enumerate(band.shown):
            left = column * width + 8
            for offset, side in zip((0, _SIDE), one.pictures, strict=True):
                picture.paste(side, (left + offset, top + heading))
            shade = "#b3261e" if one.match is None else "#1b7f3b"
            drawing.text((left, top + heading + _SIDE + 2), caption(one), fill=shade, font_size=12)
    return picture


def title(band: Band) -> str:
    """What a band holds, in one line."""
    share = "" if band.proven_share is None else f", {band.proven_share:.0%} of those shown are one picture"
    return f"cosine {band.low:.3f} to {band.high:.3f}: {band.pairs} pairs{share}"


def caption(one: Shown) -> str:
    """What is known of a pair, in one line."""
    verdict = "not the same" if one.match is None else f"{one.match.kind} {one.match.distance:.3f}"
    return f"{one.images[0]} / {one.images[1]}  cos {one.cosine:.3f}  {verdict}"


def _shown(images: Collection, book: Sketchbook, pairs: Ints, cosines: Any, max_residual: float) -> list[Shown]:
    shown = []
    for (first, second), cosine in zip(pairs.tolist(), cosines.tolist(), strict=True):
        sketches = book.open((first, second))
        pictures = [_thumbnail(images.found[position]) for position in (first, second)]
        if len(sketches) == 2 and pictures[0] is not None and pictures[1] is not None:
            match = compare(sketches[first], sketches[second], max_residual=max_residual)
            ids = (images.found[first].image_id, images.found[second].image_id)
            shown.append(Shown(ids, cosine, match, (pictures[0], pictures[1])))
    return shown


def _thumbnail(original: Original) -> "Image | None":
    try:
        picture = decode(original.read(), max_pixels=original.max_pixels, detail=_SIDE).picture
    except WinnowError:
        return None
    picture.thumbnail((_SIDE - 4, _SIDE - 4))
    return picture


def _data(picture: "Image") -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


_STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 24px; color: #1c1c1c }
h2 { font-size: 15px; margin: 24px 0 8px }
.band { display: flex; flex-wrap: wrap; gap: 8px }
figure { margin: 0; padding: 6px; border: 2px solid #d9a6a2; border-radius: 4px }
figure.same { border-color: #7fbf94 }
figcaption { font-size: 12px }
img { height: 120px; margin-right: 4px }
"""
