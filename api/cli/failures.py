"""`winnow failures` and `winnow evaluate`: where and how often a model is wrong."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli import console
from api.cli.console import AsJson

if TYPE_CHECKING:
    from curation.failures import Cluster, FailureSummary

app = typer.Typer(no_args_is_help=True, help="Where in the collection a model fails.")

Model = Annotated[str, typer.Option(help="Whose newest predictions.")]
Taxonomy = Annotated[str | None, typer.Option(help="Whose labels; by default the model's own.")]


@app.command()
def scan(context: typer.Context, *, model: Model, taxonomy: Taxonomy = None, as_json: AsJson = False) -> None:
    """Cluster the failures by look; nothing of the test split is used."""
    from curation import failures

    _emit(failures.scan(console.workspace(context), model, taxonomy=taxonomy), as_json=as_json)


@app.command("list")
def list_clusters(
    context: typer.Context,
    *,
    model: Annotated[str | None, typer.Option(help="By default the one scanned last.")] = None,
    as_json: AsJson = False,
) -> None:
    """The clusters of the newest scan."""
    from curation import failures

    _emit(failures.newest(console.workspace(context), model), as_json=as_json)


@app.command()
def show(
    context: typer.Context,
    cluster_id: Annotated[int, typer.Argument(metavar="ID", help="Of a failure cluster.")],
    as_json: AsJson = False,
) -> None:
    """One cluster and its images."""
    from curation import failures

    cluster, members = failures.show(console.workspace(context), cluster_id)
    rows = [(member.image, member.failure, "yes" if member.medoid else None) for member in members]
    lines = [*_table([cluster]), "", *console.table(("image", "failure", "medoid"), rows)]
    console.emit({**asdict(cluster), "members": [asdict(member) for member in members]}, lines, as_json=as_json)


def evaluate(
    context: typer.Context,
    *,
    model: Model,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    taxonomy: Taxonomy = None,
    as_json: AsJson = False,
) -> None:
    """Compare a model's newest predictions with the labels in force."""
    from curation import evaluation

    found = evaluation.evaluate(console.workspace(context), model, split=split, taxonomy=taxonomy)
    low, high = found.interval
    said = list(next(iter(found.confusion.values())))
    rows: list[list[Any]] = [
        [each.name, each.images, each.recall, each.precision, *found.confusion[each.name].values()]
        for each in found.classes
    ]
    lines = [
        f"{model} on {split}: {found.correct} of {found.images} right, {found.accuracy:.3f} ({low:.3f}–{high:.3f})",
        *console.table(["label", "images", "recall", "precision", *(f"→ {name}" for name in said)], rows),
    ]
    console.emit(asdict(found), lines, as_json=as_json)


def _emit(summary: "FailureSummary", *, as_json: bool) -> None:
    lines = [
        f"scan {summary.scan} of {summary.model}: {summary.failures} failures on {summary.labelled} labelled images",
        summary.note or "",
        *_table(summary.clusters),
    ]
    console.emit(asdict(summary), filter(None, lines), as_json=as_json)


def _table(clusters: "list[Cluster]") -> list[str]:
    rows = [
        (each.id, each.name, each.size, each.failures, each.labelled, each.failure_rate, each.lift, each.chance)
        for each in clusters
    ]
    return console.table(("id", "name", "size", "failures", "labelled", "rate", "lift", "chance"), rows) if rows else []
