"""`winnow qa lots`, as people and programs give it."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import select
from typer.testing import CliRunner

from api.cli.main import app
from labeling import content, vendors
from labeling.content import Content
from store import schema
from store.errors import InvalidInputError, RequestError
from store.workspace import Workspace
from tests.api.cli.conftest import said, winnow

LEVELS = ("--aql", "0.02", "--ltpd", "0.08")


def test_a_plan_is_told_with_its_curve_and_drawn(workspace: Workspace, tmp_path: Path) -> None:
    picture = tmp_path / "curve.png"
    plan = winnow(workspace, "qa", "lots", "plan", "--lot-size", "500", *LEVELS, "--plot", str(picture))
    assert plan["plan"] == {"sizes": [94], "accept": [4], "reject": [5]}
    assert plan["risks"] == pytest.approx({"producer": 0.0242, "consumer": 0.0959}, abs=5e-5)
    at = {point["fraction"]: point for point in plan["curve"]}
    assert at[0.02]["accepted"] == pytest.approx(1 - plan["risks"]["producer"])
    assert at[0.08]["accepted"] == pytest.approx(plan["risks"]["consumer"])
    assert max(point["outgoing"] for point in plan["curve"]) <= plan["aoql"]["outgoing"]
    with Image.open(picture) as drawn:
        assert min(drawn.size) > 400
    text = said(workspace, "qa", "lots", "plan", "--lot-size", "500", *LEVELS, "--kind", "double")
    assert "Inspect 52: accept with 1 defective or fewer, reject with 5 or more." in text
    assert "Else inspect 52 more: accept with 4 defective or fewer in all, else reject." in text
    text = said(workspace, "qa", "lots", "plan", "--lot-size", "500", *LEVELS, "--kind", "sequential")
    assert "from 36: accept with none defective, reject with 4 or more" in text
    by_rate = winnow(workspace, "qa", "lots", "plan", "--lot-size", "500", *LEVELS, "--process")
    assert by_rate["plan"] == {"sizes": [98], "accept": [4], "reject": [5]}
    given = winnow(workspace, "qa", "lots", "plan", "--lot-size", "500", "--sample", "50", "--accept", "1")
    assert (given["plan"]["sizes"], given["risks"], given["levels"]) == ([50], None, None)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "needs quality levels"),
        (("--aql", "0.02"), "both quality levels"),
        (("--sample", "50"), "here are 1 and 0"),
        ((*LEVELS, "--plot", "curve.jpg"), "is no .png"),
        ((*LEVELS, "--plot", "/nowhere/curve.png"), "cannot be written"),
    ],
)
def test_what_makes_no_plan_is_said(workspace: Workspace, options: tuple[str, ...], told: str) -> None:
    command = ["--home", str(workspace.home), "qa", "lots", "plan", "--lot-size", "500", *options]
    with pytest.raises(RequestError, match=told):
        CliRunner().invoke(app, command, catch_exceptions=False)


def test_a_lot_from_its_opening_to_its_rework(workspace: Workspace, build: Any) -> None:
    def run(*arguments: str) -> Any:
        return winnow(workspace, "qa", "lots", *arguments)

    images = build.images(40)
    build.taxonomy()
    build.labels(dict.fromkeys(images, "dog"))
    vendors.add(workspace, "experts", url="http://127.0.0.1:2", token="env:NOTHING")
    options = ["--auditor", "experts", "--aql", "0.05", "--ltpd", "0.25"]
    opened = said(workspace, "qa", "lots", "open", "campaign-1", *options)
    assert "Lot 1: 40 items of campaign-1 by nobody; normal inspection" in opened
    assert "Next: winnow campaign push audit-1, winnow campaign pull audit-1, winnow qa lots decide 1" in opened
    shown = run("show", "1")
    assert shown.keys() >= {
        "id",
        "campaign",
        "vendor",
        "size",
        "severity",
        "plan",
        "found",
        "outcome",
        "rework",
        "curve",
    }
    assert (shown["outcome"], shown["drawn"]) == ("open", shown["plan"]["sizes"][0])
    with workspace.database.read() as session:
        audit = session.scalars(select(schema.Campaign.id).where(schema.Campaign.name == "audit-1")).one()
    build.answers(audit, {"eve": ["cat"] * shown["drawn"]})
    decided = run("decide", "1")
    assert (decided["outcome"], decided["found"]) == ("rejected", shown["drawn"])
    assert "Rejected. Next: winnow qa lots rework 1, or winnow qa lots decide 1 --sort" in said(
        workspace, "qa", "lots", "show", "1"
    )
    assert run("rework", "1")["rework"] == "campaign-1-rework"
    [listed] = run("list")["lots"]
    assert (listed["id"], listed["outcome"], listed["rework"]) == (1, "rejected", "campaign-1-rework")
    assert len(winnow(workspace, "labels", "list")["labels"]) == shown["drawn"]
    again = 40 - shown["drawn"]
    pushes = "Rejected. Next: winnow campaign push campaign-1-rework; once it is reviewed: winnow qa lots open"
    assert pushes in said(workspace, "qa", "lots", "show", "1")
    with workspace.database.read() as session:
        rework = session.scalars(select(schema.Campaign.id).where(schema.Campaign.name == "campaign-1-rework")).one()
    build.answers(rework, {"ann": ["cat"] * again, "bob": ["cat"] * again})
    said(workspace, "qa", "review", "campaign-1-rework", "--accept-at", "0.6")
    said(workspace, "qa", "lots", "open", "campaign-1-rework", "--auditor", "experts")
    assert said(workspace, "qa", "lots", "show", "1").endswith(
        "  Rejected. It was labelled again and is lot 2. See: winnow qa lots show 2\n"
    )
    run("withdraw", "2")
    assert pushes in said(workspace, "qa", "lots", "show", "1")


def test_a_lot_smaller_than_its_sample_is_told_so_and_withdrawn(workspace: Workspace, build: Any) -> None:
    build.taxonomy()
    build.labels(dict.fromkeys(build.images(6), "dog"))
    vendors.add(workspace, "experts", url="http://127.0.0.1:2", token="env:NOTHING")
    command = ("qa", "lots", "open", "campaign-1", "--auditor", "experts", "--sample", "9", "--accept", "0")
    opened = said(workspace, *command)
    assert "The lot holds fewer items than the plan's 9: it is inspected as a whole." in opened
    told = said(workspace, "qa", "lots", "withdraw", "1")
    assert told.endswith("  Audit by experts: 0 of 6 answered, 0 wrong.\n  Withdrawn.\n")
    assert said(workspace, *command).startswith("Lot 2: 6 items of campaign-1")


def test_why_a_lot_holds_fewer_items_than_are_accepted_is_said(workspace: Workspace, build: Any) -> None:
    """Five images are in a lot with one audited; of the seven that were accepted later an expert settled two."""
    images = build.images(12)
    campaign = build.campaign(build.batch(images), build.taxonomy())
    vendors.add(workspace, "experts", url="http://127.0.0.1:2", token="env:NOTHING")
    command = ("qa", "lots", "open", "campaign-1", "--auditor", "experts", "--sample", "1", "--accept", "0")
    build.answers(campaign, {"ann": ["dog"] * 5 + [None] * 7, "bob": ["dog"] * 5 + [None] * 7})
    review = ("qa", "review", "campaign-1", "--accept-at", "0.6")
    said(workspace, *review)
    assert "leaves out" not in said(workspace, *command)
    with workspace.database.read() as session:
        audit = session.scalars(select(schema.Campaign.id).where(schema.Campaign.name == "audit-1")).one()
    build.answers(audit, {"eve": ["dog"]})
    assert winnow(workspace, "qa", "lots", "decide", "1")["outcome"] == "accepted"
    build.answers(campaign, {"ann": [None] * 5 + ["dog"] * 7, "bob": [None] * 5 + ["dog"] * 7})
    said(workspace, *review)
    decision = ("--campaign", "campaign-1", "--answer", "dog", "--reason", "agreed-with-majority", "--by", "lead")
    for image in images[10:]:
        said(workspace, "qa", "decide", str(image), *decision)
    said(workspace, *review)
    told = said(workspace, *command)
    assert told.startswith("Lot 2: 5 items of campaign-1")
    assert (
        "  Of 12 accepted items it leaves out 7: 5 in lots already, 2 settled by an adjudicator or auditor.\n" in told
    )
    assert winnow(workspace, "qa", "lots", "withdraw", "2")["outcome"] == "withdrawn"
    assert json.loads(said(workspace, *command, "--json"))["left_out"] == {"in_lots": 5, "settled": 2}


def test_of_regions_it_is_said_how_far_labels_may_differ(workspace: Workspace, build: Any) -> None:
    build.taxonomy(kind="boxes")
    build.labels(dict.fromkeys(build.images(6), content.to_json(Content())))
    vendors.add(workspace, "experts", url="http://127.0.0.1:2", token="env:NOTHING")
    options = ["--auditor", "experts", "--sample", "3", "--accept", "0", "--least-iou", "0.7"]
    with pytest.raises(InvalidInputError, match=r"these are 0\.7 and 2"):
        said(workspace, "qa", "lots", "open", "campaign-1", *options, "--least-f1", "2")
    opened = said(workspace, "qa", "lots", "open", "campaign-1", *options)
    assert "Wrong is a label whose F1 against what the auditor draws is under 0.9, at an IoU of 0.7." in opened
    assert winnow(workspace, "qa", "lots", "show", "1")["terms"]["tolerance"] == {"least_iou": 0.7, "least_f1": 0.9}


def test_risks_name_the_wrong_items_they_are_of(workspace: Workspace, build: Any) -> None:
    """5 % of 16 items is less than one: the risk is that of a lot without any wrong."""
    build.taxonomy()
    build.labels(dict.fromkeys(build.images(16), "dog"))
    vendors.add(workspace, "experts", url="http://127.0.0.1:2", token="env:NOTHING")
    levels = ("--aql", "0.05", "--ltpd", "0.25")
    opened = said(workspace, "qa", "lots", "open", "campaign-1", "--auditor", "experts", *levels)
    assert "  Risks: 0.0% that a lot with 0 of 16 wrong (AQL 0.05) is rejected, " in opened
    assert "that one with 4 wrong (LTPD 0.25) is accepted." in opened


def test_a_skip_without_a_reason_names_the_way_out(workspace: Workspace, build: Any) -> None:
    images = build.images(4)
    build.taxonomy()
    build.labels(dict.fromkeys(images, "dog"))
    vendors.add(workspace, "experts", url="http://127.0.0.1:2", token="env:NOTHING")
    said(workspace, "qa", "lots", "open", "campaign-1", "--auditor", "experts", "--sample", "4", "--accept", "0")
    with workspace.database.read() as session:
        audit = session.scalars(select(schema.Campaign.id).where(schema.Campaign.name == "audit-1")).one()
        drawn = [
            task.image_id
            for task in session.scalars(
                select(schema.Task).where(schema.Task.campaign_id == audit).order_by(schema.Task.rank)
            )
        ]
    skipped = drawn[1]
    build.answers(audit, {"eve": ["dog", "dog", None, "dog"]})
    with workspace.database.write() as session:
        of_image = select(schema.Annotation).join(schema.Task).where(schema.Task.campaign_id == audit)
        session.scalars(of_image.where(schema.Task.image_id == skipped)).one().skipped = True
    told = said(workspace, "qa", "lots", "decide", "1")
    way_out = (
        f"1 of the items drawn were skipped without a reason, such as image {skipped}, and no push brings them back"
    )
    assert way_out in told
    assert "winnow qa decide IMAGE --campaign campaign-1 --answer ANSWER --reason REASON" in told
    assert "Open. Next: winnow campaign push audit-1" in told  # somebody has still to answer the third
    build.answers(audit, {"zoe": [None, None, "dog", None]})
    assert told.count("skipped") == said(workspace, "qa", "lots", "show", "1").count("skipped")
    assert said(workspace, "qa", "lots", "show", "1").endswith("Open. Next: winnow qa lots decide 1\n")
    decision = ("--campaign", "campaign-1", "--answer", "dog", "--reason", "agreed-with-majority", "--by", "lead")
    said(workspace, "qa", "decide", str(skipped), *decision)
    told = said(workspace, "qa", "lots", "decide", "1")
    assert "skipped" not in told
    assert told.endswith("4 of 4 answered, 0 wrong.\n  Accepted.\n")
