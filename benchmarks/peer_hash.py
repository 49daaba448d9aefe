"""What it takes to hash and judge a folder of JPEGs, ours and others' way: run by benchmarks.peers.

Each is a generator as benchmarks.peers asks for: one file first, so that no import counts, then all of them.
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any


def fingerprint(folder: str) -> Iterator[Any]:
    """Ours: decode, both hashes, quality, EXIF, sha256."""
    from curation.decode import fingerprint

    paths = _paths(folder)
    fingerprint(paths[0].read_bytes())
    yield
    found = [fingerprint(path.read_bytes()) for path in paths]
    yield [(one.phash, one.dhash) for one in found]


def fingerprint_and_thumbnail(folder: str) -> Iterator[Any]:
    """The same with a thumbnail."""
    from curation.decode import read

    paths = _paths(folder)
    read(paths[0].read_bytes())
    yield
    found = [read(path.read_bytes()) for path in paths]
    yield [(one.fingerprint.phash, one.fingerprint.dhash) for one in found]


def phash(folder: str) -> Iterator[Any]:
    """imagehash.phash alone, on what Pillow opens."""
    import imagehash
    from PIL import Image

    paths = _paths(folder)
    imagehash.phash(Image.open(paths[0]))
    yield
    yield [str(imagehash.phash(Image.open(path))) for path in paths]


def dhash(folder: str) -> Iterator[Any]:
    """imagehash.dhash, to compare the bits."""
    import imagehash
    from PIL import Image

    yield
    yield [str(imagehash.dhash(Image.open(path))) for path in _paths(folder)]


def cleanvision(folder: str) -> Iterator[Any]:
    """All of CleanVision's default issues, hashes among them, in this process."""
    from cleanvision import Imagelab

    lab = Imagelab(data_path=folder)
    yield
    lab.find_issues(n_jobs=1, verbose=False)
    yield len(lab.issues)


def imagededup(folder: str) -> Iterator[Any]:
    """imagededup's perceptual hash, in this process."""
    from imagededup.methods import PHash

    hasher = PHash(verbose=False)
    yield
    yield len(hasher.encode_images(image_dir=folder, num_enc_workers=0))


def fastdup(folder: str) -> Iterator[Any]:
    """A default run of fastdup, which also embeds and compares."""
    import fastdup

    yield
    found = fastdup.create(work_dir=mkdtemp(), input_dir=folder)
    found.run(overwrite=True, verbose=False, run_sentry=False, print_summary=False, num_images=len(_paths(folder)))
    yield len(_paths(folder))


def _paths(folder: str) -> list[Path]:
    return sorted(Path(folder).iterdir())
