from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from qa import annotators, crowd, standing, verdicts
from qa.annotators import AnnotatorQuality
from store.errors import InvalidInputError, NotFoundError
from store.schema import Annotation, Sighting, Task, Taxonomy
from store.workspace import Workspace
from tests.qa.crew import CLASSES, HONEST, Crew


def by_name(workspace: Workspace) -> dict[str, AnnotatorQuality]:
    return {quality.annotator: quality for quality in annotators.list_all(workspace)}


def signs(quality: AnnotatorQuality) -> dict[str, str]:
    return {sign.kind: sign.sentence for sign in quality.signs}


def test_nobody_answered_and_nobody_is_listed(workspace: Workspace, build: Any) -> None:
    assert annotators.list_all(workspace) == []
    build.campaign(build.batch(build.images(2)), build.taxonomy())
    assert annotators.list_all(workspace) == []
    with pytest.raises(NotFoundError, match="Nobody called 'ann'"):
        annotators.show(workspace, "ann")


def test_one_annotator_alone_is_not_judged(workspace: Workspace, build: Any) -> None:
    build.answers(build.campaign(build.batch(build.images(40)), build.taxonomy()), {"ann": ["cat"] * 40})
    (ann,) = annotators.list_all(workspace)
    assert (ann.answers, ann.judged, ann.accuracy, ann.signs, ann.suggestion) == (40, 0, None, [], None)
    assert ann.interval == pytest.approx((0.025, 0.975), abs=1e-3)


def test_two_who_never_agree_are_not_said_to_be_bad(workspace: Workspace, build: Any) -> None:
    """Either may be right: both intervals are wide, and nobody is suggested for a pause."""
    campaign = build.campaign(build.batch(build.images(12)), build.taxonomy())
    build.answers(campaign, {"ann": ["cat"] * 12, "bob": ["dog"] * 12})
    assert [(one.accuracy, one.suggestion) for one in annotators.list_all(workspace)] == [(None, None)] * 2


@pytest.mark.parametrize(("is_embedded", "judged"), [(True, 40), (False, 20)])
def test_what_one_alone_answered_is_judged_by_the_model_that_decided(
    workspace: Workspace, build: Any, is_embedded: bool, judged: int
) -> None:
    images, truth = build.images(40), ["cat", "dog"] * 20
    campaign = build.campaign(build.batch(images), build.taxonomy())
    few = [*truth[:20], *[None] * 20]
    build.answers(campaign, {"ann": [*truth[:39], "cat"], "bob": few, "cay": few})
    if is_embedded:
        noise = np.random.default_rng(0).normal(scale=0.05, size=(40, 8))
        build.vectors(images, np.eye(8)[[0, 1] * 20] + noise)
    verdicts.review(workspace, "campaign-1")
    assert by_name(workspace)["ann"].judged == judged
    assert by_name(workspace)["bob"].judged == 20
    with workspace.database.read() as session:
        found = crowd.load(session, session.get_one(Taxonomy, 1))
    assert found.judged.truth[:, 0].max() > 0.9
    of_last = found.table[found.judged.rows, 0] == 39
    assert of_last.sum() == is_embedded
    assert (found.judged.truth[of_last, 1] > 0.8).all()  # ann took a dog for a cat


def test_who_is_paused_does_not_tell_two_people_apart(workspace: Workspace, build: Any) -> None:
    campaign = build.campaign(build.batch(build.images(40)), build.taxonomy(), overlap=3)
    said = {"ann": ["cat", "dog"] * 20, "bob": ["cat", "dog"] * 15 + ["dog", "cat"] * 5, "cas": ["cat", "dog"] * 20}
    build.answers(campaign, said)
    assert all(one.judged for one in annotators.list_all(workspace))
    standing.decide(workspace, "cas", "paused", reason="was trying", by="lead", since=datetime(2000, 1, 1, tzinfo=UTC))
    assert {name: one.judged for name, one in by_name(workspace).items()} == {"ann": 0, "bob": 0, "cas": 0}


def test_who_is_paused_is_judged_where_those_who_are_told_apart_looked_alone(workspace: Workspace, build: Any) -> None:
    """Pau shares forty items with bob, whom nobody can judge, and two with three who judge each other."""
    campaign = build.campaign(build.batch(build.images(60)), build.taxonomy(), overlap=4)
    truth = ["cat", "dog"] * 30
    three = {who: [*[None] * 40, *truth[40:]] for who in ("cay", "dan", "eve")}
    build.answers(campaign, {"pau": [*truth[:42], *[None] * 18], "bob": [*truth[:40], *[None] * 20], **three})
    standing.decide(workspace, "pau", "paused", reason="was trying", by="lead", since=datetime(2000, 1, 1, tzinfo=UTC))
    judged = {name: one.judged for name, one in by_name(workspace).items()}
    assert judged == {"pau": 2, "bob": 0, "cay": 20, "dan": 20, "eve": 20}


