"""Three hundred photos through QA at the real Label Studio: asked again, adjudicated, audited, reworked."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser
from sqlalchemy import select

from api.demo import solar_cells
from api.demo.label_studio_server import LabelStudioServer
from curation import labels
from store.schema import Campaign, Image, Sighting, Task
from store.workspace import open_workspace
from tests.labeling.team import Team

pytestmark = [pytest.mark.slow, pytest.mark.label_studio]

WINNOW = Path(sys.executable).with_name("winnow")
PHOTOS, KNOWN, BATCH = 420, 60, 300
CLASSES = ("functional", "defective")
SKILL = {"ann": 0.95, "bob": 0.9, "cleo": 0.75, "dan": 0.6}
EXPERT, AUDITOR = "edith", "otto"  # they are never wrong here
AGAIN = {"fay": 0.99, "gil": 0.99}  # who label a rejected lot again


class Loop:
    """A workspace, commands, people with logins, and the truth about every photo."""

    def __init__(self, folder: Path, server: LabelStudioServer, stack: ExitStack) -> None:
        self.home, self.folder = folder / "home", folder
        made = solar_cells.make(folder / "photos", count=PHOTOS)
        self.winnow("ingest", str(made.manifest))
        (self.home / "secret.key").write_text("7" * 64)  # decides which items are gold and which are audited
        self.workspace = open_workspace(self.home)
        with self.workspace.database.read() as session:
            rows = session.execute(select(Sighting.image_id, Sighting.uri)).all()
        self.truth = {image_id: CLASSES[made.probability[uri] > 0.5] for image_id, uri in rows}
        names = [*SKILL, EXPERT, AUDITOR, *AGAIN]
        self.team = Team(server, [f"{name}-{folder.name}" for name in names], stack)
        self.login = dict(zip(names, self.team.sessions, strict=True))
        for vendor in ("acme", "experts", "auditors"):
            self.winnow("vendor", "add", vendor, "--url", server.url, "--token", f"file:{server.token_file}")

    def winnow(self, *arguments: str) -> Any:
        done = subprocess.run(
            [WINNOW, "--home", self.home, *arguments, "--json"],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @contextmanager
    def serving(self) -> Iterator[str]:
        """The dashboard's address."""
        command = [WINNOW, "--home", self.home, "serve", "--port", "0", "--pull-every", "0", "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as serve:
            assert serve.stdout is not None
            lines: list[str] = []
            while not lines or lines[-1] != "}\n":
                lines.append(serve.stdout.readline())
            try:
                yield json.loads("".join(lines))["url"]
            finally:
                serve.terminate()

    def push(self, campaign: str) -> None:
        self.winnow("campaign", "push", campaign, "--image-base-url", "http://127.0.0.1:1")

    def work(self, campaign: str, name: str, skill: float, *, most: int = 1000) -> int:
        """Somebody takes what the queue offers; says how many tasks."""
        with self.workspace.database.read() as session:
            rows = session.execute(
                select(Task.ls_task_id, Task.image_id, Campaign.ls_project_id, Image.sha256)
                .join(Campaign, Campaign.id == Task.campaign_id)
                .join(Image, Image.id == Task.image_id)
                .where(Campaign.name == campaign)
            ).all()
        say: dict[int, str | None] = {}
        for task, image_id, _, sha256 in rows:
            errs = np.random.default_rng([int(sha256[:12], 16), *name.encode()]).random() > skill
            say[task] = CLASSES[(self.truth[image_id] == CLASSES[1]) ^ errs]
        return len(self.team.work(self.login[name], rows[0].ls_project_id, say, most=most))

    def in_force(self) -> dict[int, str]:
        with self.workspace.database.read() as session:
            return {label.image_id: label.value for label in labels.in_force(session, "cells")}

    def right(self, images: set[int]) -> float:
        said = self.in_force()
        return float(np.mean([said[image] == self.truth[image] for image in images if image in said]))


@pytest.fixture
def loop(tmp_path: Path, label_studio: LabelStudioServer) -> Iterator[Loop]:
    with ExitStack() as stack:
        yield Loop(tmp_path, label_studio, stack)


def label_some(loop: Loop) -> None:
    """An expert's labels: what gold is taken from."""
    described = [argument for name in CLASSES for argument in ("--class", name)]
    loop.winnow("taxonomy", "create", "cells", *described)
    batch = loop.winnow("batch", "plan", "--budget", str(KNOWN), "--strategy", "random")["batch_id"]
    terms = ("--taxonomy", "cells", "--vendor", "experts", "--overlap", "1")
    loop.winnow("campaign", "create", "known", "--batch", str(batch), *terms)
    loop.push("known")
    assert loop.work("known", EXPERT, 1.0) == KNOWN
    loop.winnow("campaign", "pull", "known")
    assert loop.winnow("qa", "review", "known", "--accept-at", "0.5")["outcomes"] == {"accepted": KNOWN}


def ask_on(loop: Loop, campaign: str, people: dict[str, float]) -> tuple[int, dict[str, int]]:
    """Pull, review and answer until nobody is asked any more: how many answers that took, and the outcomes."""
    answers = 0
    for _ in range(6):
        loop.winnow("campaign", "pull", campaign)
        outcomes = loop.winnow("qa", "review", campaign)["outcomes"]
        given = sum(loop.work(campaign, name, skill) for name, skill in people.items())
        if given == 0:
            return answers, outcomes
        answers += given
    raise AssertionError(f"{campaign} asks on and on")


def audit(loop: Loop, campaign: str, *plan: str) -> Any:
    """A lot of what was agreed on, and what the auditor's answers make of it."""
    lot = loop.winnow("qa", "lots", "open", campaign, "--auditor", "auditors", *plan)
    [name] = lot["audits"]
    loop.push(name)
    loop.work(name, AUDITOR, 1.0)
    loop.winnow("campaign", "pull", name)
    return loop.winnow("qa", "lots", "decide", str(lot["id"]))


def look(loop: Loop, browser: Browser, *words: str) -> None:
    """The dashboard names these; it and the report are left as pictures."""
    report = loop.folder / "report.html"
    loop.winnow("qa", "report", "cells-1", "--html", str(report))
    with loop.serving() as url:
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.goto(url)
        for each in words:
            assert page.get_by_text(each).count() > 0, each
        page.screenshot(path=str(loop.folder / "dashboard.png"), full_page=True)
        page.goto(report.as_uri())
        page.screenshot(path=str(loop.folder / "report.png"), full_page=True)


def test_asked_as_often_as_needed_adjudicated_audited_rejected_and_reworked(
    loop: Loop, browser: Browser, capsys: pytest.CaptureFixture[str]
) -> None:
    loop.winnow("embed")
    label_some(loop)
    (loop.folder / "recipe.yaml").write_text(f"budget: {BATCH}\nstrategy: random\ngold_share: 0.1\n")
    batch = str(loop.winnow("batch", "plan", str(loop.folder / "recipe.yaml"))["batch_id"])
    picks = loop.winnow("batch", "show", batch)["picks"]
    items = {pick["image"] for pick in picks if pick["arm"] != "gold"}
    assert (len(picks), len(items)) == (BATCH, BATCH - 30)

    terms = ("--taxonomy", "cells", "--vendor", "acme", "--overlap", "adaptive", "--target-error", "0.03")
    loop.winnow("campaign", "create", "cells-1", "--batch", batch, *terms)
    loop.push("cells-1")
    once = sum(loop.work("cells-1", name, skill, most=BATCH // len(SKILL)) for name, skill in SKILL.items())
    again, outcomes = ask_on(loop, "cells-1", SKILL)
    disputed = outcomes["adjudication"]
    assert (once, disputed + outcomes["accepted"]) == (BATCH, len(items))
    assert 0 < again < BATCH
    by_people = loop.right(items)

    assert loop.winnow("qa", "adjudicate", "cells-1", "--vendor", "experts")["items"] == disputed
    loop.push("cells-1-adjudication")
    assert loop.work("cells-1-adjudication", EXPERT, 1.0) == disputed
    loop.winnow("campaign", "pull", "cells-1-adjudication")
    assert loop.winnow("qa", "review", "cells-1")["outcomes"] == {"accepted": len(items)}

    rejected = audit(loop, "cells-1", "--sample", "200", "--accept", "0")
    assert (rejected["outcome"], rejected["size"]) == ("rejected", len(items) - disputed)
    assert len(loop.in_force()) == KNOWN + disputed + rejected["audited"]
    rework = loop.winnow("qa", "lots", "rework", str(rejected["id"]))["rework"]
    loop.push(rework)
    ask_on(loop, rework, AGAIN)
    accepted = audit(loop, rework, "--sample", "20", "--accept", "2")
    assert (accepted["outcome"], accepted["resubmits"]) == ("accepted", rejected["id"])
    assert loop.right(items) > by_people

    judged = {one["annotator"].split("-")[0]: one["interval"] for one in loop.winnow("qa", "annotators")["annotators"]}
    assert judged["dan"][0] < SKILL["dan"] < judged["dan"][1] < judged["ann"][1]
    look(loop, browser, "cells-1-adjudication", "rejected", rework)
    figures = {
        "answers per item": (once + again) / BATCH,
        "adjudicated": disputed,
        "right by people": by_people,
        "right in the end": loop.right(items),
        "rejected lot": [rejected[name] for name in ("size", "audited", "found")],
        "its rework": [accepted[name] for name in ("size", "audited", "found")],
    }
    with capsys.disabled():
        print("\n" + json.dumps(figures, indent=1), loop.folder)
