from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select

from curation import failures, splits
from store import schema
from store.errors import NotFoundError
from store.schema import ImageId
from store.workspace import Workspace


class Collection:
    """Look-alikes on two axes: half of the images on one, half on the other; a third is unlabelled."""

    def __init__(self, workspace: Workspace, build: Any) -> None:
        self.workspace = workspace
        self.build = build
        generator = np.random.default_rng(0)
        images: list[ImageId] = build.images(240)
        with workspace.database.read() as session:
            split_of = splits.load(session)
        self.test = [image_id for image_id in images if split_of[image_id] == "test"]
        self.images = [image_id for image_id in images if split_of[image_id] != "test"]
        self.odd = set(images[1::2])
        self.vectors = 0.3 * generator.normal(size=(240, 8)) + 2 * np.eye(8)[[i % 2 for i in range(240)]]
        build.vectors(images, self.vectors)
        self.unlabelled = self.images[::3]
        self.labelled = [image_id for image_id in self.images if image_id not in self.unlabelled]
        self.build.taxonomy()
        self.build.labels(dict.fromkeys([*self.labelled, *self.test], "cat"))

    def predict(self, wrong: Sequence[ImageId], *, digest: str = "p") -> None:
        """A run of "model" that says dog for `wrong` and cat for all others."""
        with self.workspace.database.write() as session:
            run = schema.PredictionRun(model="model", digest=digest * 64, classes=["cat", "dog"], report={})
            session.add(run)
            session.flush()
            for image_id in [*self.images, *self.test]:
                row = np.array([0.1, 0.9] if image_id in wrong else [0.9, 0.1], dtype="<f4")
                session.add(schema.Prediction(run_id=run.id, image_id=image_id, probabilities=row.tobytes()))

    def describe(self, details: Mapping[ImageId, dict[str, Any]]) -> None:
        with self.workspace.database.write() as session:
            for sighting in session.scalars(select(schema.Sighting)):
                sighting.details = details.get(ImageId(sighting.image_id), {})


@pytest.fixture
def collection(workspace: Workspace, build: Any) -> Collection:
    return Collection(workspace, build)


def test_failures_that_look_alike_are_a_cluster_with_its_unlabelled_kin(collection: Collection) -> None:
    wrong = [image_id for image_id in collection.labelled if image_id in collection.odd]
    collection.predict([*wrong, *collection.test])
    summary = failures.scan(collection.workspace, "model")
    assert (summary.labelled, summary.failures, summary.note) == (len(collection.labelled), len(wrong), None)
    cluster = summary.clusters[0]
    assert cluster.name == "cat → dog"
    assert cluster.failure_rate > 0.95
    assert cluster.lift == pytest.approx(cluster.failure_rate / (len(wrong) / len(collection.labelled)))
    assert cluster.interval[0] < cluster.failure_rate <= cluster.interval[1]
    assert cluster.chance == 0.01
    assert set(cluster.medoids) <= set(wrong)
    assert len(cluster.medoids) == 3

    same, members = failures.show(collection.workspace, cluster.id)
    assert same == cluster
    assert len(members) == cluster.size
    assert [member.image for member in members[:3]] == sorted(cluster.medoids)
    assert sum(member.failure == "confusion" for member in members) == cluster.failures
    kin = {member.image for member in members} & set(collection.unlabelled)
    assert len(kin) == cluster.size - cluster.labelled > 10
    assert kin <= collection.odd
    assert not {member.image for member in members} & set(collection.test)


def test_scanning_again_is_the_same_scan_until_something_changes(collection: Collection) -> None:
    collection.predict([image_id for image_id in collection.labelled if image_id in collection.odd])
    first = failures.scan(collection.workspace, "model")
    assert failures.scan(collection.workspace, "model") == first == failures.newest(collection.workspace)
    collection.build.labels({collection.unlabelled[0]: "dog"})
    assert failures.scan(collection.workspace, "model").scan == first.scan + 1
    with collection.workspace.database.read() as session:
        assert session.scalar(select(func.count(schema.FailureScan.id))) == 2


def test_a_cluster_is_named_after_what_its_failures_share(collection: Collection) -> None:
    wrong = [image_id for image_id in collection.labelled if image_id in collection.odd]
    collection.predict(wrong)
    collection.describe(
        {
            image_id: {"type": "mono" if image_id in collection.odd else "poly", "site": "A", "tags": [1]}
            for image_id in collection.images
        }
    )
    assert failures.scan(collection.workspace, "model").clusters[0].name == "cat → dog, type=mono"


def test_too_few_failures_are_a_sentence(collection: Collection) -> None:
    collection.predict(collection.labelled[:2])
    summary = failures.scan(collection.workspace, "model")
    assert summary.clusters == []
    assert summary.note is not None
    assert summary.note.startswith("2 failures on")
    assert "too few" in summary.note


def test_failures_here_and_there_are_a_lead_that_says_it_may_be_none(collection: Collection) -> None:
    collection.predict(list(np.random.default_rng(0).choice(collection.labelled, 20, replace=False)))
    summary = failures.scan(collection.workspace, "model")
    assert summary.clusters
    for cluster in summary.clusters:
        assert cluster.chance > 0.05
        assert cluster.name == "cat → dog (perhaps chance)"
    assert summary.note is not None
    assert "hardly closer together than chance" in summary.note


def test_when_everything_fails_nothing_fails_more(collection: Collection) -> None:
    collection.predict(collection.images)
    summary = failures.scan(collection.workspace, "model")
    assert summary.clusters == []
    assert summary.note is not None
    assert "nowhere closer together" in summary.note


def test_nothing_there_is_a_sentence(workspace: Workspace) -> None:
    with pytest.raises(NotFoundError, match="no predictions of 'model'"):
        failures.scan(workspace, "model")
    with pytest.raises(NotFoundError, match="Nothing was scanned"):
        failures.newest(workspace, "model")
    with pytest.raises(NotFoundError, match="no failure cluster 7"):
        failures.show(workspace, 7)


def test_typical_details_by_hand() -> None:
    mono, poly = {"type": "mono", "year": 2020}, {"type": "poly", "year": 2020}
    assert failures.typical_detail([mono] * 3, [mono] * 5 + [poly] * 5) == ("type", "mono")
    assert failures.typical_detail([mono, poly], [mono] * 5 + [poly] * 5) is None
    assert failures.typical_detail([mono] * 3, [mono] * 20 + [poly]) is None
    assert failures.typical_detail([{}] * 3, [{}] * 9) is None
