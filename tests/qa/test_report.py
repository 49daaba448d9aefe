from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select, update
from typer.testing import CliRunner

from api import agreement_words, report_page
from api.cli.main import app
from labeling import campaigns, cancel, vendors
from qa import adjudication, agreement, annotators, decisions, report, standing, verdicts
from store.errors import InvalidInputError, NotFoundError
from store.schema import Annotation, Sighting, Task, Vendor, Verdict
from store.workspace import Workspace


def test_a_report_by_hand(workspace: Workspace, build: Any) -> None:
    images = build.images(12)
    campaign = build.campaign(build.batch(images), build.taxonomy())
    ann = ["cat"] * 5 + ["dog"] * 5
    build.answers(campaign, {"bob": [*ann, "cat", None], "ann": [*ann, "dog", "cat"]})

    before = report.report(workspace, "campaign-1")
    assert (before.items, before.unreviewed, before.accepted, before.answers_per_label) == (12, 12, 0, None)

    verdicts.review(workspace, "campaign-1")
    after = report.report(workspace, "campaign-1")
    assert (after.accepted, after.adjudicated, after.in_adjudication, after.waiting) == (10, 0, 1, 1)
    assert (after.answers, after.skips, after.adjudicator_answers) == (23, 0, 0)
    assert after.answers_per_label == pytest.approx(2.3)
    assert after.raw_agreement == pytest.approx(10 / 11)
    assert after.alpha == pytest.approx(1 - (2 / 22) / (2 * 11 * 11 / (22 * 21)))  # 11 of each answer among 22
    assert [(each.annotator, each.answers, each.vendor) for each in after.annotators] == [
        ("ann", 12, "nobody"),
        ("bob", 11, "nobody"),
    ]
    assert [(each.judged, each.accuracy) for each in after.annotators] == [(0, None)] * 2  # who of two is right?


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
def test_ordered_classes_are_agreed_on_the_more_the_nearer_they_are(
    workspace: Workspace, build: Any, level: agreement.Level
) -> None:
    """Bob takes low for fair and Cay takes it for high; it is the taxonomy that orders them, not the alphabet."""
    classes = ["low", "fair", "high", "best"]
    truth = classes * 10
    images, taxonomy = build.images(40), build.taxonomy(classes)
    for name, low in (("bob", "fair"), ("cay", "high")):
        said = [low if one == "low" else one for one in truth]
        build.answers(build.campaign(build.batch(images), taxonomy), {"ann": truth, name: said})
    near, far = (report.report(workspace, f"campaign-{number}", level=level) for number in (1, 2))
    assert near.level == level
    for found in (near, far):
        on_all = found.agreement[0]
        assert on_all.kappa_of == "Cohen"
        assert on_all.interval is not None
        assert on_all.alpha is not None
        assert on_all.kappa is not None
        assert on_all.interval[0] < on_all.alpha <= on_all.interval[1]
    gap = (near.alpha or 0) - (far.alpha or 0)
    kappa_gap = (near.agreement[0].kappa or 0) - (far.agreement[0].kappa or 0)
    if level == "nominal":
        assert abs(gap) < 0.02
        assert abs(kappa_gap) < 0.02
    else:
        assert gap > 0.05
        assert kappa_gap > 0.05


def told(workspace: Workspace, *arguments: str) -> str:
    return CliRunner().invoke(app, ["--home", str(workspace.home), "qa", "report", "campaign-1", *arguments]).output


def test_the_command_says_what_level_it_takes_the_classes_at(workspace: Workspace, build: Any) -> None:
    campaign = build.campaign(build.batch(build.images(2)), build.taxonomy(["low", "high"]))
    build.answers(campaign, {"ann": ["low", "low"]})
    assert "ordered (ordinal), in the order of the taxonomy: low < high" in told(workspace, "--level", "ordinal")
    assert "ordered" not in told(workspace)


def test_an_accuracy_that_is_no_share_is_refused(workspace: Workspace, build: Any) -> None:
    build.campaign(build.batch(build.images(2)), build.taxonomy())
    with pytest.raises(InvalidInputError, match="between 0 and 1, not 70"):
        report.report(workspace, "campaign-1", least_accuracy=70)


