"""The labels in force: for each image the newest accepted value under one taxonomy name."""

import json
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session, aliased

from store.errors import InvalidInputError, NotFoundError
from store.schema import Campaign, Image, ImageId, Label, Task, Taxonomy, Verdict

CLASSIFICATION = "classification"  # the kind of task that asks for one class, which is the value of its labels
MULTILABEL = "multilabel"  # several classes an image
MIGRATED = "migration"  # in the evidence of a verdict that a migration of the taxonomy made of an earlier one

_is_experts = (
    Verdict.posterior.is_(None)
    & func.json_extract(Verdict.evidence, "$.adjudicator").is_not(None)
    & ((Verdict.outcome == "accepted") | func.json_extract(Verdict.evidence, f"$.{MIGRATED}").is_(None))
)  # what a migration rejected, as its class is no more, anybody may label anew


@dataclass(frozen=True)
class LabelInForce:
    """An accepted value and where it came from."""

    label_id: int
    image_id: ImageId
    sha256: str
    value: str
    posterior: float | None  # the chance that it is right; none when an adjudicator said so
    verdict_id: int


def in_force(session: Session, taxonomy: str) -> list[LabelInForce]:
    """The labels of a taxonomy name, ordered by sha256."""
    rows = session.execute(
        select(Label.id, Label.image_id, Image.sha256, Label.value, Verdict.posterior, Verdict.id)
        .join(Image, Image.id == Label.image_id)
        .join(Verdict, Verdict.id == Label.verdict_id)
        .where(Label.id.in_(newest_ids(taxonomy)))
        .order_by(Image.sha256)
    )
    return [LabelInForce(row[0], ImageId(row[1]), *row[2:]) for row in rows]


@dataclass(frozen=True)
class LabelOnce:
    """A label that an image has or had, with all that made it."""

    label_id: int
    taxonomy: str
    revision: int
    task_kind: str
    value: str
    in_force: bool
    posterior: float | None  # the chance that it was right; none when an adjudicator said so
    campaign: str
    verdict_id: int
    evidence: dict[str, Any]  # of the verdict
    created_at: datetime


@dataclass(frozen=True)
class Unlabelled:
    """A verdict in force that gives an image no label, with all that made it."""

    taxonomy: str
    revision: int
    task_kind: str
    outcome: str  # rejected, adjudication or another-opinion
    campaign: str
    verdict_id: int
    evidence: dict[str, Any]
    created_at: datetime


def history(session: Session, image_id: int) -> list[LabelOnce]:
    """Every label an image was ever given, the newest first.

    Raises:
        NotFoundError: there is no such image.
    """
    if session.get(Image, image_id) is None:
        raise NotFoundError(f"There is no image {image_id}. See: winnow images list.")
    standing = set(session.scalars(newest_ids().where(Label.image_id == image_id)))
    rows = session.execute(
        select(Label, Taxonomy.name, Taxonomy.revision, Taxonomy.task_kind, Verdict, Campaign.name)
        .join(Taxonomy, Taxonomy.id == Label.taxonomy_id)
        .join(Verdict, Verdict.id == Label.verdict_id)
        .join(Task, Task.id == Verdict.task_id)
        .join(Campaign, Campaign.id == Task.campaign_id)
        .where(Label.image_id == image_id)
        .order_by(Label.id.desc())
    )
    return [
        LabelOnce(
            label_id=label.id,
            taxonomy=taxonomy,
            revision=revision,
            task_kind=task_kind,
            value=label.value,
            in_force=label.id in standing,
            posterior=verdict.posterior,
            campaign=campaign,
            verdict_id=verdict.id,
            evidence=verdict.evidence,
            created_at=label.created_at,
        )
        for label, taxonomy, revision, task_kind, verdict, campaign in rows
    ]


def unlabelled(session: Session, image_id: int) -> list[Unlabelled]:
    """The verdicts in force that give an image no label, one an item that was not withdrawn, the newest first."""
    newer = aliased(Verdict)
    rows = session.execute(
        select(Verdict, Taxonomy.name, Taxonomy.revision, Taxonomy.task_kind, Campaign.name)
        .join(Task, Task.id == Verdict.task_id)
        .join(Campaign, Campaign.id == Task.campaign_id)
        .join(Taxonomy, Taxonomy.id == Campaign.taxonomy_id)
        .where(
            Task.image_id == image_id,
            Task.state != "withdrawn",
            Verdict.outcome != "accepted",
            ~select(newer.id).where(newer.task_id == Verdict.task_id, newer.id > Verdict.id).exists(),
        )
        .order_by(Verdict.id.desc())
    )
    return [
        Unlabelled(
            taxonomy=taxonomy,
            revision=revision,
            task_kind=task_kind,
            outcome=verdict.outcome,
            campaign=campaign,
            verdict_id=verdict.id,
            evidence=verdict.evidence,
            created_at=verdict.created_at,
        )
        for verdict, taxonomy, revision, task_kind, campaign in rows
    ]


