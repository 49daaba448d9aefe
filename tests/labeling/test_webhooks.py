"""Answers arrive by themselves: a real Label Studio tells a real `winnow serve`; lost hints cost time alone."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from labeling import push, webhooks
from store.schema import Annotation, Campaign
from tests.commands import WINNOW
from tests.labeling.conftest import Catalog, Site

pytestmark = pytest.mark.label_studio

_PATIENCE_S = 60


def answers(catalog: Catalog) -> list[tuple[int, str | None, bool]]:
    """Revision, answer and whether it is a deletion, in the order seen."""
    with catalog.workspace.database.read() as session:
        rows = select(Annotation.revision, Annotation.answer, Annotation.deleted).order_by(Annotation.id)
        return [tuple(row) for row in session.execute(rows)]


def wait_for(wanted: Any, look: Callable[[], Any]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while look() != wanted:
        assert time.monotonic() < deadline, look()
        time.sleep(0.1)


@pytest.fixture
def serve(catalog: Catalog, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Starts a `winnow serve` and says where it is; ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*options: str) -> str:
        command = [WINNOW, "--home", catalog.workspace.home, "serve", "--port", "0", "--json", *options]
        with (tmp_path / "serve.log").open("ab") as log:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        started.append(process)
        assert process.stdout is not None
        lines: list[str] = []
        while not lines or lines[-1] != "}\n":
            lines.append(process.stdout.readline())
            assert lines[-1], (tmp_path / "serve.log").read_text()
        return str(json.loads("".join(lines))["url"])

    yield start
    for process in started:
        process.kill()
        process.communicate()


def campaign_id(catalog: Catalog) -> int:
    with catalog.workspace.database.read() as session:
        return session.scalars(select(Campaign.id)).one()


def test_an_answer_arrives_without_anyone_pulling(
    catalog: Catalog, site: Site, serve: Callable[..., str], tmp_path: Path
) -> None:
    url = serve("--pull-every", "0")
    catalog.campaign(2)
    for _ in range(2):  # the second push makes no second webhook
        code, _, stderr = catalog.run("push", catalog.name, "--image-base-url", url)
        assert code == 0, stderr
    [project] = site.projects(catalog.name)
    hooks = site.call("GET", "/api/webhooks/", params={"project": project["id"]})
    assert [hook["url"] for hook in hooks] == [f"{url}/v1/hooks/{campaign_id(catalog)}"]
    assert not hooks[0]["send_payload"]
    first, second = (task["id"] for task in site.tasks(catalog.name))
    annotation = site.answer(first, "cat")
    wait_for([(0, "cat", False)], lambda: answers(catalog))
    site.call("DELETE", f"/api/annotations/{annotation}/")
    wait_for([(0, "cat", False), (1, None, True)], lambda: answers(catalog))
    site.answer(second, "dog")
    wait_for(3, lambda: len(answers(catalog)))
    secret = hooks[0]["headers"][webhooks.HEADER]
    assert secret not in (tmp_path / "serve.log").read_text()


def test_only_who_knows_the_secret_is_heard(catalog: Catalog, serve: Callable[..., str]) -> None:
    catalog.campaign(1)
    url = serve("--pull-every", "0")
    number = campaign_id(catalog)
    hook = webhooks.of_campaign(catalog.workspace.key, url, number)
    assert httpx.post(hook.url, headers=hook.headers).status_code == 202
    for headers in ({}, {webhooks.HEADER: "x"}, {webhooks.HEADER: "ü".encode()}):
        refused = httpx.post(hook.url, headers=headers)
        assert refused.status_code == 403
        assert "was not sent by a Label Studio" in refused.json()["error"]
    other = webhooks.of_campaign(catalog.workspace.key, url, number + 1)
    assert httpx.post(hook.url, headers=other.headers).status_code == 403


def test_answers_arrive_where_every_webhook_is_lost(catalog: Catalog, site: Site, serve: Callable[..., str]) -> None:
    catalog.campaign(1)
    nobody = webhooks.Webhook("http://127.0.0.1:1/v1/hooks/1", {webhooks.HEADER: "x"})
    push.push(
        catalog.workspace, catalog.name, image_url=lambda image_id: f"http://127.0.0.1:1/{image_id}", webhook=nobody
    )
    site.answer(site.tasks(catalog.name)[0]["id"], "cat")
    serve("--pull-every", "0.5")
    wait_for([(0, "cat", False)], lambda: answers(catalog))
