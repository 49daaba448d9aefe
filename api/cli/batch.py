"""`winnow batch`: which images are labelled next, why, and the proof that the choice repeats."""

from pathlib import Path
from typing import Annotated, Any

import typer

from api.cli import console
from api.cli.console import AsJson

app = typer.Typer(no_args_is_help=True, help="Which images are labelled next, and why.")


@app.command()
def plan(
    context: typer.Context,
    recipe: Annotated[Path | None, typer.Argument(metavar="[RECIPE.yaml]", help="Options given here win.")] = None,
    *,
    budget: Annotated[int | None, typer.Option(help="Images to choose.")] = None,
    strategy: Annotated[str | None, typer.Option(help="auto, coverage, uncertainty or random.")] = None,
    random_share: Annotated[float | None, typer.Option(help="Share drawn at random for val and test.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything drawn at random.")] = None,
    as_json: AsJson = False,
) -> None:
    """Choose a batch; the same recipe on the same catalog is the same batch."""
    from sampling import batch, recipes

    values: dict[str, Any] = {} if recipe is None else recipes.read(recipe)
    options = {"budget": budget, "strategy": strategy, "random_share": random_share, "seed": seed}
    values |= {name: value for name, value in options.items() if value is not None}
    done = batch.plan(console.workspace(context), recipes.parse(values))
    arms = ", ".join(f"{count} {arm}" for arm, count in done.arms.items())
    lines = [f"Batch {done.batch_id} ({done.digest[:12]}): {done.picks} images, {arms}."]
    console.emit(vars(done), [*lines, f"See: winnow batch show {done.batch_id}"], as_json=as_json)


@app.command()
def show(context: typer.Context, batch_id: int, as_json: AsJson = False) -> None:
    """Every pick with its reason."""
    from api import documents

    with console.workspace(context).database.read() as session:
        document = documents.batch(session, batch_id)
    rows = [(pick["rank"], pick["image"], pick["arm"], float(pick["score"]), pick["why"]) for pick in document["picks"]]
    console.emit(document, console.table(("rank", "image", "arm", "score", "why"), rows), as_json=as_json)


@app.command()
def replay(context: typer.Context, batch_id: int, as_json: AsJson = False) -> None:
    """Plan a batch again from what the planner saw then, and compare digests."""
    from sampling import batch
    from store.errors import IntegrityError

    done = batch.replay(console.workspace(context), batch_id)
    if not done.same:
        raise IntegrityError(
            f"Batch {batch_id} was recorded as {done.recorded[:12]} and replays as {done.replayed[:12]}: "
            "vectors, splits or the version of Winnow are not what they were."
        )
    console.emit({**vars(done), "same": True}, [f"Batch {batch_id} replays as {done.recorded}."], as_json=as_json)
