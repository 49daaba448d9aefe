"""What an expression holds for, against Python's own idea of it, and what is said of one that cannot be read."""

import operator
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from curation import where
from store.errors import InvalidInputError
from store.schema import Image, Sighting
from store.workspace import Workspace, open_workspace
from tests.conftest import Builder


@pytest.fixture
def catalog(workspace: Workspace, build: Builder) -> Workspace:
    """Six images: sharpness 0 to 5, none on the last; the user's own columns on their sightings."""
    build.images(6, scenes=["s1", "s1", None, None, "s2", "s2"])
    details = [
        {"shift": 1, "ok": True, "site": "north"},
        {"shift": 2.5, "ok": False, "site": "North-West"},
        {"shift": "night", "site id": 7},
        {"shift": None},
        {},
        {"100%": 1, "width": "wide"},
    ]
    with workspace.database.write() as session:
        for i, image in enumerate(session.scalars(select(Image).order_by(Image.id))):
            image.sharpness = None if i == 5 else float(i)
            image.width, image.height = 10 * (i + 1), 20
            image.captured_at = datetime(2026, 5, i + 1, 12, tzinfo=UTC) if i < 3 else None
            image.note = "page 1 of 3" if i == 4 else None
        for sighting, own in zip(session.scalars(select(Sighting).order_by(Sighting.id)), details, strict=True):
            sighting.details = own
            sighting.missing = sighting.image_id == 3
            sighting.source = "a" if sighting.image_id < 4 else "b"
    return workspace


def found(workspace: Workspace, expression: str) -> list[int]:
    with workspace.database.read() as session:
        ids = where.image_ids(session, expression)
    assert ids.dtype == np.int64
    return list(ids.tolist())


@pytest.mark.parametrize(
    ("expression", "ids"),
    [
        ("True", [1, 2, 3, 4, 5, 6]),
        ("sharpness < 2", [1, 2]),
        ("2 > sharpness", [1, 2]),
        ("not sharpness < 2", [3, 4, 5, 6]),
        ("1 <= sharpness < 3", [2, 3]),
        ("sharpness != 1", [1, 3, 4, 5, 6]),
        ("sharpness == None", [6]),
        ("sharpness is not None and id > 4", [5]),
        ("sharpness <= quantile(0.25)", [1, 2]),
        ("quantile(1) == sharpness", [5]),
        ("sharpness > -1", [1, 2, 3, 4, 5]),
        ("width < height", [1]),
        ("aspect > 2.5", [6]),
        ("megapixels < 0.0003", [1]),
        ("id in [1, 3, 99]", [1, 3]),
        ("id not in (1, 3)", [2, 4, 5, 6]),
        ("id in []", []),
        ('format == "PNG" and (id == 1 or id == 2)', [1, 2]),
        ('captured_at >= "2026-05-02"', [2, 3]),
        ('captured_at == "2026-05-02T14:00+02:00"', [2]),
        ('matches(note, "*of 3")', [5]),
        ('matches(uri, "/photos/?.png")', [1, 2, 4, 5, 6]),
        ('matches(uri, "*_*")', []),
        ('matches(site, "north*")', [1, 2]),
        ('source == "a"', [1, 2]),
        ('source != "a"', [3, 4, 5, 6]),
        ('source == "a" and missing', [3]),
        ('source == "a" and not missing', [1, 2]),
        ('source == "a" or missing', [1, 2, 3]),
        ("scene == None", [3, 4]),
        ('scene in ["s1", "s3"]', [1, 2]),
        ("missing", [3]),
        ("missing == False", [1, 2, 4, 5, 6]),
        ("shift == 1", [1]),
        ("shift >= 1", [1, 2]),
        ('shift == "night"', []),
        ('missing and shift == "night"', [3]),
        ("shift == None", [3, 4, 5, 6]),
        ('shift in [2.5, "night", True]', None),
        ('shift in [2.5, "night"]', [2]),
        ("shift <= quantile(0)", [1]),
        ("ok", [1]),
        ("not ok", [2, 3, 4, 5, 6]),
        ("ok == False", [2]),
        ('column("site id") == 7', []),
        ('column("site id") == 7 and missing == True', [3]),
        ('column("100%") == 1', [6]),
        ('column("width") == "wide"', [6]),
        ("id < 9223372036854775808000", [1, 2, 3, 4, 5, 6]),
        ("id in [9223372036854775808, 2]", [2]),
    ],
)
def test_what_an_expression_holds_for(catalog: Workspace, expression: str, ids: list[int] | None) -> None:
    if ids is None:
        with pytest.raises(InvalidInputError, match="true or false, and the column shift holds only: integer, real"):
            found(catalog, expression)
    else:
        assert found(catalog, expression) == ids


