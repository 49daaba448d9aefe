"""`winnow qa lots`: acceptance sampling of what vendors deliver."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from api.cli import console
from api.cli.console import AsJson

if TYPE_CHECKING:
    from qa.lots import LotStatus, Terms
    from store.workspace import Workspace

app = typer.Typer(no_args_is_help=True, help="Acceptance sampling: audit a part of what a vendor delivered.")

Aql = Annotated[float | None, typer.Option(help="A lot with this share of wrong labels is good: 0.02.")]
Ltpd = Annotated[float | None, typer.Option(help="One with this share is bad: 0.08.")]
ProducersRisk = Annotated[float, typer.Option(help="How often a lot at the AQL may be rejected.")]
ConsumersRisk = Annotated[float, typer.Option(help="How often a lot at the LTPD may be accepted.")]
Kind = Annotated[
    Literal["single", "double", "sequential"],
    typer.Option(help="One sample, two, or item by item, which needs fewest."),
]
Sample = Annotated[list[int] | None, typer.Option(help="Instead: so many items; twice for a double plan.")]
Accept = Annotated[list[int] | None, typer.Option(help="With --sample: accept with so many wrong; twice in all.")]
SEVERITY_HELP = "By default as the vendor's lots before make it; tightened also after a discontinuation."
SeverityOption = Annotated[Literal["reduced", "normal", "tightened"] | None, typer.Option(help=SEVERITY_HELP)]

_ROWS = 12


@app.command()
def plan(
    *,
    lot_size: Annotated[int, typer.Option(min=1, help="Items in a lot.")],
    aql: Aql = None,
    ltpd: Ltpd = None,
    producers_risk: ProducersRisk = 0.05,
    consumers_risk: ConsumersRisk = 0.10,
    kind: Kind = "single",
    sample: Sample = None,
    accept: Accept = None,
    severity: Annotated[Literal["reduced", "normal", "tightened"], typer.Option(help="Of inspection.")] = "normal",
    process: Annotated[
        bool, typer.Option("--process", help="Qualities are those of the process that makes lots, not of one lot.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Write the curve as a .png.")] = None,
    as_json: AsJson = False,
) -> None:
    """What a sampling plan does to lots of every quality."""
    from api import documents, lot_words, operating_curve
    from qa import acceptance, lot_opening

    terms = _terms(
        kind=kind,
        aql=aql,
        ltpd=ltpd,
        producers_risk=producers_risk,
        consumers_risk=consumers_risk,
        sample=sample,
        accept=accept,
    )
    found = lot_opening.make_plan(terms, severity, lot_size=lot_size, process=process)
    marks = operating_curve.marks(found, terms.levels, lot_size=lot_size, process=process)
    worst, at = acceptance.outgoing_limit(found, lot_size=lot_size, process=process)
    shown = [fraction for _, fraction, _ in marks]
    curve = operating_curve.over_range(found, lot_size=lot_size, process=process, points=_ROWS, also=shown)
    points = documents.points(curve)
    if plot is not None:
        title = f"{terms.kind} sampling of lots of {lot_size:,}: {lot_words.short(found)}"
        operating_curve.save(plot, found, terms.levels, lot_size=lot_size, process=process, title=title)
    document = {
        "lot_size": lot_size,
        "kind": terms.kind,
        "severity": severity,
        "process": process,
        "levels": None if terms.levels is None else asdict(terms.levels),
        "plan": asdict(found),
        "risks": None if not marks else {"producer": 1 - marks[0][2], "consumer": marks[1][2]},
        "aoql": {"outgoing": worst, "incoming": at},
        "curve": points,
        "plot": None if plot is None else str(plot),
    }
    distribution = "binomial" if process else "hypergeometric"
    lines = [f"{terms.kind} sampling of lots of {lot_size}, {severity} inspection", *lot_words.sentences(found), ""]
    if marks:
        (_, aql_met, passing), (_, ltpd_met, escaping) = marks
        lines.append(
            f"AQL {aql_met:.4g}: a lot this good is rejected {1 - passing:.2%} of the time, the producer's risk"
        )
        lines.append(f"LTPD {ltpd_met:.4g}: a lot this bad is accepted {escaping:.2%} of the time, the consumer's risk")
    lines.append(
        f"AOQL {worst:.4f}: with rejected lots sorted, the most that is left on average, where {at:.4g} came in"
    )
    lines += ["", f"Operating curve, {distribution}:", *_curve(points)]
    console.emit(document, lines, as_json=as_json)


@app.command("open")
def open_lot(
    context: typer.Context,
    campaign: str,
    *,
    auditor: Annotated[str, typer.Option(metavar="VENDOR", help="Who audits: not who labelled.")],
    aql: Aql = None,
    ltpd: Ltpd = None,
    producers_risk: ProducersRisk = 0.05,
    consumers_risk: ConsumersRisk = 0.10,
    kind: Kind = "single",
    sample: Sample = None,
    accept: Accept = None,
    least_iou: Annotated[
        float | None, typer.Option(help="Of regions: the IoU from which two are one thing; by default 0.5.")
    ] = None,
    least_f1: Annotated[
        float | None, typer.Option(help="Of regions: a label is wrong under this F1 at that IoU; by default 0.9.")
    ] = None,
    severity: SeverityOption = None,
    as_json: AsJson = False,
) -> None:
    """Make a lot of what people agreed on since the last one, and plan the blind audit of a random sample."""
    from api import documents, lot_words
    from qa import lot_opening

    terms = _terms(
        kind=kind,
        aql=aql,
        ltpd=ltpd,
        producers_risk=producers_risk,
        consumers_risk=consumers_risk,
        sample=sample,
        accept=accept,
    )
    workspace = console.workspace(context)
    with workspace.database.read() as session:
        left_out = lot_opening.left_out(session, campaign)
    found = lot_opening.open_lot(
        workspace,
        campaign,
        auditor=auditor,
        terms=terms,
        least_iou=least_iou,
        least_f1=least_f1,
        severity=severity,
    )
    document = documents.lot(found) | {"left_out": asdict(left_out)}
    console.emit(document, _told(found, lot_words.left_out(found, left_out)), as_json=as_json)


@app.command("list")
def list_all(context: typer.Context, as_json: AsJson = False) -> None:
    """Every lot, the newest first."""
    from api import lot_words
    from qa import lots

    with console.workspace(context).database.read() as session:
        found = lots.list_lots(session)
    headings = ["lot", "campaign", "vendor", "items", "severity", "plan", "audited", "wrong", "decision", "rework"]
    rows = [
        (
            *(lot.id, lot.campaign, lot.vendor, lot.size, lot.severity, lot_words.short(lot.plan)),
            *(f"{lot.audited} of {lot.drawn}", lot.found, lot.outcome, lot.rework),
        )
        for lot in found
    ]
    console.emit({"lots": [asdict(lot) for lot in found]}, console.table(headings, rows), as_json=as_json)


@app.command()
def show(
    context: typer.Context,
    lot: Annotated[int, typer.Argument(metavar="LOT")],
    plot: Annotated[Path | None, typer.Option(help="Write the operating curve as a .png.")] = None,
    as_json: AsJson = False,
) -> None:
    """One lot: its plan and risks, what was found, what became of it."""
    from api import lot_words, operating_curve
    from qa import lots

    workspace = console.workspace(context)
    with workspace.database.read() as session:
        found = lots.show(session, lot)
    if plot is not None:
        title = f"Lot {lot}, {found.size:,} items of {found.campaign}: {lot_words.short(found.plan)}"
        operating_curve.save(plot, found.plan, found.terms.levels, lot_size=found.size, process=False, title=title)
    _emit(workspace, found, as_json=as_json)


@app.command()
def decide(
    context: typer.Context,
    lot: Annotated[int, typer.Argument(metavar="LOT")],
    sort: Annotated[bool, typer.Option("--sort", help="A rejected lot: have the auditor go through the rest.")] = False,
    as_json: AsJson = False,
) -> None:
    """Judge a lot by the audit so far; a rejected lot's labels are in force no more."""
    from qa import lot_decisions

    workspace = console.workspace(context)
    _emit(workspace, lot_decisions.decide(workspace, lot, sort=sort), as_json=as_json)


