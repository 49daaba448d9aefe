"""Nearest neighbours by Winnow, FAISS and hnswlib, for benchmarks.index: run by benchmarks.peers.

Each is a generator as benchmarks.peers asks for. It reads the first `count` of `<folder>/vectors.npy` `(N, D)` and
`queries.npy` `(Q, D)`, unit vectors, `truth.npz` and `filters.npz` (permitted rows by name, ascending), asks one query
at a time, writes the rows found as `(Q, 10)` by filter to `found.npz`, and yields the median and 95th percentile of the
milliseconds.
"""

import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

_K = 10
_WANTED_RECALL = 0.98
_BLOCK = 8192  # rows appended at once


def faiss_flat(folder: str, count: int) -> Iterator[Any]:
    """FAISS, every vector compared."""
    import faiss

    given = _Given(folder, count)
    yield
    index = faiss.IndexFlatIP(given.vectors.shape[1])
    began = _cpu()
    for start in range(0, len(given.vectors), _BLOCK):
        index.add(given.vectors[start : start + _BLOCK])
    built = _cpu() - began
    chosen = [faiss.SearchParameters(sel=selector) for selector in given.selectors(faiss)]
    ways = [lambda query, way=way: index.search(query[None], _K, params=way)[1][0] for way in [None, *chosen]]
    yield given.ask(ways) | {"build_cpu_s": built, "setting": "–"}


def faiss_ivf(folder: str, count: int) -> Iterator[Any]:
    """FAISS, inverted lists of whole vectors, looking into as few as recall .98 takes without a filter."""
    import faiss

    given = _Given(folder, count)
    yield
    dimensions = given.vectors.shape[1]
    lists = int(4 * count**0.5)
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dimensions), dimensions, lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.max_points_per_centroid = 40
    began = _cpu()
    index.train(given.vectors[np.sort(np.random.default_rng(0).choice(count, min(count, 40 * lists), replace=False))])
    for start in range(0, count, _BLOCK):
        index.add(given.vectors[start : start + _BLOCK])
    built = _cpu() - began

    def way(probes: int, selector: Any = None) -> Callable[[Any], Any]:
        parameters = faiss.SearchParametersIVF(nprobe=probes, sel=selector)
        return lambda query: index.search(query[None], _K, params=parameters)[1][0]

    probes = given.least([2**power for power in range(11)], way)
    ways = [way(probes), *(way(probes, selector) for selector in given.selectors(faiss))]
    yield given.ask(ways) | {"build_cpu_s": built, "setting": f"nprobe {probes}"}


def hnsw(folder: str, count: int) -> Iterator[Any]:
    """Hnswlib, M 16, efConstruction 64, with as small an ef as recall .98 takes without a filter.

    Filters are the function of an id that it asks for; where it finds fewer than ten it raises, counted as none.
    """
    import hnswlib

    given = _Given(folder, count)
    yield
    dimensions = given.vectors.shape[1]
    index = hnswlib.Index("ip", dimensions)
    index.init_index(count, M=16, ef_construction=64, random_seed=1)
    began = _cpu()
    for start in range(0, count, _BLOCK):
        index.add_items(given.vectors[start : start + _BLOCK], num_threads=1)
    built = _cpu() - began

    def way(ef: int, permitted: Any = None) -> Callable[[Any], Any]:
        def ask(query: Any) -> Any:
            index.set_ef(ef)
            try:
                return index.knn_query(query, _K, num_threads=1, filter=permitted)[0][0]
            except RuntimeError:
                return np.full(_K, -1)

        return ask

    ef = given.least([16, 32, 64, 128, 256, 512, 1024], way)
    masks = [set(rows.tolist()).__contains__ for rows in given.filters.values()]
    yield given.ask([way(ef), *(way(ef, mask) for mask in masks)]) | {"build_cpu_s": built, "setting": f"ef {ef}"}


def winnow_build(folder: str, home: str, dtype: str, count: int) -> Iterator[Any]:
    """The first `count` vectors into a workspace, as an import does it, and the index that it has built afterwards."""
    from curation import ivf

    vectors = np.load(Path(folder) / "vectors.npy", mmap_mode="r")
    workspace, encoder = register(home, vectors.shape[1], dtype)
    yield
    append(workspace, encoder, vectors, 0, count)
    began = _cpu()
    report = ivf.build(workspace, encoder) if ivf.status(workspace, encoder).due else None
    setting = "exact" if report is None else f"{report.lists} lists, nprobe {report.probes}"
    yield {
        "build_cpu_s": _cpu() - began,
        "setting": setting,
        "own_recall": report and report.recall,
    }


