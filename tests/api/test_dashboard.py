import time
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import insert, select

from api import adjudication_page, dashboard, pages
from api.dashboard import Dashboard, Tile
from labeling.content import Content, Region
from labeling.geometry import Box
from qa import decisions, standing, verdicts
from store import schema
from store.schema import ImageId
from store.workspace import Workspace


def read(workspace: Workspace) -> Dashboard:
    with workspace.database.read() as session:
        return dashboard.read(session)


def counts(model: Dashboard) -> dict[str, tuple[int, str]]:
    return {stage.name: (stage.count, stage.detail) for stage in model.stages}


def test_an_empty_workspace_has_nothing_of_anything(workspace: Workspace) -> None:
    model = read(workspace)
    assert model.is_empty
    assert {stage.count for stage in model.stages} == {0}
    assert (model.batch, model.groups, model.annotators, model.versions) == (None, [], [], [])


def test_a_workspace_of_broken_files_alone_is_not_empty(workspace: Workspace) -> None:
    with workspace.database.write() as session:
        session.add(schema.Quarantined(uri="/photos/broken.png", source="photos", reason="the file is empty"))
    model = read(workspace)
    assert not model.is_empty
    assert [(row.name, row.reason) for row in model.quarantined] == [("broken.png", "the file is empty")]


@pytest.fixture
def loop(workspace: Workspace, build: Any) -> list[ImageId]:
    """Four of ten images labelled by two people, one dispute settled and one open."""
    images: list[ImageId] = build.images(10)
    batch = build.batch(images[:4], arms=["diverse", "diverse", "uncertain", "random"])
    campaign = build.campaign(batch, build.taxonomy())
    build.answers(campaign, {"ann": ["cat", "cat", "cat", "dog"], "bob": ["cat", "dog", "dog", None]})
    with workspace.database.write() as session:
        tasks = session.scalars(select(schema.Task).order_by(schema.Task.rank)).all()
        for task, outcome, answer in [
            (0, "accepted", "cat"),
            (1, "adjudication", None),
            (2, "adjudication", None),
            (1, "accepted", "dog"),  # the adjudicator's
            (3, "another-opinion", None),
        ]:
            verdict = schema.Verdict(
                task_id=tasks[task].id, outcome=outcome, answer=answer, posterior=None, evidence={}
            )
            session.add(verdict)
            session.flush()
            if answer:
                session.add(
                    schema.Label(image_id=tasks[task].image_id, taxonomy_id=1, verdict_id=verdict.id, value=answer)
                )
    return images


@pytest.mark.usefixtures("loop")
def test_the_stages_count_what_is_there(workspace: Workspace) -> None:
    assert counts(read(workspace)) == {
        "Images": (10, "10 sightings · 0 quarantined"),
        "Embedded": (0, ""),
        "Duplicate groups": (0, "0 images"),
        "Batches": (1, "4 picks"),
        "Tasks": (4, "pushed · 4 answered"),
        "To adjudicate": (1, "1 settled"),
        "Labels": (2, "20.0% of images"),
        "Versions": (0, ""),
        "Predictions": (0, ""),
        "Failure clusters": (0, ""),
    }


def test_the_latest_batch_counts_arms_and_shows_the_most_wanted(workspace: Workspace, loop: list[ImageId]) -> None:
    card = read(workspace).batch
    assert card is not None
    assert card.arms == [("diverse", 2), ("random", 1), ("uncertain", 1)]
    assert [pick.tile for pick in card.picks] == [Tile(image_id, f"{i}.png") for i, image_id in enumerate(loop[:4])]
    assert [pick.arm for pick in card.picks] == ["diverse", "diverse", "uncertain", "random"]


@pytest.mark.usefixtures("loop")
def test_few_answers_are_counted_and_nobody_is_judged_by_them(workspace: Workspace) -> None:
    ann, bob = read(workspace).annotators
    assert [(row.name, row.answers) for row in (ann, bob)] == [("ann", 4), ("bob", 3)]
    assert ann.quality is not None
    assert (ann.quality.accuracy, ann.quality.judged, ann.quality.signs) == (None, 0, [])  # who of two is right?


def test_annotators_are_judged_anew_when_somebody_answers_or_is_paused(workspace: Workspace, build: Any) -> None:
    campaign = build.campaign(build.batch(build.images(60)), build.taxonomy())
    build.answers(campaign, dict.fromkeys(("ann", "bob", "dan"), ["cat"] * 60))
    before = [row.quality for row in read(workspace).annotators]
    assert all(quality is not None and (quality.accuracy or 0) > 0.9 for quality in before)
    build.answers(campaign, {"cay": ["dog"] * 60})
    after = {row.name: row.quality for row in read(workspace).annotators}
    cay = after["cay"]
    assert cay is not None
    assert cay.interval[1] < 0.5
    assert "pause cay" in (cay.suggestion or "")
    standing.decide(workspace, "cay", "paused", reason="guesses", by="lead")
    paused = next(row.quality for row in read(workspace).annotators if row.name == "cay")
    assert paused is not None
    assert (paused.standing, paused.suggestion) == ("paused", None)


