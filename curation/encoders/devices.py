"""Where networks run: the GPU that is there, else the CPU, one thread to a call."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from store.arrays import Vectors
from store.errors import InvalidInputError

if TYPE_CHECKING:
    import torch


def of_torch() -> str:
    """`cuda`, `mps` or `cpu`; on a CPU each call computes in the thread it is made in."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if torch.backends.mps.is_available():
        return "mps"
    torch.set_num_threads(1)
    return "cpu"


def open_onnx(path: Path) -> Any:
    """An ONNX Runtime session on the fastest device there is.

    On a CPU each call computes in the thread it is made in: curation.embed makes as many calls at once as
    there are cores, which is faster than one call on all cores, whose threads spin while pictures are decoded.
    """
    import onnxruntime

    there = onnxruntime.get_available_providers()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # its warnings about foreign graphs mean nothing to our user
    wanted = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in there]
    return onnxruntime.InferenceSession(path, options, providers=wanted)


def run_torch(compute: "Callable[[torch.Tensor], torch.Tensor]", inputs: Vectors, device: str) -> Vectors:
    """`compute` on `device`, without gradients: inputs `(N, …)` float32 to rows `(N, D)` float32."""
    import torch

    with torch.inference_mode():
        output = compute(torch.from_numpy(inputs).to(device))
        rows: Vectors = output.float().cpu().numpy()
    return rows


def weights_digest(state: "Mapping[str, torch.Tensor]") -> str:
    """The sha256 of a network's weights by name, whatever file they came from."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def check_output(name: str, output: Any, count: int) -> int:
    """The dimensions of an encoder that turned `count` inputs into `output`.

    Raises:
        InvalidInputError: it is not `(count, D)`, or holds NaN.
    """
    if output.ndim != 2 or len(output) != count or output.shape[1] == 0:
        raise InvalidInputError(f"{name} gives {output.shape} for {count} pictures, not one vector each.")
    if not np.isfinite(output).all():
        raise InvalidInputError(f"{name} gives NaN or infinity for a grey picture: are these its weights?")
    return int(output.shape[1])
