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


@pytest.mark.parametrize("base_url", ["nonsense", "ftp://x", "http://"])
def test_links_need_an_address(base_url: str) -> None:
    with pytest.raises(InvalidInputError, match="is not the address"):
        image_urls.signer(b"k" * 32, base_url)
