"""Label Studio's `result`, the list of parts of an annotation or a prediction, to our content and back.

Label Studio counts places in percent of the width and height of the picture the annotator saw, as the browser
shows it: upright, whatever its EXIF says. `image_rotation` is how far they had turned their view; places do not
follow it. A region is one part that draws it, or one part that draws and one that names its classes, and a part
for each attribute, all with the same id.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from labeling import brush, definitions, label_config
from labeling import content as contents
from labeling.content import Choices, Content, Extras, ImageChoice, Number, Rating, Region, Text, Unread, Value
from labeling.definitions import PATH_SEPARATOR, AttributeDefinition, Definition
from labeling.geometry import Box, Keypoint, Mask, Polygon, Shape
from store.errors import InvalidInputError

Part: TypeAlias = dict[str, Any]

_SAME_ASPECT = 0.02  # by how much the sides of a smaller copy may differ in proportion, from rounding
_FARTHEST = 1e6  # percent, or degrees; NaN is not within it
_LAST_DIGITS = 1e-9  # percent
_DRAWN = {"rectangle": "boxes", "polygon": "polygons", "brush": "masks", "keypoint": "keypoints"}


@dataclass(frozen=True)
class ImageSize:
    """Of the upright image, in pixels."""

    width: int
    height: int


def read(result: Sequence[Any], definition: Definition, size: ImageSize) -> Content:
    """What a `result` says; what it says beyond our words is kept in `extras` and `unread`.

    Only values are checked here that would be lost or misread; whether all that is required was said is not.
    """
    return _Reader(definition, size).content(result)


def essence(result: Sequence[Any], definition: Definition, size: ImageSize) -> str:
    """What a `result` says of the image alone: the JSON of its `labeling.content.essence`.

    Masks take long to unpack: a pull reads each answer once, and keeps this beside it.
    """
    return contents.to_json(contents.essence(read(result, definition, size)))


def write(content: Content, definition: Definition, size: ImageSize) -> list[Part]:
    """The `result` that says the same.

    The image's parts come first, then those of each region, at last what could not be read.

    Raises:
        InvalidInputError: a region has a shape the taxonomy has no tool for, or an attribute is not its own.
    """
    parts = list(_image_parts(content, definition))
    for region in content.regions:
        parts += _region_parts(region, definition, size)
    return [*parts, *(each.part for each in content.unread)]


# --- ours to theirs ------------------------------------------------------------------------------


def _image_parts(content: Content, definition: Definition) -> Iterator[Part]:
    tags = definition.tags
    if content.choice is not None:
        part = {"type": "choices", "value": {"choices": list(content.choice.classes)}} | _scored(content.choice.score)
        yield _named(part, tags.classes, tags.image, content.extras)
    for name, value in content.attributes.items():
        yield _named(_answer(value, _asked(definition, name)), name, tags.image, content.extras)


def _region_parts(region: Region, definition: Definition, size: ImageSize) -> Iterator[Part]:
    tags = definition.tags
    place = _place(region.shape, size)
    common: Part = {"original_width": size.width, "original_height": size.height, "image_rotation": 0}
    if region.id:
        common["id"] = region.id
    tool = _tool(region.shape)
    if tags.shapes:
        name = _shape_tag(definition, region.shape)
        yield _named(common | {"type": tool, "value": place}, name, tags.image, region.extras)
        if region.classes or region.score is not None:
            value = place | {"labels": list(region.classes)}
            part = common | {"type": "labels", "value": value} | _scored(region.score)
            yield _named(part, tags.classes, tags.image, region.extras)
    else:
        _shape_tag(definition, region.shape)
        kind = f"{tool}labels"
        value = place | ({kind: list(region.classes)} if region.classes else {})
        part = common | {"type": kind, "value": value} | _scored(region.score)
        yield _named(part, tags.classes, tags.image, region.extras)
    for name, said in region.attributes.items():
        answer = _answer(said, _asked(definition, name))
        answer["value"] = place | answer["value"]
        yield _named(common | answer, name, tags.image, region.extras)


def _named(part: Part, name: str, image: str, extras: Extras) -> Part:
    more = extras.get(name, {})
    part = {"from_name": name, "to_name": image} | part
    return part | more | {"value": part["value"] | more.get("value", {})}


def _answer(value: Value, attribute: AttributeDefinition) -> Part:
    match value:
        case Choices(chosen) if attribute.kind == "tree":
            return {"type": "taxonomy", "value": {"taxonomy": [each.split(PATH_SEPARATOR) for each in chosen]}}
        case Choices(chosen):
            return {"type": "choices", "value": {"choices": list(chosen)}}
        case Rating(stars):
            return {"type": "rating", "value": {"rating": stars}}
        case Number(number):
            return {"type": "number", "value": {"number": number}}
        case Text(text):
            return {"type": "textarea", "value": {"text": list(text)}}


def _place(shape: Shape, size: ImageSize) -> dict[str, Any]:
    match shape:
        case Box():
            return {
                "x": 100 * shape.x / size.width,
                "y": 100 * shape.y / size.height,
                "width": 100 * shape.width / size.width,
                "height": 100 * shape.height / size.height,
                "rotation": shape.rotation,
            }
        case Polygon():
            points = [[100 * x / size.width, 100 * y / size.height] for x, y in shape.points]
            return {"points": points, "closed": shape.closed}
        case Mask():
            if (shape.width, shape.height) != (size.width, size.height):
                raise InvalidInputError(
                    f"A mask of {shape.width} × {shape.height} pixels is not of an image of "
                    f"{size.width} × {size.height}."
                )
            return {"format": "rle", "rle": brush.encode(brush.opacity(shape.pixels()))}
        case Keypoint():
            return {
                "x": 100 * shape.x / size.width,
                "y": 100 * shape.y / size.height,
                "width": 100 * shape.width / size.width,
            }


def _tool(shape: Shape) -> str:
    return {"box": "rectangle", "polygon": "polygon", "mask": "brush", "keypoint": "keypoint"}[shape.shape]


def _shape_tag(definition: Definition, shape: Shape) -> str:
    """The name of the tag that draws a shape.

    Raises:
        InvalidInputError: the taxonomy has none.
    """
    kinds = definitions.shape_kinds(definition)
    names = dict(definition.tags.shapes) or dict.fromkeys(kinds, definition.tags.classes)
    for kind, name in names.items():
        if label_config.tool(kind).lower() == _tool(shape):
            return name
    raise InvalidInputError(f"A {shape.shape} cannot be drawn under a taxonomy of {definition.kind}.")


def _asked(definition: Definition, name: str) -> AttributeDefinition:
    for attribute in definition.attributes:
        if attribute.name == name:
            return attribute
    raise InvalidInputError(f"The taxonomy has no attribute {name!r}.")


def _scored(score: float | None) -> Part:
    return {} if score is None else {"score": score}


# --- theirs to ours ------------------------------------------------------------------------------


class _Reader:
    """Reads one `result` under a definition."""

    def __init__(self, definition: Definition, size: ImageSize) -> None:
        self._definition = definition
        self._size = size
        self._attributes = {each.name: each for each in definition.attributes}
        self._shape_tags = {name for _, name in definition.tags.shapes}

    def content(self, result: Sequence[Any]) -> Content:
        content = Content()
        unread: list[Unread] = []
        of_regions: dict[Any, list[Part]] = {}
        for part in result:
            try:
                if self._is_about_image(part):
                    content = self._with_image_part(content, part)
                else:
                    of_regions.setdefault(part.get("id") or object(), []).append(part)
            except InvalidInputError as error:
                unread.append(Unread(part, str(error)))
        regions = []
        for parts in of_regions.values():
            try:
                regions.append(self._region(parts))
            except InvalidInputError as error:
                unread += [Unread(part, str(error)) for part in parts]
        return replace(content, regions=tuple(regions), unread=tuple(unread))

    def _is_about_image(self, part: Any) -> bool:
        """Whether a part is about the image as a whole, and not about a region."""
        if not isinstance(part, dict):
            raise InvalidInputError("It is no part of an answer.")
        if part.get("type") == "relation":
            raise InvalidInputError("It relates two regions, which a taxonomy has no word for.")
        name = part.get("from_name")
        if not isinstance(name, str) or not isinstance(part.get("id", ""), str):
            raise InvalidInputError("Its from_name or its id is no text.")
        if part.get("to_name") != self._definition.tags.image:
            raise InvalidInputError(f"It is about {part.get('to_name')!r}, not about the image.")
        if part.get("item_index"):
            raise InvalidInputError(f"It is about one of several images in a task, at {part['item_index']!r}.")
        if not isinstance(part.get("value"), dict):
            raise InvalidInputError(f"The part of {name!r} has no value.")
        if name in self._attributes:
            return self._attributes[name].about == "image"
        if name == self._definition.tags.classes:
            return not definitions.shape_kinds(self._definition)
        if name in self._shape_tags:
            return False
        raise InvalidInputError(f"The taxonomy has no tag called {name!r}.")

    def _with_image_part(self, content: Content, part: Part) -> Content:
        name = part["from_name"]
        if name in self._attributes:
            if name in content.attributes:
                raise InvalidInputError(f"{name!r} is answered twice.")
            value = self._value(part, self._attributes[name])
            read = replace(content, attributes={**content.attributes, name: value})
        elif content.choice is not None:
            raise InvalidInputError("The class of the image is said twice.")
        else:
            names = self._known_classes(part["value"].get("choices"))
            read = replace(content, choice=ImageChoice(names, _score(part)))
        said = next(each for each in _image_parts(read, self._definition) if each["from_name"] == name)
        return replace(read, extras=_with_extras(read.extras, part, said))

    def _region(self, parts: Sequence[Part]) -> Region:
        by_tag = {part["from_name"]: part for part in parts}
        if len(by_tag) < len(parts):
            raise InvalidInputError("Something about the region is said twice.")
        drawn = [part for name, part in by_tag.items() if name not in self._attributes]
        shapes = [part for part in drawn if not self._shape_tags or part["from_name"] in self._shape_tags]
        if len(shapes) != 1:
            raise InvalidInputError(f"The region is drawn {len(shapes)} times.")
        [shape] = shapes
        naming = by_tag.get(self._definition.tags.classes, shape)
        region = Region(
            id=parts[0].get("id", ""),
            shape=self._shape(shape),
            classes=self._known_classes(naming["value"].get(self._labels_key(naming), [])),
            score=_score(naming),
            attributes={
                name: self._value(part, self._attributes[name])
                for name, part in by_tag.items()
                if name in self._attributes
            },
        )
        if naming is not shape and not region.classes and region.score is None:
            raise InvalidInputError("The part that says the region's class says none.")
        extras: Extras = {}
        for said in _region_parts(region, self._definition, self._size):
            if said["from_name"] in by_tag:
                extras = _with_extras(extras, by_tag[said["from_name"]], said)
        return replace(region, extras=extras)

    def _labels_key(self, part: Part) -> str:
        return "labels" if self._shape_tags else str(part.get("type"))

    def _shape(self, part: Part) -> Shape:
        tool = str(part.get("type")).removesuffix("labels")
        if tool not in _DRAWN:
            raise InvalidInputError(f"Regions of the type {part.get('type')!r} have no place in a taxonomy.")
        as_shown = self._size_shown(part)
        value = part["value"]
        width, height = self._size.width, self._size.height
        shape: Shape
        match tool:
            case "rectangle":
                shape = Box(
                    x=_number(value, "x") * width / 100,
                    y=_number(value, "y") * height / 100,
                    width=_number(value, "width") * width / 100,
                    height=_number(value, "height") * height / 100,
                    rotation=_number({"rotation": 0.0} | value, "rotation"),
                )
            case "polygon":
                points = value.get("points")
                if not isinstance(points, list) or not all(
                    isinstance(each, list) and len(each) == 2 for each in points
                ):
                    raise InvalidInputError("A polygon without a list of points cannot be read.")
                numbers = [(_number(point, 0), _number(point, 1)) for point in points]
                shape = Polygon(
                    points=tuple((x * width / 100, y * height / 100) for x, y in numbers),
                    closed=value.get("closed", True) is not False,
                )
            case "keypoint":
                shape = Keypoint(
                    x=_number(value, "x") * width / 100,
                    y=_number(value, "y") * height / 100,
                    width=_number({"width": 0.0} | value, "width") * width / 100,
                )
            case _:
                if as_shown != self._size:
                    raise InvalidInputError(
                        f"The mask was drawn on a copy of {as_shown.width} × {as_shown.height} pixels; "
                        f"the image has {self._size.width} × {self._size.height}."
                    )
                rle = value.get("rle")
                if not isinstance(rle, list):
                    raise InvalidInputError("A mask without a list of packed bytes cannot be read.")
                opacity = brush.decode(rle, width=self._size.width, height=self._size.height)
                shape = Mask.of(brush.pixels(opacity))
        _shape_tag(self._definition, shape)
        return shape

    def _size_shown(self, part: Part) -> ImageSize:
        """The size of the picture a region was drawn on, which has the image's proportions.

        Raises:
            InvalidInputError: it has not, so the picture lay on its side, or was another one.
        """
        size = ImageSize(part.get("original_width", self._size.width), part.get("original_height", self._size.height))
        if not all(isinstance(each, int) and each > 0 for each in (size.width, size.height)):
            raise InvalidInputError(f"The size of its picture, {size.width!r} × {size.height!r}, cannot be read.")
        proportion = size.width * self._size.height / (size.height * self._size.width)
        if abs(proportion - 1) > _SAME_ASPECT:
            raise InvalidInputError(
                f"It was drawn on a picture of {size.width} × {size.height} pixels, but the upright image has "
                f"{self._size.width} × {self._size.height}."
            )
        return size

    def _known_classes(self, names: Any) -> tuple[str, ...]:
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InvalidInputError("The names of its classes cannot be read.")
        strangers = [name for name in names if name not in self._definition.class_names]
        if strangers:
            raise InvalidInputError(f"The taxonomy has no class {strangers[0]!r}.")
        return tuple(names)

    def _value(self, part: Part, attribute: AttributeDefinition) -> Value:
        value = part["value"]
        match attribute.kind, value:
            case "choice" | "multi", {"choices": [*chosen]} if all(each in attribute.options for each in chosen):
                return Choices(tuple(chosen))
            case "tree", {"taxonomy": [*paths]} if all(isinstance(path, list) for path in paths):
                joined = tuple(PATH_SEPARATOR.join(map(str, path)) for path in paths)
                if all(each in attribute.options for each in joined):
                    return Choices(joined)
            case "rating", {"rating": int(stars)}:
                return Rating(stars)
            case "number", {"number": int(number) | float(number)}:
                return Number(number)
            case "text", {"text": str(text)}:
                return Text((text,))
            case "text", {"text": [*text]} if all(isinstance(each, str) for each in text):
                return Text(tuple(text))
        raise InvalidInputError(f"{attribute.name!r} is a {attribute.kind}, and this is no answer to it.")


def _with_extras(extras: Extras, part: Part, said: Part) -> Extras:
    """`extras`, and what `part` says beyond what we would say of the same."""
    more = {key: value for key, value in part.items() if key != "value" and said.get(key, ...) != value}
    value = {
        key: value
        for key, value in part["value"].items()
        if key not in said["value"] or (key != "rle" and not _is_near(said["value"][key], value))
    }
    if "rle" in said["value"].keys() & part["value"].keys() and _is_shaded(part["value"]["rle"], said):
        value["rle"] = part["value"]["rle"]
    if value:
        more["value"] = value
    return {**extras, part["from_name"]: more} if more else extras


def _is_near(ours: Any, theirs: Any) -> bool:
    """Whether two values are the same but for the last digits of a percentage."""
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(_is_near, ours, theirs))
    if isinstance(ours, float) and isinstance(theirs, int | float) and not isinstance(theirs, bool):
        return abs(ours - theirs) <= _LAST_DIGITS
    return bool(ours == theirs)


def _is_shaded(rle: Any, said: Part) -> bool:
    """Whether a mask is more than opaque and clear pixels, as its edges are when drawn by hand."""
    if rle == said["value"]["rle"]:
        return False
    size = {"width": said["original_width"], "height": said["original_height"]}
    try:
        return bool((brush.decode(rle, **size) != brush.decode(said["value"]["rle"], **size)).any())
    except InvalidInputError:
        return True


def _number(values: Any, key: Any) -> float:
    number = values.get(key) if isinstance(values, dict) else values[key]
    if isinstance(number, bool) or not isinstance(number, int | float) or not abs(number) <= _FARTHEST:
        raise InvalidInputError(f"Its {key} is {number!r}, which is no place in an image.")
    return float(number)


def _score(part: Part) -> float | None:
    score = part.get("score")
    return float(score) if isinstance(score, int | float) and not isinstance(score, bool) else None
