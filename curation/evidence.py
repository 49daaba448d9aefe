"""What copies and neighbours look like in a collection, measured on a sample of it; see curation.calibration."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curation import alignment, calibration, encoders, hamming, hashes
from curation.alignment import Sketch
from curation.calibration import Evidence
from curation.collection import Collection
from curation.decode import decode
from curation.hamming import Hashes
from curation.sketchbook import Sketchbook
from store.arrays import Floats, Ints, Vectors
from store.errors import WinnowError
from store.workspace import Workspace

_CROWD = 20_000  # vectors that stand for all
_ASKED = 500  # vectors whose crowd is counted
_BATCH = 32


@dataclass(frozen=True)
class _Copy:
    """A changed copy of the picture at a position."""

    position: int
    kind: str
    residual: float
    phash: int
    dhash: int


def gather(workspace: Workspace, images: Collection, book: Sketchbook) -> Evidence:
    """Change a sample of pictures, and compare others with their nearest neighbours.

    Positions are in the order of sha256, so the first ones are a random sample, the same for the same images.
    """
    network = _network(workspace, images)
    copies: list[_Copy] = []
    inputs: list[Vectors] = []
    for position in _readable(images, book, calibration.SAMPLED):
        own = book.open([position])[position]
        picture = decode(images.found[position].read(), max_pixels=images.found[position].max_pixels).picture
        generator = np.random.default_rng(int(images.found[position].sha256[:8], 16))
        for kind, changed in calibration.changed(picture, generator).items():
            seen = hashes.compute(changed.convert("L"))
            residual = calibration.least_residual(own, alignment.sketch(changed))
            copies.append(_Copy(position, kind, residual, int(seen.phash, 16), int(seen.dhash, 16)))
            if network is not None:
                inputs.append(network.prepare(changed))
    positions = np.array([copy.position for copy in copies], dtype=np.int64)
    cosines = np.full(len(copies), np.nan)
    if network is not None and copies:
        batches = (np.stack(inputs[start : start + _BATCH]) for start in range(0, len(inputs), _BATCH))
        encoded = images.centred(np.concatenate([network.encode(batch) for batch in batches]))
        cosines = np.einsum("ij,ij->i", images.take(positions), encoded).astype(np.float64)
    near, residuals = _neighbours(images, book)
    count = len(images.found)
    asked, crowd = (images.take(_spread(count, most)) for most in (_ASKED, _CROWD))
    return Evidence(
        kinds=[copy.kind for copy in copies],
        cosines=cosines,
        bits=_bits(images, positions, copies),
        residuals=np.array([copy.residual for copy in copies], dtype=np.float64),
        neighbour_cosines=near,
        neighbour_residuals=residuals,
        crowd_cosine=calibration.crowd_cosine(asked, crowd, count),
    )


def _network(workspace: Workspace, images: Collection) -> encoders.ImageEncoder | None:
    """The network that made the vectors; none where it is not at hand: imported vectors, other weights by now."""
    try:
        network = encoders.get(images.encoder.name, workspace.models_dir)
    except WinnowError:
        return None
    return network if network.digest == images.encoder.digest else None


def _readable(images: Collection, book: Sketchbook, most: int) -> list[int]:
    """The first positions whose pictures can be read."""
    found: list[int] = []
    for start in range(0, len(images.found), most):
        found += sorted(book.open(range(start, min(start + most, len(images.found)))))
        if len(found) >= most:
            break
    return found[:most]


def _neighbours(images: Collection, book: Sketchbook) -> tuple[Floats, Floats]:
    """Cosines and residuals `(pairs,)` of sampled pictures with the nearest others."""
    sampled = _readable(images, book, calibration.COMPARED)
    pairs = _nearest(images, np.array(sampled, dtype=np.int64))
    cosines, residuals = [], []
    for first, second, cosine in pairs:
        sketches: dict[int, Sketch] = book.open((first, second))
        if len(sketches) == 2:
            cosines.append(cosine)
            residuals.append(calibration.least_residual(sketches[first], sketches[second]))
    return np.array(cosines, dtype=np.float64), np.array(residuals, dtype=np.float64)


def _nearest(images: Collection, positions: Ints) -> Sequence[tuple[int, int, float]]:
    """Each of `positions` with its nearest others: (position, other, cosine)."""
    most = min(calibration.NEIGHBOURS + 1, len(images.found))
    query = images.take(positions)
    best: Ints = np.empty((len(positions), 0), dtype=np.int64)
    cosines: Vectors = np.empty((len(positions), 0), dtype=np.float32)
    for start in range(0, len(images.found), _CROWD):
        rows = np.arange(start, min(start + _CROWD, len(images.found)))
        cosines = np.hstack([cosines, query @ images.take(rows).T])
        best = np.hstack([best, np.broadcast_to(rows, (len(positions), len(rows)))])
        order = np.argsort(-cosines, axis=1, kind="stable")[:, :most]
        best, cosines = np.take_along_axis(best, order, axis=1), np.take_along_axis(cosines, order, axis=1)
    return [
        (position, other, cosine)
        for position, others, near in zip(positions.tolist(), best.tolist(), cosines.tolist(), strict=True)
        for other, cosine in [pair for pair in zip(others, near, strict=True) if pair[0] != position][: most - 1]
    ]


def _bits(images: Collection, positions: Ints, copies: Sequence[_Copy]) -> Ints:
    """How many bits lie between the nearest hashes of each copy and its original, also mirrored."""
    phash, dhash = (np.array([getattr(copy, name) for copy in copies], dtype=np.uint64) for name in ("phash", "dhash"))
    known: Hashes = images.known.dhash[positions]
    ties = [
        phash ^ images.known.phash[positions],
        dhash ^ known,
        hamming.mirrored(dhash) ^ known,
    ]
    return np.asarray(np.min([np.bitwise_count(tie) for tie in ties], axis=0), dtype=np.int64)


def _spread(count: int, most: int) -> Ints:
    """At most so many positions, evenly over all."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))
