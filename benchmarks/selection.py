"""Choosing 1,000 of 100,000 × 512 by k-center, and the margin of a million rows of 100 classes (a tenth if small).

Winnow beside one matrix-vector product per pick in NumPy, scikit-activeml's CoreSet and modAL's ranked batch: with
equal uncertainties it ranks the least similar first, which is k-center. Its time grows with the square of the picks, so
it is asked for 100 at most; its ratio then is a lower bound. `same` is the share of picks that are, at their place,
those of comparing everything in double precision; for margins whether the sums agree; for plans the share of
the budget that was filled. Vectors are isotropic, where
everything is about equally far, and realistic (benchmarks.vectors). Seconds are of the CPU, one thread; memory is the
peak while choosing, with what was read.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import peers, report
from benchmarks.vectors import isotropic, realistic

_SCRIPT = Path(__file__).with_name("peer_selection.py")
_DIMENSIONS = 512
_LABELLED = 10
_CLASSES = 100
_CHOOSERS = {"winnow": "Winnow", "gemv": "NumPy gemv", "scikit_activeml": "scikit-activeml", "modal": "modAL"}
_MOST_FOR_MODAL = 100  # picks, since its time grows with their square
_SCORERS = {"margin": "Winnow", "sorted_margin": "NumPy sort"}


def main() -> None:
    """A row for each kind of vectors and tool, then for the margin."""
    small = report.scale() == "small"
    count, k = (10_000, 100) if small else (100_000, 1000)
    rows: list[tuple[Any, ...]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for kind, made in (("isotropic", isotropic), ("realistic", realistic)):
            path = str(Path(scratch) / f"{kind}.npy")
            np.save(path, made(count, _DIMENSIONS).vectors)
            rows += choose(f"{k:,} of {count:,} {kind}", path, k)
        rows += score(scratch, 100_000 if small else 1_000_000)
        rows += plan(scratch, *((100_000, 1000) if small else (1_000_000, 10_000)))
    report.tell("selection", ["numpy"], ("work", "tool", "CPU s", "× Winnow's", "same", "peak GB"), rows)


def choose(work: str, vectors: str, k: int) -> list[tuple[Any, ...]]:
    """Every tool on the same vectors."""
    shared: dict[str, Any] = {"vectors": vectors, "labelled": _LABELLED, "k": k}
    true = np.array(peers.run(_SCRIPT, "brute", in_python=peers.OURS, **shared).result)
    rows: list[tuple[Any, ...]] = []
    for function, tool in _CHOOSERS.items():
        ours = function in ("winnow", "gemv")
        python = peers.OURS if ours else peers.python("choosers")
        asked = min(k, _MOST_FOR_MODAL) if function == "modal" else k
        run = peers.run(_SCRIPT, function, in_python=python, **shared | {"k": asked})
        same = float((np.array(run.result) == true[:asked]).mean())
        rows.append(_row(work, tool if asked == k else f"{tool}, {asked} picks", run, rows, same))
        print(rows[-1], flush=True)
    return rows


def score(scratch: str, count: int) -> list[tuple[Any, ...]]:
    """The margin of `count` rows."""
    path = str(Path(scratch) / "probabilities.npy")
    values = np.random.default_rng(0).standard_exponential((count, _CLASSES), dtype=np.float32)
    np.save(path, values / values.sum(axis=1, keepdims=True))
    rows: list[tuple[Any, ...]] = []
    runs = [peers.run(_SCRIPT, function, in_python=peers.OURS, probabilities=path) for function in _SCORERS]
    for tool, run in zip(_SCORERS.values(), runs, strict=True):
        same = float(np.isclose(run.result, runs[-1].result, rtol=1e-9))
        rows.append(_row(f"margin, {count:,} × {_CLASSES}", tool, run, rows, same))
    return rows


def plan(scratch: str, count: int, k: int) -> list[tuple[Any, ...]]:
    """The whole planner, before and after there are predictions; two threads, and seconds of the clock too."""
    path = str(Path(scratch) / "pool.npy")
    np.save(path, realistic(count, _DIMENSIONS).vectors)
    rows: list[tuple[Any, ...]] = []
    for classes in (0, 10):
        asked: dict[str, Any] = {"vectors": path, "labelled": 1000 if classes else 0, "k": k, "classes": classes}
        run = peers.run(_SCRIPT, "planned", in_python=peers.OURS, threads=2, **asked)
        regime = "10 classes predicted" if classes else "nothing predicted"
        work = f"plan, {k:,} of {count:,} × {_DIMENSIONS}, {regime}"
        tool = f"Winnow auto, {run.wall_seconds:.0f} s by the clock"
        rows.append((work, tool, run.cpu_seconds, None, run.result["picks"] / k, run.peak_rss_bytes / 1e9))
        print(rows[-1], flush=True)
    return rows


def _row(work: str, tool: str, run: peers.Run, before: list[tuple[Any, ...]], same: float) -> tuple[Any, ...]:
    ratio = run.cpu_seconds / before[0][2] if before else 1.0
    return work, tool, run.cpu_seconds, ratio, same, run.peak_rss_bytes / 1e9


if __name__ == "__main__":
    main()
