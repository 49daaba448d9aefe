"""`winnow explore`: the catalog in the FiftyOne App, until Ctrl-C."""

import signal
import sys
import webbrowser
from typing import Annotated

import typer

from api.cli import console
from api.cli.console import AsJson


def explore(
    context: typer.Context,
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Where the App is wanted; when busy, another is taken.")
    ] = 5151,
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open a browser.")] = False,
    as_json: AsJson = False,
) -> None:
    """Open the FiftyOne App on the catalog; it stays until Ctrl-C."""
    from dataclasses import asdict

    from curation import explore as exploring
    from store.errors import RemoteError

    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.default_int_handler)  # nothing may be left behind, however we end
    print("Building the dataset and starting the FiftyOne App …", file=sys.stderr)
    view = exploring.start(console.workspace(context), port=port)
    try:
        summary = view.summary
        console.emit(
            {"url": view.url, **asdict(summary)},
            [
                f"{summary.images} images, {summary.on_the_map} of them on the map. Views: {', '.join(summary.views)}.",
                f"FiftyOne App: {view.url}",
                "Ctrl-C ends it.",
            ],
            as_json=as_json,
        )
        sys.stdout.flush()
        if sys.stdout.isatty() and not no_open:
            webbrowser.open(view.url)
        view.app.process.wait()
    except KeyboardInterrupt:
        return
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would leave the rest running
        view.stop()
    raise RemoteError("The FiftyOne App ended by itself; see logs/explore-app.log in the workspace.")
