"""The peer's join goes as deep as a row needs."""

import faiss
import numpy as np

from benchmarks import peer_joins


def test_rows_with_many_near_ones_are_asked_for_more() -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(size=(400, 16))
    values[:70] = values[0] + 0.01 * values[:70]  # more than 16, than 32 and than 64
    values = (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)
    index = faiss.IndexHNSWFlat(16, 16, faiss.METRIC_INNER_PRODUCT)
    index.add(values)
    found = peer_joins._range_of(index, values, 256, 0.9)
    true = np.argwhere(np.triu(values @ values.T >= 0.9, 1))
    assert len(true) >= 70 * 69 / 2
    assert found.tolist() == true.tolist()