@pytest.mark.parametrize(("level", "why"), [("ratio", "no level of agreement"), ("ordinal", "asks for boxes")])
def test_what_has_no_such_level_is_refused(workspace: Workspace, build: Any, level: str, why: str) -> None:
    build.campaign(
        build.batch(build.images(2)), build.taxonomy(kind="boxes" if level == "ordinal" else "classification")
    )
    found = CliRunner().invoke(app, ["--home", str(workspace.home), "qa", "report", "campaign-1", "--level", level])
    assert isinstance(found.exception, InvalidInputError)
    assert why in str(found.exception)


def test_why_there_is_no_interval_is_a_sentence(workspace: Workspace, build: Any) -> None:
    said = ["cat", "dog"] * 20
    build.answers(
        build.campaign(build.batch(build.images(40)), build.taxonomy()), {"ann": said, "bob": said[:28] + [None] * 12}
    )
    few = report.report(workspace, "campaign-1").agreement
    assert [row.interval for row in few] == [None] * len(few)
    assert any("fewer than 30 items" in line for line in agreement_words.of_answers(few, adaptive=False))
    build.answers(1, {"cay": said})
    enough = report.report(workspace, "campaign-1").agreement
    assert all(row.interval is not None for row in enough)
    assert not any("fewer than 30 items" in line for line in agreement_words.of_answers(enough, adaptive=False))


def test_a_campaign_without_answers_has_a_report(workspace: Workspace, build: Any) -> None:
    build.campaign(build.batch(build.images(2)), build.taxonomy())
    empty = report.report(workspace, "campaign-1")
    assert (empty.alpha, empty.raw_agreement, empty.annotators) == (None, None, [])
    with pytest.raises(NotFoundError):
        report.report(workspace, "campaign-2")


def test_annotators_are_judged_over_all_campaigns(workspace: Workspace, build: Any) -> None:
    assert annotators.list_all(workspace) == []
    images, taxonomy = build.images(4), build.taxonomy()
    for _ in range(2):
        build.answers(build.campaign(build.batch(images), taxonomy), {"ann": ["cat"] * 4})
    (ann,) = annotators.list_all(workspace)
    assert (ann.annotator, ann.answers, ann.taxonomy) == ("ann", 8, "animals")
    (there,) = report.report(workspace, "campaign-1").annotators
    assert replace(there, answers=8) == ann


def test_agreement_is_told_of_classes_slices_vendors_and_guidelines(workspace: Workspace, build: Any) -> None:
    """ann and bob agree on the even images and never on the odd."""
    campaign = build.campaign(build.batch(build.images(12)), build.taxonomy())
    build.answers(campaign, {"ann": ["cat", "cat", "dog", "dog"] * 3, "bob": ["cat", "dog", "dog", "cat"] * 3})
    with workspace.database.write() as session:
        for i, sighting in enumerate(session.scalars(select(Sighting).order_by(Sighting.id))):
            sighting.details = {"shift": i % 2}
    found = {(row.of, row.name): row for row in report.report(workspace, "campaign-1", by="shift").agreement}
    assert list(found) == [
        ("campaign", "campaign-1"),
        ("class", "cat"),
        ("class", "dog"),
        ("slice", "shift=0"),
        ("slice", "shift=1"),
        ("vendor", "nobody"),
        ("guideline", "animals 1"),
    ]
    even, odd, cat = found["slice", "shift=0"], found["slice", "shift=1"], found["class", "cat"]
    assert (even.items, even.alpha, even.raw_agreement, even.kappa, even.kappa_of) == (6, 1, 1, 1, "Cohen")
    assert (odd.items, odd.raw_agreement, odd.kappa) == (6, 0, pytest.approx(-1))
    assert cat.items == 9  # three that both call a cat, six that one does
    assert (
        found["vendor", "nobody"].alpha
        == found["guideline", "animals 1"].alpha
        == found["campaign", "campaign-1"].alpha
    )
    with pytest.raises(InvalidInputError, match="'colour'"):
        report.report(workspace, "campaign-1", by="colour")


