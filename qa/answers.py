"""What annotators answered, as it stands now: the newest revision of everything, deletions gone."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Select, case, select
from sqlalchemy.orm import Session, aliased

from curation import labels
from curation.labels import CLASSIFICATION
from labeling import campaigns, content, reasons, results, taxonomy
from labeling.content import Content, ImageChoice
from labeling.definitions import Definition
from labeling.label_studio import MOMENT
from labeling.results import ImageSize
from qa import standing
from store.arrays import Ints
from store.database import batched
from store.errors import InvalidInputError
from store.schema import (
    Annotation,
    Annotator,
    Campaign,
    Decision,
    Image,
    Label,
    Pick,
    Standing,
    Task,
    Taxonomy,
    Verdict,
)

UNDECIDED = "questions"  # the kind whose answers get no verdicts
SETTLING = ("adjudication", "audit")  # the purposes of campaigns whose answers are the last word on another's items


@dataclass(frozen=True)
class Answer:
    """One annotator's answer to one item."""

    task_id: int
    annotation_id: int
    annotator_id: int
    annotator: str
    value: str | None  # none when skipped, or when it is no class of the taxonomy; see `read`
    words: str | None  # the same, for people
    skipped: bool
    order: tuple[str, int]  # a later answer has a larger one
    reason: str | None = None  # an adjudicator's, see labeling.reasons
    lead_time_s: float | None = None

    @property
    def given_at(self) -> datetime | None:
        """When, as Label Studio says; none where it says nothing that is a moment."""
        try:
            moment = datetime.fromisoformat(self.order[0])
        except ValueError:
            return None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@dataclass(frozen=True)
