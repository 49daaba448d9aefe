"""Files into the catalog, by way of the sources a user may name."""

import json
import os
import subprocess
import zipfile
from pathlib import Path

import pillow_heif
import pytest
from PIL import Image as Pillow
from sqlalchemy import select

from curation import decode, sources
from curation.ingest import ingest, source_of
from curation.originals import find
from store.errors import InvalidInputError, NotFoundError
from store.schema import Image, Quarantined, Sighting
from store.workspace import Workspace


def draw(path: Path, shade: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.new("RGB", (8, 8), (shade, 0, 0)).save(path)
    return path


def sightings(workspace: Workspace) -> list[Sighting]:
    with workspace.database.read() as session:
        return list(session.scalars(select(Sighting).order_by(Sighting.uri)))


def quarantined(workspace: Workspace) -> dict[str, str]:
    with workspace.database.read() as session:
        return {Path(row.uri).name: row.reason for row in session.scalars(select(Quarantined))}


def test_one_content_is_one_image_with_two_sightings(workspace: Workspace, tmp_path: Path) -> None:
    draw(tmp_path / "photos" / "a.png")
    draw(tmp_path / "photos" / "deep" / "b.png")
    draw(tmp_path / "photos" / "c.png", shade=9)
    summary = ingest(workspace, [str(tmp_path / "photos")])
    assert (summary.files, summary.new_images, summary.new_sightings) == (3, 2, 3)
    again = ingest(workspace, [str(tmp_path / "photos")])
    assert (again.new_images, again.new_sightings, again.unchanged) == (0, 0, 3)


def test_a_changed_file_is_another_image(workspace: Workspace, tmp_path: Path) -> None:
    path = draw(tmp_path / "photos" / "a.png", shade=1)
    ingest(workspace, [str(tmp_path / "photos")])
    draw(path, shade=2)
    os.utime(path, ns=(1, 1))
    assert ingest(workspace, [str(tmp_path / "photos")]).new_images == 1
    assert [row.current for row in sightings(workspace)] == [False, True]
    with workspace.database.read() as session:
        assert [len(original.uris) for original in find(session)] in ([0, 1], [1, 0])


def test_broken_files_are_quarantined_until_they_are_mended(workspace: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    draw(folder / "whole.png")
    Pillow.effect_noise((64, 64), 50).save(tmp_path / "noise.png")
    (folder / "empty.png").write_bytes(b"")
    (folder / "cut.png").write_bytes((tmp_path / "noise.png").read_bytes()[:2000])
    (folder / "text.jpg").write_text("hello")
    (folder / "gone.png").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "pipe.png")
    os.symlink(folder, folder / "loop")
    (folder / "notes.txt").write_text("not meant to be an image")
    summary = ingest(workspace, [str(folder)])
    assert summary.new_images == 1
    reasons = quarantined(workspace)
    assert reasons == {
        "empty.png": "the file is empty",
        "cut.png": reasons["cut.png"],
        "text.jpg": "the file is not an image in a known format",
        "gone.png": "the file cannot be read: No such file or directory",
        "pipe.png": "not a regular file",
    }
    assert "damaged" in reasons["cut.png"]
    draw(folder / "empty.png", shade=5)
    ingest(workspace, [str(folder)])
    assert "empty.png" not in quarantined(workspace)


def test_an_image_without_its_suffix_is_found(workspace: Workspace, tmp_path: Path) -> None:
    draw(tmp_path / "photos" / "a.png").rename(tmp_path / "photos" / "a.dat")
    assert ingest(workspace, [str(tmp_path / "photos")]).new_images == 1


@pytest.mark.parametrize("name", ["new\nline.png", "spaß 画.png", "<b>'\";--.png", "-rf.png"])
def test_hostile_names_are_names(workspace: Workspace, tmp_path: Path, name: str) -> None:
    path = draw(tmp_path / "photos" / name)
    assert ingest(workspace, [str(tmp_path / "photos")]).new_images == 1
    assert [row.uri for row in sightings(workspace)] == [str(path)]


def test_a_name_that_is_no_utf8_is_quarantined(workspace: Workspace, tmp_path: Path) -> None:
    path = draw(tmp_path / "photos" / "a.png")
    os.rename(os.fsencode(path), os.fsencode(path.parent) + b"/\xff.png")
    summary = ingest(workspace, [str(tmp_path / "photos")])
    assert summary.quarantined == [(str(path.parent) + "/\\xff.png", "the file name is not UTF-8: rename it")]


def test_globs_and_single_files(workspace: Workspace, tmp_path: Path) -> None:
    draw(tmp_path / "a1.png", shade=1)
    draw(tmp_path / "a2.png", shade=2)
    draw(tmp_path / "b.png", shade=3)
    assert ingest(workspace, [str(tmp_path / "a*.png")]).new_images == 2
    assert ingest(workspace, [str(tmp_path / "b.png")]).new_images == 1


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_manifest_gives_typed_details(workspace: Workspace, tmp_path: Path, suffix: str) -> None:
    import pandas

    path = draw(tmp_path / "a.png")
    rows = pandas.DataFrame([{"uri": "a.png", "line": 3, "ok": True, "site": "north", "empty": None, "scene": "s1"}])
    manifest = tmp_path / f"photos.{suffix}"
    if suffix == "csv":
        rows.to_csv(manifest, index=False)
    elif suffix == "jsonl":
        rows.to_json(manifest, lines=True, orient="records")
    else:
        rows.to_parquet(manifest)
    ingest(workspace, [str(manifest)], source="factory")
    (found,) = sightings(workspace)
    assert (found.uri, found.source, found.scene) == (str(path), "factory", "s1")
    assert found.details == {"line": 3, "ok": True, "site": "north"}


def test_metadata_describes_what_a_folder_brings_in_even_later(workspace: Workspace, tmp_path: Path) -> None:
    draw(tmp_path / "photos" / "a.png")
    ingest(workspace, [str(tmp_path / "photos")])
    metadata = tmp_path / "metadata.jsonl"
    metadata.write_text(json.dumps({"uri": "photos/a.png", "shift": 2}) + "\n")
    summary = ingest(workspace, [str(tmp_path / "photos")], metadata=metadata)
    assert (summary.unchanged, sightings(workspace)[0].details) == (1, {"shift": 2})


def test_a_pattern_finds_scenes(workspace: Workspace, tmp_path: Path) -> None:
    draw(tmp_path / "burst-7" / "a.png", shade=1)
    draw(tmp_path / "burst-8" / "a.png", shade=2)
    ingest(workspace, [str(tmp_path)], scene=r"(burst-\d+)")
    assert [row.scene for row in sightings(workspace)] == ["burst-7", "burst-8"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("path\na.png\n", "needs a column `uri`; it has: path"),
        ("", "cannot be read: it is empty"),
        ("uri,x\n,1\n", "1 of 1 rows"),
        ("uri,x\na.png,1\nb.png,1,2\n", "cannot be read: line 3 has 3 values, and the first line names 2 columns"),
        ("uri,x\na.png,1,2\nb.png,1\n", "cannot be read: line 2 has 3 values, and the first line names 2 columns"),
        ("uri;x\na.png;1,5\n", "cannot be read: its values seem to be separated by ';', and have to be by commas"),
        ("uri\tx\na.png\t1\n", r"separated by '\\t', and have to be by commas"),
        ("uri,x,uri\na.png,1,b.png\n", "cannot be read: it has 2 columns `uri`"),
        ("uri,scene,scene\na.png,1,2\n", "cannot be read: it has 2 columns `scene`"),
    ],
)
def test_a_wrong_manifest_is_one_sentence(workspace: Workspace, tmp_path: Path, content: str, complaint: str) -> None:
    (tmp_path / "photos.csv").write_text(content)
    with pytest.raises(InvalidInputError, match=complaint):
        ingest(workspace, [str(tmp_path / "photos.csv")])


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{uri}", "cannot be read: line 3, column 2: Expecting property name"),
        ('["a.png"]', "cannot be read: line 3 is no JSON object"),
        ('{"uri": "a.png", "n": ' + "1" * 5000 + "}", "cannot be read: line 3: Exceeds the limit"),
    ],
)
def test_a_wrong_line_is_named(workspace: Workspace, tmp_path: Path, line: str, complaint: str) -> None:
    (tmp_path / "photos.jsonl").write_text(f'{{"uri": "b.png"}}\n\n{line}\n{{"uri": "c.png"}}\n')
    with pytest.raises(InvalidInputError, match=complaint):
        ingest(workspace, [str(tmp_path / "photos.jsonl")])


