"""What the dashboard shows, read from the catalog: counts by SQL, and a few rows of each kind."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePath
from typing import Any

from sqlalchemy import ColumnElement, Subquery, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from curation import labels
from curation.embed import find_encoder
from labeling.campaigns import standing_annotations, standing_verdicts, status
from qa import adjudication, annotators, crowd, lots
from qa.annotators import AnnotatorQuality
from qa.lots import LotStatus
from sampling import learning_curve
from sampling.learning_curve import Point
from store.errors import NotFoundError
from store.schema import (
    Annotation,
    Annotator,
    Batch,
    BoxPrediction,
    Campaign,
    DuplicateGroup,
    DuplicateMember,
    DuplicateScan,
    Embedding,
    FailureCluster,
    FailureMember,
    FailureScan,
    Image,
    Label,
    Pick,
    Prediction,
    PredictionRun,
    Quarantined,
    Schedule,
    Sighting,
    Standing,
    Task,
    Taxonomy,
    Vendor,
    Verdict,
    Version,
    VersionItem,
)

_PICKS = 12
_GROUPS = 6
_MEMBERS = 4
_DISPUTED = 9
_VERSIONS = 6
_CAMPAIGNS = 6
_LOTS = 8
_MEDOIDS = 6
_QUARANTINED = 8
_MOST_JUDGED = 50_000  # answers: more take longer than a page may
_OUTLINED = ("polygons", "masks")
_MOST_OUTLINED = 500  # answers, likewise: areas take much longer to compare

_QUALITIES: dict[tuple[object, ...], dict[int, AnnotatorQuality]] = {}  # of the newest state asked for


@dataclass(frozen=True)
class Stage:
    """One stop of the loop."""

    name: str
    count: int
    detail: str
    section: str  # the anchor that says more


@dataclass(frozen=True)
class Tile:
    """An image to show, and the name of its file."""

    image_id: int
    name: str


@dataclass(frozen=True)
class PickRow:
    """One image of a batch."""

    tile: Tile
    rank: int
    arm: str
    score: float
    why: str


@dataclass(frozen=True)
class BatchCard:
    """The latest batch."""

    id: int
    digest: str
    created_at: datetime
    arms: list[tuple[str, int]]  # how many picks each arm made, most first
    picks: list[PickRow]  # the most wanted


@dataclass(frozen=True)
class DuplicateRow:
    """A member of a duplicate group."""

    tile: Tile
    kind: str
    distance: float


@dataclass(frozen=True)
class GroupRow:
    """A duplicate group: its representative first, the nearest members after it."""

    id: int
    size: int
    members: list[DuplicateRow]


@dataclass(frozen=True)
class AnnotatorRow:
    """One annotator's work so far."""

    name: str
    vendor: str
    answers: int
    median_lead_time_s: float | None
    quality: AnnotatorQuality | None  # under the revision they answered most; none in a catalog of very many answers


@dataclass(frozen=True)
class Disputed:
    """An item whose annotators left it to an adjudicator."""

    tile: Tile
    answers: list[tuple[str, int]]  # each different one, and by how many: an adjudicator is not told whose it is
    settled: str | None  # the adjudicator's answer, or that there is none


@dataclass(frozen=True)
class CampaignRow:
    """One Label Studio project."""

    name: str
    purpose: str
    vendor: str
    url: str | None
    tasks: int
    pushed: int
    answered: int
    closed: bool
    state: str
    waiting: int  # for room at the vendor
    accepted: int
    cost: float | None  # of the answers so far
    forecast: float | None  # at the end
    outlook: str


@dataclass(frozen=True)
class ClusterRow:
    """A region where the newest scanned model fails more often."""

    name: str
    size: int
    labelled: int
    failures: int
    failure_rate: float
    lift: float
    interval: tuple[float, float]
    medoids: list[Tile]


