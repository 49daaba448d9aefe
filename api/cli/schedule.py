"""`winnow schedule`: recipes that are planned by cron."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli import console
from api.cli.console import AsJson

if TYPE_CHECKING:
    from store.schema import Schedule

app = typer.Typer(no_args_is_help=True, help="Plan batches by cron; `winnow serve` runs them.")

Name = Annotated[str, typer.Argument(help="The schedule's name.")]


@app.command()
def add(
    context: typer.Context,
    name: Name,
    cron: Annotated[str, typer.Option(help="When, in UTC: '0 6 * * 1'. Six fields begin with seconds.")],
    recipe: Annotated[Path, typer.Option(help="A YAML file that says how to choose a batch.")],
    as_json: AsJson = False,
) -> None:
    """Plan a batch by a recipe at every tick of a cron expression."""
    from api import schedules
    from sampling import recipes

    schedule = schedules.add(console.workspace(context), name, cron=cron, recipe=recipes.read(recipe))
    console.emit(_document(schedule), [f"{name} ticks at {cron} (UTC) while `winnow serve` runs."], as_json=as_json)


@app.command("list")
def list_schedules(context: typer.Context, as_json: AsJson = False) -> None:
    """List the schedules."""
    from api import schedules

    found = [_document(schedule) for schedule in schedules.load(console.workspace(context))]
    lines = console.table(["name", "cron", "paused"], [(each["name"], each["cron"], each["paused"]) for each in found])
    console.emit({"schedules": found}, lines, as_json=as_json)


@app.command()
def run(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Ask for one batch now, paused or not."""
    from api import jobs, schedules

    workspace = console.workspace(context)
    job_id = schedules.run(workspace, name)
    if not jobs.has_worker(workspace):
        print("Nothing runs jobs right now: this one waits for `winnow serve`.", file=sys.stderr)
    console.emit({"job": job_id}, [f"Asked for. Follow it with: winnow jobs show {job_id}"], as_json=as_json)


@app.command()
def pause(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Let a schedule rest."""
    from api import schedules

    schedule = schedules.set_paused(console.workspace(context), name, paused=True)
    console.emit(
        _document(schedule),
        [f"{name} rests. Its next tick comes after: winnow schedule resume {name}"],
        as_json=as_json,
    )


@app.command()
def resume(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Let a paused schedule tick again; what it missed is not made up for."""
    from api import schedules

    schedule = schedules.set_paused(console.workspace(context), name, paused=False)
    console.emit(_document(schedule), [f"{name} ticks at {schedule.cron} (UTC)."], as_json=as_json)


def _document(schedule: "Schedule") -> dict[str, Any]:
    return {"name": schedule.name, "cron": schedule.cron, "recipe": schedule.recipe, "paused": schedule.paused}