@pytest.mark.parametrize("named", [True, False])
def test_a_folder_gives_every_format_that_can_be_decoded(workspace: Workspace, tmp_path: Path, named: bool) -> None:
    suffixes = {"JPEG": "jpg", "TIFF": "tif", "JPEG2000": "jp2", "HEIF": "heic"}
    formats = [name for name, *_ in decode._FORMATS]
    for i, name in enumerate(formats):
        suffix = suffixes.get(name, name.lower())
        picture = Pillow.new("RGB", (16, 16), (10 * i, 0, 0))
        (pillow_heif.from_pillow(picture) if name == "HEIF" else picture).save(tmp_path / f"{i}.{suffix}")
        if not named:
            (tmp_path / f"{i}.{suffix}").rename(tmp_path / f"{i}")
    Pillow.new("RGB", (16, 16)).save(tmp_path / "t.tga")
    summary = ingest(workspace, [str(tmp_path)])
    with workspace.database.read() as session:
        assert set(session.scalars(select(Image.format))) == set(formats)
    assert (summary.files, summary.quarantined) == (len(formats), [])
    assert all(sources.may_be_image(f"a.{suffixes.get(name, name.lower())}") for name in formats)


def test_a_folder_without_images_and_one_that_is_not_there(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(NotFoundError, match=r"No image files in .*Nothing was ingested"):
        ingest(workspace, [str(tmp_path)])
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("a.png", draw(tmp_path / "elsewhere.png").read_bytes())
    (tmp_path / "elsewhere.png").unlink()
    with pytest.raises(NotFoundError, match=r"nothing marked missing\. Archives left closed: 1\. Name them as sources"):
        ingest(workspace, [str(tmp_path)])
    with pytest.raises(NotFoundError, match="does not exist"):
        ingest(workspace, [str(tmp_path / "nowhere")])
    with pytest.raises(InvalidInputError, match="not a regular expression"):
        ingest(workspace, [str(tmp_path)], scene="(")


def test_nothing_is_half_written(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from curation import ingest as module

    monkeypatch.setattr(module, "_CHUNK", 1)
    for shade in range(3):
        draw(tmp_path / f"{shade}.png", shade=shade)

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(workspace, [str(tmp_path)], on_progress=stop)
    with workspace.database.read() as session:
        assert len(session.scalars(select(Image)).all()) == 2
    assert ingest(workspace, [str(tmp_path)]).new_images == 1


def test_a_touched_file_keeps_its_scene_and_details(workspace: Workspace, tmp_path: Path) -> None:
    path = draw(tmp_path / "photos" / "a.png")
    metadata = tmp_path / "metadata.csv"
    metadata.write_text("uri,scene,shift\nphotos/a.png,007,2\nphotos/b.png,,3\n")
    ingest(workspace, [str(tmp_path / "photos")], metadata=metadata)
    os.utime(path, ns=(5, 5))
    ingest(workspace, [str(tmp_path / "photos")])
    (found,) = sightings(workspace)
    assert (found.scene, found.details) == ("007", {"shift": 2})


def test_another_picture_at_a_place_keeps_what_is_said_of_the_place(workspace: Workspace, tmp_path: Path) -> None:
    path = draw(tmp_path / "photos" / "a.png", shade=1)
    metadata = tmp_path / "metadata.csv"
    metadata.write_text("uri,scene,shift\nphotos/a.png,007,2\n")
    ingest(workspace, [str(path)], source="line", metadata=metadata)
    for moment, shade in enumerate([2, 3, 1]):
        draw(path, shade=shade)
        os.utime(path, ns=(moment, moment))
        if shade == 3:
            metadata.write_text("uri,scene,shift\nphotos/a.png,008,3\n")
        ingest(workspace, [str(path)], metadata=metadata if shade == 3 else None)
        (found,) = [row for row in sightings(workspace) if row.current]
        said = ("007", {"shift": 2}) if shade == 2 else ("008", {"shift": 3})
        assert (found.source, found.scene, found.details) == ("line", *said)


@pytest.mark.parametrize("place", [".", "./", "../photos", "deep/..", "file://{}", "{}/"])
def test_a_folder_gives_the_source_its_name(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    draw(tmp_path / "photos" / "deep" / "a.png")
    monkeypatch.chdir(tmp_path / "photos")
    ingest(workspace, [place.format(tmp_path / "photos")])
    assert [row.source for row in sightings(workspace)] == ["photos"]


@pytest.mark.parametrize(
    ("location", "name"),
    [("s3://bucket", "bucket"), ("s3://bucket/", "bucket"), ("https://host/deep/photos/", "photos"), ("/", "/")],
)
def test_any_location_gives_a_name(location: str, name: str) -> None:
    assert source_of(location) == name


def test_a_manifest_and_its_folder_may_be_named_in_any_order(workspace: Workspace, tmp_path: Path) -> None:
    draw(tmp_path / "photos" / "a.png")
    manifest = tmp_path / "photos.csv"
    manifest.write_text("uri,shift\nphotos/a.png,2\n")
    ingest(workspace, [str(manifest), str(tmp_path / "photos")])
    assert sightings(workspace)[0].details == {"shift": 2}


@pytest.mark.parametrize("tail", [",", ""])
def test_trailing_commas_shift_no_column(workspace: Workspace, tmp_path: Path, tail: str) -> None:
    draw(tmp_path / "a.png")
    (tmp_path / "photos.csv").write_text(f"uri,scene\na.png,s1{tail}\n")
    ingest(workspace, [str(tmp_path / "photos.csv")])
    assert [(Path(row.uri).name, row.scene) for row in sightings(workspace)] == [("a.png", "s1")]


def test_rows_longer_than_the_header_are_refused(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "photos.csv").write_text("uri,scene\na.png,s1,more\n")
    with pytest.raises(InvalidInputError, match=r"cannot be read: line 2 has 3 values"):
        ingest(workspace, [str(tmp_path / "photos.csv")])


def test_a_source_is_what_the_user_named_last(workspace: Workspace, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    draw(photos / "a.png", shade=1)
    draw(photos / "b.png", shade=2)

    def filed() -> dict[str, str]:
        return {Path(row.uri).name: row.source for row in sightings(workspace) if row.current}

    ingest(workspace, [str(photos)])
    assert filed() == {"a.png": "photos", "b.png": "photos"}
    ingest(workspace, [str(photos)], source="line-3")
    assert filed() == {"a.png": "line-3", "b.png": "line-3"}
    draw(photos / "b.png", shade=200).write_bytes(draw(tmp_path / "other.png", shade=3).read_bytes() + b" ")
    assert ingest(workspace, [str(photos)]).new_images == 1
    assert filed() == {"a.png": "line-3", "b.png": "line-3"}


def test_an_empty_source_is_not_this_folder(workspace: Workspace) -> None:
    with pytest.raises(InvalidInputError, match="A source is empty"):
        ingest(workspace, [""])


def test_values_of_a_manifest_are_kept_exactly(workspace: Workspace, tmp_path: Path) -> None:
    """Sixteen digits, whole numbers beyond a float's, a day; and a column that one row lacks."""
    import pandas

    for name, shade in (("a.png", 1), ("b.png", 2)):
        draw(tmp_path / name, shade=shade)
    lines = [
        '{"uri": "a.png", "gain": 0.123456789012345, "serial": 9007199254740993}',
        '{"uri": "b.png", "day": "2026"}',
    ]
    (tmp_path / "one.jsonl").write_text("\n".join(lines))
    (tmp_path / "two.csv").write_text("uri,gain,serial\na.png,0.123456789012345,9007199254740993\nb.png,,\n")
    rows = {
        "uri": ["a.png", "b.png"],
        "gain": [0.123456789012345, None],
        "serial": pandas.array([9007199254740993, None], dtype="Int64"),
    }
    pandas.DataFrame(rows).to_parquet(tmp_path / "three.parquet")
    for manifest in ("one.jsonl", "two.csv", "three.parquet"):
        ingest(workspace, [str(tmp_path / manifest)])
        details = {Path(row.uri).name: row.details for row in sightings(workspace)}
        assert details["a.png"] == {"gain": 0.123456789012345, "serial": 9007199254740993}


def test_bytes_in_a_manifest_are_refused(workspace: Workspace, tmp_path: Path) -> None:
    import pandas

    pandas.DataFrame({"uri": ["a.png"], "raw": [b"\xff"]}).to_parquet(tmp_path / "photos.parquet")
    with pytest.raises(InvalidInputError, match=r"The column raw of the manifest .* holds bytes"):
        ingest(workspace, [str(tmp_path / "photos.parquet")])


def test_a_folder_however_deep_is_searched(workspace: Workspace, tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=here)
        here, above = os.open("d", os.O_RDONLY, dir_fd=here), here
        os.close(above)
    os.close(here)
    draw(tmp_path / "a.png")
    draw(tmp_path / "d" / "d" / "b.png", shade=3)
    try:
        assert ingest(workspace, [str(tmp_path)]).new_images == 2
    finally:
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)  # too deep for pytest to clear away