def test_confusions_disputes_and_cost(workspace: Workspace, build: Any) -> None:
    campaign = build.campaign(build.batch(build.images(20)), build.taxonomy(), overlap=3)
    sure = ["cat", "dog"] * 9
    build.answers(campaign, {name: [*sure, "cat", "cat"] for name in ("ann", "bob")} | {"cay": [*sure, "dog", "cat"]})
    with workspace.database.write() as session:
        session.scalars(select(Vendor)).one().prices = {"classification": 0.1}
    verdicts.review(workspace, "campaign-1", accept_at=0.99)
    found = report.report(workspace, "campaign-1")
    (confusion,) = found.confusions
    assert (confusion.item, confusion.answer, confusion.answers) == ("cat", "dog", pytest.approx(1, abs=0.2))
    (disputed,) = found.disputed
    assert (disputed.name, disputed.answers, disputed.likeliest) == ("18.png", {"cat": 2, "dog": 1}, "cat")
    assert found.cost == pytest.approx(6)
    assert found.cost_per_label == pytest.approx(6 / found.accepted)
    assert found.check is None  # nothing is gold, and no adjudicator said anything


@pytest.fixture
def settled_elsewhere(workspace: Workspace, build: Any) -> Workspace:
    """Eight answers at 0.1 each; two by experts who have no price; and adjudications that were never answered."""
    images = build.images(4)
    campaign = build.campaign(build.batch(images), build.taxonomy())
    build.answers(campaign, {"ann": ["cat"] * 4, "bob": ["dog"] * 4})
    vendors.add(workspace, "nobody", url="http://127.0.0.1:1", token="env:T", prices={"classification": 0.1})
    for name in ("experts", "never-asked"):
        vendors.add(workspace, name, url="http://127.0.0.1:1", token="env:T")
    build.plan_adjudication("idle", parent="campaign-1", image_ids=images[2:], vendor="never-asked")
    cancel.cancel(workspace, "idle")
    return workspace


def test_a_campaign_that_was_cancelled_unanswered_takes_no_cost_away(settled_elsewhere: Workspace) -> None:
    found = report.report(settled_elsewhere, "campaign-1")
    assert (found.cost, found.unpriced) == (pytest.approx(0.8), {})
    assert "cost 0.80" in told(settled_elsewhere)


def test_the_cost_that_is_known_is_told_and_who_has_no_price(settled_elsewhere: Workspace, build: Any) -> None:
    workspace = settled_elsewhere
    build.adjudication(1, {0: "cat", 1: "dog"})
    with workspace.database.write() as session:
        campaigns.get(session, "campaign-1-adjudication").vendor_id = vendors.get(session, "experts").id
    verdicts.review(workspace, "campaign-1")
    found = report.report(workspace, "campaign-1")
    assert (found.cost, found.cost_per_label, found.unpriced) == (pytest.approx(0.8), None, {"experts": 2})
    why = (
        "The cost leaves out 2 answers of experts, whose price for classification is not known. "
        "Run: winnow vendor add experts --price classification=0.05 …"
    )
    text = told(workspace)
    assert "cost 0.80" in text
    assert why in text
    page = report_page.render(workspace, found)
    assert "<dd>0.80</dd>" in page
    assert why in page
    vendors.add(workspace, "experts", url="http://127.0.0.1:1", token="env:T", prices={"classification": 1})
    found = report.report(workspace, "campaign-1")
    assert (found.cost, found.cost_per_label, found.unpriced) == (pytest.approx(2.8), pytest.approx(1.4), {})


def test_without_any_price_there_is_no_cost(workspace: Workspace, build: Any) -> None:
    build.answers(build.campaign(build.batch(build.images(2)), build.taxonomy()), {"ann": ["cat", "dog"]})
    found = report.report(workspace, "campaign-1")
    assert (found.cost, found.cost_per_label, found.unpriced) == (None, None, {"nobody": 2})
    why = "There is no cost: of 2 answers of nobody no price for classification is known. Run: winnow vendor add nobody"
    assert why in told(workspace)
    assert why in report_page.render(workspace, found)