def test_labels_and_duplicates(catalog: Workspace, build: Builder) -> None:
    assert found(catalog, "labelled or duplicate") == []
    with catalog.database.read() as session:
        first, second, third = list(session.scalars(select(Image.id).order_by(Image.id)))[:3]
    build.labels({first: "cat", second: "dog"})  # type: ignore[dict-item]
    build.duplicates([second, first, third])  # type: ignore[list-item]
    assert found(catalog, "labelled") == [1, 2]
    assert found(catalog, 'label == "cat"') == [1]
    assert found(catalog, 'label != "cat"') == [2, 3, 4, 5, 6]
    assert found(catalog, "not labelled and not duplicate") == [4, 5, 6]
    assert found(catalog, "duplicate") == [1, 3]


def test_a_place_where_the_picture_is_missing_does_not_count(catalog: Workspace) -> None:
    with catalog.database.write() as session:
        here = {"bytes": 1, "modified_ns": 0, "details": {}}
        session.add(Sighting(image_id=1, uri="/moved/0.png", source="moved", missing=True, **here))
        session.add(Sighting(image_id=2, uri="/moved/1.png", source="moved", **here))
    assert found(catalog, 'source == "moved"') == [2]
    assert found(catalog, 'source == "moved" and missing') == []
    assert found(catalog, 'source == "moved" and not missing') == [2]
    assert found(catalog, 'source != "moved"') == [1, 3, 4, 5, 6]
    assert found(catalog, 'matches(uri, "/moved/*")') == [2]


def test_only_current_sightings_count(catalog: Workspace) -> None:
    with catalog.database.write() as session:
        session.get_one(Sighting, 1).current = False
    assert found(catalog, 'scene == "s1"') == [2]
    assert found(catalog, "missing") == [1, 3]


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("", "cannot be read"),
        ("source = 'oa'", r'at character 8: equal is ==, as in source == "a"'),
        ("width > 3 and (source = 'oa')", 'at character 16: equal is ==, as in source == "a"'),
        ("width => 3", "at character 7: equal is =="),
        ("sharpness < )", "cannot be read at character 13: unmatched"),
        ("shrpness < 2", r"at character 1: shrpness is unknown. There are: id, .*; columns of yours: .*shift, site"),
        ("width", "width is neither true nor false"),
        ('width < "a"', r'at character 9: "a" is text, and width is number'),
        ("format == 1", "1 is number, and format is text"),
        ('captured_at > "soon"', '"soon" is no date'),
        ("captured_at > 3", "captured_at is a date in quotation marks"),
        ("site == 3", "asks for number, and the column site holds only: text"),
        ("1 < 2", "one side has to be a field"),
        ("width < quantile(2)", "a share from 0 to 1"),
        ("format < quantile(0.5)", "only numbers have quantiles"),
        ("width in 3", "is no list"),
        ('"a" in uri', "is no list"),
        ("width < None", "has no order"),
        ("missing > 1", "missing is true or false"),
        ("matches(width, '1*')", "only text matches"),
        ("width < format", "cannot be compared with width"),
        ("__import__('os').system('true')", "neither true nor false"),
        ("width.__class__ == 1", "one side has to be a field"),
        ("(lambda: 1)() == width", "is no value"),
        ("width < [].append(1)", "is no value"),
        ("column('a\"b') == 1", "quotation mark"),
        (" or ".join(["id == 1"] * 300), "more than 500"),
        ("(" * 5000, "cannot be read"),
        ("a\0b", "cannot be read"),
        ("1 " * 100_000, "at most 100,000 characters"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(catalog: Workspace, expression: str, complaint: str) -> None:
    with pytest.raises(InvalidInputError, match=complaint):
        found(catalog, expression)


_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_ATOM = st.tuples(st.sampled_from(["id", "width", "sharpness"]), st.sampled_from(sorted(_COMPARE)), st.integers(0, 60))
_TREE = st.recursive(
    _ATOM.map(lambda atom: f"{atom[0]} {atom[1]} {atom[2]}"),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda parts: f"({' '.join(parts)})"),
        inner.map(lambda part: f"not {part}"),
    ),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = open_workspace(Path(tmp_path_factory.mktemp("where")))
    Builder(workspace).images(6)
    with workspace.database.write() as session:
        for image in session.scalars(select(Image)):
            image.width, image.sharpness = image.id * 10, image.id * 7.0
    return workspace


@given(expression=_TREE)
def test_it_means_what_python_means(shared: Workspace, expression: str) -> None:
    values = [{"id": i, "width": 10 * i, "sharpness": 7.0 * i} for i in range(1, 7)]
    expected = [row["id"] for row in values if eval(expression, {}, dict(row))]
    assert found(shared, expression) == expected
