from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from curation import splits, versions
from qa import verdicts
from store import schema
from store.errors import IntegrityError, InvalidInputError, LeakError, NotFoundError
from store.schema import ImageId, Label, Verdict, Version, VersionItem
from store.workspace import Workspace, open_workspace


def _of_split(workspace: Workspace, split: str) -> list[ImageId]:
    with workspace.database.read() as session:
        return [image_id for image_id, found in splits.load(session).items() if found == split]


def _items(workspace: Workspace, version_id: str) -> dict[ImageId, versions.Item]:
    with workspace.database.read() as session:
        return {item.image_id: item for item in versions.items(session, version_id)}


def _gates(summary: versions.VersionSummary) -> dict[str, str]:
    return {gate.gate: gate.outcome for gate in summary.gates}


def test_a_cut_holds_every_label_in_its_split(workspace: Workspace, build: Any) -> None:
    images = build.images(40)
    build.labels({image: ("cat", "dog")[i % 2] for i, image in enumerate(images)})
    build.duplicates()
    summary = versions.cut(workspace, "pets")
    assert (summary.name, summary.number, summary.parent, summary.taxonomy) == ("pets", 1, None, "animals")
    assert sum(summary.counts.values()) == 40
    assert set(_gates(summary).values()) == {"pass"}
    with workspace.database.read() as session:
        assert {image: item.split for image, item in _items(workspace, summary.id).items()} == splits.load(session)
    assert versions.verify(workspace, summary.id) == summary


def test_cutting_again_without_a_change_is_the_same_version(workspace: Workspace, build: Any) -> None:
    images = build.images(4)
    build.labels(dict.fromkeys(images[:3], "cat"))
    first = versions.cut(workspace, "pets")
    assert versions.cut(workspace, "pets") == first
    build.labels({images[3]: "dog"})
    second = versions.cut(workspace, "pets")
    assert (second.number, second.parent) == (2, first.id)
    assert versions.cut(workspace, "pets") == second
    assert versions.cut(workspace, "others").id != second.id
    assert [each.number for each in versions.list_all(workspace) if each.name == "pets"] == [2, 1]


def test_the_same_inputs_give_the_same_digest_whatever_the_rows(
    workspace: Workspace, build: Any, tmp_path: Path
) -> None:
    other = open_workspace(tmp_path / "other")
    elsewhere = type(build)(other)
    ours, theirs = build.images(6), elsewhere.images(6)
    build.taxonomy()
    elsewhere.taxonomy()
    build.labels(dict.fromkeys(ours[:3], "cat"))
    build.labels(dict.fromkeys(ours[3:], "dog"))
    elsewhere.labels(dict.fromkeys(reversed(theirs[3:]), "dog"))
    elsewhere.labels(dict.fromkeys(reversed(theirs[:3]), "cat"))
    assert versions.cut(workspace, "pets").id == versions.cut(other, "pets").id


def test_of_a_duplicate_group_train_holds_the_representative(workspace: Workspace, build: Any) -> None:
    build.images(12)
    train = _of_split(workspace, "train")[:5]
    build.duplicates((train[2], train[0], train[1]), (train[4], train[3]))
    build.labels(dict.fromkeys([*train[:3], train[3]], "cat"))  # the second group's representative is unlabelled
    summary = versions.cut(workspace, "pets")
    assert set(_items(workspace, summary.id)) == {train[2], train[3]}
    details = {gate.gate: gate.detail for gate in summary.gates}
    assert details["duplicates"].startswith("2 images")


def test_of_a_group_without_its_representative_train_holds_the_smallest_sha256(
    workspace: Workspace, build: Any
) -> None:
    build.images(12)
    train = _of_split(workspace, "train")[:3]  # ordered by sha256
    build.duplicates((train[0], train[2], train[1]))
    build.labels(dict.fromkeys(train[1:], "cat"))
    assert set(_items(workspace, versions.cut(workspace, "pets").id)) == {train[1]}


