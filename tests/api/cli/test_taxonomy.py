"""`winnow taxonomy` at the command line."""

import json
from pathlib import Path

import pytest

from store.errors import InvalidInputError, NotFoundError
from store.workspace import Workspace
from tests.api.cli.conftest import said, winnow
from tests.conftest import Builder

YAML = """\
kind: boxes
guideline: Draw tight boxes.
classes:
  - car
  - {name: bus, description: carries many, colour: "#00ff00", hotkey: b, examples: [3]}
attributes:
  - {name: occluded, kind: choice, options: ["no", partly], required: true}
"""


def test_classes_with_colours_and_descriptions(workspace: Workspace) -> None:
    classes = ("--class", "car:#FF0000", "--class", "bus=carries many: #people", "--class", "a:b")
    made = winnow(workspace, "taxonomy", "create", "traffic", "--kind", "boxes", *classes)
    assert (made["name"], made["revision"], made["kind"]) == ("traffic", 1, "boxes")
    assert [(each["name"], each["colour"], each["description"]) for each in made["classes"]] == [
        ("car", "#ff0000", ""),
        ("bus", None, "carries many: #people"),
        ("a:b", None, ""),
    ]


def test_what_was_there_before_goes_on_as_it_was(workspace: Workspace) -> None:
    made = winnow(workspace, "taxonomy", "create", "animals", "--class", "cat=meows", "--class", "dog")
    assert made["kind"] == "classification"
    assert [(each["name"], each["description"]) for each in made["classes"]] == [("cat", "meows"), ("dog", "")]
    assert "1: cat, dog" in said(workspace, "taxonomy", "create", "animals", "--class", "cat=meows", "--class", "dog")


def test_a_file_says_all_of_it(workspace: Workspace, build: Builder, tmp_path: Path) -> None:
    build.images(3)
    path = tmp_path / "taxonomy.yaml"
    path.write_text(YAML)
    made = winnow(workspace, "taxonomy", "create", "traffic", "--from-file", str(path))
    assert (made["kind"], made["guideline"]) == ("boxes", "Draw tight boxes.")
    assert made["attributes"][0]["options"] == ["no", "partly"]
    shown = said(workspace, "taxonomy", "show", "traffic")
    assert "carries many" in shown
    assert "occluded   region  choice  yes       no, partly" in shown
    [listed] = winnow(workspace, "taxonomy", "list")["taxonomies"]
    assert listed == made


def test_a_config_is_adopted_and_shown_again(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "config.xml"
    path.write_text(
        '<View><Image name="img" value="$photo"/><PolygonLabels name="p" toName="img"><Label value="car"/>'
        '</PolygonLabels><EllipseLabels name="e" toName="img"><Label value="x"/></EllipseLabels></View>'
    )
    made = winnow(workspace, "taxonomy", "create", "traffic", "--from-config", str(path))
    assert made["kind"] == "polygons"
    assert made["unmapped"] == ["EllipseLabels 'e' cannot be mapped."]
    config = winnow(workspace, "taxonomy", "show", "traffic", "--config")["config"]
    assert '<PolygonLabels name="p" toName="img">' in config
    assert said(workspace, "taxonomy", "show", "traffic", "--config").strip() == config


@pytest.mark.parametrize(
    ("options", "error", "why"),
    [
        ((), InvalidInputError, "one of the three, not 0"),
        (("--class", "a", "--from-file", "x.yaml"), InvalidInputError, "one of the three, not 2"),
        (("--class", "a", "--kind", "circles"), InvalidInputError, "first kind"),
        (("--from-file", "missing.yaml"), NotFoundError, "no taxonomy missing.yaml"),
        (("--from-config", "missing.xml"), NotFoundError, "no config missing.xml"),
    ],
)
def test_what_cannot_be_used_is_a_sentence(
    workspace: Workspace, options: tuple[str, ...], error: type[Exception], why: str
) -> None:
    with pytest.raises(error, match=why):
        said(workspace, "taxonomy", "create", "traffic", *options)


@pytest.mark.parametrize("text", ["kind: [", "- kind", "kind: boxes\ncolours: 3\n"])
def test_files_that_are_no_taxonomy_are_refused(workspace: Workspace, tmp_path: Path, text: str) -> None:
    path = tmp_path / "taxonomy.yaml"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match="taxonomy"):
        said(workspace, "taxonomy", "create", "traffic", "--from-file", str(path))


def test_how_many_places_do_not_fit(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "taxonomy.yaml"
    for text, count in (("kind: boxes\ncolours: 3\n", "1 place,"), ("colours: 3\n", "2 places,")):
        path.write_text(text)
        with pytest.raises(InvalidInputError, match=f"does not fit in {count} first"):
            said(workspace, "taxonomy", "create", "traffic", "--from-file", str(path))


@pytest.mark.parametrize("option", ["--from-file", "--from-config"])
def test_what_is_no_file_of_text_is_a_sentence(workspace: Workspace, tmp_path: Path, option: str) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    for path, why in ((tmp_path, "Is a directory."), (binary, "it is no UTF-8.")):
        with pytest.raises(InvalidInputError, match=rf"The (taxonomy|config) {path} cannot be read: {why}"):
            said(workspace, "taxonomy", "create", "traffic", option, str(path))


def test_a_migration_says_what_became_of_the_labels(workspace: Workspace, build: Builder) -> None:
    images = build.images(4)
    build.taxonomy(("ant", "bee", "cat", "dog"))
    build.labels(dict(zip(images, ("ant", "bee", "cat", "dog"), strict=True)))
    rules = ("--rename", "ant=Ant", "--merge", "bee,Ant=insect", "--split", "cat=lion,lynx", "--add", "eel")
    with pytest.raises(InvalidInputError, match="no class 'Ant'"):
        said(workspace, "taxonomy", "migrate", "animals", *rules)
    rules = ("--merge", "ant,bee=insect", "--split", "cat=lion,lynx", "--add", "eel", "--rename", "dog=hound")
    text = said(workspace, "taxonomy", "migrate", "animals", *rules)
    assert text.splitlines() == [
        "animals revision 2: insect, lion, lynx, hound, eel",
        "labels: 3 carried over, 0 unchanged, 1 rejected",
        "The rejected images need another label: find them with --where rejected.",
    ]
    again = json.loads(said(workspace, "taxonomy", "migrate", "animals", "--retire", "insect", "--json"))
    assert again["labels"] == {"carried": 0, "unchanged": 1, "rejected": images[:2]}
    with pytest.raises(InvalidInputError, match="old=new"):
        said(workspace, "taxonomy", "migrate", "animals", "--rename", "hound")
    with pytest.raises(InvalidInputError, match="this does not"):
        said(workspace, "taxonomy", "migrate", "animals")
