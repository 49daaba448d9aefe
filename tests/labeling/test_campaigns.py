import pytest
from sqlalchemy import select

from labeling import campaigns, vendors
from store.errors import ConflictError, InvalidInputError, NotFoundError
from store.schema import Campaign, ImageId, Task
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


def test_an_adjudication_takes_disputed_items_of_its_parent(workspace: Workspace, images: list[ImageId]) -> None:
    create(workspace)
    campaigns.create_adjudication(workspace, "one: disputed", parent="one", image_ids=[images[1], images[2]])
    assert [task.image_id for task in tasks(workspace, "one: disputed")] == [images[2], images[1]]
    with workspace.database.read() as session:
        campaign = campaigns.get(session, "one: disputed")
        assert (campaign.purpose, campaign.overlap) == ("adjudication", 1)
        assert campaign.parent_id == campaigns.get(session, "one").id
    with pytest.raises(InvalidInputError, match="1 of 2"):
        campaigns.create_adjudication(workspace, "x", parent="one", image_ids=[images[1], images[3]])


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
    campaigns.create_adjudication(workspace, "disputed", parent="planned", image_ids=images[:1])
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
