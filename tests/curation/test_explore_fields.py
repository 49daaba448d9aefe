import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select

from curation import explore_fields
from curation.explore_fields import Answer, Reason
from store import schema


@pytest.fixture
def images(workspace, build, tmp_path):
    """Four images, a file behind each."""
    ids = build.images(4, scenes=["roof", None, None, None])
    with workspace.database.write() as session:
        for sighting in session.scalars(select(schema.Sighting)):
            sighting.uri = str(tmp_path / os.path.basename(sighting.uri))
            open(sighting.uri, "w").close()
    return ids


def read(workspace):
    with workspace.database.read() as session:
        return explore_fields.read(session, workspace.originals_dir)


def values(workspace, field):
    """The field's value by image id."""
    return {item.image_id: item.values[field] for item in read(workspace).items if field in item.values}


def set_details(workspace, details):
    with workspace.database.write() as session:
        for image_id, columns in details.items():
            session.scalar(select(schema.Sighting).where(schema.Sighting.image_id == image_id)).details = columns


def test_an_empty_catalog_has_nothing_to_show(workspace):
    assert read(workspace) == explore_fields.Catalog([], {}, [], [], 0)


def test_items_come_in_the_order_of_their_sha256_with_the_first_current_file_that_is_there(
    workspace, build, images, tmp_path
):
    with workspace.database.write() as session:
        for image_id, name, current in [(images[0], "00-gone", True), (images[1], "00-changed", False)]:
            if not current:
                (tmp_path / name).touch()
            session.add(
                schema.Sighting(
                    image_id=image_id,
                    uri=str(tmp_path / name),
                    source="attic",
                    details={},
                    bytes=1,
                    modified_ns=0,
                    current=current,
                )
            )
    os.unlink(tmp_path / "3.png")
    catalog = read(workspace)
    assert {item.image_id: os.path.basename(item.path) for item in catalog.items} == {
        images[0]: "0.png",
        images[1]: "1.png",
        images[2]: "2.png",
    }
    assert catalog.without_file == 1
    hashes = [item.values["sha256"] for item in catalog.items]
    assert hashes == sorted(hashes)
    assert values(workspace, "source") == dict.fromkeys(images[:3], "photos")
    assert values(workspace, "scene") == {images[0]: "roof"}


def test_the_label_in_force_and_its_posterior(workspace, build, images):
    build.labels({images[0]: "cat", images[1]: "cat"})
    build.labels({images[0]: "dog"})
    assert values(workspace, "label") == {images[0]: Answer("dog", 0.99), images[1]: Answer("cat", 0.99)}


def test_two_taxonomies_have_a_field_each(workspace, build, images):
    build.labels({images[0]: "cat"})
    with workspace.database.write() as session:
        other = schema.Taxonomy(
            name="sharp?", revision=1, task_kind="classification", classes=[{"name": "yes"}], guideline=""
        )
        session.add(other)
    build.labels({images[1]: "yes"})
    assert values(workspace, "label_animals") == {images[0]: Answer("cat", 0.99)}
    assert values(workspace, "label_sharp") == {images[1]: Answer("yes", 0.99)}
    assert "label" not in read(workspace).fields


def test_predictions_of_the_newest_run_of_each_model(workspace, images):
    with workspace.database.write() as session:
        for run_id, (model, chances) in enumerate(
            [("probe", [1, 0]), ("probe", [0.25, 0.75]), ("ViT-L/14", [0.5, 0.5])]
        ):
            session.add(
                schema.PredictionRun(id=run_id + 1, model=model, digest=str(run_id), classes=["cat", "dog"], report={})
            )
            session.flush()
            probabilities = np.array(chances, dtype="<f4").tobytes()
            session.add(schema.Prediction(run_id=run_id + 1, image_id=images[0], probabilities=probabilities))
    assert values(workspace, "prediction_probe") == {images[0]: Answer("dog", 0.75)}
    assert values(workspace, "prediction_ViT_L_14") == {images[0]: Answer("cat", 0.5)}  # the first of equals


def test_duplicates_and_failures_come_from_the_newest_scan_only(workspace, build, images):
    encoder = build.vectors(images, np.eye(4))
    with workspace.database.write() as session:
        session.add(schema.PredictionRun(id=1, model="probe", digest="p", classes=["cat", "dog"], report={}))
        session.flush()
        for number, members in [(1, images[:3]), (2, images[2:])]:
            session.add(schema.DuplicateScan(id=number, digest=str(number), encoder_id=encoder.id, report={}))
            session.add(schema.FailureScan(id=number, run_id=1, report={}))
            session.flush()
            session.add(schema.DuplicateGroup(id=number, scan_id=number, representative_id=members[0]))
            session.add(
                schema.FailureCluster(
                    id=number,
                    scan_id=number,
                    name=f"cluster {number}",
                    failures=1,
                    labelled=1,
                    failure_rate=1,
                    lift=1,
                    interval_low=0,
                    interval_high=1,
                )
            )
            session.flush()
            for position, image_id in enumerate(members):
                kind = "embedding" if position else "representative"
                session.add(
                    schema.DuplicateMember(group_id=number, image_id=image_id, kind=kind, distance=position / 10)
                )
                failure = None if position else "confusion"
                session.add(schema.FailureMember(cluster_id=number, image_id=image_id, failure=failure))
    assert values(workspace, "duplicate_group") == {images[2]: 2, images[3]: 2}
    assert values(workspace, "duplicate_kind") == {images[2]: "representative", images[3]: "embedding"}
    assert values(workspace, "duplicate_distance") == {images[2]: 0.0, images[3]: 0.1}
    assert values(workspace, "failure_cluster") == {images[2]: "cluster 2", images[3]: "cluster 2"}
    assert values(workspace, "failure") == {images[2]: "confusion"}


