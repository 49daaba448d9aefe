"""Predictions from a file: what fits is imported as one run, what does not is counted by its reason."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from scipy.special import logsumexp, softmax
from sqlalchemy import func, select

from curation import prediction_checks, predictions
from curation import prediction_files as files
from curation.prediction_checks import Form
from curation.prediction_import import ImportSummary, import_file
from store.errors import ConflictError, InvalidInputError, NotFoundError
from store.schema import Image, ImageId, PredictionRun
from store.workspace import Workspace

CLASSES = ["cat", "dog", "owl"]


def save(path: Path, rows: Iterable[Any]) -> Path:
    """JSON Lines; a string is a line as it is."""
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def imported(workspace: Workspace, path: Path, **options: Any) -> ImportSummary:
    return import_file(workspace, path, **{"model": "ours", "classes": CLASSES} | options)


def stored(workspace: Workspace, image_ids: Iterable[int], model: str = "ours") -> np.ndarray:
    """The passes (N, M, C) of the newest run."""
    with workspace.database.read() as session:
        run = predictions.newest_run(session, model)
        return predictions.read_passes(session, run, [ImageId(i) for i in image_ids])


def reasons(summary: ImportSummary) -> dict[str, list[int]]:
    return {one.reason: one.rows for one in summary.refused}


def test_a_run_of_probabilities_has_no_energies(workspace: Workspace, build: Any, tmp_path: Path) -> None:
    build.images(1)
    imported(workspace, save(tmp_path / "a.jsonl", [{"image": 1, "probabilities": [1, 0, 0]}]))
    with workspace.database.read() as session, pytest.raises(NotFoundError, match="says nothing of image 1"):
        predictions.read_energies(session, predictions.newest_run(session, "ours"), [ImageId(1)])


def test_an_image_is_named_in_three_ways(workspace: Workspace, build: Any, tmp_path: Path) -> None:
    build.images(3)
    with workspace.database.read() as session:
        sha256 = session.scalars(select(Image.sha256).where(Image.id == 2)).one()
    rows = [
        {"uri": "/photos/2.png", "probabilities": [0.2, 0.3, 0.5]},
        {"sha256": sha256.upper(), "probabilities": [0, 1, 0]},
        {"image": 1, "probabilities": {"owl": 0.25, "cat": 0.75}},
    ]
    done = imported(workspace, save(tmp_path / "a.jsonl", rows))
    assert (done.imported, done.refused, done.classes, done.passes) == (3, [], CLASSES, 1)
    assert stored(workspace, [1, 3, 2])[:, 0].tolist() == [
        [0.75, 0, 0.25],
        pytest.approx([0.2, 0.3, 0.5]),
        [0, 1, 0],
    ]


def test_logits_are_softened_and_passes_kept(workspace: Workspace, build: Any, tmp_path: Path) -> None:
    build.images(2)
    logits = np.array([[1.0, 2.0, -3.0], [1000.0, 0.0, -1000.0]])
    rows = [{"image": i + 1, "logits": row} for i, row in enumerate(logits.tolist())]
    imported(workspace, save(tmp_path / "a.jsonl", rows))
    np.testing.assert_allclose(stored(workspace, [1, 2])[:, 0], softmax(logits, axis=1), atol=1e-7)
    with workspace.database.read() as session:
        energies = predictions.read_energies(session, predictions.newest_run(session, "ours"), [ImageId(2), ImageId(1)])
    np.testing.assert_allclose(energies, [-1000, -logsumexp(logits[0])], rtol=1e-6)
    rows = [{"image": 2, "passes": [[1, 0, 0], [0, 1, 0]]}, {"image": 1, "passes": [{"owl": 1}, [0.5, 0.5, 0]]}]
    assert imported(workspace, save(tmp_path / "b.jsonl", rows)).passes == 2
    assert stored(workspace, [1, 2]).tolist() == [[[0, 0, 1], [0.5, 0.5, 0]], [[1, 0, 0], [0, 1, 0]]]
    with workspace.database.read() as session:
        run = predictions.newest_run(session, "ours")
        means = predictions.read(session, run, [ImageId(2), ImageId(1)])
        assert means.tolist() == [[0.5, 0.5, 0], [0.25, 0.25, 0.5]]
        assert predictions.read(session, run, []).shape == (0, 3)
        with pytest.raises(NotFoundError, match=r"says nothing of image 8 and 1 more\."):
            predictions.read(session, run, [ImageId(1), ImageId(8), ImageId(9)])


def test_every_bad_row_has_its_reason_and_the_rest_is_imported(
    workspace: Workspace, build: Any, tmp_path: Path
) -> None:
    build.images(4)
    good = [0.2, 0.3, 0.5]
    rows = [
        {"image": 1, "probabilities": good},
        '{"image": 2, "probabilities": [NaN, 0.5, 0.5]}',
        '{"image": 2, "probabilities": [1e999, 0, 0]}',
        f'{{"image": 2, "probabilities": [1{"0" * 400}, 0, 0]}}',
        {"image": 2, "probabilities": [-0.1, 0.6, 0.5]},
        {"image": 2, "probabilities": [0.2, 0.3, 0.4]},
        {"image": 9, "probabilities": good},
        {"image": 2, "probabilities": {"cat": 0.5, "fox": 0.5}},
        {"image": 2, "probabilities": [0.5, 0.5]},
        {"image": 1, "probabilities": good},
        {"image": 2, "logits": good},
        {"image": 2, "probabilities": good, "logits": good},
        {"image": 2},
        '{"image": 2, "probabilities": [0.2,',
        "[1, 2]",
        "[" * 100_000,
        {"image": 2, "probabilities": ["0.2", "0.3", "0.5"]},
        {"image": 2, "probabilities": [True, False, False]},
        {"image": 2, "probabilities": "0.2"},
        {"image": 2, "probabilities": [[0.2, 0.3, 0.5]]},
        '{"uri": "\\ud800", "probabilities": [1, 0, 0]}',
        {"image": 2**80, "probabilities": good},
        {"image": True, "probabilities": good},
        {"sha256": 7, "probabilities": good},
        {"uri": None, "probabilities": good},
        "",
        {"image": 3, "probabilities": [0.2004, 0.3, 0.5]},
    ]
    done = imported(workspace, save(tmp_path / "a.jsonl", rows))
    assert reasons(done) == {
        prediction_checks.NOT_FINITE: [2, 3, 4],
        prediction_checks.NEGATIVE: [5],
        prediction_checks.NOT_ONE: [6],
        prediction_checks.UNKNOWN_IMAGE: [7, 21, 22, 23, 24, 25],
        prediction_checks.UNKNOWN_CLASS: [8],
        prediction_checks.OTHER_LENGTH: [9],
        prediction_checks.REPEATED: [10],
        prediction_checks.OTHER_KIND: [11],
        prediction_checks.NO_KIND: [12, 13],
        prediction_checks.UNPARSABLE: [14, 15, 16],
        prediction_checks.NO_NUMBER: [17, 18, 19, 20],
    }
    assert done.imported == 2
    assert stored(workspace, [3])[0, 0].sum() == pytest.approx(1, abs=1e-6)
    assert "2 hold none or several of probabilities, logits, passes, boxes: rows 12, 13" in done.remarks


def test_of_many_bad_rows_the_first_are_named(workspace: Workspace, build: Any, tmp_path: Path) -> None:
    build.images(1)
    rows = [{"image": 1, "probabilities": [1, 0, 0]}, *({"image": 7, "probabilities": [1, 0, 0]} for _ in range(3000))]
    (refused,) = imported(workspace, save(tmp_path / "a.jsonl", rows)).refused
    assert (refused.count, refused.rows) == (3000, list(range(2, 22)))


def test_passes_have_one_number(workspace: Workspace, build: Any, tmp_path: Path) -> None:
    build.images(4)
    one = [1, 0, 0]
    rows = [
        {"image": 1, "passes": [one, one]},
        {"image": 2, "passes": [one]},
        {"image": 2, "passes": []},
        {"image": 2, "passes": one},
        {"image": 2, "passes": 7},
        {"image": 2, "probabilities": one},
        {"image": 2, "passes": [one, None]},
        {"image": 2, "passes": [one, [0.5, 0.5, 0.5]]},
    ]
    assert reasons(imported(workspace, save(tmp_path / "a.jsonl", rows))) == {
        prediction_checks.OTHER_PASSES: [2, 4],
        prediction_checks.OTHER_KIND: [3, 6],
        prediction_checks.NO_NUMBER: [5, 7],
        prediction_checks.NOT_ONE: [8],
    }


def test_the_same_again_is_a_no_op_in_any_order(workspace: Workspace, build: Any, tmp_path: Path) -> None:
    build.images(3)
    rows = [{"image": i, "probabilities": {"cat": 1 - i / 10, "dog": i / 10}} for i in (1, 2, 3)]
    first = imported(workspace, save(tmp_path / "a.jsonl", rows), classes=None)
    again = imported(workspace, save(tmp_path / "b.jsonl", rows[::-1]), classes=None)
    assert (first.already, again.already, again.run) == (False, True, first.run)
    rows[1]["probabilities"] = {"cat": 0, "dog": 1}
    assert imported(workspace, save(tmp_path / "a.jsonl", rows), classes=None).run != first.run
    assert imported(workspace, tmp_path / "a.jsonl", classes=None, model="theirs").run not in (first.run, first.run + 1)
    with workspace.database.read() as session:
        assert [(run.id, run.model, run.images) for run in predictions.list_runs(session)] == [
            (3, "theirs", 3),
            (2, "ours", 3),
            (1, "ours", 3),
        ]


def test_where_classes_come_from(workspace: Workspace, build: Any, tmp_path: Path) -> None:
    build.images(2)
    objects = save(
        tmp_path / "a.jsonl", [{"image": 1, "probabilities": {"b": 1}}, {"image": 2, "probabilities": {"a": 1}}]
    )
    assert imported(workspace, objects, classes=None).classes == ["a", "b"]
    assert imported(workspace, objects, classes=["b", "a"]).classes == ["b", "a"]
    lists = save(tmp_path / "b.jsonl", [{"image": 1, "probabilities": [1, 0]}])
    with pytest.raises(InvalidInputError, match="0 taxonomies"):
        imported(workspace, lists, classes=None)
    build.taxonomy(["dog", "cat"])
    assert imported(workspace, lists, classes=None).classes == ["dog", "cat"]
    for bad in (["a", "a"], ["a", ""], ["a"], ["a", "\ud800"]):
        with pytest.raises(InvalidInputError, match="class"):
            imported(workspace, lists, classes=bad)


def test_parquet_says_what_json_says(workspace: Workspace, build: Any, tmp_path: Path) -> None:
    build.images(4)
    values = [[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], None, [0.5, 0.5, 0.5]]
    ids = pa.array([1, 2, 3, 4])
    shapes = {
        "list": pa.array(values, pa.list_(pa.float32())),
        "large": pa.array(values, pa.large_list(pa.float64())),
        "half": pa.array([value and list(map(np.float16, value)) for value in values], pa.list_(pa.float16())),
        "fixed": pa.array(values, pa.list_(pa.float32(), 3)),
        "struct": pa.array([dict(zip(CLASSES, value, strict=True)) if value else None for value in values]),
        "map": pa.array(
            [list(zip(CLASSES, value, strict=True)) if value else None for value in values],
            pa.map_(pa.string(), pa.float64()),
        ),
    }
    for name, column in shapes.items():
        path = tmp_path / f"{name}.parquet"
        parquet.write_table(pa.table({"image": ids, "probabilities": column, "noise": ids}), path)
        done = imported(workspace, path, model=name)
        assert reasons(done) == {prediction_checks.NO_KIND: [3], prediction_checks.NOT_ONE: [4]}, name
        assert stored(workspace, [1], name)[0, 0].tolist() == pytest.approx([0.2, 0.3, 0.5], rel=1e-3)
    passes = pa.array([[values[0], values[1]], [values[0], None], None, [values[1], values[0]]])
    parquet.write_table(pa.table({"image": ids, "passes": passes}), tmp_path / "passes.parquet")
    done = imported(workspace, tmp_path / "passes.parquet", model="passes")
    assert reasons(done) == {prediction_checks.NO_NUMBER: [2], prediction_checks.NO_KIND: [3]}
    assert stored(workspace, [4], "passes")[0].tolist() == [[1, 0, 0], pytest.approx([0.2, 0.3, 0.5])]


def box(edges: Any, **values: Any) -> dict[str, Any]:
    return {"box": edges, "class": "cat", "score": 0.5} | values


def test_boxes_are_kept_in_pixels_of_the_image(workspace: Workspace, build: Any, tmp_path: Path) -> None:
    build.images(3)  # of 8 × 8 pixels
    rows = [
        {"image": 2, "boxes": [box([1, 2, 3, 4]), box([-0.5, 0, 9, 8], probabilities={"cat": 0.9, "dog": 0.1})]},
        {"image": 1, "boxes": []},
    ]
    done = imported(workspace, save(tmp_path / "a.jsonl", rows), classes=None)
    assert (done.kind, done.classes, done.passes, done.imported) == ("boxes", ["cat", "dog"], 1, 2)
    assert imported(workspace, tmp_path / "a.jsonl", classes=None).already
    with workspace.database.read() as session:
        run = predictions.newest_run(session, "ours")
        ((nothing,), ((first, second),)) = predictions.read_boxes(session, run, [ImageId(1), ImageId(2)])
        with pytest.raises(NotFoundError, match="says nothing of image 3"):
            predictions.read_boxes(session, run, [ImageId(3)])
        assert predictions.list_runs(session)[0].images == 2
    assert nothing == []
    assert first == predictions.Box(1, 2, 3, 4, "cat", 0.5, None)
    assert (second.x, second.y, second.width, second.height) == (0, 0, 8, 8)
    assert second.probabilities == pytest.approx([0.9, 0.1])


def test_bad_boxes_refuse_their_row(workspace: Workspace, build: Any, tmp_path: Path) -> None:
    build.images(2)
    bad = [
        (box([1, 1, 0, 3]), prediction_checks.NO_AREA),
        (box([1, 1, 3, -2]), prediction_checks.NO_AREA),
        (box([8.5, 1, 0.2, 1]), prediction_checks.NO_AREA),  # nothing is left inside
        (box([6, 6, 3.5, 1]), prediction_checks.OUTSIDE),
        (box([-2, 0, 5, 5]), prediction_checks.OUTSIDE),
        (box([1, 1, float("nan"), 1]), prediction_checks.NOT_FINITE),
        (box([1, 1, "1", 1]), prediction_checks.NO_NUMBER),
        (box([1, 1, 1]), prediction_checks.NO_BOXES),
        (box([1, 1, 1, 1], score=1.5), prediction_checks.BAD_SCORE),
        (box([1, 1, 1, 1], score=-0.1), prediction_checks.BAD_SCORE),
        (box([1, 1, 1, 1], score=None), prediction_checks.NO_NUMBER),
        (box([1, 1, 1, 1], **{"class": "fox"}), prediction_checks.UNKNOWN_CLASS),
        (box([1, 1, 1, 1], **{"class": 3}), prediction_checks.NO_BOXES),
        (box([1, 1, 1, 1], probabilities=[0.5, 0.1, 0.1]), prediction_checks.NOT_ONE),
        ({"box": [1, 1, 1, 1]}, prediction_checks.NO_BOXES),
        (7, prediction_checks.NO_BOXES),
    ]
    rows = [{"image": 1, "boxes": [box([1, 1, 1, 1])]}, *({"image": 2, "boxes": [one]} for one, _ in bad)]
    expected: dict[str, list[int]] = {}
    for number, (_, reason) in enumerate(bad, start=2):
        expected.setdefault(reason, []).append(number)
    assert reasons(imported(workspace, save(tmp_path / "a.jsonl", rows))) == expected


def test_passes_of_boxes(workspace: Workspace, build: Any, tmp_path: Path) -> None:
    build.images(3)
    rows = [
        {"image": 1, "passes": [[], []]},
        {"image": 2, "passes": [[box([0, 0, 1, 1])], []]},
        {"image": 3, "passes": [[box([0, 0, 1, 1])]]},
    ]
    done = imported(workspace, save(tmp_path / "a.jsonl", rows), classes=None)
    assert (done.kind, done.classes, done.passes) == ("boxes", ["cat"], 2)
    assert reasons(done) == {prediction_checks.OTHER_PASSES: [3]}
    with workspace.database.read() as session:
        run = predictions.newest_run(session, "ours")
        found = predictions.read_boxes(session, run, [ImageId(2), ImageId(1)])
    assert [[len(boxes) for boxes in passes] for passes in found] == [[1, 0], [0, 0]]


def test_files_that_cannot_be_read_are_said(workspace: Workspace, build: Any, tmp_path: Path) -> None:
    build.images(1)
    (tmp_path / "a.parquet").write_bytes(b"PAR1 not really PAR1")
    parquet.write_table(pa.table({"image": [1], "guess": [0.5]}), tmp_path / "other.parquet")
    (tmp_path / "a.csv").write_text("uri\n")
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "bytes.jsonl").write_bytes(bytes(range(256)))
    with pytest.raises(NotFoundError, match="There is no file"):
        imported(workspace, tmp_path / "none.jsonl")
    for name, complaint in (
        ("a.parquet", "cannot be read"),
        ("a.csv", "neither"),
        ("other.parquet", "No row of"),
        ("empty.jsonl", "No row of"),
        ("bytes.jsonl", "No row of"),
    ):
        with pytest.raises(InvalidInputError, match=complaint):
            imported(workspace, tmp_path / name)
    nothing = save(tmp_path / "unknown.jsonl", [{"image": 5, "probabilities": [1, 0, 0]}])
    with pytest.raises(InvalidInputError, match="1 name no image of the catalog: rows 1"):
        imported(workspace, nothing)
    with pytest.raises(ConflictError, match="built-in"):
        imported(workspace, nothing, model="probe")
    with pytest.raises(InvalidInputError, match="needs a name"):
        imported(workspace, nothing, model=" ")
    with workspace.database.read() as session:
        assert session.scalar(select(func.count()).select_from(PredictionRun)) == 0
    assert not [path for path in workspace.home.iterdir() if path.name.startswith("tmp")]


def test_a_killed_import_leaves_nothing_and_completes(workspace: Workspace, build: Any, tmp_path: Path) -> None:
    build.images(3)
    path = save(tmp_path / "a.jsonl", [{"image": i, "probabilities": {"a": 1, "b": 0}} for i in (1, 2, 3)])
    command = [sys.executable, "-m", "api.cli.main", "--home", str(workspace.home), "predictions", "import"]
    command += [str(path), "--model", "ours"]
    killed = subprocess.run(
        command, check=False, env=os.environ | {"WINNOW_FAIL_POINT": "predictions.before_commit"}, cwd=Path.cwd()
    )
    assert killed.returncode == -signal.SIGKILL
    with workspace.database.read() as session:
        assert predictions.list_runs(session) == []
    done = imported(workspace, path, classes=None)
    assert (done.imported, done.already, stored(workspace, [1, 2, 3]).shape) == (3, False, (3, 1, 2))


def test_blocks_are_numbered_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_BLOCK", 2)
    path = save(tmp_path / "a.jsonl", ['\ufeff{"a": 1}', "", {"a": 3}, {"a": 4}])
    assert list(files.blocks(path)) == [[(1, {"a": 1}), (3, {"a": 3})], [(4, {"a": 4})]]
    parquet.write_table(pa.table({"photo": [b"large"] * 3, "image": [1, 2, 3]}), tmp_path / "a.parquet")
    assert list(files.blocks(tmp_path / "a.parquet")) == [[(1, {"image": 1}), (2, {"image": 2})], [(3, {"image": 3})]]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*CLASSES, "box", "score", "x"]), inner)
    ),
    max_leaves=12,
)


@given(row=st.dictionaries(st.sampled_from([*prediction_checks.KEYS, "image"]), JSON))
def test_no_row_raises_anything_else(row: dict[str, Any]) -> None:
    prediction_checks.names(row)
    for form in (Form("probabilities", CLASSES, 1), Form("logits", CLASSES, 1), Form("passes", CLASSES, 2)):
        values, (reason,) = prediction_checks.stack([row], form)
        assert reason or (np.isfinite(values).all() and values.sum(axis=2) == pytest.approx(1))
    for form in (Form("boxes", CLASSES, 1), Form("passes of boxes", CLASSES, 2)):
        try:
            prediction_checks.check_boxes(row, form, width=8, height=8)
        except prediction_checks.RowError:
            continue
