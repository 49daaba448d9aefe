"""`winnow jobs`: what the schedules did."""

from dataclasses import asdict
from typing import Annotated

import typer

from api.cli import console
from api.cli.console import AsJson

app = typer.Typer(no_args_is_help=True, help="Look at the jobs that schedules made.")


@app.command("list")
def list_jobs(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="How many of the newest.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the newest jobs."""
    from api import jobs

    found = jobs.recent(console.workspace(context), limit=limit)
    rows = [(job.id, job.state, job.outcome) for job in found]
    document = {"jobs": [asdict(job) for job in found]}
    console.emit(document, console.table(["job", "state", "outcome"], rows), as_json=as_json)


@app.command()
def show(
    context: typer.Context, job_id: Annotated[str, typer.Argument(help="The job's id.")], as_json: AsJson = False
) -> None:
    """Show one job."""
    from api import jobs

    document = asdict(jobs.find(console.workspace(context), job_id))
    console.emit(
        document, [f"{name}: {value}" for name, value in document.items() if value is not None], as_json=as_json
    )
