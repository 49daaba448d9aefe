"""`winnow labels`: the accepted values."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli import console
from api.cli.console import AsJson

if TYPE_CHECKING:
    from curation.labels import LabelOnce, Unlabelled

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
    """The labels of an image, in force and before, and verdicts in force that give it none; the newest first."""
    from curation import labels

    with console.workspace(context).database.read() as session:
        found, without = labels.history(session, image), labels.unlabelled(session, image)
    document = {"labels": [asdict(label) for label in found], "unlabelled": [asdict(verdict) for verdict in without]}
    if not evidence:
        for one in [*document["labels"], *document["unlabelled"]]:
            del one["evidence"]
    lines = []
    everything: list[LabelOnce | Unlabelled] = [*found, *without]
    for each in sorted(everything, key=lambda each: -each.verdict_id):
        lines.append(console.printable(_told(each)))
        if evidence:
            lines += [f"  {console.printable(line)}" for line in _evidence(each.evidence, each.task_kind)]
    console.emit({"image": image} | document, lines or [f"image {image} was never labelled"], as_json=as_json)


_WITHOUT = {  # by the outcome of a verdict that gives no label
    "rejected": "rejected",
    "adjudication": "in adjudication",
    "another-opinion": "waits for another opinion",
}


def _told(one: "LabelOnce | Unlabelled") -> str:
    from curation import labels

    asked = f"{one.taxonomy} revision {one.revision} in {one.campaign}, {one.created_at:%Y-%m-%d %H:%M}"
    if isinstance(one, labels.Unlabelled):
        return f"no label: {asked}; {_WITHOUT[one.outcome]}"
    sure = "" if one.posterior is None else f", posterior {one.posterior:.3f}"
    state = "in force" if one.in_force else "replaced or reopened since"
    return f"{labels.in_words(one.value, one.task_kind)}: {asked}{sure}; {state}"


def _evidence(found: dict[str, Any], kind: str) -> Iterator[str]:
    for answer in found.get("answers", []):
        said = "skipped it" if answer.get("skipped") else f"said {answer['answer'] or 'no class of the taxonomy'}"
        yield f"{answer['annotator']} {said}{_how_good(answer, kind)}"
    if adjudicator := found.get("adjudicator"):
        reason = f" ({adjudicator['reason']})" if "reason" in adjudicator else ""
        comment = f": {adjudicator['comment']}" if "comment" in adjudicator else ""
        said = "rejected it as adjudicator" if adjudicator["answer"] is None else "settled it as adjudicator: "
        yield f"{adjudicator['annotator']} {said}{adjudicator['answer'] or ''}{reason}{comment}"
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
        why = f"not carried over from revision {migration['from']}: {migration['why']}" if "why" in migration else ""
        yield why or f"carried over from revision {migration['from']}"
    if "rejects" in found:
        yield f"rejected with the rest of lot {found['lot']}"
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
