from collections import Counter
from datetime import date, datetime, timedelta
from fractions import Fraction

import pytest
from sqlalchemy import select, text

from labeling import campaigns, vendors
from labeling.definitions import AttributeDefinition, ClassDefinition, Definition
from labeling.taxonomy import create as create_taxonomy
from store.errors import ConflictError, InvalidInputError, NotFoundError
from store.schema import Annotation, Campaign, ImageId, Task, Vendor, Verdict
from store.workspace import Workspace, open_workspace
from tests.conftest import Builder


@pytest.fixture
def images(build: Builder) -> list[ImageId]:
    """Four images; the batch holds three of them, best last."""
    build.taxonomy()
    vendors.add(build.workspace, "acme", url="http://127.0.0.1:1", token="env:TOKEN")
    images = build.images(4)
    build.batch([images[2], images[0], images[1]])
    return images


def create(workspace: Workspace, name: str = "one", *, overlap: int = 2) -> int:
    return campaigns.create(workspace, name, batch_id=1, taxonomy_name="animals", vendor_name="acme", overlap=overlap)


def tasks(workspace: Workspace, name: str) -> list[Task]:
    with workspace.database.read() as session:
        campaign = campaigns.get(session, name)
        return list(session.scalars(select(Task).where(Task.campaign_id == campaign.id).order_by(Task.rank)))


def test_tasks_are_planned_in_rank_order(workspace: Workspace, images: list[ImageId]) -> None:
    create(workspace)
    planned = tasks(workspace, "one")
    assert [task.image_id for task in planned] == [images[2], images[0], images[1]]
    assert [(task.rank, task.state, task.ls_task_id) for task in planned] == [(i, "planned", None) for i in range(3)]
    assert all(len(task.uid) == 32 and int(task.uid, 16) for task in planned)


def test_uids_differ_between_campaigns_and_workspaces_only(
    workspace: Workspace, images: list[ImageId], tmp_path_factory: pytest.TempPathFactory
) -> None:
    create(workspace, "one")
    create(workspace, "two")
    one, two = ({task.uid for task in tasks(workspace, name)} for name in ("one", "two"))
    assert not one & two
    other = Builder(open_workspace(tmp_path_factory.mktemp("other")))
    other.taxonomy()
    vendors.add(other.workspace, "acme", url="http://127.0.0.1:1", token="env:TOKEN")
    other.batch(other.images(4)[:3])
    create(other.workspace, "one")
    assert not one & {task.uid for task in tasks(other.workspace, "one")}


def test_creating_again_is_a_no_op_and_another_of_the_name_a_conflict(
    workspace: Workspace, images: list[ImageId]
) -> None:
    assert create(workspace) == create(workspace)
    assert len(tasks(workspace, "one")) == 3
    with pytest.raises(ConflictError):
        create(workspace, overlap=3)


def test_what_does_not_exist_is_named(workspace: Workspace, images: list[ImageId]) -> None:
    for batch, taxonomy, vendor in ((9, "animals", "acme"), (1, "plants", "acme"), (1, "animals", "nobody")):
        with pytest.raises(NotFoundError):
            campaigns.create(workspace, "one", batch_id=batch, taxonomy_name=taxonomy, vendor_name=vendor)
    with pytest.raises(InvalidInputError):
        create(workspace, overlap=0)
    with workspace.database.read() as session:
        assert session.scalars(select(Campaign)).all() == []


def test_an_adjudication_takes_disputed_items_of_its_parent(
    workspace: Workspace, build: Builder, images: list[ImageId]
) -> None:
    create(workspace)
    build.plan_adjudication("one: disputed", parent="one", image_ids=images[1:3])
    assert [task.image_id for task in tasks(workspace, "one: disputed")] == [images[1], images[2]]
    with workspace.database.read() as session:
        campaign = campaigns.get(session, "one: disputed")
        assert (campaign.purpose, campaign.overlap) == ("adjudication", 1)
        assert campaign.parent_id == campaigns.get(session, "one").id
    with pytest.raises(InvalidInputError, match="1 of 2"):
        build.plan_adjudication("x", parent="one", image_ids=[images[1], images[3]])


def test_status_counts_answers_that_stand(workspace: Workspace, build: Builder, images: list[ImageId]) -> None:
    campaign_id = build.campaign(1, 1)
    build.answers(campaign_id, {"ada": ["cat", "cat", None], "ben": ["cat", None, None]})
    with workspace.database.read() as session:
        status = campaigns.status(session, "campaign-1")
    assert (status.items, status.pushed, status.answers, status.answered) == (3, 3, 3, 1)


