import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from api.cli.main import app
from labeling import vendors
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
        "campaign": None,
        "capacity": None,
        "min_drift": None,
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
    assert say(workspace, "schedule", "remove", "weekly") == {"removed": "weekly"}
    assert say(workspace, "schedule", "list") == {"schedules": []}
    assert say(workspace, "jobs", "list") == {"jobs": [job]}


@pytest.fixture
def add(workspace: Workspace, recipe: str, build: Any) -> Callable[..., Any]:
    """Adds a schedule with options where there are a taxonomy and a vendor."""
    build.taxonomy()
    vendors.add(workspace, "studio", url="http://127.0.0.1:1", token="env:TOKEN")
    return lambda *options: say(
        workspace, "schedule", "add", "weekly", "--cron", "0 6 * * 1", "--recipe", recipe, *options
    )


CAMPAIGN = ("--taxonomy", "animals", "--vendor", "studio", "--image-base-url", "http://127.0.0.1:8765")


def test_a_campaign_is_asked_for_with_all_its_terms(workspace: Workspace, add: Callable[..., Any]) -> None:
    made = add(*CAMPAIGN, "--capacity", "500", "--min-drift", "0.6")
    assert made["campaign"] == {
        "taxonomy": "animals",
        "vendor": "studio",
        "image_base_url": "http://127.0.0.1:8765",
        "overlap": 2,
        "predictions": None,
    }
    assert (made["capacity"], made["min_drift"]) == (500, 0.6)
    listed = CliRunner().invoke(app, ("--home", str(workspace.home), "schedule", "list")).stdout.splitlines()
    assert listed[0].split("  ")[0] == "name"
    assert listed[1].split() == [
        "weekly",
        "0",
        "6",
        "*",
        "*",
        "1",
        "False",
        "animals",
        "studio",
        "2",
        "–",
        "500",
        "0.600",
    ]


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        (CAMPAIGN[:4], "--image-base-url"),
        (CAMPAIGN[2:], "--taxonomy"),
        (CAMPAIGN[:2], "--vendor and --image-base-url"),
        (("--overlap", "3"), "--taxonomy and --vendor and --image-base-url"),
        ((*CAMPAIGN[2:4], "--predictions", "probe"), "--taxonomy and --image-base-url"),
    ],
)
def test_half_a_campaign_is_refused(
    workspace: Workspace, add: Callable[..., Any], options: tuple[str, ...], missing: str
) -> None:
    with pytest.raises(InvalidInputError, match=rf"A campaign also needs {missing}\."):
        add(*options)
    assert say(workspace, "schedule", "list") == {"schedules": []}


def test_what_cannot_be_is_a_sentence(workspace: Workspace, recipe: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="'every monday' is no cron expression"):
        say(workspace, "schedule", "add", "weekly", "--cron", "every monday", "--recipe", recipe)
    with pytest.raises(NotFoundError, match="no recipe"):
        say(workspace, "schedule", "add", "weekly", "--cron", "* * * * *", "--recipe", str(tmp_path / "none.yaml"))
    with pytest.raises(NotFoundError, match="There is no job nothing"):
        say(workspace, "jobs", "show", "nothing")
