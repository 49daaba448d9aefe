"""`winnow predictions`: what a model says of the pool."""

from typing import Annotated

import typer

from api.cli import console
from api.cli.console import AsJson

app = typer.Typer(no_args_is_help=True, help="What a model says of the pool.")


@app.callback()
def main() -> None:
    """What a model says of the pool."""


@app.command()
def probe(
    context: typer.Context,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="An id, its beginning, or a name (its newest).")],
    as_json: AsJson = False,
) -> None:
    """Train the built-in probe on a version's train split and predict every embedded image."""
    from curation import versions
    from sampling import probe as sampling_probe

    workspace = console.workspace(context)
    done = sampling_probe.train(workspace, versions.show(workspace, version).id)
    lines = [
        f"Run {done.run_id}: trained on {done.trained_on} images of version {done.version[:12]}, "
        f"predicted {done.predicted} ({', '.join(done.classes)})."
    ]
    console.emit(vars(done), lines, as_json=as_json)
