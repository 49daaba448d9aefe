"""The real `winnow serve`, as a process of its own."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from sqlalchemy import select

from api import image_urls, jobs, schedules
from api.demo.label_studio_server import LabelStudioServer
from api.schedules import CampaignTerms
from labeling import vendors
from store.schema import Batch, Campaign, ImageId, PredictionRun, Task, now
from store.workspace import Workspace
from tests import commands
from tests.commands import WINNOW
from tests.labeling.conftest import Site, administrator

EVERY_SECOND = "* * * * * *"


class Service:
    """A running `winnow serve`."""

    def __init__(self, workspace: Workspace, *options: str, environment: dict[str, str]) -> None:
        self.log = workspace.home / "serve.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [WINNOW, "--home", workspace.home, "serve", "--json", *(options or ("--port", "0"))],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **environment},
            )
        assert self.process.stdout
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if line == "}\n":
                break
        assert lines, self.log.read_text()
        self.url = json.loads("".join(lines))["url"]

    def stop(self, how: int = signal.SIGTERM) -> int:
        """Send a signal; the exit code."""
        self.process.send_signal(how)
        return self.process.wait(timeout=60)


@pytest.fixture
def serve(workspace: Workspace) -> Iterator[Callable[..., Service]]:
    """Starts services that end with the test."""
    started: list[Service] = []

    def start(*options: str, **environment: str) -> Service:
        started.append(Service(workspace, *options, environment=environment))
        return started[-1]

    yield start
    for service in started:
        service.process.kill()
        service.process.communicate()


@pytest.fixture
def pool(workspace: Workspace, build: Any) -> None:
    """Sixty embedded images."""
    build.vectors(build.images(60), np.random.default_rng(0).normal(size=(60, 8)))


def winnow(workspace: Workspace, *arguments: str, status: int = 0) -> tuple[str, str]:
    """What a command printed on stdout and stderr."""
    done = commands.winnow(workspace.home, *arguments)
    assert done.returncode == status, done.stderr
    return done.stdout, done.stderr


def wait_for(condition: Callable[[], Any], *, seconds: float = 120) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s")


def test_it_listens_on_loopback_alone_and_keeps_links_out_of_its_log(
    workspace: Workspace, photos: Any, serve: Callable[..., Service]
) -> None:
    image_id = photos.add("a.png")
    service = serve()
    token = image_urls.sign(workspace.key, ImageId(image_id), expires=now() + timedelta(hours=1))
    assert httpx.get(f"{service.url}/images/{token}").content == (photos.folder / "a.png").read_bytes()
    assert httpx.get(f"{service.url}/images/{token}x").status_code == 403
    assert httpx.get(service.url, headers={"Host": "evil.example"}).status_code == 400
    assert "learning curve" in httpx.get(service.url).text.lower()

    sockets = psutil.Process(service.process.pid).net_connections()
    listening = [f"http://{each.laddr.ip}:{each.laddr.port}" for each in sockets if each.status == psutil.CONN_LISTEN]
    assert listening == [service.url]
    assert service.stop() == 0
    assert token not in service.log.read_text()


def test_a_busy_port_is_said_and_another_is_chosen(serve: Callable[..., Service], build: Any, tmp_path: Path) -> None:
    from store.workspace import open_workspace

    first = serve()
    port = first.url.rsplit(":", 1)[1]
    second = Service(open_workspace(tmp_path / "other"), "--port", port, environment={})
    try:
        assert httpx.get(f"{second.url}/health").json() == {"status": "up"}
        assert second.url != first.url
        assert f"Port {port} is busy" in second.log.read_text()
    finally:
        assert second.stop(signal.SIGINT) == 0
        second.process.communicate()


def test_a_workspace_is_served_once(workspace: Workspace, serve: Callable[..., Service]) -> None:
    serve()
    _, complaint = winnow(workspace, "serve", "--port", "0", status=2)
    assert complaint.strip() == "winnow: This workspace is being served already. Stop that `winnow serve` first."


@pytest.mark.usefixtures("pool")
def test_another_process_asks_and_sees(workspace: Workspace, serve: Callable[..., Service]) -> None:
    schedules.add(workspace, "weekly", cron="0 6 * * 1", recipe={"budget": 5, "strategy": "typiclust"})
    answer, warning = winnow(workspace, "schedule", "run", "weekly", "--json")
    job_id = json.loads(answer)["job"]
    assert "waits for `winnow serve`" in warning

    serve()
    wait_for(lambda: jobs.find(workspace, job_id).state == "done")
    assert "batch 1, picks 5" in winnow(workspace, "jobs", "list")[0]
    _, silence = winnow(workspace, "schedule", "run", "weekly")
    assert silence == ""


def ticks_done(workspace: Workspace) -> list[datetime]:
    return [job.tick for job in jobs.recent(workspace, limit=1000) if job.state == "done"]


@pytest.mark.usefixtures("pool")
def test_a_killed_service_continues_and_no_tick_is_planned_twice(
    workspace: Workspace, serve: Callable[..., Service]
) -> None:
    schedules.add(workspace, "restless", cron=EVERY_SECOND, recipe={"budget": 5, "strategy": "typiclust"})
    killed = serve(WINNOW_FAIL_POINT="jobs.planned")  # the batch is in the catalog, the job does not know
    assert killed.process.wait(timeout=120) == -signal.SIGKILL
    (interrupted,) = (job.id for job in jobs.recent(workspace) if job.state == "running")

    service = serve()
    wait_for(lambda: jobs.find(workspace, interrupted).state == "done")
    wait_for(lambda: len(ticks_done(workspace)) >= 3)
    with workspace.database.write() as session:
        session.add(PredictionRun(model="other", digest="0" * 64, classes=["cat"], report={}))
    wait_for(lambda: any(job.summary == {"batch": 2, "picks": 5} for job in jobs.recent(workspace)))
    schedules.set_paused(workspace, "restless", paused=True)
    wait_for(lambda: all(job.state == "done" for job in jobs.recent(workspace, limit=1000)))
    assert service.stop() == 0

    found = jobs.recent(workspace, limit=1000)
    assert len({job.tick for job in found}) == len(found)
    with workspace.database.read() as session:
        batches = session.scalars(select(Batch.id)).all()
    assert sorted(job.summary["batch"] for job in found if job.summary and "batch" in job.summary) == sorted(batches)
    skipped = [job.outcome for job in found if job.summary and "skipped" in job.summary]
    assert len(skipped) == len(found) - 2
    assert "skipped: Nothing has changed since batch 1: no new image, label or prediction." in skipped
    assert interrupted in winnow(workspace, "jobs", "list")[0]


@pytest.mark.label_studio
@pytest.mark.usefixtures("pool")
@pytest.mark.parametrize(
    "where",
    [
        "jobs.campaign_created",
        "push.after_request",
        *(
            pytest.param(each, marks=pytest.mark.slow)
            for each in ("jobs.planned", "push.after_project", "push.after_commit")
        ),
    ],
)
def test_a_sampling_job_killed_anywhere_makes_one_batch_one_campaign_and_one_task_per_item(
    workspace: Workspace, serve: Callable[..., Service], build: Any, label_studio: LabelStudioServer, where: str
) -> None:
    name = f"kill-{where.replace('_', '-').replace('.', '-')}"
    build.taxonomy()
    vendors.add(workspace, "studio", url=label_studio.url, token=f"file:{label_studio.token_file}")
    terms = CampaignTerms("animals", "studio", "http://127.0.0.1:8765")
    recipe = {"budget": 5, "strategy": "typiclust"}
    schedules.add(workspace, name, cron="0 0 1 1 *", recipe=recipe, campaign=terms, capacity=5)
    job = schedules.run(workspace, name)
    assert serve(WINNOW_FAIL_POINT=where).process.wait(timeout=120) == -signal.SIGKILL
    assert jobs.find(workspace, job).state == "running"

    serve()
    done = wait_for(lambda: (found := jobs.find(workspace, job)).finished_at and found)
    campaign = f"{name}-{done.tick:%Y%m%d-%H%M%S}"
    assert (done.error, done.summary) == (None, {"batch": 1, "picks": 5, "campaign": campaign, "tasks": 5})
    with workspace.database.read() as session:
        assert session.scalars(select(Batch.id)).all() == [1]
        assert session.scalars(select(Campaign.name)).all() == [campaign]
        pushed = dict(session.execute(select(Task.ls_task_id, Task.uid)).all())
    with administrator(label_studio) as http:
        assert {task["id"]: task["data"]["uid"] for task in Site(http).tasks(campaign)} == pushed
    assert len(pushed) == 5
