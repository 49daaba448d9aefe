import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import func, select

from api.demo import label_studio_server
from api.demo.label_studio_server import LabelStudioServer
from labeling import campaigns, push, reconcile, vendors
from store.errors import ConflictError, InvalidInputError, NotFoundError, RemoteError
from store.schema import ImageId, Prediction, PredictionRun, Task
from tests.conftest import Builder
from tests.labeling.conftest import Catalog, Site, administrator

pytestmark = pytest.mark.label_studio


def image_url(image_id: ImageId) -> str:
    return f"http://127.0.0.1:1/images/{image_id:08x}"


def planned_uids(catalog: Catalog) -> list[str]:
    with catalog.workspace.database.read() as session:
        return list(session.scalars(select(Task.uid).order_by(Task.rank)))


def assert_each_once(catalog: Catalog, site: Site) -> None:
    """Every item has one Label Studio task in one project, and the catalog knows which."""
    assert {task["id"]: task["data"]["uid"] for task in site.tasks(catalog.name)} == recorded(catalog)
    assert sorted(recorded(catalog).values()) == sorted(planned_uids(catalog))
    assert catalog.status().pushed == catalog.status().items


@pytest.fixture
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """No request is still on its way: nothing is to be waited for."""
    monkeypatch.setattr(push, "_LATE_S", 0.0)


def recorded(catalog: Catalog) -> dict[int, str]:
    with catalog.workspace.database.read() as session:
        return dict(session.execute(select(Task.ls_task_id, Task.uid).where(Task.state == "pushed")).all())


def test_a_push_makes_a_project_with_every_item_once(catalog: Catalog, site: Site) -> None:
    images = catalog.campaign(5)
    assert push.push(catalog.workspace, catalog.name, image_url=image_url).created == 5
    assert_each_once(catalog, site)
    [project] = site.projects(catalog.name)
    assert project["maximum_annotations"] == 2
    assert '<Choice value="cat" hotkey="1"' in project["label_config"]
    assert [task["data"]["image"] for task in site.tasks(catalog.name)] == [image_url(image) for image in images]
    assert all(set(task["data"]) == {"uid", "image"} for task in site.tasks(catalog.name))


def test_a_second_push_makes_nothing(catalog: Catalog, site: Site) -> None:
    catalog.campaign(5)
    push.push(catalog.workspace, catalog.name, image_url=image_url)
    again = push.push(catalog.workspace, catalog.name, image_url=image_url)
    assert (again.created, again.found, again.removed, again.tasks) == (0, 0, 0, 5)
    assert_each_once(catalog, site)


def test_many_tasks_go_in_several_requests(catalog: Catalog, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push, "_TASKS_PER_REQUEST", 3)
    catalog.campaign(7)
    told: list[tuple[int, int]] = []
    push.push(
        catalog.workspace, catalog.name, image_url=image_url, on_progress=lambda done, total: told.append((done, total))
    )
    assert told == [(3, 7), (6, 7), (7, 7)]
    assert_each_once(catalog, site)


def test_predictions_of_the_newest_run_are_shown(catalog: Catalog, site: Site) -> None:
    images = catalog.campaign(3)
    with catalog.workspace.database.write() as session:
        for number, values in enumerate(([0.9, 0.1], [0.25, 0.75])):
            digest = str(number) * 64
            run = PredictionRun(model="probe", digest=digest, classes=["cat", "dog"], version_id=None, report={})
            session.add(run)
            session.flush()
            raw = np.array(values, dtype="<f4").tobytes()
            for image_id in images[:2]:
                session.add(Prediction(run_id=run.id, image_id=image_id, probabilities=raw))
    push.push(catalog.workspace, catalog.name, image_url=image_url, predictions_model="probe")
    shown = [task["predictions"] for task in site.tasks(catalog.name)]
    assert [[each["result"][0]["value"]["choices"] for each in predictions] for predictions in shown] == [
        [["dog"]],
        [["dog"]],
        [],
    ]
    assert (shown[0][0]["score"], shown[0][0]["model_version"]) == (0.75, "probe 11111111")
    [project] = site.projects(catalog.name)
    assert project["show_collab_predictions"]


