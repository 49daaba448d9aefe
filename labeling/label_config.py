"""A taxonomy's definition as Label Studio sees it: the config, rendered, read back, or adopted from another hand.

Everything here is pure: text and plain structures in, text and plain structures out.
"""

import colorsys
import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from labeling import definitions
from labeling.definitions import (
    PATH_SEPARATOR,
    AttributeDefinition,
    AttributeKind,
    ClassDefinition,
    Definition,
    ShapeKind,
    TagNames,
    TaskKind,
)
from store.errors import InvalidInputError

_DIGITS = "1234567890"  # hotkeys of the first ten classes; the others get Label Studio's own
_STARS = 5  # of a rating that does not say
_TURN = 0.381966  # of the colour wheel, from one class to the next: the golden angle comes near no earlier colour

_TOOLS: Mapping[ShapeKind, str] = {
    "boxes": "Rectangle",
    "rotated-boxes": "Rectangle",
    "polygons": "Polygon",
    "masks": "Brush",
    "keypoints": "KeyPoint",
}
_LABELS = "Labels"
_ATTRIBUTE_TAGS: Mapping[AttributeKind, str] = {
    "choice": "Choices",
    "multi": "Choices",
    "tree": "Taxonomy",
    "rating": "Rating",
    "number": "Number",
    "text": "TextArea",
}
_SILENT = (  # tags that ask nothing themselves; what they show of each task is looked at apart
    *("View", "Header", "Style", "Text", "HyperText", "Markdown", "Collapse", "Panel"),
    *("Label", "Choice", "Relations", "Relation", "Shortcut", "Filter"),
)
_CONDITIONS = ("visibleWhen", "whenTagName", "whenLabelValue", "whenChoiceValue")
_ALWAYS_VISIBLE = ("region-selected", "no-region-selected")  # these show or hide what may be said anyway


@dataclass(frozen=True)
class Adopted:
    """What a config from another hand asks, as far as a definition can say it."""

    definition: Definition
    unmapped: list[str]  # a sentence for each part that the definition leaves out


def render(definition: Definition) -> str:
    """The label config that asks what `definition` asks, about the image in its key of a task's data.

    Examples are left out: their numbers tell annotators nothing, who are not to see any of the catalog.

    Raises:
        InvalidInputError: as `definitions.check` says.
    """
    definitions.check(definition)
    view = Element("View")
    if definition.guideline.strip():
        SubElement(view, "Header", value=_text(definition.guideline), size="5")
    if definition.kind in ("classification", "multilabel"):
        _render_choices(view, definition)
    elif definition.kind != "questions":
        _render_labels(view, definition)
    for attribute in definition.attributes:
        _render_attribute(view, attribute, definition.tags.image)
    image = definition.tags.image
    SubElement(view, "Image", name=image, value=f"${definition.tags.data}")  # last: a tall one hides what follows
    return ElementTree.tostring(view, encoding="unicode")


def parse(config: str) -> Definition:
    """The definition that `render` made a config from; prose comes back as annotators read it.

    Raises:
        InvalidInputError: it asks what a definition cannot say.
    """
    adopted = adopt(config)
    if adopted.unmapped:
        raise InvalidInputError(f"The config asks more than a taxonomy can say: {' '.join(adopted.unmapped)}")
    return adopted.definition


def adopt(config: str) -> Adopted:
    """The definition nearest to a config that was written by hand, with its tags' own names.

    So the answers of a project that exists can be read. How things look is left out without a word.

    Raises:
        InvalidInputError: it is no XML, is not about a single image, or asks nothing that can be mapped.
    """
    return _Adoption(_read_xml(config)).adopted()


