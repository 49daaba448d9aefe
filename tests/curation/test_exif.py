"""What a camera wrote: kept where it makes sense, left out where not."""

import io
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from curation import exif


def camera(*, tags: dict[int, Any] | None = None, gps: dict[int, Any] | None = None, turn: object = 1) -> exif.Camera:
    found = Image.Exif()
    found[0x0112] = turn
    found.get_ifd(0x8769).update(tags or {})
    found.get_ifd(0x8825).update(gps or {})
    buffer = io.BytesIO()
    Image.new("L", (2, 2)).save(buffer, "JPEG", exif=found)
    return exif.read(Image.open(buffer))


def test_a_time_without_a_zone_is_utc() -> None:
    assert camera(tags={0x9003: "2024:05:06 07:08:09"}).captured_at == datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)


def test_a_zone_is_kept() -> None:
    found = camera(tags={0x9003: "2024:05:06 07:08:09", 0x9011: "-03:30"}).captured_at
    assert found == datetime(2024, 5, 6, 7, 8, 9, tzinfo=timezone(-timedelta(hours=3, minutes=30)))


def test_where_taken_is_not_said_digitised_counts() -> None:
    found = camera(tags={0x9003: "    :  :     :  :  ", 0x9004: "2001:02:03 04:05:06"}).captured_at
    assert found == datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)


@pytest.mark.parametrize("text", ["0000:00:00 00:00:00", "2024:02:31 00:00:00", "0001:01:01 00:00:00", "yesterday", ""])
def test_no_time_is_no_error(text: str) -> None:
    assert camera(tags={0x9003: text}).captured_at is None


def test_a_time_that_utc_cannot_say_is_no_time() -> None:
    assert camera(tags={0x9003: "9999:12:31 23:00:00", 0x9011: "-05:00"}).captured_at is None


def test_places_are_degrees_north_and_east() -> None:
    found = camera(gps={1: "S", 2: (33.0, 51.0, 36.0), 3: "E", 4: (151.0, 12.0, 0.0)})
    assert (found.latitude, found.longitude) == pytest.approx((-33.86, 151.2))


@pytest.mark.parametrize(
    "gps",
    [
        {},
        {1: "N", 2: (91.0, 0.0, 0.0), 3: "E", 4: (0.0, 0.0, 0.0)},
        {1: "N", 2: (48.0, 0.0, 0.0)},
        {1: "N", 2: (48.0,), 3: "E", 4: (11.0, 0.0, 0.0)},
    ],
)
def test_half_a_place_is_none(gps: dict[int, Any]) -> None:
    found = camera(gps=gps)
    assert (found.latitude, found.longitude) == (None, None)


@pytest.mark.parametrize("turn", [0, 9, 300])
def test_an_orientation_that_does_not_exist_is_upright(turn: int) -> None:
    assert camera(turn=turn).orientation == 1


@given(st.binary(max_size=200))
def test_damaged_tables_are_no_tables(data: bytes) -> None:
    image = Image.new("L", (2, 2))
    image.info["exif"] = b"Exif\0\0II*\0\x08\0\0\0" + data
    assert exif.read(image).orientation in range(1, 9)
