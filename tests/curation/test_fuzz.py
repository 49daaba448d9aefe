"""Damaged files: none ends the run, each is read or refused with a reason, in silence."""

import json
import subprocess
import sys
from pathlib import Path

from sqlalchemy import func, select

from curation.ingest import ingest
from store.schema import Image, Quarantined, Sighting
from store.workspace import Workspace
from tests.curation.mutated_files import files

COUNT = 2_000


def test_two_thousand_damaged_files_are_read_or_refused() -> None:
    """In a process of its own: a decoder that crashes would take the tests with it. The last number names the file."""
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.curation.mutated_files", str(COUNT)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False)
    numbers, last = run.stdout.splitlines()[:-1], run.stdout.splitlines()[-1]
    assert (run.returncode, run.stderr) == (0, ""), last
    outcomes = json.loads(last)
    assert len(numbers) == outcomes["read"] + outcomes["refused"] == COUNT
    assert min(outcomes.values()) > COUNT / 5  # neither all mended by chance nor all cut at the first byte


def test_each_damaged_file_is_in_the_catalog_or_in_quarantine(workspace: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    contents = set()
    for number, (name, data) in enumerate(files(COUNT, seed=1)):
        (folder / f"{number}.{name.split()[0].lower()}.png").write_bytes(data)
        contents.add(data)
    summary = ingest(workspace, [str(folder)])
    with workspace.database.read() as session:
        images, seen, refused = (
            session.scalar(select(func.count()).select_from(table)) for table in (Image, Sighting, Quarantined)
        )
        reasons = session.scalars(select(Quarantined.reason)).all()
    assert summary.files == COUNT == seen + refused
    assert (summary.new_images, summary.new_sightings, len(summary.quarantined)) == (images, seen, refused)
    assert images <= len(contents)
    assert all("\n" not in reason and len(reason) > 10 for reason in reasons)
