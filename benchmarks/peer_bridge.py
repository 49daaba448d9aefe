"""Tasks to Label Studio and answers from it, by us and by others, for benchmarks.bridge: run by benchmarks.peers.

Each is a generator as benchmarks.peers asks for. `home` is a workspace, `campaign` one in it; others get the
project's number, or what makes one, the address and the file that holds the token.
"""

import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_TASKS = 500  # in a request


def push(home: str, campaign: str) -> Iterator[Any]:
    """Our whole push, from a planned campaign to recorded tasks."""
    from api import image_urls
    from labeling import label_studio, push
    from store.workspace import open_workspace

    workspace = open_workspace(Path(home))
    with label_studio.connect("http://127.0.0.1:1", "0" * 40):  # imports the SDK
        pass
    yield
    image_url = image_urls.signer(workspace.key, "http://127.0.0.1:1")
    yield push.push(workspace, campaign, image_url=image_url).tasks


def pull(home: str, campaign: str, everything: bool = False) -> Iterator[Any]:
    """Our pull."""
    from labeling import label_studio, pull
    from store.workspace import open_workspace

    workspace = open_workspace(Path(home))
    with label_studio.connect("http://127.0.0.1:1", "0" * 40):
        pass
    yield
    yield pull.pull(workspace, campaign, everything=everything).answers


def raw_import(url: str, token_file: str, project: dict[str, Any], tasks: int) -> Iterator[Any]:
    """A project, made as told, and the server's own import of as many tasks like ours: the seconds of the latter."""
    http = _http(url, token_file)
    name = "A" * 64  # as long as a signed link
    chunks = [
        [
            {"data": {"uid": f"{task:032x}", "image": f"http://127.0.0.1:1/images/{name}"}}
            for task in range(start, min(start + _TASKS, tasks))
        ]
        for start in range(0, tasks, _TASKS)
    ]
    yield
    number = http.post("/api/projects/", json=project).raise_for_status().json()["id"]
    begin = time.perf_counter()
    for chunk in chunks:
        http.post(f"/api/projects/{number}/import", json=chunk).raise_for_status()
    yield time.perf_counter() - begin


def paging(url: str, token_file: str, project: int) -> Iterator[Any]:
    """Every task with everything that the server says of it, page by page."""
    http = _http(url, token_file)
    yield
    answers = 0
    for page in itertools.count(1):
        asked = {"project": project, "page": page, "page_size": _TASKS, "fields": "all"}
        told = http.get("/api/tasks", params=asked).raise_for_status().json()
        answers += sum(len(task["annotations"]) for task in told["tasks"])
        if page * _TASKS >= told["total"]:
            break
    yield answers


def snapshot(url: str, token_file: str, project: int) -> Iterator[Any]:
    """The SDK's way: a snapshot of the project, made by the server, downloaded and read."""
    from label_studio_sdk import LabelStudio

    sdk = LabelStudio(base_url=url, api_key=Path(token_file).read_text().strip())
    yield
    document: Any = sdk.projects.exports.as_json(project, timeout=3600)
    yield sum(len(task["annotations"]) for task in document)


def _http(url: str, token_file: str) -> Any:
    import httpx

    headers = {"Authorization": f"Token {Path(token_file).read_text().strip()}"}
    return httpx.Client(base_url=url, headers=headers, timeout=600)
