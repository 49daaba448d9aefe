"""Durable jobs: DBOS on a SQLite file of the workspace, with one worker inside `winnow serve`.

There is one kind of job: a schedule's tick. Its id is made of both, so asking twice is a no-op;
a job that was interrupted, even by `kill -9`, starts again with the next worker.
"""

import fcntl
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from store.errors import ConflictError, NotFoundError, WinnowError
from store.workspace import Workspace

if TYPE_CHECKING:
    from dbos import DBOSClient

RunTick = Callable[[str, datetime], dict[str, Any]]  # (schedule, tick) to a small summary

_APPLICATION = "winnow"
_VERSION = "1"  # DBOS recovers only jobs of its own version, and would make one from our source
_EXECUTOR = "serve"  # … and of its own executor
_WORKFLOW = "run-tick"
_QUEUE = "ticks"
_POLL_S = 1.0
_FINISH_S = 20  # what a running job is given when the service stops
_STATES = {
    "ENQUEUED": "waiting",
    "DELAYED": "waiting",
    "PENDING": "running",
    "SUCCESS": "done",
    "CANCELLED": "cancelled",
}


@dataclass(frozen=True)
class Job:
    """One tick of one schedule."""

    id: str
    schedule: str
    tick: datetime
    state: str  # waiting, running, done, failed or cancelled
    summary: dict[str, Any] | None
    error: str | None  # a sentence
    created_at: datetime
    finished_at: datetime | None

    @property
    def outcome(self) -> str:
        """The summary or the error on one line; nothing while it is under way."""
        summary = self.summary or {}
        if "skipped" in summary:
            return f"skipped: {summary['skipped']}"
        return self.error or ", ".join(f"{name} {value}" for name, value in summary.items())


@contextmanager
def worker(workspace: Workspace, run_tick: RunTick) -> Iterator[None]:
    """Run jobs in the background while the block lasts, beginning with interrupted ones.

    Raises:
        ConflictError: another process is this workspace's worker.
    """
    from dbos import DBOS

    with _sole_worker(workspace):
        _prepare(workspace)
        DBOS(
            config={
                "name": _APPLICATION,
                "system_database_url": _url(workspace),
                "application_version": _VERSION,
                "executor_id": _EXECUTOR,
                "scheduler_polling_interval_sec": _POLL_S,
                "enable_otlp": False,
                "log_level": "WARNING",
            }
        )

        @DBOS.workflow(name=_WORKFLOW)
        def run_tick_durably(tick: datetime, schedule: str) -> dict[str, Any]:
            return DBOS.run_step({"name": _WORKFLOW}, run_tick, schedule, tick)

        logging.getLogger("dbos").addFilter(_shorten)
        try:
            DBOS.launch()
            DBOS.register_queue(_QUEUE, worker_concurrency=1, polling_interval_sec=_POLL_S)
            yield
        finally:
            DBOS.destroy(destroy_registry=True, workflow_completion_timeout_sec=_FINISH_S)


def has_worker(workspace: Workspace) -> bool:
    """Whether some process is running this workspace's jobs."""
    try:
        with _sole_worker(workspace):
            return False
    except ConflictError:
        return True


def apply_schedules(workspace: Workspace, crons: dict[str, str], *, paused: Sequence[str]) -> None:
    """Let exactly these schedules tick, cron expressions by name, except the paused ones."""
    with _client(workspace) as client:
        for existing in client.list_schedules():
            if existing["schedule_name"] not in crons:
                client.delete_schedule(existing["schedule_name"])
        client.apply_schedules(
            [
                {
                    "schedule_name": name,
                    "workflow_name": _WORKFLOW,
                    "schedule": cron,
                    "context": name,
                    "queue_name": _QUEUE,
                }
                for name, cron in crons.items()
            ]
        )
        for name in crons:
            (client.pause_schedule if name in paused else client.resume_schedule)(name)


def enqueue(workspace: Workspace, schedule: str, tick: datetime) -> str:
    """Ask for one tick of a schedule, now; returns the job's id. The same tick asked twice is one job."""
    with _client(workspace) as client:
        handle: Any = client.enqueue(
            {
                "workflow_name": _WORKFLOW,
                "queue_name": _QUEUE,
                "workflow_id": f"sched-{schedule}-{tick.isoformat()}",  # as the scheduler of DBOS names it
                "app_version": _VERSION,
            },
            tick,
            schedule,
        )
        return str(handle.get_workflow_id())


def recent(workspace: Workspace, *, limit: int = 50) -> list[Job]:
    """The newest jobs, newest first."""
    with _client(workspace) as client:
        return [_job(status) for status in client.list_workflows(name=_WORKFLOW, sort_desc=True, limit=limit)]


def find(workspace: Workspace, job_id: str) -> Job:
    """One job.

    Raises:
        NotFoundError: there is none with this id.
    """
    with _client(workspace) as client:
        found = client.list_workflows(workflow_ids=[job_id])
    if not found:
        raise NotFoundError(f"There is no job {job_id}. List them with: winnow jobs list.")
    return _job(found[0])


def _job(status: Any) -> Job:
    tick, schedule = status.input["args"]
    return Job(
        id=status.workflow_id,
        schedule=schedule,
        tick=tick,
        state=_STATES.get(status.status, "failed"),
        summary=status.output,
        error=_sentence(status.error),
        created_at=_moment(status.created_at),
        finished_at=_moment(status.completed_at) if status.completed_at else None,
    )


def _sentence(error: Exception | None) -> str | None:
    if error is None or isinstance(error, WinnowError):
        return str(error) if error else None
    return f"{type(error).__name__}: {error}"


def _shorten(record: logging.LogRecord) -> bool:
    """Log a failure made for users as its sentence; keep the trace of any other."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, WinnowError):
        record.msg, record.args, record.exc_info = f"A job failed: {error}", (), None
    return True


def _moment(epoch_ms: int) -> datetime:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC)


def _url(workspace: Workspace) -> str:
    return f"sqlite:///{workspace.home / 'jobs.db'}"


def _prepare(workspace: Workspace) -> None:
    """Make the file, in WAL mode, at the schema of this DBOS; a kill in the middle is made good the next time."""
    from dbos import DBOS

    ready = workspace.home / "jobs.ready"
    with (workspace.home / "jobs.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            _migrate(workspace, DBOS)
            ready.touch()


def _migrate(workspace: Workspace, dbos: Any) -> None:
    with sqlite3.connect(workspace.home / "jobs.db", timeout=30) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    connection.close()
    dbos.migrate(_url(workspace))


@contextmanager
def _client(workspace: Workspace) -> Iterator["DBOSClient"]:
    from dbos import DBOSClient

    _prepare(workspace)
    client = DBOSClient(system_database_url=_url(workspace), application_name=_APPLICATION)
    try:
        yield client
    finally:
        client.destroy()


@contextmanager
def _sole_worker(workspace: Workspace) -> Iterator[None]:
    """Hold the lock that says there is a worker; the system lets go of it when the process dies."""
    descriptor = os.open(workspace.home / "worker.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError("This workspace is being served already. Stop that `winnow serve` first.") from None
        yield
    finally:
        os.close(descriptor)