def newest_ids(taxonomy: str | None = None, *, of: Select[int] | None = None) -> Select[int]:
    """A query for the ids of the labels in force, to build others on.

    A label is in force while the verdict behind it is its item's newest: a reopened item has none. Where several
    campaigns hold an image, the newest label is in force, unless an expert spoke: what they said stands until an expert
    says something else, and what they rejected has no label under that revision of the taxonomy.

    Args:
        taxonomy: the name of one; by default of all.
        of: ids of images; by default of all.
    """
    newer = aliased(Verdict)
    stands = ~select(newer.id).where(newer.task_id == Verdict.task_id, newer.id > Verdict.id).exists()
    by_expert = (
        select(Task.image_id, Taxonomy.name, Taxonomy.id, func.max(Verdict.id).label("verdict_id"))
        .join(Campaign, Campaign.id == Task.campaign_id)
        .join(Taxonomy, Taxonomy.id == Campaign.taxonomy_id)
        .join(Verdict, Verdict.task_id == Task.id)
        .where(stands, _is_experts)
    )
    if of is not None:
        by_expert = by_expert.where(Task.image_id.in_(of))
    said = by_expert.where(Verdict.outcome == "accepted").group_by(Task.image_id, Taxonomy.name).subquery()
    barred = by_expert.where(Verdict.outcome == "rejected").group_by(Task.image_id, Taxonomy.id).subquery()
    query = (
        select(func.max(Label.id))
        .join(Taxonomy, Taxonomy.id == Label.taxonomy_id)
        .join(Verdict, Verdict.id == Label.verdict_id)
        .outerjoin(said, (said.c.image_id == Label.image_id) & (said.c.name == Taxonomy.name))
        .outerjoin(barred, (barred.c.image_id == Label.image_id) & (barred.c.id == Taxonomy.id))
        .where(
            stands,
            said.c.verdict_id.is_(None) | (said.c.verdict_id == Verdict.id),
            barred.c.verdict_id.is_(None) | (_is_experts & (Verdict.id > barred.c.verdict_id)),
        )
        .group_by(Label.image_id, Taxonomy.name)
    )
    if of is not None:
        query = query.where(Label.image_id.in_(of))
    return query if taxonomy is None else query.where(Taxonomy.name == taxonomy)


def rejected() -> Select[int]:
    """A query for the ids of the images whose newest verdict rejected what they were labelled."""
    standing = select(func.max(Verdict.id)).join(Task, Task.id == Verdict.task_id).group_by(Task.image_id)
    return (
        select(Task.image_id)
        .join(Verdict, Verdict.task_id == Task.id)
        .where(Verdict.id.in_(standing), Verdict.outcome == "rejected")
    )


def in_words(value: str, task_kind: str) -> str:
    """A value for people: a class, several as `cat, dog`, of regions how many of each, as `2 cat, 1 dog`.

    Args:
        value: of a label; where more than one class is asked for, the JSON of a `labeling.content`.
        task_kind: of its taxonomy.
    """
    if task_kind == CLASSIFICATION:
        return value
    content = json.loads(value)
    counts = Counter(" and ".join(region["classes"]) or "unnamed" for region in content["regions"])
    named = [*(content["choice"] or {"classes": []})["classes"], *(f"{count} {name}" for name, count in counts.items())]
    return ", ".join(named) or "nothing"


def the_taxonomy(session: Session, name: str | None, *, of_classes: bool = False) -> Taxonomy:
    """The newest revision of the taxonomy called `name`; without a name, of the only one that has labels.

    Args:
        session: reads.
        name: of the taxonomy.
        of_classes: Whether its labels have to be one class an image.

    Raises:
        NotFoundError: there is none.
        InvalidInputError: without a name, there are several; or labels of the one called so are something else.
    """
    if name is None:
        labelled = select(Taxonomy.name).join(Label, Label.taxonomy_id == Taxonomy.id).distinct()
        names = sorted(
            session.scalars(labelled.where(Taxonomy.task_kind == CLASSIFICATION) if of_classes else labelled)
        )
        if not names:
            what = "a label of one class" if of_classes else "a label"
            raise NotFoundError(f"No image has {what} yet. Label a campaign, then run: winnow qa review CAMPAIGN.")
        if len(names) > 1:
            raise InvalidInputError(f"{len(names)} taxonomies have labels: say --taxonomy {' or '.join(names)}.")
        name = names[0]
    newest = select(Taxonomy).where(Taxonomy.name == name).order_by(Taxonomy.revision.desc()).limit(1)
    taxonomy = session.scalar(newest)
    if taxonomy is None:
        raise NotFoundError(f"There is no taxonomy called {name!r}. See: winnow taxonomy list.")
    if of_classes and taxonomy.task_kind != CLASSIFICATION:
        raise InvalidInputError(f"{name!r} asks for {taxonomy.task_kind}; this needs labels of one class an image.")
    return taxonomy
