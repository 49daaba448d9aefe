"""Searching 100,000 and a million realistic vectors, all of them and through filters: Winnow, FAISS and hnswlib.

One thread, one query at a time, recall of the ten nearest against every vector compared. The approximate peers get the
smallest setting with which they reach a recall of .98 without a filter; Winnow its own. The vectors are opened from
disk by a fresh process. Filters permit images chosen by lot. Memory is the largest resident size while opening and
searching, in the size of the vectors on disk; mapped pages that the system may drop are counted.
"""

import tempfile
from pathlib import Path

import numpy as np

from benchmarks import peers, report
from benchmarks.vectors import realistic
from store.arrays import Ints, Vectors

_SCRIPT = Path(__file__).with_name("peer_index.py")
_K = 10
_QUERIES = 300
_FILTERS = {"5 %": 0.05, "0.1 %": 0.001}
_CHANGED = 100  # one in so many is added and taken away
_BLOCK = 1 << 15


def main() -> None:
    """A row for each size, tool and filter, then rows of how Winnow opens and keeps what it searches."""
    rows = []
    small = report.scale() == "small"
    for count in (20_000, 100_000) if small else (100_000, 1_000_000):
        rows += compare(count)
    for dtype in ("float32", "float16"):
        rows += keep(100_000 if small else 1_000_000, 512, dtype)
    headings = ("vectors", "tool", "filter", "recall@10", "p50 ms", "p95 ms", "p50 / Winnow's", "memory", "notes")
    report.tell("index", ["faiss-cpu", "numpy"], headings, rows, of_peers=("faiss-cpu", "hnswlib"))


def compare(count: int, dimensions: int = 256) -> list[tuple[object, ...]]:
    """Every tool on the same vectors and queries, then Winnow with a hundredth added and another taken away."""
    named = f"{count:,} × {dimensions}"
    added = count // _CHANGED
    with tempfile.TemporaryDirectory() as scratch:
        folder, home = Path(scratch), str(Path(scratch) / "home")
        prepare(folder, count, added, dimensions)
        built = peers.run(
            _SCRIPT, "winnow_build", in_python=peers.OURS, folder=scratch, home=home, dtype="float32", count=count
        )
        rows, medians = [], {}
        for tool, function in (
            ("Winnow", "winnow"),
            ("FAISS Flat", "faiss_flat"),
            ("FAISS IVF", "faiss_ivf"),
            ("hnswlib", "hnsw"),
        ):
            ours = {"in_python": peers.OURS, "home": home} if tool == "Winnow" else {}
            run = peers.run(_SCRIPT, function, folder=scratch, count=count, **ours)
            said = {**built.result, **run.result}
            recalls = recall(folder)
            for permitted, (median, slow) in run.result["ms"].items():
                medians.setdefault(permitted, median)
                notes = f"{said['setting']}, built in {said['build_cpu_s']:.0f} CPU s" if permitted == "all" else ""
                ratio = f"{median / medians[permitted]:.1f}"
                share = f"{run.peak_rss_bytes / (4 * count * dimensions):.2f}" if permitted == "all" else ""
                rows.append((named, tool, permitted, recalls[permitted], median, slow, ratio, share, notes))
        peers.run(
            _SCRIPT,
            "winnow_change",
            in_python=peers.OURS,
            **{"folder": scratch, "home": home, "start": count, "stop": count + added, "gone": added},
        )
        tell_truth(folder, np.arange(added, count + added))
        run = peers.run(_SCRIPT, "winnow", in_python=peers.OURS, folder=scratch, home=home, count=count)
        median, slow = run.result["ms"]["all"]
        notes = f"{added:,} added and {added:,} taken away, nothing built"
        rows.append(
            (named, "Winnow", "all", recall(folder)["all"], median, slow, f"{median / medians['all']:.1f}", "", notes)
        )
    return rows


def keep(count: int, dimensions: int, dtype: str) -> list[tuple[object, ...]]:
    """How fast a collection opens, and what it takes to search it."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, home = Path(scratch), str(Path(scratch) / "home")
        prepare(folder, count, 0, dimensions)
        peers.run(_SCRIPT, "winnow_build", in_python=peers.OURS, folder=scratch, home=home, dtype=dtype, count=count)
        run = peers.run(_SCRIPT, "winnow", in_python=peers.OURS, folder=scratch, home=home, count=count)
        recalls = recall(folder)
        size = count * dimensions * np.dtype(dtype).itemsize
        opened = f"opened in {run.result['open_s']:.2f} s ({run.result['open_cpu_s']:.2f} CPU s)"
        named = f"{count:,} × {dimensions} {dtype}"
        return [
            (named, "Winnow", permitted, recalls[permitted], *ms, "", f"{run.peak_rss_bytes / size:.2f}", opened)
            for permitted, ms in run.result["ms"].items()
        ]


def prepare(folder: Path, count: int, added: int, dimensions: int) -> None:
    """Write `count` + `added` vectors, centred on the first `count`, queries of their kind, filters and the truth."""
    made = realistic(count + added + _QUERIES, dimensions).vectors
    vectors = made[: count + added]
    mean = vectors[:count].mean(axis=0, dtype=np.float64).astype(np.float32)
    for start in range(0, len(made), _BLOCK):
        block = made[start : start + _BLOCK]
        block -= mean
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    np.save(folder / "vectors.npy", vectors)
    np.save(folder / "queries.npy", made[count + added :])
    generator = np.random.default_rng(0)
    chosen = {
        name: np.sort(generator.choice(count, max(round(share * count), 2 * _K), replace=False))
        for name, share in _FILTERS.items()
    }
    np.savez(folder / "filters.npz", **chosen)
    tell_truth(folder, np.arange(count))


def tell_truth(folder: Path, there: Ints) -> None:
    """Write the rows of the ten nearest of each query `(Q, 10)` among the rows `there`, for all and by filter."""
    vectors, queries = np.load(folder / "vectors.npy", mmap_mode="r"), np.load(folder / "queries.npy")
    filters = dict(np.load(folder / "filters.npz"))
    named = {"all": there, **{name: np.intersect1d(rows, there) for name, rows in filters.items()}}
    np.savez(folder / "truth.npz", **{name: nearest(vectors, queries, rows) for name, rows in named.items()})


def nearest(vectors: Vectors, queries: Vectors, rows: Ints) -> Ints:
    """The ten of `rows` with the largest products with each query `(Q, 10)`, every one computed."""
    best = np.full((len(queries), _K), -1)
    products = np.full((len(queries), _K), -np.inf, dtype=np.float32)
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        found = np.hstack([products, queries @ vectors[block].T])
        named = np.hstack([best, np.broadcast_to(block, (len(queries), len(block)))])
        top = np.argpartition(-found, _K - 1, axis=1)[:, :_K]
        products, best = np.take_along_axis(found, top, axis=1), np.take_along_axis(named, top, axis=1)
    return best


def recall(folder: Path) -> dict[str, float]:
    """The share of the truth that was found, by filter."""
    truth, found = np.load(folder / "truth.npz"), np.load(folder / "found.npz")
    return {
        name: sum(len(set(a) & set(b)) for a, b in zip(found[name], truth[name], strict=True)) / truth[name].size
        for name in truth.files
    }


if __name__ == "__main__":
    main()