@pytest.mark.usefixtures("loop")
def test_skips_deletions_and_replaced_answers_do_not_count(workspace: Workspace) -> None:
    with workspace.database.write() as session:
        for annotation in session.scalars(select(schema.Annotation).order_by(schema.Annotation.id)).all()[:3]:
            change = {0: {"deleted": True}, 1: {"skipped": True, "answer": None}, 2: {"answer": "dog"}}[
                annotation.id - 1
            ]
            values = {column.name: getattr(annotation, column.name) for column in schema.Annotation.__table__.columns}
            del values["id"]
            session.add(schema.Annotation(**{**values, "revision": 1, **change}))
    ann = next(row for row in read(workspace).annotators if row.name == "ann")
    assert ann.answers == 2


def test_the_median_time_is_that_of_each_annotator(workspace: Workspace, loop: list[ImageId]) -> None:
    times = {"ann": [9.0, 1.0, 4.0, 2.0], "bob": [3.0, 30.0, None]}
    with workspace.database.write() as session:
        for annotator in session.scalars(select(schema.Annotator)).all():
            own = select(schema.Annotation).where(schema.Annotation.annotator_id == annotator.id)
            own = own.where(schema.Annotation.answer.is_not(None)).order_by(schema.Annotation.task_id)
            for annotation, seconds in zip(session.scalars(own).all(), times[annotator.name], strict=True):
                annotation.lead_time_s = seconds
    assert {row.name: row.median_lead_time_s for row in read(workspace).annotators} == {"ann": 2.0, "bob": 3.0}


def test_disputes_show_who_said_what_open_ones_first(workspace: Workspace, loop: list[ImageId]) -> None:
    model = read(workspace)
    assert (model.adjudication_open, model.adjudication_settled) == (1, 1)
    opened, settled = model.disputed
    assert (opened.tile.image_id, opened.answers, opened.settled) == (loop[2], [("cat", 1), ("dog", 1)], None)
    assert (settled.tile.image_id, settled.settled) == (loop[1], "dog")


def test_what_is_open_is_what_the_page_of_adjudication_holds(workspace: Workspace, build: Any) -> None:
    images, taxonomy = build.images(9), build.taxonomy()
    said = ["cat"] * 5 + ["dog"] * 4
    for name, answers in (
        ("campaign-1", dict.fromkeys(("ann", "bob", "cay"), said)),
        ("campaign-2", {"ann": [*said[:5], "cat", *["dog"] * 3], "bob": [*said[:5], "cat", *["cat"] * 3]}),
    ):
        build.answers(build.campaign(build.batch(images), taxonomy), answers)
        verdicts.review(workspace, name, accept_at=0.8)
    decisions.decide(workspace, "campaign-2", str(images[6]), answer="dog", reason="annotator-mistake", author="eve")
    with workspace.database.write() as session:
        of_second = select(schema.Task).where(schema.Task.campaign_id == 2, schema.Task.image_id == images[7])
        session.scalars(of_second).one().state = "withdrawn"
    model = read(workspace)
    assert model.adjudication_open == adjudication_page.read(workspace).total == 2
    assert (model.adjudication_in_doubt, model.adjudication_decided, model.adjudication_settled) == (1, 1, 0)
    assert [row.tile.image_id for row in model.disputed] == [images[8], images[6]]
    assert counts(model)["To adjudicate"] == (2, "0 settled")
    told = "2 open, 1 of them to check a label · 1 decided, for the next review · 0 settled"
    assert told in pages.dashboard(model, [], home=workspace.home)


def test_disputes_about_regions_are_told_in_words(workspace: Workspace, build: Any) -> None:
    boxes = [Region(str(i), Box(10 * i, 0, 8, 8), (name,)) for i, name in enumerate(("cat", "cat", "dog"))]
    drawn = [Content(regions=tuple(boxes[:count])) for count in range(4)]
    campaign = build.campaign(build.batch(build.images(2, side=100)), build.taxonomy(kind="boxes"), overlap=2)
    build.answers(campaign, {"ann": [drawn[3], drawn[1]], "bob": [drawn[0], drawn[0]]})
    verdicts.review(workspace, "campaign-1", accept_at=0.99)
    build.adjudication(campaign, {0: drawn[3]})
    verdicts.review(workspace, "campaign-1", accept_at=0.99)
    with workspace.database.read() as session:
        opened, settled = dashboard.read(session).disputed
    assert (opened.answers, opened.settled) == ([("1 cat", 1), ("nothing", 1)], None)
    assert (settled.answers, settled.settled) == ([("2 cat, 1 dog", 1), ("nothing", 1)], "2 cat, 1 dog")


