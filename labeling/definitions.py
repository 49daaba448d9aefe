"""What a taxonomy asks: one kind of task, its classes, attributes of images or regions, and a guideline.

It is the same whatever shows it to annotators; `label_config` renders it for Label Studio.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from store import parsing
from store.errors import InvalidInputError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

ShapeKind: TypeAlias = Literal["boxes", "rotated-boxes", "polygons", "masks", "keypoints"]
TaskKind: TypeAlias = Literal[
    "classification", "multilabel", "boxes", "rotated-boxes", "polygons", "masks", "keypoints", "questions"
]
AttributeKind: TypeAlias = Literal["choice", "multi", "tree", "rating", "number", "text"]

SHAPE_KINDS: tuple[ShapeKind, ...] = ("boxes", "rotated-boxes", "polygons", "masks", "keypoints")
IMAGE_KINDS: tuple[TaskKind, ...] = ("classification", "multilabel", "questions")
TASK_KINDS: tuple[TaskKind, ...] = (*IMAGE_KINDS, *SHAPE_KINDS)

PATH_SEPARATOR = "/"  # between the names on the way to an option of a tree

_CHOOSING = ("choice", "multi", "tree")
_FEWEST_CLASSES: Mapping[TaskKind, int] = {"classification": 2, "questions": 0}  # 1 of the others
_COLOUR = re.compile(r"#[0-9a-f]{6}")
_HOTKEY = re.compile(r"((ctrl|shift|alt|meta|command)\+)*((?![A-Z,+])[!-~]|f[1-9]|f1[0-2])")  # + and , part keys
_TAG_NAME = re.compile(r"\w[\w .-]*")
_DATA_KEY = re.compile(r"[A-Za-z_]\w*")
_SHOWN = 5  # names in a message
_TASK_UID = "uid"  # what the data of every task of ours holds beside the image


@dataclass(frozen=True)
class ClassDefinition:
    """One class of a taxonomy, and what an annotator reads about it."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - pydantic reads it when it checks a document

    name: str
    description: str = ""
    colour: str | None = None  # "#rrggbb"; by default one of its own by its place among the classes
    hotkey: str | None = None  # by default the digit of its place, for the first ten
    examples: tuple[int, ...] = ()  # ids of images that show it


@dataclass(frozen=True)
class AttributeDefinition:
    """A further question about the image, or about each region."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    name: str
    kind: AttributeKind
    about: Literal["image", "region"] = "region"
    options: tuple[str, ...] = ()  # of a choice, multi or tree; of a tree each node as the path that leads to it
    required: bool = False
    question: str = ""  # what annotators read above it; by default its name
    minimum: float | None = None  # of a number
    maximum: float | None = None  # of a number, or of a rating, whose default is 5 stars


@dataclass(frozen=True)
class TagNames:
    """How the parts of the Label Studio config are called; other than the default where a project existed before."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    image: str = "image"
    data: str = "image"  # the key of the image's address in the data of a task
    classes: str = "class"
    shapes: tuple[tuple[ShapeKind, str], ...] = ()  # tools beside the classes; none where one tag is both


