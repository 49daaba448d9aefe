"""How far changed copies lie from their originals, and the most alike different pictures from each other.

The residual of curation.alignment on real photos: solar cells (from a package) and, where
../shared/data is, CIFAR photos. The threshold LEAST_RESIDUAL has to lie between copies and others;
a fixed cosine of the embeddings is shown beside it.
"""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageEnhance

from benchmarks import report
from curation import alignment, encoders
from curation.calibration import LEAST_RESIDUAL
from curation.index import Index
from store.arrays import Floats

_CIFAR = Path(__file__).parents[2] / "shared" / "data" / "cifar10-photos.tar"


def main() -> None:
    """One row a collection and kind of change."""
    cv2.setNumThreads(1)
    count, copies = (300, 40) if report.scale() == "small" else (2624, 200)
    rows = []
    for name, photos in (("solar cells", solar_cells(count)), ("CIFAR photos", cifar_photos(count))):
        if photos:
            rows += measure(name, photos, copies)
    headings = ("collection", "pairs", "n", "median", "p95", "least", "called duplicate", "cosine ≥ .97")
    report.tell("copies", ["opencv-python-headless", "onnxruntime"], headings, rows)


def measure(name: str, photos: list[Image.Image], copies: int) -> list[tuple[object, ...]]:
    """Residuals of copies by kind of change, and of every photo with its nearest other ones."""
    generator = np.random.default_rng(0)
    encoder = encoders.get(encoders.DEFAULT, Path.home() / ".cache" / "winnow" / "benchmark-models")
    vectors = encode(encoder, photos)
    index = Index(np.arange(len(photos)), vectors)
    sketches = [alignment.sketch(photo) for photo in photos]
    chosen = generator.choice(len(photos), min(copies, len(photos)), replace=False).tolist()
    rows = []
    for kind, change in changes(generator).items():
        changed = [change(photos[i]) for i in chosen]
        residuals = [nearest(alignment.sketch(copy), sketches[i]) for copy, i in zip(changed, chosen, strict=True)]
        cosines = (index.directions[chosen] * directions(index, vectors, encode(encoder, changed))).sum(axis=1)
        rows.append(row(name, kind, residuals, cosines))
    positions, cosines = index.search_directions(index.directions, 4)
    pairs = [(i, int(j)) for i in chosen for j in positions[i] if j != i]
    others = [nearest(sketches[i], sketches[j]) for i, j in pairs]
    near = np.array([float(index.directions[i] @ index.directions[j]) for i, j in pairs])
    rows.append(row(name, "nearest others", others, near))
    return rows


def row(name: str, kind: str, residuals: list[float], cosines: Floats) -> tuple[object, ...]:
    """The spread of one kind; infinite residuals, where nothing aligned, count as 9."""
    found = np.minimum(residuals, 9.0)
    called = f"{(found <= LEAST_RESIDUAL).mean():.3f}"
    spread = (float(np.median(found)), float(np.percentile(found, 95)), float(found.min()))
    return (name, kind, len(found), *spread, called, f"{(cosines >= 0.97).mean():.3f}")


def nearest(first: alignment.Sketch, second: alignment.Sketch) -> float:
    """The smallest residual, in place and aligned both ways round."""
    return min(
        alignment.residual_in_place(first, second),
        alignment.residual_aligned(first, second),
        alignment.residual_aligned(second, first),
    )


def changes(generator: np.random.Generator) -> dict[str, Callable[[Image.Image], Image.Image]]:
    """What is done to copies."""

    def crop(share: float) -> Callable[[Image.Image], Image.Image]:
        def cut(image: Image.Image) -> Image.Image:
            width, height = int(image.width * share), int(image.height * share)
            left = int(generator.integers(0, image.width - width + 1))
            top = int(generator.integers(0, image.height - height + 1))
            return image.crop((left, top, left + width, top + height))

        return cut

    def jpeg(quality: int) -> Callable[[Image.Image], Image.Image]:
        def save(image: Image.Image) -> Image.Image:
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=quality)
            return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")

        return save

    return {
        "JPEG 70": jpeg(70),
        "JPEG 30": jpeg(30),
        "half size": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS),
        "brighter 20 %": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
        "crop 90 %": crop(0.9),
        "crop 80 %": crop(0.8),
    }


def encode(encoder: encoders.ImageEncoder, pictures: list[Image.Image]) -> Floats:
    """Embeddings `(N, D)` of pictures."""
    inputs = [encoder.prepare(picture) for picture in pictures]
    return np.concatenate([encoder.encode(np.stack(inputs[i : i + 32])) for i in range(0, len(inputs), 32)])


def directions(index: Index, vectors: Floats, queries: Floats) -> Floats:
    """Queries centred and normalised as the index does it."""
    centred = queries - vectors.mean(axis=0)
    return np.asarray(centred / np.linalg.norm(centred, axis=1, keepdims=True))


def solar_cells(count: int) -> list[Image.Image]:
    """The first `count` photos: neighbours in the file order are cut from one brick, the hardest case."""
    import elpv_dataset

    folder = Path(elpv_dataset.__file__).parent / "data" / "images"
    return [Image.open(path).convert("RGB") for path in sorted(folder.glob("*.png"))[-count:]]


def cifar_photos(count: int) -> list[Image.Image]:
    """`count` photos enlarged to 96 pixels; none where the shared data is absent."""
    if not _CIFAR.exists():
        return []
    photos = []
    with tarfile.open(_CIFAR) as archive:
        for member in sorted(archive.getmembers(), key=lambda one: one.name[::-1]):
            file = archive.extractfile(member) if member.name.endswith(".jpg") else None
            if file is not None and len(photos) < count:
                picture = Image.open(io.BytesIO(file.read())).convert("RGB")
                photos.append(picture.resize((96, 96), Image.Resampling.BICUBIC))
    return photos


if __name__ == "__main__":
    main()
