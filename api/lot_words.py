"""Sampling plans in words."""

from collections.abc import Iterator

from api import skip_words
from qa.acceptance import Plan
from qa.defects import Tolerance
from qa.lot_opening import LeftOut
from qa.lots import LotStatus


def short(plan: Plan) -> str:
    """For a cell of a table: sizes and acceptance numbers."""
    if len(plan.sizes) > 2:
        return f"item by item, n ≤ {plan.sizes[-1]}"
    sizes = [after - before for before, after in zip((0, *plan.sizes), plan.sizes, strict=False)]
    return f"n = {', '.join(map(str, sizes))}; c = {', '.join(map(str, plan.accept))}"


def sentences(plan: Plan) -> Iterator[str]:
    """What an inspector does."""
    if len(plan.sizes) > 2:
        yield from _sequential(plan)
        return
    last = len(plan.sizes) - 1
    before = 0
    for stage, (size, accept, reject) in enumerate(zip(plan.sizes, plan.accept, plan.reject, strict=True)):
        drawn, sofar = (f"Inspect {size}", "") if stage == 0 else (f"Else inspect {size - before} more", " in all")
        other = "else reject" if stage == last else f"reject with {reject} or more"
        yield f"{drawn}: accept with {_at_most(accept)}{sofar}, {other}."
        before = size


def left_out(lot: LotStatus, others: LeftOut) -> str | None:
    """Why it holds fewer items than were accepted; none where it holds all."""
    count = others.in_lots + others.settled
    reasons = [
        *([f"{others.in_lots} in lots already"] if others.in_lots else []),
        *([f"{others.settled} settled by an adjudicator or auditor"] if others.settled else []),
    ]
    return f"Of {lot.size + count} accepted items it leaves out {count}: {', '.join(reasons)}." if count else None


def defect(tolerance: Tolerance | None) -> str:
    """When an item is wrong."""
    if tolerance is None:
        return "Wrong is a label that the auditor does not give."
    return (
        f"Wrong is a label whose F1 against what the auditor draws is under {tolerance.least_f1:g}, at an IoU of "
        f"{tolerance.least_iou:g}."
    )


def risks(lot: LotStatus) -> str | None:
    """How often its plan errs about a lot as good as the AQL allows, and one as bad as the LTPD; none without levels.

    A lot holds whole items: the most wrong ones within the AQL, and the fewest at the LTPD or beyond it.
    """
    levels = lot.terms.levels
    if levels is None or lot.producers_risk is None or lot.consumers_risk is None:
        return None
    good, bad = levels.defectives(lot.size)
    return (
        f"{lot.producers_risk:.1%} that a lot with {good} of {lot.size:,} wrong (AQL {levels.aql:.3g}) is rejected, "
        f"{lot.consumers_risk:.1%} that one with {bad} wrong (LTPD {levels.ltpd:.3g}) is accepted"
    )


def settle_skipped(lot: LotStatus) -> str | None:
    """What is to be done about items drawn that the auditor skipped without a reason; none where there are none."""
    if not lot.skipped:
        return None
    return skip_words.settle(lot.skipped, lot.campaign, of="the items drawn")


def _sequential(plan: Plan) -> Iterator[str]:
    """The sizes at which one of the numbers changes."""
    yield "Inspect item by item:"
    before = (-1, 0)
    for size, accept, reject in zip(plan.sizes, plan.accept, plan.reject, strict=True):
        if (accept, reject) != before:
            accepting = f"accept with {_at_most(accept)}, " if accept >= 0 else ""
            yield f"  from {size}: {accepting}reject with {reject} or more"
        before = (accept, reject)
    yield f"  at {plan.sizes[-1]} it ends."


def _at_most(number: int) -> str:
    return "none defective" if number == 0 else f"{number} defective or fewer"