@pytest.mark.usefixtures("loop")
def test_a_campaign_links_to_its_project_when_that_is_on_the_web(workspace: Workspace) -> None:
    (campaign,) = read(workspace).campaigns
    assert (campaign.url, campaign.tasks, campaign.pushed, campaign.answered) == (
        "http://127.0.0.1:1/projects/1",
        4,
        4,
        4,
    )
    assert (campaign.state, campaign.waiting, campaign.accepted, campaign.cost) == ("open", 0, 2, None)
    with workspace.database.write() as session:
        session.scalars(select(schema.Vendor)).one().ls_url = "javascript:alert(1)"
    assert read(workspace).campaigns[0].url is None


def test_the_newest_scan_shows_its_largest_groups(workspace: Workspace, build: Any) -> None:
    images = build.images(10)
    with workspace.database.write() as session:
        session.add(schema.Encoder(name="test", digest="0" * 64, dimensions=2))
        session.flush()
        for scan, groups in enumerate([[images], [images[:2], images[2:8]]], start=1):
            session.add(schema.DuplicateScan(id=scan, digest="0" * 64, encoder_id=1, report={}))
            session.flush()
            for members in groups:
                group = schema.DuplicateGroup(scan_id=scan, representative_id=members[0])
                session.add(group)
                session.flush()
                for i, image_id in enumerate(members):
                    kind = "embedding" if i else "representative"
                    distance = (10 - i) / 100 if i else 0.0
                    session.add(
                        schema.DuplicateMember(group_id=group.id, image_id=image_id, kind=kind, distance=distance)
                    )
    model = read(workspace)
    assert counts(model)["Duplicate groups"] == (2, "8 images")
    assert [group.size for group in model.groups] == [6, 2]
    assert [member.tile.image_id for member in model.groups[0].members] == [images[i] for i in (2, 7, 6, 5)]


def test_failure_clusters_and_versions_are_those_of_the_newest(workspace: Workspace, build: Any) -> None:
    images = build.images(6)
    build.labels(dict(zip(images, ["cat", "cat", "cat", "dog", "dog", "dog"], strict=True)))
    with workspace.database.write() as session:
        session.add(schema.Version(id="a" * 64, name="animals", number=1, manifest={}, gates=[]))
        session.add(schema.PredictionRun(model="probe", digest="0" * 64, classes=["cat"], report={}))
        session.flush()
        for i, image_id in enumerate(images):
            split = "test" if i % 3 == 2 else "train"
            session.add(schema.VersionItem(version_id="a" * 64, image_id=image_id, label_id=i + 1, split=split))
        for scan in (1, 2):
            session.add(schema.FailureScan(id=scan, run_id=1, report={}))
            session.flush()
            for lift in (1.5, 3.0):
                cluster = schema.FailureCluster(
                    scan_id=scan, name=f"{scan}: {lift}", failures=2, labelled=4, failure_rate=0.5, lift=lift,
                    interval_low=0.15, interval_high=0.85,
                )  # fmt: skip
                session.add(cluster)
                session.flush()
                for i, image_id in enumerate(images[:3]):
                    session.add(schema.FailureMember(cluster_id=cluster.id, image_id=image_id, medoid=i == 1))
    model = read(workspace)
    assert model.failing_model == "probe"
    assert [(row.name, row.size) for row in model.clusters] == [("2: 3.0", 3), ("2: 1.5", 3)]
    assert [tile.image_id for tile in model.clusters[0].medoids] == [images[1]]
    assert counts(model)["Failure clusters"] == (2, "up to 3.0× the failures")
    (version,) = model.versions
    assert version.splits == {"train": {"cat": 2, "dog": 2}, "val": {}, "test": {"cat": 1, "dog": 1}}


