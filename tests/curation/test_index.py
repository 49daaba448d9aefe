"""Directions of a whole collection, and the trained index that proposes rows of a large one."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete

from curation import ivf
from curation.index import Index, open_index
from curation.search import Searcher
from store.errors import ConflictError, IntegrityError
from store.schema import Embedding, Encoder, ImageId
from store.workspace import Workspace


def clustered(count: int, dimensions: int = 16, *, seed: int = 0, centres: int = 40) -> np.ndarray:
    """Heavy-tailed clusters away from the origin."""
    generator = np.random.default_rng(seed)
    middles = generator.normal(size=(centres, dimensions)) * 2
    chosen = generator.zipf(1.5, count) % centres
    return (middles[chosen] + generator.normal(size=(count, dimensions)) + 7).astype(np.float32)


def oracle(values: np.ndarray, mean: np.ndarray, query: np.ndarray, k: int, among: np.ndarray) -> list[int]:
    """The nearest rows by cosine, in double precision, by sorting all."""
    centred = values.astype(np.float64) - mean
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    cosines = centred[among] @ query
    return among[np.argsort(-cosines, kind="stable")[:k]].tolist()


def opened(workspace: Workspace, encoder: Encoder) -> Searcher:
    with workspace.database.read() as session:
        return Searcher(workspace, session, encoder)


# --- all in memory -------------------------------------------------------------------------------


def test_directions_are_centred_and_of_length_one(build: Any, workspace: Workspace) -> None:
    ids = build.images(3)
    build.vectors(ids, np.array([[1, 0], [3, 0], [2, 3]]))
    encoder, index = open_index(workspace)
    assert (encoder.name, index.image_ids.tolist()) == ("test", ids)
    assert np.allclose(index.directions, [[-1, -1] / np.sqrt(2), [1, -1] / np.sqrt(2), [0, 1]])
    positions, cosines = index.search_directions(index.directions[:1], 2)
    assert positions.tolist() == [[0, 1]]
    assert np.allclose(cosines, [[1, 0]], atol=1e-6)
    assert index.search_directions(index.directions[:1], 5)[0].tolist() == [[0, 1, 2, -1, -1]]


def test_rubbish_on_disk_is_noticed_when_it_is_used(build: Any, workspace: Workspace) -> None:
    encoder = build.vectors(build.images(3), np.ones((3, 2)))
    (path,) = workspace.vectors_dir.iterdir()
    data = np.fromfile(path, dtype=np.float32)
    data[3] = np.nan
    path.write_bytes(data.tobytes())
    with pytest.raises(IntegrityError, match="verify --repair"):
        open_index(workspace)
    with pytest.raises(IntegrityError, match="verify --repair"):
        opened(workspace, encoder)
    with pytest.raises(IntegrityError, match="NaN"):
        Index(np.arange(2), np.array([[1, 2], [np.inf, 0]], dtype=np.float32))


# --- exact search --------------------------------------------------------------------------------


@given(seed=st.integers(0, 10_000), k=st.integers(1, 40), share=st.floats(0, 1), half=st.booleans())
def test_exact_search_finds_what_sorting_all_finds(seed: int, k: int, share: float, half: bool) -> None:
    from curation.search import exact_cosines

    generator = np.random.default_rng(seed)
    values = clustered(30, 5, seed=seed).astype(np.float16 if half else np.float32)
    mean, inverse_norms = ivf.centre(values, np.arange(30))
    query = ivf.directions(values, np.array([0]), mean, inverse_norms)[0]
    among = np.flatnonzero(generator.random(30) <= share)
    cosines = exact_cosines(values, among, query, mean, inverse_norms)
    expected = oracle(values, mean, query.astype(np.float64), k, among)
    found = among[np.argsort(-cosines, kind="stable")[:k]].tolist()
    centred = values.astype(np.float64) - mean
    true = (centred / np.linalg.norm(centred, axis=1, keepdims=True)) @ query
    assert np.allclose(cosines, true[among], atol=1e-5)
    assert np.allclose(true[found], true[expected], atol=1e-5)


def test_ties_go_to_the_first_rows(build: Any, workspace: Workspace) -> None:
    ids = build.images(6)
    encoder = build.vectors(ids, np.array([[1, 0], [0, 1], [1, 0], [1, 0], [0, -1], [-3, 0]]))
    searcher = opened(workspace, encoder)
    rows, _ = searcher.nearest(searcher.directions([ids[0]])[0], 2)
    assert rows.tolist() == [0, 2]


# --- the trained index ---------------------------------------------------------------------------


@pytest.fixture
def many(build: Any, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Encoder:
    """3,000 vectors that count as many."""
    monkeypatch.setattr(ivf, "EXACT_FLOATS", 2000 * 16)
    monkeypatch.setattr(ivf, "_HELD_OUT", 100)
    encoder: Encoder = build.vectors(more_images(workspace, 3000), clustered(3000))
    return encoder


def test_its_recall_is_what_an_oracle_finds(many: Encoder, workspace: Workspace) -> None:
    assert ivf.status(workspace, many).due
    report = ivf.build(workspace, many)
    assert report.recall >= ivf.LEAST_RECALL
    assert report.probes < report.lists  # it is an index, not all lists in turn
    assert not ivf.status(workspace, many).due
    searcher = opened(workspace, many)
    values, rows = clustered(3000), np.arange(3000)
    mean = values.mean(axis=0, dtype=np.float64)
    hits = []
    for row in range(0, 3000, 30):
        query = searcher.directions([int(searcher.image_ids[row])])[0]
        found, _ = searcher.nearest(query, 10)
        hits.append(len(set(found.tolist()) & set(oracle(values, mean, query.astype(np.float64), 10, rows))))
    assert sum(hits) / 1000 >= 0.97  # .98, less what a hundred queries leave to chance


def test_cosines_are_of_the_vectors_not_of_the_codes(many: Encoder, workspace: Workspace) -> None:
    exact = opened(workspace, many)
    query = exact.directions([1])[0]
    expected = dict(zip(*(array.tolist() for array in exact.nearest(query, 3000)), strict=True))
    ivf.build(workspace, many)
    rows, cosines = opened(workspace, many).nearest(query, 10)
    assert np.allclose(cosines, [expected[row] for row in rows.tolist()], atol=1e-5)


def test_a_filter_never_costs_recall(many: Encoder, workspace: Workspace) -> None:
    ivf.build(workspace, many)
    searcher = opened(workspace, many)
    values = clustered(3000)
    mean = values.mean(axis=0, dtype=np.float64)
    generator = np.random.default_rng(0)
    for share in (0.001, 0.05, 0.9):
        among = np.flatnonzero(generator.random(3000) < share)
        query = searcher.directions([17])[0]
        found, _ = searcher.nearest(query, 10, among=among)
        assert found.tolist() == oracle(values, mean, query.astype(np.float64), 10, among)


def test_new_vectors_are_found_before_and_after_they_are_taken_in(
    many: Encoder, build: Any, workspace: Workspace
) -> None:
    first = ivf.build(workspace, many)
    newer = clustered(3000)[:200] + np.float32(0.001)
    build.vectors(more_images(workspace, 200), newer)
    state = ivf.status(workspace, many)
    assert (state.tail, state.due) == (200, False)
    for _ in range(2):
        searcher = opened(workspace, many)
        for row in (3000, 3100, 3199):
            found, _ = searcher.nearest(searcher.directions([int(searcher.image_ids[row])])[0], 2)
            assert set(found.tolist()) == {row, row - 3000}
        second = ivf.build(workspace, many)
    assert (second.rows, second.trained_rows) == (3200, first.trained_rows)  # taken in, not trained anew
    assert second.recall >= ivf.LEAST_RECALL
    assert len(list(workspace.indexes_dir.glob("*.faiss"))) == 1


def test_its_recall_is_always_of_rows_that_training_did_not_see(
    many: Encoder, build: Any, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ivf, "_TRAINING_ROWS", 10)
    monkeypatch.setattr(ivf, "LEAST_RECALL", 0.0)  # extended whatever is measured
    lists = ivf.build(workspace, many).lists
    order = np.random.default_rng(0).permutation(3000)
    trained_on = order[100 : 100 + 10 * lists]
    asked = []
    recall = ivf.recall

    def watched(trained: Any, values: Any, queries: np.ndarray, truth: Any) -> float:
        asked.append(queries)
        return recall(trained, values, queries, truth)

    monkeypatch.setattr(ivf, "recall", watched)
    for count in (50, 70):
        build.vectors(more_images(workspace, count), clustered(count, seed=count))
        ivf.build(workspace, many)
        assert len(np.unique(asked[-1])) == 100
        assert not np.isin(asked[-1], trained_on).any()
    assert ivf.status(workspace, many).report.trained_rows == 3000


def test_it_is_trained_anew_when_nothing_is_left_to_measure_it_on(
    many: Encoder, build: Any, workspace: Workspace
) -> None:
    first = ivf.build(workspace, many)
    assert first.lists * 40 > 3000  # training saw all but the held out
    held_out = np.random.default_rng(0).permutation(3000)[:100]
    with workspace.database.write() as session:
        session.execute(delete(Embedding).where(Embedding.row.in_(held_out[1:].tolist())))
    assert ivf.build(workspace, many).built_at > first.built_at
    trained = ivf.load(workspace, many, 3000)
    assert trained is not None
    assert len(np.setdiff1d(np.arange(3000), trained.trained_on)) >= 199


def test_it_is_trained_anew_when_its_recall_has_fallen(many: Encoder, build: Any, workspace: Workspace) -> None:
    ivf.build(workspace, many)
    elsewhere = np.random.default_rng(1).normal(size=(3000, 16)) + 40  # one corner of the lists holds all of it
    build.vectors(more_images(workspace, 3000), elsewhere)
    assert ivf.status(workspace, many).due
    report = ivf.build(workspace, many)
    assert report.trained_rows == 6000
    assert report.recall >= ivf.LEAST_RECALL


def test_a_gap_is_never_found(many: Encoder, build: Any, workspace: Workspace) -> None:
    from store.vectors import VectorFile

    build.vectors(more_images(workspace, 5), clustered(5))
    ivf.build(workspace, many)
    file = VectorFile(workspace.vectors_dir, many)
    with file.path.open("r+b") as damaged:
        damaged.seek(3001 * 16 * 4)
        damaged.write(b"\xff\xff\xff\xff")  # a NaN
    assert file.forget_damaged(workspace.database) == 5
    searcher = opened(workspace, many)
    assert ivf.load(workspace, many, len(searcher.image_ids)) is None  # the file is shorter than the index knows
    found, _ = searcher.nearest(searcher.directions([1])[0], 3000)
    assert sorted(found.tolist()) == list(range(3000))


def test_a_build_that_fails_leaves_the_old_one(
    many: Encoder, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    ivf.build(workspace, many)

    def full(*args: Any, **arrays: Any) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", full)
        with pytest.raises(OSError, match="No space"):
            ivf.build(workspace, many, anew=True)
    assert ivf.load(workspace, many, 3000) is not None
    ivf.build(workspace, many, anew=True)
    assert len(list(workspace.indexes_dir.glob("*.faiss"))) == 1  # what was left over is gone


def test_a_build_in_the_background_that_fails_is_told_and_not_begun_again_at_once(
    many: Encoder, workspace: Workspace
) -> None:
    others = psutil.Process().children()  # other tests' servers
    (path,) = workspace.vectors_dir.iterdir()
    whole = path.read_bytes()
    path.write_bytes(np.float32(np.nan).tobytes() + whole[4:])
    assert ivf.build_in_background(workspace, many)
    failure = eventually(lambda: ivf.status(workspace, many).failure)
    assert failure.reason == "Vectors on disk hold NaN or infinity. Run: winnow verify --repair."
    eventually(lambda: "IntegrityError: Vectors on disk hold NaN" in ivf.log_of(workspace).read_text())
    eventually(lambda: set(psutil.Process().children()) <= set(others))  # not even a zombie
    assert not ivf.build_in_background(workspace, many)
    path.write_bytes(whole)
    ivf.build(workspace, many)
    assert ivf.status(workspace, many).failure is None


def test_a_build_that_was_killed_is_told(many: Encoder, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "import os, signal; from curation import ivf; ivf.train = lambda *_: os.kill(os.getpid(), signal.SIGKILL)"
    script += f"; ivf.main({str(workspace.home)!r}, {many.name!r})"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL
    failure = ivf.status(workspace, many).failure
    assert failure is not None
    assert "killed" in failure.reason
    with ivf._locked(workspace, many):
        assert ivf.status(workspace, many).failure is None  # it is under way again
    now = datetime.now(UTC) + timedelta(days=2)
    monkeypatch.setattr(ivf, "datetime", SimpleNamespace(now=lambda zone: now, fromisoformat=datetime.fromisoformat))
    others = psutil.Process().children()
    assert ivf.build_in_background(workspace, many)  # after a day it is tried again
    eventually(lambda: set(psutil.Process().children()) <= set(others))
    assert ivf.status(workspace, many).report is not None


@pytest.mark.parametrize("damage", ["pointer", "faiss", "npz", "gone"])
def test_a_damaged_index_is_as_good_as_none(many: Encoder, workspace: Workspace, damage: str) -> None:
    ivf.build(workspace, many)
    path = next(
        workspace.indexes_dir.glob({"pointer": "*.json", "faiss": "*.faiss", "npz": "*.npz", "gone": "*.faiss"}[damage])
    )
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    searcher = opened(workspace, many)
    found, _ = searcher.nearest(searcher.directions([1])[0], 5)
    assert found[0] == 0
    ivf.build(workspace, many)
    assert ivf.load(workspace, many, 3000) is not None


def test_one_build_at_a_time(many: Encoder, workspace: Workspace) -> None:
    with ivf._locked(workspace, many), pytest.raises(ConflictError, match="being built by another process"):
        ivf.build(workspace, many)


def test_few_vectors_need_no_index(build: Any, workspace: Workspace) -> None:
    encoder = build.vectors(build.images(3), np.eye(3))
    assert not ivf.status(workspace, encoder).due
    assert not ivf.build_in_background(workspace, encoder)
    with pytest.raises(ConflictError, match="searched exactly faster"):
        ivf.build(workspace, encoder)


def test_the_same_vectors_give_the_same_lists() -> None:
    values = clustered(1500)
    first, second = (ivf.train(values, np.arange(1500)) for _ in range(2))
    query = ivf.directions(values, np.arange(20), first.mean, first.inverse_norms)
    assert np.array_equal(ivf.propose(first, query), ivf.propose(second, query))
    assert first.report.probes == second.report.probes


def eventually(ask: Callable[[], Any]) -> Any:
    """What it says once it says something."""
    deadline = time.monotonic() + 60
    while not (said := ask()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return said


def more_images(workspace: Workspace, count: int) -> list[ImageId]:
    """Images besides those that Builder.images numbers from 0."""
    import hashlib

    from sqlalchemy import insert, select

    from store import schema

    with workspace.database.write() as session:
        start = len(session.scalars(select(schema.Image.id)).all())
        rows = []
        for i in range(start, start + count):
            sha256 = hashlib.sha256(f"more {i}".encode()).hexdigest()
            one = {"sha256": sha256, "pixels_sha256": sha256, "phash": sha256[:16], "width": 8, "height": 8}
            rows.append({**one, "format": "PNG", "bytes": 100})
        found = session.scalars(insert(schema.Image).returning(schema.Image.id, sort_by_parameter_order=True), rows)
        return [ImageId(image_id) for image_id in found]
