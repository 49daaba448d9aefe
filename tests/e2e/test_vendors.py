"""Two vendors and an adjudicator, each in a real browser session with a Label Studio of their own."""

import hashlib
import hmac
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page
from sqlalchemy import select

from api.demo import label_studio_server, people
from api.demo.label_studio_server import LabelStudioServer
from api.demo.people import Person
from labeling import campaigns, vendors
from store.schema import Annotation, Annotator, Campaign, ImageId, Sighting, Task
from store.workspace import Workspace, open_workspace
from tests.browser import new_session
from tests.conftest import Builder
from tests.e2e import screenshots

pytestmark = [pytest.mark.slow, pytest.mark.label_studio]

WINNOW = Path(sys.executable).with_name("winnow")
VENDORS = {"north": Person("nora", 1.0), "south": Person("sam", 1.0), "experts": Person("edith", 1.0)}
ANSWERS = {"north": "cat", "south": "dog", "experts": "dog"}
_PATIENCE_S = 90


class Site:
    """A workspace, a running `winnow serve`, and a Label Studio for each vendor."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.home = folder / "home"
        self.photos = folder / "photos"
        self.photos.mkdir()
        for i in range(3):
            pixels = np.random.default_rng(i).integers(0, 255, (12, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((320, 240)).save(self.photos / f"secret-place-{i}.png")
        self.winnow("ingest", str(self.photos))
        self.workspace: Workspace = open_workspace(self.home)
        self.servers: dict[str, LabelStudioServer] = {}
        for name in VENDORS:
            server = label_studio_server.start(folder / name, log=folder / f"{name}.log", port=0)
            stack.callback(server.stop)
            self.servers[name] = server
            vendors.add(self.workspace, name, url=server.url, token=f"file:{server.token_file}")
        serve = subprocess.Popen(
            [WINNOW, "--home", self.home, "serve", "--port", "0", "--pull-every", "0", "--json"],
            stdout=subprocess.PIPE,
            text=True,
        )
        stack.callback(serve.communicate)
        stack.callback(serve.kill)
        assert serve.stdout is not None
        lines: list[str] = []
        while not lines or lines[-1] != "}\n":
            lines.append(serve.stdout.readline())
        self.url = json.loads("".join(lines))["url"]

    def winnow(self, *arguments: str) -> str:
        done = subprocess.run(
            [WINNOW, "--home", self.home, *arguments], capture_output=True, text=True, timeout=180, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def answers(self) -> dict[str, list[tuple[str, str | None]]]:
        """Who answered what, as the catalog knows, by campaign."""
        with self.workspace.database.read() as session:
            rows = session.execute(
                select(Campaign.name, Annotator.name, Annotation.answer)
                .join(Task, Task.id == Annotation.task_id)
                .join(Campaign, Campaign.id == Task.campaign_id)
                .join(Annotator, Annotator.id == Annotation.annotator_id)
                .order_by(Annotation.id)
            ).all()
        found: dict[str, list[tuple[str, str | None]]] = {}
        for campaign, annotator, answer in rows:
            found.setdefault(campaign, []).append((annotator, answer))
        return found


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path, stack)


def test_each_sees_only_theirs_answers_one_task_and_the_answer_arrives(site: Site, browser: Browser) -> None:
    build = Builder(site.workspace)
    build.taxonomy()
    with site.workspace.database.read() as session:
        images = [ImageId(image_id) for image_id in session.scalars(select(Sighting.image_id).order_by(Sighting.id))]
    batch = build.batch(images)
    for vendor in ("north", "south"):
        campaigns.create(site.workspace, vendor, batch_id=batch, taxonomy_name="animals", vendor_name=vendor, overlap=1)
    build.plan_adjudication("experts", parent="north", image_ids=images[:1], vendor="experts")
    for name in VENDORS:
        site.winnow("campaign", "push", name, "--image-base-url", site.url)
    for name in VENDORS:
        work(new_session(browser), site, name)
    deadline = time.monotonic() + _PATIENCE_S
    expected = {name: [(VENDORS[name].email, ANSWERS[name])] for name in VENDORS}
    while site.answers() != expected:
        assert time.monotonic() < deadline, site.answers()
        time.sleep(0.2)


def work(page: Page, site: Site, name: str) -> None:
    """Log in, look at what there is, and answer the first task with a click."""
    server, person = site.servers[name], VENDORS[name]
    people.join(server.url, person, admin=(server.email, server.password)).close()  # by invitation, as people do
    password = hmac.new(server.password.encode(), person.email.encode(), hashlib.sha256).hexdigest()
    screenshots.log_in(page, server.url, person.email, password)
    page.goto(f"{server.url}/projects/")
    page.get_by_text(f"Winnow: {name}").first.wait_for()
    seen = page.inner_text("body")
    assert not [other for other in VENDORS if other != name and f"Winnow: {other}" in seen]
    page.goto(screenshots.first_task(page, server.url, name))
    screenshots.wait_for_pictures(page, "some(image => image.src.includes('/images/') && image.naturalWidth >= 200)")
    sources = page.evaluate("[...document.images].map(image => image.src)")
    assert not [source for source in sources if "secret-place" in source or "photos" in source]
    page.get_by_text(ANSWERS[name], exact=False).first.click()
    page.screenshot(path=site.home / f"{name}.png")
    with page.expect_response(lambda response: "/annotations" in response.url and response.request.method == "POST"):
        page.get_by_role("button", name="Submit").click()
