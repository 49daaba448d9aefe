"""Images per CPU-second of the whole embedding pass, from file to durable vectors, beside the network alone.

The network alone runs on inputs that are in memory, as many batches at once as there are cores, which is the
fastest way on this machine; both take turns in blocks, so that a busy machine slows both.
"""

import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from benchmarks import report
from benchmarks.copies import solar_cells
from curation import embed, encoders
from curation.ingest import ingest
from store.workspace import open_workspace

_BATCH = 16


def main() -> None:
    """One row a kind of file."""
    count, rounds = (192, 3) if report.scale() == "small" else (1024, 5)
    rows = []
    for kind, files in (
        ("solar cells, PNG 300 × 300", pngs(count)),
        ("photos, JPEG 640 × 427", jpegs(count, 640, 427)),
        ("photos, JPEG 1280 × 854", jpegs(count, 1280, 854)),
        ("photos, JPEG 4000 × 2668", jpegs(count // 4, 4000, 2668)),
    ):
        whole, alone = measure(list(files), rounds)
        ratio = statistics.median(a / b for a, b in zip(whole, alone, strict=True))
        rows.append((kind, statistics.median(alone), statistics.median(whole), f"{ratio:.2f}"))
    report.tell("embed", ["onnxruntime", "pillow"], ("files", "network alone", "whole pass", "ratio"), rows)


def measure(files: list[bytes], rounds: int) -> tuple[list[float], list[float]]:
    """Images per CPU-second of `rounds` passes, and of the network alone just after each."""
    models = Path.home() / ".cache" / "winnow" / "benchmark-models"
    encoder = encoders.get(encoders.DEFAULT, models)
    inputs = np.random.default_rng(0).normal(size=(_BATCH, 3, 224, 224)).astype(np.float32)
    batches = len(files) // _BATCH
    whole, alone = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            workspace = open_workspace(Path(folder) / "home")
            workspace.models_dir.mkdir(parents=True)
            for model in models.iterdir():
                os.link(model, workspace.models_dir / model.name)
            for position, data in enumerate(files):
                (Path(folder) / f"{position}.image").write_bytes(data)
            ingest(workspace, [folder])
            whole.append(len(files) / cpu_seconds(lambda: embed.embed(workspace)))  # noqa: B023 - called here and now

        def run() -> None:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(lambda _: encoder.encode(inputs), range(batches)))

        alone.append(batches * _BATCH / cpu_seconds(run))
    return whole, alone


def cpu_seconds(run: Callable[[], object]) -> float:
    """What `run` costs in all threads."""
    started = time.process_time()
    run()
    return time.process_time() - started


def pngs(count: int) -> Iterator[bytes]:
    """Grey PNGs as they come."""
    for photo in solar_cells(count):
        buffer = io.BytesIO()
        photo.convert("L").save(buffer, "PNG")
        yield buffer.getvalue()


def jpegs(count: int, width: int, height: int) -> Iterator[bytes]:
    """Mosaics of shifted photos, so that each is another content and has detail at its own size."""
    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    for position in range(count):
        mosaic = Image.new("RGB", (width, height))
        for left in range(-position % 640 - 640, width, 640):
            for top in range(0, height, 427):
                mosaic.paste(photos[(left // 640 + top // 427) % 2], (left, top))
        buffer = io.BytesIO()
        mosaic.save(buffer, "JPEG", quality=90)
        yield buffer.getvalue()


if __name__ == "__main__":
    main()
