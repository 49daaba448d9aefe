"""`ingest`, `images` and `quarantine`: what they print for programs and for people, and the same over HTTP."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow
from typer.testing import CliRunner

from api.cli.main import app
from store.workspace import Workspace


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three photos from flat to busy, and a file that is none."""
    photos = tmp_path / "photos"
    photos.mkdir()
    Pillow.new("RGB", (64, 48), (200, 0, 0)).save(photos / "a.png")
    Pillow.linear_gradient("L").save(photos / "b.png")
    exif = Pillow.Exif()
    exif.get_ifd(0x8769)[0x9003] = "2026:05:01 12:30:00"
    Pillow.effect_noise((64, 48), 80).save(photos / "c.jpg", exif=exif)
    (photos / "two\nlines.jpg").write_text("hello")
    return photos


def run(workspace: Workspace, *arguments: str) -> Any:
    result = CliRunner().invoke(app, ["--home", str(workspace.home), *arguments])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout) if "--json" in arguments else result.stdout


def test_ingest_says_what_it_did(workspace: Workspace, folder: Path) -> None:
    text = run(workspace, "ingest", str(folder))
    first, second = text.splitlines()
    assert first == "4 files: 3 new images, 3 new sightings, 0 unchanged, 0 now missing, 1 quarantined."
    assert second.startswith(f"  {folder}/two\\nlines.jpg: the file is not an image")
    (folder / "a.png").rename(folder / "a.bak")
    document = run(workspace, "ingest", str(folder), "--json")
    assert (document["missing"], document["unchanged"], document["new_sightings"]) == (1, 2, 1)
    assert [one["uri"] for one in document["quarantined"]] == [str(folder / "two\nlines.jpg")]
    listed = run(workspace, "images", "quarantine", "list").splitlines()
    assert (len(listed), "two\\nlines.jpg" in listed[1]) == (2, True)


def test_images_are_chosen_and_sorted(workspace: Workspace, folder: Path) -> None:
    run(workspace, "ingest", str(folder))
    (folder / "b.png").unlink()
    run(workspace, "ingest", str(folder))

    def names(*options: str) -> list[str]:
        images = run(workspace, "images", "list", "--json", *options)["images"]
        return [Path(image["uris"][0]).name for image in images]

    assert names() == ["a.png", "b.png", "c.jpg"]
    entropies = [one["entropy"] for one in run(workspace, "images", "list", "--json", "--sort", "entropy")["images"]]
    assert entropies == sorted(entropies)
    assert len(set(entropies)) == 3
    assert names("--sort", "-entropy") == names("--sort", "entropy")[::-1]
    assert names("--where", "missing") == ["b.png"]
    assert names("--where", 'format == "JPEG" and captured_at > "2026-01-01"') == ["c.jpg"]
    result = CliRunner().invoke(app, ["--home", str(workspace.home), "images", "list", "--sort", "beauty"])
    assert "cannot be sorted by 'beauty', but by: id, sha256" in str(result.exception)


def test_a_picture_is_shown_where_it_is_present(workspace: Workspace, folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved" / "x.png"
    moved.parent.mkdir()
    moved.write_bytes((folder / "a.png").read_bytes())
    (tmp_path / "moved" / "y.png").write_bytes((folder / "b.png").read_bytes())
    run(workspace, "ingest", str(folder), "--source", "first")
    run(workspace, "ingest", str(moved.parent), "--source", "moved")
    moved.unlink()
    run(workspace, "ingest", str(moved.parent))
    (image,) = run(workspace, "images", "list", "--json", "--where", 'matches(uri, "*a.png")')["images"]
    assert (image["uris"], image["source"], image["status"]) == ([str(folder / "a.png")], "first", "present")
    shown = run(workspace, "images", "list", "--json", "--where", "source == 'moved'")["images"]
    assert [one["uris"][0] for one in shown] == [str(tmp_path / "moved" / "y.png")]
    (folder / "a.png").unlink()
    run(workspace, "ingest", str(folder))
    (image,) = run(workspace, "images", "list", "--json", "--where", "source == 'moved' and missing")["images"]
    assert (set(image["uris"]), image["status"]) == ({str(folder / "a.png"), str(moved)}, "missing")


def test_sorted_pages_are_the_whole_in_order(workspace: Workspace, client: Any, build: Any) -> None:
    from sqlalchemy import select

    from store.schema import Image

    build.images(23)
    with workspace.database.write() as session:
        for image in session.scalars(select(Image)):
            image.sharpness = [0.5, 1.5, None, 1.5][image.id % 4]
    for sort in ("sharpness", "-sharpness", "-id", "captured_at"):
        whole = client.get("/v1/images", params={"sort": sort, "limit": 1000}).json()["images"]
        pages: list[dict[str, Any]] = []
        after = 0
        while after is not None:
            page = client.get("/v1/images", params={"sort": sort, "limit": 5, "after": after}).json()
            pages += page["images"]
            after = page["next"]
        assert pages == whole
        assert len(whole) == 23
    values = [one["sharpness"] for one in client.get("/v1/images?sort=-sharpness").json()["images"]]
    assert values == [1.5] * 12 + [0.5] * 5 + [None] * 6


def test_an_image_is_shown_with_its_quality_and_capture_data(workspace: Workspace, folder: Path) -> None:
    run(workspace, "ingest", str(folder), "--source", "line 3", "--scene", "folder")
    (image,) = run(workspace, "images", "list", "--json", "--where", 'format == "JPEG"')["images"]
    assert image["captured_at"] == "2026-05-01T12:30:00+00:00"
    assert {"sharpness", "exposure", "entropy", "latitude", "longitude", "note", "bytes"} <= set(image)
    (folder / "c.jpg").unlink()
    run(workspace, "ingest", str(folder))
    text = run(workspace, "images", "show", str(image["id"]))
    assert "captured_at: 2026-05-01T12:30:00+00:00" in text
    assert "status: missing" in text
    assert f"seen at {folder}/c.jpg (line 3, scene {folder}, missing)" in text


def test_the_same_over_http(workspace: Workspace, folder: Path, client: Any) -> None:
    run(workspace, "ingest", str(folder))
    for url, command in (
        (
            "/v1/images?where=width%20%3D%3D%2064&sort=-entropy",
            ("list", "--where", "width == 64", "--sort", "-entropy"),
        ),
        ("/v1/images/1", ("show", "1")),
        ("/v1/quarantine", ("quarantine", "list")),
    ):
        assert client.get(url).json() == run(workspace, "images", *command, "--json")
    assert client.get("/v1/images/99").status_code == 404
    assert client.get("/v1/images?where=width").status_code == 422
