"""Exactly once, whatever goes wrong: a real Label Studio, people at work, and one fault at a point drawn by the seed.

After the fault the same push and pull are simply run again. Then every item has one task in Label Studio, and the
catalog holds the newest revision of every annotation once and no revision that nobody made.
"""

import os
import random
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from api import pulling
from api.app import create_app
from api.demo import label_studio_server
from api.demo.label_studio_server import LabelStudioServer
from labeling import campaigns, label_config, label_studio, pull, push, vendors, webhooks
from labeling.definitions import ClassDefinition, Definition
from store import fail_points
from store.errors import RemoteError
from store.schema import Annotation, ImageId, Task
from store.workspace import Workspace, open_workspace
from tests.conftest import Builder
from tests.labeling import fault_proxy
from tests.labeling.conftest import Catalog, Site, administrator
from tests.labeling.fault_proxy import Fault

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it would rather have httpx2, which no index of ours carries
    from fastapi.testclient import TestClient

pytestmark = [pytest.mark.faults, pytest.mark.label_studio]

SEEDS = range(10)
TASKS_A_REQUEST = 50
A_PAGE = 90  # tasks
ANIMALS = Definition("classification", (ClassDefinition("cat"), ClassDefinition("dog")))
TIMEOUT_S = 3.0
HELD_S = 4.0  # longer than anyone waits for an answer
LATE_S = 15.0  # longer than a request is held
PATIENCE_S = 60
PROJECTS, PROJECT, IMPORT = "/api/projects/", r"/api/projects/\d+/", r"/api/projects/\d+/import"
TASKS, USERS = "/api/tasks/", "/api/users/"

KILLED_PUSHES = (
    *("push.after_project", "push.before_intent", "push.after_intent", "push.before_request"),
    *("push.after_request", "push.before_commit", "push.after_commit"),
)
KILLED_PULLS = ("pull.after_describe", "pull.before_commit", "pull.after_commit")
REFUSALS = ("429", "500", "502", "done-500", "done-502")
CUTS = ("cut-request", "lost-answer", "cut-answer")


def image_url(image_id: ImageId) -> str:
    return f"http://127.0.0.1:1/images/{image_id:08x}"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several requests and pages out of few tasks; no request is still on its way when a push begins."""
    monkeypatch.setattr(push, "_TASKS_PER_REQUEST", TASKS_A_REQUEST)
    monkeypatch.setattr(push, "_LATE_S", 0.0)
    monkeypatch.setattr(label_studio, "_PAGE", A_PAGE)


class People:
    """Annotators at work, and what they remember: each annotation's revisions, the deletion as None."""

    def __init__(self, site: Site, campaign: str, seed: int) -> None:
        self.site, self.campaign = site, campaign
        self.remembered: dict[int, list[str | None]] = {}
        self.unsure: dict[str, list[str | None]] = {}  # answers by uid, of which nobody heard what became of them
        self._random = random.Random(f"people {seed}")
        self._answered: set[str] = set()  # uids: nobody answers a picture that was answered
        self._tasks: list[dict[str, Any]] = []
        self._project: int | None = None

    @contextmanager
    def at_work(self, acts: int) -> Iterator[None]:
        """They answer, edit and delete, so often in all, beginning with the block and done when it ends."""
        done: list[bool] = []

        def work() -> None:
            deadline = time.monotonic() + PATIENCE_S
            while len(done) < acts and time.monotonic() < deadline:
                with suppress(httpx.TransportError, httpx.HTTPStatusError):  # the server may be down, or the task gone
                    done.extend([True] * self.act())

        thread = threading.Thread(target=work, name="people")
        thread.start()
        try:
            yield
        finally:
            thread.join()
        assert len(done) == acts

    def act(self) -> bool:
        """Do one thing; whether there was anything to do."""
        standing = [number for number, revisions in self.remembered.items() if revisions[-1] is not None]
        chance = self._random.random()
        if standing and chance < 0.25:
            self.edit(self._random.choice(standing))
        elif standing and chance < 0.4:
            self.delete(self._random.choice(standing))
        else:
            return self.answer()
        return True

    def answer(self) -> bool:
        if len(self._answered) % 5 == 0:
            self.look()
        open_tasks = [task for task in self._tasks if task["data"]["uid"] not in self._answered]
        if not open_tasks:
            self.look()
            time.sleep(0.1)  # until there are
            return False
        ends = open_tasks[:10], open_tasks[-10:]  # in turn, so that two pages hold answers
        task = self._random.choice(ends[len(self._answered) % 2])
        name = self._random.choice(("cat", "dog"))
        self._answered.add(task["data"]["uid"])
        self.unsure[task["data"]["uid"]] = [name]
        number = self.site.answer(task["id"], name)  # before the next line, whose right side is taken first
        self.remembered[number] = self.unsure.pop(task["data"]["uid"])
        return True

    def edit(self, number: int) -> None:
        name = "dog" if self.remembered[number][-1] == "cat" else "cat"
        self.remembered[number].append(name)
        self.site.call("PATCH", f"/api/annotations/{number}/", json={"result": label_config.result(name)})

    def delete(self, number: int) -> None:
        self.remembered[number].append(None)
        self.site.call("DELETE", f"/api/annotations/{number}/")

    def look(self) -> None:
        """See which tasks there are."""
        if self._project is None:
            projects = self.site.projects(self.campaign)
            self._project = projects[0]["id"] if projects else None
        page = {"project": self._project, "page_size": 1000, "fields": "task_only", "include": "id,data"}
        self._tasks = self.site.call("GET", "/api/tasks", params=page)["tasks"] if self._project else []


