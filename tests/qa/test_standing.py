from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from curation import labels
from qa import annotators, answers, standing, verdicts
from store.errors import ConflictError, InvalidInputError, NotFoundError
from store.schema import Annotation, Annotator, Campaign, Image, ImageId, Standing, Taxonomy, Vendor
from store.workspace import Workspace

CATS = ["cat"] * 12
AGES_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def campaign(workspace: Workspace, build: Any) -> str:
    """Twelve items that ann and bob agree on."""
    build.answers(build.campaign(build.batch(build.images(12)), build.taxonomy()), {"ann": CATS, "bob": CATS})
    return "campaign-1"


def decide(workspace: Workspace, name: str, state: standing.State, **options: Any) -> Standing:
    return standing.decide(workspace, name, state, reason="they guess", by="lead", **options)


def image_ids(workspace: Workspace) -> list[ImageId]:
    with workspace.database.read() as session:
        return [ImageId(one) for one in session.scalars(select(Image.id).order_by(Image.id))]


def outcomes(workspace: Workspace, campaign: str) -> dict[str, int]:
    return verdicts.review(workspace, campaign).outcomes


def test_what_is_given_after_a_pause_counts_for_nothing(workspace: Workspace, campaign: str) -> None:
    """Answers of January stand when somebody is paused now; paused from before them, they are gone."""
    decide(workspace, "bob", "paused")
    assert outcomes(workspace, campaign) == {"accepted": 12}
    decide(workspace, "bob", "paused", since=AGES_AGO)
    assert outcomes(workspace, campaign) == {"another-opinion": 12}


def test_a_pause_begins_at_a_moment(workspace: Workspace, campaign: str) -> None:
    with workspace.database.read() as session:
        moments = sorted(
            session.scalars(select(Annotation.ls_updated_at).join(Annotator).where(Annotator.name == "bob"))
        )
    decide(workspace, "bob", "paused", since=datetime.fromisoformat(moments[8]))
    assert outcomes(workspace, campaign) == {"accepted": 8, "another-opinion": 4}


def test_a_later_pause_does_not_undo_an_earlier_one(workspace: Workspace, campaign: str) -> None:
    decide(workspace, "bob", "paused")
    decide(workspace, "bob", "paused", since=AGES_AGO)
    before = outcomes(workspace, campaign)
    with pytest.raises(ConflictError, match=r"is paused since .* already.* reinstate them first"):
        decide(workspace, "bob", "paused")
    assert outcomes(workspace, campaign) == before


def test_reinstated_everything_counts_again(workspace: Workspace, campaign: str) -> None:
    decide(workspace, "bob", "paused", since=AGES_AGO)
    outcomes(workspace, campaign)
    decide(workspace, "bob", "good")
    assert outcomes(workspace, campaign) == {"accepted": 12}


def test_an_item_that_only_people_on_probation_answered_wants_another_opinion(
    workspace: Workspace, campaign: str, build: Any
) -> None:
    decide(workspace, "bob", "probation")
    assert outcomes(workspace, campaign) == {"accepted": 12}  # ann is beside bob
    alone = build.campaign(build.batch(image_ids(workspace)[:6]), 1, overlap=1)
    build.answers(alone, {"bob": ["cat"] * 3 + ["dog"] * 3})
    assert outcomes(workspace, "campaign-2") == {"another-opinion": 6}
    build.answers(alone, {"ann": ["cat"] * 3 + ["dog"] * 3})
    assert outcomes(workspace, "campaign-2") == {"accepted": 6}


def test_what_only_people_on_probation_answered_is_decided_anew_also_where_it_was_accepted(
    workspace: Workspace, campaign: str, build: Any
) -> None:
    def in_force() -> int:
        with workspace.database.read() as session:
            return len(labels.in_force(session, "animals"))

    assert outcomes(workspace, campaign) == {"accepted": 12}
    decide(workspace, "ann", "probation")
    assert outcomes(workspace, campaign) == {"accepted": 12}  # bob is beside ann
    decide(workspace, "bob", "probation")
    assert outcomes(workspace, campaign) == {"another-opinion": 12}
    assert in_force() == 0
    assert verdicts.review(workspace, campaign).new_verdicts == 0
    build.answers(1, {"cay": ["cat"] * 6 + [None] * 6})
    assert outcomes(workspace, campaign) == {"accepted": 6, "another-opinion": 6}
    decide(workspace, "bob", "good")
    assert outcomes(workspace, campaign) == {"accepted": 12}
    assert in_force() == 12


