"""What the planner reads from the catalog, recorded so that it can be read again as it was."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from curation import duplicates, labels, predictions, splits, where
from curation.embed import find_encoder
from curation.index import open_directions
from curation.splits import Split
from sampling import geometry, head, uncertainty
from sampling.head import Settings
from sampling.pool import Kind, Pool, Slice
from sampling.recipes import Cost, Quota, Recipe
from sampling.run_calibration import Report, calibrated
from sampling.uncertainty import Doubts
from store.arrays import Floats, Ints
from store.errors import InvalidInputError, NotFoundError
from store.schema import (
    Campaign,
    DuplicateDecision,
    Embedding,
    Encoder,
    FailureCluster,
    FailureMember,
    FailureScan,
    Image,
    ImageId,
    Label,
    PredictionRun,
    Task,
    Vendor,
)
from store.workspace import Workspace

_MOST_VALUES = 100  # of a field of which each gets a quota
_OF_VECTORS = ("novelty", "outlierness")  # scores that need no model
_FOUND = 0.5  # the score from which a box counts as found


@dataclass(frozen=True)
class State:
    """Which results the planner read. None of them ever changes, so a batch can be planned from them again."""

    encoder: str  # digest
    prediction_run: int | None
    failure_scan: int | None
    calibrator: dict[str, Any] | None = None  # what the run's probabilities are corrected by
    kinds: Sequence[Sequence[Any]] = ()  # of images that quotas count: the quota's number in the recipe, and a name
    price: float | None = None  # of an image that no exception of the recipe's costs names
    newest: Mapping[str, int] = field(default_factory=dict)  # see `newest`; what came after is news


@dataclass(frozen=True)
class Roles:
    """What each image was to the planner: sets of image ids."""

    embedded: frozenset[int]
    eligible: frozenset[int]  # nobody labels it, and no duplicate of it
    reserved: frozenset[int]  # of those: for val and test
    used: frozenset[int]  # labelled, or being labelled
    gold: frozenset[int]  # those whose label is known, and for which the recipe's conditions hold
    counted: tuple[frozenset[int], ...]  # for each of the state's kinds
    priced: tuple[frozenset[int], ...]  # for each exception of the recipe's costs

    def pack(self) -> bytes:
        """A bit per image and role, compressed."""
        roles = [self.embedded, self.eligible, self.reserved, self.used, self.gold, *self.counted, *self.priced]
        bits = np.zeros((len(roles), max(self.embedded, default=0) + 1), dtype=np.bool_)
        for row, images in zip(bits, roles, strict=True):
            row[list(images)] = True
        file = io.BytesIO()
        np.savez_compressed(file, bits=np.packbits(bits, axis=1), counted=len(self.counted))
        return file.getvalue()

    @classmethod
    def unpack(cls, data: bytes) -> "Roles":
        """What `pack` packed."""
        with np.load(io.BytesIO(data)) as arrays:
            rows = [frozenset(np.flatnonzero(np.unpackbits(row)).tolist()) for row in arrays["bits"]]
            counted = 5 + int(arrays["counted"])
        embedded, eligible, reserved, used, gold = rows[:5]
        return cls(embedded, eligible, reserved, used, gold, tuple(rows[5:counted]), tuple(rows[counted:]))


@dataclass(frozen=True)
class Look:
    """What there is to choose from now."""

    state: State
    roles: Roles
    split_of: Mapping[ImageId, Split]
    calibration: Report | None  # of the run
    unpredicted: int  # images that could train, of which the run says nothing: none of them is eligible


def look(session: Session, recipe: Recipe) -> Look:
    """What there is to choose from now: one image of each set of duplicates that nobody has labelled.

    Raises:
        NotFoundError: nothing is embedded, or there is no vendor of the name.
        InvalidInputError: a condition of the recipe cannot be understood, or the vendor has no price.
    """
    encoder = find_encoder(session)
    newest_run = select(PredictionRun).where(PredictionRun.model == recipe.model).order_by(PredictionRun.id.desc())
    newest_scan = (
        select(func.max(FailureScan.id))
        .join(PredictionRun, PredictionRun.id == FailureScan.run_id)
        .where(PredictionRun.model == recipe.model)
    )
    run, scan_id = session.scalar(newest_run.limit(1)), session.scalar(newest_scan)
    if run is None:
        _check_unpredicted(session, recipe)
    calibrator, report = (None, None) if run is None or run.kind == "boxes" else calibrated(session, run)
    embedded = set(session.scalars(select(Embedding.image_id).where(Embedding.encoder_id == encoder.id)))
    labelling = select(Campaign.id).where(Campaign.purpose == "labelling")
    known = set(session.scalars(select(Label.image_id).where(Label.id.in_(labels.newest_ids()))))
    used = set(session.scalars(select(Label.image_id)))
    asked = select(Task.image_id).where(Task.campaign_id.in_(labelling), Task.state != "withdrawn")
    used |= set(session.scalars(asked))
    allowed = embedded.intersection(_holding(session, "not missing"))
    if recipe.where is not None:
        allowed.intersection_update(_holding(session, recipe.where))
    if recipe.exclude is not None:
        allowed.difference_update(_holding(session, recipe.exclude))
    eligible = allowed - used
    eligible -= _spoken_for(session, used, eligible)
    split_of = splits.load(session)
    kinds = [kind for i, quota in enumerate(recipe.quotas) for kind in _kinds(session, i, quota, run, scan_id)]
    exceptions = () if recipe.cost is None else recipe.cost.exceptions
    reserved = frozenset(image_id for image_id in eligible if split_of[ImageId(image_id)] != "train")
    unpredicted = set() if run is None else eligible - reserved - set(predictions.predicted(session, run))
    roles = Roles(
        embedded=frozenset(embedded),
        eligible=frozenset(eligible - unpredicted),
        reserved=reserved,
        used=frozenset(used & embedded),
        gold=frozenset(known & allowed) if recipe.gold_share else frozenset(),
        counted=tuple(frozenset(embedded.intersection(images)) for _, _, images in kinds),
        priced=tuple(frozenset(embedded.intersection(_holding(session, one.where))) for one in exceptions),
    )
    state = State(
        encoder=encoder.digest,
        prediction_run=None if run is None else run.id,
        failure_scan=scan_id,
        calibrator=None if calibrator is None else asdict(calibrator),
        kinds=[[number, name] for number, name, _ in kinds],
        price=None if recipe.cost is None else _price(session, recipe.cost),
        newest=newest(session),
    )
    return Look(state, roles, split_of, report, len(unpredicted))


def newest(session: Session) -> dict[str, int]:
    """The newest row by its id, 0 before there is any, of each table that only grows and that plans depend on."""
    tables = (Label, PredictionRun, FailureScan, DuplicateDecision)
    return {table.__tablename__: session.scalar(select(func.max(table.id))) or 0 for table in tables}


def _check_unpredicted(session: Session, recipe: Recipe) -> None:
    """Whether a recipe can do without predictions: it names no model of its own, nor a score that needs one."""
    models = sorted(set(session.scalars(select(PredictionRun.model))))
    there = f"there are some of: {', '.join(models)}" if models else "there are none at all"
    if recipe.model != Recipe.model_fields["model"].default:
        raise NotFoundError(f"There are no predictions of {recipe.model!r}; {there}. See: winnow predictions list.")
    if recipe.score not in ("margin", *_OF_VECTORS):
        raise InvalidInputError(
            f"The score {recipe.score!r} needs predictions of {recipe.model!r}, and {there}. Name a model, or no score."
        )


def load(workspace: Workspace, session: Session, state: State, roles: Roles, recipe: Recipe) -> Pool:
    """The pool as the planner saw it, ordered by sha256.

    Raises:
        InvalidInputError: the recipe asks for a score that the run cannot give.
    """
    encoder = session.scalars(select(Encoder).where(Encoder.digest == state.encoder)).one()
    directions = open_directions(workspace, session, encoder, among=roles.embedded)
    ids: list[int] = directions.image_ids.tolist()
    sha256s = dict(session.execute(select(Image.id, Image.sha256)).all())
    run = session.get(PredictionRun, state.prediction_run) if state.prediction_run else None
    settings = None if run is None else run.report.get("settings")
    doubts = Doubts(None, None, None)
    if run is not None:
        doubts = uncertainty.read(session, run, state.calibrator, directions.image_ids, recipe)
    labelled = np.flatnonzero(np.isin(directions.image_ids, list(roles.used)))
    if recipe.score in _OF_VECTORS:
        vectors = directions.take(np.arange(len(ids)))
        found = (
            geometry.novelty(vectors, vectors[labelled]) if recipe.score == "novelty" else geometry.outlierness(vectors)
        )
        doubts = replace(doubts, uncertainty=found.astype(np.float64))

    def positions(images: frozenset[int]) -> Ints:
        return np.flatnonzero(np.isin(directions.image_ids, list(images)))

    return Pool(
        sha256s=[sha256s[image_id] for image_id in ids],
        image_ids=ids,
        take=directions.take,
        eligible=positions(roles.eligible - roles.reserved),
        reserve=positions(roles.reserved),
        labelled=labelled,
        probabilities=doubts.probabilities,
        classes=[] if run is None else run.classes,
        settings=head.DEFAULT if settings is None else Settings(**settings),
        uncertainty=doubts.uncertainty,
        changed=doubts.changed,
        gold=positions(roles.gold),
        costs=_costs(len(ids), state.price, recipe.cost, [positions(images) for images in roles.priced]),
        slices=_slices(session, state.failure_scan, {image_id: at for at, image_id in enumerate(ids)}),
        kinds=[
            Kind(number, name, positions(images))
            for (number, name), images in zip(state.kinds, roles.counted, strict=True)
        ],
    )


def _kinds(
    session: Session, number: int, quota: Quota, run: PredictionRun | None, scan_id: int | None
) -> list[tuple[int, str, Sequence[int]]]:
    """What a quota counts: its number, a name, and the images; several for a quota of each value."""
    if quota.where is not None:
        return [(number, quota.where, _holding(session, quota.where))]
    if quota.each is not None:
        conditions = where.of_each_value(session, quota.each, most=_MOST_VALUES)
        return [(number, name, _holding(session, condition)) for name, condition in conditions.items()]
    if quota.predicted is not None:
        return [(number, f"predicted={quota.predicted}", _predicted(session, run, quota.predicted))]
    members = (
        select(FailureMember.image_id)
        .join(FailureCluster, FailureCluster.id == FailureMember.cluster_id)
        .where(FailureCluster.scan_id == scan_id, FailureCluster.name == quota.slice)
    )
    images = session.scalars(members).all()
    if not images:
        raise InvalidInputError(f"The newest failure scan has no cluster {quota.slice!r}. See: winnow failures list.")
    return [(number, f"slice={quota.slice}", images)]


def _holding(session: Session, condition: str) -> list[int]:
    found: list[int] = where.image_ids(session, condition).tolist()
    return found


def _predicted(session: Session, run: PredictionRun | None, name: str) -> list[int]:
    """The images that a run takes for a class; of boxes, those in which it finds one."""
    if run is None or name not in run.classes:
        there = "there are no predictions" if run is None else f"{run.model!r} predicts: {', '.join(run.classes)}"
        raise InvalidInputError(f"A quota counts what is predicted as {name!r}, and {there}.")
    ids = predictions.predicted(session, run)
    if run.kind == "boxes":
        found = predictions.read_boxes(session, run, ids)
        return [
            image_id
            for image_id, passes in zip(ids, found, strict=True)
            if any(box.name == name and box.score >= _FOUND for box in passes[0])
        ]
    likeliest = predictions.read(session, run, ids).argmax(axis=1) == run.classes.index(name)
    return [image_id for image_id, is_it in zip(ids, likeliest.tolist(), strict=True) if is_it]


def _price(session: Session, cost: Cost) -> float:
    """Of an image: the recipe's, or all answers at the vendor's."""
    if cost.price is not None:
        return cost.price
    vendor = session.scalar(select(Vendor).where(Vendor.name == cost.vendor))
    if vendor is None:
        raise NotFoundError(f"There is no vendor called {cost.vendor!r}. See: winnow vendor list.")
    if cost.task not in vendor.prices:
        known = ", ".join(f"{task} {price:g}" for task, price in vendor.prices.items()) or "none"
        raise InvalidInputError(
            f"The vendor {vendor.name!r} has no price for {cost.task}; known: {known}. "
            f"Run: winnow vendor add {vendor.name} --price {cost.task}=0.05."
        )
    return float(vendor.prices[cost.task]) * cost.answers


def _costs(count: int, price: float | None, cost: Cost | None, exceptions: Sequence[Ints]) -> Floats | None:
    """Of each image `(N,)`."""
    if price is None or cost is None:
        return None
    costs = np.full(count, price)
    for positions, one in reversed(list(zip(exceptions, cost.exceptions, strict=True))):
        costs[positions] = one.price
    return costs


def _spoken_for(session: Session, used: set[int], eligible: set[int]) -> set[int]:
    """Images for which a duplicate speaks: a used one, else one of the eligible of all that are tied together."""
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
        left = [image_id for image_id in images if image_id in eligible]
        speaker = next((image_id for image_id in left if image_id in representatives), next(iter(left), None))
        spoken_for |= set(images) if used.intersection(images) else set(images) - {speaker}
    return spoken_for


def _slices(session: Session, scan_id: int | None, position: Mapping[int, int]) -> list[Slice]:
    clusters = session.scalars(
        select(FailureCluster).where(FailureCluster.scan_id == scan_id).order_by(FailureCluster.id)
    ).all()
    result = []
    for cluster in clusters:
        members = session.scalars(select(FailureMember.image_id).where(FailureMember.cluster_id == cluster.id))
        positions = sorted(position[image_id] for image_id in members if image_id in position)
        result.append(Slice(cluster.name, cluster.lift, np.array(positions, dtype=np.int64)))
    return result
