"""What the tables of agreement count, in words."""

from collections.abc import Iterator, Sequence

from qa.agreement_tables import AgreementRow
from qa.content_report import DrawnRow


def of_answers(rows: Sequence[AgreementRow]) -> Iterator[str]:
    """Of classes that were given."""
    if any(row.of == "class" for row in rows):
        yield (
            "Items of a class are those that anyone gave it; its alpha is on whether it was given, over all items with "
            "two answers or more."
        )
    if any(row.kappa_of is None and row.raw_agreement is not None for row in rows):
        yield (
            "No kappa is given where more than two people answered and items have different numbers of answers, as "
            "after a skip; alpha allows for that."
        )


def of_drawings(rows: Sequence[DrawnRow]) -> Iterator[str]:
    """Of regions that were drawn."""
    if rows:
        yield (
            "Each two people who saw an image are compared there: a region counts once for each other person. Rows of "
            "a class want both to call a region that; all others only want it in the same place, whatever it is called."
        )