def test_nothing_they_said_and_nothing_decided_is_overwritten(workspace: Workspace, campaign: str) -> None:
    with workspace.database.read() as session:
        before = session.scalars(select(func.count(Annotation.id))).one()
    for state in ("probation", "paused", "good"):
        decide(workspace, "bob", state)
    with workspace.database.read() as session:
        assert session.scalars(select(func.count(Annotation.id))).one() == before
        bob = standing.find(session, "bob")
        assert [row.state for row in standing.history(session, bob.id)] == ["probation", "paused", "good"]
        assert standing.in_force(session) == {}


def test_a_paused_adjudicator_settles_nothing(workspace: Workspace, build: Any) -> None:
    """What an expert says after their pause began is kept and not read."""
    parent = build.campaign(build.batch(build.images(1)), build.taxonomy())
    build.answers(parent, {"ann": ["cat"], "bob": ["dog"]})
    child = build.campaign(build.batch(image_ids(workspace)), 1)
    with workspace.database.write() as session:
        campaign = session.get_one(Campaign, child)
        campaign.purpose, campaign.parent_id = "adjudication", parent
    build.answers(child, {"eve": ["cat"]})

    def settled() -> dict[int, str | None]:
        with workspace.database.read() as session:
            return answers.read(session, session.scalars(select(Taxonomy)).one()).settled

    assert settled() == {1: "cat"}
    decide(workspace, "eve", "paused", since=AGES_AGO)
    assert settled() == {}
    assert outcomes(workspace, "campaign-1") == {"adjudication": 1}


def test_paused_people_are_judged_and_judge_nobody(workspace: Workspace, campaign: str, build: Any) -> None:
    build.answers(1, {"cay": ["dog"] * 12, "dan": CATS})
    decide(workspace, "cay", "paused", since=AGES_AGO)
    ann, bob, cay, _ = annotators.list_all(workspace)
    assert (cay.judged, cay.standing) == (12, "paused")
    assert cay.interval[1] < 0.5
    assert ann.interval == pytest.approx(bob.interval)
    assert ann.interval[0] > 0.6


def test_what_cannot_be_decided_is_a_sentence(workspace: Workspace, campaign: str) -> None:
    with pytest.raises(NotFoundError, match="Nobody called 'zoe' has answered"):
        decide(workspace, "zoe", "paused")
    with pytest.raises(NotFoundError, match="no vendor called 'acme'"):
        decide(workspace, "bob", "paused", vendor_name="acme")
    with pytest.raises(ConflictError, match="neither paused nor on probation"):
        decide(workspace, "bob", "good")
    with pytest.raises(InvalidInputError, match="--reason"):
        standing.decide(workspace, "bob", "paused", reason=" ", by="lead")


def test_of_two_people_of_one_name_the_vendor_says_which(workspace: Workspace, campaign: str) -> None:
    with workspace.database.write() as session:
        other = Vendor(name="acme", ls_url="http://127.0.0.1:2", ls_token_reference="env:NOTHING")
        session.add(other)
        session.flush()
        session.add(Annotator(vendor_id=other.id, ls_user_id=1, name="bob"))
    with pytest.raises(InvalidInputError, match="2 annotators are called 'bob': say --vendor acme or nobody"):
        decide(workspace, "bob", "paused")
    assert decide(workspace, "bob", "paused", vendor_name="nobody").state == "paused"


def test_when_an_answer_counts() -> None:
    since = datetime(2026, 5, 1, tzinfo=UTC)
    paused = Standing(state="paused", since=since)
    assert standing.counts(paused, since - timedelta(seconds=1))
    assert not standing.counts(paused, since)
    assert standing.counts(Standing(state="probation", since=since), since)
    assert not standing.counts(paused, None)  # nobody can say it was before
    assert standing.counts(Standing(state="probation", since=since), None)
    assert standing.counts(None, None)
    assert standing.counts(None, since)


def test_who_wants_another_beside_them() -> None:
    standings = {1: Standing(state="probation"), 2: Standing(state="probation"), 3: Standing(state="paused")}
    assert standing.wants_another([1, 2], standings)
    assert not standing.wants_another([1, 4], standings)
    assert not standing.wants_another([], standings)
    assert not standing.wants_another([3], standings)  # an answer from before the pause
