"""Which duplicates tools find among real photos with planted copies, and what else they call one.

Copies of some photos are planted under names that say nothing. A pair is right when both come from one photo; the
recall of a kind is over its pairs of photo and copy. Photos with equal pixels are left out of the collection first.
Each tool runs as it comes; those that have a threshold are shown a second time, at the one that does best here: what
they could do if somebody knew it. Seconds are of the CPU, for everything from the files on, imports left out.
"""

import io
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from benchmarks import peers, report
from benchmarks.copies import cifar_photos, solar_cells

_SCRIPT = Path(__file__).with_name("peer_duplicates.py")
_MODELS = Path.home() / ".cache" / "winnow" / "benchmark-models"
_SIDE = 128  # pixels that the photos of 32 are enlarged to
_ORIGINAL = "original"

Change: TypeAlias = Callable[[Image.Image, np.random.Generator], Image.Image]


@dataclass(frozen=True)
class Planted:
    """The files of a collection, by name."""

    photo: Mapping[str, int]  # which photo each comes from
    kind: Mapping[str, str]  # what was done to it


def main() -> None:
    """One row a collection and tool."""
    photos, copies = (600, 30) if report.scale() == "small" else (2000, 100)
    rows = []
    for name, pictures in (
        ("CIFAR photos", [one.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC) for one in cifar_photos(photos)]),
        ("solar cells", [one.convert("L") for one in solar_cells(photos)]),
    ):
        if pictures:
            with tempfile.TemporaryDirectory() as scratch:
                planted = plant(distinct(pictures), copies, Path(scratch) / "files")
                rows += [(name, *row) for row in compare(planted, Path(scratch))]
    headings = ("collection", "tool", "limit", "precision", "recall", "F1", *CHANGES, "called", "CPU s")
    ours = ("fiftyone", "fiftyone-brain", "onnxruntime")
    report.tell("dedup-quality", ours, headings, rows, of_peers=("imagededup", "cleanvision", "fastdup"))


def compare(planted: Planted, scratch: Path) -> list[tuple[object, ...]]:
    """A row for each tool: ours first."""
    folder, home = str(scratch / "files"), str(scratch / "home")
    ours = peers.run(_SCRIPT, "winnow", in_python=peers.OURS, folder=folder, home=home, models=str(_MODELS))
    rows = [row("Winnow", "own", planted, ours.result, ours.cpu_seconds)]
    for method in ("PHash", "DHash"):
        found = peers.run(_SCRIPT, "imagededup", folder=folder, method=method)
        rows.append(row(f"imagededup {method}", "≤ 10 bits", planted, found.result, found.cpu_seconds))
        wider = peers.run(_SCRIPT, "imagededup", folder=folder, method=method, limit=18)
        rows.append(best(f"imagededup {method}", planted, wider.result, range(0, 19, 2), wider.cpu_seconds))
    found = peers.run(_SCRIPT, "cleanvision", folder=folder)
    rows.append(row("CleanVision", "none", planted, found.result, found.cpu_seconds))
    found = peers.run(_SCRIPT, "fastdup", folder=folder)
    default = [pair for pair in found.result if pair[2] <= 0.04]
    rows.append(row("fastdup", "≥ .96", planted, default, found.cpu_seconds))
    rows.append(best("fastdup", planted, found.result, np.arange(1, 20) / 100, found.cpu_seconds))
    found = peers.run(_SCRIPT, "fiftyone", in_python=peers.OURS, folder=folder, home=home)
    rows.append(row("FiftyOne Brain, our vectors", "≤ .2", planted, found.result, found.cpu_seconds))
    limits = [0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7]
    found = peers.run(_SCRIPT, "fiftyone", in_python=peers.OURS, folder=folder, home=home, limits=limits)
    rows.append(best("FiftyOne Brain, our vectors", planted, found.result, limits, found.cpu_seconds))
    return rows


def row(tool: str, limit: str, planted: Planted, called: list[Any], cpu_seconds: float) -> tuple[object, ...]:
    """How right `called` is, a list of (name, name, distance)."""
    precision, recalls = score(planted, [(one, other) for one, other, _ in called])
    recall = float(np.mean(list(recalls.values())))
    figures = (f"{figure:.3f}" for figure in (precision, recall, f1(precision, recall), *recalls.values()))
    return (tool, limit, *figures, len(called), round(cpu_seconds, 1))


def best(
    tool: str, planted: Planted, called: list[Any], limits: Iterable[float], cpu_seconds: float
) -> tuple[object, ...]:
    """The row of the limit with the highest F1."""
    within = {limit: [pair for pair in called if pair[2] <= limit] for limit in limits}
    rows = [row(tool, f"best: {limit:g}", planted, pairs, cpu_seconds) for limit, pairs in within.items()]
    return max(rows, key=lambda one: float(str(one[4])))


