"""`winnow schedule`: recipes that are planned by cron, and the campaigns that follow."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli import console
from api.cli.console import AsJson

if TYPE_CHECKING:
    from api.schedules import CampaignTerms

app = typer.Typer(no_args_is_help=True, help="Plan batches by cron and have them labelled; `winnow serve` runs them.")

Name = Annotated[str, typer.Argument(help="The schedule's name.")]


@app.command()
def add(
    context: typer.Context,
    name: Name,
    *,
    cron: Annotated[str, typer.Option(help="When, in UTC: '0 6 * * 1'. Six fields begin with seconds.")],
    recipe: Annotated[Path, typer.Option(help="A YAML file that says how to choose a batch.")],
    taxonomy: Annotated[
        str | None, typer.Option(help="Push every batch as a campaign that asks this; its newest revision.")
    ] = None,
    vendor: Annotated[str | None, typer.Option(help="Who answers.")] = None,
    image_base_url: Annotated[
        str | None, typer.Option(help="Of the running `winnow serve`, as annotators reach it.")
    ] = None,
    overlap: Annotated[
        int | None, typer.Option(help="Answers wanted per image, from different people; 2 by default.")
    ] = None,
    predictions: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Show this model's newest predictions as pre-annotations.")
    ] = None,
    capacity: Annotated[
        int | None,
        typer.Option(help="Tasks the vendor may have open, by the last pulls; skip a batch that finds no room."),
    ] = None,
    min_drift: Annotated[
        float | None,
        typer.Option(help="Skip if only images came that surely drifted less: an AUC from 0.5, alike, to 1."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Plan a batch at every tick of a cron expression if anything is new, and have it labelled."""
    from api import schedules
    from sampling import recipes

    terms = _terms(
        taxonomy=taxonomy, vendor=vendor, image_base_url=image_base_url, overlap=overlap, predictions=predictions
    )
    schedule = schedules.add(
        console.workspace(context),
        name,
        cron=cron,
        recipe=recipes.read(recipe),
        campaign=terms,
        capacity=capacity,
        min_drift=min_drift,
    )
    line = f"{name} ticks at {cron} (UTC) while `winnow serve` runs."
    console.emit(schedules.document(schedule), [line], as_json=as_json)


@app.command("list")
def list_schedules(context: typer.Context, as_json: AsJson = False) -> None:
    """List the schedules."""
    from api import schedules

    found = [schedules.document(schedule) for schedule in schedules.load(console.workspace(context))]
    console.emit({"schedules": found}, console.table(_HEADINGS, map(_row, found)), as_json=as_json)


@app.command()
def run(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Ask for one tick now, paused or not."""
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
        schedules.document(schedule),
        [f"{name} rests. Its next tick comes after: winnow schedule resume {name}"],
        as_json=as_json,
    )


@app.command()
def resume(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Let a paused schedule tick again; what it missed is not made up for."""
    from api import schedules

    schedule = schedules.set_paused(console.workspace(context), name, paused=False)
    console.emit(schedules.document(schedule), [f"{name} ticks at {schedule.cron} (UTC)."], as_json=as_json)


@app.command()
def remove(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Forget a schedule; its batches, campaigns and past jobs stay."""
    from api import schedules

    schedules.remove(console.workspace(context), name)
    console.emit({"removed": name}, [f"{name} is removed."], as_json=as_json)


_HEADINGS = ["name", "cron", "paused", "taxonomy", "vendor", "overlap", "predictions", "capacity", "min drift"]


def _row(document: dict[str, Any]) -> list[object]:
    terms = document["campaign"] or {}
    of_campaign = [terms.get(name) for name in ("taxonomy", "vendor", "overlap", "predictions")]
    limits = [document["capacity"], document["min_drift"]]
    return [document["name"], document["cron"], document["paused"], *of_campaign, *limits]


def _terms(
    *,
    taxonomy: str | None,
    vendor: str | None,
    image_base_url: str | None,
    overlap: int | None,
    predictions: str | None,
) -> "CampaignTerms | None":
    """The campaign that the options ask for, if they do."""
    from api.schedules import CampaignTerms
    from store.errors import InvalidInputError

    if taxonomy is not None and vendor is not None and image_base_url is not None:
        return CampaignTerms(taxonomy, vendor, image_base_url, 2 if overlap is None else overlap, predictions)
    needed = {"--taxonomy": taxonomy, "--vendor": vendor, "--image-base-url": image_base_url}
    given = [*needed.values(), overlap, predictions]
    if given.count(None) < len(given):
        missing = " and ".join(option for option, value in needed.items() if value is None)
        raise InvalidInputError(f"A campaign also needs {missing}. Give {', '.join(needed)}, or only plan batches.")
    return None
