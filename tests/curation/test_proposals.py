"""Proposed pairs: every pair with near hashes, few of a crowd, and those that share local features."""

from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from curation import hamming, proposals
from curation.proposals import MAX_BITS, Known
from store.arrays import Ints

# Up to twelve bits away from one of two hashes: some pairs are near and some are not.
HASHES = st.builds(
    lambda base, flips: base ^ sum(1 << bit for bit in flips),
    st.sampled_from([0x0123456789ABCDEF, 0xF0E1D2C3B4A59687]),
    st.sets(st.integers(0, 63), max_size=12),
)
KNOWN = st.integers(2, 8).flatmap(
    lambda count: st.tuples(
        st.lists(HASHES, min_size=count, max_size=count, unique=True),
        st.lists(HASHES, min_size=count, max_size=count, unique=True),
        st.sets(st.integers(0, count - 1)),
    )
)


def known_of(phash: list[int], dhash: list[int], has_dhash: set[int]) -> Known:
    return Known(
        np.array(phash, dtype=np.uint64), np.array(dhash, dtype=np.uint64), np.array(sorted(has_dhash), dtype=np.int64)
    )


def pairs_of(found: Ints) -> list[tuple[int, int]]:
    return [(first, second) for first, second in found.tolist()]


def is_near(known: Known, first: int, second: int) -> bool:
    ties = [known.phash[first] ^ known.phash[second]]
    if {first, second} <= set(known.has_dhash.tolist()):
        turned = hamming.mirrored(known.dhash)
        ties += [known.dhash[first] ^ known.dhash[second], known.dhash[first] ^ turned[second]]
    return any(int(tie).bit_count() <= MAX_BITS for tie in ties)


@given(KNOWN)
def test_near_hashes_are_proposed_and_no_others(drawn: tuple[list[int], list[int], set[int]]) -> None:
    known = known_of(*drawn)
    expected = [pair for pair in combinations(range(len(known.phash)), 2) if is_near(known, *pair)]
    assert pairs_of(proposals.by_hash(known)) == expected


@given(KNOWN, st.sets(st.integers(0, 7)))
def test_fresh_pictures_are_proposed_with_all_others(
    drawn: tuple[list[int], list[int], set[int]], chosen: set[int]
) -> None:
    known = known_of(*drawn)
    fresh = {position for position in chosen if position < len(known.phash)}
    found = pairs_of(proposals.by_hash(known, fresh=np.array(sorted(fresh), dtype=np.int64)))
    assert found == [pair for pair in pairs_of(proposals.by_hash(known)) if fresh & set(pair)]


def test_equal_hashes_give_as_many_pairs_as_pictures() -> None:
    """Each is tied to the first and to the next: 99 and 99 pairs, of which one is both."""
    found = pairs_of(proposals.by_hash(known_of([7] * 100, [0] * 100, set())))
    assert found == sorted({(0, i) for i in range(1, 100)} | {(i, i + 1) for i in range(99)})
    assert len(found) == 197


def test_a_mirrored_picture_is_proposed() -> None:
    dhash = np.array([0x0123456789ABCDEF], dtype=np.uint64)
    turned = int(hamming.mirrored(dhash)[0])
    assert (turned ^ int(dhash[0])).bit_count() > MAX_BITS
    far = [0x0000000000000000, 0xFFFFFFFFFFFFFFFF]
    assert pairs_of(proposals.by_hash(known_of(far, [int(dhash[0]), turned], {0, 1}))) == [(0, 1)]
    assert pairs_of(proposals.by_hash(known_of(far, [int(dhash[0]), turned], {0}))) == []


def test_pictures_that_share_descriptors_are_proposed() -> None:
    """Pictures 3 and 8 share half of their descriptors; 5 is like neither."""
    generator = np.random.default_rng(0)

    def descriptors(count: int) -> np.ndarray:
        return np.where(generator.random((count, 128)) < 0.15, 200, 0).astype(np.uint8)

    shared = descriptors(10)
    pictures = {position: np.concatenate([shared, descriptors(10)]) for position in (3, 8)}
    found = proposals.by_features({**pictures, 5: descriptors(20)})
    assert pairs_of(found) == [(3, 8)]
    assert proposals.by_features({}).shape == (0, 2)
