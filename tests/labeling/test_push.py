import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from api.demo import label_studio_server, people
from api.demo.label_studio_server import LabelStudioServer
from labeling import campaigns, label_config, pull, push, reconcile, taxonomy, vendors
from store.errors import ConflictError, InvalidInputError, NotFoundError, RemoteError
from store.schema import ImageId, PredictionRun, Task, Taxonomy
from tests.conftest import Builder
from tests.labeling import fault_proxy
from tests.labeling.conftest import Catalog, Site, administrator
from tests.labeling.fault_proxy import Fault

pytestmark = pytest.mark.label_studio

_IMPORT = r"/api/projects/\d+/import"


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
    catalog.predict(images[:2], [0.9, 0.1])
    catalog.predict(images[:2], [0.25, 0.75])
    push.push(catalog.workspace, catalog.name, image_url=image_url, predictions_model="probe")
    assert list(shown(site, catalog).values()) == [["dog"], ["dog"], []]
    [first] = site.tasks(catalog.name)[0]["predictions"]
    assert (first["score"], first["model_version"]) == (0.75, "probe 11111111")
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


def test_an_adopted_taxonomy_is_pushed_under_its_own_names(catalog: Catalog, site: Site) -> None:
    config = (
        '<View><PolygonLabels name="outline" toName="picture"><Label value="car"/></PolygonLabels>'
        '<Image name="picture" value="$photo"/></View>'
    )
    taxonomy.create(catalog.workspace, "traffic", label_config.adopt(config).definition)
    [image] = catalog.campaign(1, taxonomy="traffic")
    with pytest.raises(InvalidInputError, match="not for polygons"):
        push.push(catalog.workspace, catalog.name, image_url=image_url, predictions_model="any")
    push.push(catalog.workspace, catalog.name, image_url=image_url)
    [task] = site.tasks(catalog.name)
    assert task["data"] == {"uid": task["data"]["uid"], "photo": image_url(image)}
    [project] = site.projects(catalog.name)
    assert label_config.adopt(project["label_config"]) == label_config.adopt(config)


def test_a_vendor_gets_by_rank_what_there_is_room_for_and_more_once_that_is_answered(
    catalog: Catalog, site: Site
) -> None:
    catalog.campaign(5, overlap=1)
    catalog.set_capacity(2)
    first = push.push(catalog.workspace, catalog.name, image_url=image_url)
    assert (first.created, first.tasks, first.waiting) == (2, 2, 3)
    assert [task.state for task in catalog.tasks()] == ["pushed"] * 2 + ["planned"] * 3
    again = push.push(catalog.workspace, catalog.name, image_url=image_url)
    assert (again.created, again.waiting) == (0, 3)
    site.answer(site.tasks(catalog.name)[0]["id"], "cat")
    pull.pull(catalog.workspace, catalog.name)
    assert catalog.status().in_flight == 1
    assert push.push(catalog.workspace, catalog.name, image_url=image_url).created == 1
    assert [task.state for task in catalog.tasks()] == ["pushed"] * 3 + ["planned"] * 2
    status = catalog.status()
    assert (status.in_flight, status.capacity, status.waiting, status.planned) == (2, 2, 2, 2)
    catalog.set_capacity(100)
    assert push.push(catalog.workspace, catalog.name, image_url=image_url).created == 2
    assert_each_once(catalog, site)


def test_campaigns_of_a_vendor_share_its_room(catalog: Catalog, site: Site) -> None:
    images = catalog.campaign(3)
    catalog.set_capacity(4)
    other = f"{catalog.name}-other"
    campaigns.create(
        catalog.workspace, other, batch_id=catalog.build.batch(images), taxonomy_name="animals", vendor_name="acme"
    )
    assert push.push(catalog.workspace, catalog.name, image_url=image_url).created == 3
    assert push.push(catalog.workspace, other, image_url=image_url).created == 1
    campaigns.close(catalog.workspace, catalog.name)  # what is closed is waited for no more
    assert push.push(catalog.workspace, other, image_url=image_url).created == 2


