"""Batches: read what there is to choose from, let the planner choose, record the picks with their reasons."""

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from curation import duplicates, predictions, splits, where
from curation.embed import find_encoder
from curation.index import open_directions
from curation.splits import Split
from sampling import head
from sampling.calibration import Calibrator
from sampling.head import Settings
from sampling.planner import Choice, Pool, Slice, choose, rank
from sampling.recipes import Recipe, parse
from sampling.run_calibration import calibrated
from store.arrays import Floats, Ints
from store.errors import NotFoundError
from store.schema import (
    Batch,
    Campaign,
    Embedding,
    Encoder,
    FailureCluster,
    FailureMember,
    FailureScan,
    Image,
    ImageId,
    Label,
    Pick,
    Prediction,
    PredictionRun,
    Task,
)
from store.workspace import Workspace


@dataclass(frozen=True)
class State:
    """Which results the planner read. None of them ever changes, so a batch can be planned from them again."""

    encoder: str  # digest
    prediction_run: int | None
    failure_scan: int | None
    calibrator: dict[str, Any] | None = None  # what the run's probabilities are corrected by


@dataclass(frozen=True)
class Roles:
    """What each image was to the planner: sets of image ids."""

    embedded: frozenset[int]
    eligible: frozenset[int]  # nobody labels it, and no duplicate of it
    reserved: frozenset[int]  # of those: for val and test
    used: frozenset[int]  # labelled, or being labelled
    members: tuple[frozenset[int], ...] = ()  # for each quota of the recipe

    def pack(self) -> bytes:
        """A bit per image and role, compressed."""
        roles = [self.embedded, self.eligible, self.reserved, self.used, *self.members]
        bits = np.zeros((len(roles), max(self.embedded, default=0) + 1), dtype=np.bool_)
        for row, images in zip(bits, roles, strict=True):
            row[list(images)] = True
        return zlib.compress(np.packbits(bits, axis=1).tobytes())

    @classmethod
    def unpack(cls, data: bytes, *, quotas: int) -> "Roles":
        """What `pack` packed of a recipe with so many quotas."""
        packed = np.frombuffer(zlib.decompress(data), dtype=np.uint8).reshape(4 + quotas, -1)
        first, second, third, fourth, *members = (
            frozenset(np.flatnonzero(row).tolist()) for row in np.unpackbits(packed, axis=1)
        )
        return cls(first, second, third, fourth, tuple(members))


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
        state, roles, split_of = _look(session, recipe)
        pool = _load(workspace, session, state, roles)
    ranked = rank(choose(pool, recipe))
    digest = _digest(recipe, pool, ranked)
    arms = {arm: sum(choice.arm == arm for choice in ranked) for arm in sorted({choice.arm for choice in ranked})}
    with workspace.database.write() as session:
        batch = session.scalar(select(Batch).where(Batch.digest == digest))
        if batch is None:
            batch = Batch(
                digest=digest,
                recipe=recipe.model_dump(mode="json"),
                state=asdict(state),
                pool=roles.pack(),
                report={"arms": arms, **_report(pool, ranked)},
            )
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
                        split=split_of[ImageId(pool.image_ids[choice.position])],
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
        recorded, recipe = batch.digest, parse(batch.recipe)
        roles = Roles.unpack(batch.pool, quotas=len(recipe.quotas))
        pool = _load(workspace, session, State(**batch.state), roles)
    return ReplaySummary(batch_id, recorded, _digest(recipe, pool, rank(choose(pool, recipe))))


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


def _look(session: Session, recipe: Recipe) -> tuple[State, Roles, dict[ImageId, Split]]:
    """What there is to choose from now: one image of each set of duplicates that nobody has labelled."""
    encoder = find_encoder(session)
    of_classes = (PredictionRun.model == recipe.model, PredictionRun.kind == "classes")
    newest_run = select(PredictionRun).where(*of_classes).order_by(PredictionRun.id.desc()).limit(1)
    newest_scan = (
        select(func.max(FailureScan.id))
        .join(PredictionRun, PredictionRun.id == FailureScan.run_id)
        .where(PredictionRun.model == recipe.model)
    )
    run = session.scalar(newest_run)
    calibrator = None if run is None else asdict(calibrated(session, run)[0])
    state = State(encoder.digest, None if run is None else run.id, session.scalar(newest_scan), calibrator)
    embedded = set(session.scalars(select(Embedding.image_id).where(Embedding.encoder_id == encoder.id)))
    labelling = select(Campaign.id).where(Campaign.purpose == "labelling")
    used = set(session.scalars(select(Label.image_id)))
    used |= set(session.scalars(select(Task.image_id).where(Task.campaign_id.in_(labelling))))
    eligible = embedded - used - _spoken_for(session, used)
    if state.prediction_run is not None:
        predicted = select(Prediction.image_id).where(Prediction.run_id == state.prediction_run)
        eligible &= set(session.scalars(predicted))
    if recipe.where is not None:
        eligible &= set(where.image_ids(session, recipe.where).tolist())
    if recipe.exclude is not None:
        eligible -= set(where.image_ids(session, recipe.exclude).tolist())
    members = tuple(
        frozenset(where.image_ids(session, quota.where).tolist()) & frozenset(embedded) for quota in recipe.quotas
    )
    split_of = splits.load(session)
    reserved = {image_id for image_id in eligible if split_of[ImageId(image_id)] != "train"}
    roles = Roles(frozenset(embedded), frozenset(eligible), frozenset(reserved), frozenset(used & embedded), members)
    return state, roles, split_of