def test_posteriors_are_held_against_gold(workspace: Workspace, build: Any) -> None:
    """Forty items of gold, of which both people get thirty right: posteriors that are sure are wrong in ten."""
    images = build.images(40)
    taxonomy = build.taxonomy()
    build.labels(dict.fromkeys(images, "cat"))
    campaign = build.campaign(build.batch(images, arms=["gold"] * 40), taxonomy)
    said = ["cat"] * 30 + ["dog"] * 10
    build.answers(campaign, {"ann": said, "bob": said})
    found = report.report(workspace, "campaign-2")
    assert (found.gold, found.unreviewed) == (40, 0)
    assert found.check is not None
    assert found.check.items == 40
    right = sum(share * items for share, items in zip(found.check.accuracy, found.check.in_bin, strict=True))
    assert right == pytest.approx(30)
    assert found.check.ece > 0.1


def test_answers_of_paused_people_are_set_aside(workspace: Workspace, build: Any) -> None:
    build.answers(
        build.campaign(build.batch(build.images(3)), build.taxonomy()), {"ann": ["cat"] * 3, "bob": ["cat"] * 3}
    )
    since = datetime(2020, 1, 1, tzinfo=UTC)
    standing.decide(workspace, "bob", "paused", reason="guesses", by="lead", since=since)
    found = report.report(workspace, "campaign-1")
    assert (found.answers, found.set_aside) == (3, 3)
    assert [(each.annotator, each.standing) for each in found.annotators] == [("ann", "good"), ("bob", "paused")]


def test_what_an_adjudicator_rejected_is_not_accepted_by_one(workspace: Workspace, build: Any) -> None:
    images = build.images(4)
    build.answers(build.campaign(build.batch(images), build.taxonomy()), {"ann": ["cat"] * 4, "bob": ["dog"] * 4})
    for image, answer, reason in ((images[0], "cat", "annotator-mistake"), (images[1], None, "bad-image")):
        decisions.decide(workspace, "campaign-1", str(image), answer=answer, reason=reason, author="eve")
    verdicts.review(workspace, "campaign-1")
    found = report.report(workspace, "campaign-1")
    assert (found.accepted, found.adjudicated, found.rejected) == (1, 1, 1)


def test_an_answer_of_no_class_is_no_skip_and_what_everybody_skipped_says_so(workspace: Workspace, build: Any) -> None:
    campaign = build.campaign(build.batch(build.images(2)), build.taxonomy())
    build.answers(campaign, {"ann": ["horse", "cat"], "bob": ["cat", "cat"]})
    with workspace.database.write() as session:
        task = session.scalar(select(Task.id).order_by(Task.rank.desc()).limit(1))
        session.execute(
            update(Annotation).where(Annotation.task_id == task).values(skipped=True, answer=None, content=None)
        )
    verdicts.review(workspace, "campaign-1")
    found = report.report(workspace, "campaign-1")
    assert (found.answers, found.skips, found.nameless) == (1, 2, 1)
    with workspace.database.read() as session:
        whys = {item.task: item.why for item in adjudication.queue(workspace, session, "campaign-1").items}
    assert whys[task] == "Nobody said what it is."


def test_the_most_disputed_are_shown_as_sure_as_their_verdict_is(workspace: Workspace, build: Any) -> None:
    campaign = build.campaign(build.batch(build.images(9)), build.taxonomy())
    build.answers(campaign, {"ann": ["cat"] * 9, "bob": ["cat"] * 9, "cay": ["dog"] + ["cat"] * 8})
    verdicts.review(workspace, "campaign-1")
    with workspace.database.write() as session:
        session.execute(update(Verdict).values(posterior=0.97))
    [disputed] = report.report(workspace, "campaign-1").disputed
    assert (disputed.likeliest, disputed.posterior, disputed.answers) == ("cat", 0.97, {"cat": 2, "dog": 1})