def score(planted: Planted, called: list[tuple[str, str]]) -> tuple[float, dict[str, float]]:
    """The share of the pairs called that come from one photo, and by kind the share of its copies called so."""
    right = [pair for pair in called if planted.photo[pair[0]] == planted.photo[pair[1]]]
    kinds = [{planted.kind[name] for name in pair} for pair in right]
    of_kind = list(planted.kind.values())
    recalls = {kind: kinds.count({_ORIGINAL, kind}) / of_kind.count(kind) for kind in CHANGES}
    return len(right) / max(len(called), 1), recalls


def f1(precision: float, recall: float) -> float:
    """Their harmonic mean, 0 when both are."""
    return 2 * precision * recall / max(precision + recall, 1e-12)


def distinct(pictures: Iterable[Image.Image]) -> list[Image.Image]:
    """The pictures, of those with equal pixels the first."""
    first: dict[object, Image.Image] = {}
    for one in pictures:
        first.setdefault((one.mode, one.size, one.tobytes()), one)
    return list(first.values())


def plant(pictures: list[Image.Image], copies: int, folder: Path, *, seed: int = 0) -> Planted:
    """Write the pictures as PNG, and of `copies` of them a copy of each kind as JPEG; which ones differs by kind."""
    generator = np.random.default_rng(seed)
    files = [(photo, _ORIGINAL, png(picture)) for photo, picture in enumerate(pictures)]
    for kind, (change, quality) in CHANGES.items():
        for photo in generator.choice(len(pictures), copies, replace=False).tolist():
            files.append((photo, kind, jpeg(change(pictures[photo], generator), quality)))
    folder.mkdir()
    photo_of, kind_of = {}, {}
    for number, (photo, kind, data) in zip(generator.permutation(len(files)).tolist(), files, strict=True):
        name = f"{number:05}.{'png' if kind == _ORIGINAL else 'jpg'}"
        (folder / name).write_bytes(data)
        photo_of[name], kind_of[name] = photo, kind
    return Planted(photo_of, kind_of)


def resized(picture: Image.Image, _: np.random.Generator) -> Image.Image:
    """At half the width and height."""
    return picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.LANCZOS)


def unchanged(picture: Image.Image, _: np.random.Generator) -> Image.Image:
    """As it was."""
    return picture


def brightened(picture: Image.Image, generator: np.random.Generator) -> Image.Image:
    """Darker or brighter by a quarter."""
    return ImageEnhance.Brightness(picture).enhance(float(generator.choice([0.75, 1.25])))


def cropped(picture: Image.Image, generator: np.random.Generator) -> Image.Image:
    """80 % of the width and of the height, anywhere."""
    width, height = round(0.8 * picture.width), round(0.8 * picture.height)
    left = int(generator.integers(0, picture.width - width + 1))
    top = int(generator.integers(0, picture.height - height + 1))
    return picture.crop((left, top, left + width, top + height))


def flipped(picture: Image.Image, _: np.random.Generator) -> Image.Image:
    """Left and right changed over."""
    return ImageOps.mirror(picture)


def overlaid(picture: Image.Image, generator: np.random.Generator) -> Image.Image:
    """A label with writing over 8 to 10 % of the area, anywhere."""
    area = float(generator.uniform(0.08, 0.10))
    width = round(picture.width * 0.45)
    height = round(picture.width * picture.height * area / width)
    left = int(generator.integers(0, picture.width - width + 1))
    top = int(generator.integers(0, picture.height - height + 1))
    result = picture.copy()
    drawing = ImageDraw.Draw(result)
    drawing.rectangle((left, top, left + width - 1, top + height - 1), fill="white")
    drawing.text((left + width // 2, top + height // 2), "SAMPLE", fill="black", font_size=height * 0.6, anchor="mm")
    return result


def framed(picture: Image.Image, generator: np.random.Generator) -> Image.Image:
    """A frame of one colour around it, 5 to 8 % of the width on each side."""
    border = max(1, round(picture.width * float(generator.uniform(0.05, 0.08))))
    return ImageOps.expand(picture, border, fill=str(generator.choice(["black", "grey", "white"])))


CHANGES: Mapping[str, tuple[Change, int]] = {  # and the quality of the JPEG
    "resize": (resized, 90),
    "recompress": (unchanged, 40),
    "brightness": (brightened, 90),
    "crop": (cropped, 90),
    "flip": (flipped, 90),
    "overlay": (overlaid, 90),
    "border": (framed, 90),
}


def png(picture: Image.Image) -> bytes:
    """The file of a picture, exact."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def jpeg(picture: Image.Image, quality: int) -> bytes:
    """The file of a picture, as good as `quality` says."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
