"""What `winnow serve` does in the background: pulls, and tops up whoever has room again."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from api import pulling, pushing
from api.demo.label_studio_server import LabelStudioServer
from labeling import campaigns, cancel, pull
from labeling.push import Manner
from store.schema import Campaign, Task, Verdict
from tests.conftest import Builder
from tests.labeling.conftest import Catalog, Site, administrator
from tests.labeling.team import ITEMS, Team, adaptive

pytestmark = pytest.mark.label_studio

_PATIENCE_S = 60
MANNER = Manner("http://127.0.0.1:1", webhook=False)


def wait_for(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def catalog(build: Builder, label_studio: LabelStudioServer) -> Catalog:
    return Catalog(build, label_studio)


@pytest.fixture
def site(label_studio: LabelStudioServer) -> Iterator[Site]:
    with administrator(label_studio) as http:
        yield Site(http)


def test_answers_make_room_for_what_waits(catalog: Catalog, site: Site) -> None:
    catalog.campaign(5, overlap=1)
    catalog.set_capacity(2)
    assert pushing.start(catalog.workspace, catalog.name, MANNER).waiting == 3
    with pulling.puller(catalog.workspace, every_s=0.2):
        for answered in range(5):
            wait_for(lambda answered=answered: len(site.tasks(catalog.name)) >= min(5, answered + 2))  # type: ignore[misc]
            site.answer(site.tasks(catalog.name)[answered]["id"], "cat")
        wait_for(lambda: catalog.status().answered == 5)
    assert len(site.tasks(catalog.name)) == 5


def test_a_vendor_is_topped_up_a_tenth_at_a_time(catalog: Catalog, site: Site) -> None:
    catalog.campaign(23, overlap=1)
    catalog.set_capacity(20)
    pushing.start(catalog.workspace, catalog.name, MANNER)
    tasks = [task["id"] for task in site.tasks(catalog.name)]

    def answered(task: int) -> int:
        site.answer(task, "cat")
        pull.pull(catalog.workspace, catalog.name)
        return pushing.top_up(catalog.workspace, catalog.name)

    assert [answered(task) for task in tasks[:3]] == [0, 2, 1]  # the last one is all that waits


def test_only_open_campaigns_that_were_pushed_are_topped_up(catalog: Catalog, site: Site) -> None:
    catalog.campaign(3)
    assert pushing.top_up(catalog.workspace, catalog.name) == 0
    catalog.set_capacity(1)
    pushing.start(catalog.workspace, catalog.name, MANNER)
    catalog.set_capacity(3)
    campaigns.set_paused(catalog.workspace, catalog.name, paused=True)
    assert pushing.top_up(catalog.workspace, catalog.name) == 0
    campaigns.set_paused(catalog.workspace, catalog.name, paused=False)
    assert pushing.top_up(catalog.workspace, catalog.name) == 2
    assert pushing.top_up(catalog.workspace, catalog.name) == 0


def test_an_adaptive_campaign_goes_on_by_itself(catalog: Catalog, site: Site, label_studio: LabelStudioServer) -> None:
    project = adaptive(catalog, target_error=0.05)
    with ExitStack() as stack:
        team = Team(label_studio, ["ann-at-work", "bob-at-work"], stack)
        ann, bob = team.sessions
        team.work(ann, project, {}, most=3)
        team.work(bob, project, {})
        pull.pull(catalog.workspace, catalog.name)  # whoever did so was killed before the review
        with pulling.puller(catalog.workspace, every_s=0):
            wait_for(lambda: {task["overlap"] for task in site.tasks(catalog.name)} == {2})
        team.work(ann, project, {})
        team.work(bob, project, {})
        with pulling.puller(catalog.workspace, every_s=0.2):
            wait_for(lambda: catalog.status().accepted == ITEMS)


def test_what_commands_pulled_is_reviewed_too(catalog: Catalog, site: Site) -> None:
    images = catalog.campaign(3, overlap=1)
    pushing.start(catalog.workspace, catalog.name, MANNER)
    first, second, _ = (task["id"] for task in site.tasks(catalog.name))

    def decided() -> int:
        with catalog.workspace.database.read() as session:
            verdicts = select(func.count(Verdict.id)).where(Verdict.outcome != "another-opinion")
            return session.scalar(verdicts) or 0

    def seen() -> int:
        with catalog.workspace.database.read() as session:
            return session.scalar(select(func.count(Verdict.id))) or 0

    with pulling.puller(catalog.workspace, every_s=0) as hint:
        wait_for(lambda: seen() == len(images))  # when it starts it reviews what is there
        site.answer(first, "cat")
        pull.pull(catalog.workspace, catalog.name)
        hint(0)  # of no campaign, so it pulls nothing itself
        wait_for(lambda: decided() == 1)
        site.answer(second, "cat")
        cancel.cancel(catalog.workspace, catalog.name)
        hint(0)
        wait_for(lambda: decided() == 2)


def test_the_puller_outlives_a_catalog_that_cannot_be_read(
    catalog: Catalog, site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    catalog.campaign(1)
    pushing.start(catalog.workspace, catalog.name, MANNER)
    site.answer(site.tasks(catalog.name)[0]["id"], "cat")
    find_open, failures = pulling._open, iter([OperationalError("SELECT", {}, Exception("disk I/O error"))])

    def fail_once(session: Session) -> dict[int, str]:
        for failure in failures:
            raise failure
        return find_open(session)

    monkeypatch.setattr(pulling, "_RETRY_S", 0.1)
    with pulling.puller(catalog.workspace, every_s=3600) as hint:
        monkeypatch.setattr(pulling, "_open", fail_once)
        with catalog.workspace.database.read() as session:
            hint(campaigns.get(session, catalog.name).id)
        wait_for(lambda: catalog.status().answers == 1)
    assert "disk I/O error" in caplog.text


def test_answers_to_a_rework_are_reviewed_there_and_an_experts_where_they_settle(build: Builder) -> None:
    workspace = build.workspace
    taxonomy, images = build.taxonomy(), build.images(4)
    parent = build.campaign(build.batch(images), taxonomy)
    rework, adjudication = (build.campaign(build.batch(images), taxonomy) for _ in range(2))
    with workspace.database.write() as session:
        for campaign_id, purpose in ((rework, "labelling"), (adjudication, "adjudication")):
            campaign = session.get_one(Campaign, campaign_id)
            campaign.parent_id, campaign.purpose = parent, purpose

    def accepted() -> set[int]:
        of_verdicts = select(Task.campaign_id).join(Verdict, Verdict.task_id == Task.id)
        with workspace.database.read() as session:
            return set(session.scalars(of_verdicts.where(Verdict.outcome == "accepted")))

    with pulling.puller(workspace, every_s=0.2):
        build.answers(rework, {"ann": ["cat"] * 4, "bob": ["cat"] * 4})
        wait_for(lambda: accepted() == {rework})
        build.answers(adjudication, {"eve": ["cat"] * 4})
        wait_for(lambda: accepted() == {rework, parent})
