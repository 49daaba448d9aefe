import base64
import string
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import image_urls
from store.errors import InvalidInputError
from store.schema import ImageId

KEY = bytes(range(32))
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
ids = st.integers(0, 2**63 - 1).map(ImageId)


@given(ids, st.integers(1, 10**9))
def test_a_token_shows_its_image_until_it_ends(image_id: ImageId, seconds: int) -> None:
    expires = NOON + timedelta(seconds=seconds)
    token = image_urls.sign(KEY, image_id, expires=expires)
    assert image_urls.verify(KEY, token, now=expires - timedelta(seconds=1)) == image_id
    with pytest.raises(InvalidInputError, match="ended at"):
        image_urls.verify(KEY, token, now=expires)


@given(ids, st.data())
def test_changing_any_character_breaks_a_token(image_id: ImageId, data: st.DataObject) -> None:
    token = image_urls.sign(KEY, image_id, expires=NOON)
    position = data.draw(st.integers(0, len(token) - 1))
    character = data.draw(st.sampled_from(string.ascii_letters + string.digits + "-_=é").filter(token[position].__ne__))
    changed = token[:position] + character + token[position + 1 :]
    with pytest.raises(InvalidInputError, match="not made by this workspace"):
        image_urls.verify(KEY, changed, now=NOON - timedelta(days=1))


@given(st.text(max_size=100))
def test_what_is_no_token_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(InvalidInputError, match="not made by this workspace"):
        image_urls.verify(KEY, text, now=NOON)


def test_another_key_refuses_it() -> None:
    token = image_urls.sign(KEY, ImageId(7), expires=NOON)
    with pytest.raises(InvalidInputError, match="not made by this workspace"):
        image_urls.verify(bytes(32), token, now=NOON - timedelta(days=1))


def test_a_token_is_safe_in_a_url_and_always_the_same() -> None:
    tokens = {image_urls.sign(KEY, ImageId(7), expires=NOON) for _ in range(3)}
    (token,) = tokens
    assert set(token) <= set(string.ascii_letters + string.digits + "-_")


@given(ids, ids)
def test_without_the_key_nobody_reads_the_image_or_its_age(one: ImageId, other: ImageId) -> None:
    tokens = [base64.urlsafe_b64decode(image_urls.sign(KEY, each, expires=NOON) + "==") for each in (one, other)]
    for image_id, token in zip((one, other), tokens, strict=True):
        assert len(token) == 48
        assert int(NOON.timestamp()).to_bytes(8) not in token
        assert image_id.to_bytes(8) != token[:8]
    if one != other:
        same = sum(a == b for a, b in zip(*tokens, strict=True))
        assert same < 16  # of 48 bytes; chance makes it 0.2


@pytest.mark.parametrize("base_url", ["http://me:secret@x", "http://x?token=secret"])
def test_an_address_with_a_secret_is_refused_and_not_repeated(base_url: str) -> None:
    with pytest.raises(InvalidInputError, match="a login or a query") as caught:
        image_urls.signer(KEY, base_url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("base_url", ["nonsense", "ftp://x", "http://", "http://[::1", "http://x:99999", "http://a b"])
def test_links_need_an_address(base_url: str) -> None:
    with pytest.raises(InvalidInputError, match="is not the address"):
        image_urls.signer(b"k" * 32, base_url)


def test_a_link_lasts_a_century_at_most() -> None:
    address = image_urls.signer(KEY, "http://127.0.0.1:1", days=10**9)(ImageId(1))
    token = address.rpartition("/")[2]
    century = timedelta(days=36_525)
    assert image_urls.verify(KEY, token, now=datetime.now(UTC) + century - timedelta(minutes=1)) == 1
    with pytest.raises(InvalidInputError, match="ended at"):
        image_urls.verify(KEY, token, now=datetime.now(UTC) + century + timedelta(minutes=1))
