"""Near hashes: all of them, and those of mirrored pictures."""

import imagehash
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_images

from curation import hamming

BASES = st.sampled_from([0, 2**64 - 1, 0x0123456789ABCDEF])


@given(
    st.lists(st.tuples(BASES, st.sets(st.integers(0, 63), max_size=6)), max_size=12),
    st.lists(st.tuples(BASES, st.sets(st.integers(0, 63), max_size=6)), max_size=12),
    st.integers(0, 10),
)
def test_the_nearest_are_those_that_comparing_all_finds(
    left: list[tuple[int, set[int]]], right: list[tuple[int, set[int]]], max_bits: int
) -> None:
    sides = [
        np.array([base ^ sum(1 << bit for bit in flipped) for base, flipped in side], dtype=np.uint64)
        for side in (left, right)
    ]
    bits = np.bitwise_count(sides[0][:, None] ^ sides[1])
    found = hamming.nearest(*sides, max_bits=max_bits, most=12)
    assert found.tolist() == np.argwhere(bits <= max_bits).tolist()
    few = hamming.nearest(*sides, max_bits=max_bits, most=2)
    for row in range(len(sides[0])):
        chosen = few[few[:, 0] == row, 1]
        assert sorted(set(chosen.tolist())) == chosen.tolist()
        assert sorted(bits[row, chosen].tolist()) == [
            near for near in sorted(bits[row].tolist())[:2] if near <= max_bits
        ]


def test_hex_is_read_from_the_left() -> None:
    assert hamming.from_hex(["8000000000000001", "00000000000000ff"]).tolist() == [2**63 + 1, 255]


@pytest.mark.parametrize("photo", [0, 1])
def test_the_mirrored_hash_is_that_of_the_mirrored_picture(photo: int) -> None:
    picture = Image.fromarray(load_sample_images().images[photo])
    hashes = hamming.from_hex([str(imagehash.dhash(picture)), str(imagehash.dhash(ImageOps.mirror(picture)))])
    assert np.bitwise_count(hamming.mirrored(hashes[:1]) ^ hashes[1:])[0] <= 2
    assert hamming.mirrored(hamming.mirrored(hashes)).tolist() == hashes.tolist()
