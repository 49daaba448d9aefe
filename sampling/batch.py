"""Batches: read what there is to choose from, let the planner choose, record the picks with their reasons."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from sampling import outlook, state
from sampling.outlook import Outlook
from sampling.planner import Choice, choose, rank
from sampling.pool import Pool
from sampling.recipes import Recipe, parse
from sampling.state import Roles, State
from store.errors import InvalidInputError, NotFoundError
from store.schema import Batch, ImageId, Pick
from store.workspace import Workspace


@dataclass(frozen=True)
class PlanSummary:
    """A planned batch."""

    batch_id: int
    digest: str
    picks: int
    arms: dict[str, int]
    cost: float | None  # of all of it, where the recipe says what an image costs
    calibration: str | None  # what was done to the probabilities, in a sentence
    unpredicted: int  # images for training that could not be picked, as the model's run says nothing of them
    outlook: Outlook


@dataclass(frozen=True)
class ReplaySummary:
    """Whether planning again from the recorded state gave the same batch."""

    batch_id: int
    recorded: str
    replayed: str

    @property
    def same(self) -> bool:
        """Whether both digests are equal."""
        return self.recorded == self.replayed


def plan(workspace: Workspace, recipe: Recipe) -> PlanSummary:
    """Choose a batch and record it; the same recipe on the same catalog is the same batch, recorded once.

    Raises:
        InvalidInputError: fewer images are left than the recipe asks for, its constraints cannot be met, or its
            strategy needs predictions.
        NotFoundError: nothing is embedded.
    """
    with workspace.database.read() as session:
        look = state.look(session, recipe)
        pool = state.load(workspace, session, look.state, look.roles, recipe)
        try:
            ranked = rank(choose(pool, recipe))
        except InvalidInputError as error:
            if not look.unpredicted:
                raise
            left_out = f"{look.unpredicted} images were left out, as {recipe.model} says nothing of them yet."
            raise InvalidInputError(f"{error} {left_out}") from error
        cost = None if pool.costs is None else float(pool.costs[[choice.position for choice in ranked]].sum())
        image_ids = [ImageId(pool.image_ids[choice.position]) for choice in ranked]
        trains = [look.split_of[i] == "train" and one.arm != "gold" for i, one in zip(image_ids, ranked, strict=True)]
        expected = outlook.read(session, recipe.model, labels=sum(trains), cost=cost, stop_below=recipe.stop_below)
    digest = _digest(recipe, pool, ranked)
    arms = {arm: sum(choice.arm == arm for choice in ranked) for arm in sorted({choice.arm for choice in ranked})}
    calibration = None if look.calibration is None else look.calibration.sentence
    report = {
        "arms": arms,
        **_counted(pool, ranked),
        "unpredicted": look.unpredicted,
        "cost": cost,
        "calibration": calibration,
        "accuracy": expected.accuracy,
        "forecast": expected.forecast,
    }
    batch = Batch(
        digest=digest,
        recipe=recipe.model_dump(mode="json"),
        state=asdict(look.state),
        pool=look.roles.pack(),
        report=report,
    )
    picks = [
        Pick(rank=i, image_id=image_id, arm=one.arm, score=one.score, split=look.split_of[image_id], why=one.why)
        for i, (image_id, one) in enumerate(zip(image_ids, ranked, strict=True))
    ]
    batch_id = _record(workspace, batch, picks)
    return PlanSummary(batch_id, digest, len(ranked), arms, cost, calibration, look.unpredicted, expected)


def replay(workspace: Workspace, batch_id: int) -> ReplaySummary:
    """Plan a batch again from the state it was planned from, recording nothing.

    Raises:
        NotFoundError: there is no such batch.
        InvalidInputError: it was adopted.
    """
    with workspace.database.read() as session:
        batch = find(session, batch_id)
        if (adopted := origin(batch)) is not None:
            raise InvalidInputError(f"Batch {batch_id} cannot be replayed. {adopted}")
        recorded, recipe = batch.digest, parse(batch.recipe)
        pool = state.load(workspace, session, State(**batch.state), Roles.unpack(batch.pool), recipe)
    return ReplaySummary(batch_id, recorded, _digest(recipe, pool, rank(choose(pool, recipe))))


def origin(batch: Batch) -> str | None:
    """Where the images of an adopted batch come from, in a sentence; none where a recipe chose them."""
    adopted = batch.recipe.get("adopted")
    if adopted is None:
        return None
    return (
        f"Adopted from project {adopted['project']} of Label Studio at {adopted['label_studio']}: "
        "no recipe chose these images."
    )


def find(session: Session, batch_id: int) -> Batch:
    """The batch with this id.

    Raises:
        NotFoundError: there is none.
    """
    batch = session.get(Batch, batch_id)
    if batch is None:
        newest = session.scalar(select(func.max(Batch.id)))
        raise NotFoundError(
            f"There is no batch {batch_id}; "
            + (f"the newest is {newest}." if newest else "none has been planned. Run: winnow batch plan --budget N.")
        )
    return batch


def _record(workspace: Workspace, batch: Batch, picks: Sequence[Pick]) -> int:
    """The id of the batch, which may have been recorded before."""
    with workspace.database.write() as session:
        there = session.scalar(select(Batch.id).where(Batch.digest == batch.digest))
        if there is not None:
            return there
        session.add(batch)
        session.flush()
        for pick in picks:
            pick.batch_id = batch.id
        session.add_all(picks)
        return batch.id


def _counted(pool: Pool, choices: Sequence[Choice]) -> dict[str, Any]:
    """What only the planner can count cheaply: the pool, what the model says of it, and what each quota got."""
    everything = np.concatenate([pool.eligible, pool.reserve])
    chosen = np.array([choice.position for choice in choices], dtype=np.int64)
    for_training = np.intersect1d(chosen, pool.eligible)
    report: dict[str, Any] = {
        "pool": len(everything),
        "for_training": len(for_training),
        "quotas": [[one.quota, one.name, len(np.intersect1d(for_training, one.members))] for one in pool.kinds],
    }
    if pool.probabilities is not None:
        likeliest = pool.probabilities.argmax(axis=1)
        everything = everything[pool.probabilities[everything].any(axis=1)]
        report["predicted"] = {
            "classes": pool.classes,
            "pool": np.bincount(likeliest[everything], minlength=len(pool.classes)).tolist(),
            "picks": np.bincount(likeliest[np.intersect1d(chosen, everything)], minlength=len(pool.classes)).tolist(),
        }
    return report


def _digest(recipe: Recipe, pool: Pool, ranked: Sequence[Choice]) -> str:
    """Of the picks and of what the recipe says beside the defaults, so that a new setting changes no old digest."""
    picks: list[Any] = [[pool.sha256s[choice.position], choice.arm, round(choice.score, 6)] for choice in ranked]
    said = recipe.model_dump(mode="json", exclude_defaults=True)
    return hashlib.sha256(json.dumps([said, picks], sort_keys=True).encode()).hexdigest()
