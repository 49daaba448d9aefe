"""Duplicates: stars that never chain, proven by pixels, the same whatever the order."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from curation import decisions, duplicates, splits
from curation.calibration import MOST_RESIDUAL
from curation.duplicates import Match
from curation.ingest import ingest
from store.errors import NotFoundError
from store.schema import DuplicatePair, ImageId
from store.workspace import Workspace


def photo(seed: int, *, side: int = 160) -> Image.Image:
    """A picture with structure at several scales, like a photo and unlike any other seed's."""
    generator = np.random.default_rng(seed)
    total = np.zeros((side, side, 3))
    for cells in (4, 9, 20, 45):
        coarse = Image.fromarray(generator.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        total += np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), dtype=float) / cells**0.4
    total = (total - total.min()) / (total.max() - total.min())
    return Image.fromarray((30 + total * 190).astype(np.uint8))


def recompressed(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=70)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


def cropped(image: Image.Image) -> Image.Image:
    return image.crop((10, 16, 10 + int(image.width * 0.85), 16 + int(image.height * 0.85)))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "recompressed": recompressed,
    "half size": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
}


def near(a: int, b: int) -> Match | None:
    """Positions on a line: neighbours match, and nothing further apart does."""
    return Match("perceptual", abs(a - b) / 100) if abs(a - b) <= 1 else None


def test_groups_do_not_chain() -> None:
    """0–1–2–3 in a row: 1 is preferred, takes 0 and 2; 3 was only like 2 and stays alone."""
    matches = {(i, i + 1): near(i, i + 1) for i in range(3)}
    (found,) = duplicates.group([1, 0, 2, 3], matches, near)  # type: ignore[arg-type]
    assert (found.representative, sorted(found.members)) == (1, [0, 2])


def test_a_pair_nobody_proposed_is_compared_when_a_third_ties_it() -> None:
    everything_matches = Match("perceptual", 0.01)
    matches = {(0, 1): everything_matches, (1, 2): everything_matches}
    (found,) = duplicates.group([0, 1, 2], matches, lambda a, b: everything_matches)
    assert sorted(found.members) == [1, 2]


@given(st.sets(st.tuples(st.integers(0, 9), st.integers(0, 9)).filter(lambda pair: pair[0] < pair[1])), st.randoms())
def test_groups_are_stars_of_matches_and_do_not_overlap(pairs: set[tuple[int, int]], random: Any) -> None:
    matches = dict.fromkeys(pairs, Match("perceptual", 0.05))
    preference = list(range(10))
    random.shuffle(preference)
    groups = duplicates.group(preference, matches, lambda a, b: matches.get((a, b)))
    members = [member for group in groups for member in (group.representative, *group.members)]
    assert len(members) == len(set(members))
    for group in groups:
        for member in group.members:
            assert tuple(sorted((group.representative, member))) in pairs
    tied = {position for pair in pairs for position in pair}
    for position in tied - set(members):  # whoever stayed alone is like no representative
        assert all(tuple(sorted((group.representative, position))) not in pairs for group in groups)


def fill(workspace: Workspace, folder: Path, build: Any, order: list[str]) -> None:
    """Save the pictures, ingest them one by one in `order`, and embed them by their mean colours."""
    pictures = {f"photo-{seed}.png": photo(seed) for seed in range(4)}
    pictures |= {"copy-0.png": recompressed(photo(0)), "small-1.png": CHANGES["half size"](photo(1))}
    pictures |= {"crop-2.png": cropped(photo(2)), "same-3.bmp": photo(3)}
    folder.mkdir(parents=True, exist_ok=True)
    for name in order:
        pictures[name].save(folder / name)
        ingest(workspace, [str(folder / name)])
    values = [np.asarray(pictures[name].resize((4, 4)), dtype=np.float32).ravel() for name in order]
    build.vectors([ImageId(i + 1) for i in range(len(order))], np.stack(values))


NAMES = ["photo-0.png", "photo-1.png", "photo-2.png", "photo-3.png", "copy-0.png", "small-1.png", "crop-2.png"]
NAMES += ["same-3.bmp"]


def test_a_scan_finds_every_kind_and_nothing_else(workspace: Workspace, tmp_path: Path, build: Any) -> None:
    fill(workspace, tmp_path, build, NAMES)
    summary = duplicates.scan(workspace)
    assert (summary.images, summary.groups, summary.duplicates) == (8, 4, 4)
    with workspace.database.read() as session:
        groups = duplicates.newest_groups(session)
    found = {
        tuple(sorted(NAMES[member.image_id - 1] for member in members)): members[1].kind for _, _, members in groups
    }
    assert found.pop(("crop-2.png", "photo-2.png")) == "crop"
    assert found.pop(("photo-3.png", "same-3.bmp")) == "pixels"
    assert set(found) == {("copy-0.png", "photo-0.png"), ("photo-1.png", "small-1.png")}
    assert set(found.values()) == {"perceptual"}
    for _, representative, members in groups:
        assert members[0].image_id == representative
        assert all(member.distance <= MOST_RESIDUAL for member in members)


