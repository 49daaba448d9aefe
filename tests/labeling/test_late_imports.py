"""Label Studio Enterprise takes tasks, says only which import that is, and makes them later."""

from collections.abc import Iterator

import pytest

from labeling import label_studio, push
from store.errors import RemoteError
from store.schema import ImageId
from tests.conftest import Builder
from tests.labeling import stand_in
from tests.labeling.conftest import Catalog
from tests.labeling.stand_in import StandIn


@pytest.fixture
def enterprise(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    monkeypatch.setattr(label_studio, "_POLL_S", 0.001)
    monkeypatch.setattr(push, "_TASKS_PER_REQUEST", 3)
    with stand_in.serving(imports_later=True) as server:
        yield server


def image_url(image_id: ImageId) -> str:
    return f"http://127.0.0.1:1/{image_id}"


def assert_each_once(catalog: Catalog, server: StandIn, items: int) -> None:
    assert len(server.uids()) == len(set(server.uids())) == items
    assert catalog.status().pushed == items


def test_every_task_is_made_and_found_once(build: Builder, enterprise: StandIn) -> None:
    catalog = Catalog(build, enterprise)
    catalog.campaign(7)
    pushed = push.push(catalog.workspace, catalog.name, image_url=image_url)
    assert (pushed.created, pushed.tasks) == (7, 7)
    assert_each_once(catalog, enterprise, 7)
    assert push.push(catalog.workspace, catalog.name, image_url=image_url).created == 0
    assert_each_once(catalog, enterprise, 7)


def test_an_import_that_fails_says_so_and_the_same_push_goes_on(
    build: Builder, enterprise: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push, "_LATE_S", 0.0)
    catalog = Catalog(build, enterprise)
    catalog.campaign(7)
    make = enterprise.state._make
    made: list[int] = []

    def refuse_the_second(project: int, tasks: list[object], *, names_tasks: bool) -> stand_in.Document:
        made.append(len(tasks))
        return make(project, [] if len(made) == 2 else tasks, names_tasks=names_tasks)

    monkeypatch.setattr(enterprise.state, "_make", refuse_the_second)
    with pytest.raises(RemoteError, match=r"failed in its import 2"):
        push.push(catalog.workspace, catalog.name, image_url=image_url)
    assert catalog.status().pushed == 0
    assert push.push(catalog.workspace, catalog.name, image_url=image_url).tasks == 7
    assert_each_once(catalog, enterprise, 7)


def test_an_import_that_is_done_and_lacks_tasks_says_so(
    build: Builder, enterprise: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push, "_LATE_S", 0.0)
    catalog = Catalog(build, enterprise)
    catalog.campaign(3)
    make = enterprise.state._make
    with monkeypatch.context() as lossy:
        lossy.setattr(
            enterprise.state,
            "_make",
            lambda project, tasks, *, names_tasks: make(project, tasks[:2], names_tasks=names_tasks),
        )
        with pytest.raises(RemoteError, match="1 tasks are not there"):
            push.push(catalog.workspace, catalog.name, image_url=image_url)
    push.push(catalog.workspace, catalog.name, image_url=image_url)
    assert_each_once(catalog, enterprise, 3)


def test_an_import_that_takes_too_long_is_left_to_the_next_push(
    build: Builder, enterprise: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = Catalog(build, enterprise)
    catalog.campaign(2)
    monkeypatch.setattr(label_studio, "IMPORT_TIMEOUT_S", 5)
    monkeypatch.setattr(label_studio, "_POLL_S", 6)
    with pytest.raises(RemoteError, match=r"has not finished its import 1 in 5 s\. Run the same again"):
        push.push(catalog.workspace, catalog.name, image_url=image_url)
    assert enterprise.state.get_import(1, 1, asked={}, body=None)[1]["status"] == "completed"
    assert push.push(catalog.workspace, catalog.name, image_url=image_url).found == 2
    assert_each_once(catalog, enterprise, 2)
