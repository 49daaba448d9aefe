"""What annotators answered, as it stands now: the newest revision of everything, deletions gone."""

from dataclasses import dataclass

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from curation import labels
from labeling import campaigns, reasons, taxonomy
from labeling.definitions import Definition
from labeling.label_studio import MOMENT
from store.arrays import Ints
from store.errors import InvalidInputError
from store.schema import Annotation, Annotator, Campaign, Decision, Label, Pick, Task, Taxonomy

CLASSIFICATION = "classification"  # the kind of taxonomy whose answers can be weighed


@dataclass(frozen=True)
class Answer:
    """One annotator's answer to one item."""

    task_id: int
    annotation_id: int
    annotator_id: int
    annotator: str
    value: str | None  # none when skipped, or when it is no class of the taxonomy
    order: tuple[str, int]  # a later answer has a larger one
    reason: str | None = None  # an adjudicator's, see labeling.reasons


@dataclass(frozen=True)
class LastWord:
    """What an adjudicator said of an item: in Label Studio, or as a decision of ours."""

    adjudicator: str
    value: str | None  # none where it cannot be decided
    reason: str | None  # in Label Studio it may be left out
    comment: str
    annotation_id: int | None  # of the two one
    decision_id: int | None
    order: tuple[str, int]  # a later one has a larger one


@dataclass(frozen=True)
class Answers:
    """Every answer under one taxonomy, in its labelling campaigns and their adjudications."""

    classes: list[str]
    task_ids: list[int]  # the items of all labelling campaigns, ascending
    annotator_ids: list[int]  # who answered any of them, ascending
    given: list[Answer]  # one per item and annotator, ordered by these
    adjudicated: dict[int, LastWord]  # the newest word of an adjudicator, by the item it settles
    gold: dict[int, str]  # what was known of an item before anyone was asked: it tests people and gets no verdict

    @property
    def table(self) -> Ints:
        """`(M, 3)` int64: item, annotator and class as positions in the lists above; skips left out."""
        item, annotator, number = (
            {value: i for i, value in enumerate(values)} for values in (self.task_ids, self.annotator_ids, self.classes)
        )
        rows = [
            (item[answer.task_id], annotator[answer.annotator_id], number[answer.value])
            for answer in self.given
            if answer.value is not None
        ]
        return np.array(rows, dtype=np.int64).reshape(-1, 3)

    @property
    def known(self) -> Ints:
        """`(N,)` int64: the class of each item that is gold or that an adjudicator settled, -1 of others."""
        number = {name: i for i, name in enumerate(self.classes)}
        settled = {task_id: word.value or "" for task_id, word in self.adjudicated.items()} | self.gold
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


def read(session: Session, asked: Taxonomy) -> Answers:
    """Everything answered under one revision of a taxonomy."""
    definition = taxonomy.get(session, asked.id).definition
    of_taxonomy = select(Task.id).join(Campaign).where(Campaign.taxonomy_id == asked.id).order_by(Task.id)
    task_ids = list(session.scalars(of_taxonomy.where(Campaign.purpose == "labelling")))
    settles = _settled_tasks(session, asked)
    given: list[Answer] = []
    words = _decisions(session, asked)
    for answer in _current(session, asked, definition):
        if answer.task_id not in settles:
            given.append(answer)
        elif answer.value is not None or answer.reason in reasons.UNDECIDABLE:
            words.append((settles[answer.task_id], _last_word(answer)))
    adjudicated: dict[int, LastWord] = {}
    for task_id, word in words:
        adjudicated[task_id] = max(word, adjudicated.get(task_id, word), key=lambda each: each.order)
    annotator_ids = sorted({answer.annotator_id for answer in given})
    return Answers(definition.class_names, task_ids, annotator_ids, given, adjudicated, gold(session, asked))


def _last_word(answer: Answer) -> LastWord:
    return LastWord(
        adjudicator=answer.annotator,
        value=answer.value,
        reason=answer.reason,
        comment="",
        annotation_id=answer.annotation_id,
        decision_id=None,
        order=answer.order,
    )


def _decisions(session: Session, asked: Taxonomy) -> list[tuple[int, LastWord]]:
    """What was decided on the command line and in the dashboard, by item, the oldest first."""
    rows = session.scalars(
        select(Decision)
        .join(Task, Task.id == Decision.task_id)
        .join(Campaign, Campaign.id == Task.campaign_id)
        .where(Campaign.taxonomy_id == asked.id)
        .order_by(Decision.id)
    )
    return [
        (
            row.task_id,
            LastWord(
                adjudicator=row.author,
                value=row.answer,
                reason=row.reason,
                comment=row.comment,
                annotation_id=None,
                decision_id=row.id,
                order=(row.decided_at.strftime(MOMENT), row.id),
            ),
        )
        for row in rows
    ]


def gold(session: Session, asked: Taxonomy) -> dict[int, str]:
    """The label in force of each item that a batch holds as gold; without one it is an item like others."""
    rows = session.execute(
        select(Task.id, Label.value)
        .join(Campaign, Campaign.id == Task.campaign_id)
        .join(Pick, (Pick.batch_id == Campaign.batch_id) & (Pick.image_id == Task.image_id))
        .join(Label, Label.image_id == Task.image_id)
        .where(
            Campaign.taxonomy_id == asked.id,
            Campaign.purpose == "labelling",
            Pick.arm == "gold",
            Label.id.in_(labels.newest_ids(asked.name)),
        )
    )
    return dict(rows.all())


def _settled_tasks(session: Session, asked: Taxonomy) -> dict[int, int]:
    """The item that each item of an adjudication settles."""
    disputed = aliased(Task)
    rows = session.execute(
        select(Task.id, disputed.id)
        .join(Campaign, Campaign.id == Task.campaign_id)
        .join(disputed, (disputed.campaign_id == Campaign.parent_id) & (disputed.image_id == Task.image_id))
        .where(Campaign.taxonomy_id == asked.id, Campaign.purpose == "adjudication")
    )
    return dict(rows.all())


def _current(session: Session, asked: Taxonomy, definition: Definition) -> list[Answer]:
    """One answer per item and annotator: of all they did not delete, the one they touched last."""
    classes = set(definition.class_names)
    rows = session.execute(
        select(Annotation, Annotator.name)
        .join(Annotator, Annotator.id == Annotation.annotator_id)
        .join(Task, Task.id == Annotation.task_id)
        .join(Campaign, Campaign.id == Task.campaign_id)
        .where(Campaign.taxonomy_id == asked.id)
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
            order=(annotation.ls_updated_at, annotation.ls_annotation_id),
            reason=reasons.given(annotation.result, definition),
        )
        place = (answer.task_id, answer.annotator_id)
        current[place] = max(answer, current.get(place, answer), key=lambda each: each.order)
    return [current[place] for place in sorted(current)]