def winnow(folder: str, home: str, count: int) -> Iterator[Any]:
    """Winnow's Searcher, opened on what `winnow_build` left."""
    from curation.search import Searcher
    from store.workspace import open_workspace

    given = _Given(folder, count)
    workspace = open_workspace(Path(home))
    encoder = registered_encoder(workspace)
    yield
    began, cpu = time.perf_counter(), _cpu()
    with workspace.database.read() as session:
        searcher = Searcher(workspace, session, encoder)
    opened, opened_cpu = time.perf_counter() - began, _cpu() - cpu
    filters = [searcher.rows_of(rows + 1) for rows in given.filters.values()]

    def way(rows: Any = None) -> Callable[[Any], Any]:
        def ask(query: Any) -> Any:
            near, _ = searcher.nearest(query, _K, among=rows)
            return searcher.image_ids[near] - 1

        return ask

    yield given.ask([way(), *map(way, filters)]) | {"open_s": opened, "open_cpu_s": opened_cpu}


def winnow_change(folder: str, home: str, start: int, stop: int, gone: int) -> Iterator[Any]:
    """Add rows `start` to `stop` and take the first `gone` away, without building anything."""
    from sqlalchemy import delete

    from store.schema import Embedding

    vectors = np.load(Path(folder) / "vectors.npy", mmap_mode="r")
    from store.workspace import open_workspace

    workspace = open_workspace(Path(home))
    yield
    append(workspace, registered_encoder(workspace), vectors, start, stop)
    with workspace.database.write() as session:
        session.execute(delete(Embedding).where(Embedding.image_id <= gone))
    yield None


class _Given:
    """What the benchmark prepared."""

    def __init__(self, folder: str, count: int) -> None:
        self.folder = Path(folder)
        self.vectors = np.load(self.folder / "vectors.npy", mmap_mode="r")[:count]
        self.queries = np.load(self.folder / "queries.npy")
        self.truth = np.load(self.folder / "truth.npz")["all"]
        self.filters = dict(np.load(self.folder / "filters.npz"))

    def selectors(self, faiss: Any) -> list[Any]:
        """The filters as FAISS wants them."""
        return [faiss.IDSelectorBitmap(self._bits(rows)) for rows in self.filters.values()]

    def _bits(self, rows: Any) -> Any:
        mask = np.zeros(len(self.vectors), dtype=bool)
        mask[rows] = True
        return np.packbits(mask, bitorder="little")

    def least(self, settings: list[int], way: Callable[[int], Callable[[Any], Any]]) -> int:
        """The first setting that reaches the recall wanted, or the last."""
        for setting in settings:
            ask = way(setting)
            hits = [len(set(ask(query)) & set(true)) for query, true in zip(self.queries, self.truth, strict=True)]
            if sum(hits) >= _WANTED_RECALL * self.truth.size:
                return setting
        return settings[-1]

    def ask(self, ways: list[Callable[[Any], Any]]) -> dict[str, Any]:
        """Every query, one at a time, through each way: milliseconds, and what was found to a file."""
        found, taken = {}, {}
        for name, way in zip(["all", *self.filters], ways, strict=True):
            rows, seconds = [], []
            for query in self.queries:
                began = time.perf_counter()
                rows.append(way(query))
                seconds.append(time.perf_counter() - began)
            found[name] = np.stack([np.pad(one, (0, _K - len(one)), constant_values=-1) for one in rows])
            taken[name] = [1000 * float(np.percentile(seconds, share)) for share in (50, 95)]
        np.savez(self.folder / "found.npz", **found)
        return {"ms": taken}


def register(home: str, dimensions: int, dtype: str) -> tuple[Any, Any]:
    """A workspace at `home` and the encoder that vectors will be under."""
    from store.schema import Encoder
    from store.workspace import open_workspace

    workspace = open_workspace(Path(home))
    with workspace.database.write() as session:
        session.add(Encoder(name="benchmark", digest="b" * 64, dimensions=dimensions, dtype=dtype))
    return workspace, registered_encoder(workspace)


def registered_encoder(workspace: Any) -> Any:
    """The only encoder there."""
    from sqlalchemy import select

    from store.schema import Encoder

    with workspace.database.read() as session:
        encoder = session.scalars(select(Encoder)).one()
        session.expunge(encoder)
    return encoder


def append(workspace: Any, encoder: Any, vectors: Any, start: int, stop: int) -> None:
    """Store rows of `vectors` as the embeddings of images with the row's number plus 1."""
    from sqlalchemy import insert

    from store.schema import Image
    from store.vectors import VectorFile

    file = VectorFile(workspace.vectors_dir, encoder)
    for first in range(start, stop, _BLOCK):
        rows = range(first, min(first + _BLOCK, stop))
        images = [
            {
                "id": row + 1,
                "sha256": f"{row:064x}",
                "phash": "0" * 16,
                "width": 8,
                "height": 8,
                "format": "PNG",
                "bytes": 1,
            }
            for row in rows
        ]
        with workspace.database.write() as session:
            session.execute(insert(Image), images)
        file.append(workspace.database, [row + 1 for row in rows], vectors[rows.start : rows.stop])


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