def test_open_items_are_those_of_the_vendors_open_campaigns_that_lack_answers(
    workspace: Workspace, build: Builder, images: list[ImageId]
) -> None:
    vendors.add(workspace, "other", url="http://127.0.0.1:1", token="env:TOKEN")

    def open_items(vendor: str) -> int:
        with workspace.database.read() as session:
            return campaigns.open_items(session, vendor)

    assert open_items("acme") == 0
    first = build.campaign(1, 1)  # three items at acme, all pushed
    create(workspace, "planned", overlap=1)
    assert (open_items("acme"), open_items("other")) == (6, 0)
    build.answers(first, {"ada": ["cat", "cat", None], "ben": ["cat", None, None]})
    assert open_items("acme") == 5
    build.plan_adjudication("disputed", parent="planned", image_ids=images[:1])
    assert open_items("acme") == 5
    campaigns.close(workspace, "planned")
    assert open_items("acme") == 2


def test_closing_twice_keeps_the_first_moment(workspace: Workspace, images: list[ImageId]) -> None:
    create(workspace)
    campaigns.close(workspace, "one")
    with workspace.database.read() as session:
        closed_at = campaigns.get(session, "one").closed_at
    campaigns.close(workspace, "one")
    with workspace.database.read() as session:
        assert campaigns.get(session, "one").closed_at == closed_at is not None


@pytest.fixture
def mixed(build: Builder) -> list[ImageId]:
    """A batch of twelve images: every other one random, the third and the last but one gold; vendors a and b."""
    build.taxonomy()
    for name in "ab":
        vendors.add(build.workspace, name, url="http://127.0.0.1:1", token="env:TOKEN")
    images = build.images(12)
    arms = ["random", "diverse"] * 6
    arms[2] = arms[10] = "gold"
    build.batch(images, arms=arms)
    return images


def share(workspace: Workspace, *, expression: str | None = None, **shares: str) -> dict[str, int]:
    return campaigns.create_shared(
        workspace,
        "one",
        batch_id=1,
        taxonomy_name="animals",
        vendor_shares={name: Fraction(each) for name, each in shares.items()},
        expression=expression,
    )


def test_vendors_share_a_batch_with_the_same_mix_and_gold_for_each(workspace: Workspace, mixed: list[ImageId]) -> None:
    made = share(workspace, a="0.6", b="0.4")
    assert list(made) == ["one-a", "one-b"]
    assert share(workspace, a="0.6", b="0.4") == made
    gold = {mixed[2], mixed[10]}
    a, b = ([task.image_id for task in tasks(workspace, name)] for name in made)
    assert (len(a), len(b)) == (8, 6)
    assert set(a) & set(b) == gold
    assert set(a) | set(b) == set(mixed)
    for images in (a, b):
        others = [image for image in images if image not in gold]
        assert others == sorted(others)  # the batch's order
        is_random = Counter(mixed.index(ImageId(image)) % 2 == 0 for image in others)
        assert abs(is_random[True] - len(others) * 4 / 10) <= 1
    with workspace.database.read() as session:
        assert campaigns.shared_items(session, made["one-a"]) == {}
    with pytest.raises(ConflictError, match="one-a"):
        share(workspace, a="0.5", b="0.5")
    with pytest.raises(InvalidInputError, match="'b' would get none of 10"):
        share(workspace, a="0.999", b="0.001")


def test_one_share_is_the_whole_batch_under_its_own_name(workspace: Workspace, mixed: list[ImageId]) -> None:
    assert list(share(workspace, a="1")) == ["one"]
    assert {task.image_id for task in tasks(workspace, "one")} == set(mixed)


def test_a_condition_restricts_a_campaign_and_its_gold_and_overlap_is_counted(
    workspace: Workspace, mixed: list[ImageId]
) -> None:
    share(workspace, expression=f"id <= {mixed[5]}", a="1")
    assert sorted(task.image_id for task in tasks(workspace, "one")) == mixed[:6]
    second = campaigns.create(
        workspace, "two", batch_id=1, taxonomy_name="animals", vendor_name="b", expression=f"id >= {mixed[4]}"
    )
    with workspace.database.read() as session:
        assert campaigns.shared_items(session, second) == {"one": 2}
    with pytest.raises(InvalidInputError, match="at least one image"):
        campaigns.create(
            workspace, "none", batch_id=1, taxonomy_name="animals", vendor_name="b", expression="width > 100"
        )
    with pytest.raises(InvalidInputError, match="condition"):
        campaigns.create(workspace, "bad", batch_id=1, taxonomy_name="animals", vendor_name="b", expression="width =")


def test_a_deadline_can_be_moved_and_is_not_forgotten(workspace: Workspace, images: list[ImageId]) -> None:
    def deadline(day: date | None) -> date | None:
        campaigns.create(workspace, "one", batch_id=1, taxonomy_name="animals", vendor_name="acme", deadline=day)
        with workspace.database.read() as session:
            return campaigns.status(session, "one").deadline

    assert deadline(date(2026, 12, 24)) == date(2026, 12, 24)
    assert deadline(None) == date(2026, 12, 24)
    assert deadline(date(2026, 12, 31)) == date(2026, 12, 31)


