"""The `winnow` executable: one module per noun beside this file, wired here."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from api.cli import (
    batch,
    campaign,
    catalog,
    demo,
    duplicates,
    explore,
    failures,
    health,
    jobs,
    labels,
    predictions,
    qa,
    schedule,
    serve,
    taxonomy,
    vectors,
    vendor,
    version,
)
from store.errors import RequestError, WinnowError

_INTERRUPTED = 130

app = typer.Typer(
    name="winnow",
    help="Decide which images are worth a human's time, get them labelled, and freeze training sets to trust.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def main(
    context: typer.Context,
    home: Annotated[
        Path, typer.Option("--home", envvar="WINNOW_HOME", help="The workspace folder; made on first use.")
    ] = Path("winnow-data"),
) -> None:
    """Options for every command."""
    context.obj = home
    if specification := os.environ.get("WINNOW_FAIL_POINT"):
        from store import fail_points

        fail_points.arm(specification)


app.add_typer(catalog.app)
app.add_typer(vectors.app)
app.add_typer(duplicates.app, name="duplicates")
app.add_typer(predictions.app, name="predictions")
app.add_typer(batch.app, name="batch")
app.add_typer(health.app)
app.add_typer(demo.app)
app.add_typer(explore.app)
app.add_typer(serve.app)
app.add_typer(schedule.app, name="schedule")
app.add_typer(jobs.app, name="jobs")
app.add_typer(taxonomy.app, name="taxonomy")
app.add_typer(vendor.app, name="vendor")
app.add_typer(campaign.app, name="campaign")
app.add_typer(qa.app, name="qa")
app.add_typer(labels.app, name="labels")
app.add_typer(version.app, name="version")
app.add_typer(failures.app, name="failures")
app.command()(failures.evaluate)


def hoist_home(arguments: Sequence[str]) -> list[str]:
    """Move `--home DIR` to the front, so that it may stand anywhere on the line."""
    rest = list(arguments)
    for position, argument in enumerate(rest):
        if argument == "--":
            break
        if argument == "--home" and position + 1 < len(rest):
            return [argument, rest[position + 1], *rest[:position], *rest[position + 2 :]]
        if argument.startswith("--home="):
            return [argument, *rest[:position], *rest[position + 1 :]]
    return rest


def run() -> None:
    """Run the command line; a failure is one sentence on stderr and exit code 1 or 2."""
    try:
        app(args=hoist_home(sys.argv[1:]))
    except SystemExit as ending:
        if ending.code == _INTERRUPTED:  # Typer has swallowed the KeyboardInterrupt
            print("winnow: stopped. The same command continues where it was.", file=sys.stderr)
        raise
    except WinnowError as error:
        print(f"winnow: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, RequestError) else 1)
    except (OverflowError, UnicodeEncodeError):
        print("winnow: a number is too large, or a name is not UTF-8.", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(f"winnow: {error.strerror or error}: {error.filename or 'the workspace'}.", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    run()
