"""Pairs of pictures worth comparing: near hashes, near vectors, shared local features. None of them is believed."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from curation import alignment, hamming
from curation.hamming import Hashes
from store.arrays import Bools, Ints, Vectors

MAX_BITS = 7  # of 64 between two hashes: one more, and finding them takes eight times as long
_MOST_BY_HASH = 8  # pairs of one picture that hashes propose, the nearest
VOTING_KEYPOINTS = 48  # the strongest of each picture
_NEIGHBOURS = 5  # descriptors that one votes for
_MIN_VOTE = 0.75  # similarity from which a descriptor votes
_VOTED = 3  # pictures that local features propose for each


@dataclass(frozen=True)
class Known:
    """The hashes of pictures; one without a difference hash takes part with its perceptual hash alone."""

    phash: Hashes  # (N,)
    dhash: Hashes  # (N,)
    has_dhash: Ints  # positions, ascending


def by_hash(known: Known, *, fresh: Ints | None = None) -> Ints:
    """Positions `(P, 2)`, the smaller first, of pictures with near hashes, as they are or mirrored.

    Of those that share a hash each is tied to the first and to the next, as many pairs as pictures and not their
    square. If `fresh` is given, ascending, only pairs that one of these is part of.
    """
    dhash = known.dhash[known.has_dhash]
    turned = hamming.mirrored(dhash)
    everyone = np.arange(len(known.phash))
    is_fresh: Bools = np.isin(everyone, everyone if fresh is None else fresh)
    fresh_dhash = is_fresh[known.has_dhash]
    found = [
        _near(known.phash, known.phash, is_fresh),
        known.has_dhash[_near(dhash, dhash, fresh_dhash)],
        known.has_dhash[_near(dhash, turned, fresh_dhash)],
    ]
    pairs = np.sort(np.concatenate(found), axis=1)
    distinct: Ints = np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)
    return distinct


def by_features(descriptors: Mapping[int, Any]) -> Ints:
    """Positions `(P, 2)`, the smaller first: each picture with those it shares most local features with.

    A descriptor votes for the owners of its nearest descriptors, by how similar they are.

    Args:
        descriptors: By position, `(K, 128)` uint8, see `alignment.Features`.
    """
    import faiss

    owners = np.repeat(list(descriptors), [len(one) for one in descriptors.values()])
    if len(owners) < 2:
        return np.empty((0, 2), dtype=np.int64)
    vectors: Vectors = np.concatenate([alignment.directions(one) for one in descriptors.values()])
    lists = max(1, int(np.sqrt(len(vectors))))
    index: Any = faiss.index_factory(vectors.shape[1], f"IVF{lists},Flat", faiss.METRIC_INNER_PRODUCT)
    index.cp.min_points_per_centroid = 1
    index.cp.max_points_per_centroid = 64
    index.train(vectors)
    index.add(vectors)
    index.nprobe = 8
    similarity, nearest = index.search(vectors, _NEIGHBOURS + 1)
    voters = np.repeat(owners, similarity.shape[1])
    elected = np.where(nearest.ravel() >= 0, owners[nearest.ravel()], -1)
    weight = similarity.ravel() - _MIN_VOTE
    counted = (elected >= 0) & (elected != voters) & (weight > 0)
    return _elected(voters[counted], elected[counted], weight[counted])


def _near(left: Hashes, right: Hashes, is_fresh: Bools) -> Ints:
    """Pairs of positions whose hashes are near, of which one is fresh."""
    distinct_left, first_left, kind_left = np.unique(left, return_index=True, return_inverse=True)
    distinct_right, first_right = np.unique(right, return_index=True)
    order = np.argsort(kind_left, kind="stable")
    follows = kind_left[order[1:]] == kind_left[order[:-1]]
    tied = [
        np.stack([first_left[kind_left], np.arange(len(left))], axis=1),
        np.stack([order[:-1], order[1:]], axis=1)[follows],
    ]
    has_fresh = np.zeros(len(distinct_left), dtype=np.bool_)
    has_fresh[kind_left[is_fresh]] = True
    asked = np.flatnonzero(has_fresh)
    most = _MOST_BY_HASH + 1  # itself may be among them
    near = hamming.nearest(distinct_left[asked], distinct_right, max_bits=MAX_BITS, most=most)
    near[:, 0] = asked[near[:, 0]]
    pairs = np.concatenate([*tied, np.stack([first_left[near[:, 0]], first_right[near[:, 1]]], axis=1)])
    kept: Ints = pairs[is_fresh[pairs].any(axis=1)]
    return kept


def _elected(voters: Ints, elected: Ints, weight: Any) -> Ints:
    votes: dict[int, Counter[int]] = {}
    for voter, other, strength in zip(voters.tolist(), elected.tolist(), weight.tolist(), strict=True):
        votes.setdefault(voter, Counter())[other] += strength
    pairs = {
        (min(voter, other), max(voter, other))
        for voter, counts in votes.items()
        for other, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_VOTED]
    }
    return np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
