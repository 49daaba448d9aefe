"""Campaigns that ask as often as needed: who is asked again, who is not, and where it ends."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from labeling import campaigns
from qa import ledger, report, verdicts
from qa.overlap import Rules
from store import schema
from store.errors import InvalidInputError
from store.schema import Annotator, Campaign, ImageId, Label, Task, Verdict, now
from store.workspace import Workspace

NAME = "campaign-1"
CLASSES = ("cat", "dog", "cow")


class Bench:
    """An adaptive campaign of twelve items; nobody is audited unless said."""

    def __init__(self, workspace: Workspace, build: Any) -> None:
        self.workspace, self.build = workspace, build
        self.images: list[ImageId] = build.images(12)
        self.campaign = 0

    def plan(self, **rules: Any) -> None:
        adaptive = asdict(Rules(**{"audited": 0.0, **rules}))
        del adaptive["answer_cost"]
        batch = self.build.batch(self.images)
        self.campaign = self.build.campaign(batch, self.build.taxonomy(CLASSES), adaptive=adaptive)

    def answer(self, said: dict[str, list[str | None]]) -> None:
        self.build.answers(self.campaign, said)

    def skip(self, name: str, ranks: list[int]) -> None:
        """Somebody skips some items."""
        self.answer({name: ["skipped" if rank in ranks else None for rank in range(12)]})
        with self.workspace.database.write() as session:
            for row in session.scalars(select(schema.Annotation).where(schema.Annotation.answer == "skipped")):
                row.answer, row.skipped = None, True

    def review(self) -> verdicts.QaSummary:
        summary = verdicts.review(self.workspace, NAME)
        again = verdicts.review(self.workspace, NAME)
        assert (again.new_verdicts, again.new_labels, again.opinions) == (0, 0, summary.opinions)
        return summary

    def newest(self) -> list[Verdict]:
        """Of each item, by rank."""
        with self.workspace.database.read() as session:
            standing = ledger.newest(session, session.get_one(Campaign, self.campaign))
            of_campaign = select(Task.id).where(Task.campaign_id == self.campaign).order_by(Task.rank)
            return [standing[task_id] for task_id in session.scalars(of_campaign)]

    def outcomes(self) -> list[str]:
        return [verdict.outcome for verdict in self.newest()]

    def asked(self, summary: verdicts.QaSummary) -> dict[int, str | None]:
        """By rank."""
        return {self.images.index(ImageId(each.image)): each.ask for each in summary.opinions}


@pytest.fixture
def bench(workspace: Workspace, build: Any) -> Bench:
    return Bench(workspace, build)


def agreed(count: int = 12) -> list[str | None]:
    """Cats and dogs in turn."""
    return [("cat", "dog")[i % 2] if i < count else None for i in range(12)]


def test_a_campaign_nobody_answered_waits_for_anybody(bench: Bench) -> None:
    bench.plan()
    summary = bench.review()
    assert (summary.outcomes, summary.opinions) == ({"another-opinion": 12}, [])


def test_who_agree_are_believed_and_nobody_is_asked_again(bench: Bench) -> None:
    bench.plan()
    bench.answer({"ann": agreed(), "bob": agreed()})
    assert bench.review().outcomes == {"accepted": 12}
    evidence = bench.newest()[0].evidence
    assert evidence["policy"] == {
        "overlap": "adaptive",
        "target_error": 0.06,
        "most_answers": 3,
        "adjudication_cost": None,
        "audited": 0.0,
    }
    assert 0 < evidence["most_doubt"] <= 1


def test_what_one_person_said_is_put_to_the_other_and_never_to_them_again(bench: Bench) -> None:
    bench.plan()
    bench.answer({"ann": agreed(10), "bob": [None] * 10 + ["cat", "dog"]})
    assert bench.asked(bench.review()) == dict.fromkeys(range(10), "bob") | {10: "ann", 11: "ann"}
    assert [verdict.evidence["ask"] for verdict in bench.newest()] == ["bob"] * 10 + ["ann"] * 2


def test_who_was_faster_than_all_colleagues_waits_for_one_until_the_campaign_ends(bench: Bench) -> None:
    bench.plan()
    bench.answer({"ann": agreed(12)})
    assert report.report(bench.workspace, NAME).adaptive
    assert bench.asked(bench.review()) == dict.fromkeys(range(12), None)  # somebody new
    with bench.workspace.database.write() as session:
        campaigns.get(session, NAME).closed_at = now()
    assert bench.review().outcomes == {"adjudication": 12}


def test_where_nobody_agrees_the_most_answers_are_asked_for_and_then_an_expert(bench: Bench) -> None:
    bench.plan(most_answers=3)
    bench.answer({"ann": ["cat"] * 12, "bob": ["dog"] * 12})
    bench.answer({"cleo": ["cow", *[None] * 11]})
    summary = bench.review()
    assert bench.asked(summary) == dict.fromkeys(range(1, 12), "cleo")
    assert bench.outcomes()[0] == "adjudication"
    bench.answer({"cleo": [None, *["cow"] * 11], "dan": [None] * 12})
    assert bench.review().outcomes == {"adjudication": 12}


def test_a_class_that_nobody_named_before_is_asked_about(bench: Bench) -> None:
    bench.plan(target_error=0.003)
    bench.answer({"ann": [*agreed(11)[:11], "cow"], "bob": [*agreed(11)[:11], None]})
    assert bench.asked(bench.review()) == {11: "bob"}


def test_whom_is_asked_who_tells_the_classes_in_doubt_apart(bench: Bench) -> None:
    """Cleo takes dogs for cats, dan does not."""
    bench.plan(most_answers=4, target_error=0.01)
    right = agreed(11)
    bench.answer({"ann": [*right[:11], "cat"], "bob": [*right[:11], "dog"]})
    bench.answer({"cleo": [*["cat"] * 11, None], "dan": [*right[:11], None]})
    assert bench.asked(bench.review()) == {11: "dan"}


def test_skips_are_looks_that_say_nothing(bench: Bench) -> None:
    bench.plan(most_answers=3)
    bench.answer({"ann": agreed(10), "bob": agreed(10)})
    bench.skip("ann", [10, 11])
    assert bench.asked(bench.review()) == {10: "bob", 11: "bob"}
    bench.skip("bob", [10])
    assert bench.asked(bench.review()) == {11: "bob"}
    assert bench.outcomes()[10] == "adjudication"  # everybody skipped it
    assert bench.newest()[10].evidence["answers"][0]["skipped"]


def test_as_many_skips_as_answers_are_allowed_are_enough(bench: Bench) -> None:
    bench.plan(most_answers=2)
    bench.answer({name: agreed(11) for name in ("ann", "bob", "cleo")})
    for name in ("ann", "bob"):
        bench.skip(name, [11])
    assert bench.review().opinions == []
    assert bench.outcomes()[11] == "adjudication"


def test_who_is_gone_is_not_asked(bench: Bench) -> None:
    bench.plan(target_error=0.0001)
    bench.answer({"ann": [*agreed(11)[:11], "cow"], "bob": agreed(11), "cleo": agreed(11)})
    assert bench.asked(bench.review())[11] in ("bob", "cleo")
    with bench.workspace.database.write() as session:
        session.scalars(select(Annotator).where(Annotator.name == "bob")).one().gone = True
    assert bench.asked(bench.review()) == {11: "cleo"}
    with bench.workspace.database.write() as session:
        session.scalars(select(Annotator).where(Annotator.name == "cleo")).one().gone = True
    assert bench.review().outcomes == {"accepted": 11, "adjudication": 1}
    assert [answer["annotator"] for answer in bench.newest()[0].evidence["answers"]] == ["ann", "bob", "cleo"]


def test_what_is_with_an_expert_is_not_asked_about(bench: Bench) -> None:
    bench.plan(target_error=0.01)
    bench.answer({"ann": ["cat"] * 12})
    assert bench.review().outcomes == {"another-opinion": 12}
    bench.build.plan_adjudication("experts", parent=NAME, image_ids=bench.images[:2])
    bench.answer({"bob": [None] * 11 + ["cat"]})  # somebody new, after all
    assert bench.asked(bench.review()) == dict.fromkeys(range(2, 11), "bob")
    assert bench.outcomes()[:2] == ["adjudication"] * 2
    with bench.workspace.database.read() as session:
        experts = campaigns.get(session, "experts").id
    bench.build.answers(experts, {"eve": ["dog", "cat"]})
    bench.review()
    assert bench.outcomes()[:2] == ["accepted"] * 2
    assert "eve" not in bench.asked(bench.review()).values()


def test_in_a_campaign_that_ended_nobody_is_asked(bench: Bench) -> None:
    bench.plan(target_error=0.01)
    bench.answer({"ann": agreed(6), "bob": agreed(3)})
    campaigns.close(bench.workspace, NAME)
    assert bench.review().opinions == []
    assert bench.outcomes() == ["accepted"] * 3 + ["adjudication"] * 3 + ["another-opinion"] * 6


def test_what_the_probe_is_sure_of_is_not_asked_again(bench: Bench) -> None:
    looks = np.eye(8)[[i % 2 for i in range(12)]] + np.random.default_rng(0).normal(scale=0.05, size=(12, 8))
    bench.build.vectors(bench.images, looks)
    bench.plan(target_error=0.02)
    wrong = [*agreed()[:11], "cat"]  # it looks like a dog
    bench.answer({"ann": [wrong[i] if i % 2 else None for i in range(12)]})
    bench.answer({"bob": [None if i % 2 else wrong[i] for i in range(12)]})
    summary = bench.review()
    assert summary.model == "probe on test"
    assert bench.asked(summary) == {11: "bob"}


def test_an_accepted_item_is_not_asked_about_again(bench: Bench) -> None:
    bench.plan()
    bench.answer({"ann": agreed(6), "bob": agreed(6)})
    bench.review()
    assert bench.outcomes()[:6] == ["accepted"] * 6
    bench.answer({"ann": [None] * 6 + ["cow"] * 6, "bob": [None] * 6 + ["cat"] * 6})
    bench.review()
    assert bench.outcomes()[:6] == ["accepted"] * 6
    with bench.workspace.database.read() as session:
        assert len(session.scalars(select(Label)).all()) == 6


def test_everything_is_audited_if_that_is_wanted(bench: Bench) -> None:
    bench.plan(audited=1.0, most_answers=2)
    bench.answer({"ann": agreed(), "bob": agreed(6)})
    assert set(bench.asked(bench.review())) == set(range(6, 12))
    bench.answer({"bob": [None if i < 6 else value for i, value in enumerate(agreed())]})
    assert bench.review().outcomes == {"accepted": 12}


def test_an_adaptive_campaign_has_no_posterior_to_accept_at(bench: Bench) -> None:
    bench.plan()
    with pytest.raises(InvalidInputError, match="'campaign-1' is adaptive: it accepts"):
        verdicts.review(bench.workspace, NAME, accept_at=0.9)


def test_how_far_it_is_counts_what_is_asked_for_now(bench: Bench) -> None:
    bench.plan(target_error=0.001)
    bench.answer({"ann": agreed(10), "bob": [None] * 10 + ["cat", "dog"]})
    bench.review()
    with bench.workspace.database.read() as session:
        status = campaigns.status(session, NAME)
    assert (status.answered, status.in_work, status.in_flight) == (0, 12, 12)
    bench.answer({"bob": agreed(10)})
    bench.review()
    with bench.workspace.database.read() as session:
        status = campaigns.status(session, NAME)
    assert (status.answered, status.in_work) == (10, 2)
