"""All pairs of near vectors, by us and by others: run by benchmarks.peers on vectors in an .npy file.

Each is a generator as benchmarks.peers asks for; the pairs it finds go into `pairs`, an .npy file `(P, 2)`.
"""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

_BLOCK = 1 << 13


def winnow(vectors: str, pairs: str, min_cosine: float, home: str) -> Iterator[Any]:
    """Every pair of a collection that a workspace made for it holds."""
    import faiss  # noqa: F401  what is imported by then costs no join anything

    from curation import collection

    values = np.load(vectors, mmap_mode="r")
    workspace = _filled(home, values, len(values))
    images = collection.load(workspace)
    yield
    found = images.near_pairs(min_cosine=min_cosine)
    np.save(pairs, found.positions)
    exact = np.concatenate([found.cosines, np.ones(1, dtype=np.float32)])
    yield {"least": float(exact.min()), "truncated": found.truncated}


def winnow_later(vectors: str, min_cosine: float, home: str) -> Iterator[Any]:
    """A last hundredth that came to a workspace whose other vectors were joined before: those pairs it is part of."""
    import time

    import faiss  # noqa: F401

    from benchmarks.peer_index import append, registered_encoder
    from curation import collection

    values = np.load(vectors, mmap_mode="r")
    start = len(values) - len(values) // 100
    workspace = _filled(home, values, start)
    collection.load(workspace).near_pairs_of(workspace, min_cosine=min_cosine, fresh=None)
    append(workspace, registered_encoder(workspace), values, start, len(values))
    began = time.process_time()
    images = collection.load(workspace)
    loaded = time.process_time() - began
    yield
    found = images.near_pairs_of(workspace, min_cosine=min_cosine, fresh=np.arange(start, len(values)))
    yield {"pairs": len(found.positions), "load_s": loaded}


def _filled(home: str, values: Any, count: int) -> Any:
    """A workspace with the first `count` vectors, the image of each numbered and ordered like it."""
    from benchmarks.peer_index import append, register

    workspace, encoder = register(home, values.shape[1], "float32")
    append(workspace, encoder, values, 0, count)
    return workspace


def hnsw(vectors: str, pairs: str, min_cosine: float, queries: list[int], wanted: float) -> Iterator[Any]:
    """A FAISS HNSW graph, every vector a query; as deep as it takes for the recall `wanted` on `queries`.

    The time is that of building it and of one join at the least depth that suffices.
    """
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
    for depth in (16, 32, 64, 128, 256):
        start = time.process_time()
        found = _range_of(index, values, depth, min_cosine)
        joined = time.process_time() - start
        recall = _recall(found, asked, truth)
        if recall >= wanted:
            break
    np.save(pairs, found)
    yield {"seconds": built + joined, "recall": recall, "depth": depth}


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


def _range_of(index: Any, values: Any, depth: int, min_cosine: float) -> Any:
    """Pairs among the 16 nearest of each row; rows all of whose nearest are near enough are asked again for more."""
    found = [np.empty((0, 2), dtype=np.int64)]
    rows, k = np.arange(len(values)), 16
    while len(rows):
        index.hnsw.efSearch = max(depth, k)  # FAISS looks no less deep for so many
        unfinished = []
        for start in range(0, len(rows), _BLOCK):
            asked = rows[start : start + _BLOCK]
            cosines, others = index.search(values[asked], k)
            is_near = (cosines >= min_cosine) & (others >= 0)
            i, j = np.nonzero(is_near)
            pair = np.stack([asked[i], others[i, j]], axis=1)
            found.append(np.sort(pair[pair[:, 0] != pair[:, 1]], axis=1))
            unfinished.append(asked[is_near.all(axis=1)])
        rows, k = np.concatenate(unfinished) if k < len(values) else rows[:0], 2 * k
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
