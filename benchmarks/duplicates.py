"""Every pair of near vectors among 20,000 to a million: Winnow's join, FiftyOne Brain and a FAISS HNSW graph.

Isotropic vectors, where all that is near was planted, and realistic ones (benchmarks.vectors), at the cosine of copies
(.95) and of look-alikes (.7). Recall is of all true pairs of some queries, found by comparing them with every vector;
the pairs told are computed exactly, so none is false. Seconds are of the CPU, one thread for each library. Ours are of
Collection.near_pairs on a loaded workspace; `later ×` is how much longer they are than those of near_pairs_of for a
hundredth that came later, `load s` what loading the workspace takes in either case. FiftyOne is given the first size
only; HNSW the sizes up to 100,000.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import peers, report
from benchmarks.vectors import isotropic, realistic
from store.arrays import Ints, Vectors

_SCRIPT = Path(__file__).with_name("peer_joins.py")
_DIMENSIONS = 256
_JITTER = 0.8  # about two look-alikes for each of 100,000 vectors
_QUERIES = 2000  # whose true pairs are known
_COSINES = {"copies": 0.95, "look-alikes": 0.7}
_BLOCK = 200

_FIFTYONE_AT, _HNSW_UP_TO = 20_000, 100_000


def main() -> None:
    """A row for each collection, size, cosine and tool."""
    sizes = (20_000, 100_000) if report.scale() == "small" else (20_000, 100_000, 1_000_000)
    rows = []
    for kind in ("isotropic", "realistic"):
        for count in sizes:
            with tempfile.TemporaryDirectory() as scratch:
                vectors = str(Path(scratch) / "vectors.npy")
                np.save(vectors, _vectors(kind, count))
                for named, min_cosine in _COSINES.items():
                    print(f"{kind}, {count:,}, {named} …", flush=True)
                    fresh = compare(vectors, Path(scratch), min_cosine)
                    print(*fresh, sep="\n", flush=True)  # the whole takes an hour
                    rows += [(kind, count, named, *row) for row in fresh]
    rows = [(*row, growth(rows, row)) for row in rows]
    headings = (
        "vectors",
        "n",
        "pairs",
        "tool",
        "recall",
        "CPU s",
        "× ours",
        "peak GB",
        "told",
        "left out",
        "later ×",
        "load s",
    )
    report.tell("duplicates", ["numpy", "fiftyone"], (*headings, "growth"), rows, of_peers=("faiss-cpu",))


def compare(vectors: str, scratch: Path, min_cosine: float) -> list[tuple[Any, ...]]:
    """Ours and, where they can, the peers."""
    values = np.load(vectors, mmap_mode="r")
    queries = np.sort(np.random.default_rng(1).permutation(len(values))[:_QUERIES])
    truth = true_pairs(values, queries, min_cosine)
    pairs = str(scratch / "pairs.npy")
    shared = {"vectors": vectors, "min_cosine": min_cosine}
    with tempfile.TemporaryDirectory(dir=scratch) as home:
        ours = peers.run(_SCRIPT, "winnow", in_python=peers.OURS, pairs=pairs, home=home, **shared)
    with tempfile.TemporaryDirectory(dir=scratch) as home:
        later = peers.run(_SCRIPT, "winnow_later", in_python=peers.OURS, home=home, **shared)
    if ours.result["least"] < min_cosine - 1e-6:
        raise AssertionError(f"A pair of cosine {ours.result['least']} was told.")
    found = recall(truth, np.load(pairs))
    of_later = (ours.cpu_seconds / later.cpu_seconds, later.result["load_s"])
    told, left_out = len(np.load(pairs)), ours.result["truncated"]
    rows = [("Winnow", found, ours.cpu_seconds, 1.0, _gigabytes(ours), told, left_out, *of_later)]
    if len(values) <= _FIFTYONE_AT:
        home = str(scratch / "home")
        run = peers.run(_SCRIPT, "fiftyone", in_python=peers.OURS, pairs=pairs, home=home, **shared)
        rows.append(("FiftyOne Brain", *_peer(run, ours, recall(truth, np.load(pairs)), len(np.load(pairs)))))
    if len(values) <= _HNSW_UP_TO:
        run = peers.run(_SCRIPT, "hnsw", pairs=pairs, queries=queries[:500].tolist(), wanted=found, **shared)
        seconds = run.result["seconds"]
        told = len(np.load(pairs))
        name = f"FAISS HNSW16, {run.result['depth']} deep"
        figures = (
            recall(truth, np.load(pairs)),
            seconds,
            seconds / ours.cpu_seconds,
            _gigabytes(run),
            told,
            0,
            None,
            None,
        )
        rows.append((name, *figures))
    return rows


def growth(rows: list[tuple[Any, ...]], row: tuple[Any, ...]) -> float | None:
    """The exponent with which our seconds grew since the size before."""
    kind, count, named, tool = row[:4]
    before = [one for one in rows if one[0] == kind and one[1] < count and one[2] == named and one[3] == tool]
    if tool != "Winnow" or not before:
        return None
    return float(np.log(row[5] / before[-1][5]) / np.log(count / before[-1][1]))


def true_pairs(values: Vectors, queries: Ints, min_cosine: float) -> Ints:
    """Keys of every pair of a query with any vector."""
    keys = [np.empty(0, dtype=np.int64)]
    for start in range(0, len(queries), _BLOCK):
        asked = queries[start : start + _BLOCK]
        for first in range(0, len(values), 1 << 16):
            i, j = np.nonzero(values[asked] @ values[first : first + (1 << 16)].T >= min_cosine)
            a, b = asked[i], j + first
            keys.append(_keys(np.stack([np.minimum(a, b), np.maximum(a, b)], axis=1)[a != b]))
    return np.unique(np.concatenate(keys))


def recall(truth: Ints, pairs: Ints) -> float | None:
    """The share of true pairs that were found; none where there are none."""
    return float(np.isin(truth, _keys(pairs)).mean()) if len(truth) else None


def _keys(pairs: Ints) -> Ints:
    return np.asarray(pairs[:, 0].astype(np.int64) << 32 | pairs[:, 1].astype(np.int64))


def _peer(run: peers.Run, ours: peers.Run, found: float | None, told: int) -> tuple[Any, ...]:
    return found, run.cpu_seconds, run.cpu_seconds / ours.cpu_seconds, _gigabytes(run), told, 0, None, None


def _gigabytes(run: peers.Run) -> float:
    return run.peak_rss_bytes / 1e9


def _vectors(kind: str, count: int) -> Vectors:
    made = isotropic(count, _DIMENSIONS) if kind == "isotropic" else realistic(count, _DIMENSIONS, jitter=_JITTER)
    return centred(made.vectors)


def centred(vectors: Vectors) -> Vectors:
    """Unit vectors whose mean is next to nothing, so that a tool which centres them compares the same cosines."""
    for _ in range(4):
        vectors -= vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


if __name__ == "__main__":
    main()
