from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select

from api import jobs, schedules
from store import schema
from store.errors import ConflictError, InvalidInputError, NotFoundError
from store.workspace import Workspace

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
RECIPE = {"budget": 5, "strategy": "typiclust"}


@pytest.fixture
def pool(workspace: Workspace, build: Any) -> None:
    """Sixty embedded images."""
    build.vectors(build.images(60), np.random.default_rng(0).normal(size=(60, 8)))


def batches(workspace: Workspace) -> int:
    with workspace.database.read() as session:
        return session.scalar(select(func.count(schema.Batch.id))) or 0


@pytest.mark.usefixtures("pool")
def test_a_tick_makes_one_batch_however_often_it_is_run(workspace: Workspace, build: Any) -> None:
    schedules.add(workspace, "weekly", cron="0 6 * * 1", recipe=RECIPE)
    first = schedules.run_tick(workspace, "weekly", NOON)
    assert first == {"batch": 1, "picks": 5}
    build.campaign(first["batch"], build.taxonomy())  # its images are no longer there to choose from
    assert schedules.run_tick(workspace, "weekly", NOON) == first
    assert batches(workspace) == 1
    assert schedules.run_tick(workspace, "weekly", NOON + timedelta(days=7))["batch"] == 2


@pytest.mark.parametrize("cron", ["", "never", "61 * * * *", "* * *", "* * * * * * * *"])
def test_what_is_no_cron_expression_is_refused(workspace: Workspace, cron: str) -> None:
    with pytest.raises(InvalidInputError, match="is not a cron expression"):
        schedules.add(workspace, "weekly", cron=cron, recipe=RECIPE)


@pytest.mark.parametrize("name", ["", "-x", "a b", "../x", "a\n", "é", "a" * 65])
def test_a_name_is_plain(workspace: Workspace, name: str) -> None:
    with pytest.raises(InvalidInputError, match="cannot name a schedule"):
        schedules.add(workspace, name, cron="* * * * *", recipe=RECIPE)


def test_a_recipe_is_checked_when_it_is_given(workspace: Workspace) -> None:
    with pytest.raises(InvalidInputError, match="budget"):
        schedules.add(workspace, "weekly", cron="* * * * *", recipe={"budget": 0})
    assert schedules.load(workspace) == []


def test_a_name_is_given_once_and_must_exist(workspace: Workspace) -> None:
    schedules.add(workspace, "weekly", cron="* * * * *", recipe=RECIPE)
    with pytest.raises(ConflictError, match="weekly already"):
        schedules.add(workspace, "weekly", cron="* * * * *", recipe=RECIPE)
    for act in (schedules.run, schedules.find):
        with pytest.raises(NotFoundError, match="no schedule nightly"):
            act(workspace, "nightly")
    with pytest.raises(NotFoundError):
        schedules.set_paused(workspace, "nightly", paused=True)


def test_pausing_is_remembered_and_asking_by_hand_still_works(workspace: Workspace) -> None:
    schedules.add(workspace, "weekly", cron="* * * * *", recipe=RECIPE)
    assert schedules.set_paused(workspace, "weekly", paused=True).paused
    assert schedules.find(workspace, "weekly").paused
    job = jobs.find(workspace, schedules.run(workspace, "weekly"))
    assert (job.schedule, job.state) == ("weekly", "waiting")
    assert not schedules.set_paused(workspace, "weekly", paused=False).paused