@pytest.mark.parametrize("where", ["push.after_intent", "push.after_request", "push.after_commit"])
def test_a_killed_push_fills_a_vendor_no_further(catalog: Catalog, site: Site, where: str, impatience: None) -> None:
    catalog.campaign(5)
    catalog.set_capacity(3)
    assert catalog.push(fail_point=where)[0] == -signal.SIGKILL
    assert push.push(catalog.workspace, catalog.name, image_url=image_url).tasks == 3
    assert len(site.tasks(catalog.name)) == 3


def test_a_paused_campaign_is_left_alone(catalog: Catalog, site: Site) -> None:
    catalog.campaign(3)
    catalog.set_capacity(1)
    push.push(catalog.workspace, catalog.name, image_url=image_url)
    campaigns.set_paused(catalog.workspace, catalog.name, paused=True)
    catalog.set_capacity(3)
    for refuses in (push.push, reconcile.reconcile):
        with pytest.raises(ConflictError, match=r"is paused\. Run: winnow campaign resume"):
            refuses(catalog.workspace, catalog.name, image_url=image_url)
    assert len(site.tasks(catalog.name)) == 1
    campaigns.set_paused(catalog.workspace, catalog.name, paused=False)
    assert push.push(catalog.workspace, catalog.name, image_url=image_url).created == 2


def test_a_pause_stops_a_push_that_runs(catalog: Catalog, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push, "_TASKS_PER_REQUEST", 2)
    catalog.campaign(5)

    def pause(_done: int, _total: int) -> None:
        campaigns.set_paused(catalog.workspace, catalog.name, paused=True)

    pushed = push.push(catalog.workspace, catalog.name, image_url=image_url, on_progress=pause)
    assert (pushed.created, pushed.waiting) == (4, 1)  # one more request was out
    assert len(site.tasks(catalog.name)) == 4


def shown(site: Site, catalog: Catalog) -> dict[str, list[str]]:
    """The classes that people are shown, by uid."""
    return {
        task["data"]["uid"]: [name for each in task["predictions"] for name in each["result"][0]["value"]["choices"]]
        for task in site.tasks(catalog.name)
    }


def test_a_share_of_tasks_drawn_by_the_key_is_blind(catalog: Catalog, site: Site) -> None:
    images = catalog.campaign(60)
    catalog.predict(images[:50], [0.9, 0.1])
    pushed = push.push(catalog.workspace, catalog.name, image_url=image_url, predictions_model="probe", blind_share=0.4)
    tasks = catalog.tasks()
    assert pushed.blind == sum(task.blind for task in tasks)
    assert 5 < pushed.blind < 35  # of 50; outside once in a million workspaces
    assert [task.prediction_run_id for task in tasks] == [1] * 50 + [None] * 10
    assert not any(task.blind for task in tasks[50:])
    assert shown(site, catalog) == {
        task.uid: ["cat"] if task.prediction_run_id and not task.blind else [] for task in tasks
    }


@pytest.mark.parametrize("where", ["push.after_intent", "push.after_request"])
def test_what_a_task_shows_outlives_a_crash_a_newer_run_and_a_deletion(
    catalog: Catalog, site: Site, where: str, impatience: None
) -> None:
    images = catalog.campaign(20)
    catalog.predict(images, [0.9, 0.1])
    options = ("--predictions", "probe", "--blind-share", "0.5", "--no-webhook")
    code, _, _ = catalog.run("push", catalog.name, "--image-base-url", "http://127.0.0.1:1", *options, fail_point=where)
    assert code == -signal.SIGKILL
    before = {task.uid: (task.blind, task.prediction_run_id) for task in catalog.tasks()}
    catalog.predict(images, [0.1, 0.9])
    push.push(catalog.workspace, catalog.name, image_url=image_url, predictions_model="probe")
    assert {task.uid: (task.blind, task.prediction_run_id) for task in catalog.tasks()} == before
    expected = {uid: [] if blind else ["cat"] for uid, (blind, _) in before.items()}
    assert shown(site, catalog) == expected
    for task in site.tasks(catalog.name)[:5]:
        site.call("DELETE", f"/api/tasks/{task['id']}/")
    assert reconcile.reconcile(catalog.workspace, catalog.name, image_url=image_url).recreated == 5
    assert shown(site, catalog) == expected