def test_a_pause_ends_and_an_end_is_no_pause(workspace: Workspace, images: list[ImageId]) -> None:
    def state() -> str:
        with workspace.database.read() as session:
            return campaigns.status(session, "one").state

    create(workspace)
    assert state() == "planned"
    campaigns.set_paused(workspace, "one", paused=True)
    assert state() == "paused"
    campaigns.set_paused(workspace, "one", paused=False)
    assert state() == "planned"
    campaigns.close(workspace, "one")
    assert state() == "closed"
    with pytest.raises(ConflictError, match="is closed"):
        campaigns.set_paused(workspace, "one", paused=True)


def test_status_says_what_it_costs_and_when_it_ends(
    workspace: Workspace, build: Builder, images: list[ImageId]
) -> None:
    """Three items want two answers each: five come, one of them a skip, over four hours."""
    campaign_id = build.campaign(1, 1)
    build.answers(campaign_id, {"ada": ["cat", "cat", "cat"], "ben": ["cat", "dog", None]})
    first = datetime.fromisoformat("2026-12-01T08:00:00+00:00")
    with workspace.database.write() as session:
        vendor = session.scalars(select(Vendor)).one()
        vendor.prices, vendor.capacity = {"classification": 0.05}, 10
        for number, annotation in enumerate(session.scalars(select(Annotation).order_by(Annotation.id))):
            annotation.ls_updated_at = (first + number * timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            annotation.skipped = number == 4
        rows = session.scalars(select(Task).order_by(Task.rank)).all()
        outcomes = ["adjudication", "accepted", "adjudication"]  # the last one replaces the first
        session.add_all(
            Verdict(task_id=task.id, outcome=outcome, evidence={})
            for task, outcome in zip([rows[0], rows[0], rows[1]], outcomes, strict=True)
        )
        campaigns.get(session, "campaign-1").deadline = date(2026, 11, 28)
    with workspace.database.read() as session:
        status = campaigns.status(session, "campaign-1", at=first + timedelta(hours=16))
    assert (status.in_work, status.answered, status.escalated, status.accepted) == (1, 2, 1, 1)
    assert (status.answers, status.skips, status.rate_per_hour) == (5, 1, 1.25)
    assert (status.cost, status.forecast) == (pytest.approx(0.25), pytest.approx(0.30))
    assert status.eta == first + timedelta(hours=16.8)
    assert status.outlook == "late by 4 days; at this rate done on 2026-12-02, 4 days after the deadline"
    assert (status.in_flight, status.capacity, status.state) == (1, 10, "open")


def test_only_the_last_day_of_activity_makes_the_rate(
    workspace: Workspace, build: Builder, images: list[ImageId]
) -> None:
    campaign_id = build.campaign(1, 1)
    build.answers(campaign_id, {"ada": ["cat", "cat", "cat"]})
    moments = ["2026-12-01T08:00:00.000000Z", "2026-12-04T08:00:00.000000Z", "2026-12-04T20:00:00Z"]
    with workspace.database.write() as session:
        for annotation, moment in zip(session.scalars(select(Annotation)), moments, strict=True):
            annotation.ls_updated_at = moment
    with workspace.database.read() as session:
        status = campaigns.status(session, "campaign-1")
    assert status.rate_per_hour == 2 / 24
    assert (status.price, status.cost, status.forecast) == (None, None, None)


def test_the_first_task_of_a_campaign_is_found_without_sorting_all(workspace: Workspace) -> None:
    first = "SELECT uid FROM tasks WHERE campaign_id = 1 ORDER BY rank LIMIT 1"
    with workspace.database.read() as session:
        [step] = session.execute(text(f"EXPLAIN QUERY PLAN {first}")).all()
    assert "ix_tasks_campaign_id_rank" in step.detail


def test_only_questions_cannot_be_asked_as_often_as_needed(workspace: Workspace, images: list[ImageId]) -> None:
    adaptive = {"target_error": 0.06, "most_answers": 3, "adjudication_cost": None, "audited": 0.02}
    terms = {"batch_id": 1, "vendor_name": "acme", "adaptive": adaptive}
    caption = AttributeDefinition("caption", "text", about="image")
    create_taxonomy(workspace, "drawn", Definition("boxes", (ClassDefinition("car"),)))
    create_taxonomy(workspace, "asked", Definition("questions", attributes=(caption,)))
    campaigns.create(workspace, "boxes", taxonomy_name="drawn", **terms)
    with workspace.database.read() as session:
        assert campaigns.status(session, "boxes").adaptive == adaptive
    with pytest.raises(InvalidInputError, match="'asked' asks questions alone, of whose answers nothing is decided"):
        campaigns.create(workspace, "questions", taxonomy_name="asked", **terms)
