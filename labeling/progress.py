"""How fast answers come, when all will be there, and what they cost. Pure: plain values in, plain values out."""

from datetime import UTC, date, datetime, timedelta

WINDOW = timedelta(hours=24)
_LEAST = timedelta(hours=1)
_FORESEEABLE = timedelta(days=36_500)


def rate_per_hour(answers: int, *, first: datetime, last: datetime) -> float:
    """Answers per hour of the clock, nights among them.

    Args:
        answers: given in the `WINDOW` that ends with the newest.
        first: when the oldest answer of all was given; a campaign that is younger than the window is measured
            over its age, of an hour or more.
        last: when the newest was given.
    """
    return answers / (min(max(last - first, _LEAST), WINDOW) / timedelta(hours=1))


def end(answers_missing: int, rate: float | None, *, now: datetime) -> datetime | None:
    """When the last missing answer comes at this rate per hour; none where nobody can tell."""
    if not rate or answers_missing / rate > _FORESEEABLE / timedelta(hours=1):
        return None
    return now + timedelta(hours=answers_missing / rate)


def outlook(*, answers_missing: int, eta: datetime | None, deadline: date | None, now: datetime) -> str:
    """What a lead would be told: how late it is, and when it ends. Days are those of UTC."""
    if answers_missing == 0:
        return "done"
    today = now.astimezone(UTC).date()
    parts = []
    if deadline is not None and today > deadline:
        parts.append(f"late by {_days(today - deadline)}")
    if eta is not None:
        last_day = eta.astimezone(UTC).date()
        after = "" if deadline is None else f", {_against(last_day, deadline)}"
        parts.append(f"at this rate done on {last_day}{after}")
    elif deadline is not None and today <= deadline:
        parts.append(f"no rate yet, {_days(deadline - today)} to the deadline")
    return "; ".join(parts) or "no rate yet"


def _against(day: date, deadline: date) -> str:
    if day == deadline:
        return "on the day of the deadline"
    return f"{_days(abs(day - deadline))} {'after' if day > deadline else 'before'} the deadline"


def _days(span: timedelta) -> str:
    return f"{span.days:,} day{'s' * (span.days != 1)}"
