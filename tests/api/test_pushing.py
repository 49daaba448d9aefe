"""What is remembered of a push, so that `winnow serve` goes on with it."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, timedelta
from typing import Any

import pytest

from api import image_urls, pushing
from labeling import campaigns, cancel, push, vendors
from labeling.label_studio import LabelStudio
from labeling.push import Manner
from store.errors import InvalidInputError, NotFoundError, RemoteError
from store.schema import now
from tests.conftest import Builder
from tests.labeling import stand_in
from tests.labeling.conftest import Catalog
from tests.labeling.stand_in import StandIn

MANNER = Manner("http://127.0.0.1:1", webhook=False)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    monkeypatch.setattr(push, "_LATE_S", 0.0)
    with stand_in.serving() as running:
        yield running


def test_what_a_late_request_made_twice_is_removed_by_a_top_up(
    build: Builder, server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = Catalog(build, server)
    catalog.campaign(3)
    held: list[Any] = []

    def hold(self: LabelStudio, project: int, tasks: Any) -> list[int]:
        held.append(tasks)
        raise RemoteError("It did not answer in time.")

    with monkeypatch.context() as slow:
        slow.setattr(LabelStudio, "import_tasks", hold)
        with pytest.raises(RemoteError, match="in time"):
            pushing.start(catalog.workspace, catalog.name, MANNER)
    assert pushing.start(catalog.workspace, catalog.name, MANNER).created == 3
    for late in (False, True):
        if late:
            server.state.import_tasks(1, asked={}, body=held[0])
        pushing.top_up(catalog.workspace, catalog.name)
        assert len(server.uids()) == len(set(server.uids())) == 3
    assert not is_sure(catalog)  # another may be as late
    with catalog.workspace.database.write() as session:
        campaigns.get(session, catalog.name).unsure_until = now() - timedelta(seconds=1)
    pushing.top_up(catalog.workspace, catalog.name)
    assert is_sure(catalog)


def is_sure(catalog: Catalog) -> bool:
    with catalog.workspace.database.read() as session:
        return campaigns.get(session, catalog.name).unsure_until is None


def test_a_first_push_that_died_is_gone_on_with(
    build: Builder, server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = Catalog(build, server)
    catalog.campaign(3)

    def die(self: LabelStudio, project: int, tasks: Any) -> list[int]:
        raise RemoteError("The line was cut.")

    with monkeypatch.context() as cut:
        cut.setattr(LabelStudio, "import_tasks", die)
        with pytest.raises(RemoteError, match="cut"):
            pushing.start(catalog.workspace, catalog.name, MANNER)
    assert pushing.top_up(catalog.workspace, catalog.name) == 3


def test_a_manner_that_was_refused_is_not_remembered(build: Builder, server: StandIn) -> None:
    catalog = Catalog(build, server)
    catalog.campaign(1)
    pushing.start(catalog.workspace, catalog.name, MANNER)
    with pytest.raises(NotFoundError):
        pushing.start(catalog.workspace, catalog.name, replace(MANNER, predictions="no such model"))
    with catalog.workspace.database.read() as session:
        assert pushing.manner(session, catalog.name) == MANNER


def test_only_one_address_is_told_of_a_campaign_and_none_once_it_ends(build: Builder, server: StandIn) -> None:
    catalog = Catalog(build, server)
    catalog.campaign(1)

    def told() -> list[str]:
        return sorted(hook["url"] for hook in server.state.webhooks.values())

    for url in ("http://old/winnow", "http://new/"):
        pushing.start(catalog.workspace, catalog.name, Manner(url))
    theirs = {"url": "http://theirs/v1/hooks/2", "project": 1, "headers": {}}
    server.state.create_webhook(asked={}, body=theirs)
    assert told() == ["http://new/v1/hooks/1", theirs["url"]]
    pushing.start(catalog.workspace, catalog.name, Manner("http://new", webhook=False))
    assert told() == [theirs["url"]]
    pushing.start(catalog.workspace, catalog.name, Manner("http://new"))
    assert catalog.run("close", catalog.name)[0] == 0
    assert told() == [theirs["url"]]


def test_a_cancelled_campaign_tells_nobody(build: Builder, server: StandIn) -> None:
    catalog = Catalog(build, server)
    catalog.campaign(1)
    pushing.start(catalog.workspace, catalog.name, Manner("http://new"))
    cancel.cancel(catalog.workspace, catalog.name)
    assert not server.state.webhooks


def test_a_campaign_closes_without_its_server(build: Builder, server: StandIn) -> None:
    catalog = Catalog(build, server)
    catalog.campaign(1)
    pushing.start(catalog.workspace, catalog.name, Manner("http://new"))
    vendors.add(catalog.workspace, "acme", url="http://127.0.0.1:1", token="env:NOTHING")
    code, stdout, stderr = catalog.run("close", catalog.name)
    assert (code, stdout) == (0, f"{catalog.name} is closed\n")
    assert "was not told" in stderr


@pytest.mark.parametrize(
    ("link_days", "deadline", "lasting"), [(None, None, 30), (90, None, 90), (90, 60, 90), (5, 60, 67), (None, -9, 30)]
)
def test_links_last_as_long_as_was_said_and_past_the_deadline(
    build: Builder, server: StandIn, link_days: int | None, deadline: int | None, lasting: int
) -> None:
    catalog = Catalog(build, server)
    catalog.campaign(1)
    today = now()
    with catalog.workspace.database.write() as session:
        day = None if deadline is None else today.date() + timedelta(days=deadline)
        campaigns.get(session, catalog.name).deadline = day
    with catalog.workspace.database.read() as session:
        manner = pushing.manner(session, catalog.name, image_base_url=MANNER.image_base_url, link_days=link_days)
    pushing.start(catalog.workspace, catalog.name, replace(manner, webhook=False))
    [task] = server.state.tasks.values()
    token, key = task["data"]["image"].rpartition("/")[2], catalog.workspace.key
    image_urls.verify(key, token, now=today.replace(tzinfo=UTC) + timedelta(days=lasting, hours=-1))
    with pytest.raises(InvalidInputError, match="ended at"):
        image_urls.verify(key, token, now=today.replace(tzinfo=UTC) + timedelta(days=lasting, hours=1))
    with catalog.workspace.database.read() as session:
        assert pushing.manner(session, catalog.name).link_days == (link_days or 30)
