import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from api.cli.main import app
from store.errors import InvalidInputError, NotFoundError
from store.workspace import Workspace


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text("budget: 5\nstrategy: typiclust\n")
    return str(path)


def say(workspace: Workspace, *arguments: str) -> Any:
    """What a command says as JSON."""
    arguments = ("--home", str(workspace.home), *arguments, "--json")
    return json.loads(CliRunner().invoke(app, arguments, catch_exceptions=False).stdout)


def test_a_schedule_is_made_listed_paused_asked_and_resumed(workspace: Workspace, recipe: str) -> None:
    made = say(workspace, "schedule", "add", "weekly", "--cron", "0 6 * * 1", "--recipe", recipe)
    assert made == {
        "name": "weekly",
        "cron": "0 6 * * 1",
        "recipe": {"budget": 5, "strategy": "typiclust"},
        "paused": False,
    }
    assert say(workspace, "schedule", "list") == {"schedules": [made]}
    assert say(workspace, "schedule", "pause", "weekly")["paused"]
    assert say(workspace, "schedule", "list")["schedules"][0]["paused"]
    assert not say(workspace, "schedule", "resume", "weekly")["paused"]

    assert say(workspace, "jobs", "list") == {"jobs": []}
    job_id = say(workspace, "schedule", "run", "weekly")["job"]
    (job,) = say(workspace, "jobs", "list")["jobs"]
    assert (job["id"], job["schedule"], job["state"]) == (job_id, "weekly", "waiting")
    assert say(workspace, "jobs", "show", job_id) == job


def test_what_cannot_be_is_a_sentence(workspace: Workspace, recipe: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="'every monday' is not a cron expression"):
        say(workspace, "schedule", "add", "weekly", "--cron", "every monday", "--recipe", recipe)
    with pytest.raises(NotFoundError, match="no recipe"):
        say(workspace, "schedule", "add", "weekly", "--cron", "* * * * *", "--recipe", str(tmp_path / "none.yaml"))
    with pytest.raises(NotFoundError, match="There is no job nothing"):
        say(workspace, "jobs", "show", "nothing")
