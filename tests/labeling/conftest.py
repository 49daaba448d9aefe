"""A campaign at a real vendor, and a look at Label Studio past our own code."""

import os
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import numpy as np
import pytest
from sqlalchemy import select

from api.demo.label_studio_server import LabelStudioServer
from labeling import campaigns, label_config, vendors
from store.schema import ImageId, Prediction, PredictionRun, Task
from store.workspace import Workspace
from tests.commands import WINNOW, winnow
from tests.conftest import Builder
from tests.labeling.stand_in import StandIn


class Site:
    """Label Studio's HTTP API as its administrator uses it."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def call(self, method: str, path: str, **request: Any) -> Any:
        answer = self.http.request(method, path, **request)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def projects(self, campaign: str) -> list[dict[str, Any]]:
        fields = "id,description,maximum_annotations,label_config,show_collab_predictions"
        found = self.call("GET", "/api/projects/", params={"page_size": 1000, "include": fields})["results"]
        return [each for each in found if f"campaign {campaign}." in each["description"]]

    def tasks(self, campaign: str) -> list[dict[str, Any]]:
        """The tasks of the campaign's one project, in the order of their ids."""
        [project] = self.projects(campaign)
        page = {"project": project["id"], "page_size": 5000, "fields": "all", "expand": "annotations"}
        return sorted(self.call("GET", "/api/tasks", params=page)["tasks"], key=lambda task: task["id"])

    def uids(self, campaign: str) -> Counter[str]:
        return Counter(task["data"]["uid"] for task in self.tasks(campaign))

    def answer(self, task: int, name: str, **more: Any) -> int:
        body = {"result": label_config.result(name), "lead_time": 2.5} | more
        return int(self.call("POST", f"/api/tasks/{task}/annotations/", json=body)["id"])


def administrator(server: LabelStudioServer | StandIn) -> httpx.Client:
    headers = {"Authorization": f"Token {server.token_file.read_text()}"}
    return httpx.Client(base_url=server.url, headers=headers, timeout=60)


@pytest.fixture
def site(label_studio: LabelStudioServer) -> Iterator[Site]:
    with administrator(label_studio) as http:
        yield Site(http)


class Catalog:
    """A workspace with a vendor, a taxonomy and campaigns at the real server."""

    def __init__(self, build: Builder, server: LabelStudioServer | StandIn) -> None:
        self.build = build
        self.workspace: Workspace = build.workspace
        self.name = self.workspace.home.parent.name  # of the test: no other campaign is called so
        build.taxonomy()
        vendors.add(self.workspace, "acme", url=server.url, token=f"file:{server.token_file}")

    def campaign(
        self, items: int, *, arms: Sequence[str] | None = None, overlap: int = 2, taxonomy: str = "animals"
    ) -> list[ImageId]:
        images = self.build.images(items)
        batch = self.build.batch(images, arms=arms)
        campaigns.create(
            self.workspace, self.name, batch_id=batch, taxonomy_name=taxonomy, vendor_name="acme", overlap=overlap
        )
        return images

    def set_capacity(self, capacity: int) -> None:
        with self.workspace.database.write() as session:
            vendors.get(session, "acme").capacity = capacity

    def predict(self, images: Sequence[ImageId], probabilities: Sequence[float], *, model: str = "probe") -> None:
        """A run of a model that gives these images these probabilities of cat and dog."""
        with self.workspace.database.write() as session:
            number = len(session.scalars(select(PredictionRun.id)).all())
            run = PredictionRun(model=model, digest=f"{number}" * 64, classes=["cat", "dog"], report={})
            session.add(run)
            session.flush()
            raw = np.array(probabilities, dtype="<f4").tobytes()
            session.add_all(Prediction(run_id=run.id, image_id=image_id, probabilities=raw) for image_id in images)

    def tasks(self, name: str | None = None) -> list[Task]:
        """The catalog's tasks of a campaign, by rank."""
        with self.workspace.database.read() as session:
            campaign = campaigns.get(session, name or self.name)
            return list(session.scalars(select(Task).where(Task.campaign_id == campaign.id).order_by(Task.rank)))

    def status(self) -> campaigns.Status:
        with self.workspace.database.read() as session:
            return campaigns.status(session, self.name)

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """`winnow campaign …` in a process of its own, that runs beside the test."""
        return subprocess.Popen(
            [WINNOW, "--home", self.workspace.home, "campaign", *arguments],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, fail_point: str = "") -> tuple[int, str, str]:
        """Exit code, stdout and stderr of `winnow campaign …`."""
        done = winnow(self.workspace.home, "campaign", *arguments, fail_point=fail_point)
        return done.returncode, done.stdout, done.stderr

    def push(self, *, fail_point: str = "") -> tuple[int, str, str]:
        return self.run("push", self.name, "--image-base-url", "http://127.0.0.1:1", fail_point=fail_point)


@pytest.fixture
def catalog(build: Builder, label_studio: LabelStudioServer) -> Catalog:
    return Catalog(build, label_studio)
