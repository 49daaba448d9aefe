"""What the planner reads: scores of any prediction run, what quotas count, what images cost; and that it replays."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from curation import splits, where
from curation.prediction_import import import_file
from labeling import vendors
from sampling import batch, recipes, state
from sampling.state import Roles
from store import schema
from store.errors import InvalidInputError, NotFoundError
from store.schema import ImageId
from store.workspace import Workspace

IDS = range(1, 61)


def plan(workspace: Workspace, **values: Any) -> list[schema.Pick]:
    """The picks of a batch that is shown to replay."""
    with workspace.database.read() as session:
        models = session.scalars(select(schema.PredictionRun.model)).all()
    values = {"budget": 6, "random_share": 0.2, "model": models[0] if models else None, **values}
    planned = batch.plan(workspace, recipes.parse({key: value for key, value in values.items() if value is not None}))
    assert batch.replay(workspace, planned.batch_id).same
    with workspace.database.read() as session:
        return list(session.scalars(select(schema.Pick).where(schema.Pick.batch_id == planned.batch_id)))


def predict(workspace: Workspace, folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    path = folder / "predictions.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    import_file(workspace, path, model="ours", classes=["cat", "dog"])


@pytest.fixture
def ids(build: Any) -> list[ImageId]:
    """Sixty images, 1 to 60, embedded."""
    found = build.images(60)
    build.vectors(found, np.random.default_rng(0).normal(size=(60, 6)))
    return list(found)


@pytest.fixture
def train(workspace: Workspace, ids: list[ImageId]) -> list[ImageId]:
    """Those that informed picks may come from."""
    with workspace.database.read() as session:
        split_of = splits.load(session)
    return [image_id for image_id in ids if split_of[image_id] == "train"]


def uncertain(picks: Sequence[schema.Pick]) -> list[schema.Pick]:
    return [pick for pick in picks if pick.arm == "uncertain"]


@pytest.mark.parametrize(
    ("score", "likely"),
    [("bald", 0.69), ("votes", 1.0), ("kl", 0.69)],
)
def test_passes_that_disagree_are_chosen_and_said(
    workspace: Workspace, train: list[ImageId], tmp_path: Path, score: str, likely: float
) -> None:
    torn = set(train[3:8])
    agree, disagree = [[0.5, 0.5], [0.5, 0.5]], [[1.0, 0.0], [0.0, 1.0]]
    predict(workspace, tmp_path, [{"image": i, "passes": disagree if i in torn else agree} for i in IDS])
    picks = uncertain(plan(workspace, strategy="uncertainty", score=score))
    assert {pick.image_id for pick in picks} == torn
    assert all(pick.score == pytest.approx(likely, abs=0.01) and "passes disagree" in pick.why for pick in picks)
    changing = uncertain(plan(workspace, strategy="dropquery"))
    assert {pick.image_id for pick in changing} == torn


def test_energy_finds_what_the_model_does_not_know(workspace: Workspace, train: list[ImageId], tmp_path: Path) -> None:
    strange = set(train[:5])
    rows = [{"image": i, "logits": [0.1, 0.0] if i in strange else [9.1, 9.0]} for i in IDS]
    predict(workspace, tmp_path, rows)
    picks = uncertain(plan(workspace, strategy="uncertainty", score="energy"))
    assert {pick.image_id for pick in picks} == strange
    assert "The model knows less like it than 9" in picks[0].why


@pytest.mark.parametrize(("how", "chosen"), [("max", "one doubtful"), ("sum", "many"), ("mean", "one doubtful")])
def test_boxes_are_as_uncertain_as_the_recipe_says(
    workspace: Workspace, train: list[ImageId], tmp_path: Path, how: str, chosen: str
) -> None:
    def box(score: float, name: str = "cat") -> dict[str, Any]:
        return {"box": [0, 0, 4, 4], "class": name, "score": score}

    kinds = {"one doubtful": [box(0.5)], "many": [box(0.75)] * 6, "sure": [box(0.99)], "nothing": []}
    of_image = dict.fromkeys(IDS, "sure") | dict.fromkeys(train[:5], "one doubtful")
    of_image |= dict.fromkeys(train[5:10], "many") | dict.fromkeys(train[10:12], "nothing")
    predict(workspace, tmp_path, [{"image": i, "boxes": kinds[of_image[i]]} for i in IDS])
    picks = uncertain(plan(workspace, strategy="uncertainty", boxes={"aggregate": how}))
    assert {of_image[ImageId(pick.image_id)] for pick in picks} == {chosen}
    assert "unsure of the boxes it found" in picks[0].why
    cats = plan(workspace, boxes={"class_weights": {"cat": 0}}, quotas=[{"predicted": "cat", "least": 2}])
    assert len(cats) == 6
    with pytest.raises(InvalidInputError, match="predicts no class 'emu'"):
        plan(workspace, boxes={"class_weights": {"emu": 2}})


def test_a_score_that_the_predictions_cannot_give_is_refused(
    workspace: Workspace, ids: list[ImageId], tmp_path: Path
) -> None:
    predict(workspace, tmp_path, [{"image": i, "probabilities": [0.4, 0.6]} for i in ids])
    with pytest.raises(InvalidInputError, match="'bald' compares passes, and run 1 of 'ours' has one"):
        plan(workspace, score="bald")
    with pytest.raises(InvalidInputError, match="'energy' needs logits"):
        plan(workspace, score="energy")
    with pytest.raises(InvalidInputError, match="dropquery compares several passes"):
        plan(workspace, strategy="dropquery")


def test_a_model_that_predicted_nothing_is_not_passed_over(workspace: Workspace, ids: list[ImageId]) -> None:
    with pytest.raises(NotFoundError, match=r"no predictions of 'prbo'; there are none at all"):
        plan(workspace, model="prbo")
    with pytest.raises(InvalidInputError, match=r"'bald' needs predictions of 'probe', and there are none"):
        plan(workspace, score="bald")


def test_quotas_of_what_is_predicted_and_of_every_source(
    workspace: Workspace, train: list[ImageId], tmp_path: Path
) -> None:
    dogs = set(train[:9])
    predict(workspace, tmp_path, [{"image": i, "probabilities": [0.1, 0.9] if i in dogs else [0.9, 0.1]} for i in IDS])
    picks = plan(workspace, quotas=[{"predicted": "dog", "least": 4, "most": 4}])
    assert len({pick.image_id for pick in picks if pick.arm != "random"} & dogs) == 4
    with workspace.database.write() as session:
        for sighting in session.scalars(select(schema.Sighting)):
            sighting.details = {"site": "north" if sighting.image_id % 3 else "south", "night": True}
    picks = plan(workspace, quotas=[{"each": "site", "most_share": 0.6}, {"each": "night", "least_share": 1}])
    informed = [pick.image_id for pick in picks if pick.arm != "random"]
    assert sum(image_id % 3 == 0 for image_id in informed) in (2, 3)
    with pytest.raises(InvalidInputError, match=r"site=(north|south) at most"):
        plan(workspace, quotas=[{"each": "site", "most_share": 0.3}])
    with pytest.raises(InvalidInputError, match="predicted as 'emu', and 'ours' predicts: cat, dog"):
        plan(workspace, quotas=[{"predicted": "emu", "least": 1}])
    with pytest.raises(InvalidInputError, match="no cluster 'x'"):
        plan(workspace, quotas=[{"slice": "x", "least": 1}])
    with (
        pytest.raises(InvalidInputError, match="'uri' has 60 values, more than 50"),
        workspace.database.read() as session,
    ):
        where.of_each_value(session, "uri", most=50)


def test_money_is_spent_at_the_vendors_price(workspace: Workspace, ids: list[ImageId]) -> None:
    cost = {"vendor": "studio", "answers": 2, "exceptions": [{"where": "id <= 30", "price": 0.5}]}
    with pytest.raises(NotFoundError, match="no vendor called 'studio'"):
        plan(workspace, budget=None, money=2, cost=cost)
    vendors.add(workspace, "studio", url="http://127.0.0.1:1", token="env:T")
    with pytest.raises(InvalidInputError, match="has no price for classification; known: none"):
        plan(workspace, budget=None, money=2, cost=cost)
    vendors.add(workspace, "studio", url="http://127.0.0.1:1", token="env:T", prices={"classification": 0.05})
    picks = plan(workspace, budget=None, money=2, cost=cost)
    spent = sum(0.5 if pick.image_id <= 30 else 0.1 for pick in picks)
    assert 1.5 < spent <= 2 + 1e-9
    vendors.add(workspace, "studio", url="http://127.0.0.1:1", token="env:T", prices={"classification": 0.2})
    assert batch.replay(workspace, 1).same  # the price was recorded


def test_gold_is_what_has_a_label(workspace: Workspace, ids: list[ImageId], build: Any) -> None:
    build.labels(dict.fromkeys(ids[:8], "cat"))
    picks = plan(workspace, gold_share=0.3)
    gold = {pick.image_id for pick in picks if pick.arm == "gold"}
    assert len(gold) == 2
    assert gold <= set(ids[:8])


@pytest.mark.parametrize(
    ("conditions", "wanted"),
    [
        ({"where": "id > 3"}, range(4, 9)),
        ({"exclude": "id > 5 and id < 9"}, range(1, 6)),
        ({"where": "id > 3", "exclude": "id == 8"}, range(4, 8)),
    ],
)
def test_gold_obeys_the_recipes_conditions(
    workspace: Workspace, ids: list[ImageId], build: Any, conditions: dict[str, str], wanted: range
) -> None:
    """Of the labelled images 1 to 8, gold is drawn from those alone for which the conditions hold."""
    build.labels(dict.fromkeys(ids[:8], "cat"))
    with workspace.database.read() as session:
        looked = state.look(session, recipes.parse({"budget": 6, "gold_share": 0.3, "model": "probe", **conditions}))
    assert looked.roles.gold == set(wanted)
    [gold, *_] = [pick for pick in plan(workspace, gold_share=0.3, **conditions) if pick.arm == "gold"]
    assert f"{len(wanted)} labelled images for which the recipe's conditions hold, to see" in gold.why
    with pytest.raises(InvalidInputError, match=f"for which the recipe's conditions hold: {len(wanted)} available"):
        plan(workspace, budget=20, gold_share=0.5, **conditions)


def test_roles_are_packed_as_they_are() -> None:
    one = Roles(
        embedded=frozenset({1, 3, 900}),
        eligible=frozenset({3}),
        reserved=frozenset(),
        used=frozenset({1}),
        gold=frozenset({900}),
        counted=(frozenset({3}), frozenset()),
        priced=(frozenset({1, 900}),),
    )
    assert Roles.unpack(one.pack()) == one


def test_novelty_and_loneliness_need_no_model(workspace: Workspace, build: Any) -> None:
    ids = build.images(60)
    heap = np.random.default_rng(0).normal(size=(60, 6)) * 0.01 + np.eye(6)[0]
    far = list(range(0, 60, 4))
    heap[far] = np.eye(6)[1:][np.arange(len(far)) % 5] + heap[far]
    build.vectors(ids, heap)
    build.labels({ids[i]: "cat" for i in range(60) if i % 4 == 1})
    strange = {ids[i] for i in far}
    for score, said in (("novelty", "from all that is labelled"), ("outlierness", "Lonelier than ")):
        picks = uncertain(plan(workspace, strategy="uncertainty", score=score))
        assert {ImageId(pick.image_id) for pick in picks} <= strange
        assert said in picks[0].why


def test_what_is_missing_is_not_picked_and_a_duplicate_that_may_be_speaks(
    workspace: Workspace, train: list[ImageId], build: Any
) -> None:
    with workspace.database.write() as session:
        for sighting in session.scalars(select(schema.Sighting).where(schema.Sighting.image_id.in_(train[:5]))):
            sighting.missing = True
    build.duplicates(*zip(train[:5], train[5:10], strict=True))
    chosen = {pick.image_id for pick in plan(workspace, budget=30, strategy="k-center")}
    assert chosen.isdisjoint(train[:5])
    others = ", ".join(map(str, train[5:10]))
    only = plan(workspace, budget=6, random_share=0.1, where=f"id in [{others}] or not (id in {list(train)})")
    assert {pick.image_id for pick in only if pick.arm != "random"} == set(train[5:10])


def test_images_without_a_prediction_are_counted_and_random_ones_come_from_all(
    workspace: Workspace, train: list[ImageId], ids: list[ImageId], tmp_path: Path
) -> None:
    predict(workspace, tmp_path, [{"image": i, "probabilities": [0.4, 0.6]} for i in train[:12]])
    planned = batch.plan(workspace, recipes.parse({"budget": 6, "model": "ours"}))
    assert planned.unpredicted == len(train) - 12
    with workspace.database.read() as session:
        picks = session.scalars(select(schema.Pick).where(schema.Pick.batch_id == planned.batch_id)).all()
    assert {pick.image_id for pick in picks if pick.arm != "random"} <= set(train[:12])
    assert any(f"Drawn at random from {60 - len(train)} images" in pick.why for pick in picks)
