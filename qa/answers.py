"""What annotators answered, as it stands now: the newest revision of everything, deletions gone."""

from dataclasses import dataclass

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from curation import labels
from labeling import campaigns
from store.arrays import Ints
from store.errors import InvalidInputError
from store.schema import Annotation, Annotator, Campaign, Label, Pick, Task, Taxonomy

CLASSIFICATION = "classification"  # the kind of taxonomy whose answers can be weighed


@dataclass(frozen=True)
class Answer:
    """One annotator's answer to one item."""

    task_id: int
    annotation_id: int
    annotator_id: int
    annotator: str
    value: str | None  # none when skipped, or when it is no class of the taxonomy
    skipped: bool
    order: tuple[str, int]  # a later answer has a larger one


@dataclass(frozen=True)
class Answers:
    """Every answer under one taxonomy, in its labelling campaigns and their adjudications."""

    classes: list[str]
    task_ids: list[int]  # the items of all labelling campaigns, ascending
    image_ids: list[int]  # what each of them shows
    annotator_ids: list[int]  # who answered any of them, ascending
    given: list[Answer]  # one per item and annotator, ordered by these
    at_expert: set[int]  # items that an adjudication holds, settled or not
    adjudicated: dict[int, Answer]  # the newest answer of an adjudicator, by the item it settles
    gold: dict[int, str]  # what was known of an item before anyone was asked: it tests people and gets no verdict

    @property
    def table(self) -> Ints:
        """`(M, 3)` int64: item, annotator and class as positions in the lists above, by time; skips left out."""
        item, annotator, number = (
            {value: i for i, value in enumerate(values)} for values in (self.task_ids, self.annotator_ids, self.classes)
        )
        rows = [
            (item[answer.task_id], annotator[answer.annotator_id], number[answer.value])
            for answer in sorted(self.given, key=lambda each: each.order)
            if answer.value is not None
        ]
        return np.array(rows, dtype=np.int64).reshape(-1, 3)

    @property
    def known(self) -> Ints:
        """`(N,)` int64: the class of each item that is gold or that an adjudicator settled, -1 of others."""
        number = {name: i for i, name in enumerate(self.classes)}
        settled = {task_id: answer.value or "" for task_id, answer in self.adjudicated.items()} | self.gold
        return np.array([number.get(settled.get(task_id, ""), -1) for task_id in self.task_ids], dtype=np.int64)


def labelling_campaign(session: Session, name: str) -> Campaign:
    """The campaign called `name`.

    Raises:
        NotFoundError: there is none.
        InvalidInputError: it is an adjudication, which is decided with its parent, or asks for more than one class.
    """
    campaign = campaigns.get(session, name)
    if campaign.purpose == "adjudication":
        parent = session.scalar(select(Campaign.name).where(Campaign.id == campaign.parent_id))
        raise InvalidInputError(f"{name!r} is the adjudication of {parent!r}: name that campaign instead.")
    kind = session.get_one(Taxonomy, campaign.taxonomy_id).task_kind
    if kind != CLASSIFICATION:
        raise InvalidInputError(f"{name!r} asks for {kind}; verdicts are made where one class is asked for.")
    return campaign


def read(session: Session, taxonomy: Taxonomy) -> Answers:
    """Everything answered under one revision of a taxonomy."""
    classes = [str(each["name"]) for each in taxonomy.classes]
    of_taxonomy = select(Task.id, Task.image_id).join(Campaign).where(Campaign.taxonomy_id == taxonomy.id)
    items = session.execute(of_taxonomy.where(Campaign.purpose == "labelling").order_by(Task.id)).all()
    settles = _settled_tasks(session, taxonomy)
    given: list[Answer] = []
    adjudicated: dict[int, Answer] = {}
    for answer in _current(session, taxonomy, set(classes)):
        if answer.task_id not in settles:
            given.append(answer)
        elif answer.value is not None:
            task_id = settles[answer.task_id]
            adjudicated[task_id] = max(answer, adjudicated.get(task_id, answer), key=lambda each: each.order)
    annotator_ids = sorted({answer.annotator_id for answer in given})
    return Answers(
        classes,
        task_ids=[task_id for task_id, _ in items],
        image_ids=[image_id for _, image_id in items],
        annotator_ids=annotator_ids,
        given=given,
        at_expert=set(settles.values()),
        adjudicated=adjudicated,
        gold=_gold(session, taxonomy),
    )


