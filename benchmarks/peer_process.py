"""The process that benchmarks.peers starts: calls one function of one script and writes down what it took.

Only the standard library: it runs in environments that do not hold Winnow.
"""

import importlib.util
import json
import resource
import sys
import time
import types
from pathlib import Path
from typing import Any


def main(script: str, function: str, arguments: str, answer: str) -> None:
    """Run `function` to its first yield, then to its second, the result."""
    without_neural_imagededup()
    steps = load(Path(script), function)(**json.loads(arguments))
    next(steps)
    prepared, began = cpu_seconds(), time.perf_counter()
    Path("/proc/self/clear_refs").write_text("5")  # the peak of memory starts anew
    result = next(steps)
    taken = {
        "result": result,
        "cpu_seconds": cpu_seconds() - prepared,
        "wall_seconds": time.perf_counter() - began,
        "peak_rss_bytes": peak_rss_bytes(),
        "import_cpu_seconds": prepared,
    }
    Path(answer).write_text(json.dumps(taken))


def load(script: Path, function: str) -> Any:
    """A function of a file that is not on the path."""
    spec = importlib.util.spec_from_file_location(script.stem, script)
    if spec is None or spec.loader is None:
        sys.exit(f"{script} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[script.stem] = module  # what it hands to processes of its own is pickled by name
    spec.loader.exec_module(module)
    return getattr(module, function)


def without_neural_imagededup() -> None:
    """Stand in for the modules of imagededup that need torch and torchvision: their weights come from a hub."""
    for module, name in (("imagededup.methods.cnn", "CNN"), ("imagededup.utils.models", "CustomModel")):
        sys.modules[module] = types.ModuleType(module)
        setattr(sys.modules[module], name, None)


def cpu_seconds() -> float:
    """User and system time so far, of this process and of its children that ended."""
    ours, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return ours.ru_utime + ours.ru_stime + children.ru_utime + children.ru_stime


def peak_rss_bytes() -> int:
    """The most memory that this process had since the peak was cleared, or any child that ended."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return 1024 * max(int(status["VmHWM"].split()[0]), children)


if __name__ == "__main__":
    main(*sys.argv[1:])
