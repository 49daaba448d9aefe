"""What an annotation, a prediction or a label says about one image, whatever tool it was said with.

Places are pixels of the upright image. Nothing that was said is lost: what has no place here is kept as it came.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from labeling.geometry import Shape
from store import parsing

if TYPE_CHECKING:
    from pydantic import TypeAdapter


@dataclass(frozen=True)
class Choices:
    """The options chosen of a choice, multi or tree."""

    choices: tuple[str, ...]


@dataclass(frozen=True)
class Rating:
    """How many stars."""

    rating: int


@dataclass(frozen=True)
class Number:
    """A number."""

    number: float


@dataclass(frozen=True)
class Text:
    """What somebody wrote, in one piece or several."""

    text: tuple[str, ...]


Value: TypeAlias = Choices | Rating | Number | Text
Extras: TypeAlias = dict[str, dict[str, Any]]  # by the name of a tag: what its part says beyond what we read


@dataclass(frozen=True)
class ImageChoice:
    """The classes of the image as a whole: one, or of a multilabel taxonomy several or none."""

    classes: tuple[str, ...]
    score: float | None = None  # 0–1, of a prediction


@dataclass(frozen=True)
class Region:
    """Something in the image: where it is, what it is, and what else is said of it."""

    id: str  # one region's within the content; empty where the tool gave none
    shape: Shape
    classes: tuple[str, ...] = ()
    score: float | None = None
    attributes: Mapping[str, Value] = field(default_factory=dict)
    extras: Extras = field(default_factory=dict)


@dataclass(frozen=True)
class Unread:
    """A part that says something we have no place for, and why."""

    part: Any
    why: str


@dataclass(frozen=True)
class Content:
    """All of it."""

    choice: ImageChoice | None = None
    attributes: Mapping[str, Value] = field(default_factory=dict)  # of the image
    regions: tuple[Region, ...] = ()  # in the order they were drawn
    unread: tuple[Unread, ...] = ()
    extras: Extras = field(default_factory=dict)


def essence(content: Content) -> Content:
    """What is said of the image alone, and not how: without ids, scores, and what is of one tool."""
    regions = tuple(replace(each, id="", score=None, extras={}) for each in content.regions)
    choice = content.choice and ImageChoice(tuple(sorted(content.choice.classes)))
    return Content(choice=choice, attributes=content.attributes, regions=regions)


def with_ids(content: Content, prefix: str) -> Content:
    """The same with ids of its regions, which no content with another prefix has."""
    regions = tuple(replace(each, id=f"{prefix}-{place}") for place, each in enumerate(content.regions))
    return replace(content, regions=regions)


def to_json(content: Content) -> str:
    """One line that `from_json` reads back, and of which `curation.labels` reads the classes."""
    return _adapter().dump_json(content).decode()


def from_json(text: str) -> Content:
    """What `to_json` wrote.

    Raises:
        InvalidInputError: it is something else.
    """
    from pydantic import ValidationError

    try:
        return _adapter().validate_json(text)
    except ValidationError as error:
        raise parsing.misfit(error, kind="content") from error


@cache  # to build one takes much longer than to use it
def _adapter() -> "TypeAdapter[Content]":
    from pydantic import TypeAdapter

    return TypeAdapter(Content)
