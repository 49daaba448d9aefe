from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select

from curation import labels, where
from labeling.evolution import Migration
from qa import annotators, decisions, ledger, migrations, report, verdicts
from qa.case import Case
from store import schema
from store.database import Database
from store.errors import InvalidInputError, NotFoundError
from store.schema import Annotation, Campaign, Label, Task, Taxonomy, Verdict
from store.workspace import Workspace

AGREE = ["cat"] * 8 + ["dog"] * 8


class Bench:
    """A campaign of eighteen items; two people agree on the first sixteen, so both are believed."""

    def __init__(self, workspace: Workspace, build: Any) -> None:
        self.workspace = workspace
        self.build = build
        self.images = build.images(18)
        self.taxonomy = build.taxonomy()
        self.campaign = build.campaign(build.batch(self.images), self.taxonomy)
        self.name = "campaign-1"

    def answer(self, ann: list[str | None], bob: list[str | None]) -> None:
        self.build.answers(self.campaign, {"ann": [*AGREE, *ann], "bob": [*AGREE, *bob]})

    def embed(self, looks: list[str]) -> None:
        """Vectors that show cats and dogs, of the first images."""
        axis = np.array([["cat", "dog"].index(look) for look in looks])
        noise = np.random.default_rng(0).normal(scale=0.1, size=(len(looks), 8))
        self.build.vectors(self.images[: len(looks)], np.eye(8)[axis] + noise)

    def review(self, **options: float) -> verdicts.QaSummary:
        return verdicts.review(self.workspace, self.name, **options)

    def newest(self, rank: int) -> Verdict:
        with self.workspace.database.read() as session:
            campaign = session.get_one(Campaign, self.campaign)
            task_id = session.scalar(select(Task.id).where(Task.campaign_id == campaign.id, Task.rank == rank))
            return ledger.newest(session, campaign)[task_id or 0]

    def label(self, rank: int) -> str | None:
        with self.workspace.database.read() as session:
            newest = select(Label.value).where(Label.image_id == self.images[rank]).order_by(Label.id.desc())
            return session.scalar(newest)

    def revise(self, rank: int, annotator: str, **changes: Any) -> None:
        """A further revision of what somebody answered."""
        with self.workspace.database.write() as session:
            old = session.scalars(
                select(Annotation)
                .join(schema.Task)
                .join(schema.Annotator, schema.Annotator.id == Annotation.annotator_id)
                .where(Task.campaign_id == self.campaign, Task.rank == rank, schema.Annotator.name == annotator)
                .order_by(Annotation.revision.desc())
            ).first()
            assert old is not None
            columns = {column.key: getattr(old, column.key) for column in Annotation.__table__.columns}
            changes = {"id": None, "revision": old.revision + 1, "ls_updated_at": "2026-02-01", **changes}
            session.add(Annotation(**{**columns, **changes}))

    def adjudicate(self, answers: dict[int, str], *, by: str = "eve", name: str = "campaign-1-adjudication") -> None:
        """Answers of an expert, by rank in the parent."""
        self.build.adjudication(self.campaign, answers, by=by, name=name)


@pytest.fixture
def bench(workspace: Workspace, build: Any) -> Bench:
    return Bench(workspace, build)


def test_agreement_is_accepted_dispute_adjudicated_and_one_answer_waits(bench: Bench) -> None:
    bench.answer(["cat", "cat"], ["dog", None])
    summary = bench.review()
    assert summary.outcomes == {"accepted": 16, "adjudication": 1, "another-opinion": 1}
    assert (summary.items, summary.new_verdicts, summary.new_labels) == (18, 18, 16)
    assert [bench.label(rank) for rank in range(18)] == [*AGREE, None, None]


def test_a_verdict_says_what_it_rests_on(bench: Bench) -> None:
    bench.answer(["cat", "cat"], ["cat", "cat"])
    bench.review()
    verdict = bench.newest(0)
    assert (verdict.outcome, verdict.answer) == ("accepted", "cat")
    assert verdict.posterior is not None
    assert verdict.posterior > 0.9
    assert [(each["annotator"], each["answer"]) for each in verdict.evidence["answers"]] == [
        ("ann", "cat"),
        ("bob", "cat"),
    ]
    assert verdict.evidence["annotations"] == [each["annotation"] for each in verdict.evidence["answers"]]
    assert verdict.evidence["policy"] == {"overlap": 2, "accept_at": 0.9}
    assert (verdict.evidence["method"], verdict.evidence["model"]) == ("confusions", None)
    assert all(each["accuracy"] > 0.9 for each in verdict.evidence["answers"])