def test_duplicates_stay_in_the_test(workspace: Workspace, build: Any) -> None:
    build.images(30)
    test = _of_split(workspace, "test")[:2]
    build.duplicates(test)
    build.labels(dict.fromkeys(test, "cat"))
    summary = versions.cut(workspace, "pets")
    assert summary.counts == {"train": 0, "val": 0, "test": 2}
    assert _gates(summary)["classes"] == "fail"


def test_a_cut_that_would_leak_fails_and_lists_the_pairs(workspace: Workspace, build: Any) -> None:
    build.images(30)
    train, test = _of_split(workspace, "train")[0], _of_split(workspace, "test")[0]
    build.labels({train: "cat", test: "dog"})
    first = versions.cut(workspace, "pets")
    build.duplicates((train, test))
    with pytest.raises(LeakError, match="1 pairs") as caught:
        versions.cut(workspace, "pets")
    for image_id, split in ((train, "train"), (test, "test")):
        assert f"/photos/{image_id - 1}.png ({split})" in str(caught.value)
    assert [each.id for each in versions.list_all(workspace)] == [first.id]


def test_a_new_duplicate_follows_into_the_split_of_what_it_copies(workspace: Workspace, build: Any) -> None:
    build.images(30)
    train, test = _of_split(workspace, "train")[0], _of_split(workspace, "test")[0]
    build.labels({test: "dog"})
    versions.cut(workspace, "pets")
    build.duplicates((train, test))
    build.labels({train: "dog"})
    second = versions.cut(workspace, "pets")
    assert second.counts == {"train": 0, "val": 0, "test": 2}


def test_a_duplicate_group_with_two_labels_is_a_warning(workspace: Workspace, build: Any) -> None:
    build.images(12)
    train = _of_split(workspace, "train")[:2]
    build.duplicates(train)
    build.labels({train[0]: "cat", train[1]: "dog"})
    summary = versions.cut(workspace, "pets")
    assert _gates(summary)["conflicts"] == "warn"
    assert _gates(summary)["test"] == "fail"


def test_an_image_whose_file_is_gone_is_noticed(workspace: Workspace, build: Any) -> None:
    (image,) = build.images(1)
    build.labels({image: "cat"})
    with workspace.database.write() as session:
        session.scalars(select(schema.Sighting)).one().current = False
    assert _gates(versions.cut(workspace, "pets"))["files"] == "fail"


@pytest.mark.parametrize("what", ["label", "split", "item", "other label", "evidence", "manifest"])
def test_tampering_is_found(workspace: Workspace, build: Any, what: str) -> None:
    images = build.images(5)
    build.labels(dict(zip(images, ("cat", "dog", "cat", "dog", "cat"), strict=True)))
    version_id = versions.cut(workspace, "pets").id
    versions.verify(workspace, version_id)
    with workspace.database.write() as session:
        item = session.scalars(select(VersionItem)).first()
        label = session.scalars(select(Label)).first()
        verdict = session.scalars(select(Verdict)).first()
        version = session.scalars(select(Version)).one()
        assert item is not None
        assert label is not None
        assert verdict is not None
        match what:
            case "label":
                label.value = "dog" if label.value == "cat" else "cat"
            case "split":
                item.split = "val" if item.split == "test" else "test"
            case "item":
                session.delete(item)
            case "other label":
                item.label_id = session.scalar(select(func.max(Label.id).filter(Label.id != item.label_id))) or 0
            case "evidence":
                verdict.evidence = {"answers": [{"annotator": "eve", "answer": "cat"}]}
            case "manifest":
                version.manifest = {**version.manifest, "classes": ["cat"]}
    with pytest.raises(IntegrityError, match=f"Version {version_id[:12]} is not what was cut"):
        versions.verify(workspace, version_id)


def test_diff_tells_added_removed_and_relabelled(workspace: Workspace, build: Any) -> None:
    images = build.images(12)
    build.taxonomy()
    train = _of_split(workspace, "train")[:4]
    build.labels({train[0]: "cat", train[1]: "cat", train[3]: "cat"})
    build.labels({image: "dog" for image in images if image not in train})
    first = versions.cut(workspace, "pets")
    build.duplicates((train[2], train[3]))
    build.labels({train[0]: "dog", train[2]: "cat"})
    second = versions.cut(workspace, "pets")
    found = versions.diff(workspace, first.id, second.id)
    assert [item.image_id for item in found.added] == [train[2]]
    assert [item.image_id for item in found.removed] == [train[3]]
    assert [(old.image_id, old.value, new.value) for old, new in found.relabelled] == [(train[0], "cat", "dog")]
    assert found.moved == []
    nothing = versions.diff(workspace, "pets", second.id)
    assert nothing == versions.Difference([], [], [], [])


