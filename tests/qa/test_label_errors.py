"""Wrong labels are found, told with reasons, adjudicated, and never changed by the search."""

from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from curation import labels, versions
from labeling import campaigns
from qa import adjudication, decisions, label_errors, verdicts
from store.errors import InvalidInputError, NotFoundError
from store.schema import Campaign, ImageId, Label, LabelSuspect, Task, VersionItem
from store.workspace import Workspace

NAMES = ["cat", "dog", "fox"]
NAME = "campaign-1"
WRONG = (3, 40)  # positions of images that two people called something else


class Collection:
    """Ninety images in three heaps that two people labelled, two of them wrongly."""

    def __init__(self, workspace: Workspace, build: Any) -> None:
        self.workspace, self.build = workspace, build
        self.images: list[ImageId] = build.images(90)
        self.truth = np.arange(90) % 3
        said = self.truth.copy()
        said[list(WRONG)] = (said[list(WRONG)] + 1) % 3
        self.said = [NAMES[one] for one in said]
        self.campaign = build.campaign(build.batch(self.images), build.taxonomy(NAMES))
        build.answers(self.campaign, {"ann": self.said, "bob": self.said})
        verdicts.review(workspace, NAME)

    def embed(self) -> None:
        generator = np.random.default_rng(0)
        vectors = np.eye(3, 12)[self.truth] + generator.normal(scale=0.15, size=(90, 12))
        self.build.vectors(self.images, vectors)

    def suspects(self) -> list[label_errors.Suspect]:
        with self.workspace.database.read() as session:
            return label_errors.standing(session)

    def label(self, position: int) -> str:
        with self.workspace.database.read() as session:
            return {one.image_id: one.value for one in labels.in_force(session, "animals")}[self.images[position]]


@pytest.fixture
def collection(workspace: Workspace, build: Any) -> Collection:
    return Collection(workspace, build)


def test_wrong_labels_come_first_with_the_reason_and_stay_as_they_are(collection: Collection) -> None:
    collection.embed()
    before = [collection.label(i) for i in range(90)]
    summary = label_errors.scan(collection.workspace)
    assert (summary.taxonomy, summary.labels, summary.without_vectors, summary.adjudicated) == ("animals", 90, 0, 0)
    assert summary.candidates == len(collection.suspects())
    assert summary.expected_wrong == pytest.approx(2 / 90, abs=0.02)
    first = collection.suspects()[:2]
    assert {one.image for one in first} == {collection.images[i] for i in WRONG}
    for one in first:
        position = collection.images.index(ImageId(one.image))
        assert (one.label, one.suggestion) == (collection.said[position], NAMES[collection.truth[position]])
        assert f"gives '{one.label}'" in one.why
        assert "nearest neighbours" in one.why
    assert [collection.label(i) for i in range(90)] == before


def test_suspects_go_to_adjudication_and_only_the_answer_changes_the_label(collection: Collection) -> None:
    collection.embed()
    workspace = collection.workspace
    label_errors.scan(workspace)
    cut = versions.cut(workspace, "before").id
    [opened] = adjudication.open_suspects(workspace, 1, taxonomy="animals")
    assert (opened.opened, opened.items) == ("campaign-1-adjudication", 1)
    with workspace.database.read() as session:
        [task] = session.scalars(select(Task).join(Campaign).where(Campaign.name == opened.opened))
        shown = {part["value"]["choices"][0] for result in task.suggestions or [] for part in result}
        items = adjudication.queue(workspace, session, NAME).items
    position = collection.images.index(ImageId(task.image_id))
    assert shown == {collection.said[position], NAMES[collection.truth[position]]}
    assert [item.held_by for item in items[:2]].count("campaign-1-adjudication") == 1
    assert collection.label(position) == collection.said[position]  # until somebody answers
    assert verdicts.review(workspace, NAME).new_verdicts == 0

    decisions.decide(workspace, NAME, str(task.image_id), answer=NAMES[collection.truth[position]],
                     reason="annotator-mistake", author="eve")  # fmt: skip
    verdicts.review(workspace, NAME)
    assert collection.label(position) == NAMES[collection.truth[position]]
    assert task.image_id not in {one.image for one in collection.suspects()}
    with workspace.database.read() as session:
        of_version = select(Label.value).join(VersionItem, VersionItem.label_id == Label.id)
        cut_value = session.scalar(
            of_version.where(VersionItem.version_id == cut, VersionItem.image_id == task.image_id)
        )
    assert cut_value == collection.said[position]  # a version stays as it was cut
    again = label_errors.scan(workspace)
    assert again.adjudicated == 1
    assert task.image_id not in {one.image for one in collection.suspects()}


def test_a_label_that_an_expert_confirmed_is_no_candidate_any_more(collection: Collection) -> None:
    collection.embed()
    label_errors.scan(collection.workspace)
    first = collection.suspects()[0]
    decisions.decide(collection.workspace, NAME, f"task:{first.task}", answer=first.label,
                     reason="agreed-with-majority", author="eve")  # fmt: skip
    with collection.workspace.database.read() as session:
        found = adjudication.queue(collection.workspace, session)
    assert first.task not in {item.task for item in found.items}
    assert found.decided == 1
    verdicts.review(collection.workspace, NAME)
    label_errors.scan(collection.workspace)
    assert first.image not in {one.image for one in collection.suspects()}


