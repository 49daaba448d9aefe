"""Batches in the catalog: what may be chosen, and that a recorded batch can be planned again from its record."""

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from sqlalchemy import select, update

from curation import versions
from sampling import batch, probe, recipes
from store import schema
from store.errors import InvalidInputError, NotFoundError
from store.schema import ImageId
from store.workspace import Workspace, open_workspace


def plan(workspace: Workspace, **values: Any) -> batch.PlanSummary:
    return batch.plan(workspace, recipes.parse({"budget": 10, "random_share": 0.2, **values}))


def picks(workspace: Workspace, batch_id: int) -> list[schema.Pick]:
    with workspace.database.read() as session:
        return list(session.scalars(select(schema.Pick).where(schema.Pick.batch_id == batch_id)))


def report(workspace: Workspace, batch_id: int) -> dict[str, Any]:
    with workspace.database.read() as session:
        return session.get_one(schema.Batch, batch_id).report


@pytest.fixture
def ids(build: Any) -> list[ImageId]:
    """A hundred images, embedded."""
    found = build.images(100)
    build.vectors(found, np.random.default_rng(0).normal(size=(100, 6)))
    return list(found)


def test_the_same_recipe_on_the_same_catalog_is_one_batch(workspace: Workspace, ids: list[ImageId]) -> None:
    first, second = plan(workspace), plan(workspace)
    assert (first.batch_id, first.digest, first.picks) == (second.batch_id, second.digest, 10)
    assert plan(workspace, seed=1).digest != first.digest


def test_informed_picks_are_train_and_random_ones_are_not(workspace: Workspace, ids: list[ImageId]) -> None:
    for pick in picks(workspace, plan(workspace).batch_id):
        assert (pick.split == "train") == (pick.arm != "random")


def test_a_batch_replays_whatever_came_after_it(workspace: Workspace, ids: list[ImageId], build: Any) -> None:
    planned = plan(workspace)
    chosen = [ImageId(pick.image_id) for pick in picks(workspace, planned.batch_id)]
    build.labels({image_id: ("cat", "dog")[image_id % 2] for image_id in chosen})
    build.duplicates((ids[0], ids[1]), (ids[5], chosen[0]))
    build_more(workspace, build)
    with workspace.database.write() as session:
        session.execute(update(schema.Sighting).where(schema.Sighting.image_id <= 40).values(scene="one"))
    assert batch.replay(workspace, planned.batch_id).same


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_ingest_changes_no_batch(build: Any, tmp_path: Path, seed: int) -> None:
    """Labels, duplicates, a trained probe, a failure cluster: all in two catalogs, where ids differ."""
    shuffled = np.random.default_rng(seed).permutation(400).tolist()
    other = type(build)(open_workspace(tmp_path / "other"))
    one, two = (catalog(*each) for each in ((build, list(range(400))), (other, shuffled)))
    for kind in set(get_args(get_args(recipes.Strategy)[0])) - {recipes.DropQuery}:  # the probe makes one pass
        values = {"budget": 20, "strategy": kind().name, "seed": seed}
        assert plan(one, **values).digest == plan(two, **values).digest, kind().name


def catalog(build: Any, order: list[int]) -> Workspace:
    """Four hundred images, ingested in some order; numbers say which is which."""
    workspace: Workspace = build.workspace
    of = dict(zip(order, build.images(400, order=order), strict=True))
    vectors = np.random.default_rng(7).normal(size=(400, 12))
    build.vectors([of[number] for number in order], vectors[order])
    build.labels({of[number]: "cat" if vectors[number, 0] > 0 else "dog" for number in order if number < 250})
    build.duplicates((of[300], of[301]), (of[0], of[302]), (of[303], of[304], of[305]))
    run = probe.train(workspace, versions.cut(workspace, "animals").id).run_id
    with workspace.database.write() as session:
        scan = schema.FailureScan(run_id=run, report={})
        session.add(scan)
        session.flush()
        lift = {"lift": 2.0, "failures": 5, "labelled": 9, "failure_rate": 0.5, "interval_low": 0, "interval_high": 1}
        cluster = schema.FailureCluster(scan_id=scan.id, name="night", **lift)
        session.add(cluster)
        session.flush()
        session.add_all(
            schema.FailureMember(cluster_id=cluster.id, image_id=of[number]) for number in order if number > 310
        )
    return workspace


def build_more(workspace: Workspace, build: Any) -> None:
    """Thirty further images far from the others, which moves the mean of all vectors."""
    with workspace.database.write() as session:
        more = [
            schema.Image(
                sha256=f"{i:064x}", pixels_sha256=f"{i:064x}", phash="0" * 16, width=8, height=8, format="PNG", bytes=1
            )
            for i in range(30)
        ]
        session.add_all(more)
        session.flush()
        new = [ImageId(image.id) for image in more]
    build.vectors(new, np.random.default_rng(1).normal(size=(30, 6)) + 9)


