"""The whole loop on 150 real photos: a real Label Studio, a real MongoDB, real servers, a real browser."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e import screenshots

WINNOW = Path(sys.executable).with_name("winnow")
PHOTOS, BUDGET = 150, 24

pytestmark = [pytest.mark.label_studio, pytest.mark.timeout(900)]


class Demo:
    """A workspace in which `winnow demo` ran to its end, its servers still up."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [WINNOW, "--home", self.home, *arguments],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "2"},
        )

    def json(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def processes(self) -> list[psutil.Process]:
        """Everything that runs for this workspace."""
        found = []
        for process in psutil.process_iter(["cmdline", "environ"]):
            words = [*(process.info["cmdline"] or []), *(process.info["environ"] or {}).values()]
            if any(str(self.home) in word for word in words) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        return found


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    demo = Demo(tmp_path_factory.mktemp("loop") / "home")
    done = demo.run("demo", "--photos", str(PHOTOS), "--budget", str(BUDGET))
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        demo.output = done.stdout  # type: ignore[attr-defined]
        yield demo
    finally:
        demo.run("demo", "--stop")


def url(demo: Demo, name: str) -> str:
    return re.search(rf"^{name}\s+(http\S+)", demo.output, re.MULTILINE)[1]  # type: ignore[attr-defined, index]


def test_the_table_has_no_empty_cell(demo: Demo) -> None:
    lines = demo.output.splitlines()  # type: ignore[attr-defined]
    start = next(i for i, line in enumerate(lines) if "version 1 (" in line)
    rows = lines[start + 1 : start + 8]
    assert [row.split("  ")[0] for row in rows][:3] == ["images", "duplicates", "labels bought"]
    for row in rows:
        cells = [cell for cell in row.split("  ") if cell.strip()]
        assert len(cells) == 3, row
        assert "–" not in cells[1:]


def test_the_catalog_holds_every_photo_and_the_broken_files_say_why(demo: Demo) -> None:
    counts = {stage["name"]: stage["count"] for stage in demo.json("status")["stages"]}
    assert counts["Images"] == counts["Embedded"] == PHOTOS + 40
    quarantined = demo.json("images", "quarantine", "list")["quarantined"]
    assert [Path(one["uri"]).name for one in quarantined] == [
        "broken-empty.png",
        "broken-text.jpg",
        "broken-truncated.png",
    ]
    assert all(one["reason"] for one in quarantined)


def test_planted_copies_are_found_and_no_different_cells(demo: Demo) -> None:
    found = re.search(r"of 40 planted .* (\d+) were found; (\d+) different", demo.output)  # type: ignore[attr-defined]
    assert found
    assert int(found[1]) >= 38
    assert int(found[2]) == 0


def test_no_batch_holds_two_of_a_group_and_each_replays(demo: Demo) -> None:
    groups = demo.json("duplicates", "list")["groups"]
    group_of = {member["image"]: group["id"] for group in groups for member in group["members"]}
    picked = []
    for batch_id in (1, 2):
        batch = demo.json("batch", "show", str(batch_id))
        assert len(batch["picks"]) == BUDGET
        assert all(pick["why"] for pick in batch["picks"])
        assert {pick["arm"] for pick in batch["picks"]} >= {"random"}
        picked += [group_of.get(pick["image"], f"image {pick['image']}") for pick in batch["picks"]]
        assert demo.json("batch", "replay", str(batch_id))["same"]
    assert len(picked) == len(set(picked))
    assert {pick["arm"] for pick in demo.json("batch", "show", "1")["picks"]} == {"diverse", "random"}
    assert "uncertain" in {pick["arm"] for pick in demo.json("batch", "show", "2")["picks"]}


def test_every_item_is_one_task_and_has_its_answers(demo: Demo) -> None:
    campaigns = demo.json("campaign", "list")["campaigns"]
    rounds = [one for one in campaigns if one["purpose"] == "labelling"]
    assert [one["items"] for one in rounds] == [BUDGET, BUDGET]
    for one in campaigns:
        drift = demo.json("campaign", "status", one["name"])["drift"]
        assert (drift["missing"], drift["copies"], drift["strangers"]) == ([], 0, 0)
        assert one["pushed"] == one["answered"] == one["items"]


def test_versions_are_whole_leak_free_and_grow(demo: Demo) -> None:
    newest, first = demo.json("version", "list")["versions"]
    assert sum(newest["counts"].values()) > sum(first["counts"].values())
    assert newest["parent"] == first["id"]
    difference = demo.json("version", "diff", first["id"], newest["id"])
    assert difference["moved"] == []
    assert len(difference["added"]) == sum(newest["counts"].values()) - sum(first["counts"].values())
    for version in (first, newest):
        assert {gate["gate"]: gate["outcome"] for gate in demo.json("version", "show", version["id"])["gates"]}[
            "leak"
        ] == "pass"
        assert demo.run("version", "verify", version["id"]).returncode == 0
    exported = demo.home / "exports" / "solar-cells-2"
    assert len(list(exported.glob("image-folder/train/*/*"))) == newest["counts"]["train"]
    assert (exported / "parquet").is_dir()


def test_the_job_ran_once_and_is_listed(demo: Demo) -> None:
    (job,) = [one for one in demo.json("jobs", "list")["jobs"] if one["schedule"] == "nightly"]
    assert job["state"] == "done"
    assert job["summary"]["batch"] == 3
    assert [one["name"] for one in demo.json("schedule", "list")["schedules"]] == ["nightly"]


def test_the_workspace_verifies(demo: Demo) -> None:
    assert demo.json("verify")["ok"]


def test_nothing_listens_beyond_loopback_and_no_secret_is_printed_or_logged(demo: Demo) -> None:
    token = (demo.home / "label-studio" / "token").read_text()
    password = json.loads((demo.home / "label-studio" / "login.json").read_text())["password"]
    key = (demo.home / "secret.key").read_text()
    texts = [demo.output, *(log.read_text(errors="replace") for log in (demo.home / "logs").iterdir())]  # type: ignore[attr-defined]
    for secret in (token, password, key):
        assert not any(secret in text for text in texts)
        assert secret.encode() not in (demo.home / "winnow.db").read_bytes()
    listening = [
        connection.laddr.ip
        for process in demo.processes()
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening
    assert set(listening) == {"127.0.0.1"}


def test_the_dashboard_and_a_labelled_task_in_the_browser(demo: Demo, page: Any) -> None:
    page.goto(url(demo, "Dashboard"))
    text = page.inner_text("body")
    assert "round-1" in text or "Round 1" in text or "solar-cells" in text
    assert "Drawn at random" in text
    broken = page.evaluate("[...document.images].filter(i => i.complete && !i.naturalWidth).length")
    assert broken == 0
    screenshots.task(page, json.loads((demo.home / "demo-servers.json").read_text())["ports"], demo.home)
    assert "functional" in page.inner_text("body")


@pytest.mark.slow
def test_a_second_demo_continues_and_stop_leaves_nothing(demo: Demo) -> None:
    before = {stage["name"]: stage["count"] for stage in demo.json("status")["stages"]}
    again = demo.run("demo", "--photos", str(PHOTOS), "--budget", str(BUDGET))
    assert again.returncode == 0, again.stderr
    assert {stage["name"]: stage["count"] for stage in demo.json("status")["stages"]} == before
    assert demo.run("demo", "--stop").returncode == 0
    assert demo.processes() == []
    assert demo.json("verify")["ok"]
