"""The lots on the dashboard."""

import json
from typing import Any

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from api import operating_curve
from api.cli.main import app
from labeling import content, vendors
from labeling.content import Content
from qa import lot_decisions, lot_opening
from qa.acceptance import Levels, single
from qa.defects import Tolerance
from qa.lots import Terms
from store import schema
from store.workspace import Workspace
from tests.api.test_pages import HOSTILE, Page


def test_lots_are_shown_with_what_became_of_them(client: Any, workspace: Workspace, build: Any) -> None:
    images = build.images(40)
    assert "Nothing that a vendor delivered was audited yet." in Page(client.get("/").text).text
    build.taxonomy()
    build.labels(dict.fromkeys(images, "dog"))
    vendors.add(workspace, "experts", url="http://127.0.0.1:2", token="env:NOTHING")
    terms = Terms("single", Levels(0.05, 0.25))
    lot = lot_opening.open_lot(workspace, "campaign-1", auditor="experts", terms=terms)
    with workspace.database.read() as session:
        audit = session.scalars(select(schema.Campaign.id).where(schema.Campaign.name == "audit-1")).one()
    build.answers(audit, {"eve": ["cat"] * lot.drawn})
    lot_decisions.decide(workspace, lot.id)
    lot_decisions.rework(workspace, lot.id)
    with workspace.database.write() as session:
        session.scalars(select(schema.Campaign).where(schema.Campaign.name == "campaign-1")).one().name = HOSTILE
    shown = Page(client.get("/").text)
    text = " ".join(shown.text.split())
    size, accept = lot.plan.sizes[0], lot.plan.accept[0]
    assert f"1 · {HOSTILE}nobody, audited by experts 40 n = {size}; c = {accept}normal · risks" in text
    assert f"{lot.producers_risk:.1%} at 2 wrong, {lot.consumers_risk:.1%} at 10 {size} of" in text
    assert f"{size} of {size} {size} rejectedrework: campaign-1-rework" in text
    assert "Operating curve of lot 1, 40 items" in text
    assert "LTPD: " in text
    assert ("span", {"class": "state rejected"}) in shown.tags
    assert [attributes for tag, attributes in shown.tags if tag == "script"] == [
        {"src": "/static/refresh.js", "defer": None}
    ]


def test_a_lot_of_regions_says_how_far_labels_may_differ(client: Any, workspace: Workspace, build: Any) -> None:
    images = build.images(6)
    build.taxonomy(kind="boxes")
    build.labels(dict.fromkeys(images, content.to_json(Content())))
    vendors.add(workspace, "experts", url="http://127.0.0.1:2", token="env:NOTHING")
    terms = Terms("single", sizes=(2,), accept=(0,), tolerance=Tolerance(0.6, 0.8))
    lot_opening.open_lot(workspace, "campaign-1", auditor="experts", terms=terms)
    assert "normal · F1 ≥ 0.8 at IoU 0.6" in " ".join(Page(client.get("/").text).text.split())


def test_lots_are_read_through_the_api_as_on_the_command_line(client: Any, workspace: Workspace, build: Any) -> None:
    assert client.get("/v1/lots").json() == {"lots": []}
    build.taxonomy()
    build.labels(dict.fromkeys(build.images(6), "dog"))
    vendors.add(workspace, "experts", url="http://127.0.0.1:2", token="env:NOTHING")
    lot_opening.open_lot(workspace, "campaign-1", auditor="experts", terms=Terms("single", sizes=(2,), accept=(0,)))
    [listed] = client.get("/v1/lots").json()["lots"]
    shown = client.get("/v1/lots/1").json()
    assert (listed["id"], listed["campaign"], listed["outcome"]) == (1, "campaign-1", "open")
    assert listed["terms"] == {"kind": "single", "levels": None, "sizes": [2], "accept": [0], "tolerance": None}
    assert shown.items() > listed.items()
    assert shown["curve"][0] == {"fraction": 0.0, "accepted": 1.0, "sampled": 2.0, "outgoing": 0.0, "inspected": 2.0}
    told = CliRunner().invoke(app, ["--home", str(workspace.home), "qa", "lots", "show", "1", "--json"])
    assert {**json.loads(told.stdout), "created_at": None} == {**shown, "created_at": None}
    assert client.get("/v1/lots/7").status_code == 404
    assert client.get("/v1/lots/7").json() == {"error": "There is no lot 7. See: winnow qa lots list."}


def test_the_curve_falls_from_everything_to_hardly_anything() -> None:
    plot = operating_curve.lay_out(single(94, 4), Levels(0.02, 0.08), lot_size=500)
    xs, ys = zip(*plot.line, strict=True)
    assert (xs[0], ys[0]) == (plot.left, plot.top)
    assert list(xs) == sorted(xs)
    assert list(ys) == sorted(ys)  # downwards on the screen
    assert plot.bottom - ys[-1] < 0.01 * (plot.bottom - plot.top)
    assert [(mark.name, mark.fraction) for mark in plot.marks] == [("AQL", 0.02), ("LTPD", 0.08)]
    assert plot.marks[0].accepted == pytest.approx(0.9758, abs=5e-5)
    assert all(plot.left <= mark.x <= plot.right for mark in plot.marks)
