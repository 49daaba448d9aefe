from dataclasses import replace
from typing import Any

import pytest

from qa import report, verdicts
from store.errors import NotFoundError
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
    assert [(each.judged, each.accuracy) for each in after.annotators] == [(11, None)] * 2  # too few to judge anyone by


def test_a_campaign_without_answers_has_a_report(workspace: Workspace, build: Any) -> None:
    build.campaign(build.batch(build.images(2)), build.taxonomy())
    empty = report.report(workspace, "campaign-1")
    assert (empty.alpha, empty.raw_agreement, empty.annotators) == (None, None, [])
    with pytest.raises(NotFoundError):
        report.report(workspace, "campaign-2")


def test_annotators_are_judged_over_all_campaigns(workspace: Workspace, build: Any) -> None:
    assert report.annotators(workspace) == []
    images, taxonomy = build.images(4), build.taxonomy()
    for _ in range(2):
        build.answers(build.campaign(build.batch(images), taxonomy), {"ann": ["cat"] * 4})
    (ann,) = report.annotators(workspace)
    assert (ann.annotator, ann.answers, ann.taxonomy) == ("ann", 8, "animals")
    (there,) = report.report(workspace, "campaign-1").annotators
    assert replace(there, answers=8) == ann