@dataclass(frozen=True)
class VersionRow:
    """One training-set version."""

    id: str
    name: str
    number: int
    created_at: datetime
    splits: dict[str, dict[str, int]]  # items by class, by split
    gates: list[dict[str, Any]]


@dataclass(frozen=True)
class QuarantinedRow:
    """A file that could not become an image."""

    name: str
    reason: str


@dataclass(frozen=True)
class ScheduleRow:
    """A recipe planned by cron, and how its batches are labelled."""

    name: str
    cron: str
    paused: bool
    campaign: dict[str, Any] | None  # see api.schedules.CampaignTerms
    capacity: int | None
    min_drift: float | None


@dataclass(frozen=True)
class Dashboard:
    """Everything on the page except the jobs, which DBOS keeps."""

    stages: list[Stage]
    curve: list[Point]
    batch: BatchCard | None
    groups: list[GroupRow]
    annotators: list[AnnotatorRow]
    adjudication_open: int  # in the queue for experts, see `qa.adjudication.queue`
    adjudication_in_doubt: int  # of these: labels in force that something speaks against
    adjudication_decided: int  # since the last review
    adjudication_settled: int  # disputes with a verdict
    disputed: list[Disputed]
    campaigns: list[CampaignRow]
    lots: list[LotStatus]  # the newest first
    failing_model: str | None
    clusters: list[ClusterRow]
    versions: list[VersionRow]
    quarantined: list[QuarantinedRow]
    schedules: list[ScheduleRow]

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever ingested."""
        return self.stages[0].count == 0 and not self.quarantined


def read(session: Session) -> Dashboard:
    """The loop at this moment, on one snapshot of the catalog."""
    found, decided = adjudication.doubts(session)
    settled = _settled(session)
    model, clusters = _clusters(session)
    return Dashboard(
        stages=_stages(session, opened=len(found), settled=settled),
        curve=learning_curve.read(session),
        batch=_batch(session),
        groups=_groups(session),
        annotators=_annotators(session),
        adjudication_open=len(found),
        adjudication_in_doubt=sum(doubt.reason != "disputed" for doubt in found),
        adjudication_decided=decided,
        adjudication_settled=settled,
        disputed=_disputed(session),
        campaigns=campaigns(session, limit=_CAMPAIGNS),
        lots=lots.list_lots(session, limit=_LOTS),
        failing_model=model,
        clusters=clusters,
        versions=_versions(session),
        quarantined=[
            QuarantinedRow(PurePath(row.uri).name, row.reason)
            for row in session.scalars(select(Quarantined).order_by(Quarantined.id.desc()).limit(_QUARANTINED))
        ],
        schedules=[
            ScheduleRow(row.name, row.cron, row.paused, row.campaign, row.capacity, row.min_drift)
            for row in session.scalars(select(Schedule).order_by(Schedule.name))
        ],
    )


def _predicted(session: Session, run: PredictionRun) -> int:
    """How many images a run says something of."""
    if run.kind == "boxes":
        return _count(session, BoxPrediction, BoxPrediction.run_id == run.id)
    return _count(session, Prediction, Prediction.run_id == run.id)


def _count(session: Session, table: type[Any], *where: "ColumnElement[bool] | InstrumentedAttribute[bool]") -> int:
    return session.scalar(select(func.count()).select_from(table).where(*where)) or 0


def stages(session: Session) -> list[Stage]:
    """The stops of the loop in order, with how much is at each."""
    found, _ = adjudication.doubts(session)
    return _stages(session, opened=len(found), settled=_settled(session))


def _stages(session: Session, *, opened: int, settled: int) -> list[Stage]:
    images = _count(session, Image)
    sightings = _count(session, Sighting, Sighting.current)
    quarantined = _count(session, Quarantined)
    scan_id = select(func.max(DuplicateScan.id)).scalar_subquery()
    groups = _count(session, DuplicateGroup, DuplicateGroup.scan_id == scan_id)
    grouped = session.scalar(
        select(func.count()).select_from(DuplicateMember).join(DuplicateGroup).where(DuplicateGroup.scan_id == scan_id)
    )
    of_labelling = select(Campaign.id).where(Campaign.purpose == "labelling")
    pushed = _count(session, Task, Task.state == "pushed", Task.campaign_id.in_(of_labelling))
    answered = session.scalar(
        select(func.count(Annotation.task_id.distinct()))
        .join(Task, Task.id == Annotation.task_id)
        .where(Annotation.id.in_(standing_annotations()), Task.campaign_id.in_(of_labelling), *is_answer())
    )
    labelled = session.scalar(select(func.count(Label.image_id.distinct()))) or 0
    newest = session.scalar(select(Version).order_by(Version.created_at.desc(), Version.number.desc()).limit(1))
    run = session.scalar(select(PredictionRun).order_by(PredictionRun.id.desc()).limit(1))
    of_scan = FailureCluster.scan_id == select(func.max(FailureScan.id)).scalar_subquery()
    highest = session.scalar(select(func.max(FailureCluster.lift)).where(of_scan))
    return [
        Stage("Images", images, f"{sightings:,} sightings · {quarantined:,} quarantined", "quarantine"),
        _embedded(session, images),
        Stage("Duplicate groups", groups, f"{grouped or 0:,} images", "duplicates"),
        Stage("Batches", _count(session, Batch), f"{_count(session, Pick):,} picks", "batch"),
        Stage("Tasks", pushed, f"pushed · {answered or 0:,} answered", "campaigns"),
        Stage("To adjudicate", opened, f"{settled:,} settled", "adjudication"),
        Stage("Labels", labelled, f"{labelled / images:.1%} of images" if images else "", "annotators"),
        Stage(
            "Versions",
            _count(session, Version),
            f"newest: {newest.name} v{newest.number}" if newest else "",
            "versions",
        ),
        Stage(
            "Predictions",
            _predicted(session, run) if run else 0,
            f"by {run.model}" if run else "",
            "curve",
        ),
        Stage(
            "Failure clusters",
            _count(session, FailureCluster, of_scan),
            f"up to {highest:.1f}× the failures" if highest else "",
            "failures",
        ),
    ]


def _embedded(session: Session, images: int) -> Stage:
    """How many of `images` the default encoder has seen, and how many it has not."""
    try:
        encoder = find_encoder(session)
    except NotFoundError:
        return Stage("Embedded", 0, "", "batch")
    count = _count(session, Embedding, Embedding.encoder_id == encoder.id)
    left_out = f" · {images - count:,} images not yet" if count < images else ""
    return Stage("Embedded", count, f"by {encoder.name}{left_out}", "batch")


def is_answer() -> tuple[ColumnElement[bool], ...]:
    """What holds of a standing annotation that answers: with a class, where one is asked for."""
    asked = select(Task.id).join(Campaign, Campaign.id == Task.campaign_id).join(Taxonomy)
    of_more = asked.where(Taxonomy.task_kind != labels.CLASSIFICATION)
    return (~Annotation.skipped, or_(Annotation.answer.is_not(None), Annotation.task_id.in_(of_more)))


def tiles_of(session: Session, image_ids: Iterable[int]) -> dict[int, Tile]:
    """What to show of these images: the file name of the newest sighting."""
    rows = session.execute(
        select(Sighting.image_id, Sighting.uri).where(Sighting.image_id.in_(set(image_ids))).order_by(Sighting.id)
    )
    return {image_id: Tile(image_id, PurePath(uri).name) for image_id, uri in rows}


def _batch(session: Session) -> BatchCard | None:
    batch = session.scalar(select(Batch).order_by(Batch.id.desc()).limit(1))
    if batch is None:
        return None
    of_batch = Pick.batch_id == batch.id
    picks = session.scalars(select(Pick).where(of_batch).order_by(Pick.rank).limit(_PICKS)).all()
    count = func.count()
    arms = session.execute(select(Pick.arm, count).where(of_batch).group_by(Pick.arm).order_by(count.desc(), Pick.arm))
    return BatchCard(
        id=batch.id,
        digest=batch.digest,
        created_at=batch.created_at,
        arms=list(arms),
        picks=pick_rows(session, picks),
    )


def pick_rows(session: Session, picks: Sequence[Pick]) -> list[PickRow]:
    """What to show of picks, in their order."""
    tiles = tiles_of(session, (pick.image_id for pick in picks))
    return [PickRow(tiles[pick.image_id], pick.rank, pick.arm, pick.score, pick.why) for pick in picks]


def _groups(session: Session) -> list[GroupRow]:
    """The largest duplicate groups of the newest scan."""
    size = func.count()
    largest = session.execute(
        select(DuplicateGroup.id, size)
        .join(DuplicateMember, DuplicateMember.group_id == DuplicateGroup.id)
        .where(DuplicateGroup.scan_id == select(func.max(DuplicateScan.id)).scalar_subquery())
        .group_by(DuplicateGroup.id)
        .order_by(size.desc(), DuplicateGroup.id)
        .limit(_GROUPS)
    )
    sizes = dict(largest.all())
    members = session.scalars(
        select(DuplicateMember)
        .where(DuplicateMember.group_id.in_(sizes))
        .order_by(DuplicateMember.kind != "representative", DuplicateMember.distance, DuplicateMember.image_id)
    ).all()
    tiles = tiles_of(session, (member.image_id for member in members))
    rows: dict[int, list[DuplicateRow]] = defaultdict(list)
    for member in members:
        rows[member.group_id].append(DuplicateRow(tiles[member.image_id], member.kind, member.distance))
    return [GroupRow(group_id, size, rows[group_id][:_MEMBERS]) for group_id, size in sizes.items()]


def _annotators(session: Session) -> list[AnnotatorRow]:
    """Everyone who answered, those with most answers first."""
    answers = (
        select(Annotation.task_id, Annotation.annotator_id, Annotation.answer, Annotation.lead_time_s)
        .where(Annotation.id.in_(standing_annotations()), *is_answer())
        .subquery()
    )
    total = func.count().label("answers")
    rows = session.execute(
        select(Annotator.id, Annotator.name, Vendor.name, total)
        .select_from(answers)
        .join(Annotator, Annotator.id == answers.c.annotator_id)
        .join(Vendor, Vendor.id == Annotator.vendor_id)
        .group_by(Annotator.id, Annotator.name, Vendor.name)
        .order_by(total.desc(), Annotator.name)
    ).all()
    medians = _median_lead_times(session, answers)
    judged = _judged(session) if sum(row[3] for row in rows) <= _MOST_JUDGED else {}
    return [AnnotatorRow(*row[1:], medians.get(row[0]), judged.get(row[0])) for row in rows]


def _judged(session: Session) -> dict[int, AnnotatorQuality]:
    """Everybody's quality by annotator id, reckoned anew only when an answer, a verdict or a standing is."""
    newest = session.execute(
        select(
            *(select(func.max(each)).scalar_subquery() for each in (Annotation.id, Verdict.id, Label.id, Standing.id))
        )
    ).one()
    state = (session.get_bind().engine.url, *newest)
    if state not in _QUALITIES:
        found: dict[int, AnnotatorQuality] = {}
        for taxonomy in crowd.taxonomies(session):
            if taxonomy.task_kind in _OUTLINED and _answers(session, taxonomy) > _MOST_OUTLINED:
                continue
            for annotator_id, quality in annotators.qualities(crowd.load(session, taxonomy)).items():
                if annotator_id not in found or found[annotator_id].answers <= quality.answers:
                    found[annotator_id] = quality
        _QUALITIES.clear()
        _QUALITIES[state] = found
    return _QUALITIES[state]