def _load(workspace: Workspace, session: Session, state: State, roles: Roles) -> Pool:
    """The pool as the planner saw it, ordered by sha256."""
    encoder = session.scalars(select(Encoder).where(Encoder.digest == state.encoder)).one()
    directions = open_directions(workspace, session, encoder, among=roles.embedded)
    ids: list[int] = directions.image_ids.tolist()
    sha256s = dict(session.execute(select(Image.id, Image.sha256)).all())
    run = session.get(PredictionRun, state.prediction_run) if state.prediction_run else None
    settings = None if run is None else run.report.get("settings")

    def positions(images: frozenset[int]) -> Ints:
        return np.flatnonzero(np.isin(directions.image_ids, list(images)))

    return Pool(
        sha256s=[sha256s[image_id] for image_id in ids],
        image_ids=ids,
        take=directions.take,
        eligible=positions(roles.eligible - roles.reserved),
        reserve=positions(roles.reserved),
        labelled=positions(roles.used),
        probabilities=None if run is None else _probabilities(session, run, state.calibrator, directions.image_ids),
        classes=[] if run is None else run.classes,
        settings=head.DEFAULT if settings is None else Settings(**settings),
        slices=_slices(session, state.failure_scan, {image_id: at for at, image_id in enumerate(ids)}),
        members=[positions(images) for images in roles.members],
    )


def _probabilities(
    session: Session, run: PredictionRun, calibrator: Mapping[str, Any] | None, image_ids: Ints
) -> Floats:
    """Of each image `(N, C)`, calibrated; 0 where the run has none."""
    there = np.isin(image_ids, predictions.predicted(session, run))
    result = np.zeros((len(image_ids), len(run.classes)), dtype=np.float32)
    result[there] = predictions.read(session, run, [ImageId(image_id) for image_id in image_ids[there].tolist()])
    if calibrator is not None:
        result[there] = Calibrator(**calibrator).apply(result[there])
    return result


def _spoken_for(session: Session, used: set[int]) -> set[int]:
    """Images for which a duplicate speaks: a used one, else one representative of all that are tied together."""
    pairs = duplicates.pairs_in_force(session)
    if not pairs:
        return set()
    representatives = {representative for _, representative, _ in duplicates.newest_groups(session)}
    ids = dict(session.execute(select(Image.sha256, Image.id).order_by(Image.sha256)).all())
    sha256_of = {image_id: sha256 for sha256, image_id in ids.items()}
    roots = splits.components(list(ids), [(sha256_of[a], sha256_of[b]) for a, b in pairs]).tolist()
    tied: dict[int, list[int]] = {}
    for image_id, root in zip(ids.values(), roots, strict=True):
        tied.setdefault(root, []).append(image_id)
    spoken_for: set[int] = set()
    for images in tied.values():
        speaker = next((image_id for image_id in images if image_id in representatives), images[0])
        spoken_for |= set(images) if used.intersection(images) else set(images) - {speaker}
    return spoken_for


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


def _report(pool: Pool, choices: Sequence[Choice]) -> dict[str, Any]:
    """What only the planner can count cheaply: the pool, what the model says of it, and what each quota got."""
    everything = np.concatenate([pool.eligible, pool.reserve])
    chosen = np.array([choice.position for choice in choices], dtype=np.int64)
    for_training = np.intersect1d(chosen, pool.eligible)
    report: dict[str, Any] = {
        "pool": len(everything),
        "for_training": len(for_training),
        "quotas": [len(np.intersect1d(for_training, members)) for members in pool.members],
    }
    if pool.probabilities is not None:
        likeliest = pool.probabilities.argmax(axis=1)
        report["predicted"] = {
            "classes": pool.classes,
            "pool": np.bincount(likeliest[everything], minlength=len(pool.classes)).tolist(),
            "picks": np.bincount(likeliest[chosen], minlength=len(pool.classes)).tolist(),
        }
    return report


def _digest(recipe: Recipe, pool: Pool, ranked: Sequence[Choice]) -> str:
    picks: list[Any] = [[pool.sha256s[choice.position], choice.arm, round(choice.score, 6)] for choice in ranked]
    return hashlib.sha256(json.dumps([recipe.model_dump(mode="json"), picks], sort_keys=True).encode()).hexdigest()