def test_a_verdict_says_what_the_probe_sees(bench: Bench) -> None:
    bench.embed([*AGREE, "dog", "dog"])
    bench.answer(["cat", "dog"], ["cat", "cat"])
    summary = bench.review()
    assert summary.model == "probe on test"
    model = bench.newest(17).evidence["model"]
    assert (model["model"], model["says"]) == ("probe on test", "dog")
    assert model["probability"] > 0.6
    assert bench.newest(17).evidence["likeliest"] == "dog"  # people are divided, and it decides
    assert bench.newest(16).evidence["model"]["chances"]["cat"] < 0.4  # two people against it
    assert bench.newest(16).evidence["likeliest"] == "cat"


def test_verdicts_stand_when_embeddings_come(bench: Bench) -> None:
    bench.answer(["cat", "cat"], ["cat", "cat"])
    bench.review()
    bench.embed([*AGREE, "dog", "dog"])
    again = bench.review()
    assert (again.model, again.new_verdicts) == ("probe on test", 0)


def test_an_image_without_a_vector_is_decided_by_people(bench: Bench) -> None:
    bench.embed(AGREE)
    bench.answer(["cat", "cat"], ["cat", None])
    assert bench.review().outcomes == {"accepted": 17, "another-opinion": 1}
    assert bench.newest(0).evidence["model"]["says"] == "cat"
    assert bench.newest(16).evidence["model"] is None


def test_what_an_older_winnow_accepted_stands(bench: Bench) -> None:
    bench.answer(["cat", "cat"], ["cat", "cat"])
    bench.review()
    with bench.workspace.database.write() as session:
        for verdict in session.scalars(select(Verdict)):
            before = {"method": "one-coin Dawid-Skene", **verdict.evidence["policy"]}
            verdict.evidence = {key: verdict.evidence[key] for key in ("annotations", "answers")} | {"policy": before}
    assert bench.review().new_verdicts == 0


def test_reviewing_twice_adds_nothing(bench: Bench) -> None:
    bench.answer(["cat", "cat"], ["dog", None])
    bench.review()
    bench.adjudicate({16: "dog"})
    bench.review()
    again = bench.review()
    assert (again.new_verdicts, again.new_labels) == (0, 0)


