"""The stand-in answers as the real Label Studio does: one conversation with both."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass, replace
from typing import Any

import httpx
import pytest

from api.demo.label_studio_server import LabelStudioServer
from labeling import label_config, label_studio, pull, push
from labeling.definitions import ClassDefinition, Definition
from labeling.label_studio import LabelStudio, RemoteAnnotation
from store.errors import RemoteError
from tests.conftest import Builder
from tests.labeling import stand_in
from tests.labeling.conftest import Catalog, administrator
from tests.labeling.stand_in import StandIn

Server = LabelStudioServer | StandIn

CAT, DOG = label_config.result("cat"), label_config.result("dog")
NOBODYS = 10**6  # no server here has a thing of this number


class Conversation:
    """What a server answered, with its numbers and moments replaced by the order of their appearance."""

    def __init__(self, server: LabelStudio, people: httpx.Client) -> None:
        self.server, self.people = server, people
        self.heard: list[tuple[str, Any]] = []

    def ask(self, what: str, call: Callable[[], Any]) -> Any:
        """Note what we are answered."""
        try:
            answer = call()
            if isinstance(answer, Iterator):
                answer = list(answer)
        except RemoteError as error:
            answer = str(error)
        self.heard.append((what, answer))
        return answer

    def do(self, method: str, path: str, **request: Any) -> Any:
        """Note how people are answered."""
        answer = self.people.request(method, path, **request)
        self.heard.append((f"{method} {re.sub('[0-9]+', 'N', path)}", answer.status_code))
        return answer.json() if answer.content else None

    def normalised(self) -> Any:
        """Everything heard."""
        moments = sorted(set(_moments(self.heard)))
        names: dict[tuple[str, int], str] = {}

        def plain(value: Any, kind: str = "") -> Any:
            if is_dataclass(value) and not isinstance(value, type):
                value = asdict(value)
            if isinstance(value, dict):
                return {name: plain(each, name) for name, each in value.items()}
            if isinstance(value, list | tuple):
                return [plain(each, kind) for each in value]
            if kind.startswith("ls_") and isinstance(value, int):
                return names.setdefault((kind, value), f"{kind} {sum(known == kind for known, _ in names)}")
            if isinstance(value, str) and value in moments:
                return f"moment {moments.index(value)}"
            return value.replace(self.server.url, "URL") if isinstance(value, str) else value

        return json.loads(json.dumps(plain(self.heard)))


def _moments(value: Any) -> Iterator[str]:
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, dict):
        yield from ([value["updated_at"]] if value.get("updated_at") else [])
        value = list(value.values())
    if isinstance(value, list | tuple):
        for each in value:
            yield from _moments(each)


@contextmanager
def connected(server: Server, token: str) -> Iterator[Conversation]:
    people = httpx.Client(base_url=server.url, headers={"Authorization": f"Token {token}"}, timeout=60)
    with people, label_studio.connect(server.url, token) as ours:
        yield Conversation(ours, people)


def talk(server: Server) -> Any:
    """Every call we make, and what surrounds them, with `server`; pages hold two tasks."""
    with connected(server, server.token_file.read_text()) as said:
        project = projects(said)
        made = tasks(said, project)
        answers(said, project, made)
        webhooks(said, project)
        heard = said.normalised()
    with connected(server, "0" * 40) as said:
        said.ask("a wrong token", lambda: said.server.project(project))
        said.ask("a wrong token", lambda: said.server.import_tasks(project, [{"data": {"image": "x"}}]))
        said.ask("a wrong token", lambda: said.server.tasks(project))
        return [*heard, *said.normalised()]


def projects(said: Conversation) -> int:
    ours, ask = said.server, said.ask
    config = label_config.render(Definition("classification", (ClassDefinition("cat"), ClassDefinition("dog"))))
    for title in ("ab", "Winnow: test"):
        ask(
            "a project with a title too short, then one",
            lambda title=title: {
                "ls_project_id": ours.create_project(
                    title, description="Keep this mark: winnow:yy", label_config=config, instruction="", overlap=2
                )
            },
        )
    project = said.heard[-1][1]["ls_project_id"]
    ask("found", lambda: {"ls_project_id": ours.find_project("winnow:yy")})
    ask("not found", lambda: ours.find_project("winnow:zz"))
    ask("an empty project", lambda: ours.project(project))
    ask("no project", lambda: ours.project(NOBODYS))
    ask("its tasks", lambda: ours.tasks(project))
    ask("another description", lambda: ours.describe(project, "winnow:yy (pull 1)"))
    ask("of no project", lambda: ours.describe(NOBODYS, "x"))
    return int(project)


def tasks(said: Conversation, project: int) -> list[int]:
    ours, ask = said.server, said.ask
    suggestion = label_config.prediction(CAT, score=0.5, model_version="m")
    new = [{"data": {"uid": f"uid {i}", "image": "x"}, "predictions": [suggestion]} for i in range(5)]
    new.append({"data": {"image": "a stranger's"}})
    made = ask("tasks", lambda: {"ls_task_id": ours.import_tasks(project, new)})["ls_task_id"]
    ask("no task", lambda: ours.import_tasks(project, []))
    ask("a task without its image", lambda: ours.import_tasks(project, [*new, {"data": {"uid": "y"}}]))
    ask("tasks for no project", lambda: ours.import_tasks(NOBODYS, new))
    ask("all tasks", lambda: ours.tasks(project))
    ask("tasks of no project", lambda: ours.tasks(NOBODYS))
    ask("nothing answered", lambda: ours.annotated(project))
    return list(made)


def answers(said: Conversation, project: int, made: list[int]) -> None:
    ours, ask = said.server, said.ask
    answer = {"result": CAT, "lead_time": 2.5}
    one = said.do("POST", f"/api/tasks/{made[0]}/annotations/", json=answer)["id"]
    two = said.do("POST", f"/api/tasks/{made[0]}/annotations/", json={**answer, "ground_truth": True})["id"]
    said.do("POST", f"/api/tasks/{made[3]}/annotations/", json={"result": [], "was_cancelled": True})
    pages = ask("answered", lambda: ours.annotated(project))
    watermark = pages[-1][-1].updated_at
    newest = max(task.updated_at for page in pages for task in page)
    ask("after the import", lambda: ours.annotated(project, changed_since=watermark))
    ask("nothing changed", lambda: ours.annotated(project, changed_since=newest))
    for since in (None, watermark, newest):
        ask("newest", lambda since=since: {"updated_at": ours.newest_change(project, since=since)})
    said.do("PATCH", f"/api/annotations/{one}/", json={"result": DOG})
    said.do("DELETE", f"/api/annotations/{two}/")
    said.do("DELETE", f"/api/annotations/{two}/")
    ask("changed", lambda: ours.annotated(project, changed_since=newest))
    ask("counts", lambda: ours.project(project))
    ask("there", lambda: ours.task_of(one, project))
    ask("of another project", lambda: ours.task_of(one, NOBODYS))
    ask("deleted", lambda: ours.task_of(two, project))

    for overlap, finished in ((2, False), (1, True)):
        ask("offered otherwise", lambda o=overlap, f=finished: ours.offer(made[0], overlap=o, finished=f))
        ask("as offered", lambda: ours.tasks(project))
    ask("answered before it was offered to two", lambda: ours.offer(made[2], overlap=2, finished=False))
    said.do("POST", f"/api/tasks/{made[2]}/annotations/", json=answer)
    ask("one of two", lambda: ours.tasks(project))
    ask("no task", lambda: ours.offer(NOBODYS, overlap=2, finished=False))

    back = RemoteAnnotation(0, 1, CAT, skipped=False, lead_time_s=1.5, updated_at="", ground_truth=True)
    ask("put back", lambda: ours.create_annotation(made[1], back))
    ask("of no task", lambda: ours.create_annotation(NOBODYS, back))
    ask("as it was in the end", lambda: ours.change_annotation(one, replace(back, result=[], skipped=True)))
    ask("no annotation", lambda: ours.change_annotation(NOBODYS, back))
    ask("changed", lambda: ours.annotated(project))
    ask("counts", lambda: ours.project(project))
    for numbers in ([made[0], made[5]], [made[5]], []):
        ask("delete tasks, and again", lambda numbers=numbers: ours.delete_unanswered(project, numbers))
    said.do("DELETE", f"/api/tasks/{made[0]}/")
    ask("what is left", lambda: ours.annotated(project))
    ask("counts", lambda: ours.project(project))
    ask("its annotation", lambda: ours.task_of(one, project))


def webhooks(said: Conversation, project: int) -> None:
    ours, ask = said.server, said.ask
    for port, secret in ((1, "a"), (1, "a"), (1, "b"), (2, "b"), (3, None)):
        url, headers = f"http://127.0.0.1:{port}/v1/x", {"X": secret}
        if secret is None:
            ask("no webhook", lambda: ours.remove_webhooks(project, "/x"))
        else:
            ask("webhook", lambda u=url, h=headers: ours.ensure_webhook(project, u, h, path="/x"))
        hooks = said.do("GET", "/api/webhooks/", params={"project": project})
        kept = ("url", "headers", "is_active", "send_payload", "send_for_all_actions")
        said.heard.append(("webhooks", [{name: hook[name] for name in kept} for hook in hooks]))
        said.heard.append(("their actions", [sorted(hook["actions"]) for hook in hooks]))
    ask("of no project", lambda: ours.ensure_webhook(NOBODYS, "http://127.0.0.1:1/x", {}, path="/x"))
    ask("people", lambda: "admin@winnow.example" in ours.emails().values())
    ask("who can log in", lambda: bool(ours.members() & {i for i, email in ours.emails().items() if "admin@" in email}))


@pytest.mark.label_studio
def test_the_stand_in_says_what_label_studio_says(
    label_studio: LabelStudioServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labeling.label_studio._PAGE", 2)
    with stand_in.serving() as other:
        real, stand = talk(label_studio), talk(other)
    assert len(real) > 40
    for said, meant in zip(stand, real, strict=True):
        assert said == meant


def test_a_campaign_goes_to_the_stand_in_and_its_answers_come_back(
    build: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    import_tasks = LabelStudio.import_tasks

    def note(self: LabelStudio, project: int, tasks: Sequence[dict[str, Any]]) -> list[int]:
        sizes.append(len(tasks))
        return import_tasks(self, project, tasks)

    monkeypatch.setattr(LabelStudio, "import_tasks", note)
    with stand_in.serving() as server:
        catalog = Catalog(build, server)
        catalog.campaign(1200)
        pushed = push.push(catalog.workspace, catalog.name, image_url=lambda image_id: f"http://127.0.0.1:1/{image_id}")
        assert (pushed.created, pushed.found) == (1200, 0)
        assert sizes == [500, 500, 200]
        assert len(set(server.uids())) == len(server.uids()) == 1200
        with administrator(server) as people:
            people.post("/api/tasks/700/annotations/", json={"result": CAT}).raise_for_status()
        found = pull.pull(catalog.workspace, catalog.name)
        assert (found.answers, found.new) == (1, 1)
        again = push.push(catalog.workspace, catalog.name, image_url=lambda image_id: f"http://127.0.0.1:1/{image_id}")
        assert (again.created, again.found, again.removed) == (0, 0, 0)