def _rows(count: int) -> Iterator[tuple[type[schema.Base], list[dict[str, Any]]]]:
    """A large catalog: a tenth of it labelled twice over, predictions on all of it."""
    ids = range(1, count + 1)
    labelled = range(1, count // 10 + 1)
    sha = [f"{i:064x}" for i in ids]
    yield schema.Image, [
        {"id": i, "sha256": sha[i - 1], "pixels_sha256": sha[i - 1], "phash": "0" * 16, "width": 8, "height": 8,
         "format": "PNG", "bytes": 1} for i in ids
    ]  # fmt: skip
    yield (
        schema.Sighting,
        [
            {"image_id": i, "uri": f"/photos/{i}.png", "source": "photos", "details": {}, "bytes": 1, "modified_ns": 0}
            for i in ids
        ],
    )
    yield schema.Encoder, [{"id": 1, "name": "test", "digest": "0" * 64, "dimensions": 2}]
    yield schema.VectorBlock, [{"encoder_id": 1, "start": 1, "rows": count, "sha256": "0" * 64}]
    yield schema.Embedding, [{"image_id": i, "encoder_id": 1, "row": i} for i in ids]
    yield schema.DuplicateScan, [{"id": 1, "digest": "0" * 64, "encoder_id": 1, "report": {}}]
    yield schema.DuplicateGroup, [{"id": i, "scan_id": 1, "representative_id": 2 * i} for i in labelled]
    yield (
        schema.DuplicateMember,
        [
            {"group_id": i, "image_id": 2 * i + k, "kind": "pixels", "distance": float(k)}
            for i in labelled
            for k in (0, 1)
        ],
    )
    yield schema.Batch, [{"id": 1, "digest": "0" * 64, "recipe": {}, "pool": b"", "state": {}, "report": {}}]
    yield (
        schema.Pick,
        [
            {"batch_id": 1, "rank": i, "image_id": i, "arm": "random", "split": "train", "score": 0.0, "why": "a test"}
            for i in labelled
        ],
    )
    yield (
        schema.Taxonomy,
        [
            {
                "id": 1,
                "name": "animals",
                "revision": 1,
                "task_kind": "classification",
                "classes": [{"name": "cat"}, {"name": "dog"}],
                "guideline": "",
            }
        ],
    )
    yield schema.Vendor, [{"id": 1, "name": "nobody", "ls_url": "http://127.0.0.1:1", "ls_token_reference": "env:NO"}]
    yield schema.Annotator, [{"id": k, "vendor_id": 1, "ls_user_id": k, "name": f"person {k}"} for k in (1, 2)]
    yield (
        schema.Campaign,
        [
            {
                "id": 1,
                "name": "one",
                "purpose": "labelling",
                "batch_id": 1,
                "taxonomy_id": 1,
                "vendor_id": 1,
                "overlap": 2,
            }
        ],
    )
    yield (
        schema.Task,
        [
            {"id": i, "uid": f"{i:032x}", "campaign_id": 1, "image_id": i, "rank": i, "state": "pushed"}
            for i in labelled
        ],
    )
    yield schema.Annotation, [
        {"task_id": i, "annotator_id": k, "ls_annotation_id": 2 * i + k, "revision": 0, "answer": "cat", "result": [],
         "skipped": False, "deleted": False, "lead_time_s": float(i), "ls_updated_at": "2026-01-01T00:00:00Z"}
        for i in labelled for k in (1, 2)
    ]  # fmt: skip
    yield (
        schema.Verdict,
        [
            {"id": i, "task_id": i, "outcome": "accepted" if i % 9 else "adjudication", "answer": "cat", "evidence": {}}
            for i in labelled
        ],
    )
    yield schema.Label, [{"id": i, "image_id": i, "taxonomy_id": 1, "verdict_id": i, "value": "cat"} for i in labelled]
    yield (
        schema.Version,
        [{"id": str(v), "name": "animals", "number": v, "manifest": {}, "gates": []} for v in (1, 2, 3)],
    )
    yield schema.VersionItem, [
        {"version_id": str(v), "image_id": i, "label_id": i, "split": "train" if i % 5 else "test"}
        for v in (1, 2, 3) for i in labelled
    ]  # fmt: skip
    yield (
        schema.PredictionRun,
        [
            {"id": v, "model": "probe", "digest": str(v), "classes": ["cat", "dog"], "version_id": str(v), "report": {}}
            for v in (1, 2, 3)
        ],
    )
    yield (
        schema.Prediction,
        [{"run_id": v, "image_id": i, "probabilities": b"\0\0\x80\x3f\0\0\0\0"} for v in (1, 2, 3) for i in ids],
    )


@pytest.mark.slow
def test_a_hundred_thousand_images_are_shown_at_once(workspace: Workspace) -> None:
    for table, rows in _rows(100_000):
        with workspace.database.write() as session:
            session.execute(insert(table), rows)
    read(workspace)  # fills SQLite's page cache, as the page's second visit has it
    began = time.process_time()
    model = read(workspace)
    seconds = time.process_time() - began
    assert counts(model)["Images"][0] == 100_000
    assert counts(model)["Embedded"] == (100_000, "by test")
    assert [point.accuracy for point in model.curve] == [1.0, 1.0, 1.0]
    assert seconds < 1.0
    print(f"{seconds:.2f} CPU-s")
