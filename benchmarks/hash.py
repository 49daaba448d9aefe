"""JPEGs of one megapixel to hashes and quality signals: images per CPU-second, ours beside imagehash and others.

The pictures are mosaics of sixteen pieces of scikit-learn's two photos, each piece at its own scale about the photo's
own, so that a pixel holds as much detail as a camera's; enlarged photos would flatter every decoder. They are saved
with 4:2:0 chroma at three qualities, a table row each, since the share of the work that nobody can leave out
(Huffman decoding) grows with the size of the file. imagehash runs in our environment, with our Pillow; the others in
that of the peers. One thread each; CPU-seconds of the process and its children, after its imports and first file.
"""

import statistics
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from benchmarks import peers, report

_SCRIPT = Path(__file__).with_name("peer_hash.py")
_QUALITIES = (75, 85, 95)
_SIZE = (1156, 868)  # 4 × 4 pieces
_OURS = "fingerprint"
_WAYS = {
    _OURS: peers.OURS,
    "fingerprint_and_thumbnail": peers.OURS,
    "phash": peers.OURS,
    "cleanvision": None,
    "imagededup": None,
    "fastdup": None,
}
_CALLED = {
    _OURS: "ours: hashes, quality",
    "fingerprint_and_thumbnail": "ours: hashes, quality, thumbnail",
    "phash": "imagehash.phash alone",
    "cleanvision": "CleanVision, all issues",
    "imagededup": "imagededup PHash",
    "fastdup": "fastdup, which embeds too",
}


def main() -> None:
    """A row for each quality and way; a ratio is ours over the way's, in the median of the rounds."""
    count, rounds = (100, 3) if report.scale() == "small" else (400, 7)
    rows: list[tuple[object, ...]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for quality in _QUALITIES:
            folder = Path(scratch) / str(quality)
            folder.mkdir()
            size = statistics.mean(save(folder, count, quality))
            rates: dict[str, list[float]] = {way: [] for way in _WAYS}
            for _ in range(rounds):
                for way, python in _WAYS.items():
                    run = peers.run(_SCRIPT, way, in_python=python, folder=str(folder))
                    rates[way].append(count / run.cpu_seconds)
            for way, found in rates.items():
                ratios = [ours / peer for ours, peer in zip(rates[_OURS], found, strict=True)]
                bits = bits_apart(folder, way) if _WAYS[way] and way != "phash" else ("–",) * 4
                middle = (statistics.median(found), min(found), max(found))
                rows.append((quality, round(size / 1000), _CALLED[way], *middle, statistics.median(ratios), *bits))
    headings = ("JPEG", "kB", "way", "images / CPU-s", "lowest", "highest", "ours over it")
    headings += ("pHash equal", "most bits apart", "dHash equal", "most bits apart in dHash")
    report.tell(
        "hash",
        ["imagehash", "pillow", "simplejpeg"],
        headings,
        rows,
        of_peers=("cleanvision", "imagededup", "fastdup", "pillow"),
    )


def save(folder: Path, count: int, quality: int) -> Iterator[int]:
    """Save `count` mosaics; their sizes in bytes."""
    photos = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    columns, rows = range(0, _SIZE[0] + 1, _SIZE[0] // 4), range(0, _SIZE[1] + 1, _SIZE[1] // 4)
    for number in range(count):
        generator = np.random.default_rng(number)
        mosaic = Image.new("RGB", _SIZE)
        for left, right in pairwise(columns):
            for top, bottom in pairwise(rows):
                photo = photos[generator.integers(2)]
                scale = float(generator.uniform(0.8, 1.25))
                width, height = (right - left) / scale, (bottom - top) / scale
                x, y = generator.uniform(0, photo.width - width), generator.uniform(0, photo.height - height)
                box = (x, y, x + width, y + height)
                piece = photo.resize((right - left, bottom - top), Image.Resampling.BICUBIC, box=box)
                turned = piece.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if generator.random() < 0.5 else piece
                mosaic.paste(turned, (left, top))
        path = folder / f"{number:04}.jpg"
        mosaic.save(path, "JPEG", quality=quality)
        yield path.stat().st_size


def bits_apart(folder: Path, way: str) -> tuple[str, int, str, int]:
    """Share of equal hashes and the largest distance to imagehash's, of pHash and of dHash."""
    ours = peers.run(_SCRIPT, way, in_python=peers.OURS, folder=str(folder)).result
    found: list[str | int] = []
    for position, function in enumerate(("phash", "dhash")):
        theirs = peers.run(_SCRIPT, function, in_python=peers.OURS, folder=str(folder)).result
        apart = [(int(one[position], 16) ^ int(other, 16)).bit_count() for one, other in zip(ours, theirs, strict=True)]
        found += [f"{apart.count(0) / len(apart):.2f}", max(apart)]
    return tuple(found)  # type: ignore[return-value]


if __name__ == "__main__":
    main()
