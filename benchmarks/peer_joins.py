"""All pairs of near vectors, by us and by others: run by benchmarks.peers on vectors in an .npy file.

Each is a generator as benchmarks.peers asks for; the pairs it finds go into `pairs`, an .npy file `(P, 2)`.
"""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

_BLOCK = 1 << 13


def winnow(vectors: str, pairs: str, min_cosine: float) -> Iterator[Any]:
    """curation.joins from nothing; then a hundredth of the vectors as if it had come later."""
    import time

    from curation import joins

    mapped = np.load(vectors, mmap_mode="r")
    count = len(mapped)

    def take(positions: Any) -> Any:
        return np.asarray(mapped[positions])

    yield
    start = time.process_time()
    cells = joins.fit(take, count, min_cosine=min_cosine)
    found = joins.join(take, joins.place(take, np.arange(count), cells), cells)
    whole = time.process_time() - start
    np.save(pairs, found.positions)
    exact = np.concatenate([found.cosines, np.ones(1, dtype=np.float32)])
    yield {"whole": whole, "least": float(exact.min()), "truncated": found.truncated}


def winnow_later(vectors: str, min_cosine: float) -> Iterator[Any]:
    """A hundredth of the vectors compared with all, after the others were placed."""
    import time

    from curation import joins

    mapped = np.load(vectors, mmap_mode="r")
    count = len(mapped)
    fresh = np.arange(count - count // 100, count)

    def take(positions: Any) -> Any:
        return np.asarray(mapped[positions])

    cells = joins.fit(take, count - len(fresh), min_cosine=min_cosine)
    before = joins.place(take, np.arange(count - len(fresh)), cells)
    yield
    start = time.process_time()
    new = joins.place(take, fresh, cells)
    placed = joins.Placed(np.concatenate([before.lifted, new.lifted]), np.concatenate([before.homes, new.homes]))
    found = joins.join(take, placed, cells, fresh=fresh)
    yield {"seconds": time.process_time() - start, "pairs": len(found.positions)}


def hnsw(vectors: str, pairs: str, min_cosine: float, queries: list[int], wanted: float) -> Iterator[Any]:
    """A FAISS HNSW graph, every vector a query; as deep as it takes for the recall `wanted` on `queries`."""
    import time

    import faiss

    values = np.load(vectors)
    yield
    start = time.process_time()
    index = faiss.IndexHNSWFlat(values.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 40
    index.add(values)
    built = time.process_time() - start
    asked = np.array(queries)
    truth = [np.flatnonzero(row >= min_cosine) for row in values[asked] @ values.T]
    most = max(len(row) for row in truth)
    for depth in (16, 32, 64, 128, 256):
        index.hnsw.efSearch = max(depth, most)
        start = time.process_time()
        found = _range_of(index, values, most, min_cosine)
        joined = time.process_time() - start
        recall = _recall(found, asked, truth)
        if recall >= wanted:
            break
    np.save(pairs, found)
    yield {"seconds": built + joined, "recall": recall, "depth": index.hnsw.efSearch}


def fiftyone(vectors: str, pairs: str, min_cosine: float, home: str) -> Iterator[Any]:
    """FiftyOne Brain's near duplicates of samples with these vectors; it keeps no more than it needs."""
    from pathlib import Path

    from curation import mongodb
    from store.workspace import open_workspace

    server = mongodb.start(open_workspace(Path(home)))
    os.environ.update(FIFTYONE_DATABASE_URI=mongodb.uri(server), FIFTYONE_DATABASE_VALIDATION="false")
    import fiftyone as fo
    import fiftyone.brain as fob

    values = np.load(vectors)
    dataset = fo.Dataset()
    dataset.add_samples([fo.Sample(filepath=f"/nowhere/{i}.jpg") for i in range(len(values))], progress=False)
    position = {sample_id: i for i, sample_id in enumerate(dataset.values("id"))}
    yield
    found = fob.compute_near_duplicates(dataset, embeddings=values, threshold=1 - min_cosine)
    near = found.neighbors_map
    named = [sorted((position[one], position[other])) for one in near for other, _ in near[one]]
    server.stop()
    np.save(pairs, np.unique(np.array(named, dtype=np.int64).reshape(-1, 2), axis=0))
    yield {}


def _range_of(index: Any, values: Any, most: int, min_cosine: float) -> Any:
    found = []
    for start in range(0, len(values), _BLOCK):
        cosines, others = index.search(values[start : start + _BLOCK], most + 1)
        i, j = np.nonzero(cosines >= min_cosine)
        pair = np.stack([i + start, others[i, j]], axis=1)
        found.append(np.sort(pair[(pair[:, 0] != pair[:, 1]) & (pair[:, 1] >= 0)], axis=1))
    return np.unique(np.concatenate(found), axis=0)


def _recall(found: Any, asked: Any, truth: Any) -> float:
    keys = found[:, 0].astype(np.int64) << 32 | found[:, 1].astype(np.int64)
    wanted = [
        min(query, other) << 32 | max(query, other)
        for query, near in zip(asked.tolist(), truth, strict=True)
        for other in near.tolist()
        if other != query
    ]
    return float(np.isin(np.unique(wanted), keys).mean()) if wanted else 1.0