def plain(definition: Definition) -> Definition:
    """The definition without what its config says anyway, colours and hotkeys by place, names as questions; and
    without examples, which it does not say.
    """
    hotkeys = _hotkeys([replace(each, hotkey=None) for each in definition.classes])
    classes = [
        replace(
            each,
            colour=None if each.colour == _colour(place) and _draws(definition) else each.colour,
            hotkey=None if each.hotkey == hotkeys[place] else each.hotkey,
            examples=(),
        )
        for place, each in enumerate(definition.classes)
    ]
    attributes = [
        replace(
            each,
            question="" if each.question == each.name else each.question,
            maximum=None if each.kind == "rating" and each.maximum == _STARS else each.maximum,
        )
        for each in definition.attributes
    ]
    return replace(definition, classes=tuple(classes), attributes=tuple(attributes))


def answer(result: Sequence[Any], definition: Definition) -> str | None:
    """The one class an annotation's `result` names; none when it names no class of ours, or several."""
    chosen = []
    for part in result:
        match part:
            case {"from_name": str(control), "value": {"choices": [*names]}} if control == definition.tags.classes:
                chosen += names
    return chosen[0] if len(chosen) == 1 and chosen[0] in definition.class_names else None


def result(name: str, tags: TagNames = TagNames()) -> list[dict[str, Any]]:  # noqa: B008 - it never changes
    """The `result` of an annotation or a prediction that names one class."""
    return [{"from_name": tags.classes, "to_name": tags.image, "type": "choices", "value": {"choices": [name]}}]


def prediction(said: list[dict[str, Any]], *, score: float | None, model_version: str) -> dict[str, Any]:
    """A pre-annotation with this `result`; `score`, 0–1, is of all of it, or none if nobody is to see it."""
    shown = {} if score is None else {"score": score}
    return {"model_version": model_version, **shown, "result": said}


def instruction(guideline: str) -> str:
    """The guideline as Label Studio's instruction, which is HTML."""
    return html.escape(guideline.strip(), quote=False).replace("\n", "<br>")


def tool(shape: ShapeKind) -> str:
    """The tag that draws a shape."""
    return _TOOLS[shape]


# --- definition to config ------------------------------------------------------------------------


def _render_choices(view: Element, definition: Definition) -> None:
    tags = definition.tags
    choice = "single" if definition.kind == "classification" else "multiple"
    options = {"name": tags.classes, "toName": tags.image, "choice": choice, "required": "true", "showInline": "true"}
    _render_classes(SubElement(view, "Choices", options), "Choice", definition)


def _render_labels(view: Element, definition: Definition) -> None:
    tags = definition.tags
    names = {"name": tags.classes, "toName": tags.image}
    if not tags.shapes:
        [kind] = definitions.shape_kinds(definition)
        labels = SubElement(view, _TOOLS[kind] + _LABELS, names | _rotation(kind))
    else:
        labels = SubElement(view, _LABELS, names)
        for kind, name in tags.shapes:
            SubElement(view, _TOOLS[kind], {"name": name, "toName": tags.image} | _rotation(kind))
    _render_classes(labels, "Label", definition)


def _render_classes(parent: Element, tag: str, definition: Definition) -> None:
    hotkeys = _hotkeys(definition.classes)
    taken = {each.colour for each in definition.classes}
    for place, each in enumerate(definition.classes):
        option = SubElement(parent, tag, value=each.name)
        if hotkey := hotkeys[place]:
            option.set("hotkey", hotkey)
        by_place = _colour(place) if _draws(definition) else None
        if colour := each.colour or (by_place if by_place not in taken else None):
            option.set("background", colour)
        if each.description.strip():
            option.set("hint", _text(each.description))


