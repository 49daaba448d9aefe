"""A small HTTP server that answers the few calls we make as Label Studio 1.23 does; `test_stand_in` compares the two.

It is for numbers that the real one would take long for. It knows one user and one label config, whose only variable
is `$image`; it keeps everything in memory, shows nobody anything, and calls no webhook. Asked to, it imports later, as
the documents say that Label Studio Enterprise does; nobody has compared that.
"""

import json
import re
import tempfile
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from labeling.label_studio import MOMENT

_TOKEN = "5" * 40
_USER = 1
_SHORTEST_TITLE = 3  # characters

Document = dict[str, Any]


class RefusedError(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


@dataclass
class Project:
    """A project, and the ids of its tasks, ascending."""

    fields: Document
    tasks: list[int] = field(default_factory=list)


class State:
    """Everything the server holds, and what each call does with it."""

    def __init__(self, *, imports_later: bool = False) -> None:
        self.imports_later = imports_later
        self.imports: dict[int, Document] = {}
        self.projects: dict[int, Project] = {}
        self.tasks: dict[int, Document] = {}
        self.annotations: dict[int, Document] = {}
        self.webhooks: dict[int, Document] = {}
        self._last: dict[str, int] = {}
        number = r"(\d+)/"
        self._calls: list[tuple[str, re.Pattern[str], Callable[..., tuple[int, Any]]]] = [
            (method, re.compile(path), call)
            for method, path, call in (
                ("GET", "/api/projects/", self.list_projects),
                ("POST", "/api/projects/", self.create_project),
                ("GET", f"/api/projects/{number}", self.get_project),
                ("PATCH", f"/api/projects/{number}", self.update_project),
                ("POST", r"/api/projects/(\d+)/import", self.import_tasks),
                ("GET", rf"/api/projects/{number}imports/{number}", self.get_import),
                ("GET", "/api/tasks/", self.list_tasks),
                ("POST", "/api/dm/actions/", self.delete_tasks),
                ("PATCH", f"/api/tasks/{number}", self.update_task),
                ("DELETE", f"/api/tasks/{number}", self.delete_task),
                ("POST", f"/api/tasks/{number}annotations/", self.create_annotation),
                ("GET", f"/api/annotations/{number}", self.get_annotation),
                ("PATCH", f"/api/annotations/{number}", self.update_annotation),
                ("DELETE", f"/api/annotations/{number}", self.delete_annotation),
                ("GET", "/api/webhooks/", self.list_webhooks),
                ("POST", "/api/webhooks/", self.create_webhook),
                ("DELETE", f"/api/webhooks/{number}", self.delete_webhook),
                ("GET", "/api/users/", self.list_users),
            )
        ]

    def answer(self, method: str, path: str, asked: dict[str, str], body: Any) -> tuple[int, Any]:
        """Status and document."""
        for known, pattern, call in self._calls:
            if known == method and (found := pattern.fullmatch(path)):
                return call(*map(int, found.groups()), asked=asked, body=body)
        raise RefusedError(404, f"The stand-in does not know {method} {path}.")

    def list_projects(self, *, asked: dict[str, str], body: Any) -> tuple[int, Any]:
        fields = asked["include"].split(",")
        newest_first = [self.projects[number].fields for number in sorted(self.projects, reverse=True)]
        page = _page(newest_first, asked)
        return 200, {
            "count": len(newest_first),
            "next": None,
            "previous": None,
            "results": [{name: each[name] for name in fields} for each in page],
        }

    def create_project(self, *, asked: dict[str, str], body: Any) -> tuple[int, Any]:
        if len(body["title"]) < _SHORTEST_TITLE:
            raise RefusedError(400, "Validation error")
        number = self._next("project")
        self.projects[number] = Project({"id": number, "description": "", **body})
        return 201, self.projects[number].fields

    def get_project(self, number: int, *, asked: dict[str, str], body: Any) -> tuple[int, Any]:
        project = self._project(number)
        tasks = [self.tasks[each] for each in project.tasks]
        return 200, project.fields | {
            "task_number": len(tasks),
            "total_annotations_number": sum(task["total_annotations"] for task in tasks),
            "skipped_annotations_number": sum(task["cancelled_annotations"] for task in tasks),
        }

    def update_project(self, number: int, *, asked: dict[str, str], body: Any) -> tuple[int, Any]:
        self._project(number).fields |= body
        return self.get_project(number, asked=asked, body=None)

    def import_tasks(self, number: int, *, asked: dict[str, str], body: Any) -> tuple[int, Any]:
        if self.imports_later:
            import_id = self._next("import")
            self.imports[import_id] = {"status": "created", "project": number, "tasks": body}
            return 201, {"import": import_id}
        return 201, self._make(number, body, names_tasks=asked.get("return_task_ids") == "true")

    def _make(self, number: int, tasks: Any, *, names_tasks: bool) -> Document:
        project = self._project(number)
        if not tasks or any("image" not in task.get("data", task) for task in tasks):
            raise RefusedError(400, "Validation error")
        created = []
        for task in tasks:
            id_ = self._next("task")
            counts = {"total_annotations": 0, "cancelled_annotations": 0, "is_labeled": False}
            counts["overlap"] = project.fields.get("maximum_annotations", 1)
            self.tasks[id_] = {"id": id_, "project": number, "data": task["data"], "annotations": [], **counts}
            self._touch(self.tasks[id_])
            created.append(id_)
        project.tasks += created
        return {"task_count": len(created), "annotation_count": 0, **({"task_ids": created} if names_tasks else {})}

    def get_import(self, project: int, number: int, *, asked: dict[str, str], body: Any) -> tuple[int, Any]:
        """It is under way when it is first asked after, and over then; whatever it made, it names no task."""
        told = _found(self.imports, number, "ProjectImport")
        if told["status"] == "in_progress":
            try:
                self._make(project, told["tasks"], names_tasks=False)
                told["status"] = "completed"
            except RefusedError:
                told["status"] = "failed"
        elif told["status"] == "created":
            told["status"] = "in_progress"
        return 200, {"id": number, "status": told["status"], "task_ids": []}

    def list_tasks(self, *, asked: dict[str, str], body: Any) -> tuple[int, Any]:
        project = self._project(int(asked["project"]))
        query = json.loads(asked["query"])
        assert query["ordering"] in (["tasks:id"], ["-tasks:updated_at"])
        filters = {
            (item["filter"].removeprefix("filter:tasks:"), item["operator"]): item["value"]
            for item in query["filters"]["items"]
        }
        ids = project.tasks[bisect_right(project.tasks, filters.pop(("id", "greater"), 0)) :]
        if only := filters.pop(("id", "equal"), None):
            ids = [id_ for id_ in ids if id_ == only]
        changed_since = filters.pop(("updated_at", "greater"), "")
        assert not filters
        found = [id_ for id_ in ids if self.tasks[id_]["updated_at"] > changed_since] if changed_since else ids
        if query["ordering"] == ["-tasks:updated_at"]:
            found = sorted(found, key=lambda id_: self.tasks[id_]["updated_at"], reverse=True)
        fields = asked["include"].split(",")
        tasks = [
            {name: task[name] for name in fields if name in task}
            for task in (self.tasks[id_] for id_ in _page(found, asked))
        ]
        for task in tasks:
            if "annotations" in task:
                there = [self.annotations[each] for each in task["annotations"]]
                task["annotations"] = [{name: each[name] for name in fields if name in each} for each in there]
        return 200, {"total": len(found), "tasks": tasks}

    def delete_tasks(self, *, asked: dict[str, str], body: Any) -> tuple[int, Any]:
        """Those selected that fulfil the filters: nobody answered or skipped them."""
        assert asked["id"] == "delete_tasks"
        project = self._project(int(asked["project"]))
        selected = set(body["selectedItems"]["included"]).intersection(project.tasks)
        unanswered = [number for number in selected if not self.tasks[number]["annotations"]]
        for number in unanswered:
            self.delete_task(number, asked=asked, body=None)
        return 200, {"processed_items": len(unanswered)}

    def update_task(self, number: int, *, asked: dict[str, str], body: Any) -> tuple[int, Any]:
        task = _found(self.tasks, number, "Task")
        task |= body
        self._touch(task)
        return 200, task | {"annotations": [self.annotations[each] for each in task["annotations"]]}

    def delete_task(self, number: int, *, asked: dict[str, str], body: Any) -> tuple[int, Any]:
        task = _found(self.tasks, number, "Task")
        for annotation in task["annotations"]:
            del self.annotations[annotation]
        self.projects[task["project"]].tasks.remove(number)
        del self.tasks[number]
        return 204, None

    def create_annotation(self, number: int, *, asked: dict[str, str], body: Any) -> tuple[int, Any]:
        task = _found(self.tasks, number, "Task")
        id_ = self._next("annotation")
        usual = {"completed_by": _USER, "was_cancelled": False, "ground_truth": False, "lead_time": None}
        annotation = {**usual, **body, "id": id_, "task": number, "project": task["project"]}
        self.annotations[id_] = annotation
        self._touch(annotation)
        task["annotations"].append(id_)
        self._count(task)
        return 201, annotation

    def get_annotation(self, number: int, *, asked: dict[str, str], body: Any) -> tuple[int, Any]:
        return 200, _found(self.annotations, number, "Annotation")

    def update_annotation(self, number: int, *, asked: dict[str, str], body: Any) -> tuple[int, Any]:
        annotation = _found(self.annotations, number, "Annotation")
        annotation |= body
        self._touch(annotation)
        self._count(self.tasks[annotation["task"]])
        return 200, annotation

    def delete_annotation(self, number: int, *, asked: dict[str, str], body: Any) -> tuple[int, Any]:
        task = self.tasks[_found(self.annotations, number, "Annotation")["task"]]
        del self.annotations[number]
        task["annotations"].remove(number)
        self._count(task)
        return 204, None

    def list_webhooks(self, *, asked: dict[str, str], body: Any) -> tuple[int, Any]:
        if int(asked["project"]) not in self.projects:
            raise RefusedError(400, "Validation error")
        return 200, [hook for hook in self.webhooks.values() if hook["project"] == int(asked["project"])]

    def create_webhook(self, *, asked: dict[str, str], body: Any) -> tuple[int, Any]:
        number = self._next("webhook")
        self.webhooks[number] = {**body, "id": number, "is_active": True}
        return 201, self.webhooks[number]

    def delete_webhook(self, number: int, *, asked: dict[str, str], body: Any) -> tuple[int, Any]:
        _found(self.webhooks, number, "Webhook")
        del self.webhooks[number]
        return 204, None

    def list_users(self, *, asked: dict[str, str], body: Any) -> tuple[int, Any]:
        return 200, [{"id": _USER, "email": "admin@winnow.example"}]

    def _project(self, number: int) -> Project:
        return _found(self.projects, number, "Project")

    def _count(self, task: Document) -> None:
        there = [self.annotations[each] for each in task["annotations"]]
        skips = [each["was_cancelled"] for each in there]
        task |= {"total_annotations": skips.count(False), "cancelled_annotations": skips.count(True)}
        people = {each["completed_by"] for each in there if not each["was_cancelled"]}
        task["is_labeled"] = len(people) >= task["overlap"]
        self._touch(task)

    def _touch(self, thing: Document) -> None:
        """Say that it changed now."""
        thing["updated_at"] = datetime.now(UTC).strftime(MOMENT)

    def _next(self, kind: str) -> int:
        self._last[kind] = self._last.get(kind, 0) + 1
        return self._last[kind]


def _found(things: dict[int, Any], number: int, kind: str) -> Any:
    if number not in things:
        raise RefusedError(404, f"No {kind} matches the given query.")
    return things[number]


def _page(things: list[Any], asked: dict[str, str]) -> list[Any]:
    page, size = int(asked["page"]), int(asked["page_size"])
    start = (page - 1) * size
    if page > 1 and start >= len(things):
        raise RefusedError(404, "Invalid page.")
    return things[start : start + size]


@dataclass(frozen=True)
class StandIn:
    """A running stand-in."""

    url: str
    token_file: Path
    state: State

    def uids(self) -> list[str]:
        """What the tasks of all projects carry, by id."""
        return [task["data"]["uid"] for task in self.state.tasks.values()]


@contextmanager
def serving(*, imports_later: bool = False) -> Iterator[StandIn]:
    """An empty stand-in on a free port of this machine, while the block lasts."""
    state, one_at_a_time = State(imports_later=imports_later), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1  # one packet an answer

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            place = urlsplit(self.path)
            asked = {name: values[-1] for name, values in parse_qs(place.query).items()}
            try:
                if self.headers.get("Authorization") != f"Token {_TOKEN}":
                    raise RefusedError(401, "Invalid token.")
                with one_at_a_time:
                    status, document = state.answer(self.command, place.path, asked, json.loads(body or "null"))
                    said = json.dumps(document).encode() if document is not None else b""
            except RefusedError as refusal:
                status, said = refusal.status, json.dumps({"detail": str(refusal)}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815  the names the base class asks for

        def log_message(self, format: str, *arguments: Any) -> None:
            """Say nothing."""

    with tempfile.TemporaryDirectory() as folder, ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        token_file = Path(folder) / "token"
        token_file.write_text(_TOKEN)
        thread = threading.Thread(target=server.serve_forever, name="stand-in")
        thread.start()
        try:
            yield StandIn(f"http://127.0.0.1:{server.server_port}", token_file, state)
        finally:
            server.shutdown()
            thread.join()
