"""Files that went away, came back, cannot be read, or were known before: what a further ingest makes of them."""

import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from sqlalchemy import select, update

from curation import decode, originals, sources, uris
from curation.ingest import ingest
from store.errors import InvalidInputError, NotFoundError
from store.schema import Image, Quarantined, Sighting
from store.workspace import Workspace, open_workspace


def draw(path: Path, shade: int = 0, *, side: int = 8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.new("RGB", (side, side), (shade, 0, 0)).save(path, "PNG")
    return path


def state(workspace: Workspace) -> dict[str, tuple[bool, bool]]:
    """(current, missing) of every sighting, by the name of its file."""
    with workspace.database.read() as session:
        return {Path(row.uri).name: (row.current, row.missing) for row in session.scalars(select(Sighting))}


def quarantined(workspace: Workspace) -> dict[str, str]:
    with workspace.database.read() as session:
        return {Path(row.uri).name: row.reason for row in session.scalars(select(Quarantined))}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three photos."""
    for i, name in enumerate(("a.png", "b.png", "deep/c.png")):
        draw(tmp_path / "photos" / name, i)
    return tmp_path / "photos"


def test_what_went_away_is_missing_until_it_is_back(workspace: Workspace, folder: Path) -> None:
    ingest(workspace, [str(folder)])
    data = (folder / "deep" / "c.png").read_bytes()
    status = (folder / "deep" / "c.png").stat()
    (folder / "deep" / "c.png").unlink()
    summary = ingest(workspace, [str(folder)])
    assert (summary.files, summary.unchanged, summary.missing, summary.quarantined) == (2, 2, 1, [])
    assert state(workspace)["c.png"] == (True, True)
    assert ingest(workspace, [str(folder)]).missing == 0
    (folder / "deep" / "c.png").write_bytes(data)
    os.utime(folder / "deep" / "c.png", ns=(status.st_atime_ns, status.st_mtime_ns))
    summary = ingest(workspace, [str(folder)])
    assert (summary.unchanged, summary.returned) == (3, 1)
    assert state(workspace)["c.png"] == (True, False)


def test_what_comes_back_with_another_time_is_not_missing_either(workspace: Workspace, folder: Path) -> None:
    ingest(workspace, [str(folder)])
    (folder / "b.png").unlink()
    ingest(workspace, [str(folder)])
    draw(folder / "b.png", 1)
    os.utime(folder / "b.png", ns=(7, 7))
    summary = ingest(workspace, [str(folder)])
    assert (summary.new_images, summary.new_sightings) == (0, 0)
    assert state(workspace)["b.png"] == (True, False)


def test_only_what_was_searched_can_be_missing(workspace: Workspace, folder: Path, tmp_path: Path) -> None:
    draw(tmp_path / "photos-2" / "d.png", 5)
    ingest(workspace, [str(folder), str(tmp_path / "photos-2")])
    for path in (folder / "a.png", folder / "b.png", tmp_path / "photos-2" / "d.png"):
        path.unlink()
    draw(folder / "aa.png", 7)
    assert ingest(workspace, [str(folder / "a*.png")]).missing == 1
    assert state(workspace)["b.png"] == (True, False)
    assert ingest(workspace, [str(folder / "deep")]).missing == 0
    assert ingest(workspace, [str(folder)]).missing == 1
    assert state(workspace)["d.png"] == (True, False)


def test_a_file_that_is_passed_over_is_not_missing(workspace: Workspace, folder: Path) -> None:
    path = draw(folder / ".hidden" / "h.png", 9)
    assert ingest(workspace, [str(path)]).new_images == 1
    assert ingest(workspace, [str(folder)]).missing == 0


def test_a_disk_that_is_not_mounted_marks_nothing(workspace: Workspace, folder: Path, tmp_path: Path) -> None:
    ingest(workspace, [str(folder)])
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(NotFoundError, match=r"does not exist\. Nothing was ingested, and nothing marked missing"):
        ingest(workspace, [str(folder)])
    folder.mkdir()
    with pytest.raises(NotFoundError, match=r"No image files in .* nothing marked missing"):
        ingest(workspace, [str(folder)])
    draw(tmp_path / "other" / "x.png", 50)
    summary = ingest(workspace, [str(folder), str(tmp_path / "other"), str(folder / "*.png")])
    assert summary.missing == 0
    assert [note.partition(": ")[0] for note in summary.notes] == [
        f"No images in {folder}/*.png",
        f"No images in {folder}/",
    ]
    assert not any(missing for _, missing in state(workspace).values())


def test_a_file_a_manifest_names_and_that_is_gone(workspace: Workspace, folder: Path) -> None:
    manifest = folder.parent / "photos.csv"
    manifest.write_text("uri\nphotos/a.png\nphotos/b.png\nphotos/none.png\n")
    ingest(workspace, [str(manifest)])
    (folder / "b.png").unlink()
    summary = ingest(workspace, [str(manifest)])
    assert (summary.missing, state(workspace)["b.png"]) == (1, (True, True))
    assert quarantined(workspace) == {"none.png": "the file cannot be read: No such file or directory"}


def test_labels_and_bytes_elsewhere_stay(workspace: Workspace, folder: Path, build: Any) -> None:
    ingest(workspace, [str(folder)])
    draw(folder / "copy.png", 0)
    ingest(workspace, [str(folder)])
    with workspace.database.read() as session:
        image_id = session.scalar(select(Sighting.image_id).where(Sighting.uri == str(folder / "a.png")))
    build.labels({image_id: "cat"})
    (folder / "a.png").unlink()
    ingest(workspace, [str(folder)])
    with workspace.database.read() as session:
        (original,) = originals.find(session, [image_id])
    assert [Path(uri).name for uri in original.uris] == ["copy.png", "a.png"]
    assert original.locate(workspace.originals_dir) == folder / "copy.png"


def test_an_unchanged_collection_costs_a_stat_a_file(
    workspace: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(folder / "noname").rename(folder / "noname.dat")
    ingest(workspace, [str(folder)])
    asked: list[str] = []
    real = os.stat

    def count(path: Any, *arguments: Any, **options: Any) -> os.stat_result:
        asked.append(str(path))
        return real(path, *arguments, **options)

    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("opened")

    monkeypatch.setattr(os, "stat", count)
    monkeypatch.setattr(uris, "read", refuse)
    monkeypatch.setattr(sources, "begins_like_image", refuse)
    assert ingest(workspace, [str(folder)]).unchanged == 4
    inside = sorted(path for path in asked if path.startswith(f"{folder}/"))
    assert inside == sorted(str(path) for path in folder.rglob("*.*"))


def test_what_is_quarantined_and_did_not_change_is_not_decoded_again(
    workspace: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "text.jpg").write_text("hello")
    first = ingest(workspace, [str(folder)])

    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("decoded")

    with monkeypatch.context() as patch:
        patch.setattr(decode, "read", refuse)
        again = ingest(workspace, [str(folder)])
    assert (again.quarantined, again.files) == (first.quarantined, 4)
    draw(folder / "text.jpg", 44)
    assert ingest(workspace, [str(folder)]).quarantined == []
    assert quarantined(workspace) == {}


def test_a_file_that_broke_is_replaced_and_one_that_is_removed_leaves_quarantine(
    workspace: Workspace, folder: Path
) -> None:
    ingest(workspace, [str(folder)])
    (folder / "a.png").write_text("hello")
    assert ingest(workspace, [str(folder)]).missing == 0
    assert (state(workspace)["a.png"], list(quarantined(workspace))) == ((False, False), ["a.png"])
    (folder / "a.png").unlink()
    ingest(workspace, [str(folder)])
    assert quarantined(workspace) == {}


def test_a_larger_limit_tries_again(workspace: Workspace, folder: Path) -> None:
    draw(folder / "large.png", side=1200)
    ((_, reason),) = ingest(workspace, [str(folder)], max_megapixels=1).quarantined
    assert "1200 × 1200 pixels are over the limit of 1 megapixels" in reason
    assert len(ingest(workspace, [str(folder)]).quarantined) == 1
    summary = ingest(workspace, [str(folder)], max_megapixels=2)
    assert (summary.new_images, summary.quarantined, summary.unchanged) == (1, [], 3)


def test_a_file_that_cannot_be_read_now_is_tried_again(workspace: Workspace, folder: Path) -> None:
    (folder / "bad.png").symlink_to("/proc/self/mem")  # regular, and every read of its beginning fails
    (folder / "loop.png").symlink_to(folder / "loop.png")
    assert ingest(workspace, [str(folder)]).new_images == 3
    assert quarantined(workspace) == {
        "bad.png": "the file cannot be read: Input/output error",
        "loop.png": "the file cannot be read: Too many levels of symbolic links",
    }
    for name in ("bad.png", "loop.png"):
        (folder / name).unlink()
        draw(folder / name, 77)
    ingest(workspace, [str(folder)])
    assert quarantined(workspace) == {}


def test_what_is_no_file_is_never_opened(workspace: Workspace, folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    os.mkfifo(folder / "pipe.png")
    (folder / "null.png").symlink_to("/dev/null")
    (folder / "folder.png").symlink_to(folder / "deep")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "s.png"))
        ingest(workspace, [str(folder)])
    assert quarantined(workspace) == dict.fromkeys(("pipe.png", "null.png", "s.png"), "not a regular file")
    assert ingest(workspace, [str(folder / "pi*")]).quarantined == [
        (str(folder / name), "not a regular file") for name in ("pipe", "pipe.png")
    ]


def test_a_file_that_changes_while_it_is_read(
    workspace: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fstat

    def grow(descriptor: int) -> os.stat_result:
        status = real(descriptor)
        if os.readlink(f"/proc/self/fd/{descriptor}") == str(folder / "a.png"):
            with (folder / "a.png").open("ab") as file:
                file.write(b"more")
        return status

    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", grow)
        ingest(workspace, [str(folder)])
    assert quarantined(workspace) == {"a.png": "the file changed while it was read: ingest it again"}
    ingest(workspace, [str(folder)])
    assert quarantined(workspace) == {}


def test_a_file_that_vanishes_before_it_is_read(
    workspace: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = uris.read

    def vanish(uri: str, **options: Any) -> Any:
        Path(uri).unlink(missing_ok=True)
        return real(uri, **options)

    monkeypatch.setattr(uris, "read", vanish)
    summary = ingest(workspace, [str(folder)])
    assert (summary.new_images, len(summary.quarantined)) == (0, 3)
    assert set(quarantined(workspace).values()) == {"the file cannot be read: No such file or directory"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_folders_and_files_without_permission(workspace: Workspace, folder: Path) -> None:
    ingest(workspace, [str(folder)])
    (folder / "deep").chmod(0)
    (folder / "b.png").chmod(0)
    os.utime(folder / "b.png", ns=(5, 5))
    try:
        assert ingest(workspace, [str(folder)]).missing == 1
    finally:
        (folder / "deep").chmod(0o755)
        (folder / "b.png").chmod(0o644)
    assert quarantined(workspace) == {
        "deep": "the folder cannot be read: Permission denied",
        "b.png": "the file cannot be read: Permission denied",
    }
    assert ingest(workspace, [str(folder)]).unchanged == 2
    assert quarantined(workspace) == {}


def test_a_folder_that_cannot_be_read_is_said_and_marks_nothing(
    workspace: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(workspace, [str(folder)])
    real = os.scandir

    def refuse(path: str) -> Any:
        if path == str(folder / "deep"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        summary = ingest(workspace, [str(folder)])
    assert (summary.missing, summary.quarantined) == (
        0,
        [(str(folder / "deep"), "the folder cannot be read: Permission denied")],
    )
    ingest(workspace, [str(folder)])
    assert quarantined(workspace) == {}


def test_the_workspace_inside_a_source_is_passed_over(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    workspace = open_workspace(tmp_path / "winnow-data")
    assert ingest(workspace, [str(tmp_path)]).new_images == 1
    assert list(workspace.thumbnails_dir.iterdir())
    assert ingest(workspace, [str(tmp_path)]).files == 1


def test_images_of_an_older_catalog_get_their_quality(workspace: Workspace, folder: Path) -> None:
    ingest(workspace, [str(folder)])
    with workspace.database.write() as session:
        session.execute(update(Image).values(dhash=None, sharpness=None, entropy=None))
    summary = ingest(workspace, [str(folder)])
    assert (summary.new_images, summary.new_sightings, summary.files) == (0, 0, 3)
    with workspace.database.read() as session:
        assert all(image.dhash and image.sharpness is not None for image in session.scalars(select(Image)))
    assert ingest(workspace, [str(folder)]).unchanged == 3


def test_thumbnails_come_from_the_same_decode(workspace: Workspace, tmp_path: Path) -> None:
    from api import image_files

    draw(tmp_path / "photos" / "a.png", 200, side=400)
    ingest(workspace, [str(tmp_path / "photos")])
    with workspace.database.read() as session:
        image_id = originals.find(session)[0].image_id
    (made,) = workspace.thumbnails_dir.iterdir()
    (tmp_path / "photos" / "a.png").unlink()
    assert image_files.thumbnail(workspace, image_id, size=192) == made
    with Pillow.open(made) as thumbnail:
        assert (thumbnail.format, thumbnail.size) == ("JPEG", (192, 192))


@pytest.mark.parametrize(
    ("scene", "scenes"),
    [
        ("folder", {"a.png": "photos", "b.png": "photos", "c.png": "photos/deep"}),
        ("column:site id", {"a.png": "7", "b.png": "north", "c.png": None}),
        (r"/([abc])\.png", {"a.png": "a", "b.png": "b", "c.png": "c"}),
        (r"photos/deep", {"a.png": None, "b.png": None, "c.png": "photos/deep"}),
    ],
)
def test_what_makes_a_scene(workspace: Workspace, folder: Path, scene: str, scenes: dict[str, str | None]) -> None:
    metadata = folder.parent / "metadata.jsonl"
    metadata.write_text('{"uri": "photos/a.png", "site id": 7}\n{"uri": "photos/b.png", "site id": "north"}\n')
    for _ in range(2):  # also of files that are known already
        ingest(workspace, [str(folder)], metadata=metadata, scene=scene)
        with workspace.database.read() as session:
            found = {Path(row.uri).name: row.scene for row in session.scalars(select(Sighting))}
        expected = {name: f"{folder.parent}/{one}" if scene == "folder" else one for name, one in scenes.items()}
        assert found == expected


def test_a_scene_column_nobody_has(workspace: Workspace, folder: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"No manifest has a column 'site'.*there are: none"):
        ingest(workspace, [str(folder)], scene="column:site")


def test_a_folder_inside_another_is_searched_once(workspace: Workspace, folder: Path) -> None:
    summary = ingest(workspace, [str(folder / "deep"), str(folder), str(folder / "*.png"), str(folder / "a.png")])
    assert (summary.files, summary.new_sightings) == (3, 3)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rounds=st.lists(st.dictionaries(st.sampled_from("abcd"), st.integers(0, 3)), min_size=1, max_size=4))
def test_the_catalog_follows_any_history_of_a_folder(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[dict[str, int]]
) -> None:
    """After each round: a sighting is current and there exactly where the file has that content."""
    root = tmp_path_factory.mktemp("history")
    workspace, folder = open_workspace(root / "home"), root / "photos"
    draw(folder / "always.png", 255)
    ever: dict[str, int] = {}
    for moment, files in enumerate(rounds):
        for name in "abcd":
            path = folder / f"{name}.png"
            path.unlink(missing_ok=True)
            if name in files:
                os.utime(draw(path, files[name]), ns=(moment, moment))
        ever |= files
        ingest(workspace, [str(folder)])
        with workspace.database.read() as session:
            rows = session.execute(
                select(Sighting.uri, Sighting.missing, Image.sha256).join(Image).where(Sighting.current)
            ).all()
        shown = {Path(uri).stem: missing for uri, missing, _ in rows}
        assert shown == {"always": False} | {name: name not in files for name in ever}
        for uri, missing, sha256 in rows:
            if not missing:
                assert decode.read(Path(uri).read_bytes()).fingerprint.sha256 == sha256


def test_many_mutated_files_are_in_the_catalog_or_in_quarantine(workspace: Workspace, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    folder = tmp_path / "photos"
    folder.mkdir()
    photo = Pillow.fromarray(generator.integers(0, 256, (24, 32, 3), dtype=np.uint8))
    for i in range(240):
        path = folder / f"{i}.{('png', 'jpg', 'webp', 'gif', 'tiff', 'bmp')[i % 6]}"
        photo.save(path)
        data = bytearray(path.read_bytes())
        for position in generator.integers(0, len(data), 1 + i % 5):
            data[position] = generator.integers(0, 256)
        path.write_bytes(data[: generator.integers(0, len(data) + 1)] if i % 4 == 0 else data)
    summary = ingest(workspace, [str(folder)])
    assert summary.files == 240
    assert len(state(workspace)) + len(quarantined(workspace)) == 240