def test_order_and_repetition_do_not_matter(workspace: Workspace, tmp_path: Path, build: Any) -> None:
    from store.workspace import open_workspace

    fill(workspace, tmp_path / "a", build, NAMES)
    digest = duplicates.scan(workspace).digest
    assert duplicates.scan(workspace).digest == digest
    other = open_workspace(tmp_path / "other")
    fill(other, tmp_path / "a", type(build)(other), NAMES[::-1])
    assert duplicates.scan(other).digest == digest


def test_an_interrupted_scan_goes_on_where_it_was(
    workspace: Workspace, tmp_path: Path, build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(workspace, tmp_path, build, NAMES)
    monkeypatch.setattr(duplicates, "_PAIRS", 4)
    compared: list[int] = []

    def interrupt(done: int, total: int) -> None:
        compared.append(done)
        if len(compared) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        duplicates.scan(workspace, on_progress=interrupt)
    assert compared == [4, 8, 12]
    first = duplicates.scan(workspace)
    assert first.compared_pairs > 0
    assert first.groups == 4
    assert (
        duplicates.scan(workspace, max_residual=first.calibration["max_residual"]).compared_pairs == 0
    )  # all is known
    whole = duplicates.scan(workspace, anew=True)
    assert first.compared_pairs + 12 <= whole.compared_pairs + first.duplicates  # what was proven is known even then
    assert whole.digest == first.digest


def test_vectors_do_not_replace_what_pixels_proved(workspace: Workspace, tmp_path: Path, build: Any) -> None:
    fill(workspace, tmp_path, build, NAMES)
    duplicates.scan(workspace)
    with workspace.database.read() as session:
        proven = duplicates.matches_in_force(session)
    duplicates.scan(workspace, min_cosine=0.9)
    for path in tmp_path.glob("*.png"):
        path.unlink()
    duplicates.scan(workspace)
    with workspace.database.read() as session:
        assert duplicates.matches_in_force(session) == proven


def test_a_collection_that_grows_a_little_at_a_time_is_calibrated_again(
    workspace: Workspace, tmp_path: Path, build: Any
) -> None:
    fill(workspace, tmp_path, build, NAMES)
    assert duplicates.scan(workspace).new_images == 8
    compared = []
    for seed in (10, 11, 12):
        photo(seed).save(tmp_path / f"more-{seed}.png")
        ingest(workspace, [str(tmp_path / f"more-{seed}.png")])
        values = np.asarray(photo(seed).resize((4, 4)), dtype=np.float32).ravel()
        build.vectors([ImageId(9 + len(compared))], values[None])
        compared.append(duplicates.scan(workspace).new_images)
    assert compared == [1, 1, 11]  # the third makes it more than a quarter


def test_the_larger_picture_speaks_for_the_smaller_unless_that_is_labelled(
    workspace: Workspace, tmp_path: Path, build: Any
) -> None:
    fill(workspace, tmp_path, build, NAMES)

    def representative_of(name: str) -> str:
        duplicates.scan(workspace)
        with workspace.database.read() as session:
            for _, representative, members in duplicates.newest_groups(session):
                if NAMES.index(name) + 1 in [member.image_id for member in members]:
                    return NAMES[representative - 1]
        raise AssertionError

    assert representative_of("small-1.png") == "photo-1.png"
    build.labels({ImageId(NAMES.index("small-1.png") + 1): "cat"})
    assert representative_of("small-1.png") == "small-1.png"


def test_a_file_that_went_away_is_said_and_the_rest_goes_on(workspace: Workspace, tmp_path: Path, build: Any) -> None:
    fill(workspace, tmp_path, build, NAMES)
    (tmp_path / "photo-0.png").unlink()
    summary = duplicates.scan(workspace)
    assert len(summary.unreadable) == 1
    assert "gone or has changed" in summary.unreadable[0]
    assert summary.groups == 3


def test_every_proven_pair_is_kept_also_those_no_group_holds(workspace: Workspace, build: Any) -> None:
    """0–1–2 in a row: the group takes two, and the pair that is left still may not be separated."""
    ids = build.images(3)
    matches = {(0, 1): Match("crop", 0.05), (1, 2): Match("crop", 0.06)}
    (found,) = duplicates.group([0, 1, 2], matches, near)
    assert sorted(found.members) == [1]
    build.duplicates((ids[0], ids[1]))
    with workspace.database.write() as session:
        session.add(DuplicatePair(first_id=ids[1], second_id=ids[2], kind="crop", distance=0.06))
    with workspace.database.read() as session:
        assert sorted(duplicates.pairs_in_force(session)) == [(ids[0], ids[1]), (ids[1], ids[2])]
        assert len(set(splits.read(session).components.tolist())) == 1


def test_a_copy_whose_file_is_gone_stays_tied_to_what_has_its_pixels(
    workspace: Workspace, tmp_path: Path, build: Any
) -> None:
    names = ["photo-3.png", "same-3.bmp", "photo-1.png", "small-1.png"]
    fill(workspace, tmp_path, build, names)
    duplicates.scan(workspace)
    (tmp_path / "same-3.bmp").unlink()
    assert len(duplicates.scan(workspace, anew=True).unreadable) == 1
    with workspace.database.read() as session:
        assert duplicates.pairs_in_force(session) == [(1, 2), (3, 4)]


def scanned_pairs(workspace: Workspace) -> set[tuple[int, int]]:
    with workspace.database.read() as session:
        return set(duplicates.pairs_in_force(session))


def test_a_second_scan_compares_only_what_is_new(workspace: Workspace, tmp_path: Path, build: Any) -> None:
    """Five pictures, then a copy of one of them and another picture."""
    names = ["photo-0.png", "photo-1.png", "photo-2.png", "photo-3.png", "copy-0.png", "small-1.png", "crop-2.png"]
    pictures = {f"photo-{seed}.png": photo(seed) for seed in range(4)}
    pictures |= {"copy-0.png": recompressed(photo(0)), "small-1.png": CHANGES["half size"](photo(1))}
    pictures |= {"crop-2.png": cropped(photo(2))}

    def bring(some: list[str], first_id: int) -> None:
        for name in some:
            pictures[name].save(tmp_path / name)
            ingest(workspace, [str(tmp_path / name)])
        values = [np.asarray(pictures[name].resize((4, 4)), dtype=np.float32).ravel() for name in some]
        build.vectors([ImageId(first_id + i) for i in range(len(some))], np.stack(values))

    bring(names[:6], 1)
    first = duplicates.scan(workspace)
    assert (first.new_images, scanned_pairs(workspace)) == (6, {(1, 5), (2, 6)})
    again = duplicates.scan(workspace)
    assert (again.new_images, again.compared_pairs, again.digest) == (0, 0, first.digest)
    bring(names[6:], 7)
    grown = duplicates.scan(workspace)
    assert (grown.new_images, grown.calibration) == (1, first.calibration)
    assert scanned_pairs(workspace) == {(1, 5), (2, 6), (3, 7)}
    assert duplicates.scan(workspace, anew=True).digest == grown.digest


def test_look_alikes_are_one_picture_only_where_a_person_says_how_near(
    workspace: Workspace, tmp_path: Path, build: Any
) -> None:
    """Pictures 0 and 1 have nothing in common but their vectors, which lie 10 degrees apart."""
    for seed in range(4):
        photo(seed).save(tmp_path / f"{seed}.png")
        ingest(workspace, [str(tmp_path / f"{seed}.png")])
    angles = np.deg2rad([0, 10, 150, 250])
    build.vectors([ImageId(i) for i in range(1, 5)], np.stack([np.cos(angles), np.sin(angles)], axis=1))
    assert duplicates.scan(workspace).groups == 0
    asked = duplicates.scan(workspace, min_cosine=0.9)
    assert (asked.kinds, scanned_pairs(workspace)) == ({"embedding": 1}, {(1, 2)})
    assert duplicates.scan(workspace).groups == 0
    assert scanned_pairs(workspace) == set()


def test_what_a_person_said_goes_before_what_a_scan_finds(workspace: Workspace, tmp_path: Path, build: Any) -> None:
    fill(workspace, tmp_path, build, NAMES)
    duplicates.scan(workspace)

    def groups() -> dict[tuple[int, ...], int]:
        with workspace.database.read() as session:
            return {
                tuple(sorted(member.image_id for member in members)): group
                for group, _, members in duplicates.newest_groups(session)
            }

    assert (1, 5) in groups()
    decisions.reject(workspace, groups()[1, 5])
    assert (1, 5) not in scanned_pairs(workspace)  # splits may part them at once
    for anew in (False, True):
        duplicates.scan(workspace, anew=anew)
        assert (1, 5) not in groups()
    decisions.accept(workspace, groups()[2, 6])
    duplicates.scan(workspace, max_residual=0.0001, anew=True)
    assert set(groups()) == {(2, 6), (4, 8)}  # equal pixels, and what was accepted


def test_one_member_may_be_rejected(workspace: Workspace, build: Any) -> None:
    ids = build.images(3)
    build.duplicates(ids)
    with workspace.database.read() as session:
        ((group, _, _),) = duplicates.newest_groups(session)
    assert decisions.reject(workspace, group, image_id=ids[2]) == 2
    assert scanned_pairs(workspace) == {(ids[0], ids[1])}
    with pytest.raises(NotFoundError, match="not in group"):
        decisions.reject(workspace, group, image_id=ImageId(99))
    with pytest.raises(NotFoundError, match="no group 77"):
        decisions.accept(workspace, 77)


@pytest.mark.parametrize(
    ("found", "refused", "false_share", "expected"), [(0, 100, 0.5, None), (10, 100, 0.01, 0.9), (1, 1000, 0.1, 0.0)]
)
def test_the_precision_expected(found: int, refused: int, false_share: float, expected: float | None) -> None:
    assert duplicates.expected_precision(found, refused, false_share) == pytest.approx(expected)
