"""`--where` expressions: a small, safe part of Python's syntax over what the catalog knows of an image.

    sharpness < quantile(0.05) and not duplicate
    source == "factory" and 2 <= shift < 4 and label in ["cat", "dog"]
    matches(uri, "*cam3*") or column("site id") == 7 or captured_at < "2026-05-01"

Every comparison is either true or false: a field without a value equals only `None` and is neither
less nor more than anything. Fields of a sighting (`source`, `scene`, `uri` and the user's own
columns) hold when any sighting of the image where it is present fulfils them; where an expression asks for
`missing`, those of an image that is present nowhere count too. Nothing is ever evaluated as Python.
"""

import ast
import operator
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

import numpy as np
from sqlalchemy import ColumnElement, Select, String, and_, cast, func, not_, or_, select, true
from sqlalchemy.orm import Session, aliased

from curation import labels
from store.arrays import Ints
from store.errors import InvalidInputError
from store.schema import DuplicateGroup, DuplicateMember, DuplicateScan, Image, Label, Sighting

Kind: TypeAlias = Literal["number", "text", "true or false", "moment"]
Constant: TypeAlias = float | str | bool | datetime

_LONGEST = 100_000  # characters
_MOST_PARTS = 500  # SQLite refuses expressions nested deeper than 1,000
_MOST_VALUES = 10_000  # of one list

_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.eq,
    ast.IsNot: operator.ne,
}
_MIRRORED = {operator.lt: operator.gt, operator.le: operator.ge, operator.gt: operator.lt, operator.ge: operator.le}
_JSON_TYPES: Mapping[str, tuple[str, ...]] = {
    "number": ("integer", "real"),
    "text": ("text",),
    "true or false": ("true", "false"),
}


