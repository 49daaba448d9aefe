"""`winnow labels`: the accepted values."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli import console
from api.cli.console import AsJson

if TYPE_CHECKING:
    from curation.labels import LabelOnce

app = typer.Typer(no_args_is_help=True, help="Accepted values, each through a verdict.")


@app.command("list")
def list_labels(
    context: typer.Context,
    *,
    taxonomy: Annotated[str | None, typer.Option(help="Needed when several have labels.")] = None,
    as_json: AsJson = False,
) -> None:
    """The labels in force, by sha256."""
    from curation import labels

    with console.workspace(context).database.read() as session:
        asked = labels.the_taxonomy(session, taxonomy)
        name, kind = asked.name, asked.task_kind
        found = labels.in_force(session, name)
    rows = [(label.image_id, label.sha256[:12], labels.in_words(label.value, kind), label.posterior) for label in found]
    console.emit(
        {"taxonomy": name, "task_kind": kind, "labels": [asdict(label) for label in found]},
        console.table(("image", "sha256", "label", "posterior"), rows),
        as_json=as_json,
    )


@app.command()
def show(
    context: typer.Context,
    image: int,
    *,
    evidence: Annotated[bool, typer.Option("--evidence", help="Who and what made each of them.")] = False,
    as_json: AsJson = False,
) -> None:
    """The labels of an image, the newest first: the one in force, and those before it."""
    from curation import labels

    with console.workspace(context).database.read() as session:
        found = labels.history(session, image)
    documents = [asdict(label) for label in found]
    if not evidence:
        for document in documents:
            del document["evidence"]
    lines = [line for label in found for line in _told(label, evidence=evidence)]
    console.emit({"image": image, "labels": documents}, lines or [f"image {image} was never labelled"], as_json=as_json)


def _told(label: "LabelOnce", *, evidence: bool) -> Iterator[str]:
    from curation import labels

    sure = "" if label.posterior is None else f", posterior {label.posterior:.3f}"
    state = "in force" if label.in_force else "replaced or reopened since"
    asked = f"{label.taxonomy} revision {label.revision} in {label.campaign}"
    value = labels.in_words(label.value, label.task_kind)
    yield console.printable(f"{value}: {asked}, {label.created_at:%Y-%m-%d %H:%M}{sure}; {state}")
    if evidence:
        yield from (f"  {console.printable(line)}" for line in _evidence(label.evidence, label.task_kind))


def _evidence(found: dict[str, Any], kind: str) -> Iterator[str]:
    for answer in found.get("answers", []):
        said = "skipped it" if answer.get("skipped") else f"said {answer['answer'] or 'no class of the taxonomy'}"
        yield f"{answer['annotator']} {said}{_how_good(answer, kind)}"
    if adjudicator := found.get("adjudicator"):
        reason = f" ({adjudicator['reason']})" if "reason" in adjudicator else ""
        comment = f": {adjudicator['comment']}" if "comment" in adjudicator else ""
        yield f"{adjudicator['annotator']} settled it as adjudicator: {adjudicator['answer']}{reason}{comment}"
    elif model := found.get("model"):
        yield (
            f"{model['model']} said {model['says']} ({model['probability']:.3f}); its say counts to the power "
            f"{model['power']:.2f}"
        )
    elif found.get("method", "").startswith("confusions"):
        yield "no model was heard"
    for name, chance in found.get("chances", {}).items():
        yield f"{name} is there with a chance of {chance:.3f}"
    for region in found.get("regions", []):
        named = " and ".join(region["classes"]) or "something unnamed"
        sure = f"a chance of {region['chance']:.3f}, and is that with {region['chance_of_classes']:.3f}"
        yield f"{named}, drawn by {', '.join(region['drawn_by'])}, is there with {sure}"
        yield from _attributes(region.get("attributes", {}), of=named)
    yield from _attributes(found.get("attributes", {}), of="the image")
    if migration := found.get("migration"):
        yield f"carried over from revision {migration['from']}"
    if policy := {name: value for name, value in found.get("policy", {}).items() if name != "method"}:
        rules = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in policy.items() if value is not None)
        yield f"decided by {rules}"


def _attributes(chances: dict[str, float], *, of: str) -> Iterator[str]:
    for name, chance in chances.items():
        yield f"{name} of {of} is right with a chance of {chance:.3f}"


def _how_good(answer: dict[str, Any], kind: str) -> str:
    """What the figures of whoever answered mean, as was thought of them at that review."""
    if "accuracy" not in answer:
        return ""
    if kind == "classification":
        return f"; is right {answer['accuracy']:.3f} of the time"
    if kind == "multilabel":
        return f"; is right {answer['accuracy']:.3f} of the time, classes that are there and that are not weighed alike"
    return f"; draws {answer['accuracy']:.3f} of what is there" + (
        f", and {answer['precision']:.3f} of what they draw is there" if "precision" in answer else ""
    )