def test_all_batches_of_an_image_and_the_reasons_of_each(workspace, build, images):
    first = build.batch(images[:2])
    second = build.batch([images[2], images[1]], arms=["uncertain", "random"])
    catalog = read(workspace)
    assert catalog.batches == [first, second]
    assert catalog.reasons == [f"batch_{second}", f"batch_{first}"]
    assert values(workspace, "batches") == {images[0]: [first], images[1]: [first, second], images[2]: [second]}
    assert values(workspace, f"batch_{first}") == {
        images[0]: Reason(0, "diverse", 0.0, "a test"),
        images[1]: Reason(1, "diverse", 0.0, "a test"),
    }
    assert values(workspace, f"batch_{second}") == {
        images[2]: Reason(0, "uncertain", 0.0, "a test"),
        images[1]: Reason(1, "random", 0.0, "a test"),
    }


def test_of_many_batches_the_newest_five_are_explained(workspace, build, images):
    ids = [build.batch(images[:1]) for _ in range(7)]
    assert read(workspace).reasons == [f"batch_{batch_id}" for batch_id in ids[:1:-1]]
    assert values(workspace, "batches") == {images[0]: ids}


def test_what_once_went_to_adjudication_is_disputed(workspace, build, images):
    build.labels({images[0]: "cat", images[1]: "dog"})
    with workspace.database.write() as session:
        task = session.scalar(select(schema.Task).where(schema.Task.image_id == images[1]))
        for outcome in ("adjudication", "accepted"):
            session.add(schema.Verdict(task_id=task.id, outcome=outcome, answer="dog", posterior=0.6, evidence={}))
    assert values(workspace, "disputed") == {images[1]: True}


def test_all_versions_of_an_image_and_its_split_in_the_newest(workspace, build, images):
    build.labels(dict.fromkeys(images[:2], "cat"))
    with workspace.database.write() as session:
        labels = session.scalars(select(schema.Label).order_by(schema.Label.image_id)).all()
        for number, labelled, split in [(1, labels, "val"), (2, labels[:1], "train")]:
            version = schema.Version(id=str(number) * 64, name="cells", number=number, manifest={}, gates=[])
            session.add(version)
            session.flush()
            for label in labelled:
                session.add(
                    schema.VersionItem(version_id=version.id, image_id=label.image_id, label_id=label.id, split=split)
                )
    assert read(workspace).versions == ["cells 1", "cells 2"]
    assert values(workspace, "versions") == {images[0]: ["cells 1", "cells 2"], images[1]: ["cells 1"]}
    assert values(workspace, "split") == {images[0]: "train", images[1]: "val"}


def test_details_keep_their_kind_unless_it_varies(workspace, images):
    set_details(
        workspace,
        {
            images[0]: {"count": 1, "ratio": 1, "night": True, "mixed": 1, "tags": ["a", "é"], "none": None},
            images[1]: {"count": 2, "ratio": 0.5, "night": False, "mixed": "x", "huge": 2**70, "endless": 10**400},
        },
    )
    first, second = (next(item for item in read(workspace).items if item.image_id == i).values for i in images[:2])
    assert {name: value for name, value in first.items() if name.startswith("details")} == {
        "details_count": 1,
        "details_ratio": 1.0,
        "details_night": True,
        "details_mixed": "1",
        "details_tags": '["a", "é"]',
    }
    assert (second["details_mixed"], second["details_ratio"]) == ("x", 0.5)
    assert second["details_huge"] == float(2**70)
    assert second["details_endless"] == str(10**400)


def test_no_key_of_a_user_breaks_a_field_name(workspace, images):
    keys = [
        "cell type",
        "a.b",
        "a_b",
        "A.B",
        "$where",
        "",
        "_id",
        "id",
        "filepath",
        "label",
        "naïve",
        "x" * 500,
        "x" * 501,
        "\ud800",
    ]
    set_details(workspace, {images[0]: dict.fromkeys(keys, "value")})
    names = [name for name in read(workspace).fields if name.startswith("details")]
    assert len(names) == len(keys)
    assert all(name.isidentifier() and len(name) <= 110 for name in names)
    assert {"details_cell_type", "details_id", "details_naïve", "details_a_b", "details_a_b_2"} <= set(names)


def test_half_a_surrogate_pair_is_spelled_out(workspace, images):
    set_details(workspace, {images[0]: {"broken": "\ud800!"}})
    assert values(workspace, "details_broken") == {images[0]: "\\ud800!"}


def test_an_image_in_an_archive_is_shown_from_a_copy(workspace, build, tmp_path):
    (image_id,) = build.images(1)
    archive = tmp_path / "photos.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("0.png", b"0")  # whose sha256 the image has
    with workspace.database.write() as session:
        session.scalars(select(schema.Sighting)).one().uri = f"{archive}!/0.png"
    (item,) = read(workspace).items
    assert (item.image_id, Path(item.path).read_bytes()) == (image_id, b"0")
    archive.unlink()
    assert read(workspace).items == [item]