def test_a_replay_notices_a_batch_that_was_tampered_with(workspace: Workspace, ids: list[ImageId]) -> None:
    planned = plan(workspace)
    with workspace.database.write() as session:
        session.execute(update(schema.Batch).values(recipe={**recipes.parse({"budget": 10}).model_dump(), "seed": 3}))
    assert not batch.replay(workspace, planned.batch_id).same


def test_what_is_labelled_or_its_duplicate_is_never_picked(
    workspace: Workspace, ids: list[ImageId], build: Any
) -> None:
    build.labels({ids[0]: "cat", ids[1]: "dog"})
    build.duplicates((ids[0], ids[2]), (ids[3], ids[4], ids[5]), (ids[6], ids[7]))
    with workspace.database.write() as session:  # 7 and 8 were proven alike, though no group holds both
        session.add(schema.DuplicatePair(first_id=ids[7], second_id=ids[8], kind="crop", distance=0.05))
    for seed in range(10):
        chosen = {
            pick.image_id
            for strategy in ("typiclust", "random")
            for pick in picks(workspace, plan(workspace, budget=20, strategy=strategy, seed=seed).batch_id)
        }
        assert chosen.isdisjoint([ids[i] for i in (0, 1, 2, 4, 5, 7, 8)])


def test_too_much_is_refused_with_the_numbers(workspace: Workspace, ids: list[ImageId]) -> None:
    with pytest.raises(InvalidInputError, match=r"\d+ available / 40 requested"):
        plan(workspace, budget=200)
    with pytest.raises(NotFoundError, match="There is no batch 9"):
        batch.replay(workspace, 9)


def test_the_probe_predicts_what_was_embedded_since(workspace: Workspace, ids: list[ImageId], build: Any) -> None:
    build.labels({image_id: ("cat", "dog")[i % 2] for i, image_id in enumerate(ids[:40])})
    version = versions.cut(workspace, "animals")
    first = probe.train(workspace, version.id)
    assert probe.train(workspace, version.id) == first
    build_more(workspace, build)
    second = probe.train(workspace, version.id)
    assert second.run_id != first.run_id
    assert second.predicted == 130
    chosen = picks(workspace, plan(workspace, strategy="cluster-margin").batch_id)
    assert {pick.arm for pick in chosen} == {"uncertain", "random"}


def test_a_batch_remembers_what_the_model_said_of_pool_and_picks(workspace: Workspace, ids: list[ImageId]) -> None:
    with workspace.database.write() as session:
        session.add(schema.PredictionRun(id=1, model="probe", digest="p", classes=["cat", "dog"], report={}))
        session.flush()
        for image_id in ids[:60]:  # the first twenty are dogs; of the others only random picks are made
            chances = np.array([0.2, 0.8] if image_id <= ids[19] else [0.9, 0.1], dtype="<f4")
            session.add(schema.Prediction(run_id=1, image_id=image_id, probabilities=chances.tobytes()))
    planned = plan(workspace)
    chosen = [pick.image_id for pick in picks(workspace, planned.batch_id)]
    dogs, known = sum(image_id <= ids[19] for image_id in chosen), sum(image_id <= ids[59] for image_id in chosen)
    recorded = report(workspace, planned.batch_id)
    assert recorded["pool"] == 71
    assert recorded["predicted"] == {"classes": ["cat", "dog"], "pool": [40, 20], "picks": [known - dogs, dogs]}
    with pytest.raises(NotFoundError, match="no predictions of 'another'; there are some of: probe"):
        plan(workspace, model="another")


def test_where_and_quotas_are_read_from_the_catalog_and_replayed(workspace: Workspace, ids: list[ImageId]) -> None:
    quota = {"where": "id <= 60", "least": 5, "most": 5}
    planned = plan(workspace, where="id <= 90", exclude="id <= 20", quotas=[quota])
    chosen = picks(workspace, planned.batch_id)
    assert all(20 < pick.image_id <= 90 for pick in chosen)
    assert sum(pick.image_id <= 60 for pick in chosen if pick.arm != "random") == 5
    recorded = report(workspace, planned.batch_id)
    assert (recorded["for_training"], recorded["quotas"]) == (8, [[0, "id <= 60", 5]])
    assert batch.replay(workspace, planned.batch_id).same
    with pytest.raises(InvalidInputError, match="colour"):
        plan(workspace, where="colour == 1")
