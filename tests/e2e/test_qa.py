"""Three hundred photos through QA at the real Label Studio: asked again, adjudicated, audited, reworked."""

import json
import subprocess
import sys
from collections import Counter
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


def test_asked_as_often_as_needed_adjudicated_audited_rejected_and_reworked(
    loop: Loop, browser: Browser, capsys: pytest.CaptureFixture[str]
) -> None:
    loop.winnow("embed")
    described = [argument for name in CLASSES for argument in ("--class", name)]
    loop.winnow("taxonomy", "create", "cells", *described)
    first = loop.winnow("batch", "plan", "--budget", str(KNOWN), "--strategy", "random")["batch_id"]
    terms = ("--taxonomy", "cells", "--vendor", "experts", "--overlap", "1")
    loop.winnow("campaign", "create", "known", "--batch", str(first), *terms)
    loop.push("known")
    assert loop.work("known", EXPERT, 1.0) == KNOWN
    loop.winnow("campaign", "pull", "known")
    assert loop.winnow("qa", "review", "known", "--accept-at", "0.5")["outcomes"] == {"accepted": KNOWN}
    (loop.folder / "recipe.yaml").write_text(f"budget: {BATCH}\nstrategy: random\ngold_share: 0.1\n")
    planned = loop.winnow("batch", "plan", str(loop.folder / "recipe.yaml"))
    batch = planned["batch_id"]
    shown = loop.winnow("batch", "show", str(batch))
    gold = {pick["image"] for pick in shown["picks"] if pick["arm"] == "gold"}
    items = {pick["image"] for pick in shown["picks"]} - gold
    assert (len(gold), len(items)) == (30, 270)

    terms = ("--taxonomy", "cells", "--vendor", "acme", "--overlap", "adaptive", "--target-error", "0.04")
    loop.winnow("campaign", "create", "cells-1", "--batch", str(batch), *terms)
    loop.push("cells-1")
    answers = Counter({name: loop.work("cells-1", name, skill, most=75) for name, skill in SKILL.items()})
    assert answers.total() == BATCH  # one each
    rounds = 0
    while True:
        loop.winnow("campaign", "pull", "cells-1")
        reviewed = loop.winnow("qa", "review", "cells-1")
        given = Counter({name: loop.work("cells-1", name, skill) for name, skill in SKILL.items()})
        if given.total() == 0:
            break
        answers, rounds = answers + given, rounds + 1
        assert rounds < 5
    assert set(reviewed["outcomes"]) <= {"accepted", "adjudication"}
    assert 1 < answers.total() / BATCH < 2.5
    before = loop.right(items)

    opened = loop.winnow("qa", "adjudicate", "cells-1", "--vendor", "experts")
    disputed = reviewed["outcomes"].get("adjudication", 0)
    assert opened["items"] == disputed > 0
    loop.push("cells-1-adjudication")
    assert loop.work("cells-1-adjudication", EXPERT, 1.0) == disputed
    loop.winnow("campaign", "pull", "cells-1-adjudication")
    assert loop.winnow("qa", "review", "cells-1")["outcomes"] == {"accepted": len(items)}

    def audit(campaign: str, *plan: str) -> Any:
        lot = loop.winnow("qa", "lots", "open", campaign, "--auditor", "auditors", *plan)
        loop.push(lot["audits"][-1])
        loop.work(lot["audits"][-1], AUDITOR, 1.0)
        loop.winnow("campaign", "pull", lot["audits"][-1])
        return loop.winnow("qa", "lots", "decide", str(lot["id"]))

    rejected = audit("cells-1", "--aql", "0.01", "--ltpd", "0.05")
    assert (rejected["outcome"], rejected["size"]) == ("rejected", len(items) - disputed)
    assert len(loop.in_force()) == KNOWN + disputed + rejected["audited"]
    rework = loop.winnow("qa", "lots", "rework", str(rejected["id"]))["rework"]
    loop.push(rework)
    while sum(loop.work(rework, name, skill) for name, skill in AGAIN.items()):
        loop.winnow("campaign", "pull", rework)
        loop.winnow("qa", "review", rework)
    accepted = audit(rework)
    assert (accepted["outcome"], accepted["resubmits"]) == ("accepted", rejected["id"])
    after = loop.right(items)
    assert after > before

    judged = {one["annotator"].split("-")[0]: one for one in loop.winnow("qa", "annotators")["annotators"]}
    assert judged["dan"]["interval"][0] < SKILL["dan"] < judged["dan"]["interval"][1] < judged["ann"]["interval"][1]
    report = loop.folder / "report.html"
    loop.winnow("qa", "report", "cells-1", "--html", str(report))
    with loop.serving() as url:
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.goto(url)
        for words in ("cells-1-adjudication", "rejected", rework):
            assert page.get_by_text(words).count() > 0, words
        page.screenshot(path=str(loop.folder / "dashboard.png"), full_page=True)
        page.goto(report.as_uri())
        page.screenshot(path=str(loop.folder / "report.png"), full_page=True)
    figures = {
        "answers per item": round(answers.total() / BATCH, 3),
        "rounds of asking": rounds,
        "adjudicated": disputed,
        "right by people": round(before, 3),
        "lot": f"{rejected['size']} items, {rejected['audited']} audited, {rejected['found']} defective: rejected",
        "rework": f"{accepted['size']} items, {accepted['audited']} audited, {accepted['found']} defective: accepted",
        "right in the end": round(after, 3),
    }
    with capsys.disabled():
        print("\n" + json.dumps(figures, indent=1), loop.folder)
