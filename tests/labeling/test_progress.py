from datetime import UTC, date, datetime, timedelta

import pytest

from labeling import progress

NOON = datetime(2026, 12, 20, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_a_rate_is_over_the_last_day_or_a_younger_campaigns_age() -> None:
    assert progress.rate_per_hour(48, first=NOON - 100 * HOUR, last=NOON) == 2
    assert progress.rate_per_hour(48, first=NOON - 4 * HOUR, last=NOON) == 12
    assert progress.rate_per_hour(3, first=NOON, last=NOON) == 3  # no less than an hour: not without bound


def test_the_end_is_what_is_missing_at_that_rate() -> None:
    assert progress.end(30, 2.0, now=NOON) == NOON + 15 * HOUR
    assert progress.end(0, 2.0, now=NOON) == NOON
    assert progress.end(30, None, now=NOON) is None
    assert progress.end(10**12, 1e-3, now=NOON) is None  # beyond the calendar


@pytest.mark.parametrize(
    ("missing", "eta_days", "deadline", "said"),
    [
        (0, None, date(2026, 12, 1), "done"),
        (5, None, None, "no rate yet"),
        (5, None, date(2026, 12, 24), "no rate yet, 4 days to the deadline"),
        (5, None, date(2026, 12, 17), "late by 3 days"),
        (5, 1, None, "at this rate done on 2026-12-21"),
        (5, 1, date(2026, 12, 24), "at this rate done on 2026-12-21, 3 days before the deadline"),
        (5, 4, date(2026, 12, 24), "at this rate done on 2026-12-24, on the day of the deadline"),
        (5, 5, date(2026, 12, 24), "at this rate done on 2026-12-25, 1 day after the deadline"),
        (5, 2, date(2026, 12, 19), "late by 1 day; at this rate done on 2026-12-22, 3 days after the deadline"),
        (5, 0, date(2026, 12, 20), "at this rate done on 2026-12-20, on the day of the deadline"),
    ],
)
def test_the_outlook_is_a_sentence(missing: int, eta_days: int | None, deadline: date | None, said: str) -> None:
    eta = None if eta_days is None else NOON + timedelta(days=eta_days)
    assert progress.outlook(answers_missing=missing, eta=eta, deadline=deadline, now=NOON) == said