def clause(expression: str, session: Session) -> ColumnElement[bool]:
    """A condition over `Image` to put into a query; `session` is asked for columns and quantiles.

    Raises:
        InvalidInputError: the expression cannot be understood; the sentence points at the place.
    """
    if len(expression) > _LONGEST:
        raise InvalidInputError(f"A condition takes at most {_LONGEST:,} characters, not {len(expression):,}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes in strings
            tree = ast.parse(expression.strip(), mode="eval").body
    except SyntaxError as error:
        at = f" at character {error.offset}" if error.offset else ""
        is_single = expression.strip()[(error.offset or 0) - 1 :].startswith("=") or "'=='" in error.msg
        why = 'equal is ==, as in source == "a", and at least is >=' if is_single else error.msg
        raise InvalidInputError(f"The condition {expression!r} cannot be read{at}: {why}.") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise InvalidInputError(f"The condition {expression[:80]!r} cannot be read: {error}.") from error
    parts = sum(isinstance(node, ast.expr) and not isinstance(node, ast.Constant) for node in ast.walk(tree))
    if parts > _MOST_PARTS:
        raise InvalidInputError(f"The condition has {parts} parts, more than {_MOST_PARTS}. Say field in [value, …].")
    asks_for_missing = any(isinstance(node, ast.Name) and node.id == "missing" for node in ast.walk(tree))
    return _Reader(expression.strip(), session, _counting(asks_for_missing)).condition(tree)


def image_ids(session: Session, expression: str) -> Ints:
    """The ids of the images an expression holds for, sorted `(N,) int64`.

    Raises:
        InvalidInputError: see `clause`.
    """
    ids = func.aggregate_strings(cast(Image.id, String), ",")  # one string: a fraction of the time of a million rows
    found = session.scalar(select(ids).where(clause(expression, session)))
    return np.sort(np.fromstring(found or "", dtype=np.int64, sep=","))


def of_each_value(session: Session, field: str, *, most: int) -> dict[str, str]:
    """An expression for each value of `source`, `scene` or a user's column where images are present, by a name for it.

    Raises:
        InvalidInputError: there is no such field, or it has more than `most` values.
    """
    named = field if field in _OF_SIGHTINGS else f"column({field!r})"
    found = _Reader(named, session, _counting(asks_for_missing=False)).field(named)
    kind = found.value if found.json_type is None else found.json_type
    rows = select(found.value, kind).where(_counting(asks_for_missing=False), kind.is_not(None)).distinct()
    values = [
        kind == "true" if kind in _JSON_TYPES["true or false"] else value for value, kind in session.execute(rows)
    ]
    if len(values) > most:
        raise InvalidInputError(f"{field!r} has {len(values):,} values, more than {most}: name those that count.")
    return {f"{field}={value}": f"{named} == {value!r}" for value in sorted(values, key=str)}


def own_value(field: str) -> ColumnElement[Any]:
    """The value of one of an image's own fields, to sort by.

    Raises:
        InvalidInputError: an image has no such field.
    """
    if field not in _OWN:
        raise InvalidInputError(f"Images cannot be sorted by {field!r}, but by: {', '.join(_OWN)}.")
    return _OWN[field][1]


@dataclass(frozen=True)
class _Field:
    """Something known of an image: a value of its own, or one of each of its sightings that count."""

    name: str
    kind: Kind | None  # none for the user's columns: whatever it is compared with
    value: ColumnElement[Any]
    rows: Select[Any] | None = None  # the image ids that `value` is looked up for; none when it is the image's own
    json_type: ColumnElement[str] | None = None  # of a user's column

    def fulfils(self, condition: ColumnElement[bool]) -> ColumnElement[bool]:
        """`condition` on the value; false, never unknown, where there is no value."""
        if self.rows is None:
            return and_(self.value.is_not(None), condition)
        return Image.id.in_(self.rows.where(condition))

    def exists(self) -> ColumnElement[bool]:
        """Whether there is a value."""
        present = self.value.is_not(None) if self.json_type is None else self.json_type.is_not(None)
        return present if self.rows is None else Image.id.in_(self.rows.where(present))

    def compared(self, compare: Callable[[Any, Any], Any], value: Constant) -> ColumnElement[bool]:
        """The value compared with a constant; of a user's column, only values of the constant's type are."""
        if self.json_type is None:
            return self.fulfils(compare(self.value, value))
        if isinstance(value, bool):
            return self.fulfils(self.json_type == ("true" if value else "false"))
        return self.fulfils(and_(self.json_type.in_(_JSON_TYPES[_kind(value)]), compare(self.value, value)))


@dataclass(frozen=True)
class _Quantile:
    share: float


_OWN: Mapping[str, tuple[Kind, ColumnElement[Any]]] = {
    "id": ("number", Image.id.expression),
    "sha256": ("text", Image.sha256.expression),
    "width": ("number", Image.width.expression),
    "height": ("number", Image.height.expression),
    "aspect": ("number", 1.0 * Image.width / Image.height),
    "megapixels": ("number", Image.width * Image.height / 1e6),
    "bytes": ("number", Image.bytes.expression),
    "format": ("text", Image.format.expression),
    "sharpness": ("number", Image.sharpness.expression),
    "exposure": ("number", Image.exposure.expression),
    "entropy": ("number", Image.entropy.expression),
    "captured_at": ("moment", Image.captured_at.expression),
    "latitude": ("number", Image.latitude.expression),
    "longitude": ("number", Image.longitude.expression),
    "note": ("text", Image.note.expression),
}
_OF_SIGHTINGS: Mapping[str, ColumnElement[Any]] = {
    "source": Sighting.source.expression,
    "scene": Sighting.scene.expression,
    "uri": Sighting.uri.expression,
}
_FLAGS = ("missing", "labelled", "rejected", "duplicate")
FIELDS: Sequence[str] = (*_OWN, *_OF_SIGHTINGS, "label", *_FLAGS)  # what every catalog knows


class _Reader:
    """Turns the parts of one expression into SQL; every refusal names the part and where it stands."""

    def __init__(self, expression: str, session: Session, counting: ColumnElement[bool]) -> None:
        self._expression = expression
        self._session = session
        self._counting = counting  # which sightings count

    def field(self, expression: str) -> _Field:
        """The one field that an expression names."""
        return self._field(ast.parse(expression, mode="eval").body)

    def condition(self, node: ast.expr) -> ColumnElement[bool]:  # noqa: PLR0911 - a return for each kind of part
        match node:
            case ast.BoolOp(op=ast.And(), values=values):
                return and_(*map(self.condition, values))
            case ast.BoolOp(op=ast.Or(), values=values):
                return or_(*map(self.condition, values))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return not_(self.condition(operand))
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                sides = [left, *comparators]
                pairs = zip(sides, ops, sides[1:], strict=False)
                return and_(true(), *(self._comparison(one, op, other) for one, op, other in pairs))
            case ast.Call(func=ast.Name(id="matches"), args=[field, ast.Constant(value=str(pattern))], keywords=[]):
                return self._matches(field, pattern)
            case ast.Constant(value=True):
                return true()
            case ast.Name(id=name) if name in _FLAGS:
                return self._flag(name)
            case ast.Name() | ast.Call(func=ast.Name(id="column")):
                found = self._field(node)
                if found.json_type is not None:
                    self._check_type(node, found, "true or false")
                    return found.compared(operator.eq, True)
        raise self._refusal(node, "is neither true nor false: compare it, as in width >= 640")

    def _comparison(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> ColumnElement[bool]:
        if isinstance(op, ast.In | ast.NotIn):
            found = self._is_in(left, right)
            return not_(found) if isinstance(op, ast.NotIn) else found
        compare = _COMPARISONS[type(op)]
        if not _names_field(left):
            left, right, compare = right, left, _MIRRORED.get(compare, compare)
        if not _names_field(left):
            raise self._refusal(left, "is compared with another value: one side has to be a field")
        if compare is operator.ne:
            return not_(self._holds(left, operator.eq, right))
        return self._holds(left, compare, right)

    def _holds(self, left: ast.expr, compare: Callable[[Any, Any], Any], right: ast.expr) -> ColumnElement[bool]:
        """`left`, a field, compared with a value, a quantile, None or another field."""
        if isinstance(left, ast.Name) and left.id in _FLAGS:
            value = self._value(right)
            if not isinstance(value, bool) or compare is not operator.eq:
                raise self._refusal(left, "is true or false: say it alone, or after not")
            return self._flag(left.id) if value else not_(self._flag(left.id))
        field = self._field(left)
        if isinstance(right, ast.Constant) and right.value is None:
            if compare is not operator.eq:
                raise self._refusal(right, "has no order: say == None or != None")
            return not_(field.exists())
        if _names_field(right):
            other = self._field(right)
            if field.kind is None or field.kind != other.kind or field.rows is not None or other.rows is not None:
                raise self._refusal(right, f"cannot be compared with {field.name}: only an image's own numbers can")
            return and_(other.value.is_not(None), field.fulfils(compare(field.value, other.value)))
        value = self._value(right)
        if isinstance(value, _Quantile):
            quantile = self._quantile(right, field, value.share)
            return not_(true()) if quantile is None else field.compared(compare, quantile)
        return field.compared(compare, self._typed(right, field, value))

    def _is_in(self, left: ast.expr, right: ast.expr) -> ColumnElement[bool]:
        if not isinstance(right, ast.List | ast.Tuple | ast.Set):
            raise self._refusal(
                right, 'is no list, such as ["a", "b"]; for a part of a text say matches(uri, "*part*")'
            )
        if len(right.elts) > _MOST_VALUES:
            raise self._refusal(left, f"is looked for among {len(right.elts):,} values, more than {_MOST_VALUES:,}")
        field = self._field(left)
        values = []
        for node in right.elts:
            value = self._value(node)
            if isinstance(value, _Quantile):
                raise self._refusal(node, "cannot stand in a list")
            values.append(self._typed(node, field, value))
        if not values:
            return not_(true())
        if field.json_type is None:
            return field.fulfils(field.value.in_(values))
        booleans = [value for value in values if isinstance(value, bool)]
        texts = [value for value in values if isinstance(value, str)]
        numbers = [value for value in values if not isinstance(value, bool | str)]
        of_numbers = and_(field.json_type.in_(_JSON_TYPES["number"]), field.value.in_(numbers))
        of_texts = and_(field.json_type.in_(_JSON_TYPES["text"]), field.value.in_(texts))
        of_booleans = field.json_type.in_(["true" if value else "false" for value in booleans])
        return field.fulfils(or_(of_numbers, of_texts, of_booleans))

    def _matches(self, node: ast.expr, pattern: str) -> ColumnElement[bool]:
        field = self._field(node)
        if field.kind not in ("text", None):
            raise self._refusal(node, f"is a {field.kind}, and only text matches a pattern")
        if field.kind is None:
            self._check_type(node, field, "text")
        escaped = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        like = field.value.ilike(escaped.replace("*", "%").replace("?", "_"), escape="\\")
        return field.fulfils(like if field.json_type is None else and_(field.json_type == "text", like))

    def _field(self, node: ast.expr) -> _Field:
        seen = select(Sighting.image_id).where(self._counting)
        match node:
            case ast.Name(id=name) if name in _OWN:
                return _Field(name, *_OWN[name])
            case ast.Name(id=name) if name in _OF_SIGHTINGS:
                return _Field(name, "text", _OF_SIGHTINGS[name], seen)
            case ast.Name(id="label"):
                in_force = select(Label.image_id).where(Label.id.in_(labels.newest_ids()))
                return _Field("label", "text", Label.value.expression, in_force)
            case ast.Name(id=name) if name in _FLAGS:
                raise self._refusal(node, "is true or false: say it alone, or after not")
            case (
                ast.Name(id=name)
                | ast.Call(func=ast.Name(id="column"), args=[ast.Constant(value=str(name))], keywords=[])
            ):
                return self._column(node, name, seen)
        raise self._refusal(node, "is no field")

    def _column(self, node: ast.expr, name: str, seen: Select[Any]) -> _Field:
        if '"' in name:
            raise self._refusal(
                node, "has a quotation mark in its name, which SQLite cannot look up: rename the column"
            )
        path = f'$."{name}"'
        value = func.json_extract(Sighting.details, path)
        json_type = func.nullif(func.json_type(Sighting.details, path), "null")
        is_known = select(Sighting.id).where(Sighting.current, json_type.is_not(None)).limit(1)
        if self._session.scalar(is_known) is None:
            columns = ", ".join(_columns(self._session)) or "none"
            raise self._refusal(node, f"is unknown. There are: {', '.join(FIELDS)}; columns of yours: {columns}")
        return _Field(name, None, value, seen, json_type)

    def _flag(self, name: str) -> ColumnElement[bool]:
        if name == "missing":
            return Image.id.not_in(select(Sighting.image_id).where(Sighting.current, ~Sighting.missing))
        if name == "labelled":
            return Image.id.in_(select(Label.image_id).where(Label.id.in_(labels.newest_ids())))
        if name == "rejected":
            return Image.id.in_(labels.rejected())
        newest = select(func.max(DuplicateScan.id)).scalar_subquery()
        return Image.id.in_(
            select(DuplicateMember.image_id)
            .join(DuplicateGroup, DuplicateGroup.id == DuplicateMember.group_id)
            .where(DuplicateGroup.scan_id == newest, DuplicateMember.image_id != DuplicateGroup.representative_id)
        )

    def _value(self, node: ast.expr) -> Constant | _Quantile:
        match node:
            case ast.Constant(value=bool(value) | str(value)):
                return value
            case ast.Constant(value=int(value) | float(value)):
                return _number(value)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(value) | float(value))):
                return _number(-value)
            case ast.Call(func=ast.Name(id="quantile"), args=[ast.Constant(value=int(share) | float(share))]):
                if not 0 <= share <= 1:
                    raise self._refusal(node, "takes a share from 0 to 1")
                return _Quantile(float(share))
        raise self._refusal(node, "is no value: say a number, a text in quotation marks, True, False or quantile(0.05)")

    def _quantile(self, node: ast.expr, field: _Field, share: float) -> float | None:
        """That quantile of the field over the whole collection; none where no image has a value."""
        if field.kind is None:
            self._check_type(node, field, "number")
        elif field.kind != "number":
            raise self._refusal(node, f"is compared with {field.name}, and only numbers have quantiles")
        values = select(field.value).where(field.value.is_not(None))
        if field.json_type is not None:
            values = values.where(self._counting, field.json_type.in_(_JSON_TYPES["number"]))
        found = np.fromiter(self._session.scalars(values), dtype=np.float64)
        return float(np.quantile(found, share)) if len(found) else None

    def _typed(self, node: ast.expr, field: _Field, value: Constant) -> Constant:
        """`value` as what `field` holds, or the sentence that says they differ."""
        if field.kind == "moment" and isinstance(value, str):
            try:
                moment = datetime.fromisoformat(value)
                return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
            except (ValueError, OverflowError) as error:
                advice = 'say "2026-05-01" or "2026-05-01T12:30+02:00"'
                raise self._refusal(node, f"is no date for {field.name}: {advice}") from error
        kind = _kind(value)
        if field.kind is None:
            self._check_type(node, field, kind)
        elif field.kind != kind:
            said = "a date in quotation marks" if field.kind == "moment" else field.kind
            raise self._refusal(node, f"is {kind}, and {field.name} is {said}")
        return value

    def _check_type(self, node: ast.expr, field: _Field, kind: str) -> None:
        """Refuse to compare a column with what none of its values is."""
        assert field.json_type is not None  # noqa: S101 - for mypy: callers have a user's column
        in_current = select(field.json_type).where(Sighting.current, field.json_type.is_not(None))
        if self._session.scalar(in_current.where(field.json_type.in_(_JSON_TYPES[kind])).limit(1)) is None:
            holds = ", ".join(sorted(self._session.scalars(in_current.distinct())))
            raise self._refusal(node, f"asks for {kind}, and the column {field.name} holds only: {holds}")

    def _refusal(self, node: ast.expr, why: str) -> InvalidInputError:
        part = ast.get_source_segment(self._expression, node) or self._expression
        shown = part if len(part) <= 60 else f"{part[:60]}…"
        at = f"at character {node.col_offset + 1}"
        return InvalidInputError(f"In the condition {self._expression[:80]!r}, {at}: {shown} {why}.")


def _counting(asks_for_missing: bool) -> ColumnElement[bool]:
    """Which sightings count: where the image is present, and if asked for, all of an image that is so nowhere."""
    if not asks_for_missing:
        return and_(Sighting.current, ~Sighting.missing)
    other = aliased(Sighting)
    present = select(other.image_id).where(other.current, ~other.missing)
    return and_(Sighting.current, or_(~Sighting.missing, Sighting.image_id.not_in(present)))


def _columns(session: Session) -> list[str]:
    """The names of the user's own columns."""
    each = func.json_each(Sighting.details).table_valued("key")
    return sorted(
        session.scalars(select(each.c.key).select_from(Sighting).join(each, true()).where(Sighting.current).distinct())
    )


def _names_field(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) or (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "column"
    )


def _number(value: float) -> float:
    """As SQLite takes it: whole numbers beyond 64 bits become the nearest float."""
    if isinstance(value, float) or -(2**63) <= value < 2**63:
        return value
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _kind(value: Constant) -> Kind:
    if isinstance(value, bool):
        return "true or false"
    return "text" if isinstance(value, str) else "number"
