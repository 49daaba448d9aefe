"""Recipes that are planned again and again by cron: the rows are the truth, the scheduler follows them."""

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError

from api import jobs
from store.errors import ConflictError, InvalidInputError, NotFoundError
from store.schema import Schedule, now
from store.workspace import Workspace

if TYPE_CHECKING:
    from sampling.recipes import Recipe


@dataclass(frozen=True)
class CampaignTerms:
    """Under which terms every batch of a schedule is labelled."""

    taxonomy: str  # its newest revision at the tick
    vendor: str
    image_base_url: str  # of `winnow serve`, as annotators reach it
    overlap: int = 2  # answers wanted per item
    predictions: str | None = None  # the model whose newest predictions are shown


def add(
    workspace: Workspace,
    name: str,
    *,
    cron: str,
    recipe: dict[str, Any],
    campaign: CampaignTerms | None = None,
    capacity: int | None = None,
    min_drift: float | None = None,
) -> Schedule:
    """Plan a batch by `recipe` at every tick of `cron`, in UTC: five fields, or six that begin with seconds.

    Args:
        workspace: holds the catalog.
        name: of the schedule.
        cron: when.
        recipe: how to choose.
        campaign: how the batches are labelled; if it is not given, they are only planned.
        capacity: items that the campaign's vendor may have open; a tick whose batch finds no room is skipped.
        min_drift: an AUC, see sampling.drift; a tick before which only images came that drifted less is skipped.

    Raises:
        InvalidInputError: the name, the cron expression, the recipe, a term or a limit cannot be used.
        NotFoundError: there is no such taxonomy or vendor, or no prediction of that model.
        ConflictError: there is a schedule of this name.
    """
    from sampling import recipes

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise InvalidInputError(f"{name!r} cannot name a schedule: use up to 64 letters, digits, dots and dashes.")
    if not _ticks(cron):
        raise InvalidInputError(
            f"{cron!r} is no cron expression of a moment that comes. Five fields, such as '0 6 * * 1' for Mondays at 6."
        )
    parsed = recipes.parse(recipe)
    if campaign is not None:
        _check_terms(workspace, campaign)
    if capacity is not None:
        _check_capacity(parsed, campaign, capacity)
    if min_drift is not None and not 0.5 <= min_drift <= 1:
        raise InvalidInputError(
            f"The least drift is an AUC from 0.5, alike, to 1, nothing in common; not {min_drift:g}."
        )
    schedule = Schedule(
        name=name,
        cron=cron,
        recipe=recipe,
        campaign=None if campaign is None else asdict(campaign),
        capacity=capacity,
        min_drift=min_drift,
    )
    try:
        with workspace.database.write() as session:
            session.add(schedule)
            session.flush()
            session.expunge(schedule)
    except IntegrityError:
        raise ConflictError(f"There is a schedule {name} already. Choose another name.") from None
    synchronise(workspace)
    return schedule


def _ticks(cron: str) -> bool:
    """Whether it is a cron expression, and of a moment that comes."""
    from croniter import CroniterBadDateError, croniter  # type: ignore[import-untyped]

    if not croniter.is_valid(cron, second_at_beginning=True):
        return False
    try:
        croniter(cron, now(), second_at_beginning=True).get_next()
    except CroniterBadDateError:
        return False
    return True


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


def remove(workspace: Workspace, name: str) -> None:
    """Forget a schedule. Its batches, campaigns and past jobs stay; a job that waits will fail.

    Raises:
        NotFoundError: there is none of this name.
    """
    find(workspace, name)
    with workspace.database.write() as session:
        session.execute(delete(Schedule).where(Schedule.name == name))
    synchronise(workspace)


def run(workspace: Workspace, name: str) -> str:
    """Ask for a tick now, paused or not, and return the job's id; a worker will run it."""
    find(workspace, name)
    return jobs.enqueue(workspace, name, now().replace(microsecond=0))


def synchronise(workspace: Workspace) -> None:
    """Make the scheduler follow the rows; harmless when it does already."""
    schedules = load(workspace)
    crons = {schedule.name: schedule.cron for schedule in schedules}
    jobs.apply_schedules(workspace, crons, paused=[schedule.name for schedule in schedules if schedule.paused])


def document(schedule: Schedule) -> dict[str, Any]:
    """What programs are told of a schedule."""
    return {
        "name": schedule.name,
        "cron": schedule.cron,
        "recipe": schedule.recipe,
        "campaign": schedule.campaign,
        "capacity": schedule.capacity,
        "min_drift": schedule.min_drift,
        "paused": schedule.paused,
    }


def _check_terms(workspace: Workspace, terms: CampaignTerms) -> None:
    from api import image_urls
    from curation import predictions
    from labeling import taxonomy, vendors

    if terms.overlap < 1:
        raise InvalidInputError(f"Every item needs one answer or more, not {terms.overlap}.")
    image_urls.signer(workspace.key, terms.image_base_url)
    with workspace.database.read() as session:
        taxonomy.newest(session, terms.taxonomy)
        vendors.get(session, terms.vendor)
        if terms.predictions is not None:
            predictions.newest_run(session, terms.predictions)


def _check_capacity(recipe: "Recipe", campaign: CampaignTerms | None, capacity: int) -> None:
    if campaign is None:
        raise InvalidInputError(
            "A capacity is a vendor's. Say with which taxonomy and vendor the batches are labelled."
        )
    if recipe.budget is None:
        raise InvalidInputError("With a capacity the recipe needs a budget: nobody knows yet how many its money buys.")
    if capacity < recipe.budget:
        raise InvalidInputError(f"A capacity of {capacity} never has room for the {recipe.budget} the recipe asks for.")
