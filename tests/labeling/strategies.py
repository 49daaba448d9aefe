"""Definitions, contents and results as hypothesis makes them up."""

from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from labeling import definitions as d
from labeling.content import Choices, Content, ImageChoice, Number, Rating, Region, Text, Value
from labeling.definitions import AttributeDefinition, ClassDefinition, Definition, TagNames
from labeling.geometry import Box, Keypoint, Mask, Polygon, Shape
from labeling.results import ImageSize


def words(without: str) -> st.SearchStrategy[str]:
    characters = st.characters(exclude_categories=["C", "Z"], exclude_characters=without)
    return st.lists(st.text(characters, min_size=1, max_size=6), min_size=1, max_size=2).map(" ".join)


names = words(without="$")
prose = st.one_of(st.just(""), names)
tag_names = st.from_regex(r"[A-Za-zÄ0-9_]([A-Za-z0-9_ .-]{0,7}[A-Za-z0-9_.-])?", fullmatch=True)
colours = st.one_of(st.none(), st.from_regex(r"#[0-9a-f]{6}", fullmatch=True), st.just("#e62222"))
hotkeys = st.one_of(st.none(), st.sampled_from(["a", "1", "2", "3", "shift+a", "ctrl+alt+b", "f5", "/", "&", "<"]))


@st.composite
def attributes(draw: st.DrawFn, name: str, *, has_regions: bool, has_classes: bool = True) -> AttributeDefinition:
    kind = draw(st.sampled_from(["choice", "multi"] * has_classes + ["tree", "rating", "number", "text"]))
    options: list[str] = []
    if kind in ("choice", "multi"):
        options = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    if kind == "tree":
        plain_names = words(without="$/")
        for top in draw(st.lists(plain_names, min_size=1, max_size=3, unique=True)):
            below = draw(st.lists(plain_names, max_size=2, unique=True))
            options += [top, *(f"{top}/{each}" for each in below)]
    bounds: list[float | None] = [None, None]
    if kind == "number":
        bounds = draw(st.sampled_from([[None, None], [0.5, None], [None, 7.0], [-1e-7, 1e9]]))
    return AttributeDefinition(
        name=name,
        kind=kind,  # type: ignore[arg-type]
        about=draw(st.sampled_from(["image", "region"])) if has_regions else "image",
        options=tuple(options),
        required=draw(st.booleans()),
        question=draw(prose),
        minimum=bounds[0],
        maximum=draw(st.sampled_from([None, 1.0, 5.0, 10.0])) if kind == "rating" else bounds[1],
    )


@st.composite
def definitions(draw: st.DrawFn, kinds: tuple[d.TaskKind, ...] = d.TASK_KINDS) -> Definition:
    kind = draw(st.sampled_from(kinds))
    has_regions = kind in d.SHAPE_KINDS
    fewest = {"classification": 2, "questions": 0}.get(kind, 1)
    of_classes = draw(st.lists(names, min_size=fewest, max_size=0 if kind == "questions" else 12, unique=True))
    classes: list[ClassDefinition] = []
    for name in of_classes:
        colour, hotkey = draw(colours), draw(hotkeys)
        classes.append(
            ClassDefinition(
                name,
                description=draw(prose),
                colour=None if colour in {each.colour for each in classes} else colour,
                hotkey=None if hotkey in {each.hotkey for each in classes} else hotkey,
                examples=tuple(draw(st.lists(st.integers(0, 10**6), max_size=2))),
            )
        )
    called = [f"{draw(tag_names)}{number}" for number in range(9)]
    tools = draw(st.permutations([each for each in d.SHAPE_KINDS if "boxes" not in each or each == kind]))
    tools = [kind, *(each for each in tools if each != kind)][: draw(st.integers(0, 3))] if has_regions else []
    own = [
        draw(attributes(name, has_regions=has_regions, has_classes=kind != "questions"))
        for name in called[6 : 6 + draw(st.integers(1 if kind == "questions" else 0, 3))]
    ]
    return Definition(
        kind=kind,
        classes=tuple(classes),
        attributes=tuple(own),
        guideline=draw(prose),
        tags=TagNames(
            image=called[0],
            data=draw(st.sampled_from(["image", "img", "Photo_1"])),
            classes=TagNames().classes if kind == "questions" else called[1],
            shapes=tuple(zip(tools, called[2:6], strict=False)),  # type: ignore[arg-type]
        ),
    )


places = st.floats(-20, 900, allow_nan=False).map(lambda number: round(number, 6))
scores = st.one_of(st.none(), st.floats(0, 1))
extras = st.dictionaries(st.sampled_from(["origin", "meta", "hidden", "locked", "image_rotation"]), st.just("seen"))


def shapes(kind: d.ShapeKind, size: ImageSize) -> st.SearchStrategy[Shape]:
    match kind:
        case "boxes":
            return st.builds(Box, places, places, places, places)
        case "rotated-boxes":
            return st.builds(Box, places, places, places, places, st.floats(-360, 360))
        case "polygons":
            points = st.lists(st.tuples(places, places), max_size=5).map(tuple)
            return st.builds(Polygon, points, st.booleans())
        case "keypoints":
            return st.builds(Keypoint, places, places, places)
        case "masks":
            return arrays(bool, (size.height, size.width)).map(Mask.of)


@st.composite
def values(draw: st.DrawFn, attribute: AttributeDefinition) -> Value:
    match attribute.kind:
        case "choice" | "multi" | "tree":
            return Choices(tuple(draw(st.lists(st.sampled_from(attribute.options), max_size=3, unique=True))))
        case "rating":
            return Rating(draw(st.integers(1, 5)))
        case "number":
            return Number(draw(st.floats(-1e9, 1e9)))
        case "text":
            return Text(tuple(draw(st.lists(st.text(max_size=9), max_size=3))))


@st.composite
def contents(draw: st.DrawFn, definition: Definition, size: ImageSize) -> Content:
    """What somebody may say of an image of this size under a definition."""
    kinds = d.shape_kinds(definition)
    chosen = st.lists(st.sampled_from(definition.class_names or [""]), max_size=2, unique=True).map(tuple)
    regions = []
    for number in range(draw(st.integers(0, 3)) if kinds else 0):
        said = {each.name: draw(values(each)) for each in definition.attributes if each.about == "region"}
        kept = draw(st.sets(st.sampled_from(sorted(said)))) if said else set()
        region = Region(
            id=f"r{number}",
            shape=draw(shapes(draw(st.sampled_from(kinds)), size)),
            classes=draw(chosen),
            score=draw(scores),
            attributes={name: value for name, value in said.items() if name in kept},
        )
        regions.append(region)
    asks_class = definition.kind in ("classification", "multilabel")
    return Content(
        choice=ImageChoice(draw(chosen), draw(scores)) if asks_class and draw(st.booleans()) else None,
        attributes={
            each.name: draw(values(each))
            for each in definition.attributes
            if each.about == "image" and draw(st.booleans())
        },
        regions=tuple(regions),
    )
