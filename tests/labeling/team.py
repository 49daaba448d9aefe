"""People with logins of their own at the real Label Studio, and a campaign that asks them as often as needed."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any, TypeAlias

import httpx

from api.demo import people
from api.demo.label_studio_server import LabelStudioServer
from api.demo.people import Person
from labeling import campaigns, label_config, push
from labeling.results import Part
from qa.overlap import Rules
from tests.labeling.conftest import Catalog

ITEMS = 6
Said: TypeAlias = str | list[Part]  # a class, or the result that says something else


class Team:
    """They take what the queue offers them."""

    def __init__(self, server: LabelStudioServer, names: list[str], stack: ExitStack) -> None:
        self.sessions: dict[str, httpx.Client] = {}
        for name in names:
            session = people.join(server.url, Person(name, 1), admin=(server.email, server.password))
            stack.callback(session.close)
            self.sessions[name] = session

    def id(self, name: str) -> int:
        return int(self.sessions[name].get("/api/current-user/whoami").json()["id"])

    def offered(self, name: str, project: int) -> int | None:
        """The task that the queue has for somebody."""
        found = self.sessions[name].get(f"/api/projects/{project}/next")
        assert found.status_code in (200, 404), found.text
        return int(found.json()["id"]) if found.status_code == 200 else None

    def work(
        self, name: str, project: int, say: Mapping[int, Said | None], *, most: int = 100, usually: Said = "cat"
    ) -> list[int]:
        """Answer what is offered, or skip it, until there is nothing; gives the tasks."""
        done: list[int] = []
        while len(done) < most and (task := self.offered(name, project)) is not None:
            body: dict[str, Any] = {"result": [], "was_cancelled": True}
            if (value := say.get(task, usually)) is not None:
                body = {"result": label_config.result(value) if isinstance(value, str) else value}
            self.sessions[name].post(f"/api/tasks/{task}/annotations/", json=body).raise_for_status()
            done.append(task)
        return done


def adaptive(catalog: Catalog, *, taxonomy: str = "animals", **rules: Any) -> int:
    """A pushed campaign that asks as often as needed; its project."""
    told = asdict(Rules(**{"audited": 0.0, "target_error": 0.01, **rules}))
    del told["answer_cost"]
    batch = catalog.build.batch(catalog.build.images(ITEMS))
    terms = {"batch_id": batch, "taxonomy_name": taxonomy, "vendor_name": "acme", "adaptive": told}
    campaigns.create(catalog.workspace, catalog.name, **terms)
    return push.push(
        catalog.workspace, catalog.name, image_url=lambda image_id: f"http://127.0.0.1:1/{image_id}"
    ).ls_project_id
