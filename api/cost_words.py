"""What a cost is without, in words."""

import shlex

from qa.report import Progress


def of_unpriced(report: Progress) -> str | None:
    """Which answers have no price, and how to give them one; none where all have."""
    if not report.unpriced:
        return None
    counts = " and ".join(
        f"{count:,} answer{'' if count == 1 else 's'} of {vendor}" for vendor, count in report.unpriced.items()
    )
    one = next(iter(report.unpriced)) if len(report.unpriced) == 1 else "NAME"
    how = f"winnow vendor add {shlex.quote(one)} --price {report.kind}=0.05 …"
    if report.cost is None:
        return f"There is no cost: of {counts} no price for {report.kind} is known. Run: {how}"
    return f"The cost leaves out {counts}, whose price for {report.kind} is not known. Run: {how}"