class Run:
    """One campaign, the people who answer it, and what must be true in the end."""

    def __init__(self, catalog: Catalog, server: LabelStudioServer, seed: int, kind: str) -> None:
        self.catalog, self.server = catalog, server
        self.random = random.Random(f"{kind} {seed}")
        self.items = self.random.randrange(100, 161)
        self.site = Site(administrator(server))
        self.people = People(self.site, catalog.name, seed)
        catalog.campaign(self.items)

    def push(self) -> push.Pushed:
        return push_all(self.catalog.workspace, self.catalog.name)

    def pull(self) -> pull.Pulled:
        return pull.pull(self.catalog.workspace, self.catalog.name)

    @contextmanager
    def killed(self, call: Callable[[Workspace, str], Any], fail_point: str) -> Iterator[Callable[[], None]]:
        """A process of its own that dies at the fail point; it begins when asked, as forks and threads do not mix."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.read(reader, 1)
            fail_points.arm(fail_point)
            with suppress(BaseException):
                call(open_workspace(self.catalog.workspace.home), self.catalog.name)
            os._exit(1)  # it should not have got here
        os.close(reader)

        def begin() -> None:
            os.write(writer, b"!")
            _, status = os.waitpid(child, 0)
            assert os.WIFSIGNALED(status), f"{fail_point} was not reached: {status}"
            assert os.WTERMSIG(status) == signal.SIGKILL

        yield begin
        os.close(writer)

    def troubled(self, call: Callable[[], Any], fault: Fault) -> None:
        """The same through a line with this fault, which may or may not be noticed."""
        with fault_proxy.between(self.server.url, fault) as proxy:
            self.reach(proxy.url)
            with suppress(RemoteError):
                call()
            assert proxy.fired.is_set(), fault
            self.reach(self.server.url)

    def reach(self, url: str) -> None:
        vendors.add(self.catalog.workspace, "acme", url=url, token=f"file:{self.server.token_file}")

    def settle(self) -> None:
        """Push and pull again until neither finds anything to do; then compare."""
        self.push()
        self.pull()
        again = self.push()
        assert (again.created, again.found, again.removed) == (0, 0, 0)
        unchanged = self.pull()
        assert (unchanged.new, unchanged.edited, unchanged.deleted, unchanged.missing) == (0, 0, 0, 0)
        self.compare()

    def wait_for_answers(self) -> None:
        """Until the catalog has them by itself."""
        deadline = time.monotonic() + PATIENCE_S
        while self.standing() != self.there():
            assert time.monotonic() < deadline, (self.standing(), self.there())
            time.sleep(0.1)

    def there(self) -> dict[int, tuple[str, str | None]]:
        """Uid and answer of every annotation at the server."""
        return {
            annotation["id"]: (task["data"]["uid"], chosen(annotation["result"]))
            for task in self.site.tasks(self.catalog.name)
            for annotation in task["annotations"]
        }

    def standing(self) -> dict[int, tuple[str, str | None]]:
        """The same of those that stand in the catalog."""
        with self.catalog.workspace.database.read() as session:
            rows = session.execute(
                select(Annotation.ls_annotation_id, Task.uid, Annotation.answer)
                .join(Annotation, Annotation.task_id == Task.id)
                .where(Annotation.id.in_(campaigns.standing_annotations()))
            )
            return {number: (uid, answer) for number, uid, answer in rows}

    def compare(self) -> None:
        tasks = self.site.tasks(self.catalog.name)
        with self.catalog.workspace.database.read() as session:
            items = session.execute(select(Task.uid, Task.ls_task_id, Task.state)).all()
            rows = session.execute(
                select(Task.uid, Annotation)
                .join(Annotation, Annotation.task_id == Task.id)
                .order_by(Annotation.ls_annotation_id, Annotation.revision)
            ).all()
        assert {(task["data"]["uid"], task["id"], "pushed") for task in tasks} == {tuple(item) for item in items}
        assert len(tasks) == len(items) == self.items

        assert self.standing() == self.there()
        revisions: dict[int, list[str | None]] = {}
        for uid, row in rows:
            assert row.revision == len(revisions.setdefault(row.ls_annotation_id, []))
            revisions[row.ls_annotation_id].append(row.answer)
            self.people.remembered.setdefault(row.ls_annotation_id, self.people.unsure.get(uid, []))
        for number, seen in revisions.items():
            assert is_within(seen, self.people.remembered[number]), (seen, self.people.remembered[number])
        moments = [(row.ls_annotation_id, row.ls_updated_at, row.deleted) for _, row in rows]
        assert len(set(moments)) == len(moments)


def push_all(workspace: Workspace, campaign: str) -> push.Pushed:
    return push.push(workspace, campaign, image_url=image_url)


def chosen(result: Sequence[Any]) -> str | None:
    return label_config.answer(result, ANIMALS)


def is_within(seen: Sequence[str | None], remembered: Sequence[str | None]) -> bool:
    """Whether what was seen is what is remembered, with some of it left out."""
    rest = iter(remembered)
    return all(each in rest for each in seen)


@pytest.fixture
def run(catalog: Catalog, label_studio: LabelStudioServer, request: pytest.FixtureRequest) -> Iterator[Run]:
    made = Run(catalog, label_studio, request.node.callspec.params["seed"], request.node.originalname)
    yield made
    made.site.http.close()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_client_killed_in_a_push(run: Run, seed: int) -> None:
    point = KILLED_PUSHES[seed % len(KILLED_PUSHES)]
    passage = 1 if point == "push.after_project" else run.random.choice((1, 2))
    with run.killed(push_all, f"{point}:{passage}") as begin, run.people.at_work(6):
        begin()
        run.push()
        run.pull()
    run.settle()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_client_killed_in_a_pull(run: Run, seed: int) -> None:
    run.push()
    with run.people.at_work(10):
        pass
    point = KILLED_PULLS[seed % len(KILLED_PULLS)]
    passage = 1 if point == "pull.after_describe" else run.random.choice((1, 2))
    with run.killed(pull.pull, f"{point}:{passage}") as begin, run.people.at_work(4):
        begin()
        run.pull()
    run.settle()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_line_that_fails_in_a_push(run: Run, seed: int) -> None:
    method, path = run.random.choice((("POST", PROJECTS), ("POST", IMPORT), ("POST", IMPORT), ("GET", TASKS)))
    passage = run.random.choice((1, 2)) if path == IMPORT else 1
    kind = (CUTS + REFUSALS)[seed % len(CUTS + REFUSALS)]
    with run.people.at_work(6):
        if path == TASKS:  # which a push reads that goes on with another's work
            run.troubled(run.push, Fault("lost-answer", "POST", IMPORT))
        run.troubled(run.push, Fault(kind, method, path, passage))
        run.push()
        run.pull()
    run.settle()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_line_that_fails_in_a_pull(run: Run, seed: int) -> None:
    run.push()
    with run.people.at_work(10):
        pass
    places = (("GET", PROJECT), ("PATCH", PROJECT), ("GET", TASKS), ("GET", TASKS), ("GET", USERS))
    method, path = run.random.choice(places)
    passage = run.random.choice((1, 2)) if path == TASKS else 1
    kind = (CUTS + REFUSALS)[(seed + 3) % len(CUTS + REFUSALS)]
    with run.people.at_work(4):
        run.troubled(run.pull, Fault(kind, method, path, passage))
        run.pull()
    run.settle()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_request_or_an_answer_that_takes_too_long(run: Run, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Held on its way or on its way back; of those on their way some arrive later than the next push waits."""
    kind = ("late", "slow")[seed % 2]
    monkeypatch.setattr(push, "_TASKS_PER_REQUEST", TASKS_A_REQUEST // 2)  # copies are removed one by one
    path = IMPORT if seed % 4 == 0 else run.random.choice((IMPORT, PROJECTS))
    fault = Fault(kind, "POST", path, run.random.choice((1, 2)) if path == IMPORT else 1, seconds=HELD_S)
    with run.people.at_work(6), fault_proxy.between(run.server.url, fault) as proxy:
        run.reach(proxy.url)
        with monkeypatch.context() as impatient:
            impatient.setattr(label_studio, "_TIMEOUT_S", TIMEOUT_S)
            impatient.setattr(label_studio, "IMPORT_TIMEOUT_S", TIMEOUT_S)
            with pytest.raises(RemoteError, match="did not answer in time"):
                run.push()
        if seed % 4:
            monkeypatch.setattr(push, "_LATE_S", LATE_S)
        run.reach(run.server.url)
        run.push()
        run.pull()
    run.settle()


@pytest.mark.parametrize("seed", SEEDS)
def test_webhooks_lost_doubled_and_out_of_order(run: Run, seed: int) -> None:
    """Real people, real hints to the real receiver, but any number of them and at any time."""
    run.push()
    workspace = run.catalog.workspace
    hook = webhooks.of_campaign(workspace.key, "http://127.0.0.1", 1)
    path = hook.url.removeprefix("http://127.0.0.1")
    waiting = 0
    with pulling.puller(workspace, every_s=0) as hint:
        receiver = TestClient(create_app(workspace, hint=hint), base_url="http://127.0.0.1")
        for _ in range(25):
            run.people.act()
            waiting += run.random.choice((0, 1, 2))  # lost, sent, sent twice
            for _ in range(run.random.randrange(waiting + 1)):  # others wait and come after what they do not tell of
                assert receiver.post(path, headers=hook.headers).status_code == 202
                waiting -= 1
        assert receiver.post(path, headers=hook.headers).status_code == 202
        run.wait_for_answers()
    run.settle()


class Mortal:
    """A Label Studio that is killed and started again on the same port and data."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._log = folder / "server", folder / "server.log"
        self.server = label_studio_server.start(self._folder, log=self._log, port=0)
        self._port = int(self.server.url.rpartition(":")[2])

    def kill(self) -> None:
        os.killpg(self.server.server.process.pid, signal.SIGKILL)

    def start_again(self) -> None:
        self.server.server.process.wait()
        self.server = label_studio_server.start(self._folder, log=self._log, port=self._port)


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mortal]:
    made = Mortal(tmp_path_factory.mktemp("mortal"))
    yield made
    made.server.stop()


@pytest.mark.parametrize("seed", SEEDS[::2])  # a restart takes as long as another whole run
def test_a_server_killed_in_an_import(build: Builder, mortal: Mortal, seed: int) -> None:
    run = Run(Catalog(build, mortal.server), mortal.server, seed, "a server killed")
    fault = Fault(
        "kill",
        "POST",
        IMPORT,
        passage=run.random.choice((1, 2)),
        seconds=run.random.choice((0.0, 0.01, 0.03, 0.06, 0.1)),
        kill=mortal.kill,
    )
    with run.people.at_work(6):
        run.troubled(run.push, fault)
        mortal.start_again()
        run.push()
        run.pull()
    run.settle()
    run.site.http.close()
