"""What the page of one batch shows: what was asked for, what was read, what was chosen, how far it is labelled.

All picks are counted by SQL; as rows come one page of them, and the most wanted ones for the map.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Integer, cast, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from api import collection_map, dashboard, recipe_words
from api.collection_map import Map
from api.dashboard import PickRow
from curation import labels
from curation.splits import FRACTIONS
from labeling.campaigns import standing_annotations
from sampling import batch as batches
from sampling import recipes
from sampling.recipes import Recipe
from store.errors import InvalidInputError, NotFoundError
from store.schema import (
    Annotation,
    Batch,
    Campaign,
    Encoder,
    FailureCluster,
    Label,
    Pick,
    PredictionRun,
    Task,
    Vendor,
    Version,
)
from store.workspace import Workspace

PAGE_SIZE = 60
_BINS = 24
_CLASSES = 12  # rows, the last of which may stand for several
_NEIGHBOURS = 4  # batches on each side

_SCORES = {
    "uncertain": "the higher, the less sure is the model",
    "slice": "the higher, the less sure is the model",
    "diverse": "the share of the pool that a pick stands for",
    "random": "drawn, not scored",
    "gold": "drawn, not scored",
    "adopted": "taken over, not scored",
}


@dataclass(frozen=True)
class BatchLink:
    """Another batch to step to."""

    id: int
    created_at: datetime
    picks: int


@dataclass(frozen=True)
class Scores:
    """How the scores of an arm are spread over equal bins from the lowest to the highest."""

    arm: str
    lowest: float
    highest: float
    meaning: str
    bins: list[int]  # picks in each; empty where all scores are the same

    @property
    def heights(self) -> list[float]:
        """Of the bins, the fullest being 1."""
        return [count / max(self.bins) for count in self.bins]


@dataclass(frozen=True)
class QuotaRow:
    """A quota, and what came of it."""

    name: str  # of what it counts
    bounds: str
    counted: tuple[int, int] | None  # picks for training that are members, and all of these; of old batches none


@dataclass(frozen=True)
class ClassRow:
    """How often the model says a class, of all that may be picked and of what was."""

    name: str
    pool: float
    picks: float


@dataclass(frozen=True)
class Progress:
    """How far the labelling of the picks is."""

    steps: list[tuple[str, int]]
    campaigns: list[tuple[str, str | None]]  # name, where it is in Label Studio


@dataclass(frozen=True)
class BatchPage:
    """One batch explained, with one page of its picks."""

    id: int
    digest: str
    created_at: datetime
    picks: int
    pool: int | None
    said: list[str]  # of its cost, of accuracy so far and of what to expect
    words: list[str]
    origin: str | None  # of an adopted one
    yaml: str
    sources: list[tuple[str, str]]  # what the planner read
    arms: list[tuple[str, int]]  # most picks first
    splits: list[tuple[str, int]]  # train, val, test
    scores: list[Scores]
    quotas: list[QuotaRow]
    classes: list[ClassRow]
    progress: Progress
    map: Map | None
    older: list[BatchLink]  # nearest first
    newer: list[BatchLink]
    arm: str | None  # the only one whose picks are shown
    page: int
    pages: int
    rows: list[PickRow]


def read(workspace: Workspace, batch_id: int, *, arm: str | None = None, page: int = 1) -> BatchPage:
    """The batch, and a page of its picks by rank, of all arms or of one.

    Raises:
        NotFoundError: there is no such batch, arm or page.
    """
    with workspace.database.read() as session:
        batch = batches.find(session, batch_id)
        arms = _counts(session, Pick.arm, batch_id)
        picks = sum(count for _, count in arms)
        pages = _pages(batch_id, dict(arms), arm=arm, page=page)
        splits = dict(_counts(session, Pick.split, batch_id))
        origin = batches.origin(batch)
        recipe = None if origin is not None else _recipe(batch)
        return BatchPage(
            id=batch.id,
            digest=batch.digest,
            created_at=batch.created_at,
            picks=picks,
            pool=batch.report.get("pool"),
            said=_said(batch.report),
            words=[] if recipe is None else recipe_words.describe(recipe, arms=dict(arms)),
            origin=origin,
            yaml=_yaml(batch.recipe),
            sources=[] if origin is not None else _sources(session, batch.state, batch.report.get("calibration")),
            arms=arms,
            splits=[(split, splits[split]) for split in FRACTIONS if split in splits],
            scores=_scores(session, batch_id, [arm for arm, _ in arms]),
            quotas=[] if recipe is None else _quotas(recipe, batch.report),
            classes=_classes(batch.report.get("predicted")),
            progress=_progress(session, batch_id, picks),
            map=collection_map.read(workspace, session, batch),
            older=_links(session, Batch.id < batch_id, Batch.id.desc()),
            newer=_links(session, Batch.id > batch_id, Batch.id),
            arm=arm,
            page=page,
            pages=pages,
            rows=_rows(session, batch_id, arm=arm, page=page),
        )


def _counts(session: Session, column: InstrumentedAttribute[str], batch_id: int) -> list[tuple[str, int]]:
    """How many picks of the batch have each value, most first."""
    count = func.count()
    query = select(column, count).where(Pick.batch_id == batch_id).group_by(column).order_by(count.desc(), column)
    return list(session.execute(query).all())


def _pages(batch_id: int, arms: Mapping[str, int], *, arm: str | None, page: int) -> int:
    if arm is not None and arm not in arms:
        raise NotFoundError(f"Batch {batch_id} has no arm {arm!r}; it has {', '.join(arms) or 'none'}.")
    pages = max(1, -(-(sum(arms.values()) if arm is None else arms[arm]) // PAGE_SIZE))
    if not 1 <= page <= pages:
        raise NotFoundError(f"The picks asked for are on pages 1 to {pages}, not on page {page}.")
    return pages


def _rows(session: Session, batch_id: int, *, arm: str | None, page: int) -> list[PickRow]:
    wanted = select(Pick).where(Pick.batch_id == batch_id).order_by(Pick.rank)
    if arm is not None:
        wanted = wanted.where(Pick.arm == arm)
    picks = session.scalars(wanted.limit(PAGE_SIZE).offset((page - 1) * PAGE_SIZE)).all()
    return dashboard.pick_rows(session, picks)


def _said(report: Mapping[str, Any]) -> list[str]:
    cost = report.get("cost")
    said = [
        None if cost is None else f"It costs {cost:,.2f}.",
        *(report.get(name) for name in ("accuracy", "forecast")),
    ]
    return [sentence for sentence in said if sentence]


def _recipe(batch: Batch) -> Recipe | None:
    """None where the recipe is of another version of Winnow."""
    try:
        return recipes.parse(batch.recipe)
    except InvalidInputError:
        return None


def _yaml(recipe: dict[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)


def _sources(session: Session, state: Mapping[str, Any], calibration: str | None) -> list[tuple[str, str]]:
    encoder = session.scalar(select(Encoder).where(Encoder.digest == state.get("encoder")))
    sources = [] if encoder is None else [("Encoder", f"{encoder.name} · {encoder.digest[:10]}")]
    run = session.get(PredictionRun, state.get("prediction_run") or 0)
    sources.append(("Predictions", "none" if run is None else f"run {run.id} of {run.model}"))
    if run is not None:
        trained_on = session.get(Version, run.version_id) if run.version_id else None
        if trained_on is not None:
            sources.append(("Trained on", f"{trained_on.name} v{trained_on.number}"))
        sources.append(("Calibration", calibration or _calibration(state.get("calibrator"))))
    scan_id = state.get("failure_scan")
    clusters = session.scalars(select(FailureCluster.name).where(FailureCluster.scan_id == scan_id)).all()
    found = "none" if scan_id is None else f"scan {scan_id}: {'; '.join(clusters) or 'no cluster'}"
    return [*sources, ("Failure scan", found)]


def _calibration(calibrator: Mapping[str, Any] | None) -> str:
    method = "identity" if calibrator is None else calibrator["method"]
    if calibrator is not None and method == "temperature":
        return f"temperature {calibrator['temperature']:.2f}"
    return "none: as the model gave them" if method == "identity" else f"{method}, a curve for each class"


def _scores(session: Session, batch_id: int, arms: Sequence[str]) -> list[Scores]:
    of_batch = Pick.batch_id == batch_id
    lowest, highest = func.min(Pick.score).label("lowest"), func.max(Pick.score).label("highest")
    ends = select(Pick.arm, lowest, highest).where(of_batch).group_by(Pick.arm).subquery()
    place = cast(_BINS * (Pick.score - ends.c.lowest) / (ends.c.highest - ends.c.lowest), Integer).label("place")
    counted = session.execute(
        select(Pick.arm, place, func.count())
        .join(ends, ends.c.arm == Pick.arm)
        .where(of_batch, ends.c.highest > ends.c.lowest)
        .group_by(Pick.arm, place)
    )
    bins: dict[str, list[int]] = defaultdict(lambda: [0] * _BINS)
    for arm, position, picks in counted:
        bins[arm][min(position, _BINS - 1)] += picks  # the highest score ends the last bin
    return [
        Scores(arm, low, high, _SCORES.get(arm, ""), bins.get(arm, []))
        for arm, low, high in sorted(session.execute(select(ends)).all(), key=lambda row: arms.index(row[0]))
    ]


def _quotas(recipe: Recipe, report: Mapping[str, Any]) -> list[QuotaRow]:
    """A row for everything that a quota counts; of a batch that did not count, one for each quota."""
    if "quotas" not in report:
        return [QuotaRow(recipe_words.counted(quota), recipe_words.bounds(quota), None) for quota in recipe.quotas]
    return [
        QuotaRow(name, recipe_words.bounds(recipe.quotas[number]), (count, report["for_training"]))
        for number, name, count in report["quotas"]
    ]


def _classes(predicted: Mapping[str, Any] | None) -> list[ClassRow]:
    """The classes by how often they were picked; the rarest of many as one row."""
    if predicted is None:
        return []
    counts = zip(predicted["classes"], predicted["pool"], predicted["picks"], strict=True)
    ordered = sorted(counts, key=lambda row: (-row[2], -row[1]))
    if len(ordered) > _CLASSES:
        rest = ordered[_CLASSES - 1 :]
        others = (f"{len(rest):,} others", sum(row[1] for row in rest), sum(row[2] for row in rest))
        ordered = [*ordered[: _CLASSES - 1], others]
    pool, picks = sum(predicted["pool"]), sum(predicted["picks"])
    return [ClassRow(name, of_pool / pool, of_picks / picks) for name, of_pool, of_picks in ordered]


def _progress(session: Session, batch_id: int, picks: int) -> Progress:
    of_batch = (Campaign.batch_id == batch_id, Campaign.purpose == "labelling")
    images = func.count(Task.image_id.distinct())
    pushed = session.scalar(select(images).join(Campaign).where(*of_batch, Task.state == "pushed"))
    standing = standing_annotations(Task.campaign_id.in_(select(Campaign.id).where(*of_batch)))
    answered = session.scalar(
        select(images)
        .join(Annotation, Annotation.task_id == Task.id)
        .where(Annotation.id.in_(standing), *dashboard.is_answer())
    )
    own = select(Pick.image_id).where(Pick.batch_id == batch_id)
    labelled = session.scalar(
        select(func.count(Label.image_id.distinct())).where(Label.id.in_(labels.newest_ids(of=own)))
    )
    campaigns = session.execute(
        select(Campaign, Vendor)
        .join(Vendor, Vendor.id == Campaign.vendor_id)
        .where(Campaign.batch_id == batch_id)
        .order_by(Campaign.id)
    )
    return Progress(
        [("picked", picks), ("pushed", pushed or 0), ("answered", answered or 0), ("labelled", labelled or 0)],
        [(campaign.name, dashboard.project_url(vendor, campaign)) for campaign, vendor in campaigns],
    )


def _links(session: Session, condition: Any, order: Any) -> list[BatchLink]:
    found = session.execute(select(Batch.id, Batch.created_at).where(condition).order_by(order).limit(_NEIGHBOURS))
    rows = found.all()
    of_batches = Pick.batch_id.in_([batch_id for batch_id, _ in rows])
    counts = session.execute(select(Pick.batch_id, func.count()).where(of_batches).group_by(Pick.batch_id))
    picks = dict(counts.all())
    return [BatchLink(batch_id, created_at, picks.get(batch_id, 0)) for batch_id, created_at in rows]
