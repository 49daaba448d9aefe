"""What a tick does and when it does nothing; pushing and `kill -9` are tried on the real Label Studio."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select

from api import schedules, ticks
from api.demo.label_studio_server import LabelStudioServer
from api.schedules import CampaignTerms
from labeling import campaigns, taxonomy, vendors
from labeling.definitions import ClassDefinition, Definition
from store import schema
from store.errors import NotFoundError, RemoteError
from store.schema import ImageId
from store.workspace import Workspace
from tests.labeling.conftest import Site, administrator

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
RECIPE = {"budget": 5, "strategy": "typiclust"}
NOTHING_NEW = {"skipped": "Nothing has changed since batch 1: no new image, label or prediction."}

Run = Callable[[int], dict[str, Any]]


@pytest.fixture
def pool(build: Any) -> list[ImageId]:
    """Three hundred images, two hundred of them embedded."""
    images: list[ImageId] = build.images(300)
    build.vectors(images[:200], np.random.default_rng(0).normal(size=(200, 8)))
    return images


@pytest.fixture
def run(workspace: Workspace) -> Run:
    """Runs the tick of a day."""
    return lambda day: ticks.run(workspace, "daily", NOON + timedelta(days=day))


def add(workspace: Workspace, **options: Any) -> None:
    schedules.add(workspace, "daily", cron="0 12 * * *", recipe=RECIPE, **options)


def predict(workspace: Workspace) -> None:
    """A prediction run that says nothing of any image: news that changes no pool."""
    with workspace.database.write() as session:
        number = session.scalar(select(func.count(schema.PredictionRun.id))) or 0
        run = schema.PredictionRun(model="other", digest=f"{number:064}", classes=["cat"], report={})
        session.add(run)


def batches(workspace: Workspace) -> Sequence[int]:
    with workspace.database.read() as session:
        return session.scalars(select(schema.Batch.id).order_by(schema.Batch.id)).all()


@pytest.mark.usefixtures("pool")
def test_a_tick_makes_one_batch_however_often_it_is_run(workspace: Workspace, build: Any, run: Run) -> None:
    add(workspace)
    first = run(0)
    assert first == {"batch": 1, "picks": 5}
    build.campaign(first["batch"], build.taxonomy())  # its images are no longer there to choose from
    predict(workspace)
    assert run(0) == first
    assert batches(workspace) == [1]
    assert run(7) == {"batch": 2, "picks": 5}


@pytest.mark.usefixtures("pool")
def test_a_tick_before_which_nothing_came_is_skipped(workspace: Workspace, run: Run) -> None:
    add(workspace)
    run(0)
    assert (run(1), run(2)) == (NOTHING_NEW, NOTHING_NEW)
    predict(workspace)
    assert run(3)["batch"] == 2
    assert run(4)["skipped"].startswith("Nothing has changed since batch 2")
    assert run(0) == {"batch": 1, "picks": 5}  # an old tick that is run again does not become the newest
    assert run(5)["skipped"].startswith("Nothing has changed since batch 2")


@pytest.mark.usefixtures("pool")
def test_batches_of_others_are_none_of_a_schedules(workspace: Workspace, run: Run) -> None:
    add(workspace)
    schedules.add(workspace, "other", cron="0 12 * * *", recipe=RECIPE)
    assert ticks.run(workspace, "other", NOON)["batch"] == 1
    assert run(0)["batch"] == 2
    schedules.remove(workspace, "daily")
    with pytest.raises(NotFoundError, match="no schedule daily"):
        run(1)
    add(workspace)
    assert run(1)["batch"] == 3


def test_new_images_are_a_reason_if_they_drifted_or_something_was_learnt(
    workspace: Workspace, pool: list[ImageId], build: Any, run: Run
) -> None:
    add(workspace, min_drift=0.7)
    run(0)
    values = np.random.default_rng(1).normal(size=(100, 8))
    build.vectors(pool[200:250], values[:50])
    start = "50 images came since batch 1 and look like those before: a classifier tells them apart with an AUC of 0."
    assert run(1)["skipped"].startswith(start)
    assert run(1)["skipped"].endswith("below 0.7.")
    predict(workspace)
    assert run(2)["batch"] == 2
    build.vectors(pool[250:], values[50:] + 5)
    assert run(3)["batch"] == 3


def test_in_doubt_new_images_are_a_reason(workspace: Workspace, pool: list[ImageId], build: Any, run: Run) -> None:
    add(workspace, min_drift=0.7)
    run(0)
    build.vectors(pool[200:201], np.ones((1, 8)))
    assert run(1)["batch"] == 2


@pytest.fixture
def studio(workspace: Workspace, build: Any) -> CampaignTerms:
    """Terms at a vendor nobody can reach."""
    build.taxonomy()
    (workspace.home / "token").write_text("0123456789" * 4)
    vendors.add(workspace, "studio", url="http://127.0.0.1:1", token=f"file:{workspace.home / 'token'}")
    return CampaignTerms("animals", "studio", "http://127.0.0.1:8765")


def test_a_vendor_whose_capacity_is_taken_gets_nothing_until_it_is_free(
    workspace: Workspace, pool: list[ImageId], build: Any, run: Run, studio: CampaignTerms
) -> None:
    campaign = build.campaign(build.batch(pool[:6]), 1)  # at the one vendor there is
    add(workspace, campaign=studio, capacity=10)
    assert run(0) == {"skipped": "studio has 6 of 10 tasks open: 4 are free, the recipe asks for 5."}
    assert batches(workspace) == [1]
    build.answers(campaign, {"ann": ["cat", *[None] * 5], "bob": ["cat", *[None] * 5]})
    with pytest.raises(RemoteError, match=r"127\.0\.0\.1:1"):  # there is room, but nobody is at home
        run(0)
    with pytest.raises(RemoteError, match=r"127\.0\.0\.1:1"):  # its own five tasks leave none, and do not count
        run(0)
    assert batches(workspace) == [1, 2]


@pytest.fixture
def at_label_studio(workspace: Workspace, build: Any, label_studio: LabelStudioServer) -> CampaignTerms:
    """Terms at the real Label Studio."""
    build.taxonomy()
    vendors.add(workspace, "studio", url=label_studio.url, token=f"file:{label_studio.token_file}")
    return CampaignTerms("animals", "studio", "http://127.0.0.1:8765")


def recorded(workspace: Workspace, campaign: str) -> list[str]:
    with workspace.database.read() as session:
        campaign_id = campaigns.get(session, campaign).id
        return sorted(session.scalars(select(schema.Task.uid).where(schema.Task.campaign_id == campaign_id)))


@pytest.fixture
def name(workspace: Workspace) -> str:
    """A schedule whose campaigns no other test has at the same Label Studio."""
    return workspace.home.parent.name.replace("_", "-")[:60]


@pytest.mark.label_studio
def test_a_tick_ends_in_label_studio(
    workspace: Workspace,
    pool: list[ImageId],
    label_studio: LabelStudioServer,
    at_label_studio: CampaignTerms,
    name: str,
) -> None:
    schedules.add(workspace, name, cron="0 12 * * *", recipe=RECIPE, campaign=at_label_studio, capacity=8)
    campaign = f"{name}-20261122-120000"
    done = {"batch": 1, "picks": 5, "campaign": campaign, "tasks": 5}
    assert ticks.run(workspace, name, NOON) == done
    newer = Definition("classification", tuple(ClassDefinition(name) for name in ("cat", "dog", "cow")))
    taxonomy.create(workspace, "animals", newer)
    assert ticks.run(workspace, name, NOON) == done  # under the revision it began with
    with administrator(label_studio) as http:
        assert sorted(Site(http).uids(campaign).elements()) == recorded(workspace, campaign)
        [project] = Site(http).projects(campaign)
    assert (project["maximum_annotations"], "cow" in project["label_config"]) == (2, False)
    predict(workspace)
    full = ticks.run(workspace, name, NOON + timedelta(days=1))
    assert full == {"skipped": "studio has 5 of 8 tasks open: 3 are free, the recipe asks for 5."}


@pytest.mark.label_studio
def test_what_label_studio_missed_is_pushed_by_the_next_tick_unless_it_was_closed(
    workspace: Workspace,
    pool: list[ImageId],
    label_studio: LabelStudioServer,
    at_label_studio: CampaignTerms,
    name: str,
) -> None:
    token = f"file:{label_studio.token_file}"
    schedules.add(workspace, name, cron="0 12 * * *", recipe=RECIPE, campaign=at_label_studio)

    def run(day: int, *, url: str = "http://127.0.0.1:1") -> dict[str, Any]:
        vendors.add(workspace, "studio", url=url, token=token)
        return ticks.run(workspace, name, NOON + timedelta(days=day))

    with pytest.raises(RemoteError):
        run(0)
    assert run(1, url=label_studio.url) == {
        "batch": 1,
        "picks": 5,
        "campaign": f"{name}-20261122-120000",
        "tasks": 5,
    }
    assert run(2, url=label_studio.url) == NOTHING_NEW
    predict(workspace)
    for day in (3, 4):
        with pytest.raises(RemoteError):
            run(day)
    assert batches(workspace) == [1, 2]
    campaigns.close(workspace, f"{name}-20261125-120000")
    assert run(5)["skipped"].startswith("Nothing has changed since batch 2")