@dataclass(frozen=True)
class Definition:
    """The content of one revision of a taxonomy."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    kind: TaskKind
    classes: tuple[ClassDefinition, ...] = ()
    attributes: tuple[AttributeDefinition, ...] = ()
    guideline: str = ""
    tags: TagNames = field(default_factory=TagNames)

    @property
    def class_names(self) -> list[str]:
        """In display order."""
        return [each.name for each in self.classes]


def shape_kinds(definition: Definition) -> tuple[ShapeKind, ...]:
    """What annotators can draw; nothing where only the image is asked about."""
    if definition.tags.shapes:
        return tuple(kind for kind, _ in definition.tags.shapes)
    return tuple(kind for kind in SHAPE_KINDS if kind == definition.kind)


def is_hotkey(text: str) -> bool:
    """Whether it names one key in small letters, perhaps with others held down, as in shift+a."""
    return _HOTKEY.fullmatch(text) is not None


def parse(document: Mapping[str, Any]) -> Definition:
    """A definition from plain values, as a file or the database holds it; a class may be its name alone.

    Raises:
        InvalidInputError: a value is missing, unknown or of the wrong type; whether all fit together, `check` says.
    """
    from pydantic import ValidationError

    classes = document.get("classes", [])
    if isinstance(classes, list):
        document = {**document, "classes": [{"name": each} if isinstance(each, str) else each for each in classes]}
    try:
        return _adapter().validate_python(document)
    except ValidationError as error:
        raise parsing.misfit(error, kind="taxonomy") from error


def read(path: Path) -> Definition:
    """The definition in a YAML file.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: it cannot be read, or as `parse` says.
    """
    return parse(parsing.read_yaml(path, kind="taxonomy"))


def document(definition: Definition) -> dict[str, Any]:
    """The plain values that `parse` reads back."""
    return dict(_adapter().dump_python(definition, mode="json"))


@cache  # to build one takes much longer than to use it
def _adapter() -> "TypeAdapter[Definition]":
    from pydantic import TypeAdapter

    return TypeAdapter(Definition)


def check(definition: Definition) -> None:
    """Refuse what cannot be asked, or would not come back exactly as it is.

    Raises:
        InvalidInputError: too few classes, a name, colour or hotkey twice, or one that cannot be used; an
            attribute whose options do not fit its kind; region attributes where there are no regions.
    """
    _check_classes(definition)
    for attribute in definition.attributes:
        _check_attribute(attribute, has_regions=bool(shape_kinds(definition)))
    if definition.kind == "questions":
        _check_questions(definition)
    _check_tags(definition)


def differences(asked: Definition, wanted: Definition) -> list[str]:
    """What keeps answers to `asked` from being answers to `wanted`, in a few words each; how things look is nothing."""
    found = [] if asked.kind == wanted.kind else [f"it asks for {asked.kind}, not for {wanted.kind}"]
    theirs, ours = ({each.name: each for each in one.attributes} for one in (asked, wanted))
    for what, there, here in (
        ("classes", asked.class_names, wanted.class_names),
        ("attributes", list(theirs), list(ours)),
    ):
        for verb, names in (
            ("adds", [name for name in there if name not in here]),
            ("lacks", [name for name in here if name not in there]),
        ):
            if names:
                shown = ", ".join(map(repr, names[:_SHOWN])) + (", …" if len(names) > _SHOWN else "")
                found.append(f"it {verb} {len(names)} {what}: {shown}")
    for name in theirs.keys() & ours.keys():
        kinds = [(each.kind, each.about, set(each.options)) for each in (theirs[name], ours[name])]
        if kinds[0] != kinds[1]:
            found.append(f"{name!r} is another question")
    if asked.tags != wanted.tags:
        found.append("its tags have other names")
    return sorted(found)


def _check_classes(definition: Definition) -> None:
    fewest = _FEWEST_CLASSES.get(definition.kind, 1)
    if len(definition.classes) < fewest:
        wanted = "two classes or more" if fewest == 2 else "a class or more"
        raise InvalidInputError(f"A taxonomy needs {wanted}, not {len(definition.classes)}.")
    _check_names("class", definition.class_names)
    for each in definition.classes:
        if each.colour is not None and not _COLOUR.fullmatch(each.colour):
            raise InvalidInputError(
                f"The colour {each.colour!r} of {each.name!r} is not like #ff8800, in small letters."
            )
        if each.hotkey is not None and not is_hotkey(each.hotkey):
            raise InvalidInputError(
                f"The hotkey {each.hotkey!r} of {each.name!r} is not one key in small letters, such as a, 5 or shift+a."
            )
    _refuse_twice("colour", [each.colour for each in definition.classes if each.colour])
    _refuse_twice("hotkey", [each.hotkey for each in definition.classes if each.hotkey])


def _check_questions(definition: Definition) -> None:
    if definition.classes or not definition.attributes:
        raise InvalidInputError("A taxonomy of questions has attributes and no classes.")
    for attribute in definition.attributes:
        if attribute.kind in ("choice", "multi"):
            kind = "classification" if attribute.kind == "choice" else "multilabel"
            raise InvalidInputError(
                f"{attribute.name!r} is a {attribute.kind} about the image: make its options the classes of a {kind}."
            )


def _check_attribute(attribute: AttributeDefinition, *, has_regions: bool) -> None:
    what = f"The attribute {attribute.name!r}"
    if attribute.about == "region" and not has_regions:
        raise InvalidInputError(f"{what} is about regions, of which this kind of task has none: say about: image.")
    if (attribute.kind in _CHOOSING) != bool(attribute.options):
        raise InvalidInputError(f"{what} is a {attribute.kind} with {len(attribute.options)} options.")
    _check_names("option", attribute.options)
    if attribute.kind == "tree":
        for path in attribute.options:
            parent, _, name = path.rpartition(PATH_SEPARATOR)
            if not name or (PATH_SEPARATOR in path and parent not in attribute.options):
                raise InvalidInputError(f"{what} has the option {path!r}, but not {parent!r} that leads to it.")
    bounded = {"rating": (attribute.minimum,), "number": ()}.get(attribute.kind, (attribute.minimum, attribute.maximum))
    if any(bound is not None for bound in bounded):
        raise InvalidInputError(f"{what} is a {attribute.kind}, which has no such minimum or maximum.")
    if attribute.kind == "rating" and not float(attribute.maximum or 5).is_integer():
        raise InvalidInputError(f"{what} has a rating of up to {attribute.maximum} stars: say a whole number.")
    if attribute.kind == "rating" and attribute.maximum is not None and attribute.maximum < 1:
        raise InvalidInputError(f"{what} has a rating of up to {attribute.maximum:g} stars: say 1 or more.")
    if attribute.minimum is not None and attribute.maximum is not None and attribute.minimum > attribute.maximum:
        raise InvalidInputError(f"{what} has a minimum above its maximum.")


def _check_tags(definition: Definition) -> None:
    tags = definition.tags
    attributes = [each.name for each in definition.attributes]
    names = [tags.image, tags.classes, *(name for _, name in tags.shapes), *attributes]
    for name in names:
        if not _TAG_NAME.fullmatch(name) or name != name.strip():
            raise InvalidInputError(f"The name {name!r} may hold letters, digits, spaces, dots and dashes only.")
    _refuse_twice("name", names)
    if not _DATA_KEY.fullmatch(tags.data) or tags.data == _TASK_UID:
        raise InvalidInputError(f"{tags.data!r} cannot be the key of the image's address in a task's data.")
    if tags.shapes and definition.kind not in shape_kinds(definition):
        raise InvalidInputError(f"None of the {len(tags.shapes)} tools draws {definition.kind}.")
    _refuse_twice("tool", [kind for kind, _ in tags.shapes])


def _check_names(what: str, names: Sequence[str]) -> None:
    _refuse_twice(what, names)
    for name in names:
        if not name or name != name.strip() or not name.isprintable():
            raise InvalidInputError(
                f"The {what} name {name!r} is empty, or has spaces around it, or cannot be printed."
            )
        if "$" in name:
            raise InvalidInputError(f"The {what} name {name!r} holds a $, which Label Studio reads as a variable.")


def _refuse_twice(what: str, values: Sequence[str]) -> None:
    for value in values:
        if values.count(value) > 1:
            raise InvalidInputError(f"The {what} {value!r} is there twice.")
