"""Commands as people and programs give them."""

import json
from typing import Any

from typer.testing import CliRunner

from api.cli.main import app
from store.workspace import Workspace


def winnow(workspace: Workspace, *arguments: str) -> Any:
    """Run a command for people, then for programs; gives the document."""
    for command in (arguments, (*arguments, "--json")):
        result = CliRunner().invoke(app, ["--home", str(workspace.home), *command], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        assert result.stdout.strip()
    return json.loads(result.stdout)


def said(workspace: Workspace, *arguments: str) -> str:
    """What a command prints for people."""
    return CliRunner().invoke(app, ["--home", str(workspace.home), *arguments], catch_exceptions=False).stdout