def test_reconciling_sends_what_waits_in_the_manner_of_the_push(catalog: Catalog, site: Site) -> None:
    images = catalog.campaign(3)
    catalog.predict(images, [0.9, 0.1])
    catalog.set_capacity(1)
    first = ("--image-base-url", "http://127.0.0.1:1", "--predictions", "probe", "--no-webhook")
    assert catalog.run("push", catalog.name, *first)[0] == 0
    catalog.set_capacity(3)
    assert catalog.run("reconcile", catalog.name)[0] == 0
    assert list(shown(site, catalog).values()) == [["cat"]] * 3


@pytest.fixture
def upgraded(label_studio: LabelStudioServer) -> Iterator[str]:
    """The same Label Studio behind an address at which it says that its version is another."""

    class Upgraded(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name: self.headers[name] for name in ("Authorization", "Content-Type") if name in self.headers}
            answer = httpx.request(
                self.command, label_studio.url + self.path, content=body, headers=headers, timeout=60
            )
            content = re.sub(
                rb'("(?:release|version|label-studio-os-version)": *")[^"]+', rb"\g<1>99.0.0", answer.content
            )
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers.get("Content-Type", "text/plain"))
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815

        def log_message(self, *_arguments: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Upgraded) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_nothing_happens_when_the_server_is_of_another_version(
    catalog: Catalog, site: Site, label_studio: LabelStudioServer, upgraded: str
) -> None:
    assert "99.0.0" in httpx.get(f"{upgraded}/api/version").text
    catalog.campaign(3)
    catalog.set_capacity(2)
    push.push(catalog.workspace, catalog.name, image_url=image_url)
    site.answer(site.tasks(catalog.name)[0]["id"], "cat")
    vendors.add(catalog.workspace, "acme", url=upgraded, token=f"file:{label_studio.token_file}", capacity=3)
    assert push.push(catalog.workspace, catalog.name, image_url=image_url).created == 1
    assert pull.pull(catalog.workspace, catalog.name).new == 1
    assert reconcile.find(catalog.workspace, catalog.name) == reconcile.Drift([], 0, 0, restored=False, config=[])
    assert_each_once(catalog, site)


def test_shares_of_blind_tasks_that_are_none_are_refused(catalog: Catalog, site: Site) -> None:
    catalog.campaign(1)
    with pytest.raises(InvalidInputError, match=r"between 0 and 1, not 1\.5"):
        push.push(catalog.workspace, catalog.name, image_url=image_url, predictions_model="probe", blind_share=1.5)
    with pytest.raises(InvalidInputError, match="Without a model's predictions"):
        push.push(catalog.workspace, catalog.name, image_url=image_url, blind_share=0.2)
    assert site.projects(catalog.name) == []


def test_a_push_goes_on_in_the_manner_of_the_last_one(catalog: Catalog, site: Site) -> None:
    images = catalog.campaign(4)
    catalog.predict(images, [0.9, 0.1])
    catalog.set_capacity(1)
    code, _, stderr = catalog.run("push", catalog.name)
    assert (code, "--image-base-url" in stderr) == (2, True)
    first = ("--image-base-url", "http://127.0.0.1:1", "--predictions", "probe", "--no-webhook")
    assert catalog.run("push", catalog.name, *first)[0] == 0
    catalog.set_capacity(2)
    code, stdout, _ = catalog.run("push", catalog.name)
    assert (code, stdout) == (
        0,
        f"{catalog.name}: 1 tasks created; 2 in Label Studio; 2 wait until the vendor has room\n",
    )
    catalog.set_capacity(4)
    assert catalog.run("push", catalog.name, "--predictions", "")[0] == 0
    assert list(shown(site, catalog).values()) == [["cat"], ["cat"], [], []]
    assert [task["data"]["image"][:26] for task in site.tasks(catalog.name)] == ["http://127.0.0.1:1/images/"] * 4


