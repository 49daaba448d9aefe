import json
import subprocess
import sys

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image
from sqlalchemy import select

from curation import explore, mongodb
from store import schema
from store.errors import ConflictError, NotFoundError
from store.workspace import open_workspace
from tests.conftest import Builder

_COUNT = 30

# FiftyOne is imported in processes of its own only: it takes long, keeps threads, and warns.
_READ = """
import json
import fiftyone as fo
dataset = fo.load_dataset("winnow")
labels = dataset.exists("label")
json.dump({
    "datasets": fo.list_datasets(),
    "persistent": dataset.persistent,
    "media_type": dataset.media_type,
    "schema": {name: type(field).__name__ for name, field in dataset.get_field_schema().items()},
    "paths": dataset.values("filepath"),
    "sizes": dataset.values("metadata.width"),
    "image_ids": dataset.values("image_id"),
    "labels": dict(zip(map(str, labels.values("image_id")), labels.values("label.label"))),
    "confidences": labels.distinct("label.confidence"),
    "predictions": dataset.count_values("prediction_probe.label"),
    "details_cell_type": dataset.count_values("details_cell_type"),
    "views": {name: sorted(dataset.load_saved_view(name).values("image_id")) for name in dataset.list_saved_views()},
    "batches": {
        name: list(zip(*(view.values(f"batch_{name[6:]}.{part}") for part in ("rank", "arm.label", "score", "why"))))
        for name in dataset.list_saved_views() if name.startswith("batch ")
        for view in [dataset.load_saved_view(name)] if view.has_field(f"batch_{name[6:]}")
    },
    "wanted": dataset.load_saved_view("batch 2").values("image_id"),
    "fields of batch 2": [name for name in dataset.load_saved_view("batch 2").get_field_schema() if "batch_" in name],
    "arms": dataset.count_values("batch_2.arm.label"),
    "groups": [group.name for group in dataset.app_config.sidebar_groups],
    "shown": dataset.app_config.active_fields.paths,
    "map": dataset.load_brain_results("umap").points.tolist(),
    "workspaces": dataset.list_workspaces(),
}, open(OUT, "w"))
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A workspace with 30 real pictures, two of them named like no picture, and what there is to show of them."""
    folder = tmp_path_factory.mktemp("explore")
    build = Builder(open_workspace(folder / "home"))
    ids = build.images(_COUNT)
    build.vectors(ids, np.random.default_rng(0).normal(size=(_COUNT, 8)))
    build.labels(dict.fromkeys(ids[:6], "cat"))
    build.batch(ids[13:9:-1], arms=["uncertain", "diverse", "random", "uncertain"])
    with build.workspace.database.write() as session:
        for i, sighting in enumerate(session.scalars(select(schema.Sighting).order_by(schema.Sighting.image_id))):
            sighting.uri = str(folder / (f"{i}.png" if i > 1 else f"{i}.data"))
            sighting.details = {"cell type": "mono" if i % 3 else "poly", "a.$b": i, "": "x", "filepath": "/nowhere"}
            Image.new("RGB", (8, 8), (8 * i, 255 - 8 * i, 90)).save(sighting.uri, format="PNG")
        encoder_id = session.scalar(select(schema.Encoder.id))
        session.add(schema.PredictionRun(id=1, model="probe", digest="p", classes=["cat", "dog"], report={}))
        session.add(schema.DuplicateScan(id=1, digest="d", encoder_id=encoder_id, report={"max_residual": 0.08}))
        session.flush()
        for i, image_id in enumerate(ids):
            chances = np.array([0.9, 0.1] if i < 20 else [0.2, 0.8], dtype="<f4")
            session.add(schema.Prediction(run_id=1, image_id=image_id, probabilities=chances.tobytes()))
        session.add(schema.DuplicateGroup(id=1, scan_id=1, representative_id=ids[4]))
        session.add(schema.FailureScan(id=1, run_id=1, report={}))
        session.flush()
        for image_id, kind in [(ids[4], "representative"), (ids[5], "pixels")]:
            session.add(schema.DuplicateMember(group_id=1, image_id=image_id, kind=kind, distance=0))
        cluster = {"failures": 1, "labelled": 1, "failure_rate": 1, "lift": 1, "interval_low": 0, "interval_high": 1}
        session.add(schema.FailureCluster(id=1, scan_id=1, name="night", **cluster))
        session.add(schema.Version(id="a" * 64, name="Café!", number=1, manifest={}, gates=[]))
        session.flush()
        session.add(schema.FailureMember(cluster_id=1, image_id=ids[7], failure=None))
        label = session.scalar(select(schema.Label).where(schema.Label.image_id == ids[0]))
        session.add(schema.VersionItem(version_id="a" * 64, image_id=ids[0], label_id=label.id, split="train"))
        task = session.scalar(select(schema.Task).where(schema.Task.image_id == ids[1]))
        session.add(schema.Verdict(task_id=task.id, outcome="adjudication", answer=None, posterior=0.5, evidence={}))
    return build, ids


@pytest.fixture(scope="module")
def view(images):
    build, _ = images
    opened = explore.start(build.workspace)
    yield opened
    opened.stop()


def read(workspace, database, tmp_path):
    """What FiftyOne itself finds in the dataset."""
    out = tmp_path / "read.json"
    script = f"OUT = {str(out)!r}\n{_READ}"
    subprocess.run(
        [sys.executable, "-c", script], env=explore.environment(workspace, database), check=True, timeout=120
    )
    return json.loads(out.read_text())


