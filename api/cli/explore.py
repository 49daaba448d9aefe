"""`winnow explore`: the catalog in the FiftyOne App, until stopped."""

import signal
import sys
import webbrowser
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from api.cli import console
from api.cli.console import AsJson

if TYPE_CHECKING:
    from curation.explore import View

app = typer.Typer()

_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@app.command()
def explore(
    context: typer.Context,
    port: Annotated[int, typer.Option(min=1, max=65535, help="If it is busy, another is chosen and said.")] = 5151,
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open a browser.")] = False,
    as_json: AsJson = False,
) -> None:
    """Open the FiftyOne App on the catalog as it is now, until stopped."""
    from dataclasses import asdict

    from curation import explore as exploring
    from curation import servers
    from store.errors import RemoteError

    for ending in _ENDINGS:
        signal.signal(ending, _leave)
    print("Building the dataset and starting the FiftyOne App …", file=sys.stderr)
    try:
        view = exploring.start(console.workspace(context), port=port)
    except BaseException:
        servers.end_children()
        raise
    try:
        if view.app.port != port:
            print(f"Port {port} is busy: using {view.app.port}.", file=sys.stderr)
        console.emit({"url": view.url, **asdict(view.summary)}, _lines(view), as_json=as_json)
        sys.stdout.flush()
        if sys.stdout.isatty() and not no_open:
            webbrowser.open(view.url)
        view.app.process.wait()
    finally:
        view.stop()
    raise RemoteError("The FiftyOne App ended by itself; see logs/explore-app.log in the workspace.")


def _lines(view: "View") -> list[str]:
    summary = view.summary
    lines = [f"{summary.images} images, {summary.on_the_map} of them on the map."]
    if summary.without_file:
        lines.append(f"{summary.without_file} images are left out: their files are gone.")
    if summary.views:
        lines.append(f"Saved views: {', '.join(summary.views)}.")
    return [*lines, f"The FiftyOne App is at {view.url}"]


def _leave(_signal: int, _frame: object) -> NoReturn:
    """Stop with exit code 0; nothing may interrupt the ending of our servers."""
    for ending in _ENDINGS:
        signal.signal(ending, signal.SIG_IGN)
    sys.exit(0)
