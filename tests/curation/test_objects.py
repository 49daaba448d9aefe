"""Images behind URLs: a local S3 server, and fsspec's memory."""

import io
import logging
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import fsspec
import httpx
import pytest
from PIL import Image as Pillow
from sqlalchemy import select

from curation import objects, originals, servers, uris
from curation.ingest import ingest
from store.errors import InvalidInputError, NotFoundError, RemoteError
from store.schema import Sighting
from store.workspace import Workspace

SECRET = "VerySecretKey0123456789"
_SOMEONE = {  # moto wants to see a signature, whatever it is
    "Authorization": "AWS4-HMAC-SHA256 Credential=A/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
}


def picture(shade: int) -> bytes:
    buffer = io.BytesIO()
    Pillow.new("RGB", (8, 8), (shade, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An S3 server of our own."""
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    server = servers.start("moto", command, log=tmp_path_factory.mktemp("moto") / "moto.log", timeout_s=120)
    yield f"http://127.0.0.1:{server.port}"
    server.stop()


class Bucket:
    """Puts objects into a bucket."""

    def __init__(self, url: str) -> None:
        self.url = url
        httpx.put(self.url, headers=_SOMEONE).raise_for_status()

    def put(self, key: str, data: bytes) -> None:
        httpx.put(f"{self.url}/{quote(key)}", content=data, headers=_SOMEONE).raise_for_status()

    def delete(self, key: str) -> None:
        httpx.delete(f"{self.url}/{quote(key)}", headers=_SOMEONE).raise_for_status()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Bucket]:
    """A bucket named photos, and the environment that leads to it."""
    httpx.post(f"{endpoint}/moto-api/reset").raise_for_status()
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    objects.forget_connections()
    yield Bucket(f"{endpoint}/photos")
    objects.forget_connections()


def state(workspace: Workspace) -> dict[str, bool]:
    """Missing or not, by uri, of what is current."""
    with workspace.database.read() as session:
        return {row.uri: row.missing for row in session.scalars(select(Sighting).where(Sighting.current))}


def test_a_prefix_is_searched_like_a_folder(workspace: Workspace, bucket: Bucket) -> None:
    names = ["a.png", "deep/b.png", "x y#1.png", "q?.png", "pct%20.png", "star*.png", "画.png", "nosuffix"]
    for i, name in enumerate(names):
        bucket.put(f"north/{name}", picture(i))
    bucket.put("north/.hidden/c.png", picture(98))
    bucket.put("north/labels.json", b"{}")
    bucket.put("north/", b"")  # as consoles mark a folder
    bucket.put("north/deep/", b"")
    bucket.put("northern/d.png", picture(99))
    summary = ingest(workspace, ["s3://photos/north"])
    assert (summary.files, summary.new_images, summary.quarantined) == (len(names), len(names), [])
    assert set(state(workspace)) == {f"s3://photos/north/{name}" for name in names}
    with workspace.database.read() as session:
        found = originals.find(session)
    assert {original.read() for original in found} == {picture(i) for i in range(len(names))}
    assert all(original.exists() for original in found)
    file = found[0].locate(workspace.originals_dir)
    assert file.read_bytes() == found[0].read()
    again = ingest(workspace, ["s3://photos/north/"])
    assert (again.files, again.unchanged) == (len(names), len(names))


def test_what_changed_what_went_away_and_what_came_back(workspace: Workspace, bucket: Bucket) -> None:
    for i in range(3):
        bucket.put(f"{i}.png", picture(i))
    ingest(workspace, ["s3://photos"])
    bucket.put("0.png", picture(100))
    bucket.delete("1.png")
    summary = ingest(workspace, ["s3://photos"])
    assert (summary.new_images, summary.missing, summary.unchanged) == (1, 1, 1)
    assert state(workspace) == {f"s3://photos/{i}.png": i == 1 for i in range(3)}
    bucket.put("1.png", picture(1))
    ingest(workspace, ["s3://photos"])
    assert not any(state(workspace).values())


def test_what_a_search_of_the_prefix_passes_over_is_not_missing(workspace: Workspace, bucket: Bucket) -> None:
    """It was taken because it was named; the prefix alone would leave it aside."""
    bucket.put("p/a.png", picture(1))
    bucket.put("p/b.bin", picture(2))
    bucket.put("p/.c.png", picture(3))
    ingest(workspace, ["s3://photos/p/b.bin", "s3://photos/p/.c.png"])
    assert ingest(workspace, ["s3://photos/p/"]).missing == 0
    assert not any(state(workspace).values())


def test_globs_and_single_objects(workspace: Workspace, bucket: Bucket) -> None:
    for name in ("a1.png", "a2.png", "b.png"):
        bucket.put(f"p/{name}", picture(ord(name[1])))
    assert ingest(workspace, ["s3://photos/p/a*.png"]).new_images == 2
    assert ingest(workspace, ["s3://photos/p/b.png"]).new_images == 1
    bucket.delete("p/a1.png")
    bucket.delete("p/b.png")
    assert ingest(workspace, ["s3://photos/p/a*.png"]).missing == 1
    assert [uri for uri, missing in state(workspace).items() if missing] == ["s3://photos/p/a1.png"]


def test_an_archive_and_a_manifest_with_urls(workspace: Workspace, bucket: Bucket, tmp_path: Path) -> None:
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("in/a.png", picture(1))
    bucket.put("a.zip", buffer.getvalue())
    assert ingest(workspace, ["s3://photos/a.zip"]).new_images == 1
    assert list(state(workspace)) == ["s3://photos/a.zip!/in/a.png"]
    with workspace.database.read() as session:
        assert originals.find(session)[0].read() == picture(1)
    bucket.put("b.png", picture(2))
    manifest = tmp_path / "photos.csv"
    manifest.write_text("uri,shift\ns3://photos/b.png,2\ns3://photos/none.png,3\n")
    summary = ingest(workspace, [str(manifest)])
    assert summary.quarantined == [("s3://photos/none.png", "the file cannot be read: it does not exist")]
    with workspace.database.read() as session:
        details = dict(session.execute(select(Sighting.uri, Sighting.details)).all())
    assert details["s3://photos/b.png"] == {"shift": 2}


def test_nothing_there_and_no_answer_are_sentences(
    workspace: Workspace, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("a.png", picture(1))
    ingest(workspace, ["s3://photos"])
    with pytest.raises(NotFoundError, match="There is nothing at s3://photos/none"):
        ingest(workspace, ["s3://photos/none"])
    with pytest.raises(RemoteError, match="s3://nobucket cannot be read") as caught:
        ingest(workspace, ["s3://nobucket"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    objects.forget_connections()
    with pytest.raises(RemoteError, match="s3://photos cannot be read: no answer") as refused:
        ingest(workspace, ["s3://photos"])
    assert state(workspace) == {"s3://photos/a.png": False}
    for error in (caught, refused):
        assert SECRET not in str(error.value)
        assert error.value.__cause__ is None
    with workspace.database.read() as session:
        (original,) = originals.find(session)
    assert not original.exists()
    with pytest.raises(NotFoundError, match="gone or has changed"):
        original.read()


@pytest.mark.parametrize(
    "url",
    [
        f"s3://AKID:{SECRET}@photos/a.png",
        f"https://example.org/a.png?X-Amz-Signature={SECRET}",
        f"https://example.org/a.png?id={SECRET}",
        f"s3://photos/a.png?X-Amz-Credential={SECRET}",
        f"ftp://user:{SECRET}@example.org/a.png",
    ],
)
def test_a_url_that_holds_a_secret_is_refused_without_saying_it(workspace: Workspace, tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidInputError, match="carries a password, signature or query") as caught:
        ingest(workspace, [url])
    manifest = tmp_path / "photos.csv"
    manifest.write_text(f"uri\n{url}\n")
    with pytest.raises(InvalidInputError) as in_manifest:
        ingest(workspace, [str(manifest)])
    assert SECRET not in str(caught.value) + str(in_manifest.value)
    assert SECRET.encode() not in (workspace.home / "winnow.db").read_bytes()


@pytest.mark.parametrize(
    "url", ["s3://AKIA1:ab/cd+e@bucket/x.jpg", "zip://in.jpg::https://user:pw@host/a.zip", "https://me:pw@host/a.jpg"]
)
def test_a_login_in_any_part_of_a_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidInputError, match="carries a password") as refusal:
        objects.check(url)
    assert not {"AKIA1", "ab", "pw", "user"} & set(re.split(r"\W", str(refusal.value)))


@pytest.mark.parametrize("url", ["http://[::1]:8080/a.jpg", "http://127.0.0.1:80/a.jpg", "s3://bucket/a.jpg"])
def test_a_port_is_no_login(url: str) -> None:
    assert objects.check(url) == url


@pytest.mark.parametrize("url", ["az://c/x.jpg", "s3:///x.jpg", "http:///x.jpg"])
def test_a_url_without_a_store_is_a_file_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    for use in (objects.stamp, objects.open_file):
        with pytest.raises(OSError, match="no answer"):
            use(url)


def test_a_scheme_nobody_knows(workspace: Workspace) -> None:
    with pytest.raises(InvalidInputError, match="Nothing here reads gopher:// URLs"):
        ingest(workspace, ["gopher://example.org/a.png"])
    with pytest.raises(InvalidInputError, match=r"fetch s3://photos/list\.csv first"):
        ingest(workspace, ["s3://photos/list.csv"])


@pytest.mark.parametrize(
    ("key", "before", "after"),
    [
        ("mtime", 1.5, 2.5),
        ("modify", "20240131120000", "20240131120001"),  # FTP
        ("modify", "20240131120000.123", "20240131120000.456"),
        ("modificationTime", 1320171722771, 1320171722772),  # WebHDFS, milliseconds
        ("sha", "aa", "bb"),  # GitHub
        ("last_modified", datetime(2024, 1, 31, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC)),
        ("modified", "2024-01-31T12:00:00Z", "2024-01-31T12:00:01Z"),
    ],
)
def test_a_file_of_the_same_size_changes_its_stamp(key: str, before: Any, after: Any) -> None:
    first, again, second = (objects._stamp_of({"size": 7, key: value}) for value in (before, before, after))
    assert first == again != second
    assert first[0] == second[0] == 7
    assert all(0 <= moment < 2**63 for _, moment in (first, second))


def test_any_file_system_of_fsspec(workspace: Workspace) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/winnow-test/a.png", picture(1))
    memory.pipe("/winnow-test/deep/b.png", picture(2))
    try:
        assert ingest(workspace, ["memory://winnow-test"]).new_images == 2
        assert set(state(workspace)) == {"memory://winnow-test/a.png", "memory://winnow-test/deep/b.png"}
        assert ingest(workspace, ["MEMORY://winnow-test/*"]).unchanged == 2
        assert uris.read("memory://winnow-test/a.png")[0] == picture(1)
        memory.rm("/winnow-test/deep/b.png")
        assert ingest(workspace, ["memory://winnow-test"]).missing == 1
    finally:
        memory.rm("/winnow-test", recursive=True)


def test_a_file_url_is_a_path(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(picture(1))
    ingest(workspace, [f"file://{path}"])
    assert list(state(workspace)) == [str(path)]


def test_a_file_on_the_web(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "a.png").write_bytes(picture(1))
    command = [sys.executable, "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(tmp_path / "site")]
    server = servers.start("web", command, log=tmp_path / "web.log", timeout_s=60)
    try:
        url = f"http://127.0.0.1:{server.port}/a.png"
        assert ingest(workspace, [url]).new_images == 1
        assert ingest(workspace, [url]).unchanged == 1
        with pytest.raises(NotFoundError, match="There is nothing at"):
            ingest(workspace, [url.replace("a.png", "b.png")])
    finally:
        server.stop()


def test_logs_hold_no_secret(workspace: Workspace, bucket: Bucket, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    bucket.put("a.png", picture(1))
    ingest(workspace, ["s3://photos"])
    assert SECRET not in caplog.text
    assert SECRET.encode() not in (workspace.home / "winnow.db").read_bytes()