def test_copies_with_different_labels_are_candidates_and_name_each_other(collection: Collection, build: Any) -> None:
    images = collection.images
    collection.embed()
    build.duplicates([images[0], images[1]], [images[6], images[9]])  # a cat and a dog; two cats
    summary = label_errors.scan(collection.workspace)
    assert summary.sources["copies"] == 2
    told = {one.image: one for one in collection.suspects()}
    assert told[images[0]].why.endswith(f"The same picture, image {images[1]}, is labelled 'dog'.")
    assert (told[images[0]].suggestion, told[images[1]].suggestion) == ("dog", "cat")
    assert images[6] not in told


def test_what_cannot_be_searched_is_a_sentence(collection: Collection, build: Any) -> None:
    with pytest.raises(NotFoundError, match="embed"):
        label_errors.scan(collection.workspace)
    build.vectors([build.images(91, order=[90])[0]], np.eye(1, 12), name="test")
    with pytest.raises(NotFoundError, match="None of 90 labelled images has a vector"):
        label_errors.scan(collection.workspace)


def test_with_one_class_nothing_stands_out(workspace: Workspace, build: Any) -> None:
    images = build.images(4)
    build.taxonomy()
    build.labels(dict.fromkeys(images, "cat"))
    build.vectors(images, np.random.default_rng(0).normal(size=(4, 3)))
    with pytest.raises(InvalidInputError, match="All 4 labels are 'cat'"):
        label_errors.scan(workspace)


def test_a_class_of_one_image_stops_no_search(workspace: Workspace, build: Any) -> None:
    images = build.images(12)
    build.taxonomy(NAMES)
    build.labels(dict(zip(images, ["cat"] * 6 + ["dog"] * 5 + ["fox"], strict=True)))
    heaps = np.eye(2, 6)[[0] * 6 + [1] * 6] + np.random.default_rng(0).normal(scale=0.05, size=(12, 6))
    build.vectors(images, heaps)
    label_errors.scan(workspace)
    with workspace.database.read() as session:
        [suspect] = label_errors.standing(session)
        assert session.scalars(select(LabelSuspect)).one().rank == 0
    assert (suspect.image, suspect.suggestion) == (images[11], "dog")


def test_there_are_no_labels(workspace: Workspace) -> None:
    with pytest.raises(NotFoundError, match="No image has a label yet"):
        label_errors.scan(workspace)


def test_suspects_of_several_campaigns_are_planned_together_or_not_at_all(
    workspace: Workspace, build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, taxonomy = build.images(90), build.taxonomy(NAMES)
    truth = np.arange(90) % 3
    said = truth.copy()
    said[[3, 50]] = (said[[3, 50]] + 1) % 3
    for part in (slice(0, 45), slice(45, 90)):
        answers = [NAMES[one] for one in said[part]]
        build.answers(build.campaign(build.batch(images[part]), taxonomy), {"ann": answers, "bob": answers})
    verdicts.review(workspace, "campaign-1")
    verdicts.review(workspace, "campaign-2")
    build.vectors(images, np.eye(3, 12)[truth] + np.random.default_rng(0).normal(scale=0.15, size=(90, 12)))
    label_errors.scan(workspace)

    plan = campaigns.plan_adjudication

    def killed(*arguments: Any, parent: str, **others: Any) -> int:
        if parent == "campaign-2":
            raise KeyboardInterrupt
        return plan(*arguments, parent=parent, **others)

    def planned() -> list[str]:
        with workspace.database.read() as session:
            return list(session.scalars(select(Campaign.name).where(Campaign.purpose == "adjudication")))

    with monkeypatch.context() as patch:
        patch.setattr(campaigns, "plan_adjudication", killed)
        with pytest.raises(KeyboardInterrupt):
            adjudication.open_suspects(workspace, 2, taxonomy="animals")
    assert planned() == []
    opened = adjudication.open_suspects(workspace, 2, taxonomy="animals")
    assert [(one.campaign, one.items) for one in opened] == [("campaign-1", 1), ("campaign-2", 1)]
    assert planned() == [one.opened for one in opened]


def test_suspects_that_another_plans_meanwhile_go_to_no_expert_twice(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection.embed()
    label_errors.scan(collection.workspace)
    really, before = adjudication.queue, []

    def queue_while_another_plans(*arguments: Any) -> adjudication.Queue:
        found = really(*arguments)
        monkeypatch.setattr(adjudication, "queue", really)
        before.extend(adjudication.open_suspects(collection.workspace, 1, taxonomy="animals"))
        return found

    monkeypatch.setattr(adjudication, "queue", queue_while_another_plans)
    [summary] = adjudication.open_suspects(collection.workspace, 2, taxonomy="animals")
    assert [(one.items, one.already) for one in (*before, summary)] == [(1, 0), (1, 1)]


def test_a_campaign_is_planned_of_disputes_alone_unless_more_is_asked_for(collection: Collection) -> None:
    collection.embed()
    label_errors.scan(collection.workspace)
    assert adjudication.open_campaign(collection.workspace, NAME).opened is None
    opened = adjudication.open_campaign(collection.workspace, NAME, label_errors_too=2)
    assert opened.items == 2
    with collection.workspace.database.read() as session:
        campaign = campaigns.get(session, opened.opened or "")
        ranked = select(Task.image_id).where(Task.campaign_id == campaign.id).order_by(Task.rank)
        order = list(session.scalars(ranked))
    assert order == [one.image for one in collection.suspects()[:2]]  # the most suspect first
    with pytest.raises(InvalidInputError, match="0 or more"):
        adjudication.open_campaign(collection.workspace, NAME, label_errors_too=-1)
