import hashlib
import random
import time
from collections import Counter
from itertools import combinations
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from curation import splits
from store import schema
from store.workspace import Workspace


def _sha256s(count: int) -> list[str]:
    return sorted(hashlib.sha256(str(i).encode()).hexdigest() for i in range(count))


@st.composite
def _tied(draw: st.DrawFn) -> tuple[list[str], list[tuple[str, str]]]:
    sha256s = _sha256s(draw(st.integers(1, 30)))
    pair = st.tuples(st.sampled_from(sha256s), st.sampled_from(sha256s))
    return sha256s, draw(st.lists(pair, max_size=30))


def _reachable(sha256s: list[str], links: list[tuple[str, str]]) -> np.ndarray:
    """Brute force: which positions can be walked to from which."""
    at = {sha256: i for i, sha256 in enumerate(sha256s)}
    tied = np.eye(len(sha256s), dtype=bool)
    for left, right in links:
        tied[at[left], at[right]] = tied[at[right], at[left]] = True
    for _ in sha256s:
        tied = tied @ tied
    return tied


def test_components_by_hand() -> None:
    assert splits.components(["a", "b", "c", "d", "e"], [("d", "b"), ("e", "d")]).tolist() == [0, 1, 2, 1, 1]


def test_no_images_have_no_components() -> None:
    assert splits.assign([], splits.components([], []), []) == []


@given(_tied())
def test_components_are_what_can_be_reached(tied: tuple[list[str], list[tuple[str, str]]]) -> None:
    sha256s, links = tied
    assert splits.components(sha256s, links).tolist() == _reachable(sha256s, links).argmax(axis=1).tolist()


@given(_tied(), st.randoms(use_true_random=False))
def test_the_order_of_links_does_not_matter(
    tied: tuple[list[str], list[tuple[str, str]]], shuffler: random.Random
) -> None:
    sha256s, links = tied
    shuffled = [(right, left) for left, right in shuffler.sample(links, len(links))]
    assert splits.components(sha256s, links).tolist() == splits.components(sha256s, shuffled).tolist()


@given(_tied(), st.data())
def test_a_component_is_never_split_and_kept_splits_are_kept(
    tied: tuple[list[str], list[tuple[str, str]]], data: st.DataObject
) -> None:
    sha256s, links = tied
    components = splits.components(sha256s, links)
    choice: st.SearchStrategy[Any] = st.sampled_from([None, *splits.FRACTIONS])
    of_component = {root: data.draw(choice) for root in set(components.tolist())}
    kept = [of_component[root] if data.draw(st.booleans()) else None for root in components.tolist()]
    assigned = splits.assign(sha256s, components, kept)
    assert all(left == right for left, right in zip(kept, assigned, strict=True) if left is not None)
    for i, j in combinations(range(len(sha256s)), 2):
        assert components[i] != components[j] or assigned[i] == assigned[j]
    assert splits.leaks(components, assigned) == []


def test_two_kept_splits_in_one_component_stay_and_are_a_leak() -> None:
    components = np.array([0, 0, 0, 0, 4])
    kept: list[splits.Split | None] = [None, "test", "train", "train", None]
    assigned = splits.assign(_sha256s(5), components, kept)
    assert assigned[:4] == ["test", "test", "train", "train"]
    assert splits.leaks(components, assigned) == [(0, 2), (0, 3)]


def test_what_lies_in_no_split_leaks_nowhere() -> None:
    assert splits.leaks(np.array([0, 0, 0]), ["train", None, "test"]) == [(0, 2)]
    assert splits.leaks(np.array([0, 0, 0]), [None, None, "test"]) == []


def test_another_image_does_not_move_the_others() -> None:
    alone = dict(zip(_sha256s(50), splits.assign(_sha256s(50), np.arange(50), [None] * 50), strict=True))
    among = dict(zip(_sha256s(90), splits.assign(_sha256s(90), np.arange(90), [None] * 90), strict=True))
    assert alone.items() <= among.items()


def test_the_fractions_hold_and_100k_images_take_seconds() -> None:
    sha256s = _sha256s(100_000)
    links = list(zip(sha256s[:50_000], sha256s[50_000:], strict=True))  # everything in pairs
    started = time.process_time()
    components = splits.components(sha256s, links)
    assigned = splits.assign(sha256s, components, [None] * len(sha256s))
    assert time.process_time() - started < 5
    counts = Counter(assigned)
    for split, fraction in splits.FRACTIONS.items():
        assert abs(counts[split] / len(sha256s) - fraction) < 0.01


def test_load_ties_scenes_pixels_and_every_proven_pair(workspace: Workspace, build: Any) -> None:
    ids = build.images(9, scenes=["video", "video", None, None, None, None, None, "left", None])
    build.duplicates((ids[1], ids[2]))
    build.duplicates((ids[5], ids[8]))  # a later scan: what was proven stays proven
    with workspace.database.write() as session:
        session.add(schema.DuplicatePair(first_id=ids[4], second_id=ids[5], kind="crop", distance=0.2))  # too far
        images = {image.id: image for image in session.scalars(select(schema.Image))}
        images[ids[4]].pixels_sha256 = images[ids[3]].pixels_sha256
        gone = schema.Sighting(
            image_id=ids[6],
            uri="/gone",
            source="photos",
            scene="left",
            details={},
            bytes=1,
            modified_ns=0,
            current=False,
        )
        session.add(gone)
    with workspace.database.read() as session:
        catalog = splits.read(session)
        loaded = splits.load(session)
    root = dict(zip(catalog.image_ids, catalog.components.tolist(), strict=True))
    assert root[ids[0]] == root[ids[1]] == root[ids[2]]
    assert root[ids[3]] == root[ids[4]]
    assert root[ids[5]] == root[ids[8]]
    assert root[ids[6]] == root[ids[7]]  # of a scene it was in once
    assert len({root[image_id] for image_id in ids}) == 4
    assert set(loaded) == set(ids)


def test_load_keeps_the_split_of_the_first_version(workspace: Workspace, build: Any) -> None:
    first, second, third = build.images(3, scenes=["a", "a", None])
    build.labels({first: "cat", third: "dog"})
    with workspace.database.read() as session:
        before = splits.load(session)
        other = next(split for split in splits.FRACTIONS if split != before[first])
        label_id = session.scalar(select(schema.Label.id).where(schema.Label.image_id == first))
    with workspace.database.write() as session:
        for number, split in ((1, other), (2, before[first])):
            version = schema.Version(id=f"{number:064}", name="v", number=number, manifest={}, gates=[])
            session.add(version)
            session.flush()
            session.add(schema.VersionItem(version_id=version.id, image_id=first, label_id=label_id, split=split))
    with workspace.database.read() as session:
        after = splits.load(session)
    assert (after[first], after[second], after[third]) == (other, other, before[third])


def test_what_a_batch_picked_stays_when_its_component_grows(workspace: Workspace, build: Any) -> None:
    """Without the pick the component would take the split of its new smallest sha256."""
    ids = build.images(60)
    with workspace.database.read() as session:
        before = splits.load(session)
        sha256_of = dict(session.execute(select(schema.Image.id, schema.Image.sha256)).all())
    train = max((i for i in ids if before[i] == "train"), key=sha256_of.__getitem__)
    test = min((i for i in ids if before[i] == "test"), key=sha256_of.__getitem__)
    assert sha256_of[test] < sha256_of[train]
    build.batch([train])
    build.duplicates((train, test))
    with workspace.database.read() as session:
        after = splits.load(session)
    assert (after[train], after[test]) == ("train", "train")
