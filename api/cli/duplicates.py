"""`winnow duplicates`: images that are the same picture."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli import console
from api.cli.console import AsJson

if TYPE_CHECKING:
    from curation.calibration import Calibration

_ROWS = 100  # of a table on the terminal
_REASONS = 20  # why pictures could not be read

app = typer.Typer(no_args_is_help=True, help="Images that are the same picture.")


@app.command()
def scan(
    context: typer.Context,
    *,
    encoder: Annotated[
        str | None, typer.Option(help="Whose vectors propose pairs; by default as in: winnow search.")
    ] = None,
    min_cosine: Annotated[
        float | None,
        typer.Option(min=0.1, max=1.0, help="Take images this near for one on their vectors alone: bursts, frames."),
    ] = None,
    max_residual: Annotated[
        float | None, typer.Option(min=0.0, max=0.5, help="How much two pictures may differ; calibrated by default.")
    ] = None,
    anew: Annotated[bool, typer.Option("--anew", help="Calibrate and compare everything again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find every duplicate among the embedded images; again costs in proportion to what is new."""
    from curation import duplicates
    from curation.calibration import Calibration

    with console.progress_bar("Comparing") as advance:
        done = duplicates.scan(
            console.workspace(context),
            encoder=encoder,
            min_cosine=min_cosine,
            max_residual=max_residual,
            anew=anew,
            on_progress=advance,
        )
    kinds = ", ".join(f"{count} {kind}" for kind, count in done.kinds.items()) or "none"
    measured = Calibration(**done.calibration)
    features = " or shared features" if done.features_used else ""
    lines = [
        f"{done.images} images, {done.new_images} of them new: {done.duplicates} duplicates in {done.groups} groups "
        f"({kinds}); {done.exact_copies} exact copies share an image already.",
        f"{done.compared_pairs} pairs with a cosine from {measured.min_cosine:.3f}, near hashes{features} "
        f"were compared pixel by pixel; one picture: a residual of at most {measured.max_residual:.3f}.",
        *_expectations(done.expected_recall, done.expected_precision, measured),
    ]
    if done.not_embedded:
        lines.append(f"{done.not_embedded} images are not embedded with this encoder and were left out: winnow embed.")
    if measured.needs_features and not done.features_used:
        lines.append("Local features would find more copies here, but are compared in smaller collections only.")
    if 0 < done.new_images == done.images:
        lines.append("Everything was compared: at first, when asked to, and when a collection has grown by a quarter.")
    if done.truncated:
        lines.append(
            f"{done.truncated} near pairs were left out where hundreds of images are alike; each kept its nearest."
        )
    lines += [f"  {reason}" for reason in done.unreadable[:_REASONS]]
    if len(done.unreadable) > _REASONS:
        lines.append(f"  … and {len(done.unreadable) - _REASONS} more. --json tells all of them.")
    console.emit(asdict(done), lines, as_json=as_json)


@app.command()
def calibrate(
    context: typer.Context,
    *,
    output: Annotated[Path, typer.Option(help="A .html or .png file.")] = Path("duplicates.html"),
    encoder: Annotated[str | None, typer.Option(help="Whose vectors; by default as in: winnow search.")] = None,
    per_band: Annotated[int, typer.Option(min=1, max=50, help="Pairs shown of each band.")] = 8,
    as_json: AsJson = False,
) -> None:
    """Show pairs by how near they are, and what a scan would go by."""
    from curation import contact_sheet
    from store.errors import InvalidInputError

    if output.suffix.lower() not in {".html", ".png"}:
        raise InvalidInputError(f"{output} is neither a .html nor a .png file.")
    sheet = contact_sheet.make(console.workspace(context), encoder=encoder, per_band=per_band)
    try:
        if output.suffix.lower() == ".png":
            contact_sheet.render_png(sheet).save(output)
        else:
            output.write_text(contact_sheet.render_html(sheet), encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"{output} cannot be written: {error.strerror}.") from error
    measured = sheet.calibration
    bands = [
        {"low": band.low, "high": band.high, "pairs": band.pairs, "proven_share": band.proven_share}
        for band in sheet.bands
    ]
    lines = [
        *(contact_sheet.title(band) for band in sheet.bands),
        f"A scan compares pairs from a cosine of {measured.min_cosine:.3f} on and calls one picture "
        f"what differs by at most {measured.max_residual:.3f}.",
        measured.advice,
        f"The pairs are in {output}.",
    ]
    document = {"encoder": sheet.encoder, "images": sheet.images, "calibration": asdict(measured), "bands": bands}
    console.emit({**document, "output": str(output)}, lines, as_json=as_json)


