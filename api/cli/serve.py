"""`winnow serve`: the dashboard, the API, the images for Label Studio, and the worker for scheduled jobs."""

import signal
import sys
from functools import partial
from typing import Annotated, NoReturn

import typer

from api.cli import console
from api.cli.console import AsJson

app = typer.Typer()

_TO_OTHERS = {
    False: "Other machines can load images by their signed addresses, and nothing else; --open shows them everything.",
    True: "Anyone who can reach this address can see the catalog, gold items among it: there is no login.",
}


@app.command()
def serve(
    context: typer.Context,
    *,
    host: Annotated[str, typer.Option(help="The address to listen on; other machines cannot reach the default.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="If it is busy, another is chosen and said.")] = 8765,
    pull_every: Annotated[float, typer.Option(min=0, help="Seconds between looks for answers; 0: never.")] = 300,
    is_open: Annotated[
        bool,
        typer.Option("--open", help="Show other machines the dashboard and the API too, without any login."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Serve the dashboard, the API and images, run scheduled jobs and fetch answers, until stopped."""
    import uvicorn

    from api import jobs, ports, pulling, schedules, ticks
    from api.app import LOOPBACK_HOSTS, create_app

    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, _leave)
    workspace = console.workspace(context)
    with ports.listen(host, port) as listening:
        chosen = listening.getsockname()[1]
        if port not in (0, chosen):
            print(f"Port {port} is busy: using {chosen}.", file=sys.stderr)
        if host not in LOOPBACK_HOSTS:
            print(_TO_OTHERS[is_open], file=sys.stderr)
        hosts = LOOPBACK_HOSTS if host in LOOPBACK_HOSTS else ["*"]
        schedules.synchronise(workspace)
        with (
            jobs.worker(workspace, partial(ticks.run, workspace)),
            pulling.puller(workspace, every_s=pull_every) as hint,
        ):
            url = f"http://{host}:{chosen}"
            console.emit({"url": url}, [f"Winnow is at {url}"], as_json=as_json)
            sys.stdout.flush()
            config = uvicorn.Config(
                create_app(workspace, hosts=hosts, hint=hint, is_open=is_open),
                log_level="warning",
                access_log=False,  # the path of an image is a secret
            )
            uvicorn.Server(config).run(sockets=[listening])


def _leave(_signal: int, _frame: object) -> NoReturn:
    """Stop with exit code 0; what is interrupted continues with the next `winnow serve`."""
    sys.exit(0)
