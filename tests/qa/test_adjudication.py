from typing import Any

import pytest
from sqlalchemy import select

from qa import adjudication, verdicts
from store.errors import InvalidInputError
from store.schema import Annotation, Campaign, Label, Task
from store.workspace import Workspace

NAME = "campaign-1"


def _campaign(workspace: Workspace, name: str) -> Campaign:
    with workspace.database.read() as session:
        return session.scalars(select(Campaign).where(Campaign.name == name)).one()


def _images(workspace: Workspace, name: str) -> set[int]:
    with workspace.database.read() as session:
        return set(session.scalars(select(Task.image_id).join(Campaign).where(Campaign.name == name)))


def test_disputes_are_opened_once_answered_and_settled(workspace: Workspace, build: Any) -> None:
    images = build.images(12)
    campaign_id = build.campaign(build.batch(images), build.taxonomy())
    agreed = ["cat"] * 5 + ["dog"] * 5
    build.answers(campaign_id, {"ann": [*agreed, "dog", "cat"], "bob": [*agreed, "cat", "cat"]})
    assert adjudication.open_campaign(workspace, NAME).opened is None  # nothing was reviewed yet

    verdicts.review(workspace, NAME)
    first = adjudication.open_campaign(workspace, NAME)
    assert (first.opened, first.items, first.already) == ("campaign-1-adjudication", 1, 0)
    opened = _campaign(workspace, "campaign-1-adjudication")
    assert (opened.purpose, opened.parent_id, opened.overlap) == ("adjudication", campaign_id, 1)
    assert _images(workspace, opened.name) == {images[10]}
    again = adjudication.open_campaign(workspace, NAME)
    assert (again.opened, again.items, again.already) == (None, 0, 1)

    with workspace.database.write() as session:  # bob changes his mind about the last one too
        task_id = session.scalar(select(Task.id).where(Task.campaign_id == campaign_id, Task.rank == 11))
        for annotation in session.scalars(select(Annotation).where(Annotation.task_id == task_id)):
            columns = {column.key: getattr(annotation, column.key) for column in Annotation.__table__.columns}
            if annotation.ls_annotation_id > 12:
                session.add(Annotation(**{**columns, "id": None, "revision": 1, "answer": "dog"}))
    verdicts.review(workspace, NAME)
    second = adjudication.open_campaign(workspace, NAME)
    assert (second.opened, second.items, second.already) == ("campaign-1-adjudication-2", 1, 1)
    assert _images(workspace, "campaign-1-adjudication-2") == {images[11]}

    build.answers(opened.id, {"eve": ["dog"]})
    build.answers(_campaign(workspace, "campaign-1-adjudication-2").id, {"eve": ["cat"]})
    assert verdicts.review(workspace, NAME).outcomes == {"accepted": 12}
    with workspace.database.read() as session:
        values = dict(session.execute(select(Label.image_id, Label.value).order_by(Label.id)).all())
    assert (values[images[10]], values[images[11]]) == ("dog", "cat")
    assert adjudication.open_campaign(workspace, NAME).already == 0


def test_an_adjudication_is_not_adjudicated(workspace: Workspace, build: Any) -> None:
    campaign_id = build.campaign(build.batch(build.images(1)), build.taxonomy())
    build.answers(campaign_id, {"ann": ["cat"], "bob": ["dog"]})
    verdicts.review(workspace, NAME)
    adjudication.open_campaign(workspace, NAME)
    with pytest.raises(InvalidInputError, match="adjudication of 'campaign-1'"):
        adjudication.open_campaign(workspace, "campaign-1-adjudication")
