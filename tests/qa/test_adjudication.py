from typing import Any

import pytest
from sqlalchemy import select

from curation import labels
from labeling import evolution
from labeling.content import Content, ImageChoice, Region
from labeling.geometry import Box
from qa import adjudication, decisions, migrations, verdicts
from store.errors import InvalidInputError
from store.schema import Annotation, Campaign, Label, Task
from store.workspace import Workspace

NAME = "campaign-1"


def _campaign(workspace: Workspace, name: str) -> Campaign:
    with workspace.database.read() as session:
        return session.scalars(select(Campaign).where(Campaign.name == name)).one()


def _images(workspace: Workspace, name: str) -> set[int]:
    with workspace.database.read() as session:
        return set(session.scalars(select(Task.image_id).join(Campaign).where(Campaign.name == name)))


def test_disputes_are_opened_once_answered_and_settled(workspace: Workspace, build: Any) -> None:
    images = build.images(12)
    campaign_id = build.campaign(build.batch(images), build.taxonomy())
    agreed = ["cat"] * 5 + ["dog"] * 5
    build.answers(campaign_id, {"ann": [*agreed, "dog", "cat"], "bob": [*agreed, "cat", "cat"]})
    assert adjudication.open_campaign(workspace, NAME).opened is None  # nothing was reviewed yet

    verdicts.review(workspace, NAME)
    first = adjudication.open_campaign(workspace, NAME)
    assert (first.opened, first.items, first.already) == ("campaign-1-adjudication", 1, 0)
    opened = _campaign(workspace, "campaign-1-adjudication")
    assert (opened.purpose, opened.parent_id, opened.overlap) == ("adjudication", campaign_id, 1)
    assert _images(workspace, opened.name) == {images[10]}
    again = adjudication.open_campaign(workspace, NAME)
    assert (again.opened, again.items, again.already) == (None, 0, 1)

    with workspace.database.write() as session:  # bob changes his mind about the last one too
        task_id = session.scalar(select(Task.id).where(Task.campaign_id == campaign_id, Task.rank == 11))
        for annotation in session.scalars(select(Annotation).where(Annotation.task_id == task_id)):
            columns = {column.key: getattr(annotation, column.key) for column in Annotation.__table__.columns}
            if annotation.ls_annotation_id > 12:
                session.add(Annotation(**{**columns, "id": None, "revision": 1, "answer": "dog"}))
    verdicts.review(workspace, NAME)
    second = adjudication.open_campaign(workspace, NAME)
    assert (second.opened, second.items, second.already) == ("campaign-1-adjudication-2", 1, 1)
    assert _images(workspace, "campaign-1-adjudication-2") == {images[11]}

    build.answers(opened.id, {"eve": ["dog"]})
    build.answers(_campaign(workspace, "campaign-1-adjudication-2").id, {"eve": ["cat"]})
    assert verdicts.review(workspace, NAME).outcomes == {"accepted": 12}
    with workspace.database.read() as session:
        values = dict(session.execute(select(Label.image_id, Label.value).order_by(Label.id)).all())
    assert (values[images[10]], values[images[11]]) == ("dog", "cat")
    assert adjudication.open_campaign(workspace, NAME).already == 0