@app.command()
def accept(context: typer.Context, group: int, as_json: AsJson = False) -> None:
    """Say that a group is one picture; later scans keep it."""
    from curation import decisions

    pairs = decisions.accept(console.workspace(context), group)
    console.emit({"group": group, "pairs": pairs}, [f"Group {group} is one picture, as you say."], as_json=as_json)


@app.command()
def reject(
    context: typer.Context,
    group: int,
    *,
    image: Annotated[int | None, typer.Option(help="Only this member is another picture.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say that a group, or one of its images, is no duplicate; later scans keep to it."""
    from curation import decisions
    from store.schema import ImageId

    said = None if image is None else ImageId(image)
    pairs = decisions.reject(console.workspace(context), group, image_id=said)
    lines = [f"{pairs} pairs are different pictures, as you say. The groups follow with: winnow duplicates scan."]
    console.emit({"group": group, "image": image, "pairs": pairs}, lines, as_json=as_json)


@app.command()
def compare(
    context: typer.Context,
    first: Annotated[str, typer.Argument(metavar="A", help="A source or a version.")],
    second: Annotated[str, typer.Argument(metavar="B", help="A source or a version.")],
    as_json: AsJson = False,
) -> None:
    """What leaks from one source or version into another."""
    from curation import leaks

    found = leaks.compare(console.workspace(context), first, second)
    lines = [
        f"{len(found.leaks)} of {found.second_images} images in {second} are pictures that {first} has too.",
        *console.table(
            (first, second, "kind", "distance"),
            [(leak.first, leak.second, leak.kind, leak.distance) for leak in found.leaks[:_ROWS]],
        ),
    ]
    if len(found.leaks) > _ROWS:
        lines.append(f"… and {len(found.leaks) - _ROWS} more: say --json.")
    if found.unscanned:
        lines.append(f"{found.unscanned} images were never compared. Run: winnow embed, then winnow duplicates scan.")
    console.emit(asdict(found), lines, as_json=as_json)


@app.command("list")
def list_groups(
    context: typer.Context,
    *,
    after: Annotated[int, typer.Option(help="Continue after this group.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Groups a page.")] = 100,
    as_json: AsJson = False,
) -> None:
    """The newest scan's groups."""
    from api import documents

    with console.workspace(context).database.read() as session:
        document = documents.duplicates(session, after=after, limit=limit)
    rows = [
        (group["id"], group["representative"], member["image"], member["kind"], float(member["distance"]))
        for group in document["groups"]
        for member in group["members"]
        if member["image"] != group["representative"]
    ]
    lines = console.table(("group", "representative", "image", "kind", "distance"), rows)
    console.emit(document, lines if rows else ["No groups. Look for some: winnow duplicates scan."], as_json=as_json)


@app.command()
def show(context: typer.Context, group: int, as_json: AsJson = False) -> None:
    """One group with the files of its images."""
    from api import documents
    from curation import originals
    from store.errors import NotFoundError

    with console.workspace(context).database.read() as session:
        page = documents.duplicates(session, after=group - 1, limit=1)["groups"]
        if not page or page[0]["id"] != group:
            raise NotFoundError(f"The newest scan has no group {group}. See: winnow duplicates list.")
        document = page[0]
        uris = {
            one.image_id: list(one.uris)
            for one in originals.find(session, [member["image"] for member in document["members"]])
        }
    members = [{**member, "uris": uris[member["image"]]} for member in document["members"]]
    rows = [
        (member["image"], member["kind"], float(member["distance"]), (member["uris"] or ["–"])[0]) for member in members
    ]
    lines = console.table(("image", "kind", "distance", "uri"), rows)
    console.emit({**document, "members": members}, lines, as_json=as_json)


def _expectations(recall: float | None, precision: float | None, measured: "Calibration") -> list[str]:
    """What a scan may be expected to find, by the copies it made of a sample."""
    if recall is None:
        lines = ["No copies could be made and embedded here, so how many are found is not known."]
    else:
        weakest = min(measured.recall, key=lambda kind: measured.recall[kind])
        lines = [
            f"Expected: {recall:.0%} of copies found (fewest of those {weakest}: {measured.recall[weakest]:.0%}), "
            f"measured on {measured.copies} copies made of these images."
        ]
    if precision is not None:
        lines.append(
            f"Of the pairs proven by their pixels {precision:.1%} or more are expected to be right, going by "
            f"{measured.neighbours} pairs of different neighbours."
        )
    return [*lines, measured.advice]
