"""What the job of a schedule's tick does: plan a batch, have it labelled, or say why not.

Every step finds by its content what an interrupted run of the same tick did: the batch by its seed, the campaign by its
name, the tasks by their uids. So a tick that is run twice makes one of each.
"""

import hashlib
from datetime import datetime
from typing import Any

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from api import pushing, schedules
from api.schedules import CampaignTerms
from labeling import campaigns
from sampling import batch, drift, news, recipes
from store import fail_points
from store.schema import Batch, Campaign, Pick, Schedule
from store.workspace import Workspace


def run(workspace: Workspace, name: str, tick: datetime) -> dict[str, Any]:
    """Plan the batch of one tick and push it as a campaign, if the schedule has terms for one.

    Where the campaign of the newest batch is not wholly in Label Studio, because that failed or its vendor had no room,
    the tick pushes it and plans nothing.

    Returns:
        The job's summary: what was made, or under `skipped` a sentence that says why nothing was.

    Raises:
        NotFoundError: there is no such schedule, or nothing is embedded.
        InvalidInputError: fewer images are left than the recipe asks for, or the vendor's token is not there.
        ConflictError: the campaign's name is taken, or it was closed or paused before all of it was pushed.
        RemoteError: Label Studio failed or refused; the next tick goes on.
    """
    schedule = schedules.find(workspace, name)
    with workspace.database.read() as session:
        batch_id = _planned(session, name, tick)
        if batch_id is None and (unfinished := _unfinished(session, schedule)):
            tick, batch_id = unfinished
    if batch_id is None:
        if reason := _reason_to_skip(workspace, schedule):
            return {"skipped": reason}
        batch_id = _plan(workspace, schedule, tick)
        fail_points.reach("jobs.planned")
    _note(workspace, name, tick)
    with workspace.database.read() as session:
        picks = session.scalar(select(func.count()).where(Pick.batch_id == batch_id))
    summary = {"batch": batch_id, "picks": picks}
    if schedule.campaign is None:
        return summary
    return summary | _push(workspace, _campaign_name(name, tick), batch_id, CampaignTerms(**schedule.campaign))


def _seed(name: str, tick: datetime) -> int:
    """31 bits, so that any database and any generator can hold it."""
    digest = hashlib.sha256(f"{name}@{tick.isoformat()}".encode()).digest()
    return int.from_bytes(digest[:4]) >> 1


def _campaign_name(schedule: str, tick: datetime) -> str:
    return f"{schedule}-{tick:%Y%m%d-%H%M%S}"


def _planned(session: Session, name: str, tick: datetime) -> int | None:
    """The batch of a tick, if it was planned."""
    return session.scalar(select(Batch.id).where(Batch.recipe["seed"].as_integer() == _seed(name, tick)))


def _campaign(session: Session, name: str, batch_id: int) -> Campaign | None:
    return session.scalar(select(Campaign).where(Campaign.name == name, Campaign.batch_id == batch_id))


def _unfinished(session: Session, schedule: Schedule) -> tuple[datetime, int] | None:
    """The newest tick that planned, and its batch, if that should be in Label Studio and is not."""
    if schedule.campaign is None or schedule.planned_tick is None:
        return None
    batch_id = _planned(session, schedule.name, schedule.planned_tick)
    if batch_id is None:
        return None
    campaign = _campaign(session, _campaign_name(schedule.name, schedule.planned_tick), batch_id)
    if campaign is not None:
        states = campaigns.count(session, campaign.id)
        if campaigns.state(campaign) not in ("planned", "open") or states["pushed"] == states.total():
            return None
    return schedule.planned_tick, batch_id


def _reason_to_skip(workspace: Workspace, schedule: Schedule) -> str | None:
    with workspace.database.read() as session:
        if reason := _lack_of_capacity(session, schedule):
            return reason
        batch_id = _planned(session, schedule.name, schedule.planned_tick) if schedule.planned_tick else None
        if batch_id is None:
            return None
        came = news.since(session, batch_id)
    if came.is_none:
        return f"Nothing has changed since batch {batch_id}: no new image, label or prediction."
    if schedule.min_drift is None or not came.only_images:
        return None
    return _lack_of_drift(workspace, came.images, batch_id, schedule.min_drift)


def _lack_of_capacity(session: Session, schedule: Schedule) -> str | None:
    wanted, capacity = recipes.parse(schedule.recipe).budget, schedule.capacity
    if schedule.campaign is None or capacity is None or wanted is None:
        return None
    vendor = CampaignTerms(**schedule.campaign).vendor
    taken = campaigns.open_items(session, vendor)
    free = max(0, capacity - taken)
    if wanted <= free:
        return None
    return f"{vendor} has {taken} of {capacity} tasks open: {free} are free, the recipe asks for {wanted}."


def _lack_of_drift(workspace: Workspace, images: frozenset[int], batch_id: int, least: float) -> str | None:
    found = drift.since(workspace, images)
    if found.high >= least:
        return None
    return (
        f"{len(images)} images came since batch {batch_id} and look like those before: a classifier tells them apart "
        f"with an AUC of {found.auc:.3f} (95 % interval {found.low:.3f} to {found.high:.3f}), below {least:g}."
    )


def _plan(workspace: Workspace, schedule: Schedule, tick: datetime) -> int:
    recipe = recipes.parse({**schedule.recipe, "seed": _seed(schedule.name, tick)})
    return batch.plan(workspace, recipe).batch_id


def _note(workspace: Workspace, name: str, tick: datetime) -> None:
    """Remember the newest tick that planned; an older one that is run again does not count."""
    is_newer = or_(Schedule.planned_tick.is_(None), Schedule.planned_tick < tick)
    with workspace.database.write() as session:
        session.execute(update(Schedule).where(Schedule.name == name, is_newer).values(planned_tick=tick))


def _push(workspace: Workspace, name: str, batch_id: int, terms: CampaignTerms) -> dict[str, Any]:
    with workspace.database.read() as session:
        campaign = _campaign(session, name, batch_id)
    if campaign is None:  # else it stays under the revision of the taxonomy that was the newest then
        campaigns.create(
            workspace,
            name,
            batch_id=batch_id,
            taxonomy_name=terms.taxonomy,
            vendor_name=terms.vendor,
            overlap=terms.overlap,
        )
    fail_points.reach("jobs.campaign_created")
    with workspace.database.read() as session:
        manner = pushing.manner(session, name, image_base_url=terms.image_base_url, predictions=terms.predictions)
    pushed = pushing.start(workspace, name, manner)
    waiting = {"waiting": pushed.waiting} if pushed.waiting else {}
    return {"campaign": name, "tasks": pushed.tasks, **waiting}
