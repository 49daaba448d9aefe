"""Configs from other hands: what they ask, as far as a definition can say it, and what it cannot."""

import pytest

from labeling import label_config
from labeling.definitions import AttributeDefinition, ClassDefinition, Definition, TagNames
from labeling.label_config import Adopted
from store.errors import InvalidInputError

IMAGE = '<Image name="img" value="$photo" zoom="true" rotateControl="true"/>'
LABELS = '<Label value="Car" background="red"/><Label value="Bus" background="rgba(0, 0, 255, 0.5)"/>'
CAR, BUS = ClassDefinition("Car", colour="#ff0000"), ClassDefinition("Bus", colour="#0000ff")
TAGS = TagNames(image="img", data="photo", classes="what")


def adopt(body: str) -> Adopted:
    return label_config.adopt(f"<View><Style>.a {{ color: red }}</Style>{body}{IMAGE}<!-- a comment --></View>")


@pytest.mark.parametrize(
    ("tag", "kind"),
    [
        ('RectangleLabels canRotate="false" strokeWidth="3"', "boxes"),
        ('RectangleLabels canRotate="true"', "rotated-boxes"),
        ('RectangleLabels opacity="0.9"', "rotated-boxes"),  # Label Studio lets them be turned unless told otherwise
        ("PolygonLabels", "polygons"),
        ("BrushLabels", "masks"),
        ("KeyPointLabels", "keypoints"),
    ],
)
def test_labels_that_draw(tag: str, kind: str) -> None:
    name, _, attributes = tag.partition(" ")
    adopted = adopt(f'<Header value="Draw."/><{name} name="what" toName="img" {attributes}>{LABELS}</{name}>')
    assert adopted.unmapped == []
    assert adopted.definition == Definition(kind, (CAR, BUS), guideline="Draw.", tags=TAGS)  # type: ignore[arg-type]


def test_labels_beside_tools_and_questions_about_each_region() -> None:
    adopted = adopt(
        f'<Labels name="what" toName="img">{LABELS}</Labels>'
        '<Rectangle name="box" toName="img" canRotate="false"/><Polygon name="outline" toName="img"/>'
        '<View visibleWhen="region-selected"><Header value="What does it say?"/>'
        '<TextArea name="text" toName="img" perRegion="true" required="true" rows="5" maxSubmissions="1"/></View>'
    )
    assert adopted.unmapped == []
    assert adopted.definition == Definition(
        "boxes",
        (CAR, BUS),
        (AttributeDefinition("text", "text", required=True, question="What does it say?"),),
        tags=TagNames("img", "photo", "what", (("boxes", "box"), ("polygons", "outline"))),
    )


def test_choices_are_classes_and_further_ones_attributes() -> None:
    adopted = adopt(
        '<Choices name="what" toName="img" choice="multiple" required="true">'
        '<Choice value="Car" hotkey="C" hint="four wheels"/><Choice value="Bus"/></Choices>'
        '<Choices name="light" toName="img"><Choice value="day"/><Choice value="night"/></Choices>'
        '<Rating name="quality" toName="img" maxRating="10"/><Number name="count" toName="img" min="0"/>'
        '<Taxonomy name="place" toName="img"><Choice value="EU"><Choice value="FR"/></Choice></Taxonomy>'
    )
    assert adopted.unmapped == []
    assert adopted.definition == Definition(
        "multilabel",
        (ClassDefinition("Car", "four wheels", hotkey="c"), ClassDefinition("Bus")),
        (
            AttributeDefinition("light", "choice", "image", ("day", "night")),
            AttributeDefinition("quality", "rating", "image", maximum=10),
            AttributeDefinition("count", "number", "image", minimum=0),
            AttributeDefinition("place", "tree", "image", ("EU", "EU/FR")),
        ),
        tags=TAGS,
    )


def test_choices_beside_boxes_are_about_the_image() -> None:
    adopted = adopt(
        f'<RectangleLabels name="what" toName="img">{LABELS}</RectangleLabels>'
        '<Choices name="verdict" toName="img"><Choice value="ok"/><Choice value="bad"/></Choices>'
    )
    assert adopted.definition.attributes == (AttributeDefinition("verdict", "choice", "image", ("ok", "bad")),)


def test_a_caption_is_a_question() -> None:
    adopted = adopt('<Header value="Describe it."/><TextArea name="caption" toName="img" maxSubmissions="1"/>')
    assert adopted.unmapped == []
    caption = AttributeDefinition("caption", "text", "image", question="Describe it.")
    assert adopted.definition == Definition("questions", (), (caption,), tags=TagNames("img", "photo"))


def test_colours_and_hotkeys_that_repeat_or_mean_nothing_are_left_out() -> None:
    adopted = adopt(
        '<PolygonLabels name="what" toName="img"><Label value="a" background="red" hotkey="1"/>'
        '<Label value="b" background="#F00" hotkey="1"/><Label value="c" background="no colour" hotkey="space bar"/>'
        "</PolygonLabels>"
    )
    assert [(each.colour, each.hotkey) for each in adopted.definition.classes] == [
        ("#ff0000", None),
        (None, None),
        (None, None),
    ]


