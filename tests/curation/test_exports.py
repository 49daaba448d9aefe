import json
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update

from curation import exports, versions
from store import schema
from store.errors import ConflictError, IntegrityError, InvalidInputError, NotFoundError
from store.schema import ImageId
from store.workspace import Workspace


@pytest.fixture
def cut(workspace: Workspace, build: Any, tmp_path: Path) -> list[ImageId]:
    """Six labelled images with a file each, cut into a version called "pets"."""
    images: list[ImageId] = build.images(6)
    (tmp_path / "photos").mkdir()
    with workspace.database.write() as session:
        for i, sighting in enumerate(session.scalars(select(schema.Sighting))):
            path = tmp_path / "photos" / f"{i}.png"
            path.write_bytes(str(i).encode())  # whose sha256 the image has
            sighting.uri = str(path)
    build.taxonomy(["cat", "../dog"])
    build.labels({image: ("cat", "../dog")[i % 2] for i, image in enumerate(images)})
    versions.cut(workspace, "pets")
    return images


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


@pytest.mark.usefixtures("cut")
def test_parquet_has_a_row_per_image(workspace: Workspace, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    summary = exports.export(workspace, "pets", format="parquet", folder=tmp_path / "out")
    assert (summary.images, _files(tmp_path / "out")) == (6, ["images.parquet", "version.json"])
    rows = pq.read_table(tmp_path / "out" / "images.parquet").to_pylist()
    with workspace.database.read() as session:
        items = versions.items(session, summary.version)
    assert [(row["sha256"], row["label"], row["split"]) for row in rows] == [
        (item.sha256, item.value, item.split) for item in items
    ]
    assert (rows[0]["width"], rows[0]["posterior"], rows[0]["decided_by"]) == (8, 0.99, "consensus")
    assert Path(rows[0]["uri"]).is_file()
    document = json.loads((tmp_path / "out" / "version.json").read_text())
    assert (document["id"], document["classes"]) == (summary.version, ["cat", "../dog"])


def test_what_is_no_file_is_copied_into_an_image_folder(
    workspace: Workspace, cut: list[ImageId], tmp_path: Path
) -> None:
    archive = tmp_path / "photos.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("0.png", b"0")
    with workspace.database.write() as session:
        session.execute(
            update(schema.Sighting).where(schema.Sighting.image_id == cut[0]).values(uri=f"{archive}!/0.png")
        )
    out = tmp_path / "out"
    exports.export(workspace, "pets", format="image-folder", folder=out)
    (copy,) = (path for path in out.rglob("*.png") if not path.is_symlink())
    assert copy.read_bytes() == b"0"


@pytest.mark.usefixtures("cut")
def test_an_image_folder_links_to_every_image(workspace: Workspace, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()  # an empty folder is as good as none
    version = exports.export(workspace, "pets", format="image-folder", folder=out).version
    rows = [json.loads(line) for line in (out / "metadata.jsonl").read_text().splitlines()]
    assert _files(out) == sorted(["metadata.jsonl", "version.json", *(row["file_name"] for row in rows)])
    with workspace.database.read() as session:
        items = versions.items(session, version)
    folders = {"cat": "cat", "../dog": "%2E.%2Fdog"}
    assert [row["file_name"] for row in rows] == [
        f"{item.split}/{folders[item.value]}/{item.sha256}.png" for item in items
    ]
    for row in rows:
        assert (out / row["file_name"]).read_bytes() == Path(row["uri"]).read_bytes()


@pytest.mark.usefixtures("cut")
def test_a_folder_that_holds_something_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    with pytest.raises(ConflictError, match="holds something already"):
        exports.export(workspace, "pets", format="parquet", folder=tmp_path / "out")
    with pytest.raises(ConflictError, match="holds something already"):
        exports.export(workspace, "pets", format="parquet", folder=tmp_path / "out" / "mine.txt")
    assert _files(tmp_path / "out") == ["mine.txt"]


@pytest.mark.usefixtures("cut")
def test_an_image_that_is_gone_stops_the_links_and_leaves_nothing(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "photos" / "0.png").unlink()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InvalidInputError, match=r"1 of 6 images .*0\.png"):
        exports.export(workspace, "pets", format="image-folder", folder=tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.usefixtures("cut")
def test_wrong_requests_are_sentences(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="say parquet or image-folder"):
        exports.export(workspace, "pets", format="coco", folder=tmp_path / "out")
    with pytest.raises(NotFoundError):
        exports.export(workspace, "cars", format="parquet", folder=tmp_path / "out")
    with pytest.raises(InvalidInputError, match="cannot be written"):
        exports.export(workspace, "pets", format="parquet", folder=tmp_path / "photos" / "0.png" / "out")


@pytest.mark.usefixtures("cut")
def test_a_version_that_was_tampered_with_is_not_exported(workspace: Workspace, tmp_path: Path) -> None:
    with workspace.database.write() as session:
        for label in session.scalars(select(schema.Label)):
            label.value = "cat"
    with pytest.raises(IntegrityError):
        exports.export(workspace, "pets", format="parquet", folder=tmp_path / "out")


@pytest.mark.usefixtures("cut")
@pytest.mark.parametrize("format", ["parquet", "image-folder"])
def test_a_killed_export_leaves_nothing_visible_and_the_next_one_works(
    workspace: Workspace, tmp_path: Path, format: str
) -> None:
    out = tmp_path / "out"
    program = (
        "import sys; from pathlib import Path\n"
        "from curation import exports; from store import fail_points; from store.workspace import open_workspace\n"
        "fail_points.arm('export.before_rename')\n"
        "exports.export(open_workspace(Path(sys.argv[1])), 'pets', format=sys.argv[2], folder=Path(sys.argv[3]))\n"
    )
    command: Sequence[str] = [sys.executable, "-c", program, str(workspace.home), format, str(out)]
    assert subprocess.run(command, cwd=Path(__file__).parents[2], check=False).returncode == -9
    assert not out.exists()
    exports.export(workspace, "pets", format=format, folder=out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "out", "photos"]


@pytest.mark.parametrize(
    ("value", "name"),
    [("cat", "cat"), ("défaut 1.5", "défaut 1.5"), ("..", "%2E%2E"), ("a/b", "a%2Fb"), ("a%2Fb", "a%252Fb"), ("", "%")],
)
def test_safe_names_by_hand(value: str, name: str) -> None:
    assert exports.safe_name(value) == name


@given(st.text(max_size=400), st.text(max_size=400))
def test_different_classes_have_different_safe_names(one: str, other: str) -> None:
    assert (exports.safe_name(one) == exports.safe_name(other)) == (one == other)
    name = exports.safe_name(one)
    assert "/" not in name
    assert "\0" not in name
    assert name not in {"", ".", ".."}
    assert len(name.encode()) <= 255


@pytest.mark.usefixtures("cut")
def test_a_file_that_shows_something_else_now_is_not_linked(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "photos" / "3.png").write_bytes(b"another picture")
    with pytest.raises(InvalidInputError, match="1 of 6 images are not where they were"):
        exports.export(workspace, "pets", format="image-folder", folder=tmp_path / "out")
    assert not (tmp_path / "out").exists()