def test_the_guideline_is_an_instruction_too(catalog: Catalog, site: Site) -> None:
    with catalog.workspace.database.write() as session:
        session.scalars(select(Taxonomy)).one().guideline = "Cats & dogs;\n<b>no</b> foxes."
    catalog.campaign(1)
    push.push(catalog.workspace, catalog.name, image_url=image_url)
    project = site.call("GET", f"/api/projects/{site.projects(catalog.name)[0]['id']}/")
    assert project["expert_instruction"] == "Cats &amp; dogs;<br>&lt;b&gt;no&lt;/b&gt; foxes."
    assert project["show_instruction"]
    assert project["title"] == f"Winnow: {catalog.name}"[:50]


def test_a_token_revoked_in_the_middle_is_a_sentence_and_a_new_one_goes_on(
    catalog: Catalog, site: Site, label_studio: LabelStudioServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push, "_TASKS_PER_REQUEST", 2)
    catalog.campaign(6)
    admin = (label_studio.email, label_studio.password)
    with closing(people.join(label_studio.url, people.Person("revoked", 1.0), admin=admin)) as own:
        kept = tmp_path / "token"
        kept.write_text(own.headers["Authorization"].removeprefix("Token "))
        vendors.add(catalog.workspace, "acme", url=label_studio.url, token=f"file:{kept}")

        def revoke(done: int, _total: int) -> None:
            if done == 2:
                own.post("/api/current-user/reset-token").raise_for_status()

        with pytest.raises(RemoteError, match=r"refused the token\. Give the vendor a valid one: winnow vendor add"):
            push.push(catalog.workspace, catalog.name, image_url=image_url, on_progress=revoke)
    assert catalog.status().pushed in (2, 4)  # one more request was out
    with pytest.raises(RemoteError, match="refused the token"):
        pull.pull(catalog.workspace, catalog.name)
    vendors.add(catalog.workspace, "acme", url=label_studio.url, token=f"file:{label_studio.token_file}")
    push.push(catalog.workspace, catalog.name, image_url=image_url)
    assert_each_once(catalog, site)


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
    both = [catalog.start(*arguments), catalog.start(*arguments)]
    outputs = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert_each_once(catalog, site)


def test_a_request_that_arrives_after_its_sender_died_is_not_sent_again(
    catalog: Catalog, site: Site, label_studio: LabelStudioServer
) -> None:
    catalog.campaign(5)
    arguments = ("push", catalog.name, "--image-base-url", "http://127.0.0.1:1")
    with fault_proxy.between(label_studio.url, Fault("late", "POST", _IMPORT, seconds=4)) as proxy:
        vendors.add(catalog.workspace, "acme", url=proxy.url, token=f"file:{label_studio.token_file}")
        sender = catalog.start(*arguments)
        assert proxy.fired.wait(60)
        sender.kill()
        sender.communicate()
        assert site.tasks(catalog.name) == []
        code, stdout, stderr = catalog.run(*arguments)
        assert (code, "0 tasks created, 5 found" in stdout) == (0, True), stdout + stderr
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

    def kill() -> None:
        os.killpg(mortal.server.process.pid, signal.SIGKILL)

    with fault_proxy.between(mortal.url, Fault("kill", "POST", _IMPORT, seconds=0.02, kill=kill)) as proxy:
        vendors.add(catalog.workspace, "acme", url=proxy.url, token=f"file:{mortal.token_file}")
        code, _, stderr = catalog.push()
        assert (code, stderr.count("\n")) == (1, 1), stderr
    mortal.server.process.wait()
    vendors.add(catalog.workspace, "acme", url=mortal.url, token=f"file:{mortal.token_file}")
    port = int(mortal.url.rpartition(":")[2])
    back = label_studio_server.start(tmp_path / "server", log=tmp_path / "server.log", port=port)
    try:
        assert back.url == mortal.url
        push.push(catalog.workspace, catalog.name, image_url=image_url)
        with administrator(back) as http:
            assert_each_once(catalog, Site(http))
    finally:
        back.stop()
