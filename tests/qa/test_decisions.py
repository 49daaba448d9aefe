"""Decisions of ours: kept, in force in the next review, the later one before the earlier."""

from typing import Any

import pytest
from sqlalchemy import select

from labeling import reasons
from labeling.label_config import result
from qa import answers, decisions, ledger, verdicts
from store.errors import InvalidInputError, NotFoundError
from store.schema import Annotation, Campaign, Decision, Label, Task, Taxonomy, Verdict
from store.workspace import Workspace

NAME = "campaign-1"


class Dispute:
    """A campaign of twelve items, on the last of which two people differ."""

    def __init__(self, workspace: Workspace, build: Any) -> None:
        self.workspace, self.build = workspace, build
        self.images = build.images(12)
        self.campaign = build.campaign(build.batch(self.images), build.taxonomy())
        agreed = ["cat"] * 5 + ["dog"] * 6
        build.answers(self.campaign, {"ann": [*agreed, "dog"], "bob": [*agreed, "cat"]})
        verdicts.review(workspace, NAME)
        self.disputed = self.images[11]

    def decide(self, answer: str | None = "dog", reason: str = "annotator-mistake", **more: Any) -> decisions.Decided:
        more = {"author": "eve", "item": str(self.disputed)} | more
        return decisions.decide(self.workspace, more.pop("campaign", NAME), more.pop("item"), answer=answer,
                                reason=reason, **more)  # fmt: skip

    def review(self) -> Verdict:
        """The verdict on the disputed item after a review."""
        verdicts.review(self.workspace, NAME)
        with self.workspace.database.read() as session:
            campaign = session.get_one(Campaign, self.campaign)
            task_id = session.scalar(select(Task.id).where(Task.image_id == self.disputed))
            return ledger.newest(session, campaign)[task_id or 0]

    def labels(self) -> list[str]:
        with self.workspace.database.read() as session:
            of_image = select(Label.value).where(Label.image_id == self.disputed)
            return list(session.scalars(of_image.order_by(Label.id)))

    def adjudicate(self, answer: str | None, chosen: list[Any], *, at: str) -> None:
        """An expert's answer in Label Studio, `answer` and what they chose, at a moment."""
        with self.workspace.database.write() as session:
            parent = session.get_one(Campaign, self.campaign)
            opened = Campaign(
                name="expert", purpose="adjudication", parent_id=parent.id, batch_id=parent.batch_id,
                taxonomy_id=parent.taxonomy_id, vendor_id=parent.vendor_id, overlap=1,
            )  # fmt: skip
            session.add(opened)
            session.flush()
            session.add(Task(uid="u", campaign_id=opened.id, image_id=self.disputed, rank=0, state="pushed"))
            opened_id = opened.id
        self.build.answers(opened_id, {"zoe": ["cat"]})
        with self.workspace.database.write() as session:
            said = session.scalars(select(Annotation).order_by(Annotation.id.desc())).first()
            assert said is not None
            said.answer, said.result, said.ls_updated_at, said.skipped = answer, chosen, at, answer is None


@pytest.fixture
def dispute(workspace: Workspace, build: Any) -> Dispute:
    return Dispute(workspace, build)


def reason(code: str) -> dict[str, Any]:
    return {"from_name": "reason", "to_name": "image", "type": "choices", "value": {"choices": [code]}}


def test_a_decision_makes_the_verdict_that_names_it(dispute: Dispute) -> None:
    made = dispute.decide(comment="the tail")
    assert (made.image, made.answer, made.replaced) == (dispute.disputed, "dog", 0)
    verdict = dispute.review()
    assert (verdict.outcome, verdict.answer, verdict.posterior) == ("accepted", "dog", None)
    assert (verdict.evidence["decision"], verdict.evidence["annotations"]) == (made.id, [])
    said = {"annotator": "eve", "answer": "dog", "reason": "annotator-mistake", "comment": "the tail"}
    assert verdict.evidence["adjudicator"] == said
    assert {each["answer"] for each in verdict.evidence["answers"]} == {"cat", "dog"}
    assert dispute.review().id == verdict.id  # again: nothing new
    assert dispute.labels() == ["dog"]


def test_the_later_of_two_decisions_stands_and_both_are_kept(dispute: Dispute) -> None:
    dispute.decide("dog")
    first = dispute.review()
    assert dispute.decide("cat", author="kim").replaced == 1
    second = dispute.review()
    assert (second.answer, second.evidence["adjudicator"]["annotator"]) == ("cat", "kim")
    assert second.id > first.id
    assert dispute.labels() == ["dog", "cat"]
    dispute.decide("cat")  # the same again, by another person: the verdict says whose it is now
    assert dispute.review().evidence["adjudicator"]["annotator"] == "eve"
    with dispute.workspace.database.read() as session:
        assert [row.answer for row in session.scalars(select(Decision).order_by(Decision.id))] == ["dog", "cat", "cat"]