def test_skips_are_counted_and_judge_nobody(workspace: Workspace, build: Any) -> None:
    build.answers(build.campaign(build.batch(build.images(5)), build.taxonomy()), {"ann": ["cat"] * 5})
    with workspace.database.write() as session:
        for annotation in session.scalars(select(Annotation)):
            annotation.skipped, annotation.answer = True, None
    (ann,) = annotators.list_all(workspace)
    assert (ann.answers, ann.skips, ann.judged, ann.median_lead_time_s) == (0, 5, 0, None)
    (full,) = annotators.show(workspace, "ann")
    assert (full.over_time, full.per_hour, full.anchoring) == ([], None, None)
    assert np.sum(full.confusion) == 0


def test_an_answer_that_was_deleted_and_one_of_no_class_are_nobodys(workspace: Workspace, build: Any) -> None:
    build.answers(build.campaign(build.batch(build.images(2)), build.taxonomy()), {"ann": ["cat", "a horse"]})
    with workspace.database.write() as session:
        first = session.scalars(select(Annotation).order_by(Annotation.id)).first()
        assert first is not None
        session.add(Annotation(**{**columns(first), "revision": 1, "deleted": True, "answer": None}))
    (ann,) = annotators.list_all(workspace)
    assert (ann.answers, ann.skips) == (0, 1)


def columns(annotation: Annotation) -> dict[str, Any]:
    names = [column.key for column in Annotation.__table__.columns]
    return {name: getattr(annotation, name) for name in names if name != "id"}


@pytest.fixture
def crew(workspace: Workspace, build: Any) -> Crew:
    return Crew(workspace, build, items=300)


def test_gold_is_told_apart(workspace: Workspace, crew: Crew) -> None:
    """Six items of gold: ann is right on each."""
    table = crew.table(HONEST, overlap=5)
    mine = (table[:, 1] == 0) & (table[:, 0] < 6)
    table[mine, 2] = crew.truth[table[mine, 0]]
    crew.answer(list(HONEST), table)
    ann = by_name(workspace)["ann"]
    assert ann.gold is not None
    assert (ann.gold.answers, ann.gold.accuracy) == (6, None)  # an interval from .59 to 1 judges nobody
    assert ann.gold.interval == pytest.approx((0.590, 0.996), abs=2e-3)
    assert ann.accuracy == pytest.approx(0.95, abs=0.05)


def test_who_does_not_look_is_found_and_suggested_for_a_pause(workspace: Workspace, crew: Crew) -> None:
    people = HONEST | {"spammer": 0.9}
    table = crew.table(people)
    seconds = crew.seconds(table)
    lazy = table[:, 1] == 5
    table[lazy, 2], seconds[lazy] = 0, 0.2
    crew.answer(list(people), table, seconds)
    found = by_name(workspace)
    spammer = found.pop("spammer")
    assert signs(spammer).keys() == {"too-fast", "one-class"}
    assert "answers 'cat' to 100% of items" in signs(spammer)["one-class"]
    assert f"{lazy.sum()} of {lazy.sum()} answers in under" in signs(spammer)["too-fast"]
    assert spammer.pace is not None
    assert spammer.pace.interval[1] < 0.1
    assert spammer.suggestion is not None
    assert "winnow qa annotators pause spammer" in spammer.suggestion
    assert [(one.signs, one.suggestion) for one in found.values()] == [([], None)] * 5


def test_who_copies_is_told_with_whom(workspace: Workspace, crew: Crew) -> None:
    people = HONEST | {"gus": 0.65, "hal": 0.65}
    table = crew.table(people, overlap=5)
    said = {item: value for item, one, value in table.tolist() if one == 5}
    for row in table:
        if row[1] == 6 and row[0] in said:
            row[2] = said[row[0]]
    crew.answer(list(people), table)
    found = by_name(workspace)
    assert "mistakes with hal" in signs(found["gus"])["same-answers"]
    assert "mistakes with gus" in signs(found["hal"])["same-answers"]
    assert not any(found[name].signs for name in HONEST)


