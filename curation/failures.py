"""Where in the collection a model fails, found from the labels in force."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from curation import evaluation, labels, regions
from curation.evaluation import Judgement, wilson
from curation.index import Index, open_index
from curation.regions import LEAST_FAILURES, Region
from store.arrays import Vectors
from store.errors import NotFoundError
from store.schema import FailureCluster, FailureMember, FailureScan, ImageId, PredictionRun, Sighting
from store.workspace import Workspace

_MEDOIDS = 3
_TYPICAL = 0.7  # of a cluster's failures have what its name mentions
_UNUSUAL = 0.1  # and that many more of them than of all labelled images
_LEAST_DOUBT = 0.05  # the chance above which a cluster's name says that it may be none


@dataclass(frozen=True)
class Cluster:
    """A region in which a model fails more often than elsewhere."""

    id: int
    name: str
    size: int  # images in it, labelled or not
    labelled: int
    failures: int
    failure_rate: float  # of the labelled
    lift: float  # failure rate over that of all labelled images
    interval: tuple[float, float]  # of the failure rate, Wilson's 95 %; optimistic, as the region was sought
    chance: float  # how often failures dealt at random gather as strikingly somewhere
    medoids: list[ImageId]  # its most central failures


@dataclass(frozen=True)
class FailureSummary:
    """One failure scan."""

    scan: int
    model: str
    labelled: int  # images that were judged
    failures: int
    note: str | None  # why there are no clusters, or why to doubt them all
    clusters: list[Cluster]


@dataclass(frozen=True)
class Member:
    """An image of a cluster."""

    image: ImageId
    failure: str | None  # "confusion" where the prediction disagrees with the label
    medoid: bool


@dataclass(frozen=True)
class _Draft:
    """A cluster before it has an id."""

    name: str
    members: list[Judgement]
    unlabelled: list[ImageId]
    medoids: list[ImageId]
    chance: float


def scan(workspace: Workspace, model: str, *, taxonomy: str | None = None) -> FailureSummary:
    """Cluster the newest run's failures by look, and find the unlabelled images that look alike.

    The most striking cluster is given even if chance might have made it; its name then says so.
    Only images the model was not trained on are judged, and none of the test split: what is found
    here steers what is labelled next, and a test that steers is none. Scanning again without
    new labels or predictions returns the scan that is there.

    Raises:
        NotFoundError: no predictions, labels or embeddings.
        InvalidInputError: several taxonomies have labels and none is named.
    """
    with workspace.database.read() as session:
        found = evaluation.judge(session, model, taxonomy=taxonomy)
        labelled = {label.image_id for label in labels.in_force(session, found.taxonomy)}
        details = _details(session)
    encoder, index = open_index(workspace)
    position = {image_id: i for i, image_id in enumerate(index.image_ids.tolist())}
    judged = [each for each in found.judged if each.split != "test" and each.image_id in position]
    digest = _digest([found.run_id, encoder.digest, len(position), len(labelled), [astuple(each) for each in judged]])
    failed = np.array([each.failed for each in judged], dtype=np.bool_)
    directions = index.directions[[position[each.image_id] for each in judged]]
    found_regions = regions.find(directions, failed)
    pool = _pool(index, labelled, found_regions, directions)
    drafts = [
        _draft(region, unlabelled, judged, directions, details)
        for region, unlabelled in zip(found_regions, pool, strict=True)
    ]
    with workspace.database.write() as session:
        latest = session.scalar(select(FailureScan).order_by(FailureScan.id.desc()).limit(1))
        if latest is None or latest.report["digest"] != digest:
            latest = FailureScan(
                run_id=found.run_id,
                report={
                    "digest": digest,
                    "labelled": len(judged),
                    "failures": int(failed.sum()),
                    "note": _note(len(judged), int(failed.sum()), drafts),
                    "chances": [draft.chance for draft in drafts],
                },
            )
            session.add(latest)
            session.flush()
            for draft in drafts:
                _save(session, latest, draft, rate=float(failed.mean()))
        return _summary(session, latest)


def newest(workspace: Workspace, model: str | None = None) -> FailureSummary:
    """The newest scan, of `model` if one is named.

    Raises:
        NotFoundError: there is none.
    """
    of_model = select(FailureScan).join(PredictionRun, PredictionRun.id == FailureScan.run_id)
    if model is not None:
        of_model = of_model.where(PredictionRun.model == model)
    with workspace.database.read() as session:
        row = session.scalar(of_model.order_by(FailureScan.id.desc()).limit(1))
        if row is None:
            raise NotFoundError("Nothing was scanned for failures yet. Run: winnow failures scan --model NAME.")
        return _summary(session, row)


def show(workspace: Workspace, cluster_id: int) -> tuple[Cluster, list[Member]]:
    """One cluster and its images: medoids first, then the other failures, then all else, by image id.

    Raises:
        NotFoundError: there is no such cluster.
    """
    with workspace.database.read() as session:
        row = session.get(FailureCluster, cluster_id)
        if row is None:
            raise NotFoundError(f"There is no failure cluster {cluster_id}. See: winnow failures list.")
        scanned = _summary(session, session.get_one(FailureScan, row.scan_id))
        members = [
            Member(ImageId(member.image_id), member.failure, member.medoid)
            for member in session.scalars(
                select(FailureMember)
                .where(FailureMember.cluster_id == cluster_id)
                .order_by(FailureMember.medoid.desc(), FailureMember.failure.is_(None), FailureMember.image_id)
            )
        ]
    return next(cluster for cluster in scanned.clusters if cluster.id == cluster_id), members


def _pool(index: Index, labelled: set[ImageId], found: Sequence[Region], directions: Vectors) -> list[list[ImageId]]:
    """The unlabelled images as near to each region's centre as its members; the first region takes them."""
    free = ~np.isin(index.image_ids, sorted(labelled))
    pools = []
    for region in found:
        inside = free & (index.directions @ directions[region.centre] >= region.cosine)
        free &= ~inside
        pools.append([ImageId(image_id) for image_id in index.image_ids[inside].tolist()])
    return pools


