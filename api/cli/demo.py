"""`winnow demo`: the tour."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from api.cli import console

app = typer.Typer()


@app.command()
def demo(
    context: typer.Context,
    *,
    images: Annotated[Path | None, typer.Option(help="Run on this folder instead, up to the push.")] = None,
    classes: Annotated[str, typer.Option(help="With --images: what people choose from, by commas.")] = "good,bad",
    photos: Annotated[int | None, typer.Option(min=60, help="Take only this many of the demo's photos.")] = None,
    budget: Annotated[int, typer.Option(min=5, help="Images a round.")] = 100,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget the workspace first.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Only stop servers that an earlier demo left running.")] = False,
) -> None:
    """Run the whole loop on real photos; the same command continues an interrupted one."""
    from api.demo import services, tour

    home = console.home(context)
    if stop or fresh:
        stopped = services.stop_recorded(home)
        print(f"{stopped} servers stopped.")
    if stop:
        return
    if fresh:
        services.forget(home)
    stay = sys.stdin.isatty()
    if images is None:
        tour.run(home, count=photos, budget=budget, stay=stay)
    else:
        names = [name.strip() for name in classes.split(",") if name.strip()]
        tour.run_on_images(home, images, classes=names, budget=budget, stay=stay)