RECTANGLES = f'<RectangleLabels name="what" toName="img">{LABELS}</RectangleLabels>'


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (
            '<EllipseLabels name="e" toName="img"><Label value="x"/></EllipseLabels>',
            "EllipseLabels 'e' cannot be mapped.",
        ),
        (
            '<PolygonLabels name="p" toName="img"><Label value="x"/></PolygonLabels>',
            "PolygonLabels 'p' cannot be mapped.",
        ),
        ('<DateTime name="d" toName="img"/>', "DateTime 'd' cannot be mapped."),
        ('<Text name="t" value="$caption"/>', "Text 't' shows $caption of each task, which Winnow does not fill."),
        (
            '<Text name="t" value="fixed"/><Rating name="r" toName="t"/>',
            "Rating 'r' is about 't', not about the image alone.",
        ),
        (
            '<Choices name="c" toName="img" value="$options"/>',
            "Choices 'c' has no options of its own, or takes them from each task.",
        ),
        (
            '<View visibleWhen="choice-selected" whenTagName="c" whenChoiceValue="x">'
            '<Rating name="r" toName="img"/></View>',
            "View is shown under a condition: visibleWhen choice-selected, whenTagName c, whenChoiceValue x.",
        ),
        ('<TextArea name="t" toName="img" maxSubmissions="5"/>', "TextArea 't' takes several texts, which become one."),
        ('<TextArea name="t" toName="img"/>', "TextArea 't' takes several texts, which become one."),
        ('<Pairwise name="p"/>', "Pairwise 'p' cannot be mapped."),
        ('<BrushLabels name="b"><Label value="x"/></BrushLabels>', "BrushLabels 'b' cannot be mapped."),
        ("<Foo/>", "Foo cannot be mapped."),
        (
            '<Relations><Relation value="part of"/></Relations>',
            "Relations between regions are kept, but not understood.",
        ),
    ],
)
def test_what_a_definition_cannot_say_is_named(more: str, sentence: str) -> None:
    adopted = adopt(RECTANGLES + more)
    assert adopted.unmapped == [sentence]
    assert adopted.definition.classes == (CAR, BUS)
    with pytest.raises(InvalidInputError, match="asks more than a taxonomy can say"):
        label_config.parse(f"<View>{RECTANGLES}{more}{IMAGE}</View>")


def test_classes_that_may_be_left_open_or_used_so_often_only_are_named() -> None:
    options = '<Choice value="a"/><Choice value="b"/>'
    optional = adopt(f'<Choices name="what" toName="img">{options}</Choices>')
    assert optional.unmapped == ["Choices 'what' may be left open, which becomes an answer that is required."]
    rationed = adopt(
        '<PolygonLabels name="what" toName="img" maxUsages="3"><Label value="Car" maxUsages="1"/></PolygonLabels>'
    )
    assert rationed.unmapped == [
        "PolygonLabels 'what' may be used so often only: maxUsages 3.",
        "Label 'Car' may be used so often only: maxUsages 1.",
    ]


def test_a_box_beside_labels_may_be_turned_too() -> None:
    adopted = adopt(f'<Labels name="what" toName="img">{LABELS}</Labels><Rectangle name="box" toName="img"/>')
    assert (adopted.unmapped, adopted.definition.kind) == ([], "rotated-boxes")


def test_an_alias_is_what_answers_say() -> None:
    adopted = adopt(
        '<Choices name="what" toName="img" required="true"><Choice value="Yes, it is" alias="yes"/>'
        '<Choice value="no"/></Choices>'
    )
    assert adopted.definition.class_names == ["yes", "no"]
    assert adopted.unmapped == ["Annotators read 'Yes, it is' where answers say 'yes'."]


def test_several_classes_of_one_region_and_nested_choices_are_named() -> None:
    several = adopt(f'<RectangleLabels name="what" toName="img" choice="multiple">{LABELS}</RectangleLabels>')
    assert several.unmapped == ["RectangleLabels 'what' lets a region have several classes."]
    nested = adopt(
        '<Choices name="what" toName="img" required="true"><Choice value="a"><Choice value="b"/></Choice>'
        '<Choice value="c"/></Choices>'
    )
    assert nested.unmapped == ["Choices 'what' nests choices, which become one list."]


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ("<View/>", "shows 0 images"),
        ('<View><Image name="a" value="$a"/><Image name="b" value="$b"/></View>', "shows 2 images"),
        ('<View><Image name="a" valueList="$pages"/></View>', "list of images"),
        ('<View><Image name="a" value="https://localhost/a.png"/></View>', "not a variable"),
        (f"<View>{IMAGE}</View>", "asks nothing about the image"),
        (f'<View>{IMAGE}<EllipseLabels name="e" toName="img"/></View>', "EllipseLabels 'e' cannot be mapped"),
        (f'<View>{IMAGE}<RectangleLabels name="r" toName="img" value="$labels"/></View>', "come from each task"),
        (f'<View>{IMAGE}<Video name="v" value="$v"/><VideoRectangle name="r" toName="v"/></View>', "is about 'v'"),
    ],
)
def test_what_is_not_about_one_image_is_refused(config: str, why: str) -> None:
    with pytest.raises(InvalidInputError, match=why):
        label_config.adopt(config)
