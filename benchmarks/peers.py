"""Run a function of a peer's script in a process of its own, in the environment of the peers or in ours.

    found = peers.run(SCRIPT, "phash", folder=str(folder), threshold=10)
    found.result, found.cpu_seconds, found.peak_rss_bytes

`make bench` needs nothing prepared: the environment is made when it is first asked for.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[1]
_PROCESS = Path(__file__).with_name("peer_process.py")
OURS = Path(sys.executable)
"""The Python of Winnow's own environment, for what is measured the same way: ourselves, and FiftyOne."""


@dataclass(frozen=True)
class Run:
    """What a function returned, and what it took from its first `yield` on, with all its processes."""

    result: Any  # anything JSON can say
    cpu_seconds: float
    wall_seconds: float
    peak_rss_bytes: int  # of its largest process
    import_cpu_seconds: float  # before the first yield: the interpreter, imports, opening files


@cache
def python(environment: str = "peers") -> Path:
    """The Python of an environment of peers, which is made if need be (minutes, once per lock file)."""
    made = subprocess.run(
        [_ROOT / "scripts" / "environment", environment], check=True, stdout=subprocess.PIPE, text=True
    )
    return Path(made.stdout.strip()) / "bin" / "python"


def versions(*packages: str, environment: str = "peers") -> dict[str, str]:
    """The versions of packages of an environment of peers."""
    code = (
        "import json, sys; from importlib.metadata import version; print(json.dumps(list(map(version, sys.argv[1:]))))"
    )
    said = subprocess.run([python(environment), "-c", code, *packages], check=True, stdout=subprocess.PIPE, text=True)
    return dict(zip(packages, json.loads(said.stdout), strict=True))


def run(script: Path, function: str, /, *, in_python: Path | None = None, threads: int = 1, **arguments: Any) -> Run:
    """Call a generator function of `script` in a fresh process; it yields once when prepared, then its result.

    Args:
        script: A file; in the peers' environment it can import what is installed there, in ours also this clone.
        function: `def function(**arguments)`, with imports and other preparation before a bare `yield`, the work
            after it, and `yield result` (for JSON) as the end.
        in_python: Another environment than that of the peers, such as OURS.
        threads: What OpenMP and BLAS may use.
        arguments: What JSON can say: numbers, strings and paths as strings.

    Raises:
        RuntimeError: it failed; the message ends with what it printed last.
    """
    with tempfile.TemporaryDirectory() as scratch:
        answer = Path(scratch) / "answer.json"
        limits = {f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "OPENBLAS", "MKL")}
        environment = {
            **os.environ,
            **limits,
            "SENTRY_OPT_OUT": "1",  # fastdup reports home otherwise
            "FIFTYONE_DO_NOT_TRACK": "true",
            "HF_HUB_OFFLINE": "1",
            "PYTHONPATH": str(_ROOT) if in_python == OURS else "",
        }
        command = [in_python or python(), "-P", _PROCESS, script.resolve(), function, json.dumps(arguments), answer]
        done = subprocess.run(
            command,
            check=False,
            cwd=scratch,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode or not answer.exists():
            raise RuntimeError(f"{script.name}:{function} ended with {done.returncode}: {done.stdout[-2000:]}")
        return Run(**json.loads(answer.read_text()))