def test_predictions_that_do_not_fit_are_refused_before_anything_is_made(catalog: Catalog, site: Site) -> None:
    catalog.campaign(1)
    with catalog.workspace.database.write() as session:
        session.add(PredictionRun(model="other", digest="0" * 64, classes=["bird"], version_id=None, report={}))
    with pytest.raises(InvalidInputError, match="1 classes"):
        push.push(catalog.workspace, catalog.name, image_url=image_url, predictions_model="other")
    with pytest.raises(NotFoundError, match="nothing"):
        push.push(catalog.workspace, catalog.name, image_url=image_url, predictions_model="nothing")
    assert site.projects(catalog.name) == []


@pytest.mark.parametrize(
    "where", ["push.after_project", "push.after_intent", "push.after_request", "push.after_commit"]
)
def test_a_killed_push_is_continued_without_copies(catalog: Catalog, site: Site, where: str, impatience: None) -> None:
    catalog.campaign(5)
    assert catalog.push(fail_point=where)[0] == -signal.SIGKILL
    push.push(catalog.workspace, catalog.name, image_url=image_url)
    assert_each_once(catalog, site)


def test_two_pushes_at_once_make_one_of_everything(catalog: Catalog, site: Site) -> None:
    catalog.campaign(20)
    arguments = ("push", catalog.name, "--image-base-url", "http://127.0.0.1:1")
    both = [catalog.command(*arguments), catalog.command(*arguments)]
    outputs = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert_each_once(catalog, site)


def test_a_request_that_arrives_after_its_sender_died_is_not_sent_again(
    catalog: Catalog, site: Site, label_studio: LabelStudioServer
) -> None:
    catalog.campaign(500)
    arguments = ("push", catalog.name, "--image-base-url", "http://127.0.0.1:1")
    sender = catalog.command(*arguments)
    wait_until_intended(catalog)
    os.killpg(label_studio.server.process.pid, signal.SIGSTOP)
    try:
        wait_until_delivered(label_studio.server.port, requests=1)
        sender.kill()
        sender.communicate()
        successor = catalog.command(*arguments)  # asks what is there while the tasks still wait to be read
        wait_until_delivered(label_studio.server.port, requests=2)
    finally:
        os.killpg(label_studio.server.process.pid, signal.SIGCONT)
    _, stderr = successor.communicate(timeout=120)
    assert successor.returncode == 0, stderr
    assert_each_once(catalog, site)


def test_copies_are_removed_unless_someone_answered_them(catalog: Catalog, site: Site) -> None:
    catalog.campaign(3)
    push.push(catalog.workspace, catalog.name, image_url=image_url)
    [project] = site.projects(catalog.name)
    ids = [task["id"] for task in site.tasks(catalog.name)]
    site.call(
        "POST", f"/api/projects/{project['id']}/import", json=[{"data": t["data"]} for t in site.tasks(catalog.name)]
    )
    copies = [task["id"] for task in site.tasks(catalog.name)][3:]
    for answered in (copies[1], ids[2], copies[2]):
        site.answer(answered, "cat")
    assert reconcile.find(catalog.workspace, catalog.name).copies == 3
    assert push.push(catalog.workspace, catalog.name, image_url=image_url).removed == 2
    assert [task["id"] for task in site.tasks(catalog.name)] == [ids[0], ids[2], copies[1], copies[2]]
    assert sorted(recorded(catalog)) == [ids[0], ids[2], copies[1]]
    assert reconcile.find(catalog.workspace, catalog.name).copies == 1
    assert push.push(catalog.workspace, catalog.name, image_url=image_url).removed == 0


def test_tasks_deleted_by_hand_are_drift_and_stay_deleted(catalog: Catalog, site: Site) -> None:
    images = catalog.campaign(3)
    push.push(catalog.workspace, catalog.name, image_url=image_url)
    site.call("DELETE", f"/api/tasks/{site.tasks(catalog.name)[1]['id']}/")
    assert reconcile.find(catalog.workspace, catalog.name).missing == [images[1]]
    assert push.push(catalog.workspace, catalog.name, image_url=image_url).created == 0
    code, stdout, _ = catalog.run("status", catalog.name)
    assert code == 0
    assert "1 tasks missing" in stdout