def _draft(
    region: Region,
    unlabelled: list[ImageId],
    judged: Sequence[Judgement],
    directions: Vectors,
    details: Mapping[int, Mapping[str, Any]],
) -> _Draft:
    """Name a region and find its medoids; its positions are those of `judged` and `directions` `(N, D)`."""
    places = [i for i in region.members.tolist() if judged[i].failed]
    failing = [judged[i] for i in places]
    nearness = (directions[places] @ directions[places].T).sum(axis=1)
    central = np.argsort(-nearness, kind="stable")[:_MEDOIDS]
    typical = typical_detail(
        [details.get(each.image_id, {}) for each in failing], [details.get(each.image_id, {}) for each in judged]
    )
    (label, predicted), _ = Counter((each.label, each.predicted) for each in failing).most_common(1)[0]
    return _Draft(
        name=f"{label} → {predicted}"
        + (f", {typical[0]}={typical[1]}" if typical else "")
        + (" (perhaps chance)" if region.chance > _LEAST_DOUBT else ""),
        members=[judged[i] for i in region.members],
        unlabelled=unlabelled,
        medoids=[failing[i].image_id for i in central],
        chance=region.chance,
    )


def typical_detail(
    failing: Sequence[Mapping[str, Any]], everything: Sequence[Mapping[str, Any]]
) -> tuple[str, Any] | None:
    """The column and value that most failures share and that is the most unusual among all; the first of equals."""
    inside, overall = (Counter(pair for each in rows for pair in each.items()) for rows in (failing, everything))
    excess = {
        pair: count / len(failing) - overall[pair] / len(everything)
        for pair, count in sorted(inside.items(), key=str)
        if count >= _TYPICAL * len(failing)
    }
    best = max(excess, key=excess.__getitem__, default=None)
    return best if best is not None and excess[best] >= _UNUSUAL else None


def _details(session: Session) -> dict[int, dict[str, Any]]:
    """The user's own columns of every image, as its first current sighting has them; lists and the like left out."""
    sightings = select(Sighting.image_id, Sighting.details).where(Sighting.current).order_by(Sighting.uri.desc())
    return {
        image_id: {key: value for key, value in details.items() if isinstance(value, str | bool | int | float)}
        for image_id, details in session.execute(sightings)
    }


def _save(session: Session, found: FailureScan, draft: _Draft, *, rate: float) -> None:
    failures, labelled = sum(each.failed for each in draft.members), len(draft.members)
    low, high = wilson(failures, labelled)
    cluster = FailureCluster(
        scan_id=found.id,
        name=draft.name,
        failures=failures,
        labelled=labelled,
        failure_rate=failures / labelled,
        lift=failures / labelled / rate,
        interval_low=low,
        interval_high=high,
    )
    session.add(cluster)
    session.flush()
    failure = {each.image_id: "confusion" if each.failed else None for each in draft.members}
    rows = [
        {
            "cluster_id": cluster.id,
            "image_id": image_id,
            "failure": failure.get(image_id),
            "medoid": image_id in draft.medoids,
        }
        for image_id in [*failure, *draft.unlabelled]
    ]
    session.execute(insert(FailureMember), rows)


def _summary(session: Session, found: FailureScan) -> FailureSummary:
    of_scan = FailureCluster.scan_id == found.id
    members = session.execute(
        select(FailureMember.cluster_id, FailureMember.image_id, FailureMember.medoid)
        .join(FailureCluster, FailureCluster.id == FailureMember.cluster_id)
        .where(of_scan)
        .order_by(FailureMember.image_id)
    ).all()
    sizes = Counter(cluster_id for cluster_id, _, _ in members)
    clusters = session.scalars(select(FailureCluster).where(of_scan).order_by(FailureCluster.id)).all()
    return FailureSummary(
        scan=found.id,
        model=session.get_one(PredictionRun, found.run_id).model,
        labelled=found.report["labelled"],
        failures=found.report["failures"],
        note=found.report["note"],
        clusters=[
            Cluster(
                id=cluster.id,
                name=cluster.name,
                size=sizes[cluster.id],
                labelled=cluster.labelled,
                failures=cluster.failures,
                failure_rate=cluster.failure_rate,
                lift=cluster.lift,
                interval=(cluster.interval_low, cluster.interval_high),
                chance=chance,
                medoids=[
                    ImageId(image) for cluster_id, image, medoid in members if medoid and cluster_id == cluster.id
                ],
            )
            for cluster, chance in zip(clusters, found.report["chances"], strict=True)
        ],
    )


def _note(labelled: int, failures: int, drafts: Sequence[_Draft]) -> str | None:
    seen = f"{failures} failures on {labelled} labelled images the model was not trained on"
    if failures < LEAST_FAILURES:
        return f"{seen} are too few to cluster. Label more."
    if not drafts:
        return f"{seen} lie nowhere closer together than elsewhere."
    if all(draft.chance > _LEAST_DOUBT for draft in drafts):
        return f"{seen} lie hardly closer together than chance would put them: take the clusters as a lead."
    return None


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
