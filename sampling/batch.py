"""Batches: read what there is to choose from, let the planner choose, record the picks with their reasons."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from curation import splits
from curation.index import open_index
from sampling.planner import Choice, Pool, Slice, choose, rank
from sampling.recipes import Recipe, parse
from store.errors import NotFoundError
from store.schema import (
    Batch,
    Campaign,
    DuplicateGroup,
    DuplicateMember,
    DuplicateScan,
    FailureCluster,
    FailureMember,
    FailureScan,
    Image,
    Label,
    Pick,
    Prediction,
    PredictionRun,
    Task,
)
from store.workspace import Workspace


@dataclass(frozen=True)
class State:
    """The catalog as the planner saw it: the newest row of each table that it reads. Rows are never changed."""

    images: int
    labels: int
    tasks: int
    duplicate_scan: int | None
    prediction_run: int | None
    failure_scan: int | None


@dataclass(frozen=True)
class PlanSummary:
    """A planned batch."""

    batch_id: int
    digest: str
    picks: int
    arms: dict[str, int]


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
        InvalidInputError: fewer images are left than the recipe asks for, or its strategy needs predictions.
        NotFoundError: nothing is embedded.
    """
    with workspace.database.read() as session:
        state = _present(session, recipe)
    pool = _load(workspace, state)
    ranked = rank(choose(pool, recipe))
    digest = _digest(recipe, pool, ranked)
    arms = {arm: sum(choice.arm == arm for choice in ranked) for arm in sorted({choice.arm for choice in ranked})}
    with workspace.database.write() as session:
        batch = session.scalar(select(Batch).where(Batch.digest == digest))
        if batch is None:
            report = {"arms": arms, "pool": len(pool.sha256s)}
            batch = Batch(digest=digest, recipe=recipe.model_dump(), state=asdict(state), report=report)
            session.add(batch)
            session.flush()
            for position, choice in enumerate(ranked):
                session.add(
                    Pick(
                        batch_id=batch.id,
                        rank=position,
                        image_id=pool.image_ids[choice.position],
                        arm=choice.arm,
                        score=choice.score,
                        why=choice.why,
                    )
                )
        return PlanSummary(batch.id, digest, len(ranked), arms)


def replay(workspace: Workspace, batch_id: int) -> ReplaySummary:
    """Plan a batch again from the state it was planned from, recording nothing.

    Raises:
        NotFoundError: there is no such batch.
    """
    with workspace.database.read() as session:
        batch = find(session, batch_id)
        recipe, state = parse(batch.recipe), State(**batch.state)
    pool = _load(workspace, state)
    return ReplaySummary(batch_id, batch.digest, _digest(recipe, pool, rank(choose(pool, recipe))))


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


def _present(session: Session, recipe: Recipe) -> State:
    newest_run = select(func.max(PredictionRun.id)).where(PredictionRun.model == recipe.model)
    newest_scan = (
        select(func.max(FailureScan.id))
        .join(PredictionRun, PredictionRun.id == FailureScan.run_id)
        .where(PredictionRun.model == recipe.model)
    )
    return State(
        images=session.scalar(select(func.max(Image.id))) or 0,
        labels=session.scalar(select(func.max(Label.id))) or 0,
        tasks=session.scalar(select(func.max(Task.id))) or 0,
        duplicate_scan=session.scalar(select(func.max(DuplicateScan.id))),
        prediction_run=session.scalar(newest_run),
        failure_scan=session.scalar(newest_scan),
    )


def _load(workspace: Workspace, state: State) -> Pool:
    """What was there to choose from in `state`: one image of each duplicate group that nobody has labelled."""
    _, index = open_index(workspace)
    ids: list[int] = index.image_ids.tolist()
    with workspace.database.read() as session:
        sha256s = dict(session.execute(select(Image.id, Image.sha256)).all())
        used = set(session.scalars(select(Label.image_id).where(Label.id <= state.labels)))
        used |= set(
            session.scalars(
                select(Task.image_id)
                .join(Campaign, Campaign.id == Task.campaign_id)
                .where(Task.id <= state.tasks, Campaign.purpose == "labelling")
            )
        )
        copies = _copies(session, state.duplicate_scan, used)
        split_of = splits.load(session)
        run = session.get(PredictionRun, state.prediction_run) if state.prediction_run else None
        predictions = dict(
            session.execute(
                select(Prediction.image_id, Prediction.probabilities).where(Prediction.run_id == state.prediction_run)
            ).all()
        )
        open_ = [
            i
            for i, image_id in enumerate(ids)
            if image_id <= state.images
            and image_id not in used
            and image_id not in copies
            and (run is None or image_id in predictions)
        ]
        position = {ids[i]: at for at, i in enumerate(open_)}
        slices = _slices(session, state.failure_scan, position)
    probabilities = None
    if run is not None:
        rows = [np.frombuffer(predictions[ids[i]], dtype="<f4") for i in open_]
        probabilities = np.array(rows, dtype=np.float64).reshape(len(open_), len(run.classes))
    return Pool(
        sha256s=[sha256s[ids[i]] for i in open_],
        image_ids=[ids[i] for i in open_],
        directions=index.directions[open_],
        reserved=np.array([split_of[ids[i]] != "train" for i in open_], dtype=np.int64),  # type: ignore[index]
        probabilities=probabilities,
        classes=[] if run is None else run.classes,
        labelled=index.directions[[i for i, image_id in enumerate(ids) if image_id in used]],
        slices=slices,
    )


def _copies(session: Session, scan_id: int | None, used: set[int]) -> set[int]:
    """Images that a group's representative, or a labelled member, speaks for."""
    representatives: dict[int, int] = {}
    members: dict[int, list[int]] = {}
    for group_id, representative, image_id in session.execute(
        select(DuplicateGroup.id, DuplicateGroup.representative_id, DuplicateMember.image_id)
        .join(DuplicateMember, DuplicateMember.group_id == DuplicateGroup.id)
        .where(DuplicateGroup.scan_id == scan_id)
    ):
        representatives[group_id] = representative
        members.setdefault(group_id, []).append(image_id)
    copies: set[int] = set()
    for group_id, images in members.items():
        spoken_for = used.intersection(images)
        copies |= set(images) if spoken_for else set(images) - {representatives[group_id]}
    return copies


def _slices(session: Session, scan_id: int | None, position: dict[int, int]) -> list[Slice]:
    clusters = session.scalars(
        select(FailureCluster).where(FailureCluster.scan_id == scan_id).order_by(FailureCluster.id)
    ).all()
    result = []
    for cluster in clusters:
        members = session.scalars(select(FailureMember.image_id).where(FailureMember.cluster_id == cluster.id))
        positions = sorted(position[image_id] for image_id in members if image_id in position)
        result.append(Slice(cluster.name, cluster.lift, np.array(positions, dtype=np.int64)))
    return result


def _digest(recipe: Recipe, pool: Pool, ranked: Sequence[Choice]) -> str:
    picks: list[Any] = [[pool.sha256s[choice.position], choice.arm, round(choice.score, 6)] for choice in ranked]
    return hashlib.sha256(json.dumps([recipe.model_dump(), picks], sort_keys=True).encode()).hexdigest()
