"""What the tables of agreement count, in words."""

from collections.abc import Iterator, Sequence

from qa.agreement import LEAST_ITEMS, Level
from qa.agreement_tables import AgreementRow
from qa.content_report import DrawnRow

_LEVELS = {"ordinal": "ordered (ordinal)", "interval": "ordered and equally far apart (interval)"}


def of_answers(
    rows: Sequence[AgreementRow], *, adaptive: bool, level: Level = "nominal", classes: Sequence[str] = ()
) -> Iterator[str]:
    """Of classes that were given, and that lie in this order if they have one."""
    if adaptive:
        yield (
            "A second answer was asked for where the first left doubt: people agree on these items less often "
            "than they would on all."
        )
    if level != "nominal":
        yield (
            f"Alpha and kappa take the classes as {_LEVELS[level]}, in the order of the taxonomy: "
            f"{' < '.join(classes)}."
        )
    if any(row.of == "class" for row in rows):
        yield (
            "Items of a class are those that anyone gave it; its alpha is on whether it was given, over all items with "
            "two answers or more."
        )
    if any(row.alpha is not None and row.interval is None for row in rows):
        yield (
            f"No interval is given for fewer than {LEAST_ITEMS} items with two answers or more: that so few are agreed "
            "on, or not, is too much chance for an interval to hold what it promises."
        )
    if any(row.kappa_of is None and row.raw_agreement is not None for row in rows):
        yield (
            "No kappa is given where more than two people answered and items have different numbers of answers, as "
            f"after a skip{'' if level == 'nominal' else ', or the classes are ordered'}; alpha allows for that."
        )


def of_drawings(rows: Sequence[DrawnRow]) -> Iterator[str]:
    """Of regions that were drawn."""
    if rows:
        yield (
            "Each two people who saw an image are compared there: a region counts once for each other person. Rows of "
            "a class want both to call a region that; all others only want it in the same place, whatever it is called."
        )
