"""The command line, in this process where nothing is to be killed: half of what a command takes is to start."""

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

from api.cli import main

WINNOW = Path(sys.executable).with_name("winnow")


def winnow(home: Path, *arguments: str, fail_point: str = "") -> "subprocess.CompletedProcess[str]":
    """A command in the workspace `home`; at a fail point a process of its own is killed."""
    return run("--home", str(home), *arguments, fail_point=fail_point)


def run(*arguments: str, fail_point: str = "") -> "subprocess.CompletedProcess[str]":
    """What `winnow` says and how it ends."""
    if fail_point:
        environment = os.environ | {"WINNOW_FAIL_POINT": fail_point, "OMP_NUM_THREADS": "1"}
        line = [WINNOW, *arguments]
        return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=120, check=False)
    out, err = io.StringIO(), io.StringIO()
    code = None
    with mock.patch.object(sys, "argv", ["winnow", *arguments]), redirect_stdout(out), redirect_stderr(err):
        try:
            main.run()
        except SystemExit as ending:
            code = ending.code
    assert isinstance(code, int)  # Typer always ends so
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())
