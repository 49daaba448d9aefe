"""Ending a campaign before its time at the real Label Studio: what is unanswered goes, every answer stays."""

import signal

import numpy as np
import pytest

from labeling import campaigns, cancel, label_studio, pull, push, vendors
from labeling.cancel import Cancelled
from sampling import recipes, state
from store.errors import ConflictError
from store.schema import ImageId
from tests.labeling.conftest import Catalog, Site

pytestmark = pytest.mark.label_studio


def image_url(image_id: ImageId) -> str:
    return f"http://127.0.0.1:1/images/{image_id:08x}"


@pytest.fixture
def under_way(catalog: Catalog, site: Site, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Label Studio's ids of three tasks of five: one answered, one skipped, one neither; a stranger is with them."""
    monkeypatch.setattr(push, "_LATE_S", 0.0)
    catalog.campaign(5)
    catalog.set_capacity(3)
    push.push(catalog.workspace, catalog.name, image_url=image_url)
    tasks = [task["id"] for task in site.tasks(catalog.name)]
    [project] = site.projects(catalog.name)
    site.call("POST", f"/api/projects/{project['id']}/import", json=[{"data": {"image": "somebody else's"}}])
    site.answer(tasks[0], "cat")
    site.answer(tasks[1], "cat", was_cancelled=True)
    return tasks


def assert_cancelled(catalog: Catalog, site: Site, tasks: list[int]) -> None:
    there = site.tasks(catalog.name)
    assert [task["id"] for task in there if "uid" in task["data"]] == tasks[:2]
    assert len(there) == 3
    status = catalog.status()
    assert (status.state, status.pushed, status.withdrawn, status.planned) == ("cancelled", 2, 3, 0)
    assert (status.answers, status.skips, status.outlook) == (2, 1, "done")
    assert status.in_flight == 0


def test_the_unanswered_goes_and_answers_stay(catalog: Catalog, site: Site, under_way: list[int]) -> None:
    assert cancel.cancel(catalog.workspace, catalog.name) == Cancelled(withdrawn=3, kept=2)
    assert_cancelled(catalog, site, under_way)
    assert cancel.cancel(catalog.workspace, catalog.name) == Cancelled(withdrawn=3, kept=2)
    with pytest.raises(ConflictError, match="is cancelled"):
        push.push(catalog.workspace, catalog.name, image_url=image_url)
    site.answer(under_way[0], "dog")
    assert pull.pull(catalog.workspace, catalog.name).new == 1  # late answers may still be pulled


@pytest.mark.parametrize(
    "where",
    [
        "cancel.noted",
        "cancel.removed",
        *(pytest.param(f"cancel.{each}", marks=pytest.mark.slow) for each in ("pulled", "withdrawn")),
    ],
)
def test_a_killed_cancellation_is_finished_by_the_same(
    catalog: Catalog, site: Site, under_way: list[int], where: str
) -> None:
    assert catalog.run("cancel", catalog.name, fail_point=where)[0] == -signal.SIGKILL
    assert catalog.status().state == "cancelling"
    with pytest.raises(ConflictError, match="is cancelling"):
        push.push(catalog.workspace, catalog.name, image_url=image_url)
    code, stdout, stderr = catalog.run("cancel", catalog.name)
    assert (code, stderr) == (0, "")
    assert stdout == f"{catalog.name} is cancelled: 3 unanswered tasks withdrawn, 2 with answers kept\n"
    assert_cancelled(catalog, site, under_way)


def test_the_server_itself_looks_who_answered_when_it_removes(
    catalog: Catalog, site: Site, under_way: list[int]
) -> None:
    """An answer that comes after anyone asked which tasks are unanswered."""
    with catalog.workspace.database.read() as session:
        terms = campaigns.terms(session, catalog.name)
    assert terms.ls_project_id is not None
    site.answer(under_way[2], "dog")
    with label_studio.connect(terms.ls_url, vendors.token(terms.ls_token_reference)) as server:
        server.delete_unanswered(terms.ls_project_id, under_way)
        left = [task.ls_task_id for page in server.tasks(terms.ls_project_id) for task in page]
        assert left[:3] == under_way


def test_a_campaign_that_was_never_pushed_needs_no_server(catalog: Catalog) -> None:
    catalog.campaign(2)
    vendors.add(catalog.workspace, "acme", url="http://127.0.0.1:1", token="env:NOTHING")
    assert cancel.cancel(catalog.workspace, catalog.name) == Cancelled(withdrawn=2, kept=0)
    assert catalog.status().state == "cancelled"


def test_a_closed_campaign_is_not_cancelled(catalog: Catalog) -> None:
    catalog.campaign(1)
    campaigns.close(catalog.workspace, catalog.name)
    with pytest.raises(ConflictError, match="nothing to cancel"):
        cancel.cancel(catalog.workspace, catalog.name)


def test_what_was_withdrawn_can_be_chosen_again(catalog: Catalog) -> None:
    images = catalog.campaign(6)
    catalog.build.vectors(images, np.eye(6))

    def eligible() -> frozenset[int]:
        with catalog.workspace.database.read() as session:
            return state.look(session, recipes.parse({"budget": 6})).roles.eligible

    assert eligible() == frozenset()
    cancel.cancel(catalog.workspace, catalog.name)
    assert eligible() == frozenset(images)
