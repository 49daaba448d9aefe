"""`duplicates` at the command line: for people, for programs, and what is said of wrong input."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from api.cli.main import app
from curation.ingest import ingest
from store.errors import InvalidInputError, NotFoundError
from store.schema import ImageId
from store.workspace import Workspace
from tests.api.cli.conftest import winnow


def photo(seed: int) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((96, 96), Image.Resampling.BICUBIC)


@pytest.fixture
def scanned(workspace: Workspace, tmp_path: Path, build: Any) -> Workspace:
    """Three pictures, of which the first is there again as a bitmap, in a source of its own."""
    pictures = {"photos/0.png": photo(0), "photos/1.png": photo(1), "photos/2.png": photo(2), "web/3.bmp": photo(0)}
    for name, picture in pictures.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture.save(tmp_path / name)
        ingest(workspace, [str(tmp_path / name)], source=name.split("/")[0])
    values = [np.asarray(picture.resize((4, 4)), dtype=np.float32).ravel() for picture in pictures.values()]
    build.vectors([ImageId(i) for i in range(1, 5)], np.stack(values))
    winnow(workspace, "duplicates", "scan")
    return workspace


def the_group(workspace: Workspace) -> Any:
    (group,) = winnow(workspace, "duplicates", "list")["groups"]
    return group


def test_groups_are_scanned_listed_and_shown(scanned: Workspace) -> None:
    summary = winnow(scanned, "duplicates", "scan", "--anew")
    assert (summary["images"], summary["groups"], summary["kinds"]) == (4, 1, {"pixels": 1})
    group = the_group(scanned)
    assert sorted(member["image"] for member in group["members"]) == [1, 4]
    shown = winnow(scanned, "duplicates", "show", str(group["id"]))
    assert sorted(Path(uri).name for member in shown["members"] for uri in member["uris"]) == ["0.png", "3.bmp"]


def test_what_people_say_is_kept(scanned: Workspace) -> None:
    assert winnow(scanned, "duplicates", "accept", str(the_group(scanned)["id"]))["pairs"] == 1
    assert winnow(scanned, "duplicates", "reject", str(the_group(scanned)["id"]), "--image", "4")["pairs"] == 1
    assert winnow(scanned, "duplicates", "scan")["groups"] == 0


def test_sources_are_compared(scanned: Workspace) -> None:
    found = winnow(scanned, "duplicates", "compare", "photos", "web")
    assert (found["first_images"], found["second_images"], found["unscanned"]) == (3, 1, 0)
    assert [(leak["first"], leak["second"], leak["kind"]) for leak in found["leaks"]] == [(1, 4, "pixels")]


def test_calibration_is_shown_as_a_page_and_as_a_picture(scanned: Workspace, tmp_path: Path) -> None:
    for name in ("sheet.html", "sheet.png"):
        document = winnow(scanned, "duplicates", "calibrate", "--output", str(tmp_path / name))
        assert (document["images"], document["output"]) == (4, str(tmp_path / name))
    assert (tmp_path / "sheet.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.format == "PNG"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["calibrate", "--output", "sheet.pdf"], "neither a .html nor a .png"),
        (["calibrate", "--output", "/nowhere/at/all/sheet.html"], "cannot be written"),
        (["show", "77"], "no group 77"),
        (["accept", "77"], "no group 77"),
        (["reject", "77"], "no group 77"),
        (["reject", "1", "--image", "2"], "Image 2 is not in group"),
        (["compare", "photos", "nowhere"], "no source and no version called nowhere"),
        (["scan", "--encoder", "nobody"], "nobody"),
    ],
)
def test_wrong_input_is_said(scanned: Workspace, arguments: list[str], complaint: str) -> None:
    with pytest.raises((InvalidInputError, NotFoundError), match=complaint):
        winnow(scanned, "duplicates", *arguments)


def test_a_threshold_out_of_range_is_refused(workspace: Workspace) -> None:
    command = ["--home", str(workspace.home), "duplicates", "scan", "--min-cosine", "2"]
    assert CliRunner().invoke(app, command).exit_code == 2