@app.command()
def withdraw(
    context: typer.Context, lot: Annotated[int, typer.Argument(metavar="LOT")], as_json: AsJson = False
) -> None:
    """Call off a lot that is not decided: what nobody audited is in the next one, what an auditor said stands."""
    from qa import lot_decisions

    workspace = console.workspace(context)
    _emit(workspace, lot_decisions.withdraw(workspace, lot), as_json=as_json)


@app.command()
def rework(context: typer.Context, lot: Annotated[int, typer.Argument(metavar="LOT")], as_json: AsJson = False) -> None:
    """Give a rejected lot back: plan the campaign in which its vendor labels it again."""
    from qa import lot_decisions

    workspace = console.workspace(context)
    _emit(workspace, lot_decisions.rework(workspace, lot), as_json=as_json)


def _terms(
    *,
    kind: Literal["single", "double", "sequential"],
    aql: float | None,
    ltpd: float | None,
    producers_risk: float,
    consumers_risk: float,
    sample: list[int] | None,
    accept: list[int] | None,
) -> "Terms":
    """What the options ask of a plan."""
    from qa.acceptance import Levels
    from qa.lots import Terms
    from store.errors import InvalidInputError

    if (aql is None) != (ltpd is None):
        raise InvalidInputError("Say both quality levels, --aql and --ltpd, or neither.")
    levels = None if aql is None or ltpd is None else Levels(aql, ltpd, producers_risk, consumers_risk)
    if sample or accept:
        sizes, numbers = tuple(sample or ()), tuple(accept or ())
        return Terms("double" if max(len(sizes), len(numbers)) == 2 else "single", levels, sizes, numbers)
    return Terms(kind, levels)


