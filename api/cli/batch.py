"""`winnow batch`: which images are labelled next, why, and the proof that the choice repeats."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli import console
from api.cli.console import AsJson

if TYPE_CHECKING:
    from sampling.backtest import Backtest

app = typer.Typer(no_args_is_help=True, help="Which images are labelled next, and why.")


@app.command()
def plan(
    context: typer.Context,
    recipe: Annotated[Path | None, typer.Argument(metavar="[RECIPE.yaml]", help="Options given here win.")] = None,
    *,
    budget: Annotated[int | None, typer.Option(help="Images to choose.")] = None,
    money: Annotated[float | None, typer.Option(help="What they may cost at most; with --price.")] = None,
    price: Annotated[float | None, typer.Option(help="What an image costs, with all its answers.")] = None,
    strategy: Annotated[
        str | None,
        typer.Option(help="auto, random, typiclust, k-center, variance and others: docs/recipe.schema.json."),
    ] = None,
    random_share: Annotated[float | None, typer.Option(help="Share drawn at random for val and test.")] = None,
    gold_share: Annotated[float | None, typer.Option(help="Share drawn from what is labelled, to test people.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything drawn at random.")] = None,
    as_json: AsJson = False,
) -> None:
    """Choose a batch; the same recipe on the same catalog is the same batch."""
    from sampling import batch, recipes

    values: dict[str, Any] = {} if recipe is None else recipes.read(recipe)
    options = {
        "budget": budget,
        "money": money,
        "cost": price,
        "strategy": strategy,
        "random_share": random_share,
        "gold_share": gold_share,
        "seed": seed,
    }
    values |= {name: value for name, value in options.items() if value is not None}
    parsed = recipes.parse(values)
    done = batch.plan(console.workspace(context), parsed)
    arms = ", ".join(f"{count} {arm}" for arm, count in done.arms.items())
    cost = "" if done.cost is None else f", for {done.cost:,.2f}"
    lines = [f"Batch {done.batch_id} ({done.digest[:12]}): {done.picks} images, {arms}{cost}."]
    if done.unpredicted:
        lines.append(f"{done.unpredicted} images were left out, as {parsed.model} says nothing of them yet.")
    lines += [said for said in (done.calibration, done.outlook.accuracy, done.outlook.forecast) if said is not None]
    console.emit(asdict(done), [*lines, f"See: winnow batch show {done.batch_id}"], as_json=as_json)


@app.command()
def show(context: typer.Context, batch_id: int, as_json: AsJson = False) -> None:
    """Every pick with its reason."""
    from api import documents
    from sampling import batch

    with console.workspace(context).database.read() as session:
        document = documents.batch(session, batch_id)
        origin = batch.origin(batch.find(session, batch_id))
    rows = [(pick["rank"], pick["image"], pick["arm"], float(pick["score"]), pick["why"]) for pick in document["picks"]]
    said = [origin, *(document["report"].get(name) for name in ("calibration", "accuracy", "forecast"))]
    lines = [*filter(None, said), *console.table(("rank", "image", "arm", "score", "why"), rows)]
    console.emit(document, lines, as_json=as_json)


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


@app.command()
def simulate(
    context: typer.Context,
    *,
    labels: Annotated[
        Path | None, typer.Option(help="CSV, JSONL or Parquet with uri and label; by default the accepted labels.")
    ] = None,
    taxonomy: Annotated[str | None, typer.Option(help="Of the accepted labels, when several have some.")] = None,
    strategy: Annotated[list[str] | None, typer.Option(help="One to replay; may be given several times.")] = None,
    budgets: Annotated[str, typer.Option(help="Labels after each round.")] = "20,50,100,200,300",
    seeds: Annotated[int, typer.Option(min=1, help="Repetitions, each with test images of its own.")] = 10,
    encoder: Annotated[str | None, typer.Option(help="Whose vectors; by default as in: winnow search.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write the curves as a PNG.")] = None,
    as_json: AsJson = False,
) -> None:
    """How many labels would each strategy have needed? Replayed on images that are labelled already."""
    from sampling.backtest import backtest
    from store.errors import InvalidInputError

    names = list(dict.fromkeys(strategy or ("auto", "random")))
    if plot is not None and (plot.suffix.lower() != ".png" or not plot.absolute().parent.is_dir()):
        raise InvalidInputError(f"The curves cannot be written to {plot}: name a .png in a folder that is there.")
    with console.progress_bar("rounds") as advance:
        done = backtest(
            console.workspace(context),
            strategies=names,
            budgets=_numbers(budgets),
            seeds=seeds,
            label_file=labels,
            taxonomy=taxonomy,
            encoder=encoder,
            on_progress=advance,
        )
    if plot is not None:
        from sampling import curves

        curves.plot(done.curves, plot, title=f"{done.images} images, {len(done.classes)} classes, {done.encoder}")
    console.emit(_curves(done), _told(done, plot), as_json=as_json)


def _numbers(text: str) -> list[int]:
    from store.errors import InvalidInputError

    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise InvalidInputError(f"--budgets {text} is not a list of numbers, such as 20,50,100.") from error


def _curves(done: "Backtest") -> dict[str, Any]:
    return {
        "encoder": done.encoder,
        "images": done.images,
        "classes": done.classes,
        "unknown": done.unknown,
        "not_embedded": done.not_embedded,
        "curves": [
            {
                "strategy": curve.strategy,
                "budgets": curve.budgets,
                "accuracy": curve.accuracy.tolist(),
                "standard_error": curve.standard_error.tolist(),
                "seeds": len(curve.runs),
            }
            for curve in done.curves
        ],
        "labels_needed": done.needed,
    }


def _told(done: "Backtest", plot: Path | None) -> list[str]:
    from sampling.backtest import BASELINE

    budgets = done.curves[0].budgets
    rows = [
        (
            curve.strategy,
            *(
                f"{mean:.3f} ± {error:.3f}" if len(curve.runs) > 1 else f"{mean:.3f}"
                for mean, error in zip(curve.accuracy, curve.standard_error, strict=True)
            ),
        )
        for curve in done.curves
    ]
    seeds = len(done.curves[0].runs)
    spread = f"± standard error over {seeds} seeds" if seeds > 1 else "one seed, so nobody knows how sure"
    lines = [
        f"{done.images} images of {len(done.classes)} classes, by their vectors of {done.encoder}. Accuracy of the "
        f"probe ({spread}) after so many labels:",
        *console.table(("labels", *map(str, budgets)), rows),
    ]
    for name, needed in done.needed.items():
        if name != BASELINE:
            wanted = "more than that" if needed is None else f"about {needed:.0f}"
            if needed == budgets[0]:
                wanted = f"{needed:.0f} or less"
            lines.append(f"For what random reached with {budgets[-1]}, {name} needed {wanted}.")
    if done.unknown:
        lines.append(f"{len(done.unknown)} uris are in no catalog and were left out, such as {done.unknown[0]}.")
    if done.not_embedded:
        lines.append(f"{done.not_embedded} labelled images have no vector of {done.encoder} and were left out.")
    if plot is not None:
        lines.append(f"Curves: {plot}")
    return lines
