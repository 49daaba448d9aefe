import base64
import json
from pathlib import Path

import pytest

from api.demo.label_studio_server import LabelStudioServer
from labeling import label_studio as label_studio_api
from labeling import vendors
from store.errors import InvalidInputError, NotFoundError, RemoteError
from store.workspace import Workspace


def test_a_vendor_that_moves_keeps_its_row(workspace: Workspace) -> None:
    vendors.add(workspace, "acme", url="http://one:8080/", token="env:ONE")
    vendors.add(workspace, "acme", url="http://two:8080", token="env:TWO")
    with workspace.database.read() as session:
        [vendor] = vendors.list_all(session)
    assert (vendor.ls_url, vendor.ls_token_reference) == ("http://two:8080", "env:TWO")


@pytest.mark.parametrize(
    "url",
    [
        *("", "localhost:8080", "ftp://x", "http://", "http://x?token=y"),
        *("http://[::1", "http://x:99999", "http://a b", "http://me:secret@[::1", "http://x y?token=secret"),
    ],
)
def test_an_address_that_is_none_is_refused(workspace: Workspace, url: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        vendors.add(workspace, "acme", url=url, token="env:TOKEN")
    assert "secret" not in str(caught.value)


def test_a_token_given_in_place_of_its_place_is_refused_and_not_repeated(workspace: Workspace) -> None:
    with pytest.raises(InvalidInputError) as caught:
        vendors.add(workspace, "acme", url="http://x", token="0123456789abcdef")
    assert "0123456789abcdef" not in str(caught.value)


@pytest.mark.label_studio
def test_a_personal_token_that_the_server_refuses_is_a_sentence(label_studio: LabelStudioServer) -> None:
    """The SDK asks for an access token as soon as it is made, if the token looks like a personal one."""
    parts = ({"alg": "HS256", "typ": "JWT"}, {"token_type": "refresh", "exp": 1_000_000_000})
    encoded = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
    token = ".".join([*encoded, "c2lnbmF0dXJl"])
    with (
        pytest.raises(RemoteError, match="refused the token") as caught,
        label_studio_api.connect(label_studio.url, token) as server,
    ):
        server.project(1)
    assert token not in str(caught.value)


@pytest.mark.parametrize(
    "pasted", ["0123456789abcdef", "abcdef01" * 5, "eyJhbGciOi.eyJ0b2tlbl.x-Y_z", "MY TOKEN", "NAME\n", "ÄPFEL"]
)
def test_a_token_given_as_the_name_of_a_variable_is_refused_and_not_repeated(workspace: Workspace, pasted: str) -> None:
    with pytest.raises(InvalidInputError, match="no name of an environment variable") as caught:
        vendors.add(workspace, "acme", url="http://x", token=f"env:{pasted}")
    assert pasted not in str(caught.value)


def test_a_price_of_a_kind_that_does_not_exist_is_refused(workspace: Workspace) -> None:
    with pytest.raises(InvalidInputError, match=r"'classificatoin'.* classification, multilabel, .*keypoints"):
        vendors.add(workspace, "acme", url="http://x", token="env:TOKEN", prices={"classificatoin": 1})
    with workspace.database.read() as session:
        assert vendors.list_all(session) == []


def test_tokens_are_read_where_they_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("abc\n")
    monkeypatch.setenv("WINNOW_TEST_TOKEN", "def")
    assert vendors.token(f"file:{tmp_path / 'token'}") == "abc"
    assert vendors.token("env:WINNOW_TEST_TOKEN") == "def"


@pytest.mark.parametrize("content", ["", "two words", "sécret", "two\nlines"])
def test_what_is_no_token_is_a_sentence_without_it(tmp_path: Path, content: str) -> None:
    (tmp_path / "token").write_text(content)
    with pytest.raises(InvalidInputError) as caught:
        vendors.token(f"file:{tmp_path / 'token'}")
    assert not content or content not in str(caught.value)


def test_missing_tokens_and_vendors_are_named(workspace: Workspace) -> None:
    with pytest.raises(InvalidInputError, match="WINNOW_NO_SUCH_TOKEN"):
        vendors.token("env:WINNOW_NO_SUCH_TOKEN")
    with pytest.raises(InvalidInputError, match="/no/such/token"):
        vendors.token("file:/no/such/token")
    with workspace.database.read() as session, pytest.raises(NotFoundError, match="nobody"):
        vendors.get(session, "nobody")


def test_a_capacity_stays_until_it_is_changed_or_taken_away(workspace: Workspace) -> None:
    def capacity(said: int | None) -> int | None:
        vendors.add(workspace, "acme", url="http://x", token="env:TOKEN", capacity=said)
        with workspace.database.read() as session:
            return vendors.get(session, "acme").capacity

    assert [capacity(said) for said in (None, 10, None, 5, 0)] == [None, 10, 10, 5, None]
    with pytest.raises(InvalidInputError, match="not -1"):
        capacity(-1)