def people(session: Session, campaign: Campaign) -> dict[int, str]:
    """Who can be asked in a campaign: the names of its vendor's people who ever labelled and are still there, by id."""
    labelled = (
        select(Annotation.annotator_id)
        .join(Task, Task.id == Annotation.task_id)
        .join(Campaign, Campaign.id == Task.campaign_id)
        .where(Campaign.purpose == "labelling", Campaign.vendor_id == campaign.vendor_id)
    )
    there = (Annotator.id.in_(labelled), Annotator.gone.is_(False))
    return dict(session.execute(select(Annotator.id, Annotator.name).where(*there).order_by(Annotator.id)).all())


def seen(session: Session, campaign: Campaign) -> set[tuple[int, int]]:
    """Which item of a campaign was before whom, as (task id, annotator id): also where they took their answer back."""
    rows = select(Annotation.task_id, Annotation.annotator_id).join(Task, Task.id == Annotation.task_id).distinct()
    return {
        (task_id, annotator_id)
        for task_id, annotator_id in session.execute(rows.where(Task.campaign_id == campaign.id))
    }


def _gold(session: Session, taxonomy: Taxonomy) -> dict[int, str]:
    """The label in force of each item that a batch holds as gold; without one it is an item like others."""
    rows = session.execute(
        select(Task.id, Label.value)
        .join(Campaign, Campaign.id == Task.campaign_id)
        .join(Pick, (Pick.batch_id == Campaign.batch_id) & (Pick.image_id == Task.image_id))
        .join(Label, Label.image_id == Task.image_id)
        .where(
            Campaign.taxonomy_id == taxonomy.id,
            Campaign.purpose == "labelling",
            Pick.arm == "gold",
            Label.id.in_(labels.newest_ids(taxonomy.name)),
        )
    )
    return dict(rows.all())


def _settled_tasks(session: Session, taxonomy: Taxonomy) -> dict[int, int]:
    """The item that each item of an adjudication settles."""
    disputed = aliased(Task)
    rows = session.execute(
        select(Task.id, disputed.id)
        .join(Campaign, Campaign.id == Task.campaign_id)
        .join(disputed, (disputed.campaign_id == Campaign.parent_id) & (disputed.image_id == Task.image_id))
        .where(Campaign.taxonomy_id == taxonomy.id, Campaign.purpose == "adjudication", Task.state != "withdrawn")
    )
    return dict(rows.all())


def _current(session: Session, taxonomy: Taxonomy, classes: set[str]) -> list[Answer]:
    """One answer per item and annotator: of all they did not delete, the one they touched last."""
    rows = session.execute(
        select(Annotation, Annotator.name)
        .join(Annotator, Annotator.id == Annotation.annotator_id)
        .join(Task, Task.id == Annotation.task_id)
        .join(Campaign, Campaign.id == Task.campaign_id)
        .where(Campaign.taxonomy_id == taxonomy.id)
        .order_by(Annotation.task_id, Annotation.ls_annotation_id, Annotation.revision)
    )
    newest = {(annotation.task_id, annotation.ls_annotation_id): (annotation, name) for annotation, name in rows}
    current: dict[tuple[int, int], Answer] = {}
    for annotation, name in newest.values():
        if annotation.deleted:
            continue
        said_a_class = not annotation.skipped and annotation.answer in classes
        answer = Answer(
            task_id=annotation.task_id,
            annotation_id=annotation.id,
            annotator_id=annotation.annotator_id,
            annotator=name,
            value=annotation.answer if said_a_class else None,
            skipped=annotation.skipped,
            order=(annotation.ls_updated_at, annotation.ls_annotation_id),
        )
        place = (answer.task_id, answer.annotator_id)
        current[place] = max(answer, current.get(place, answer), key=lambda each: each.order)
    return [current[place] for place in sorted(current)]
