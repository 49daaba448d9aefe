"""News: everything that could make the next batch another one counts, and nothing else does."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sqlalchemy import update

from sampling import batch, news, recipes
from sampling.news import News
from store import schema
from store.schema import ImageId, Sighting
from store.workspace import Workspace

NONE = News(images=frozenset(), learnt=False, decided=False, freed=False, terms=False, another_encoder=False)


@pytest.fixture
def images(build: Any) -> list[ImageId]:
    """Sixty images, fifty of them embedded."""
    found: list[ImageId] = build.images(60)
    build.vectors(found[:50], np.random.default_rng(0).normal(size=(50, 6)))
    return found


def plan(workspace: Workspace, **values: Any) -> int:
    return batch.plan(workspace, recipes.parse({"budget": 5, **values})).batch_id


def since(workspace: Workspace, batch_id: int) -> News:
    with workspace.database.read() as session:
        return news.since(session, batch_id)


def test_a_batch_and_its_campaign_are_no_news_of_the_catalog(
    workspace: Workspace, images: list[ImageId], build: Any
) -> None:
    planned = plan(workspace, quotas=[{"where": "source == 'photos'"}])
    build.campaign(planned, build.taxonomy())
    plan(workspace, seed=1)
    assert since(workspace, planned) == NONE
    assert since(workspace, planned).is_none


def embed(workspace: Workspace, build: Any, images: list[ImageId]) -> None:
    build.vectors(images[50:53], np.ones((3, 6)))


def embed_otherwise(workspace: Workspace, build: Any, images: list[ImageId]) -> None:
    build.vectors(images[:50], np.random.default_rng(1).normal(size=(50, 4)), name="other")


def label(workspace: Workspace, build: Any, images: list[ImageId]) -> None:
    build.labels({images[55]: "cat"})


def predict(workspace: Workspace, build: Any, images: list[ImageId]) -> None:
    with workspace.database.write() as session:
        session.add(schema.PredictionRun(id=9, model="m", digest="0" * 64, classes=["cat"], report={}))


def scan_failures(workspace: Workspace, build: Any, images: list[ImageId]) -> None:
    with workspace.database.write() as session:
        session.add(schema.FailureScan(run_id=1, report={}))


def decide(workspace: Workspace, build: Any, images: list[ImageId]) -> None:
    with workspace.database.write() as session:
        session.add(schema.DuplicateDecision(first_id=images[0], second_id=images[1], same=False))


def describe(workspace: Workspace, build: Any, images: list[ImageId]) -> None:
    with workspace.database.write() as session:
        session.execute(update(Sighting).where(Sighting.image_id == images[9]).values(source="photos"))


def describe_as_dear(workspace: Workspace, build: Any, images: list[ImageId]) -> None:
    with workspace.database.write() as session:
        session.execute(update(Sighting).where(Sighting.image_id == images[20]).values(details={"size": "large"}))


Change = Callable[[Workspace, Any, list[ImageId]], None]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (embed, replace(NONE, images=frozenset({51, 52, 53}))),
        (embed_otherwise, replace(NONE, another_encoder=True)),
        (label, replace(NONE, learnt=True)),
        (predict, replace(NONE, learnt=True)),
        (scan_failures, replace(NONE, learnt=True)),
        (decide, replace(NONE, decided=True)),
        (describe, replace(NONE, freed=True)),
        (describe_as_dear, replace(NONE, terms=True)),
    ],
)
def test_each_change_is_news_until_the_next_batch(
    workspace: Workspace, images: list[ImageId], build: Any, change: Change, expected: News
) -> None:
    with workspace.database.write() as session:  # of each kind there is one that the planner saw
        session.add(schema.PredictionRun(id=1, model="m", digest="1" * 64, classes=["cat"], report={}))
        session.flush()
        session.add(schema.FailureScan(run_id=1, report={}))
        session.execute(update(Sighting).where(Sighting.image_id == images[9]).values(source="elsewhere"))
        session.execute(update(Sighting).where(Sighting.image_id == images[21]).values(details={"size": "small"}))
    decide(workspace, build, images)
    build.labels({images[0]: "cat"})
    exception = {"where": "size == 'large'", "price": 3}
    terms: dict[str, Any] = {"where": "source == 'photos'", "cost": {"price": 1, "exceptions": [exception]}}
    first = plan(workspace, **terms)
    assert since(workspace, first) == NONE
    change(workspace, build, images)
    assert since(workspace, first) == expected
    assert not since(workspace, first).is_none
    assert since(workspace, plan(workspace, **terms, seed=1)) == NONE


def test_a_batch_from_before_there_was_a_record_knows_nothing(workspace: Workspace, images: list[ImageId]) -> None:
    planned = plan(workspace)
    with workspace.database.write() as session:
        row = session.get_one(schema.Batch, planned)
        row.state = {name: value for name, value in row.state.items() if name != "newest"}
    assert since(workspace, planned) == NONE
    predict(workspace, None, images)
    assert since(workspace, planned).learnt
