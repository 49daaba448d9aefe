"""Sampling plans in words."""

from collections.abc import Iterator

from qa.acceptance import Plan
from qa.defects import Tolerance


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


def defect(tolerance: Tolerance | None) -> str:
    """When an item is wrong."""
    if tolerance is None:
        return "Wrong is a label that the auditor does not give."
    return (
        f"Wrong is a label whose F1 against what the auditor draws is under {tolerance.least_f1:g}, at an IoU of "
        f"{tolerance.least_iou:g}."
    )


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