def test_who_follows_the_model_is_found(workspace: Workspace, crew: Crew) -> None:
    """Shown a prediction fay says that in four of five cases; a third of the tasks is blind."""
    said = crew.shown(blind_share=0.33)
    people = HONEST | {"fay": 0.9}
    table = crew.table(people, overlap=4)
    with workspace.database.read() as session:
        blind = dict(session.execute(select(Task.id, Task.blind)).all())
    for row in table:
        if row[1] == 5 and not blind[crew.task_ids[row[0]]] and crew.random.random() < 0.8:
            row[2] = said[row[0]]
    crew.answer(list(people), table)
    found = by_name(workspace)
    assert "more often where its prediction is shown" in signs(found["fay"])["anchored"]
    assert not any(found[name].signs for name in HONEST)
    (fay,) = annotators.show(workspace, "fay")
    assert fay.anchoring is not None
    assert fay.anchoring.interval[0] > 0


def test_who_tires_is_found_with_periods_and_slices(workspace: Workspace, build: Any) -> None:
    crew = Crew(workspace, build, items=600)
    people = HONEST | {"ivy": 0.95}
    table = crew.table(people)
    turn = 0
    for row in table:
        if row[1] == 5:
            if crew.random.random() < 0.6 * (turn % 50) / 50:
                row[2] = (crew.truth[row[0]] + 1) % 3
            turn += 1
    crew.answer(list(people), table)
    with workspace.database.write() as session:
        for sighting in session.scalars(select(Sighting)):
            sighting.details = {"shift": sighting.id % 2}
    assert "with each hour of a session" in signs(by_name(workspace)["ivy"])["tiring"]
    (ivy,) = annotators.show(workspace, "ivy", by="shift")
    assert ivy.per_hour is not None
    assert ivy.per_hour.interval[1] < 0
    assert [part.name for part in ivy.by_slice] == ["shift=0", "shift=1"]
    assert sum(part.answers for part in ivy.by_slice) == ivy.quality.judged
    assert sum(part.answers for part in ivy.over_time) == ivy.quality.judged
    assert [part.name for part in ivy.by_class] == list(CLASSES)
    assert np.sum(ivy.confusion) == pytest.approx(ivy.quality.judged)


def test_honest_crews_are_left_in_peace(workspace: Workspace, build: Any) -> None:
    """Ten crews of five with times and predictions, nothing wrong with any: of ten at most two hear a sign at all."""
    crew = Crew(workspace, build, items=200)
    crew.shown(blind_share=0.3)
    table = crew.table(HONEST)
    crew.answer(list(HONEST), table, crew.seconds(table))
    with workspace.database.read() as session:
        (taxonomy,) = crowd.taxonomies(session)
        found = crowd.load(session, taxonomy)
    heard = 0
    for seed in range(10):
        random = np.random.default_rng(seed)
        right = random.random(len(found.table)) < np.array(list(HONEST.values()))[found.table[:, 1]]
        real = crew.truth[found.table[:, 0] - found.table[:, 0].min()]
        said = np.where(right, real, (real + random.integers(1, 3, len(real))) % 3)
        again = crowd.Crowd(**vars_of(found) | {"table": np.column_stack([found.table[:, :2], said])})
        heard += any(one.signs for one in annotators.qualities(again).values())
    assert heard <= 2


def vars_of(found: crowd.Crowd) -> dict[str, Any]:
    return {name: getattr(found, name) for name in found.__dataclass_fields__}


def test_absurd_lead_times_and_moments_are_no_times(workspace: Workspace, crew: Crew) -> None:
    table = crew.table(HONEST)
    seconds = np.tile([-1.0, 0.0, 1e9, np.inf], len(table))[: len(table)]
    crew.answer(list(HONEST), table, seconds)
    with workspace.database.write() as session:
        for annotation in session.scalars(select(Annotation)):
            annotation.ls_updated_at = "yesterday"
    for quality in annotators.list_all(workspace):
        assert (quality.median_lead_time_s, quality.pace, quality.signs) == (None, None, [])
    (ann,) = annotators.show(workspace, "ann")
    assert (ann.over_time, ann.per_hour, ann.per_week) == ([], None, None)


def test_what_cannot_be_asked_is_a_sentence(workspace: Workspace, crew: Crew) -> None:
    crew.answer(["ann"], crew.table({"ann": 0.9}))
    with pytest.raises(InvalidInputError, match="between 0 and 1, not 70"):
        annotators.list_all(workspace, least_accuracy=70)
    with pytest.raises(InvalidInputError, match="'colour'"):
        annotators.show(workspace, "ann", by="colour")
