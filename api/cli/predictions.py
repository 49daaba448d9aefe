"""`winnow predictions`: what a model says of the pool."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from api.cli import console
from api.cli.console import AsJson

app = typer.Typer(no_args_is_help=True, help="What a model says of the pool.")


@app.command("import")
def import_predictions(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="JSON Lines or Parquet.")],
    *,
    model: Annotated[str, typer.Option(help="A name for what made them.")],
    classes: Annotated[
        str | None,
        typer.Option(help="By commas, in the order of the lists; by default those the file or the taxonomy names."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring what a model of yours says; the same file again changes nothing.

    A row names its image by sha256, image (its id) or uri, and holds one of: probabilities or logits (a list in the
    order of the classes, or an object), passes (several lists of probabilities, or of boxes), boxes (objects with
    box: x, y, width and height in pixels of the upright image, class, score, and perhaps probabilities).
    """
    from curation.prediction_import import import_file

    names = None if classes is None else [name.strip() for name in classes.split(",")]
    with console.progress_bar("Reading") as advance:
        done = import_file(console.workspace(context), file, model=model, classes=names, on_progress=advance)
    passes = f", {done.passes} passes each" if done.passes > 1 else ""
    lines = [
        f"Run {done.run} of {done.model}: {done.kind} for {done.imported} images{passes} "
        f"({', '.join(done.classes[:20])}{', …' if len(done.classes) > 20 else ''})."
        + (" It was there already." if done.already else "")
    ]
    console.emit(asdict(done), lines + [f"  {remark}." for remark in done.remarks], as_json=as_json)


@app.command("list")
def list_predictions(context: typer.Context, as_json: AsJson = False) -> None:
    """The runs there are, the newest first."""
    from curation import predictions

    with console.workspace(context).database.read() as session:
        runs = predictions.list_runs(session)
    rows = [
        (run.id, run.model, run.kind, len(run.classes), run.passes, run.images, run.version and run.version[:12])
        for run in runs
    ]
    headings = ("run", "model", "kind", "classes", "passes", "images", "trained on")
    console.emit({"runs": [asdict(run) for run in runs]}, console.table(headings, rows), as_json=as_json)


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


@app.command()
def calibrate(
    context: typer.Context,
    *,
    model: Annotated[str, typer.Option(help="Whose newest predictions.")],
    taxonomy: Annotated[str | None, typer.Option(help="Whose labels; by default the model's own.")] = None,
    plot: Annotated[Path | None, typer.Option(help="A .png of confidence against accuracy.")] = None,
    as_json: AsJson = False,
) -> None:
    """Whether a model's confidence is its accuracy, and how to read its probabilities so that it is."""
    from curation import predictions
    from sampling.run_calibration import calibrated

    with console.workspace(context).database.read() as session:
        run = predictions.newest_run(session, model)
        calibrator, report = calibrated(session, run, taxonomy=taxonomy)
        run_id = run.id
    found = report.calibration
    if plot is not None:
        from api import reliability_plot

        reliability_plot.save(plot, found, title=f"{model}, run {run_id}: {found.labels} labels")
    before, after = (None if curve is None else curve.ece for curve in (found.before, found.after))
    document = {
        "run": run_id,
        "model": model,
        "calibrator": asdict(calibrator),
        "labels": found.labels,
        "ece_before": before,
        "ece_after": after,
        "nll": found.nll,
        "remarks": report.remarks,
        "plot": None if plot is None else str(plot),
    }
    how = f"temperature {calibrator.temperature:.2f}" if calibrator.method == "temperature" else calibrator.method
    lines = [
        f"Run {run_id} of {model}, on {found.labels} labels: {how}."
        + ("" if before is None else f" ECE {before:.3f} as predicted")
        + ("" if after is None else f", {after:.3f} calibrated (out of fold)")
        + ("" if before is None else "."),
        *(f"  {remark}" for remark in report.remarks),
    ]
    if found.nll:
        lines += console.table(("calibrator", "nll"), found.nll.items())
    console.emit(document, lines, as_json=as_json)
