"""Recipes that are planned again and again by cron: the rows are the truth, the scheduler follows them."""

import hashlib
import re
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from api import jobs
from store import fail_points
from store.errors import ConflictError, InvalidInputError, NotFoundError
from store.schema import Batch, Pick, Schedule, now
from store.workspace import Workspace


def add(workspace: Workspace, name: str, *, cron: str, recipe: dict[str, Any]) -> Schedule:
    """Plan a batch by `recipe` at every tick of `cron`, in UTC: five fields, or six that begin with seconds.

    Raises:
        InvalidInputError: the name, the cron expression or the recipe cannot be used.
        ConflictError: there is a schedule of this name.
    """
    from croniter import croniter  # type: ignore[import-untyped]

    from sampling import recipes

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise InvalidInputError(f"{name!r} cannot name a schedule: use up to 64 letters, digits, dots and dashes.")
    if not croniter.is_valid(cron, second_at_beginning=True):
        raise InvalidInputError(
            f"{cron!r} is not a cron expression. Five fields, such as '0 6 * * 1' for Mondays at 6."
        )
    recipes.parse(recipe)
    schedule = Schedule(name=name, cron=cron, recipe=recipe)
    try:
        with workspace.database.write() as session:
            session.add(schedule)
            session.flush()
            session.expunge(schedule)
    except IntegrityError:
        raise ConflictError(f"There is a schedule {name} already. Choose another name.") from None
    synchronise(workspace)
    return schedule


def load(workspace: Workspace) -> list[Schedule]:
    """Every schedule, by name."""
    with workspace.database.read() as session:
        return list(session.scalars(select(Schedule).order_by(Schedule.name)))


def find(workspace: Workspace, name: str) -> Schedule:
    """One schedule.

    Raises:
        NotFoundError: there is none of this name.
    """
    with workspace.database.read() as session:
        schedule = session.scalar(select(Schedule).where(Schedule.name == name))
    if schedule is None:
        raise NotFoundError(f"There is no schedule {name}. List them with: winnow schedule list.")
    return schedule


def set_paused(workspace: Workspace, name: str, *, paused: bool) -> Schedule:
    """Let a schedule rest, or tick again; ticks it missed are not made up for."""
    find(workspace, name)
    with workspace.database.write() as session:
        schedule = session.scalars(select(Schedule).where(Schedule.name == name)).one()
        schedule.paused = paused
        session.flush()
        session.expunge(schedule)
    synchronise(workspace)
    return schedule


def run(workspace: Workspace, name: str) -> str:
    """Ask for a tick now, paused or not, and return the job's id; a worker will run it."""
    find(workspace, name)
    return jobs.enqueue(workspace, name, now().replace(microsecond=0))


def synchronise(workspace: Workspace) -> None:
    """Make the scheduler follow the rows; harmless when it does already."""
    schedules = load(workspace)
    crons = {schedule.name: schedule.cron for schedule in schedules}
    jobs.apply_schedules(workspace, crons, paused=[schedule.name for schedule in schedules if schedule.paused])


def run_tick(workspace: Workspace, name: str, tick: datetime) -> dict[str, Any]:
    """The job: plan the batch of one tick, under a seed of its own, by which a second run finds it planned."""
    from sampling import batch, recipes

    seed = _seed(name, tick)
    with workspace.database.read() as session:
        planned = session.scalar(select(Batch.id).where(Batch.recipe["seed"].as_integer() == seed))
    if planned is None:
        recipe = recipes.parse({**find(workspace, name).recipe, "seed": seed})
        planned = batch.plan(workspace, recipe).batch_id
        fail_points.reach("jobs.planned")
    with workspace.database.read() as session:
        picks = session.scalar(select(func.count()).where(Pick.batch_id == planned))
    return {"batch": planned, "picks": picks}


def _seed(name: str, tick: datetime) -> int:
    """31 bits, so that any database and any generator can hold it."""
    digest = hashlib.sha256(f"{name}@{tick.isoformat()}".encode()).digest()
    return int.from_bytes(digest[:4]) >> 1