def _render_attribute(view: Element, attribute: AttributeDefinition, image: str) -> None:
    SubElement(view, "Header", value=_text(attribute.question) or attribute.name, size="6")
    tag = SubElement(view, _ATTRIBUTE_TAGS[attribute.kind], name=attribute.name, toName=image)
    if attribute.about == "region":
        tag.set("perRegion", "true")
    if attribute.required:
        tag.set("required", "true")
    match attribute.kind:
        case "choice" | "multi":
            tag.set("choice", "single" if attribute.kind == "choice" else "multiple")
            for option in attribute.options:
                SubElement(tag, "Choice", value=option)
        case "tree":
            nodes = {"": tag}
            for path in attribute.options:
                parent, _, name = path.rpartition(PATH_SEPARATOR)
                nodes[path] = SubElement(nodes[parent], "Choice", value=name)
        case "rating":
            tag.set("maxRating", f"{attribute.maximum or _STARS:g}")
        case "number":
            for name, bound in (("min", attribute.minimum), ("max", attribute.maximum)):
                if bound is not None:
                    tag.set(name, repr(bound))
        case "text":
            tag.set("editable", "true")
            tag.set("maxSubmissions", "1")


def _rotation(kind: ShapeKind) -> dict[str, str]:
    return {"boxes": {"canRotate": "false"}, "rotated-boxes": {"canRotate": "true"}}.get(kind, {})


def _hotkeys(classes: Sequence[ClassDefinition]) -> list[str | None]:
    """A class's own, or the digit of its place unless another class took that."""
    taken = {each.hotkey for each in classes}
    digits = [digit if digit not in taken else None for digit in _DIGITS]
    by_place = digits + [None] * len(classes)
    return [each.hotkey or by_place[place] for place, each in enumerate(classes)]


def _colour(place: int) -> str:
    """The colour of the class at a place, where none was chosen."""
    red, green, blue = colorsys.hsv_to_rgb((place * _TURN) % 1, 0.85, 0.9)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"


def _draws(definition: Definition) -> bool:
    return bool(definitions.shape_kinds(definition))


