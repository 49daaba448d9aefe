"""`kill -9` at named points of ingest, embed, scans and lots: the next run completes, nothing is lost or doubled.

Push and pull are killed against the real Label Studio in tests/labeling.
"""

import json
import os
import signal
import sqlite3
import tarfile
from pathlib import Path
from typing import Any

import pytest
from sklearn.datasets import load_sample_images

from labeling import campaigns, content, vendors
from labeling.content import Content, Region
from labeling.geometry import Box
from store.workspace import Workspace
from tests.commands import winnow

_CHUNK_AND_A_BIT = 260  # embed commits every 256 images


def verified(home: Path) -> Any:
    done = winnow(home, "verify", "--json")
    assert done.returncode == 0, done.stdout
    return json.loads(done.stdout)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """450 small pictures: three transactions of ingest, two chunks of embed."""
    from PIL import Image

    folder = tmp_path / "photos"
    folder.mkdir()
    source = Image.fromarray(load_sample_images().images[0])
    for i in range(450):
        source.crop((i, i % 300, i + 32, i % 300 + 32)).save(folder / f"{i:03d}.png")
    return folder


@pytest.mark.parametrize("fail_point", ["ingest.before_commit:2", "ingest.after_commit:1"])
def test_ingest(tmp_path: Path, photos: Path, fail_point: str) -> None:
    home = tmp_path / "home"
    assert winnow(home, "ingest", str(photos), fail_point=fail_point).returncode == -signal.SIGKILL
    assert verified(home)["ok"]
    assert winnow(home, "ingest", str(photos)).returncode == 0
    listed = json.loads(winnow(home, "images", "list", "--limit", "1000", "--json").stdout)["images"]
    assert sorted(Path(uri).name for image in listed for uri in image["uris"]) == sorted(os.listdir(photos))
    assert len({image["sha256"] for image in listed}) == len(listed)
    assert verified(home)["ok"]


@pytest.mark.parametrize("fail_point", ["ingest.before_commit:2", "ingest.after_commit:3"])
def test_ingest_of_an_archive(tmp_path: Path, photos: Path, fail_point: str) -> None:
    home, archive = tmp_path / "home", tmp_path / "photos.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(photos, "photos")
    assert winnow(home, "ingest", str(archive), fail_point=fail_point).returncode == -signal.SIGKILL
    done = json.loads(winnow(home, "ingest", str(archive), "--json").stdout)
    committed = {"ingest.before_commit:2": 200, "ingest.after_commit:3": 450}[fail_point]
    assert (done["unchanged"], done["new_images"]) == (committed, 450 - committed)
    assert json.loads(winnow(home, "ingest", str(archive), "--json").stdout)["unchanged"] == 450
    assert verified(home)["ok"]


@pytest.mark.parametrize("fail_point", ["embed.before_sync:1", "embed.before_commit:2"])
def test_embed(tmp_path: Path, photos: Path, fail_point: str) -> None:
    home = tmp_path / "home"
    for extra in sorted(photos.iterdir())[_CHUNK_AND_A_BIT:]:
        extra.unlink()
    assert winnow(home, "ingest", str(photos)).returncode == 0
    assert winnow(home, "embed", fail_point=fail_point).returncode == -signal.SIGKILL
    assert verified(home)["ok"]
    done = json.loads(winnow(home, "embed", "--json").stdout)
    assert done["embedded"] + done["already"] == _CHUNK_AND_A_BIT
    checks = {check["name"]: check["detail"] for check in verified(home)["checks"]}
    assert checks["vectors of efficientnet-lite0"].startswith(f"{_CHUNK_AND_A_BIT} vectors")


@pytest.mark.slow
def test_duplicates_scan(tmp_path: Path) -> None:
    """Ten crops that share nothing, each with a smaller copy: killed when proofs are recorded, refusals not yet."""
    from PIL import Image

    home, folder = tmp_path / "home", tmp_path / "pictures"
    folder.mkdir()
    palace = Image.fromarray(load_sample_images().images[0])
    for i in range(10):
        left, top = i % 5 * 128, 150 + i // 5 * 140
        picture = palace.crop((left, top, left + 128, top + 128))
        picture.save(folder / f"{i}.png")
        picture.resize((96, 96), Image.Resampling.LANCZOS).save(folder / f"{i}-small.jpg", quality=90)
    assert winnow(home, "ingest", str(folder)).returncode == 0
    assert winnow(home, "embed").returncode == 0
    assert winnow(home, "duplicates", "scan", fail_point="scan.after_commit").returncode == -signal.SIGKILL
    assert verified(home)["ok"]
    assert json.loads(winnow(home, "duplicates", "list", "--json").stdout)["groups"] == []  # nothing half-written
    with sqlite3.connect(home / "winnow.db") as database:
        assert database.execute("SELECT COUNT(*) FROM duplicate_pairs").fetchone() == (10,)  # and what is proven stays
    resumed = json.loads(winnow(home, "duplicates", "scan", "--json").stdout)
    whole = json.loads(winnow(home, "duplicates", "scan", "--anew", "--json").stdout)
    assert (resumed["groups"], resumed["digest"]) == (10, whole["digest"])


def rows(home: Path) -> dict[str, int]:
    """How many rows each table of a lot's making holds."""
    tables = ("lots", "lot_items", "lot_campaigns", "lot_decisions", "campaigns", "tasks", "verdicts", "labels")
    with sqlite3.connect(home / "winnow.db") as database:
        return {name: database.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0] for name in tables}


def test_lots(workspace: Workspace, build: Any) -> None:
    """Opened, decided and given back, each of them killed before and after it commits: all of it is there, or nothing.

    A lot that is opened twice says that nothing is left to open; to decide it or give it back again changes nothing.
    """
    home = workspace.home
    build.taxonomy(kind="boxes")
    build.labels(dict.fromkeys(build.images(8), content.to_json(Content())))
    vendors.add(workspace, "experts", url="http://127.0.0.1:2", token="env:NOTHING")
    opening = ("open", "campaign-1", "--auditor", "experts", "--sample", "4", "--accept", "0")
    drawn = Content(regions=(Region("r", Box(1, 1, 5, 5), ("cat",)),))
    made = []
    for command in (opening, ("decide", "1"), ("rework", "1")):
        before = rows(home)
        for fail_point in ("lots.before_commit", "lots.after_commit"):
            assert rows(home) == before
            assert winnow(home, "qa", "lots", *command, fail_point=fail_point).returncode == -signal.SIGKILL
        after = rows(home)
        made.append({name: after[name] - before[name] for name in after if after[name] > before[name]})
        again = winnow(home, "qa", "lots", *command)
        assert "since its last lot" in again.stderr if command is opening else again.returncode == 0
        assert rows(home) == after
        if command is opening:
            with workspace.database.read() as session:
                audit = campaigns.get(session, "audit-1").id
            build.answers(audit, {"eve": [drawn] * 4})
    assert made == [
        {"lots": 1, "lot_items": 8, "lot_campaigns": 1, "campaigns": 1, "tasks": 4},
        {"lot_decisions": 1, "verdicts": 8, "labels": 4},
        {"lot_campaigns": 1, "campaigns": 1, "tasks": 4},
    ]