def _emit(workspace: "Workspace", lot: "LotStatus", *, as_json: bool) -> None:
    from api import documents
    from qa import lots

    with workspace.database.read() as session:
        again = lots.resubmitted_as(session, lot.id)
    console.emit(documents.lot(lot), _told(lot, resubmitted_as=again), as_json=as_json)


def _told(lot: "LotStatus", left_out: str | None = None, *, resubmitted_as: int | None = None) -> Iterator[str]:
    from api import lot_words

    again = "" if lot.resubmits is None else f", lot {lot.resubmits} again"
    yield f"Lot {lot.id}: {lot.size} items of {lot.campaign} by {lot.vendor}{again}; {lot.severity} inspection"
    if left_out:
        yield f"  {left_out}"
    yield from (f"  {sentence}" for sentence in lot_words.sentences(lot.plan))
    if sum(lot.terms.sizes) > lot.size:
        yield f"  The lot holds fewer items than the plan's {sum(lot.terms.sizes)}: it is inspected as a whole."
    if risks := lot_words.risks(lot):
        yield f"  Risks: {risks}."
    yield f"  {lot_words.defect(lot.terms.tolerance)}"
    yield f"  Audit by {lot.auditor}: {lot.audited} of {lot.drawn} answered, {lot.found} wrong."
    if _is_audited(lot) and (skipped := lot_words.settle_skipped(lot)):
        yield f"  {skipped}"
    yield f"  {lot.outcome.capitalize()}. {_next(lot, resubmitted_as)}".rstrip()


def _next(lot: "LotStatus", resubmitted_as: int | None) -> str:
    """What to do now."""
    if _is_audited(lot):
        if lot.audited + len(lot.skipped) < lot.drawn:
            audit = lot.audits[-1]
            return f"Next: winnow campaign push {audit}, winnow campaign pull {audit}, winnow qa lots decide {lot.id}"
        return f"Next: winnow qa lots decide {lot.id}"
    if lot.outcome != "rejected":
        return ""
    if lot.rework is None:
        return f"Next: winnow qa lots rework {lot.id}, or winnow qa lots decide {lot.id} --sort"
    if resubmitted_as is not None:
        return f"It was labelled again and is lot {resubmitted_as}. See: winnow qa lots show {resubmitted_as}"
    return (
        f"Next: winnow campaign push {lot.rework}; once it is reviewed: "
        f"winnow qa lots open {lot.rework} --auditor {lot.auditor}"
    )


def _is_audited(lot: "LotStatus") -> bool:
    """Whether its auditor's answers are waited for."""
    return lot.outcome == "open" or (lot.outcome == "rejected" and lot.drawn == lot.size)


def _curve(points: Iterable[dict[str, float]]) -> list[str]:
    rows = [
        (
            f"{point['fraction']:.4f}",
            f"{point['accepted']:.4f}",
            f"{point['sampled']:.1f}",
            f"{point['outgoing']:.4f}",
            f"{point['inspected']:.1f}",
        )
        for point in points
    ]
    return console.table(("defective", "accepted", "ASN", "AOQ", "ATI"), rows)