def test_the_dataset_says_what_the_catalog_says_and_the_next_one_replaces_it(images, view, tmp_path):
    build, ids = images
    assert view.summary.images == view.summary.on_the_map == _COUNT
    assert "batch 3" not in view.summary.views
    build.labels({ids[0]: "dog", ids[8]: "dog"})
    summary = explore.build(build.workspace, view.database)
    seen = read(build.workspace, view.database, tmp_path)
    assert seen["datasets"] == ["winnow"]
    assert seen["persistent"]
    assert seen["media_type"] == "image"
    assert sorted(seen["image_ids"]) == ids
    assert seen["sizes"] == [8] * _COUNT
    assert sum(path.endswith(".data") for path in seen["paths"]) == 2
    labels = dict.fromkeys(ids[:6], "cat") | {ids[0]: "dog", ids[8]: "dog"}
    del labels[ids[1]]  # it went to adjudication: no label of it is in force
    assert seen["labels"] == {str(image_id): label for image_id, label in labels.items()}
    assert seen["confidences"] == [0.99]
    assert seen["predictions"] == {"cat": 20, "dog": 10}
    assert seen["details_cell_type"] == {"mono": 20, "poly": 10}
    assert {name: seen["schema"][name] for name in ("details_a_b", "details_filepath", "details", "label")} == {
        "details_a_b": "IntField",
        "details_filepath": "StringField",
        "details": "StringField",
        "label": "EmbeddedDocumentField",
    }
    assert set(seen["schema"]) >= set(summary.fields)
    assert seen["views"] == {
        "duplicates": ids[4:6],
        "failures": [ids[7]],
        "disputed": [ids[1]],
        "batch 1": ids[:6],
        "batch 2": ids[10:14],
        "batch 3": [ids[0], ids[8]],
        "version Café! 1": [ids[0]],
    }
    assert seen["wanted"] == ids[13:9:-1]
    assert seen["batches"]["batch 2"] == [
        [rank, arm, 0.0, "a test"] for rank, arm in enumerate(["uncertain", "diverse", "random", "uncertain"])
    ]
    assert seen["batches"]["batch 3"] == [[rank, "diverse", 0.0, "a test"] for rank in (0, 1)]
    assert seen["fields of batch 2"] == ["batch_2"]
    assert seen["arms"] == {"uncertain": 2, "diverse": 1, "random": 1, "null": _COUNT - 4}
    assert seen["groups"][2:6] == ["labels", "batch_3", "batch_2", "batch_1"]
    assert {"label", "batch_2.arm", "batch_2.rank", "batch_2.score"} <= set(seen["shown"])
    assert "batch_2.why" not in seen["shown"]
    assert sorted(summary.views) == sorted(seen["views"])
    assert np.isfinite(seen["map"]).all()
    assert len(seen["map"]) == _COUNT
    assert seen["workspaces"] == ["umap"]


def test_the_app_shows_the_pictures(view, page):
    pictures = {}
    page.on("response", lambda response: pictures.update({response.url: response.status}))
    page.goto(view.url)
    page.locator('[data-cy="looker"]').first.wait_for(timeout=60_000)
    page.get_by_text(f"{_COUNT} samples").wait_for()
    drawn = "document.querySelectorAll('[data-cy=looker] canvas[canvas-loaded=true]').length"
    page.wait_for_function(f"{drawn} == {_COUNT}")
    assert [status for url, status in pictures.items() if "/media?" in url] == [200] * _COUNT
    page.locator(".emb-runs-stack").get_by_text("umap", exact=True).wait_for()
    page.get_by_text("prediction_probe", exact=True).first.wait_for()


def test_a_batch_is_explained_in_the_app(view, page):
    page.goto(f"{view.url.partition('?')[0]}?view=batch-2")
    page.locator('[data-cy="looker"]').first.wait_for(timeout=60_000)
    page.get_by_text("4 samples").wait_for()
    for part in ("arm", "rank", "score", "why"):
        page.locator(f'[data-cy="sidebar-field-container-batch_2.{part}"]').wait_for()
    assert page.locator('[data-cy^="sidebar-field-container-batch_1."]').count() == 0
    page.locator('[data-cy="looker"]').first.dispatch_event("click")  # an advertisement may lie over it
    page.get_by_text("a test", exact=True).wait_for()


def test_a_view_that_is_open_is_not_opened_twice(images, view):
    with pytest.raises(ConflictError, match="open already"):
        explore.start(images[0].workspace)
    assert httpx.get(f"http://127.0.0.1:{view.app.port}/fiftyone").is_success


def test_nothing_goes_to_the_users_own_folders(images, view, tmp_path, monkeypatch):
    monkeypatch.setenv("FIFTYONE_DATABASE_URI", "mongodb://example.com")
    monkeypatch.setenv("FIFTYONE_PLUGINS_DIR", str(tmp_path))
    workspace = images[0].workspace
    settings = explore.environment(workspace, view.database)
    assert settings["FIFTYONE_DATABASE_URI"] == mongodb.uri(view.database)
    assert "FIFTYONE_PLUGINS_DIR" not in settings
    assert settings["HOME"].startswith(str(workspace.home))
    assert settings["FIFTYONE_DO_NOT_TRACK"] == "true"


def test_an_empty_catalog_is_a_sentence_and_starts_nothing(workspace):
    with pytest.raises(NotFoundError, match="no image to explore yet"):
        explore.start(workspace)
    assert not (workspace.home / "mongodb").exists()
    assert not [child for child in psutil.Process().children() if str(workspace.home) in " ".join(child.cmdline())]
