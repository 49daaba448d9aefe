"""Real files into the catalog: images per second, what a second look costs, and memory as the collection grows.

The files are solar cells as they come from their package, CIFAR photos where ../shared/data is, and both saved
again as JPEG, WebP and PNG in changing quality and size until there are enough, always the same ones. Each ingest
runs in a process of its own, which tells its peak memory. The files were just written, so they come from memory.
"""

import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from itertools import count as count_from
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks import report
from curation.ingest import ingest
from store.workspace import open_workspace

_CIFAR = Path(__file__).parents[2] / "shared" / "data" / "cifar10-photos.tar"
_SIDES = (150, 224, 300, 480, 640, 1024)  # pixels
_A_FOLDER = 1000  # files
_TURNS = 4  # a photo is saved again three times before the next one comes


def main() -> None:
    """A row for each size of collection."""
    count = 2_000 if report.scale() == "small" else 20_000
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for files in (count // 4, count):
            folder = Path(scratch) / "photos"
            megabytes = write(folder, files)
            home = Path(scratch) / f"home-{files}"
            first, again = ingest_apart(home, folder), ingest_apart(home, folder)
            assert (first["new_sightings"], again["unchanged"]) == (files, files), (first, again)
            shutil.rmtree(home)
            rate, ratio = files / first["seconds"], first["seconds"] / again["seconds"]
            peaks = (first["megabytes"], again["megabytes"])
            per_cpu = (files / first["cpu_seconds"], first["cpu_seconds"] / again["cpu_seconds"])
            rates = (round(rate), round(per_cpu[0]), round(files / again["seconds"]))
            rows.append((files, round(megabytes), *rates, round(ratio), round(per_cpu[1]), *peaks))
    headings = (
        *("files", "MB", "images/s", "images/CPU-s", "again, files/s"),
        *("first ÷ again", "… in CPU-s", "peak MB", "again, peak MB"),
    )
    report.tell("ingest", ["pillow", "SQLAlchemy", "simplejpeg"], headings, rows)


def ingest_apart(home: Path, folder: Path) -> dict[str, Any]:
    """What one ingest in a process of its own did, in how many seconds and megabytes."""
    command = [sys.executable, "-m", "benchmarks.ingest", "--measure", str(home), str(folder)]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def measure(home: Path, folder: Path) -> None:
    """Ingest here and now."""
    workspace = open_workspace(home)
    started, cpu_started = time.perf_counter(), time.process_time()
    done = ingest(workspace, [str(folder)])
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())  # ru_maxrss counts the parent's too
    megabytes = int(peak[1]) // 1000 if peak else None
    figures = {"new_sightings": done.new_sightings, "unchanged": done.unchanged}
    print(json.dumps({**figures, "seconds": seconds, "cpu_seconds": cpu_seconds, "megabytes": megabytes}))


def write(folder: Path, count: int) -> float:
    """Fill `folder` up to `count` files in folders of a thousand; returns the megabytes they take."""
    for position, (suffix, data) in enumerate(files(count)):
        path = folder / f"{position // _A_FOLDER:03d}" / f"{position:06d}.{suffix}"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return sum(path.stat().st_size for path in folder.rglob("*.*")) / 1e6


def files(count: int) -> Iterator[tuple[str, bytes]]:
    """Suffix and bytes of `count` files, no two alike; the first of them are a like mixture, however many."""
    originals = list(photos())
    seen: set[bytes] = set()
    for turns in count_from(0, _TURNS):
        for position, (suffix, data) in enumerate(originals):
            for turn in range(turns, turns + _TURNS):
                made = (suffix, data) if turn == 0 else saved_again(data, turn, position)
                digest = hashlib.sha256(made[1]).digest()
                if digest not in seen:
                    seen.add(digest)
                    yield made
                if len(seen) == count:
                    return


def photos() -> Iterator[tuple[str, bytes]]:
    """Every solar cell, and after each a CIFAR photo."""
    import elpv_dataset

    cells = sorted((Path(elpv_dataset.__file__).parent / "data" / "images").glob("*.png"))
    for cell, photo in zip_longest(cells, islice(cifar_photos(), len(cells))):
        yield "png", cell.read_bytes()
        if photo is not None:
            yield "jpg", photo


def cifar_photos() -> Iterator[bytes]:
    """The files of the CIFAR photos; none where the shared data is absent."""
    if _CIFAR.exists():
        with tarfile.open(_CIFAR) as archive:
            for name in sorted(name for name in archive.getnames() if name.endswith(".jpg")):
                file = archive.extractfile(name)
                if file is not None:
                    yield file.read()


def saved_again(data: bytes, turn: int, position: int) -> tuple[str, bytes]:
    """The photo in another size, format and quality; mostly JPEG, as collections are."""
    side = _SIDES[(turn + position) % len(_SIDES)]
    picture = Image.open(io.BytesIO(data)).convert("RGB").resize((side, side * 3 // 4), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    kind = (turn + position // 7) % 10
    if kind == 0:
        picture.save(buffer, "PNG", compress_level=1)
        return "png", buffer.getvalue()
    if kind == 1:
        picture.save(buffer, "WEBP", quality=60 + turn % 40, method=0)
        return "webp", buffer.getvalue()
    picture.save(buffer, "JPEG", quality=50 + (7 * turn + position) % 50)
    return "jpg", buffer.getvalue()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