def test_lineage_names_what_the_labels_rest_on(workspace: Workspace, build: Any) -> None:
    images = build.images(12)
    campaign = build.campaign(build.batch(images), build.taxonomy())
    build.answers(campaign, {"ann": ["cat"] * 6 + ["dog"] * 6, "bob": ["cat"] * 6 + ["dog"] * 6})
    verdicts.review(workspace, "campaign-1")
    build.duplicates()
    first = versions.cut(workspace, "pets")
    found = versions.lineage(workspace, "pets")
    assert (found.campaigns, found.verdicts, found.annotators) == (
        ["campaign-1"],
        {"consensus": 12},
        {"ann": 12, "bob": 12},
    )
    assert (found.encoder, found.duplicate_scan, len(found.batches)) == ("e" * 64, "d" * 64, 1)
    assert found.parents == []
    build.labels({images[0]: "dog"})
    second = versions.cut(workspace, "pets")
    assert versions.lineage(workspace, second.id).parents == [first.id]


def test_a_version_is_found_by_name_id_and_beginning(workspace: Workspace, build: Any) -> None:
    (image,) = build.images(1)
    with pytest.raises(NotFoundError, match="No image has a label"):
        versions.cut(workspace, "pets")
    build.labels({image: "cat"})
    only = versions.cut(workspace, "pets")
    assert only == versions.show(workspace, "pets") == versions.show(workspace, only.id[:6])
    for reference in ("cars", "", "%"):
        with pytest.raises(NotFoundError):
            versions.show(workspace, reference)
    ids = {only.id[0]}
    number = 0
    while len(ids) == len(versions.list_all(workspace)):  # cut until two ids begin alike, at the 17th at the latest
        number += 1
        ids.add(versions.cut(workspace, f"other {number}").id[0])
    with pytest.raises(InvalidInputError, match="2 versions begin with"):
        versions.show(workspace, versions.show(workspace, f"other {number}").id[0])


def test_labels_of_retired_classes_alone_make_no_version(workspace: Workspace, build: Any) -> None:
    build.taxonomy(["dog"])
    build.labels(dict.fromkeys(build.images(3), "cat"))
    with pytest.raises(NotFoundError, match="Every label under 'animals' is of a class that was retired"):
        versions.cut(workspace, "pets")


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_version_moves_or_splits_what_is_tied(data: st.DataObject, tmp_path: Path, build: Any) -> None:
    """Rounds of labels and duplicate scans in any order: what is cut never moves, what is tied stays together."""
    workspace = open_workspace(tmp_path / str(len(list(tmp_path.iterdir()))))
    rows = type(build)(workspace)
    rows.taxonomy(["cat", "dog"])
    images = rows.images(10, scenes=[data.draw(st.sampled_from(["a", "b", None])) for _ in range(10)])
    seen: dict[ImageId, str] = {}
    for _ in range(3):
        chosen = data.draw(st.lists(st.sampled_from(images), min_size=1, unique=True))
        rows.labels({image: data.draw(st.sampled_from(["cat", "dog"])) for image in chosen})
        pair = data.draw(st.lists(st.sampled_from(images), min_size=2, max_size=2, unique=True))
        rows.duplicates(pair)
        try:
            version_id = versions.cut(workspace, "pets").id
        except LeakError:
            continue
        now = {image: item.split for image, item in _items(workspace, version_id).items()}
        assert all(now[image] == seen[image] for image in now.keys() & seen.keys())
        with workspace.database.read() as session:
            catalog = splits.read(session)
        root = dict(zip(catalog.image_ids, catalog.components.tolist(), strict=True))
        assert len({(root[image], split) for image, split in now.items()}) == len({root[image] for image in now})
        seen |= now
