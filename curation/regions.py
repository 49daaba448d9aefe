"""Where failures lie closer together than chance would put them."""

from dataclasses import dataclass

import numpy as np

from store.arrays import Bools, Floats, Ints, Vectors

LEAST_FAILURES = 3  # that make a region
_MOST_CENTRES = 2_000
_MOST_MEMBERS = 256
_BLOCK = 256  # centres compared with everything at once
_SHUFFLES = 99
_MOST_CHANCE = 0.5  # a further region that chance finds more often than not is none


@dataclass(frozen=True)
class Region:
    """Images around one, among which more fail than elsewhere."""

    centre: int  # position
    members: Ints  # (M,) int64 positions, the nearest to the centre first, itself included
    cosine: float  # of the farthest member with the centre
    chance: float  # how often failures dealt at random make one as striking somewhere; 0 to 1


def find(directions: Vectors, failed: Bools, *, seed: int = 0) -> list[Region]:
    """The regions in which failures gather, the most striking first; no image is in two.

    M. Kulldorff, A spatial scan statistic (1997): of all regions (a centre and its nearest, up to
    half of the images and 256) take the one whose failure rate sets it apart most by likelihood
    ratio, take it out, repeat. Dealing the failures out anew 99 times tells how striking a region
    chance makes, the search over all regions included. The first region is given whatever its
    chance, as a lead; a further one only if chance seldom makes it. Ties go to the smaller centre,
    then to the fewer members.

    Args:
        directions: `(N, D)` float32, unit vectors.
        failed: `(N,)`, which of them failed.
        seed: of the dealing.
    """
    if failed.sum() < LEAST_FAILURES or len(failed) < 2 * LEAST_FAILURES:
        return []
    centres = np.unique(np.linspace(0, len(failed) - 1, min(len(failed), _MOST_CENTRES)).astype(np.int64))
    nearest = _nearest(directions, centres, min(len(failed) // 2, _MOST_MEMBERS))
    generator = np.random.default_rng(seed)
    everyone: Bools = np.ones(len(failed), dtype=np.bool_)
    dealt = np.array([_strength(nearest, generator.permutation(failed), everyone).max() for _ in range(_SHUFFLES)])
    regions: list[Region] = []
    left = everyone
    while True:
        strength = _strength(nearest, failed, left)
        row, last = np.unravel_index(strength.argmax(), strength.shape)
        chance = float((1 + (dealt >= strength[row, last]).sum()) / (1 + _SHUFFLES))
        if strength[row, last] == 0 or (regions and chance > _MOST_CHANCE):
            return regions
        around = nearest[row, : last + 1]
        members = around[left[around]]
        cosine = float(directions[centres[row]] @ directions[members[-1]])
        regions.append(Region(int(centres[row]), members, cosine, chance))
        left = left & ~np.isin(np.arange(len(failed)), members)


def _nearest(directions: Vectors, centres: Ints, count: int) -> Ints:
    """`(C, count)` int64: the positions nearest to each centre, which is the first itself unless it has a twin."""
    blocks = [
        np.argsort(-(directions[centres[start : start + _BLOCK]] @ directions.T), axis=1, kind="stable")[:, :count]
        for start in range(0, len(centres), _BLOCK)
    ]
    return np.concatenate(blocks)


def _strength(nearest: Ints, failed: Bools, left: Bools) -> Floats:
    """`(C, K)`: the log likelihood ratio of each centre with its first 1 … K; 0 where no more fail than elsewhere."""
    from scipy.special import xlogy

    images, failures = len(failed), int(failed.sum())
    inside = np.maximum(np.cumsum(left[nearest], axis=1), 1)
    hits = np.cumsum((failed & left)[nearest], axis=1)
    outside, missed = images - inside, failures - hits
    ratio = (
        xlogy(hits, hits / inside)
        + xlogy(inside - hits, 1 - hits / inside)
        + xlogy(missed, missed / outside)
        + xlogy(outside - missed, 1 - missed / outside)
        - xlogy(failures, failures / images)
        - xlogy(images - failures, 1 - failures / images)
    )
    more = (hits >= LEAST_FAILURES) & (hits * images > failures * inside)
    strength: Floats = np.where(more, ratio, 0.0)
    return strength
