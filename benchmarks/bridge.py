"""Tasks pushed to Label Studio and answers pulled from it, beside the server's own import, its listing and its export.

All of it on one real server, which does most of the work, with turns taken, so that a busy machine slows both.
`ratio` is the peer's time over Winnow's, the median of the rounds. A pull after a few changes stands beside a full
one; memory is the peak of our process, and beside four times the tasks. 100,000 tasks (10,000 if small) go to the
stand-in that the tests compare with the real server, as the real one would take long.
"""

import hashlib
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import insert, select

from api.demo import label_studio_server
from api.demo.label_studio_server import LabelStudioServer
from benchmarks import peers, report
from benchmarks.peers import OURS, Run
from labeling import campaigns, label_config, taxonomy, vendors
from labeling.definitions import ClassDefinition, Definition
from store import schema
from store.workspace import Workspace, open_workspace
from tests.labeling import stand_in

_SCRIPT = Path(__file__).with_name("peer_bridge.py")
_TASKS = 500  # in a request
_OVERLAP_S = 130  # a pull looks again at the last two minutes before the newest change it has seen
_CHANGES = (1, 10, 100)
_ANIMALS = Definition("classification", (ClassDefinition("cat"), ClassDefinition("dog")))


class Bench:
    """A server, a catalog, and the rows so far."""

    def __init__(self, server: LabelStudioServer, workspace: Workspace, images: int) -> None:
        self.server, self.workspace = server, workspace
        self.http = httpx.Client(
            base_url=server.url, headers={"Authorization": f"Token {server.token_file.read_text()}"}, timeout=600
        )
        self.rows: list[tuple[Any, ...]] = []
        self._batches = 0
        vendors.add(workspace, "vendor", url=server.url, token=f"file:{server.token_file}")
        taxonomy.create(workspace, "animals", _ANIMALS)
        self._image_ids = _images(workspace, images)

    def campaign(self, items: int, vendor: str = "vendor") -> str:
        """A planned campaign of the first images."""
        self._batches += 1
        with self.workspace.database.write() as session:
            digest = hashlib.sha256(str(self._batches).encode()).hexdigest()
            batch = schema.Batch(digest=digest, recipe={}, state={}, pool=b"", report={})
            session.add(batch)
            session.flush()
            pick = {"batch_id": batch.id, "arm": "random", "score": 0.0, "split": "train", "why": "a benchmark"}
            picks = [pick | {"rank": rank, "image_id": id_} for rank, id_ in enumerate(self._image_ids[:items])]
            session.execute(insert(schema.Pick), picks)
            batch_id = batch.id
        name = f"campaign {self._batches}"
        campaigns.create(self.workspace, name, batch_id=batch_id, taxonomy_name="animals", vendor_name=vendor)
        return name

    def answered(self, items: int) -> tuple[str, int]:
        """A campaign whose project was filled past us, every task answered; a push finds it there."""
        name = self.campaign(items)
        with self.workspace.database.read() as session:
            terms = campaigns.terms(session, name)
            of_campaign = select(schema.Task.uid).where(schema.Task.campaign_id == terms.id).order_by(schema.Task.rank)
            uids = session.scalars(of_campaign).all()
        project = self.project(terms.marker)
        answer = {"result": label_config.result("cat"), "lead_time": 2.5, "ground_truth": False}
        for start in range(0, items, _TASKS):
            tasks = [
                {"data": {"uid": uid, "image": f"http://127.0.0.1:1/{uid}"}, "annotations": [answer]}
                for uid in uids[start : start + _TASKS]
            ]
            self.http.post(f"/api/projects/{project}/import", json=tasks).raise_for_status()
        assert self.ours("push", name).result == items
        return name, project

    def project(self, marker: str) -> int:
        """An empty project."""
        return int(self.http.post("/api/projects/", json=_project(marker)).raise_for_status().json()["id"])

    def change(self, project: int, count: int) -> None:
        """Edit the answer of `count` tasks spread over the project."""
        asked = {"project": project, "page_size": 1, "fields": "all"}
        total = self.http.get("/api/tasks", params=asked).raise_for_status().json()["total"]
        for position in range(count):
            page = {**asked, "page": position * (total // count) + 1}
            [task] = self.http.get("/api/tasks", params=page).raise_for_status().json()["tasks"]
            edited = {"result": label_config.result("dog"), "lead_time": time.time()}
            self.http.patch(f"/api/annotations/{task['annotations'][0]['id']}/", json=edited).raise_for_status()

    def ours(self, function: str, campaign: str, **more: Any) -> Run:
        """What we do with a campaign, in a process of its own."""
        return peers.run(_SCRIPT, function, in_python=OURS, home=str(self.workspace.home), campaign=campaign, **more)

    def theirs(self, function: str, project: int | dict[str, Any], **more: Any) -> Run:
        """What a peer does with a project, in a process of its own."""
        place = {"url": self.server.url, "token_file": str(self.server.token_file), "project": project}
        return peers.run(_SCRIPT, function, in_python=OURS, **place, **more)

    def tell(
        self,
        work: str,
        tasks: int,
        ours: list[Run],
        *,
        peer: str = "",
        theirs: Sequence[Run] = (),
        asked: str = "",
        ratio: float | None = None,
    ) -> None:
        """One row: the medians of both, and of their ratios unless another is given."""
        seconds, of_peer = ([run.wall_seconds for run in runs] for runs in (ours, theirs))
        if ratio is None and theirs:
            ratio = statistics.median(b / a for a, b in zip(seconds, of_peer, strict=True))
        peak = max(run.peak_rss_bytes for run in ours) / 1e6
        row = (
            *(work, tasks, statistics.median(seconds)),
            *(peer, statistics.median(of_peer) if theirs else None, ratio, asked, round(peak)),
        )
        self.rows.append(row)
        print(*row, sep="  ", flush=True)


def main() -> None:
    """Push, pull, pull what changed, memory, and many."""
    small = report.scale() == "small"
    with benchmark(100_000) as bench:
        push(bench, 4_000 if small else 10_000, rounds=3)
        pull(bench, 1_000 if small else 10_000, rounds=3 if small else 2)
        many(bench, 10_000 if small else 100_000)
        headings = ("work", "tasks", "seconds", "beside", "its seconds", "ratio", "asked", "peak MB")
        report.tell("bridge", ["label-studio-sdk", "httpx", "SQLAlchemy"], headings, bench.rows)


def push(bench: Bench, items: int, *, rounds: int) -> None:
    """The whole push, its project too, beside a project and the import of as many tasks; memory at four times as many.

    Beside the import alone, in the same runs, stands what of a push is not import.
    """
    ours: dict[int, list[Run]] = {}
    for tasks in (items, 4 * items):
        theirs, ours[tasks] = [], []
        for _ in range(rounds):
            theirs.append(bench.theirs("raw_import", _project(""), tasks=tasks))
            ours[tasks].append(bench.ours("push", bench.campaign(tasks)))
        bench.tell("push", tasks, ours[tasks], peer="project and import", theirs=theirs, asked="≥ 0.9")
        alone = [replace(run, wall_seconds=run.result) for run in theirs]
        bench.tell("push", tasks, ours[tasks], peer="import alone", theirs=alone, asked="≥ 0.9")
    few, many = (statistics.median(run.peak_rss_bytes for run in runs) for runs in ours.values())
    bench.tell("push: memory", 4 * items, ours[4 * items], peer=f"that of {items:,}", asked="flat", ratio=many / few)


def pull(bench: Bench, items: int, *, rounds: int) -> None:
    """A pull of answered tasks beside other ways to read them, and of what changed beside a full one."""
    filled = [bench.answered(items) for _ in range(rounds)]
    ours, listed, exported = [], [], []
    for name, project in filled:
        listed.append(bench.theirs("paging", project))
        ours.append(bench.ours("pull", name))
        exported.append(bench.theirs("snapshot", project))
        assert ours[-1].result == listed[-1].result == exported[-1].result == items
    bench.tell("pull, all answered", items, ours, peer="paging, fields=all", theirs=listed, asked="≥ 2")
    bench.tell("pull, all answered", items, ours, peer="SDK's snapshot", theirs=exported)
    name, _ = bench.answered(4 * items)
    larger = bench.ours("pull", name)
    growth = larger.peak_rss_bytes / statistics.median(run.peak_rss_bytes for run in ours)
    bench.tell("pull: memory", 4 * items, [larger], peer=f"that of {items:,}", asked="flat", ratio=growth)
    time.sleep(_OVERLAP_S)
    name, project = filled[0]
    full = [bench.ours("pull", name, everything=True)]
    bench.change(project, 1)
    bench.ours("pull", name)  # which has to look at all of the last minutes before
    for changed in _CHANGES:
        bench.change(project, changed)
        again = [bench.ours("pull", name)]
        bench.tell(f"pull, {changed} changed", items, again, peer="everything again", theirs=full)


def many(bench: Bench, items: int) -> None:
    """A push of many tasks to the stand-in."""
    with stand_in.serving() as server:
        vendors.add(bench.workspace, "stand-in", url=server.url, token=f"file:{server.token_file}")
        run = bench.ours("push", bench.campaign(items, "stand-in"))
        uids = server.uids()
        assert len(uids) == len(set(uids)) == items
    bench.tell("push to the stand-in, each once", items, [run])


def _project(marker: str) -> dict[str, Any]:
    """What makes a project like ours."""
    config = label_config.render(_ANIMALS)
    return {"title": "Benchmark", "description": marker, "label_config": config, "maximum_annotations": 2}


def _images(workspace: Workspace, count: int) -> list[int]:
    with workspace.database.write() as session:
        rows = []
        for position in range(count):
            sha256 = hashlib.sha256(str(position).encode()).hexdigest()
            hashes = {"sha256": sha256, "pixels_sha256": sha256, "phash": sha256[:16], "dhash": sha256[16:32]}
            rows.append({**hashes, "width": 8, "height": 8, "format": "PNG", "bytes": 100})
        session.execute(insert(schema.Image), rows)
        return list(session.scalars(select(schema.Image.id).order_by(schema.Image.id)))


@contextmanager
def benchmark(images: int) -> Iterator[Bench]:
    """A server and a catalog that are gone afterwards."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        server = label_studio_server.start(folder / "server", log=folder / "server.log", port=0)
        try:
            yield Bench(server, open_workspace(folder / "home"), images)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