def _text(text: str) -> str:
    """Prose for people, without what XML cannot hold or Label Studio would replace."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return printable.strip().replace("$", "＄")


# --- config to definition ------------------------------------------------------------------------


class _Adoption:
    """Walks over a config once, and keeps what it finds and what it has to leave out."""

    def __init__(self, root: Element) -> None:
        self._tags = list(root.iter())
        self._parents = {child: parent for parent in self._tags for child in parent}
        self._unmapped: list[str] = []
        self._image = self._the_image()
        self._headers = {each: each.get("value") or (each.text or "").strip() for each in root.iter("Header")}

    def adopted(self) -> Adopted:
        main, kind, shapes = self._main()
        others = [each for each in self._controls() if each is not main and each not in shapes]
        attributes = tuple(filter(None, map(self._attribute, others)))
        for tag in self._tags:
            self._note(tag)
        if main is None and not attributes:
            raise InvalidInputError(
                f"The config asks nothing about the image that a taxonomy can say. {' '.join(self._unmapped)}".strip()
            )
        definition = Definition(
            kind=kind,
            classes=() if main is None else self._classes(main, kind),
            attributes=attributes,
            guideline=" ".join(filter(None, self._headers.values())),
            tags=TagNames(
                image=self._image.get("name", ""),
                data=self._image.get("value", "")[1:],
                classes=TagNames().classes if main is None else main.get("name", ""),
                shapes=tuple((shape, each.get("name", "")) for each, shape in shapes.items()),
            ),
        )
        definitions.check(definition)
        return Adopted(plain(definition), self._unmapped)

    def _the_image(self) -> Element:
        images = [each for each in self._tags if each.tag == "Image"]
        if len(images) != 1:
            raise InvalidInputError(f"The config shows {len(images)} images; a taxonomy is about exactly one.")
        [image] = images
        if "valueList" in image.attrib:
            raise InvalidInputError("The config shows a list of images in one task; a taxonomy is about exactly one.")
        if not re.fullmatch(r"\$\w+", image.get("value", "")):
            raise InvalidInputError(f"The image's value is {image.get('value')!r}, not a variable such as $image.")
        return image

    def _controls(self) -> Iterator[Element]:
        """The tags that ask something about the image, in order."""
        return (each for each in self._tags if each.get("toName") == self._image.get("name"))

    def _main(self) -> tuple[Element | None, TaskKind, dict[Element, ShapeKind]]:
        """The tag with the classes, the kind of task, and the tools beside that tag."""
        controls = list(self._controls())
        for each in controls:
            for tool in sorted(set(_TOOLS.values())):
                if each.tag == tool + _LABELS:
                    return each, _shape(tool, each), {}
        labels = [each for each in controls if each.tag == _LABELS]
        shapes: dict[Element, ShapeKind] = {
            each: _shape(str(each.tag), each) for each in controls if each.tag in _TOOLS.values()
        }
        if labels and shapes:
            return labels[0], next(iter(shapes.values())), shapes
        for each in controls:
            if each.tag == "Choices" and not _is_true(each, "perRegion"):
                is_one_of_several = each.get("choice") != "multiple" and len(each.findall(".//Choice")) > 1
                return each, "classification" if is_one_of_several else "multilabel", {}
        return None, "questions", {}

    def _classes(self, main: Element, kind: TaskKind) -> tuple[ClassDefinition, ...]:
        if main.get("value", "").startswith("$"):
            raise InvalidInputError(f"The classes of {_called(main)} come from each task; a taxonomy has its own.")
        if main.get("choice") == "multiple" and kind != "multilabel":
            self._unmapped.append(f"{_called(main)} lets a region have several classes.")
        found = [each for each in main.iter() if each.tag in ("Label", "Choice")]
        if any(each.tag == "Choice" and len(each) for each in found):
            self._unmapped.append(f"{_called(main)} nests choices, which become one list.")
        if main.tag == "Choices" and not _is_true(main, "required"):
            self._unmapped.append(f"{_called(main)} may be left open, which becomes an answer that is required.")
        classes = [self._class(each) for each in found]
        return tuple(_without_repeated_marks(classes))

    def _class(self, tag: Element) -> ClassDefinition:
        shown, alias = tag.get("value", ""), tag.get("alias")
        hotkey = tag.get("hotkey", "").lower()
        if alias and alias != shown:
            self._unmapped.append(f"Annotators read {shown!r} where answers say {alias!r}.")
        return ClassDefinition(
            name=alias or shown,
            description=tag.get("hint", ""),
            colour=_hexadecimal(tag.get("background", "")),
            hotkey=hotkey if definitions.is_hotkey(hotkey) else None,
        )

    def _attribute(self, tag: Element) -> AttributeDefinition | None:
        about: Literal["image", "region"] = "region" if _is_true(tag, "perRegion") else "image"
        kind = self._attribute_kind(tag)
        if kind is None:
            return None
        options = _paths(tag) if kind == "tree" else tuple(_option(each) for each in tag.iter("Choice"))
        if tag.get("value", "").startswith("$") or (not options and kind in ("choice", "multi", "tree")):
            self._unmapped.append(f"{_called(tag)} has no options of its own, or takes them from each task.")
            return None
        if kind == "text" and tag.get("maxSubmissions") != "1":
            self._unmapped.append(f"{_called(tag)} takes several texts, which become one.")
        bounds = {"rating": ("", "maxRating"), "number": ("min", "max")}.get(kind, ("", ""))
        return AttributeDefinition(
            name=tag.get("name", ""),
            kind=kind,
            about=about,
            options=options,
            required=_is_true(tag, "required"),
            question=self._question(tag),
            minimum=_number(tag.get(bounds[0])),
            maximum=_number(tag.get(bounds[1])),
        )

    def _attribute_kind(self, tag: Element) -> AttributeKind | None:
        if tag.tag == "Choices":
            return "multi" if tag.get("choice") == "multiple" else "choice"
        kinds: dict[str, AttributeKind] = {name: kind for kind, name in _ATTRIBUTE_TAGS.items() if name != "Choices"}
        kind = kinds.get(str(tag.tag))
        if kind is None:
            self._unmapped.append(f"{_called(tag)} cannot be mapped.")
        return kind

    def _question(self, tag: Element) -> str:
        """The header right before a tag belongs to it, and not to the guideline."""
        siblings = list(self._parents[tag])
        place = siblings.index(tag)
        return self._headers.pop(siblings[place - 1], "") if place else ""

    def _note(self, tag: Element) -> None:
        """Say what of a tag changes the meaning of answers and is left out."""
        if "toName" in tag.attrib and tag.get("toName") != self._image.get("name"):
            self._unmapped.append(f"{_called(tag)} is about {tag.get('toName')!r}, not about the image alone.")
        condition = {name: tag.get(name) for name in _CONDITIONS if name in tag.attrib}
        if condition and condition.get("visibleWhen") not in _ALWAYS_VISIBLE:
            said = ", ".join(f"{name} {value}" for name, value in condition.items())
            self._unmapped.append(f"{_called(tag)} is shown under a condition: {said}.")
        if "toName" not in tag.attrib and tag is not self._image:
            if tag.get("value", "").startswith("$"):
                shown = tag.get("value")
                self._unmapped.append(f"{_called(tag)} shows {shown} of each task, which Winnow does not fill.")
            elif tag.tag not in _SILENT:
                self._unmapped.append(f"{_called(tag)} cannot be mapped.")
        if most := tag.get("maxUsages"):
            self._unmapped.append(f"{_called(tag)} may be used so often only: maxUsages {most}.")
        if tag.tag == "Relations":
            self._unmapped.append("Relations between regions are kept, but not understood.")


def _read_xml(config: str) -> Element:
    if "<!DOCTYPE" in config.upper() or "<!ENTITY" in config.upper():
        raise InvalidInputError("The config declares entities, which no label config needs.")
    try:
        return ElementTree.fromstring(config.strip())  # noqa: S314 - it declares no entities
    except ElementTree.ParseError as error:
        raise InvalidInputError(f"The config is no XML: {error}.") from error


def _shape(tool: str, tag: Element) -> ShapeKind:
    if tool == "Rectangle":
        return "boxes" if tag.get("canRotate", "").lower() == "false" else "rotated-boxes"  # they turn by default
    return next(kind for kind, each in _TOOLS.items() if each == tool)


def _without_repeated_marks(classes: Sequence[ClassDefinition]) -> Iterator[ClassDefinition]:
    """Colours and hotkeys only where they tell one class from the others."""
    colours: set[str | None] = set()
    hotkeys: set[str | None] = set()
    for each in classes:
        colour = each.colour if each.colour not in colours else None
        hotkey = each.hotkey if each.hotkey not in hotkeys else None
        colours.add(colour)
        hotkeys.add(hotkey)
        yield replace(each, colour=colour, hotkey=hotkey)


def _paths(tag: Element, before: str = "") -> tuple[str, ...]:
    found: list[str] = []
    for choice in tag.findall("Choice"):
        path = before + _option(choice)
        found += [path, *_paths(choice, path + PATH_SEPARATOR)]
    return tuple(found)


def _option(choice: Element) -> str:
    return choice.get("alias", "") or choice.get("value", "")


def _hexadecimal(colour: str) -> str | None:
    """A colour as CSS may say it, as #rrggbb; how opaque it is does not matter."""
    from PIL import ImageColor

    if parts := re.fullmatch(r"rgba\(\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*,.*\)", colour):
        colour = f"rgb({parts[1]},{parts[2]},{parts[3]})"
    try:
        red, green, blue = ImageColor.getrgb(colour)[:3]
    except ValueError:
        return None
    return f"#{red:02x}{green:02x}{blue:02x}"


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _is_true(tag: Element, name: str) -> bool:
    return tag.get(name, "").lower() == "true"


def _called(tag: Element) -> str:
    name = tag.get("name") or (tag.get("value") if tag.tag in ("Label", "Choice") else None)
    return f"{tag.tag} {name!r}" if name else str(tag.tag)