def test_a_review_with_nothing_new_keeps_nobody_waiting(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.answer(["cat", "dog"], ["dog", None])
    first = bench.review()
    monkeypatch.setattr(Database, "write", lambda _: pytest.fail("the catalog was locked"))
    again = bench.review()
    assert (again.new_verdicts, again.new_labels, again.replaced, again.overruled) == (0, 0, 0, 0)
    assert again.outcomes == first.outcomes


def test_a_migration_while_answers_are_weighed_stands(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.answer(["cat", "dog"], ["dog", None])
    bench.review(accept_at=0.6)
    decide = verdicts._decide

    def while_somebody_migrates(found: Case) -> Any:
        decided = decide(found)
        migrations.migrate(bench.workspace, "animals", Migration({"cat": ("lynx",)}))
        return decided

    monkeypatch.setattr(verdicts, "_decide", while_somebody_migrates)
    bench.review(accept_at=0.7)  # decides every item anew that was not migrated
    assert bench.label(0) == "lynx"
    with bench.workspace.database.read() as session:
        of_item = select(func.count(Verdict.id)).join(Task).where(Task.campaign_id == bench.campaign)
        assert session.scalar(of_item.where(Task.rank == 0)) == 2  # the first, and what the migration made of it


def test_an_adjudicator_has_the_last_word(bench: Bench) -> None:
    bench.answer(["cat", "cat"], ["dog", "cat"])
    bench.review()
    bench.adjudicate({16: "dog"})
    assert bench.review().new_labels == 1
    verdict = bench.newest(16)
    assert (verdict.outcome, verdict.answer, verdict.posterior) == ("accepted", "dog", None)
    assert verdict.evidence["adjudicator"] == {"annotator": "eve", "answer": "dog"}
    assert [each["answer"] for each in verdict.evidence["answers"]] == ["cat", "dog"]

    bench.revise(16, "bob", answer="cat")  # now everybody else agrees, and it changes nothing
    assert bench.review().new_verdicts == 0
    assert bench.label(16) == "dog"

    bench.adjudicate({16: "cat"}, by="kim", name="second")
    assert bench.review().new_labels == 1
    assert bench.label(16) == "cat"


def test_an_adjudicated_item_teaches_who_was_right(bench: Bench) -> None:
    bench.answer(["cat", "cat"], ["dog", "dog"])
    bench.adjudicate({16: "dog", 17: "dog"})
    bench.review()
    accuracy = {each["annotator"]: each["accuracy"] for each in bench.newest(0).evidence["answers"]}
    assert accuracy["bob"] > accuracy["ann"]


def test_a_changed_answer_reopens_an_accepted_item(bench: Bench) -> None:
    bench.answer(["cat", "cat"], ["cat", "cat"])
    bench.review()
    bench.revise(0, "bob", answer="dog")
    assert bench.review().outcomes == {"accepted": 17, "adjudication": 1}
    assert bench.newest(0).outcome == "adjudication"


def test_an_accepted_item_is_not_argued_again_because_of_others(bench: Bench) -> None:
    bench.answer(["cat", "cat"], ["cat", "cat"])
    bench.review()
    other = bench.build.campaign(bench.build.batch(bench.images), bench.taxonomy)
    flipped = ["dog" if value == "cat" else "cat" for value in [*AGREE, "cat", "cat"]]
    bench.build.answers(other, {"ann": [*AGREE, "cat", "cat"], "bob": flipped})
    again = bench.review()
    assert (again.outcomes, again.new_verdicts) == ({"accepted": 18}, 0)


def test_all_campaigns_of_a_taxonomy_tell_who_is_good(bench: Bench) -> None:
    """The same single item is disputed; who it is with decides, and only the other campaign knows them."""
    images = bench.images
    bench.build.answers(
        bench.campaign,
        {
            "ann": [*AGREE, "cat", "cat"],
            "bob": [*AGREE, "cat", "cat"],
            "mal": ["dog" if value == "cat" else "cat" for value in [*AGREE, "cat", "cat"]],
        },
    )
    small = bench.build.campaign(bench.build.batch(images[:1]), bench.taxonomy)
    bench.build.answers(small, {"ann": ["dog"], "mal": ["cat"]})
    with bench.workspace.database.read() as session:
        name = session.get_one(Campaign, small).name
    assert verdicts.review(bench.workspace, name).outcomes == {"accepted": 1}
    assert bench.label(0) == "dog"


def test_a_stricter_policy_decides_anew(bench: Bench) -> None:
    bench.answer(["cat", "cat"], ["cat", "cat"])
    assert bench.review().outcomes == {"accepted": 18}
    assert bench.review(accept_at=0.99999).outcomes == {"adjudication": 18}
    assert bench.review().new_verdicts == 0  # as strict as last time


def test_a_skip_counts_as_asked_and_favours_nobody(bench: Bench) -> None:
    bench.answer(["cat", "cat"], ["cat", "cat"])
    for name in ("ann", "bob"):
        bench.revise(17, name, answer=None, skipped=True)
    bench.review()
    verdict = bench.newest(17)
    assert verdict.outcome == "adjudication"
    assert verdict.posterior == pytest.approx(0.5, abs=0.05)  # as likely as it is an answer elsewhere
    assert [each["answer"] for each in verdict.evidence["answers"]] == [None, None]


def test_a_deleted_answer_is_gone(bench: Bench) -> None:
    bench.answer(["cat", "cat"], ["cat", "cat"])
    bench.revise(17, "bob", answer=None, deleted=True)
    bench.review()
    assert bench.newest(17).outcome == "another-opinion"


def test_of_two_annotations_by_one_person_the_later_counts(bench: Bench) -> None:
    bench.answer(["cat", "cat"], ["cat", "cat"])
    bench.revise(0, "ann", answer="dog", ls_annotation_id=0, revision=0)  # a second annotation, touched later
    bench.review()
    assert {each["annotator"]: each["answer"] for each in bench.newest(0).evidence["answers"]} == {
        "ann": "dog",
        "bob": "cat",
    }


def test_a_class_the_taxonomy_lacks_is_no_answer(bench: Bench) -> None:
    bench.answer(["cat", "bird"], ["cat", "cat"])
    bench.review()
    assert bench.newest(17).evidence["answers"][0]["answer"] is None


def test_a_campaign_nobody_answered_waits(bench: Bench) -> None:
    assert bench.review().outcomes == {"another-opinion": 18}
    assert bench.review().new_verdicts == 0
    with bench.workspace.database.read() as session:
        assert session.scalar(select(func.count(Label.id))) == 0


def test_questions_get_no_verdicts(bench: Bench) -> None:
    bench.answer(["cat", "cat"], ["cat", "cat"])
    with bench.workspace.database.write() as session:
        session.get_one(schema.Taxonomy, bench.taxonomy).task_kind = "questions"
    with pytest.raises(InvalidInputError, match="asks questions alone"):
        bench.review()
    assert annotators.list_all(bench.workspace) == []


def test_wrong_requests_are_sentences(bench: Bench) -> None:
    with pytest.raises(NotFoundError, match="no campaign called 'x'"):
        verdicts.review(bench.workspace, "x")
    with pytest.raises(InvalidInputError, match="not 90"):
        bench.review(accept_at=90)
    bench.answer(["cat", "cat"], ["dog", "cat"])
    bench.adjudicate({16: "dog"})
    with pytest.raises(InvalidInputError, match="adjudication of 'campaign-1'"):
        verdicts.review(bench.workspace, "campaign-1-adjudication")


def test_gold_items_test_people_and_are_not_decided(workspace: Workspace, build: Any) -> None:
    images = build.images(18)
    taxonomy = build.taxonomy()
    known = dict.fromkeys(images[:16], "cat")
    build.labels(known)
    arms = ["gold"] * 16 + ["diverse"] * 2
    campaign = build.campaign(build.batch(images, arms=arms), taxonomy)
    build.answers(campaign, {"ann": ["cat"] * 16 + ["dog", "dog"], "bob": ["dog"] * 16 + ["cat", "cat"]})
    with workspace.database.read() as session:
        name = session.get_one(Campaign, campaign).name
        labelled = session.scalar(select(func.count()).select_from(Label))
    done = verdicts.review(workspace, name)
    assert done.items == 2
    with workspace.database.read() as session:
        given = {label.image_id: label.value for label in session.scalars(select(Label).order_by(Label.id))}
        assert given == known | dict.fromkeys(images[16:], "dog")  # ann was right on all gold, bob on none
        assert session.scalar(select(func.count()).select_from(Label)) == (labelled or 0) + 2


def test_gold_whose_label_was_taken_back_before_is_an_item_like_others(workspace: Workspace, build: Any) -> None:
    """It became gold by the label its own people gave it: nobody's later answer reopened it, and it judged them."""
    images = build.images(12)
    taxonomy = build.taxonomy()
    build.labels(dict.fromkeys(images[:2], "dog"))
    with workspace.database.write() as session:
        for label in session.scalars(select(Label).where(Label.image_id == images[0])):
            task_id = session.get_one(Verdict, label.verdict_id).task_id
            session.add(Verdict(task_id=task_id, outcome="rejected", answer=None, posterior=None, evidence={}))
    campaign = build.campaign(build.batch(images, arms=["gold"] * 2 + ["diverse"] * 10), taxonomy)
    said = ["cat", "dog", *["cat", "dog"] * 5]
    build.answers(campaign, {"ann": said, "bob": said, "cas": said})
    for _ in range(2):
        done = verdicts.review(workspace, "campaign-2")
        assert (done.items, done.outcomes) == (11, {"accepted": 11})
    with workspace.database.write() as session:
        task_id = session.scalar(select(Task.id).where(Task.campaign_id == campaign, Task.rank == 0))
        for annotation in session.scalars(select(Annotation).where(Annotation.task_id == task_id)):
            annotation.answer = "dog"
            annotation.ls_updated_at = "2999-01-01T00:00:00.000000Z"
            columns = {column.key: getattr(annotation, column.key) for column in Annotation.__table__.columns}
            annotation.answer = "cat"
            session.add(Annotation(**{**columns, "id": None, "revision": 1}))
    verdicts.review(workspace, "campaign-2")
    assert in_force(workspace)[images[0]] == "dog"


def test_what_a_cancellation_withdrew_is_not_decided(workspace: Workspace, build: Any) -> None:
    campaign = build.campaign(build.batch(build.images(3)), build.taxonomy(), overlap=1)
    build.answers(campaign, {"ada": ["cat", "cat", None]})
    with workspace.database.write() as session:
        session.scalars(select(Task).where(Task.rank == 2)).one().state = "withdrawn"
    summary = verdicts.review(workspace, "campaign-1", accept_at=0.5)
    assert (summary.items, summary.outcomes) == (2, {"accepted": 2})
    found = report.report(workspace, "campaign-1")
    assert (found.items, found.waiting, found.unreviewed) == (2, 0, 0)


def test_what_an_expert_says_of_an_image_stands_in_every_campaign(workspace: Workspace, build: Any) -> None:
    images = build.images(12)
    batch, taxonomy = build.batch(images), build.taxonomy()
    build.answers(build.campaign(batch, taxonomy), dict.fromkeys(("ann", "bob"), ["dog"] * 12))
    assert verdicts.review(workspace, "campaign-1", accept_at=0.6).replaced == 0
    for image, answer, reason in ((images[0], "dog", "annotator-mistake"), (images[1], None, "bad-image")):
        decisions.decide(workspace, "campaign-1", str(image), answer=answer, reason=reason, author="eve")
    assert verdicts.review(workspace, "campaign-1").overruled == 0

    build.answers(build.campaign(build.batch(images[:6]), taxonomy), dict.fromkeys(("cid", "dan"), ["cat"] * 6))
    summary = verdicts.review(workspace, "campaign-2", accept_at=0.6)
    assert (summary.new_labels, summary.replaced, summary.overruled) == (6, 4, 2)
    assert in_force(workspace) == dict.fromkeys([images[0], *images[6:]], "dog") | dict.fromkeys(images[2:6], "cat")
    with workspace.database.read() as session:
        assert labels.history(session, images[1])[0].in_force is False
        assert where.image_ids(session, "rejected and labelled").tolist() == []

    decisions.decide(workspace, "campaign-2", str(images[1]), answer="cat", reason="annotator-mistake", author="zoe")
    verdicts.review(workspace, "campaign-2")
    assert in_force(workspace)[images[1]] == "cat"  # of two experts the later


def test_what_an_expert_rejected_may_be_labelled_under_a_later_revision(workspace: Workspace, build: Any) -> None:
    images = build.images(2)
    batch, taxonomy = build.batch(images), build.taxonomy()
    build.answers(build.campaign(batch, taxonomy), dict.fromkeys(("ann", "bob"), ["dog"] * 2))
    decisions.decide(workspace, "campaign-1", str(images[0]), answer=None, reason="taxonomy-gap", author="eve")
    verdicts.review(workspace, "campaign-1", accept_at=0.6)
    with workspace.database.write() as session:
        later = session.get_one(Taxonomy, taxonomy)
        fox = [*later.classes, {"name": "fox", "description": ""}]
        row = Taxonomy(name="animals", revision=2, task_kind=later.task_kind, classes=fox, guideline="")
        session.add(row)
        session.flush()
        revision = row.id
    build.answers(build.campaign(build.batch(images[:1]), revision), {"ann": ["fox"], "bob": ["fox"]})
    verdicts.review(workspace, "campaign-2", accept_at=0.6)
    assert in_force(workspace) == {images[0]: "fox", images[1]: "dog"}


def in_force(workspace: Workspace) -> dict[int, str]:
    with workspace.database.read() as session:
        return {label.image_id: label.value for label in labels.in_force(session, "animals")}
