"""The demo's collection: photos of solar cells, with copies and broken files planted among them.

Buerhop-Riedel et al. 2018, Deitsch et al. 2019 (elpv-dataset, CC BY-NC-SA 4.0): 2,624
electroluminescence photos; several experts' grading of each cell became a probability of being
defective. The loop never sees that probability: it plays the annotators and scores the result.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

LICENCE = "elpv-dataset 1.0.0.post1, CC BY-NC-SA 4.0: not for commercial use"
CLASSES = {"functional": "No crack or dark area that matters.", "defective": "A crack, a dark area or a broken finger."}
GUIDELINE = "Say whether this solar cell is defective. Grain of the crystal is not a defect; a crack always is."
_PLANTED = 20  # of each kind
_SEED = 7


@dataclass(frozen=True)
class Collection:
    """Where the files are, and what only the demo knows of them."""

    manifest: Path  # the photos with their cell type
    planted: Path  # a folder of copies and broken files
    probability: dict[str, float]  # that experts call it defective, by uri
    origin: dict[str, str]  # which photo a planted copy shows, by uri
    altered: list[str]  # the planted copies that differ from their origin: recompressed or cropped


def make(folder: Path, *, count: int | None = None) -> Collection:
    """Write the manifest and plant the copies, the same ones every time.

    Args:
        folder: gets `solar-cells.csv` and `planted/`.
        count: use that many photos, spread over all of them.
    """
    import elpv_dataset

    data = Path(elpv_dataset.__file__).parent / "data"
    lines = [line.split() for line in (data / "labels.csv").read_text().splitlines()]
    if count is not None:
        lines = [lines[i] for i in np.linspace(0, len(lines) - 1, count).round().astype(int).tolist()]
    photos = [str(data / path) for path, _, _ in lines]
    probability = {photo: float(graded) for photo, (_, graded, _) in zip(photos, lines, strict=True)}
    planted = folder / "planted"
    planted.mkdir(parents=True, exist_ok=True)
    manifest = folder / "solar-cells.csv"
    with manifest.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["uri", "cell_type"])
        writer.writerows([photo, cell_type] for photo, (_, _, cell_type) in zip(photos, lines, strict=True))
    origin, altered = _plant(planted, photos, min(_PLANTED, len(photos) // 3))
    for copy, photo in origin.items():
        probability[copy] = probability[photo]
    return Collection(manifest, planted, probability, origin, altered)


def _plant(folder: Path, photos: list[str], each: int) -> tuple[dict[str, str], list[str]]:
    from PIL import Image

    generator = np.random.default_rng(_SEED)
    chosen = [photos[i] for i in generator.choice(len(photos), 3 * each, replace=False).tolist()]
    origin, altered = {}, []
    for position, photo in enumerate(chosen):
        name = Path(photo).stem
        with Image.open(photo) as image:
            kind = position // each
            if kind == 0:
                target = folder / f"{name}-copy.png"
                target.write_bytes(Path(photo).read_bytes())
            elif kind == 1:
                target = folder / f"{name}-recompressed.jpg"
                image.convert("L").save(target, quality=int(generator.integers(50, 90)))
            else:
                target = folder / f"{name}-crop.png"
                side = int(image.width * generator.uniform(0.8, 0.95))
                left, top = generator.integers(0, image.width - side, 2).tolist()
                image.crop((left, top, left + side, top + side)).save(target)
        origin[str(target)] = photo
        if kind > 0:
            altered.append(str(target))
    (folder / "broken-empty.png").write_bytes(b"")
    (folder / "broken-truncated.png").write_bytes(Path(chosen[0]).read_bytes()[:4000])
    (folder / "broken-text.jpg").write_text("This was a photo once.")
    return origin, altered
