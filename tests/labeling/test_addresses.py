"""Where the picture of a task is."""

from pathlib import Path
from typing import Any

import pytest

from labeling import addresses
from labeling.addresses import Place
from store.errors import InvalidInputError

FOLDER = Path("/home/adopted")


def place(address: Any, ls_url: str = "http://ls:8080") -> Place:
    return addresses.place(address, ls_url=ls_url, folder=FOLDER)


@pytest.mark.parametrize(
    "address", ["http://host/a%20b.jpg", "https://host:9000/x", "s3://bucket/photos/a.jpg", "gs://bucket/a.png"]
)
def test_what_anyone_can_read_again_stays_where_it_is(address: str) -> None:
    assert place(address) == Place(address)


@pytest.mark.parametrize(
    ("address", "fetched", "suffix"),
    [
        ("/data/upload/3/1f-a%20b.JPG", "http://ls:8080/data/upload/3/1f-a%20b.JPG", ".jpg"),
        ("/data/local-files/?d=day%201/b.png", "http://ls:8080/data/local-files/?d=day%201/b.png", ".png"),
        ("http://ls:8080/data/upload/3/odd.name", "http://ls:8080/data/upload/3/odd.name", ""),
    ],
)
def test_what_label_studio_holds_is_copied_with_the_token(address: str, fetched: str, suffix: str) -> None:
    found = place(address)
    assert (found.fetch_from, found.with_token) == (fetched, True)
    assert Path(found.uri).parent == FOLDER
    assert Path(found.uri).suffix == suffix
    assert place(address) == found


@pytest.mark.parametrize(
    "address", ["https://host/a.jpg?X-Amz-Signature=abc", "http://ls:9090/a.jpg?d=1", "https://ls:8080/a.jpg?d=1"]
)
def test_what_has_a_query_is_copied_without_the_token_and_its_query_is_stored_nowhere(address: str) -> None:
    found = place(address)
    assert (found.fetch_from, found.with_token) == (address, False)
    assert Path(found.uri).parent == FOLDER
    assert "?" not in found.uri
    assert Path(found.uri).suffix == ".jpg"


def test_a_label_studio_below_a_path_of_its_host() -> None:
    assert place("/tools/ls/data/upload/1/a.png", "http://host/tools/ls").fetch_from == (
        "http://host/tools/ls/data/upload/1/a.png"
    )
    assert place("/data/upload/1/a.png", "http://host/tools/ls").fetch_from == (
        "http://host/tools/ls/data/upload/1/a.png"
    )


@pytest.mark.parametrize(
    ("address", "why"),
    [
        (None, "its data holds no address of an image"),
        (7, "its data holds no address of an image"),
        (["a.jpg", "b.jpg"], "its data holds no address of an image"),
        (" ", "its data holds no address of an image"),
        ("a.jpg", "'a.jpg' is no address that can be read from here"),
        ("file:///etc/passwd", "'file:///etc/passwd' is no address that can be read from here"),
        ("data:image/png;base64," + "A" * 900, "is no address that can be read from here"),
        ("http://[::1/a.jpg", "is no address that can be read from here"),
        ("http://host/a.zip", "'http://host/a.zip' is an archive or a video"),
        ("http://host/a.mp4", "'http://host/a.mp4' is an archive or a video"),
        ("nonsense://host/a.jpg", "Nothing here reads nonsense:// URLs."),
    ],
)
def test_what_is_no_picture_to_read_is_said_in_a_sentence(address: Any, why: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        place(address)
    assert why in str(refused.value)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    "address", ["http://ann:hunter2@host/a.jpg", "http://ann:hunter2@host/a.jpg?x=1", "s3://key:hunter2@bucket/a.jpg"]
)
def test_a_password_in_an_address_is_not_repeated(address: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        place(address)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://bob:secret@host/a.png?token=secret#secret", "'host/a.png'"),
        ("https://bob:se?cret@host/a.png", "'https://…'"),  # of which nothing before the @ may be a login
        ("https://bob:se#cret@host/a.png", "'https://…'"),
        ("https://host/a.png?mail=bob@secret", "'https://…'"),
        ("bob:se?cret@host", "'…'"),
        (f"https://host/{'a' * 100}", f"'https://host/{'a' * 67}…'"),
    ],
)
def test_an_address_is_shown_without_what_may_be_a_secret(address: str, shown: str) -> None:
    assert addresses.shown(address) == shown
