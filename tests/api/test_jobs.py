import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api import jobs
from store.errors import ConflictError, InvalidInputError, NotFoundError
from store.workspace import Workspace

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def wait_for(condition: Callable[[], Any], *, seconds: float = 30) -> Any:
    """The first truthy value of `condition`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s")


def test_before_anything_is_asked_there_are_no_jobs(workspace: Workspace) -> None:
    assert jobs.recent(workspace) == []
    with pytest.raises(NotFoundError, match="There is no job nothing"):
        jobs.find(workspace, "nothing")


def test_jobs_run_once_for_each_tick_and_keep_what_came_of_them(workspace: Workspace) -> None:
    ran: list[tuple[str, datetime]] = []

    def run_tick(schedule: str, tick: datetime) -> dict[str, Any]:
        ran.append((schedule, tick))
        if schedule == "refused":
            raise InvalidInputError("5 images are left, 10 were asked for.")
        if schedule == "broken":
            raise ZeroDivisionError("division by zero")
        if schedule == "skipping":
            return {"skipped": "Nothing is new."}
        return {"batch": 1, "picks": 5}

    first = jobs.enqueue(workspace, "good", NOON)
    assert jobs.enqueue(workspace, "good", NOON) == first  # before any worker
    assert jobs.find(workspace, first).state == "waiting"
    assert not jobs.has_worker(workspace)
    with jobs.worker(workspace, run_tick):
        assert jobs.has_worker(workspace)
        wait_for(lambda: jobs.find(workspace, first).state == "done")
        assert jobs.enqueue(workspace, "good", NOON) == first  # after it was done
        others = [
            jobs.enqueue(workspace, "refused", NOON),
            jobs.enqueue(workspace, "broken", NOON),
            jobs.enqueue(workspace, "skipping", NOON),
            jobs.enqueue(workspace, "good", NOON + timedelta(seconds=1)),
        ]
        wait_for(lambda: all(jobs.find(workspace, job).finished_at for job in others))
    assert not jobs.has_worker(workspace)

    assert sorted(ran) == [
        ("broken", NOON),
        ("good", NOON),
        ("good", NOON + timedelta(seconds=1)),
        ("refused", NOON),
        ("skipping", NOON),
    ]
    assert [(job.schedule, job.tick, job.state, job.outcome) for job in reversed(jobs.recent(workspace))] == [
        ("good", NOON, "done", "batch 1, picks 5"),
        ("refused", NOON, "failed", "5 images are left, 10 were asked for."),
        ("broken", NOON, "failed", "ZeroDivisionError: division by zero"),
        ("skipping", NOON, "done", "skipped: Nothing is new."),
        ("good", NOON + timedelta(seconds=1), "done", "batch 1, picks 5"),
    ]


def test_a_workspace_has_one_worker(workspace: Workspace) -> None:
    with jobs.worker(workspace, lambda schedule, tick: {}):
        with pytest.raises(ConflictError, match="served already"), jobs.worker(workspace, lambda schedule, tick: {}):
            pass
        assert jobs.has_worker(workspace)


def test_schedules_tick_unless_they_are_paused_or_gone(workspace: Workspace) -> None:
    every_second = "* * * * * *"
    ticked: list[str] = []

    def run_tick(schedule: str, tick: datetime) -> dict[str, Any]:
        ticked.append(schedule)
        return {}

    jobs.apply_schedules(workspace, {"going": every_second, "gone": every_second}, paused=[])
    jobs.apply_schedules(workspace, {"going": every_second, "resting": every_second}, paused=["resting"])
    with jobs.worker(workspace, run_tick):
        wait_for(lambda: len(ticked) >= 3)
    assert set(ticked) == {"going"}
    ticks = [job.tick for job in jobs.recent(workspace)]
    assert len(ticks) == len(set(ticks))
