"""How a benchmark speaks: the machine, a table, and one JSON object as its last line."""

import argparse
import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from api.cli.console import table
from benchmarks import peers


def scale() -> str:
    """What `--scale` asked for: small or full."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", choices=["small", "full"], default="small")
    return str(parser.parse_args().scale)


def tell(
    name: str,
    packages: Sequence[str],
    headings: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    of_peers: Sequence[str] = (),
    environment: str = "peers",
) -> None:
    """Print machine, versions (here, and of peers in their environment) and rows, for people and then for programs."""
    machine = {"machine": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    versions = {package: version(package) for package in packages}
    if of_peers:
        versions |= peers.versions(*of_peers, environment=environment)
    print(f"{name} on {machine['cores']} cores ({machine['machine']}), Python {platform.python_version()}, {versions}")
    print("\n".join(table(headings, rows)))
    document = {"benchmark": name, **machine, "versions": versions}
    print(json.dumps({**document, "rows": [dict(zip(headings, row, strict=True)) for row in rows]}))