def test_what_cannot_be_decided_is_rejected_and_has_no_label(dispute: Dispute) -> None:
    dispute.decide(None, "bad-image")
    verdict = dispute.review()
    assert (verdict.outcome, verdict.answer) == ("rejected", None)
    assert verdict.evidence["adjudicator"]["reason"] == "bad-image"
    assert dispute.review().id == verdict.id
    assert dispute.labels() == []
    dispute.decide("cat", "ambiguous-image")
    assert (dispute.review().outcome, dispute.labels()) == ("accepted", ["cat"])


def test_a_decision_on_an_accepted_item_replaces_its_label(dispute: Dispute) -> None:
    dispute.disputed = dispute.images[0]
    assert dispute.labels() == ["cat"]
    dispute.decide("dog")
    assert dispute.review().answer == "dog"
    assert dispute.labels() == ["cat", "dog"]


@pytest.mark.parametrize(("at", "stands"), [("2001-01-01T00:00:00.000000Z", "dog"), ("2999-01-01T00:00:00.0Z", "cat")])
def test_of_a_decision_and_an_experts_answer_the_later_stands(dispute: Dispute, at: str, stands: str) -> None:
    dispute.decide("dog")
    dispute.adjudicate("cat", [*result("cat"), reason("agreed-with-majority")], at=at)
    verdict = dispute.review()
    assert verdict.answer == stands
    if stands == "cat":
        assert verdict.evidence["adjudicator"]["reason"] == "agreed-with-majority"


@pytest.mark.parametrize(("code", "outcome"), [("bad-image", "rejected"), ("guideline-unclear", "adjudication")])
def test_an_expert_who_skips_rejects_only_with_a_reason_that_says_so(dispute: Dispute, code: str, outcome: str) -> None:
    dispute.adjudicate(None, [reason(code)], at="2999-01-01T00:00:00.0Z")
    assert dispute.review().outcome == outcome


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"answer": "cow"}, "'cow' is no class; the classes are cat, dog"),
        ({"reason": "because"}, "'because' is no reason; the reasons are annotator-mistake, "),
        ({"answer": None}, "Without a class the reason is one of ambiguous-image, bad-image, taxonomy-gap"),
        ({"author": "  "}, "whose it is"),
        ({"comment": "x" * 2001}, "2001 letters"),
        ({"item": "x"}, "'x' names no item"),
        ({"item": "9" * 30}, "names no item"),
        ({"item": "task:0"}, "has no item task:0"),
        ({"item": "999"}, "has no item 999. See: winnow qa queue campaign-1"),
        ({"campaign": "none"}, "no campaign called 'none'"),
    ],
)
def test_what_cannot_be_kept_is_a_sentence(dispute: Dispute, said: dict[str, Any], sentence: str) -> None:
    with pytest.raises((InvalidInputError, NotFoundError), match=sentence):
        dispute.decide(**said)
    with dispute.workspace.database.read() as session:
        assert session.scalars(select(Decision)).all() == []


def test_a_withdrawn_item_gets_no_decision(dispute: Dispute) -> None:
    with dispute.workspace.database.write() as session:
        session.scalars(select(Task).where(Task.image_id == dispute.disputed)).one().state = "withdrawn"
    with pytest.raises(InvalidInputError, match="was withdrawn"):
        dispute.decide()


def test_gold_gets_no_decision(workspace: Workspace, build: Any) -> None:
    images = build.images(2)
    build.taxonomy()
    build.labels({images[0]: "cat"})
    build.campaign(build.batch(images, arms=["gold", "random"]), 1)
    with pytest.raises(InvalidInputError, match="is gold"):
        decisions.decide(workspace, "campaign-2", str(images[0]), answer="dog", reason="bad-image", author="eve")
    decisions.decide(workspace, "campaign-2", str(images[1]), answer="dog", reason="bad-image", author="eve")


def test_gold_is_what_was_labelled_before(workspace: Workspace, build: Any) -> None:
    """A pick for gold without a label under the taxonomy is an item like others, also once it has one."""
    images = build.images(2)
    taxonomy_id = build.taxonomy()
    build.labels({images[0]: "cat"})
    campaign_id = build.campaign(build.batch(images, arms=["gold", "gold"]), taxonomy_id)
    build.answers(campaign_id, {"ann": ["cat", "dog"], "bob": ["cat", "dog"]})

    def gold() -> tuple[set[str], int]:
        with workspace.database.read() as session:
            found = answers.gold(session, session.get_one(Taxonomy, taxonomy_id))
            return set(found.values()), answers.unlabelled_gold(session, campaign_id)

    assert gold() == ({"cat"}, 1)
    assert verdicts.review(workspace, "campaign-2").new_labels == 1
    assert gold() == ({"cat"}, 1)
    assert verdicts.review(workspace, "campaign-2").items == 1


def test_every_reason_is_one_word_and_fits_its_column() -> None:
    assert set(reasons.UNDECIDABLE) < set(reasons.MEANINGS)
    assert all(len(code) <= 32 and " " not in code for code in reasons.MEANINGS)
