"""Which images are for training, which for validation and which for the test.

What must not be separated is tied: copies with equal pixels, duplicate groups, scenes. Each set of
tied images, a component, goes to one split as a whole. An image stays where it is once a batch has
picked it or a version has used it.
"""

import hashlib
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from curation import duplicates
from store.arrays import Ints
from store.schema import Image, ImageId, Pick, Sighting, Version, VersionItem

Split: TypeAlias = Literal["train", "val", "test"]

FRACTIONS: dict[Split, float] = {"train": 0.7, "val": 0.1, "test": 0.2}


@dataclass(frozen=True)
class Catalog:
    """Every image, ordered by sha256, with what ties it and what it was used for; all aligned `(N,)`."""

    image_ids: list[ImageId]
    sha256s: list[str]
    components: Ints  # the position of the first image each one is tied to
    kept: list[Split | None]  # its split in the first version it was in
    picked: list[Split | None]  # and in the first batch that picked it


def components(sha256s: Sequence[str], links: Iterable[tuple[str, str]]) -> Ints:
    """Tie what is linked, directly or through others.

    Args:
        sha256s: the images, ascending.
        links: pairs of them.

    Returns:
        `(N,)` int64: for each image the position of the smallest sha256 it is tied to, itself if to none.
    """
    position = {sha256: i for i, sha256 in enumerate(sha256s)}
    parent = list(range(len(sha256s)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for left, right in links:
        low, high = sorted((root(position[left]), root(position[right])))
        parent[high] = low
    return np.array([root(i) for i in range(len(parent))], dtype=np.int64)


def assign(
    sha256s: Sequence[str],
    components: Ints,
    kept: Sequence[Split | None],
    picked: Sequence[Split | None] | None = None,
) -> list[Split]:
    """The split of each image: what its component has already, else what the component's name falls on.

    A component has what a version kept for one of its images, else what a batch picked one for.

    A component's name is its smallest sha256; hashed again, it is a uniform number that `FRACTIONS`
    divide. Where a component holds two kept splits, kept images stay where they are and the others
    follow the kept image of the smallest sha256; `leaks` finds these.
    """
    of_component: dict[int, Split] = {}
    for root, split in zip(components.tolist(), kept, strict=True):
        if split is not None:
            of_component.setdefault(root, split)
    for root, split in zip(components.tolist(), picked or [None] * len(sha256s), strict=True):
        if split is not None:
            of_component.setdefault(root, split)
    for root in np.unique(components).tolist():
        if root not in of_component:
            of_component[root] = _drawn(sha256s[root])
    return [split or of_component[root] for root, split in zip(components.tolist(), kept, strict=True)]


def leaks(components: Ints, splits: Sequence[Split | None]) -> list[tuple[int, int]]:
    """Pairs of positions that are tied and lie in different splits; `None` lies in none.

    For each component its first image is paired with every one that lies elsewhere than it.
    """
    first: dict[int, int] = {}
    pairs = []
    for i, (root, split) in enumerate(zip(components.tolist(), splits, strict=True)):
        if split is not None and splits[first.setdefault(root, i)] != split:
            pairs.append((first[root], i))
    return pairs


def load(session: Session) -> dict[ImageId, Split]:
    """The split of every image in the catalog, labelled or not."""
    catalog = read(session)
    return dict(zip(catalog.image_ids, settle(catalog), strict=True))


def settle(catalog: Catalog) -> list[Split]:
    """The split of every image of a catalog, aligned."""
    return assign(catalog.sha256s, catalog.components, catalog.kept, catalog.picked)


def read(session: Session) -> Catalog:
    """Every image with its component: by pixels, proven duplicates, and the scenes it was ever seen in.

    A scene is one name: images of two sources that name the same scene are tied too.
    """
    images = session.execute(select(Image.id, Image.sha256, Image.pixels_sha256).order_by(Image.sha256)).all()
    sha256_of = {image_id: sha256 for image_id, sha256, _ in images}
    pairs = duplicates.pairs_in_force(session)
    scenes = session.execute(select(Sighting.scene, Sighting.image_id).where(Sighting.scene.is_not(None))).all()
    links = [
        *_ties((pixels, sha256) for _, sha256, pixels in images if pixels is not None),
        *((sha256_of[first], sha256_of[second]) for first, second in pairs),
        *_ties((scene, sha256_of[image_id]) for scene, image_id in scenes),
    ]
    sha256s = [image.sha256 for image in images]
    kept, picked = _kept(session), _picked(session)
    return Catalog(
        image_ids=[ImageId(image.id) for image in images],
        sha256s=sha256s,
        components=components(sha256s, links),
        kept=[kept.get(image.id) for image in images],
        picked=[picked.get(image.id) for image in images],
    )


def _ties(members: Iterable[tuple[Hashable, str]]) -> Iterator[tuple[str, str]]:
    first: dict[Hashable, str] = {}
    for group, sha256 in members:
        yield first.setdefault(group, sha256), sha256


def _kept(session: Session) -> dict[int, Split]:
    newest_first = (
        select(VersionItem.image_id, VersionItem.split)
        .join(Version, Version.id == VersionItem.version_id)
        .order_by(Version.created_at.desc(), Version.id.desc())
    )
    return {image_id: cast(Split, split) for image_id, split in session.execute(newest_first)}  # the earliest wins


def _picked(session: Session) -> dict[int, Split]:
    newest_first = select(Pick.image_id, Pick.split).order_by(Pick.batch_id.desc())
    return {image_id: cast(Split, split) for image_id, split in session.execute(newest_first)}  # the earliest wins


def _drawn(name: str) -> Split:
    digest = hashlib.sha256(f"split/{name}".encode()).digest()
    draw = int.from_bytes(digest[:8]) / 2**64
    if draw < FRACTIONS["train"]:
        return "train"
    return "val" if draw < FRACTIONS["train"] + FRACTIONS["val"] else "test"
