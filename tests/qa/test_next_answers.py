from typing import Any

import numpy as np
import pytest

from qa import next_answers, outcomes
from store.errors import InvalidInputError, NotFoundError
from store.workspace import Workspace

ITEMS = 44


@pytest.fixture
def images(workspace: Workspace, build: Any) -> list[int]:
    """Forty items of which all but the last four are answered: two people differ on two of them.

    All look like cats or dogs; of those that nobody has answered two look like something between.
    """
    images = build.images(ITEMS)
    campaign = build.campaign(build.batch(images), build.taxonomy())
    said = (["cat", "dog"] * 20)[:40]
    build.answers(campaign, {"ann": [*said, None, None, None, None]})
    other = [*said[:38], "dog", "cat"]
    build.answers(campaign, {"bob": [*other, None, None, None, None]})
    axis = np.array([0, 1] * 22)
    values = np.eye(8)[axis] + np.random.default_rng(0).normal(scale=0.05, size=(ITEMS, 8))
    for between in (38, 39, 42, 43):
        values[between] = np.eye(8)[0] + np.eye(8)[1]
    build.vectors(images, values)
    return list(images)


def test_what_is_in_doubt_comes_first_whether_it_has_answers_or_not(workspace: Workspace, images: list[int]) -> None:
    found = next_answers.rank(workspace, "campaign-1", 4)
    assert {item.image for item in found.items} == {images[i] for i in (38, 39, 42, 43)}
    assert (found.again, found.new) == (2, 2)
    assert found.gain == pytest.approx(sum(item.gain for item in found.items))
    assert [item.gain for item in found.items] == sorted((item.gain for item in found.items), reverse=True)
    assert {item.answers for item in found.items} == {0, 2}
    assert all(item.ask is None for item in found.items if item.answers == 2)  # both people have seen these


def test_nobody_is_asked_what_they_have_seen_nor_too_often(workspace: Workspace, images: list[int]) -> None:
    everything = next_answers.rank(workspace, "campaign-1", 1000)
    assert len(everything.items) == ITEMS
    few = next_answers.rank(workspace, "campaign-1", 1000, most_answers=2)
    assert {item.image for item in few.items} == set(images[40:])


@pytest.mark.parametrize(("most", "left"), [(5, [1, 3, 3, 3]), (None, [1])])
def test_an_item_may_get_as_many_answers_as_its_campaign_allows(
    workspace: Workspace, build: Any, most: int | None, left: list[int]
) -> None:
    """Three under a fixed overlap."""
    rules = {"target_error": 0.06, "most_answers": most, "adjudication_cost": None, "audited": 0}
    how = {} if most is None else {"adaptive": rules}
    campaign = build.campaign(build.batch(build.images(4)), build.taxonomy(), **how)
    build.answers(campaign, {who: ["cat", "dog", "cat", None] for who in ("ann", "bob", "cleo")})
    build.answers(campaign, {"dan": [None, None, None, "dog"]})
    ranked = next_answers.rank(workspace, "campaign-1", 10).items
    assert sorted(item.answers for item in ranked) == left


def test_who_may_be_asked_is_looked_at_in_blocks(
    workspace: Workspace, images: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    may = np.random.default_rng(0).random((100, 5)) < 0.5
    whole = next_answers.rank(workspace, "campaign-1", 1000)
    monkeypatch.setattr(outcomes, "_BLOCK", 12)
    held = list(outcomes.blocks(may))
    assert np.array_equal(np.concatenate(held), np.argwhere(may))
    assert max(map(len, held)) <= 12
    parts = next_answers.rank(workspace, "campaign-1", 1000)
    assert [item.task for item in parts.items] == [item.task for item in whole.items]
    assert parts.gain == pytest.approx(whole.gain)


def test_what_cannot_be_is_a_sentence(workspace: Workspace, images: list[int]) -> None:
    with pytest.raises(InvalidInputError, match="here are 0"):
        next_answers.rank(workspace, "campaign-1", 0)
    with pytest.raises(NotFoundError, match="no campaign called 'x'"):
        next_answers.rank(workspace, "x", 3)