def _answers(session: Session, taxonomy: Taxonomy) -> int:
    """How many were given under one revision of a taxonomy, every revision of theirs counted."""
    of_taxonomy = select(func.count(Annotation.id)).join(Task, Task.id == Annotation.task_id).join(Campaign)
    return session.scalar(of_taxonomy.where(Campaign.taxonomy_id == taxonomy.id)) or 0


def _median_lead_times(session: Session, answers: Subquery) -> dict[int, float]:
    """The lower median, in seconds, by annotator."""
    ranked = (
        select(
            answers.c.annotator_id,
            answers.c.lead_time_s,
            func.row_number().over(partition_by=answers.c.annotator_id, order_by=answers.c.lead_time_s).label("place"),
            func.count().over(partition_by=answers.c.annotator_id).label("total"),
        )
        .where(answers.c.lead_time_s.is_not(None))
        .subquery()
    )
    middle = select(ranked.c.annotator_id, ranked.c.lead_time_s).where(ranked.c.place == (ranked.c.total + 1) // 2)
    return dict(session.execute(middle).all())


def _disputes() -> Subquery:
    """The verdict in force of every item that ever went to adjudication and was not withdrawn."""
    was_disputed = select(Verdict.task_id).join(Task, Task.id == Verdict.task_id)
    was_disputed = was_disputed.where(Verdict.outcome == "adjudication", Task.state != "withdrawn")
    return select(Verdict).where(Verdict.id.in_(standing_verdicts()), Verdict.task_id.in_(was_disputed)).subquery()


def _settled(session: Session) -> int:
    disputes = _disputes()
    settled = select(func.count()).select_from(disputes).where(disputes.c.outcome != "adjudication")
    return session.scalar(settled) or 0


def _disputed(session: Session) -> list[Disputed]:
    """The newest items that went to adjudication, open ones first."""
    standing = _disputes()
    is_open = standing.c.outcome == "adjudication"
    rows = session.execute(
        select(Task.id, Task.image_id, is_open, standing.c.answer, standing.c.evidence, Taxonomy.task_kind)
        .join(standing, standing.c.task_id == Task.id)
        .join(Campaign, Campaign.id == Task.campaign_id)
        .join(Taxonomy, Taxonomy.id == Campaign.taxonomy_id)
        .order_by(is_open.desc(), standing.c.id.desc())
        .limit(_DISPUTED)
    ).all()
    tiles = tiles_of(session, (row[1] for row in rows))
    answers: dict[int, Counter[str]] = defaultdict(Counter)
    of_shown = standing_annotations(Task.id.in_([row[0] for row in rows]))
    given = session.execute(
        select(Annotation.task_id, Annotation.answer).where(
            Annotation.id.in_(of_shown), ~Annotation.skipped, Annotation.answer.is_not(None)
        )
    )
    for task_id, value in given:
        answers[task_id][value or ""] += 1
    disputed = []
    for task_id, image_id, still_open, answer, evidence, task_kind in rows:
        if task_kind != labels.CLASSIFICATION:
            heard = (each for each in evidence.get("answers", ()) if not each["skipped"])
            answers[task_id] = Counter(each["answer"] for each in heard)
        settled = labels.in_words(answer, task_kind) if answer else "no label"
        disputed.append(Disputed(tiles[image_id], sorted(answers[task_id].items()), None if still_open else settled))
    return disputed


def campaigns(session: Session, *, limit: int | None = None) -> list[CampaignRow]:
    """Campaigns and their adjudications, newest first."""
    answered_tasks = select(Annotation.task_id).where(Annotation.id.in_(standing_annotations()), *is_answer())
    rows = session.execute(
        select(
            Campaign,
            Vendor,
            func.count(Task.id),
            func.count(Task.id).filter(Task.state == "pushed"),
            func.count(Task.id).filter(Task.id.in_(answered_tasks)),
        )
        .join(Vendor, Vendor.id == Campaign.vendor_id)
        .join(Task, Task.campaign_id == Campaign.id, isouter=True)
        .group_by(Campaign.id, Vendor.id)
        .order_by(Campaign.id.desc())
        .limit(limit)
    )
    shown = [(*row, status(session, row[0].name)) for row in rows.all()]
    return [
        CampaignRow(
            name=campaign.name,
            purpose=campaign.purpose,
            vendor=vendor.name,
            url=project_url(vendor, campaign),
            tasks=tasks,
            pushed=pushed,
            answered=answered,
            closed=campaign.closed_at is not None,
            state=found.state,
            waiting=found.waiting,
            accepted=found.accepted,
            cost=found.cost,
            forecast=found.forecast,
            outlook=found.outlook,
        )
        for campaign, vendor, tasks, pushed, answered, found in shown
    ]


def project_url(vendor: Vendor, campaign: Campaign) -> str | None:
    """Where the campaign is in Label Studio; nothing but a web address may become a link."""
    if campaign.ls_project_id is None or not vendor.ls_url.startswith(("http://", "https://")):
        return None
    return f"{vendor.ls_url.rstrip('/')}/projects/{campaign.ls_project_id}"


def _clusters(session: Session) -> tuple[str | None, list[ClusterRow]]:
    """The model of the newest failure scan and its clusters, highest lift first."""
    scan = session.execute(
        select(FailureScan.id, PredictionRun.model)
        .join(PredictionRun, PredictionRun.id == FailureScan.run_id)
        .order_by(FailureScan.id.desc())
        .limit(1)
    ).first()
    if scan is None:
        return None, []
    order = (FailureCluster.lift.desc(), FailureCluster.id)
    clusters = session.scalars(select(FailureCluster).where(FailureCluster.scan_id == scan.id).order_by(*order)).all()
    ids = [cluster.id for cluster in clusters]
    sizes = session.execute(
        select(FailureMember.cluster_id, func.count())
        .where(FailureMember.cluster_id.in_(ids))
        .group_by(FailureMember.cluster_id)
    )
    size = dict(sizes.all())
    members = session.scalars(
        select(FailureMember)
        .where(FailureMember.cluster_id.in_(ids), FailureMember.medoid)
        .order_by(FailureMember.image_id)
    ).all()
    tiles = tiles_of(session, (member.image_id for member in members))
    medoids: dict[int, list[Tile]] = defaultdict(list)
    for member in members:
        medoids[member.cluster_id].append(tiles[member.image_id])
    return scan.model, [
        ClusterRow(
            name=cluster.name,
            size=size.get(cluster.id, 0),
            labelled=cluster.labelled,
            failures=cluster.failures,
            failure_rate=cluster.failure_rate,
            lift=cluster.lift,
            interval=(cluster.interval_low, cluster.interval_high),
            medoids=medoids[cluster.id][:_MEDOIDS],
        )
        for cluster in clusters
    ]


def _versions(session: Session) -> list[VersionRow]:
    """The newest versions, newest first."""
    versions = session.scalars(
        select(Version).order_by(Version.created_at.desc(), Version.number.desc()).limit(_VERSIONS)
    ).all()
    counts = session.execute(
        select(VersionItem.version_id, VersionItem.split, Label.value, func.count())
        .join(Label, Label.id == VersionItem.label_id)
        .where(VersionItem.version_id.in_([version.id for version in versions]))
        .group_by(VersionItem.version_id, VersionItem.split, Label.value)
        .order_by(Label.value)
    )
    splits: dict[str, dict[str, dict[str, int]]] = defaultdict(lambda: {"train": {}, "val": {}, "test": {}})
    for version_id, split, value, items in counts:
        splits[version_id][split][value] = items
    return [
        VersionRow(
            id=version.id,
            name=version.name,
            number=version.number,
            created_at=version.created_at,
            splits=splits[version.id],
            gates=version.gates,
        )
        for version in versions
    ]
