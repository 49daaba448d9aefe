"""Images in zip and tar files: taken in, read again, and nothing hostile in them does harm."""

import contextlib
import gzip
import io
import os
import tarfile
import tracemalloc
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from sqlalchemy import select

from curation import archives, originals, uris
from curation.ingest import IngestSummary, ingest
from curation.uris import UnreadableError
from store.schema import Image, Quarantined, Sighting
from store.workspace import Workspace


def picture(shade: int, kind: str = "PNG", side: int = 8) -> bytes:
    buffer = io.BytesIO()
    Pillow.new("RGB", (side, side), (shade, 0, 0)).save(buffer, kind)
    return buffer.getvalue()


def noise() -> bytes:
    buffer = io.BytesIO()
    Pillow.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def write_zip(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return path


def write_tar(path: Path, members: list[tuple[str, bytes]]) -> Path:
    mode = {".gz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}.get(path.suffix, "w:")
    with tarfile.open(path, mode) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def measured_ingest(workspace: Workspace, path: Path) -> tuple[IngestSummary, int]:
    """The summary, and the most bytes that Python held on the way."""
    tracemalloc.start()
    try:
        summary = ingest(workspace, [str(path)])
        return summary, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def state(workspace: Workspace) -> dict[str, tuple[bool, bool]]:
    """(current, missing) by uri."""
    with workspace.database.read() as session:
        return {row.uri: (row.current, row.missing) for row in session.scalars(select(Sighting).order_by(Sighting.id))}


def quarantined(workspace: Workspace) -> dict[str, str]:
    with workspace.database.read() as session:
        return {row.uri: row.reason for row in session.scalars(select(Quarantined))}


def contents(workspace: Workspace) -> set[bytes]:
    """The bytes of every image, read from wherever it is."""
    with workspace.database.read() as session:
        return {original.read() for original in originals.find(session)}


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.bz2", "a.TXZ".lower()])
def test_members_are_images_that_can_be_read_again_in_any_order(
    workspace: Workspace, tmp_path: Path, name: str
) -> None:
    members = [
        ("deep/b.png", picture(1)),
        ("a.jpg", picture(2, "JPEG")),
        ("c.dat", picture(3)),
        ("notes.txt", b"hello"),
    ]
    path = (write_zip if name.endswith("zip") else write_tar)(tmp_path / name, members)
    summary = ingest(workspace, [str(path)])
    assert (summary.files, summary.new_images, summary.quarantined) == (3, 3, [])
    assert set(state(workspace)) == {f"{path}!/deep/b.png", f"{path}!/a.jpg", f"{path}!/c.dat"}
    assert contents(workspace) == {data for _, data in members[:3]}
    again = ingest(workspace, [str(path)])
    assert (again.files, again.unchanged, again.new_images) == (3, 3, 0)
    assert set(os.listdir(tmp_path)) == {"home", name}


def test_names_in_archives_are_only_names(workspace: Workspace, tmp_path: Path) -> None:
    names = ["../../x.png", "/etc/y.png", "new\nline.png", "C:\\z.png", "!/odd.png", "wow.zip!/in.png", "画.png"]
    for kind, write in (("zip", write_zip), ("tar", write_tar)):
        path = write(tmp_path / f"a.{kind}", [(name, picture(i)) for i, name in enumerate(names)])
        assert ingest(workspace, [str(path)]).new_sightings == len(names)
        assert {f"{path}!/{name}" for name in names} <= set(state(workspace))
    assert contents(workspace) == {picture(i) for i in range(len(names))}
    assert not (tmp_path.parent / "x.png").exists()


def test_of_two_members_with_one_name_the_last_counts(workspace: Workspace, tmp_path: Path) -> None:
    for kind, write in (("zip", write_zip), ("tar", write_tar)):
        with pytest.warns(UserWarning, match="Duplicate name") if kind == "zip" else contextlib.nullcontext():
            path = write(tmp_path / f"a.{kind}", [("a.png", picture(1)), ("b.png", picture(2)), ("a.png", picture(3))])
        ingest(workspace, [str(path)])
        with workspace.database.read() as session:
            found = {one.uris: one.read() for one in originals.find(session) if f"{path}!/a.png" in one.uris}
        assert list(found.values()) == [picture(3)]


def test_links_are_not_followed(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        link = tarfile.TarInfo("passwd.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        info = tarfile.TarInfo("a.png")
        info.size = len(picture(1))
        archive.addfile(info, io.BytesIO(picture(1)))
    assert ingest(workspace, [str(path)]).files == 1
    zipped = tmp_path / "a.zip"
    with zipfile.ZipFile(zipped, "w") as archive:
        link = zipfile.ZipInfo("passwd.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert ingest(workspace, [str(zipped)]).quarantined == [
        (f"{zipped}!/passwd.png", "it is a link, and links inside archives are not followed")
    ]


def test_an_encrypted_member_is_a_sentence(workspace: Workspace, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", [("a.png", picture(1))])
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x03\x04") + 6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    ((uri, reason),) = ingest(workspace, [str(path)]).quarantined
    assert uri == f"{path}!/a.png"
    assert reason.startswith("it is encrypted: unpack the archive")
    ((_, again),) = ingest(workspace, [str(path)]).quarantined
    assert again == reason


def test_a_member_that_swells_is_read_no_further_than_any_picture(workspace: Workspace, tmp_path: Path) -> None:
    path = write_zip(
        tmp_path / "a.zip", [("bomb.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 30_000_000), ("a.png", picture(1))]
    )
    assert path.stat().st_size < 100_000
    summary = ingest(workspace, [str(path)], max_megapixels=1)
    assert summary.quarantined == [
        (f"{path}!/bomb.png", "over 9 MB, more than the limit of megapixels can need"),
    ]
    assert summary.new_images == 1


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        (zipfile.ZIP_DEFLATED, "the archive is damaged here: Bad CRC-32 for file 'bomb.png'"),
        (zipfile.ZIP_BZIP2, "it is compressed by method 12: pack the archive again with the usual one, deflate"),
        (zipfile.ZIP_LZMA, "it is compressed by method 14: pack the archive again with the usual one, deflate"),
    ],
)
def test_a_member_that_lies_about_its_size_fills_no_memory(
    workspace: Workspace, tmp_path: Path, method: int, reason: str
) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("bomb.png", b"\x89PNG\r\n\x1a\n" + bytes(100_000_000))
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = (1_000_000).to_bytes(4, "little")
    path.write_bytes(data)
    summary, peak = measured_ingest(workspace, path)
    assert summary.quarantined == [(f"{path}!/bomb.png", reason)]
    assert peak < 10_000_000


def test_large_members_wait_for_those_before_them(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 5_000_000
    members = [(f"{i}.png", b"\x89PNG\r\n\x1a\n" + bytes([i]) * size) for i in range(12)]
    path = write_zip(tmp_path / "a.zip", members)
    del members
    monkeypatch.setattr("curation.ingest._MOST_HELD", size // 2)
    summary, peak = measured_ingest(workspace, path)
    assert len(summary.quarantined) == 12
    assert size < peak < 5 * size


def test_a_tar_that_swells_does_not_fill_the_disk(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tar(tmp_path / "a.tar.xz", [("a.png", picture(1)), ("zeros.bin", bytes(4_000_000))])
    ingest(workspace, [str(path)])
    with workspace.database.read() as session:
        (original,) = originals.find(session)
    monkeypatch.setattr(archives, "_SMALLEST_LIMIT", 1_000_000)
    with pytest.raises(UnreadableError, match=r"^the archive decompresses to over 1 MB, 100 times its size$"):
        uris.read(original.uris[0])
    monkeypatch.setattr(archives, "_SMALLEST_LIMIT", 5_000_000)
    assert original.read() == picture(1)


def header(kind: bytes, size: int) -> bytes:
    """The header of a tar's member that says something of the next one, `size` bytes of it."""
    info = tarfile.TarInfo("header")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.USTAR_FORMAT)


def pax(size: int) -> bytes:
    """What a pax header of `size` bytes holds: one word."""
    start = b"%d comment=" % size
    return start + b"x" * (size - len(start) - 1) + b"\n"


def sparse(blocks: int) -> bytes:
    """A sparse member that says in that many further blocks where its bytes are."""
    first = bytearray(header(tarfile.GNUTYPE_SPARSE, 0))
    first[482] = 1
    first[148:156] = b"%06o\0 " % (sum(first[:148]) + sum(first[156:]) + 8 * 32)
    further = b"".join(b"%011o %011o " % (i, 1) for i in range(1, 22)) + b"\1" + bytes(7)
    return bytes(first) + further * blocks


BIG = 20_000_000
BOMBS = {
    "pax": header(tarfile.XHDTYPE, BIG) + pax(BIG),
    "pax for all": b"".join(
        header(tarfile.XGLTYPE, 2**19) + pax(2**19).replace(b"comment", b"%07d" % i) for i in range(9)
    ),
    "pax in a row": (header(tarfile.XHDTYPE, 2**19) + pax(2**19)) * 100,
    "a name": header(tarfile.GNUTYPE_LONGNAME, BIG) + b"n" * BIG,
    "a link": header(tarfile.GNUTYPE_LONGLINK, BIG) + b"n" * BIG,
    "sparse": sparse(BIG // 512),
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_a_header_that_swells_fills_no_memory(workspace: Workspace, tmp_path: Path, name: str, bomb: str) -> None:
    path = write_tar(tmp_path / "whole.tar", [("a.png", picture(1)), ("b.png", picture(2))])
    data = path.read_bytes()
    second = data.index(b"b.png\0")
    data = data[:second] + BOMBS[bomb] + data[second:]
    path = tmp_path / name
    path.write_bytes(gzip.compress(data, 1) if name.endswith("gz") else data)
    tracemalloc.start()
    try:
        summary = ingest(workspace, [str(path)])
        found = contents(workspace)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert summary.quarantined == [(str(path), "the archive is damaged or none: a header is over 1 MB")]
    assert found == {picture(1)}
    assert peak < 15_000_000


def test_what_headers_say_is_not_kept(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for i in range(40):
            info = tarfile.TarInfo(f"{i}.png")
            info.size = len(picture(i))
            info.pax_headers = {"comment": "x" * 1_000_000}
            archive.addfile(info, io.BytesIO(picture(i)))
    tracemalloc.start()
    try:
        ingest(workspace, [str(path)])
        assert len(contents(workspace)) == 40
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 15_000_000


def test_a_compressed_tar_is_decompressed_in_bounded_steps(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar.bz2", [("a.png", picture(1)), ("zeros.bin", bytes(50_000_000))])
    tracemalloc.start()
    try:
        with path.open("rb") as file:
            assert [member.name for member in archives.members(file)] == ["a.png", "zeros.bin"]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000


@pytest.mark.parametrize("bound", [{}, {"_MOST_KEPT": 4}, {"_MOST_SPOOLED": 50_000}, {"_MOST_LISTED": 20}])
def test_archives_read_in_turn_are_decompressed_once_while_they_fit(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: dict[str, int]
) -> None:
    for i in range(8):
        path = write_tar(tmp_path / f"{i}.tar.gz", [(f"{j}.png", picture(8 * j + i)) for j in range(5)])
        ingest(workspace, [str(path)])
    calls = []
    plain = archives._decompressed
    monkeypatch.setattr(archives, "_readers", OrderedDict())
    monkeypatch.setattr(archives, "_decompressed", lambda file: calls.append(1) or plain(file))
    for name, most in bound.items():
        monkeypatch.setattr(archives, name, most)
    assert len(contents(workspace)) == 40
    assert len(archives._readers) == (4 if bound else 8)
    assert len(calls) > 8 if bound else len(calls) == 8


@pytest.mark.parametrize("cut", ["a.zip", "a.tar", "a.tar.gz", "a.tar.xz"])
def test_of_a_truncated_archive_the_whole_members_are_taken(workspace: Workspace, tmp_path: Path, cut: str) -> None:
    members = [("a.png", picture(1)), *((f"{i}.png", noise() + bytes([i])) for i in range(5))]
    path = (write_zip if cut.endswith("zip") else write_tar)(tmp_path / cut, members)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    summary = ingest(workspace, [str(path)])
    assert summary.quarantined
    assert all("archive" in reason for _, reason in summary.quarantined)
    assert (summary.new_images >= 1) == (cut != "a.zip")  # a zip's list of members is at its end
    assert len(contents(workspace)) == summary.new_images
    again = ingest(workspace, [str(path)])
    assert (again.unchanged, again.quarantined) == (summary.new_images, summary.quarantined)
    (write_zip if cut.endswith("zip") else write_tar)(path, members)
    assert ingest(workspace, [str(path)]).quarantined == []
    assert quarantined(workspace) == {}


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.zip", b"hello", "damaged or none"),
        ("a.tar.gz", b"", "damaged or none"),
        ("a.tar", b"x" * 2000, "damaged or none"),
    ],
)
def test_what_is_no_archive_is_quarantined(
    workspace: Workspace, tmp_path: Path, name: str, data: bytes, reason: str
) -> None:
    (tmp_path / name).write_bytes(data)
    ((uri, why),) = ingest(workspace, [str(tmp_path / name)]).quarantined
    assert uri == str(tmp_path / name)
    assert reason in why


def test_an_archive_without_images_says_so(workspace: Workspace, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", [("notes.txt", b"hello")])
    assert ingest(workspace, [str(path)]).quarantined == [(str(path), "the archive holds no images")]


def test_a_tar_that_ends_in_a_zip_is_a_tar(tmp_path: Path) -> None:
    inner = write_zip(tmp_path / "inner.zip", [("b.png", picture(2))]).read_bytes()
    path = write_tar(tmp_path / "a.tar", [("a.png", picture(1)), ("inner.zip", inner)])
    with path.open("rb") as file:
        assert [member.name for member in archives.members(file)] == ["a.png", "inner.zip"]


def test_a_changed_archive_loses_and_gains_members(workspace: Workspace, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", [("a.png", picture(1)), ("b.png", picture(2)), ("c.png", picture(3))])
    ingest(workspace, [str(path)])
    write_zip(path, [("a.png", picture(1)), ("b.png", picture(9))])
    os.utime(path, ns=(1, 1))
    summary = ingest(workspace, [str(path)])
    assert (summary.new_images, summary.missing) == (1, 1)
    found = state(workspace)
    assert found[f"{path}!/c.png"] == (True, True)
    assert found[f"{path}!/a.png"] == (True, False)


def test_archives_in_a_folder_stay_closed_unless_named(workspace: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "x.png").write_bytes(picture(9))
    path = write_zip(folder / "a.zip", [("a.png", picture(1))])
    summary = ingest(workspace, [str(folder)])
    assert (summary.files, summary.notes) == (
        1,
        ["Archives left closed: 1. Name them as sources to take in their images."],
    )
    assert ingest(workspace, [str(folder), str(path)]).new_images == 1
    assert ingest(workspace, [str(folder)]).missing == 0
    path.unlink()
    assert ingest(workspace, [str(folder)]).missing == 1


def test_an_interrupted_archive_goes_on_where_it_was(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from curation import ingest as module

    monkeypatch.setattr(module, "_CHUNK", 2)
    path = write_zip(tmp_path / "a.zip", [(f"{i}.png", picture(i)) for i in range(6)])

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(workspace, [str(path)], on_progress=stop)
    with workspace.database.read() as session:
        assert len(session.scalars(select(Image)).all()) == 2
    summary = ingest(workspace, [str(path)])
    assert (summary.unchanged, summary.new_images) == (2, 4)


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_an_original_in_an_archive_is_copied_once_to_be_a_file(
    workspace: Workspace, tmp_path: Path, write: Callable[[Path, list[tuple[str, bytes]]], Path]
) -> None:
    path = write(tmp_path / "a.zip", [("a.png", picture(1))])
    ingest(workspace, [str(path)])
    with workspace.database.read() as session:
        (original,) = originals.find(session)
    file = original.locate(workspace.originals_dir)
    assert (file.parent, file.read_bytes()) == (workspace.originals_dir, picture(1))
    assert original.exists()
    file.write_bytes(b"damaged")
    assert original.locate(workspace.originals_dir).read_bytes() == picture(1)
    path.unlink()
    assert not original.exists()
    assert original.locate(workspace.originals_dir) == file


def test_details_and_scenes_of_members(workspace: Workspace, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", [("n/a.png", picture(1)), ("s/b.png", picture(2))])
    metadata = tmp_path / "metadata.csv"
    metadata.write_text("uri,shift\na.zip!/n/a.png,3\n")

    def seen(summary: IngestSummary) -> dict[str, tuple[object, str | None]]:
        with workspace.database.read() as session:
            return {row.uri[-5:]: (row.details, row.scene) for row in session.scalars(select(Sighting))}

    assert seen(ingest(workspace, [str(path)])) == {"a.png": ({}, None), "b.png": ({}, None)}
    assert seen(ingest(workspace, [str(path)], metadata=metadata, scene="folder")) == {
        "a.png": ({"shift": 3}, f"{path}!/n"),
        "b.png": ({}, f"{path}!/s"),
    }