def test_what_another_plans_meanwhile_goes_to_no_expert_twice(
    workspace: Workspace, build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = build.images(3)
    build.answers(build.campaign(build.batch(images), build.taxonomy()), {"ann": ["cat"] * 3, "bob": ["dog"] * 3})
    verdicts.review(workspace, NAME)
    really, before = adjudication.queue, []

    def queue_while_another_plans(*arguments: Any) -> adjudication.Queue:
        found = really(*arguments)
        monkeypatch.setattr(adjudication, "queue", really)
        before.append(adjudication.open_campaign(workspace, NAME))
        return found

    monkeypatch.setattr(adjudication, "queue", queue_while_another_plans)
    summary = adjudication.open_campaign(workspace, NAME)
    assert [(one.opened, one.items, one.already) for one in (*before, summary)] == [
        (f"{NAME}-adjudication", 3, 0),
        (None, 0, 3),
    ]


def test_what_is_decided_or_withdrawn_meanwhile_goes_to_no_expert(
    workspace: Workspace, build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = build.images(4)
    build.answers(build.campaign(build.batch(images), build.taxonomy()), {"ann": ["cat"] * 4, "bob": ["dog"] * 4})
    verdicts.review(workspace, NAME)
    really = adjudication.queue

    def queue_while_it_changes(*arguments: Any) -> adjudication.Queue:
        found = really(*arguments)
        decisions.decide(workspace, NAME, str(images[0]), answer="cat", reason="annotator-mistake", author="eve")
        with workspace.database.write() as session:
            session.scalars(select(Task).where(Task.image_id == images[1])).one().state = "withdrawn"
        return found

    monkeypatch.setattr(adjudication, "queue", queue_while_it_changes)
    summary = adjudication.open_campaign(workspace, NAME)
    assert (summary.items, summary.already) == (2, 0)
    assert _images(workspace, f"{NAME}-adjudication") == set(images[2:])
    again = adjudication.open_campaign(workspace, NAME)
    assert (again.opened, again.items, again.already) == (None, 0, 2)


def test_an_adjudication_is_not_adjudicated(workspace: Workspace, build: Any) -> None:
    campaign_id = build.campaign(build.batch(build.images(1)), build.taxonomy())
    build.answers(campaign_id, {"ann": ["cat"], "bob": ["dog"]})
    verdicts.review(workspace, NAME)
    adjudication.open_campaign(workspace, NAME)
    with pytest.raises(InvalidInputError, match="adjudication of 'campaign-1'"):
        adjudication.open_campaign(workspace, "campaign-1-adjudication")


def _queue(workspace: Workspace, name: str | None = NAME) -> adjudication.Queue:
    with workspace.database.read() as session:
        return adjudication.queue(workspace, session, name)


def test_the_queue_is_ordered_by_doubt_and_then_by_rank(workspace: Workspace, build: Any) -> None:
    assert _queue(workspace, None) == adjudication.Queue([], 0)
    images = build.images(13)
    campaign_id = build.campaign(build.batch(images), build.taxonomy(("cat", "dog", "fox")), overlap=3)
    agreed = ["cat"] * 5 + ["dog"] * 5
    build.answers(
        campaign_id,
        {
            "ann": [*agreed, "dog", "cat", "fox"],
            "bob": [*agreed, "dog", "dog", "cat"],
            "cas": [*agreed[:9], "fox", "cat", "fox", "dog"],
        },
    )
    assert _queue(workspace).items == []  # nothing was reviewed yet
    verdicts.review(workspace, NAME, accept_at=0.999)
    found = [item for item in _queue(workspace).items if item.image in images[10:]]
    assert [item.value for item in found] == sorted((item.value for item in found), reverse=True)
    assert {item.image for item in found[:2]} == {images[11], images[12]}  # three ways, then two
    assert found[0].answers == {"cat": 1, "dog": 1, "fox": 1}
    assert sorted(found[2].suggestions) == ["cat", "dog"]
    assert {item.reason for item in found} == {"disputed"}
    assert all(item.label is None and item.held_by is None for item in found)
    assert _queue(workspace, None).items == _queue(workspace).items


def test_suggestions_come_in_an_order_that_says_nothing(workspace: Workspace, build: Any) -> None:
    images = build.images(240)
    campaign_id = build.campaign(build.batch(images), build.taxonomy())
    agreed = ["cat"] * 100 + ["dog"] * 100
    build.answers(campaign_id, {"ann": [*agreed, *["dog"] * 40], "bob": [*agreed, *["cat"] * 40]})
    verdicts.review(workspace, NAME, accept_at=0.6)
    items = _queue(workspace).items
    assert [item.rank for item in items] == list(range(200, 240))  # of equal value
    first = [item.suggestions[0] for item in items]
    assert 10 < first.count("cat") < 30
    assert first == [item.suggestions[0] for item in _queue(workspace).items]


def test_decided_and_withdrawn_items_leave_the_queue(workspace: Workspace, build: Any) -> None:
    images = build.images(13)
    campaign_id = build.campaign(build.batch(images), build.taxonomy())
    agreed = ["cat"] * 5 + ["dog"] * 5
    build.answers(campaign_id, {"ann": [*agreed, *["dog"] * 3], "bob": [*agreed, *["cat"] * 3]})
    verdicts.review(workspace, NAME)
    decisions.decide(workspace, NAME, str(images[10]), answer="dog", reason="annotator-mistake", author="eve")
    with workspace.database.write() as session:
        session.scalars(select(Task).where(Task.image_id == images[11])).one().state = "withdrawn"
    found = _queue(workspace)
    assert ([item.image for item in found.items], found.decided) == ([images[12]], 1)
    assert adjudication.open_campaign(workspace, NAME).items == 1
    verdicts.review(workspace, NAME)
    assert _queue(workspace).decided == 0


def test_who_answers_differently_afterwards_brings_a_settled_item_back(workspace: Workspace, build: Any) -> None:
    images = build.images(11)
    campaign_id = build.campaign(build.batch(images), build.taxonomy())
    agreed = ["cat"] * 5 + ["dog"] * 5
    build.answers(campaign_id, {"ann": [*agreed, "dog"], "bob": [*agreed, "cat"]})
    verdicts.review(workspace, NAME)
    decisions.decide(workspace, NAME, str(images[10]), answer="dog", reason="annotator-mistake", author="eve")
    verdicts.review(workspace, NAME)
    assert _queue(workspace).items == []
    build.answers(campaign_id, {"cas": [None] * 10 + ["cat"], "dan": [None] * 10 + ["dog"]})
    with workspace.database.write() as session:
        for annotation in session.scalars(select(Annotation).order_by(Annotation.id.desc()).limit(2)):
            annotation.ls_updated_at = "2999-01-01T00:00:00.000000Z"
    verdicts.review(workspace, NAME)
    [item] = _queue(workspace).items
    assert (item.reason, item.label, item.value) == ("answered-since", "dog", 0.2)
    assert item.why == "After it was settled as 'dog', 1 answered differently."
    opened = adjudication.open_campaign(workspace, NAME)
    assert opened.items == 1
    assert adjudication.open_campaign(workspace, NAME).opened is None


def test_what_two_campaigns_labelled_differently_is_for_an_expert(workspace: Workspace, build: Any) -> None:
    images, taxonomy = build.images(12), build.taxonomy()
    said = ["cat"] * 6 + ["dog"] * 6
    build.answers(build.campaign(build.batch(images), taxonomy), dict.fromkeys(("ann", "bob", "cas"), said))
    verdicts.review(workspace, NAME)
    build.answers(build.campaign(build.batch(images), taxonomy, overlap=1), {"dan": [*said[:11], "cat"]})
    assert verdicts.review(workspace, "campaign-2", accept_at=0.5).conflicts == 1
    assert _queue(workspace).items == []  # the label in force is the other campaign's
    [item] = _queue(workspace, None).items
    assert (item.campaign, item.image, item.reason, item.label) == ("campaign-2", images[11], "conflict", "cat")
    assert item.why == "campaign-1 accepted 'dog' of the same image."
    assert 0.5 < item.value < 1  # three people said so against one
    assert sorted(item.suggestions) == ["cat", "dog"]

    assert adjudication.open_campaign(workspace, "campaign-2").items == 1
    decisions.decide(workspace, "campaign-2", str(images[11]), answer="dog", reason="annotator-mistake", author="eve")
    assert _queue(workspace, None).items == []
    verdicts.review(workspace, "campaign-2")
    assert _queue(workspace, None).items == []
    with workspace.database.read() as session:
        in_force = {one.image_id: one.value for one in labels.in_force(session, "animals")}
    assert in_force == dict(zip(images, said, strict=True))


def test_labels_of_other_campaigns_that_no_longer_stand_are_no_conflict(workspace: Workspace, build: Any) -> None:
    images, taxonomy = build.images(6), build.taxonomy(["cat", "dog", "owl"], kind="multilabel")
    first, second = build.campaign(build.batch(images), taxonomy), build.campaign(build.batch(images), taxonomy)

    def both(*names: str) -> dict[str, list[Content]]:
        return {name: [Content(choice=ImageChoice(("cat",)))] * 5 + [Content(choice=ImageChoice(names))]
                for name in ("ann", "bob", "cas")}  # fmt: skip

    build.answers(first, both("cat", "owl"))
    build.answers(second, both("cat"))
    for name in (NAME, "campaign-2"):
        verdicts.review(workspace, name, accept_at=0.5)
    [item] = _queue(workspace, None).items
    assert (item.image, item.label, item.why) == (images[5], "cat", "campaign-1 accepted 'cat, owl' of the same image.")
    with workspace.database.write() as session:
        task = session.scalars(select(Task).where(Task.campaign_id == first, Task.rank == 5)).one()
        task.state = "withdrawn"
    assert _queue(workspace, None).items == []


def _both_say(
    workspace: Workspace, build: Any, first: str | Content, second: str | Content, *, taxonomies: Any, agreed: Any
) -> list[int]:
    """Two campaigns of the same six images, whose last one their people call differently; the ids of the images."""
    images = build.images(6)
    for number, (taxonomy, said) in enumerate(zip(taxonomies, (first, second), strict=True), 1):
        campaign = build.campaign(build.batch(images), taxonomy)
        answers = [*[agreed] * 5, said]
        build.answers(campaign, {"ann": answers, "bob": answers, "cas": answers})
        verdicts.review(workspace, f"campaign-{number}", accept_at=0.5)
    return list(images)


def _classes(*names: str) -> Content:
    return Content(choice=ImageChoice(names))


@pytest.mark.parametrize(
    ("rules", "label", "other"),
    [
        ({"rename": [("cat", "feline")]}, "feline", "dog"),
        ({"rename": [("dog", "hound")]}, "cat", "hound"),
        ({"merge": [(["dog", "owl"], "pet")]}, "cat", "pet"),
        ({"rename": [("cat", "dog"), ("dog", "cat")]}, "dog", "cat"),
        ({"split": [("dog", ["hound", "puppy"])]}, "cat", "dog"),
        ({"retire": ["dog"]}, "cat", "dog"),
    ],
)
def test_a_conflict_outlasts_a_migration_and_is_decided_in_the_words_of_its_campaign(
    workspace: Workspace, build: Any, rules: Any, label: str, other: str
) -> None:
    taxonomy = build.taxonomy(("cat", "dog", "owl"))
    images = _both_say(workspace, build, "dog", "cat", taxonomies=(taxonomy, taxonomy), agreed="cat")
    before = _queue(workspace, None).items
    migrations.migrate(workspace, "animals", evolution.plan(**rules))
    [item] = _queue(workspace, None).items
    assert (item.campaign, item.image, item.reason, item.label) == ("campaign-2", images[5], "conflict", label)
    assert item.why == f"campaign-1 accepted {other!r} of the same image."
    assert (item.value, sorted(item.suggestions)) == (before[0].value, ["cat", "dog"])
    decisions.decide(workspace, "campaign-2", str(images[5]), answer="dog", reason="annotator-mistake", author="eve")
    verdicts.review(workspace, "campaign-2")
    assert _queue(workspace, None).items == []


def test_what_a_migration_makes_the_same_is_no_conflict(workspace: Workspace, build: Any) -> None:
    taxonomy = build.taxonomy(("cat", "dog", "owl"))
    _both_say(workspace, build, "dog", "cat", taxonomies=(taxonomy, taxonomy), agreed="cat")
    assert len(_queue(workspace, None).items) == 1
    migrations.migrate(workspace, "animals", evolution.plan(merge=[(["cat", "dog"], "pet")]))
    assert _queue(workspace, None).items == []


def test_a_part_of_a_class_that_was_split_contradicts_nobody_who_said_that_class(
    workspace: Workspace, build: Any
) -> None:
    first = build.taxonomy(("cat", "dog"))
    images = build.images(6)
    said = [*["cat"] * 4, "dog", "dog"]
    build.answers(build.campaign(build.batch(images), first), dict.fromkeys(("ann", "bob", "cas"), said))
    verdicts.review(workspace, NAME, accept_at=0.5)
    build.answers(build.campaign(build.batch(images), first), dict.fromkeys(("ann", "bob", "cas"), said))
    verdicts.review(workspace, "campaign-2", accept_at=0.5)  # whose labels are in force, and will be rejected
    rules = evolution.plan(split=[("dog", ["hound", "puppy"])])
    second = migrations.migrate(workspace, "animals", rules)[0].id
    said = [*["cat"] * 3, "puppy", "puppy", "hound"]
    build.answers(build.campaign(build.batch(images), second), dict.fromkeys(("ann", "bob", "cas"), said))
    verdicts.review(workspace, "campaign-3", accept_at=0.5)
    [item] = _queue(workspace, None).items
    assert (item.campaign, item.image, item.label) == ("campaign-3", images[3], "puppy")
    assert item.why.endswith("accepted 'cat' of the same image.")


def test_campaigns_under_two_revisions_can_contradict_each_other(workspace: Workspace, build: Any) -> None:
    first = build.taxonomy(("cat", "dog", "owl"), kind="multilabel")
    images = build.images(6)
    said = [*[_classes("cat")] * 4, _classes("cat", "dog"), _classes("cat", "dog")]
    build.answers(build.campaign(build.batch(images), first), dict.fromkeys(("ann", "bob", "cas"), said))
    verdicts.review(workspace, NAME, accept_at=0.5)
    second = migrations.migrate(workspace, "animals", evolution.plan(rename=[("dog", "hound")]))[0].id
    said = [*[_classes("cat")] * 4, _classes("cat", "hound"), _classes("cat", "owl")]
    build.answers(build.campaign(build.batch(images), second), dict.fromkeys(("ann", "bob", "cas"), said))
    assert verdicts.review(workspace, "campaign-2", accept_at=0.5).conflicts == 1
    [item] = _queue(workspace, None).items
    assert (item.campaign, item.image, item.label) == ("campaign-2", images[5], "cat, owl")
    assert item.why == "campaign-1 accepted 'cat, hound' of the same image."
    for suggestion in item.suggestions:
        decided = decisions.decide(
            workspace, "campaign-2", str(item.image), answer=suggestion, reason="annotator-mistake", author="eve"
        )
        assert decided.words in ("cat, owl", "cat, hound")
    assert len(item.suggestions) == 2


def test_an_expert_of_several_classes_may_decide_for_what_the_other_campaign_says(
    workspace: Workspace, build: Any
) -> None:
    taxonomy = build.taxonomy(["cat", "dog", "owl"], kind="multilabel")
    both = (_classes("cat", "owl"), _classes("cat"))
    images = _both_say(workspace, build, *both, taxonomies=(taxonomy, taxonomy), agreed=_classes("cat"))
    [item] = _queue(workspace, None).items
    assert len(item.suggestions) == 2
    words = {
        decisions.decide(
            workspace, item.campaign, str(images[5]), answer=one, reason="annotator-mistake", author="eve"
        ).words
        for one in item.suggestions
    }
    assert words == {"cat", "cat, owl"}


def test_regions_of_two_campaigns_are_no_conflict(workspace: Workspace, build: Any) -> None:
    taxonomy = build.taxonomy(kind="boxes")
    here, there = (Content(regions=(Region("1", Box(x, 0, 4, 4), ("cat",)),)) for x in (0, 5))
    images = _both_say(workspace, build, here, there, taxonomies=(taxonomy, taxonomy), agreed=here)
    assert verdicts.review(workspace, "campaign-2", accept_at=0.5).conflicts == 0
    assert _queue(workspace, None).items == []
    with workspace.database.read() as session:
        campaign = session.scalars(select(Campaign).where(Campaign.name == "campaign-2")).one()
        task_id = session.scalars(select(Task.id).where(Task.campaign_id == campaign.id, Task.rank == 5)).one()
        [offered] = adjudication.offers(session, campaign, task_id)
    decisions.decide(
        workspace, "campaign-2", str(images[5]), answer=offered, reason="agreed-with-majority", author="eve"
    )


def test_a_review_counts_the_conflicts_that_are_in_the_queue(workspace: Workspace, build: Any) -> None:
    taxonomy = build.taxonomy()
    _both_say(workspace, build, "dog", "cat", taxonomies=(taxonomy, taxonomy), agreed="cat")
    assert verdicts.review(workspace, "campaign-2").conflicts == len(_queue(workspace, None).items) == 1
    with workspace.database.write() as session:
        here = select(Task).join(Campaign).where(Campaign.name == "campaign-2", Task.rank == 5)
        session.scalars(here).one().state = "withdrawn"
    assert verdicts.review(workspace, "campaign-2").conflicts == len(_queue(workspace, None).items) == 0