class LastWord:
    """What an adjudicator said of an item: in Label Studio, or as a decision of ours."""

    adjudicator: str
    value: str | None  # none where it cannot be decided
    words: str | None  # the same, for people
    reason: str | None  # in Label Studio it may be left out
    comment: str
    annotation_id: int | None  # of the two one
    decision_id: int | None
    order: tuple[str, int]  # a later one has a larger one

    def evidence(self, heard: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Of a verdict that says the same, beside what annotators were heard to say."""
        why = {"reason": self.reason, "comment": self.comment}
        said = {"annotator": self.adjudicator, "answer": self.words}
        return {
            "annotations": [] if self.annotation_id is None else [self.annotation_id],
            "decision": self.decision_id,
            "adjudicator": said | {name: text for name, text in why.items() if text},
            "answers": heard,
            "policy": {"method": "adjudicator"},
        }

    def is_ground_of(self, verdict: Verdict) -> bool:
        """Whether a verdict rests on this word."""
        if self.decision_id is not None:
            return bool(verdict.evidence.get("decision") == self.decision_id)
        return bool(verdict.evidence.get("annotations") == [self.annotation_id])


@dataclass(frozen=True)
class Answers:
    """Every answer under one taxonomy, in its labelling campaigns, their adjudications and audits."""

    definition: Definition
    task_ids: list[int]  # the items of all labelling campaigns, ascending
    image_ids: list[int]  # what each of them shows
    sizes: list[ImageSize]  # of that
    annotator_ids: list[int]  # who answered any of them, ascending
    given: list[Answer]  # one per item and annotator, ordered by these
    aside: list[Answer]  # likewise, by people who are paused: these count for nothing
    at_expert: set[int]  # items that an adjudication or audit holds, settled or not
    adjudicated: dict[int, LastWord]  # the newest word of an adjudicator or auditor, by the item it settles
    unsupported: set[int]  # items that people on probation alone gave a class: these want another opinion
    gold: dict[int, str]  # what was known of an item before anyone was asked: it tests people and gets no verdict

    @cached_property
    def classes(self) -> list[str]:
        """Of the taxonomy, in display order."""
        return self.definition.class_names

    @property
    def settled(self) -> dict[int, str | None]:
        """What gold and adjudicators say of an item; none where an adjudicator could not tell."""
        return {task_id: word.value for task_id, word in self.adjudicated.items()} | self.gold

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
        settled = self.settled
        return np.array([number.get(settled.get(task_id) or "", -1) for task_id in self.task_ids], dtype=np.int64)


def labelling_campaign(session: Session, name: str) -> Campaign:
    """The campaign called `name`.

    Raises:
        NotFoundError: there is none.
        InvalidInputError: it settles items of another, its parent, and is decided with it, or asks questions alone.
    """
    campaign = campaigns.get(session, name)
    if campaign.purpose in SETTLING:
        parent = session.scalar(select(Campaign.name).where(Campaign.id == campaign.parent_id))
        raise InvalidInputError(f"{name!r} is the {campaign.purpose} of {parent!r}: name that campaign instead.")
    kind = session.get_one(Taxonomy, campaign.taxonomy_id).task_kind
    if kind == UNDECIDED:
        raise InvalidInputError(f"{name!r} asks questions alone: no verdicts are made of their answers.")
    return campaign


def asks_for(session: Session, name: str) -> str:
    """The kind of task of the campaign called `name`.

    Raises:
        NotFoundError, InvalidInputError: as `labelling_campaign`.
    """
    return session.get_one(Taxonomy, labelling_campaign(session, name).taxonomy_id).task_kind


def campaign_of_classes(session: Session, name: str) -> Campaign:
    """The campaign called `name`, whose items are of one class each.

    Raises:
        NotFoundError: there is none.
        InvalidInputError: it settles items of another, or asks for something else.
    """
    campaign = labelling_campaign(session, name)
    kind = session.get_one(Taxonomy, campaign.taxonomy_id).task_kind
    if kind != CLASSIFICATION:
        raise InvalidInputError(f"{name!r} asks for {kind}; this is for campaigns that ask for one class of an image.")
    return campaign


def read(session: Session, asked: Taxonomy) -> Answers:
    """Everything answered under one revision of a taxonomy.

    The value of an answer is the class; where several classes or regions are asked for, it is the `labeling.content`
    as JSON.
    """
    definition = taxonomy.get(session, asked.id).definition
    of_taxonomy = (
        select(Task.id, Task.image_id, Image.width, Image.height)
        .join(Campaign, Campaign.id == Task.campaign_id)
        .join(Image, Image.id == Task.image_id)
        .where(Campaign.taxonomy_id == asked.id)
    )
    items = session.execute(of_taxonomy.where(Campaign.purpose == "labelling").order_by(Task.id)).all()
    standings = standing.in_force(session)
    given: list[Answer] = []
    aside: list[Answer] = []
    campaigns_of = select(Campaign.id).where(Campaign.taxonomy_id == asked.id)
    for answer in _current(session, campaigns_of.where(Campaign.purpose == "labelling"), definition):
        counts = standing.counts(standings.get(answer.annotator_id), answer.given_at)
        (given if counts else aside).append(answer)
    return Answers(
        definition,
        task_ids=[task_id for task_id, *_ in items],
        image_ids=[image_id for _, image_id, *_ in items],
        sizes=[ImageSize(width, height) for *_, width, height in items],
        annotator_ids=sorted({answer.annotator_id for answer in given}),
        given=given,
        aside=aside,
        at_expert=set(_settled_tasks(session, campaigns_of.where(Campaign.purpose.in_(SETTLING))).values()),
        adjudicated=last_words(session, asked),
        unsupported=_unsupported(given, standings),
        gold=gold(session, asked),
    )


def given(session: Session, asked: Taxonomy, task_ids: Iterable[int]) -> dict[int, list[Answer]]:
    """The answers that count to some items of labelling campaigns, by item; see `read`."""
    definition = taxonomy.get(session, asked.id).definition
    labelling = select(Campaign.id).where(Campaign.taxonomy_id == asked.id, Campaign.purpose == "labelling")
    standings = standing.in_force(session)
    found: dict[int, list[Answer]] = defaultdict(list)
    for some in batched(task_ids):
        for answer in _current(session, labelling, definition, Task.id.in_(some)):
            if standing.counts(standings.get(answer.annotator_id), answer.given_at):
                found[answer.task_id].append(answer)
    return found


def people(session: Session, campaign: Campaign) -> dict[int, str]:
    """Who can be asked in a campaign: the names of its vendor's people who ever labelled, by id.

    Those who are paused or no longer there are left out.
    """
    labelled = (
        select(Annotation.annotator_id)
        .join(Task, Task.id == Annotation.task_id)
        .join(Campaign, Campaign.id == Task.campaign_id)
        .where(Campaign.purpose == "labelling", Campaign.vendor_id == campaign.vendor_id)
    )
    there = (Annotator.id.in_(labelled), Annotator.gone.is_(False))
    rows = session.execute(select(Annotator.id, Annotator.name).where(*there).order_by(Annotator.id))
    paused = {one for one, row in standing.in_force(session).items() if row.state == "paused"}
    return {annotator_id: name for annotator_id, name in rows if annotator_id not in paused}


def seen(session: Session, campaign: Campaign) -> set[tuple[int, int]]:
    """Which item of a campaign was before whom, as (task id, annotator id): also where they took their answer back."""
    rows = select(Annotation.task_id, Annotation.annotator_id).join(Task, Task.id == Annotation.task_id).distinct()
    return {
        (task_id, annotator_id)
        for task_id, annotator_id in session.execute(rows.where(Task.campaign_id == campaign.id))
    }


def _unsupported(given: Iterable[Answer], standings: Mapping[int, Standing]) -> set[int]:
    heard: dict[int, list[int]] = defaultdict(list)
    for answer in given:
        if answer.value is not None:
            heard[answer.task_id].append(answer.annotator_id)
    return {task_id for task_id, people in heard.items() if standing.wants_another(people, standings)}


def content_of(value: str, definition: Definition) -> Content:
    """What a value says."""
    if definition.kind == CLASSIFICATION:
        return Content(choice=ImageChoice((value,)))
    return content.from_json(value)


def last_words(session: Session, asked: Taxonomy, *, campaign_id: int | None = None) -> dict[int, LastWord]:
    """The newest word of an adjudicator or auditor under one revision of a taxonomy, by the item it settles.

    With `campaign_id` on the items of that campaign alone. A skip settles nothing unless it says why it cannot be
    decided; nor does what a paused person says.
    """
    definition = taxonomy.get(session, asked.id).definition
    labelling = select(Campaign.id).where(Campaign.taxonomy_id == asked.id)
    settling = labelling.where(Campaign.purpose.in_(SETTLING))
    if campaign_id is not None:
        labelling = labelling.where(Campaign.id == campaign_id)
        settling = settling.where(Campaign.parent_id == campaign_id)
    settles = _settled_tasks(session, settling)
    standings = standing.in_force(session)
    words = _decisions(session, labelling, definition)
    for answer in _current(session, settling, definition):
        says = answer.value is not None or answer.reason in reasons.UNDECIDABLE
        if says and answer.task_id in settles and standing.counts(standings.get(answer.annotator_id), answer.given_at):
            words.append((settles[answer.task_id], _last_word(answer)))
    newest: dict[int, LastWord] = {}
    for task_id, word in words:
        newest[task_id] = max(word, newest.get(task_id, word), key=lambda each: each.order)
    return newest


def _last_word(answer: Answer) -> LastWord:
    """An answer in an adjudication or audit as what it is to the item it settles."""
    return LastWord(
        adjudicator=answer.annotator,
        value=answer.value,
        words=answer.words,
        reason=answer.reason,
        comment="",
        annotation_id=answer.annotation_id,
        decision_id=None,
        order=answer.order,
    )


def _decisions(session: Session, among: Select[int], definition: Definition) -> list[tuple[int, LastWord]]:
    """What was decided on the command line and in the dashboard, by item of these campaigns, the oldest first."""
    of_campaigns = select(Decision).join(Task, Task.id == Decision.task_id).where(Task.campaign_id.in_(among))
    rows = session.scalars(of_campaigns.order_by(Decision.id))
    return [
        (
            row.task_id,
            LastWord(
                adjudicator=row.author,
                value=row.answer,
                words=None if row.answer is None else labels.in_words(row.answer, definition.kind),
                reason=row.reason,
                comment=row.comment,
                annotation_id=None,
                decision_id=row.id,
                order=(row.decided_at.strftime(MOMENT), row.id),
            ),
        )
        for row in rows
    ]


def standing_items(session: Session, campaign: Campaign) -> set[int]:
    """The ids of the tasks of a campaign that were not withdrawn."""
    return set(session.scalars(select(Task.id).where(Task.campaign_id == campaign.id, Task.state != "withdrawn")))


def gold(session: Session, asked: Taxonomy) -> dict[int, str]:
    """The label in force of each item that a batch holds as gold, if it had one when its campaign was made.

    Without one it is an item like others, also once it is labelled: nobody is judged by what they said themselves.
    """
    older, its_verdict, later = aliased(Label), aliased(Verdict), aliased(Verdict)
    was_replaced = select(later.id).where(
        later.task_id == its_verdict.task_id, later.id > its_verdict.id, later.created_at < Campaign.created_at
    )
    had_one = (
        select(older.id)
        .join(Taxonomy, Taxonomy.id == older.taxonomy_id)
        .join(its_verdict, its_verdict.id == older.verdict_id)
        .where(
            older.image_id == Task.image_id,
            Taxonomy.name == asked.name,
            older.created_at < Campaign.created_at,
            ~was_replaced.correlate(its_verdict, Campaign).exists(),
        )
    )
    rows = session.execute(
        select(Task.id, Label.value)
        .join(Campaign, Campaign.id == Task.campaign_id)
        .join(Label, Label.image_id == Task.image_id)
        .where(
            Campaign.taxonomy_id == asked.id,
            _is_gold_pick(),
            had_one.exists(),
            Label.id.in_(labels.newest_ids(asked.name)),
        )
    )
    return dict(rows.all())


def unlabelled_gold(session: Session, campaign_id: int) -> int:
    """How many picks for gold in a campaign nobody can be judged by: they have no label of its taxonomy."""
    asked = session.get_one(Taxonomy, session.get_one(Campaign, campaign_id).taxonomy_id)
    picked = select(Task.id).join(Campaign, Campaign.id == Task.campaign_id)
    picks = session.scalars(picked.where(Task.campaign_id == campaign_id, _is_gold_pick()))
    return len(set(picks) - gold(session, asked).keys())


def _is_gold_pick() -> ColumnElement[bool]:
    """Whether the task and campaign of a query are of a batch that holds the image as gold."""
    picks = select(Pick.image_id).where(
        Pick.batch_id == Campaign.batch_id, Pick.image_id == Task.image_id, Pick.arm == "gold"
    )
    return picks.exists() & (Campaign.purpose == "labelling")


def _settled_tasks(session: Session, among: Select[int]) -> dict[int, int]:
    """The item that each item of these adjudications and audits settles."""
    disputed = aliased(Task)
    rows = session.execute(
        select(Task.id, disputed.id)
        .join(Campaign, Campaign.id == Task.campaign_id)
        .join(disputed, (disputed.campaign_id == Campaign.parent_id) & (disputed.image_id == Task.image_id))
        .where(Campaign.id.in_(among), Task.state != "withdrawn")
    )
    return dict(rows.all())


def _current(
    session: Session, among: Select[int], definition: Definition, *of_tasks: ColumnElement[bool]
) -> list[Answer]:
    """One answer per item and annotator in these campaigns: of all not deleted, the one touched last."""
    classes = set(definition.class_names)
    is_of_one_class = definition.kind == CLASSIFICATION
    is_unread = Annotation.content.is_(None) & Annotation.skipped.is_(False) & (not is_of_one_class)
    tells_why = Campaign.purpose.in_(SETTLING)
    rows = session.execute(
        select(
            Annotation.id,
            Annotation.task_id,
            Annotation.annotator_id,
            Annotator.name,
            Annotation.answer,
            Annotation.content,
            case((is_unread | tells_why, Annotation.result)).label("result"),  # which is large: only where it is needed
            Annotation.skipped,
            Annotation.ls_updated_at,
            Annotation.ls_annotation_id,
            Annotation.lead_time_s,
            Image.width,
            Image.height,
        )
        .join(Annotator, Annotator.id == Annotation.annotator_id)
        .join(Task, Task.id == Annotation.task_id)
        .join(Campaign, Campaign.id == Task.campaign_id)
        .join(Image, Image.id == Task.image_id)
        .where(Annotation.id.in_(campaigns.standing_annotations(Task.campaign_id.in_(among), *of_tasks)))
        .order_by(Annotation.task_id, Annotation.ls_annotation_id)
    )
    current: dict[tuple[int, int], Answer] = {}
    for row in rows:
        value = words = row.answer if not row.skipped and row.answer in classes else None
        if not is_of_one_class and not row.skipped:
            value = row.content or results.essence(row.result, definition, ImageSize(row.width, row.height))
            words = labels.in_words(value, definition.kind)
        answer = Answer(
            task_id=row.task_id,
            annotation_id=row.id,
            annotator_id=row.annotator_id,
            annotator=row.name,
            value=value,
            words=words,
            skipped=row.skipped,
            order=(row.ls_updated_at, row.ls_annotation_id),
            reason=reasons.given(row.result or [], definition),
            lead_time_s=row.lead_time_s,
        )
        place = (answer.task_id, answer.annotator_id)
        current[place] = max(answer, current.get(place, answer), key=lambda each: each.order)
    return [current[place] for place in sorted(current)]
