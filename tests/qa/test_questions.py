"""Questions to the guideline, as somebody who reads them sees them."""

from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from qa import decisions, questions, verdicts
from store.errors import InvalidInputError
from store.schema import Campaign, Taxonomy
from store.workspace import Workspace
from tests.qa.consensus.crowds import coins, crowd

NAMES = ["cat", "dog", "fox", "owl"]
NAME = "campaign-1"


@pytest.fixture
def confused(workspace: Workspace, build: Any) -> list[int]:
    """120 items answered by three of eight people, of whom all take some cats for dogs; gives the cats' images."""
    images = build.images(120)
    campaign_id = build.campaign(build.batch(images), build.taxonomy(NAMES), overlap=3)
    with workspace.database.write() as session:
        row = session.scalars(select(Taxonomy)).one()
        row.classes = [{"name": name, "description": f"a {name}"} for name in NAMES]
    matrices = coins([0.95] * 8, 4)
    matrices[:, 0] = [0.6, 0.4, 0, 0]
    answers, truth = crowd(0, matrices, items=120, overlap=3)
    said: dict[str, list[str | None]] = {f"p{person}": [None] * 120 for person in range(8)}
    for item, person, answer in answers.tolist():
        said[f"p{person}"][item] = NAMES[answer]
    build.answers(campaign_id, said)
    return [images[i] for i in np.flatnonzero(truth <= 1)]


def test_a_confusion_becomes_a_question_with_examples_and_what_the_taxonomy_says(
    workspace: Workspace, build: Any, confused: list[int]
) -> None:
    [question] = questions.ask(workspace, NAME)
    assert question.classes == ("cat", "dog")
    assert question.text.startswith("Is 'cat' or 'dog' meant in images like these? ")
    assert f"{question.people} people took one for the other on {question.items} items" in question.text
    assert question.items > 10
    assert question.people >= 5
    assert question.expected < question.items / 3
    assert question.p_value < 0.001
    assert question.alpha is not None
    assert question.alpha < 0.7
    assert set(question.images) <= set(confused)
    assert len(question.images) == 4
    assert question.descriptions == {"cat": "a cat", "dog": "a dog"}
    assert question.guideline == "Say what it is."
    assert questions.ask(workspace) == [question]
    build.vectors(build.images(0) or [*range(1, 121)], np.random.default_rng(0).normal(size=(120, 4)))
    [again] = questions.ask(workspace)
    assert len(set(again.images)) == 4
    assert set(again.images) <= set(confused)


def test_adjudicators_who_find_the_guideline_unclear_raise_a_question_too(workspace: Workspace, build: Any) -> None:
    images = build.images(12)
    campaign_id = build.campaign(build.batch(images), build.taxonomy())
    agreed = ["cat"] * 5 + ["dog"] * 5
    build.answers(campaign_id, {"ann": [*agreed, "dog", "dog"], "bob": [*agreed, "cat", "cat"]})
    verdicts.review(workspace, NAME)
    assert questions.ask(workspace) == []  # with two classes, every mistake is this one
    for number, image in enumerate(images[10:]):
        decisions.decide(workspace, NAME, str(image), answer="dog", reason="guideline-unclear", author="eve")
        found = questions.ask(workspace)
        assert len(found) == number  # one such item is not enough
    assert found[0].text.endswith("Adjudicators found the guideline unclear on 2 of them.")
    assert (found[0].unclear, sorted(found[0].images)) == (2, images[10:])


def test_nothing_was_answered(workspace: Workspace, build: Any) -> None:
    assert questions.ask(workspace) == []
    build.campaign(build.batch(build.images(3)), build.taxonomy())
    assert questions.ask(workspace, NAME) == []


def test_an_adjudication_is_not_asked(workspace: Workspace, build: Any) -> None:
    campaign_id = build.campaign(build.batch(build.images(1)), build.taxonomy())
    with workspace.database.write() as session:
        row = session.get_one(Campaign, campaign_id)
        row.purpose, row.parent_id = "adjudication", campaign_id
    with pytest.raises(InvalidInputError, match="is the adjudication of"):
        questions.ask(workspace, NAME)