def test_a_project_deleted_by_hand_is_a_sentence(catalog: Catalog, site: Site) -> None:
    catalog.campaign(1)
    push.push(catalog.workspace, catalog.name, image_url=image_url)
    [project] = site.projects(catalog.name)
    site.call("DELETE", f"/api/projects/{project['id']}/")
    with pytest.raises(RemoteError, match="no project"):
        push.push(catalog.workspace, catalog.name, image_url=image_url)


def test_a_closed_campaign_is_not_pushed(catalog: Catalog, site: Site) -> None:
    catalog.campaign(1)
    campaigns.close(catalog.workspace, catalog.name)
    with pytest.raises(ConflictError, match="closed"):
        push.push(catalog.workspace, catalog.name, image_url=image_url)
    assert site.projects(catalog.name) == []


@pytest.mark.parametrize("trouble", ["a wrong token", "no server"])
def test_trouble_is_one_sentence_and_the_same_push_continues(
    catalog: Catalog, site: Site, label_studio: LabelStudioServer, trouble: str, tmp_path: Path
) -> None:
    catalog.campaign(2)
    wrong = "0123456789" * 4
    (tmp_path / "wrong").write_text(wrong)
    if trouble == "a wrong token":
        vendors.add(catalog.workspace, "acme", url=label_studio.url, token=f"file:{tmp_path / 'wrong'}")
    else:
        vendors.add(catalog.workspace, "acme", url="http://127.0.0.1:1", token=f"file:{label_studio.token_file}")
    code, stdout, stderr = catalog.push()
    assert (code, stdout) == (1, "")
    assert stderr.startswith("winnow: Label Studio at http://127.0.0.1:")
    assert stderr.count("\n") == 1
    assert wrong not in stderr
    vendors.add(catalog.workspace, "acme", url=label_studio.url, token=f"file:{label_studio.token_file}")
    push.push(catalog.workspace, catalog.name, image_url=image_url)
    assert_each_once(catalog, site)


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[LabelStudioServer]:
    """A Label Studio of this test's own, to be killed."""
    server = label_studio_server.start(tmp_path / "server", log=tmp_path / "server.log", port=0)
    yield server
    server.stop()


def test_a_server_that_is_killed_during_a_push_and_comes_back_has_every_item_once(
    build: Builder, mortal: LabelStudioServer, tmp_path: Path, impatience: None
) -> None:
    catalog = Catalog(build, mortal)
    catalog.campaign(150)
    process = catalog.command("push", catalog.name, "--image-base-url", "http://127.0.0.1:1")
    wait_until_intended(catalog)
    os.killpg(mortal.server.process.pid, signal.SIGKILL)
    _, stderr = process.communicate(timeout=120)
    assert (process.returncode, stderr.count("\n")) == (1, 1), stderr
    mortal.server.process.wait()
    port = int(mortal.url.rpartition(":")[2])
    back = label_studio_server.start(tmp_path / "server", log=tmp_path / "server.log", port=port)
    try:
        assert back.url == mortal.url
        push.push(catalog.workspace, catalog.name, image_url=image_url)
        with administrator(back) as http:
            assert_each_once(catalog, Site(http))
    finally:
        back.stop()


def wait_until_intended(catalog: Catalog, *, timeout_s: float = 60) -> None:
    """Return as soon as the catalog says that a request is about to go out."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with catalog.workspace.database.read() as session:
            if session.scalar(select(func.count()).where(Task.state == "intended")):
                return
        time.sleep(0.002)
    pytest.fail("The push never got to sending its tasks.")


def wait_until_delivered(port: int, *, requests: int, timeout_s: float = 60) -> None:
    """Return once so many requests wait, unread, in the sockets of a stopped server."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        unread = [int(row[4].split(":")[1], 16) for row in rows if row[1].endswith(f":{port:04X}")]
        if sum(waiting > 100 for waiting in unread) >= requests:  # bytes; a listening socket counts connections
            return
        time.sleep(0.01)
    pytest.fail(f"{requests} requests were not sent within {timeout_s} s.")
