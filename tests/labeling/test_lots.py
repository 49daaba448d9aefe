"""A lot at the real Label Studio: audited blind, rejected, reworked, submitted again and accepted."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from curation import labels
from labeling import campaigns, pull, push, vendors
from qa import lot_decisions, lot_opening, verdicts
from qa.lots import Terms
from store.errors import InvalidInputError
from store.schema import Task
from tests.labeling.conftest import Catalog, Site

ITEMS, WRONG, SAMPLE = 20, 6, 15  # whichever fifteen are drawn, one of the six is among them


@pytest.mark.label_studio
def test_a_lot_is_rejected_reworked_and_accepted(catalog: Catalog, site: Site) -> None:
    workspace = catalog.workspace
    with workspace.database.read() as session:
        acme = vendors.get(session, "acme")
    vendors.add(workspace, "auditors", url=acme.ls_url, token=acme.ls_token_reference)

    def tasks(name: str) -> list[dict[str, Any]]:
        with workspace.database.read() as session:
            project = campaigns.get(session, name).ls_project_id
        page = {"project": project, "page_size": 100, "fields": "all", "expand": "annotations"}
        return list(site.call("GET", "/api/tasks", params=page)["tasks"])

    def work(name: str, says: Callable[[int], str]) -> list[dict[str, Any]]:
        """Push a campaign, answer every task of it, and pull; gives the tasks as they were shown."""
        push.push(workspace, name, image_url=lambda image_id: f"http://127.0.0.1:1/{image_id}")
        with workspace.database.read() as session:
            image_of = dict(session.execute(select(Task.uid, Task.image_id)).all())
        shown = tasks(name)
        for task in shown:
            site.answer(task["id"], says(image_of[task["data"]["uid"]]))
        assert pull.pull(workspace, name).new == len(shown)
        return shown

    def in_force() -> dict[int, str]:
        with workspace.database.read() as session:
            return {label.image_id: label.value for label in labels.in_force(session, "animals")}

    images = catalog.campaign(ITEMS, overlap=1)
    mistaken = set(images[:WRONG])
    work(catalog.name, lambda image: "dog" if image in mistaken else "cat")
    verdicts.review(workspace, catalog.name, accept_at=0.5)
    assert len(in_force()) == ITEMS

    terms = Terms("single", sizes=(SAMPLE,), accept=(0,))
    first = lot_opening.open_lot(workspace, catalog.name, auditor="auditors", terms=terms)
    [audit] = first.audits
    catalog.predict(images, [0.9, 0.1])
    with pytest.raises(InvalidInputError, match=f"'{audit}' is an audit"):
        push.push(workspace, audit, image_url=lambda image_id: "", predictions_model="probe")
    shown = work(audit, lambda image: "cat")
    assert len(shown) == SAMPLE
    assert {len(task["predictions"]) + len(task["annotations"]) for task in shown} == {0}
    assert {frozenset(task["data"]) for task in shown} == {frozenset({"uid", "image"})}
    [project] = site.call("GET", "/api/projects/", params={"ids": shown[0]["project"]})["results"]
    assert not any(name in f"{project['title']} {project['description']}" for name in (catalog.name, "acme"))

    rejected = lot_decisions.decide(workspace, first.id)
    assert (rejected.outcome, rejected.audited) == ("rejected", SAMPLE)
    assert len(in_force()) == SAMPLE  # those that the auditor settled
    assert set(in_force().values()) == {"cat"}
    rework = lot_decisions.rework(workspace, first.id).rework
    assert rework is not None
    work(rework, lambda image: "cat")
    verdicts.review(workspace, rework, accept_at=0.5)
    assert in_force() == dict.fromkeys(images, "cat")

    again = lot_opening.open_lot(workspace, rework, auditor="auditors")
    assert (again.resubmits, again.terms, again.size) == (first.id, terms, ITEMS - SAMPLE)
    work(again.audits[0], lambda image: "cat")
    assert lot_decisions.decide(workspace, again.id).outcome == "accepted"
    assert in_force() == dict.fromkeys(images, "cat")


@pytest.mark.label_studio
def test_a_lot_that_is_withdrawn_takes_back_what_the_auditor_has_not_answered(catalog: Catalog, site: Site) -> None:
    workspace = catalog.workspace
    with workspace.database.read() as session:
        acme = vendors.get(session, "acme")
    vendors.add(workspace, "auditors", url=acme.ls_url, token=acme.ls_token_reference)
    catalog.campaign(5, overlap=1)

    def shown(name: str) -> list[int]:
        """The tasks of the campaign's project; other tests have audits of the same name there."""
        with workspace.database.read() as session:
            page = {"project": campaigns.get(session, name).ls_project_id, "page_size": 100}
        return [task["id"] for task in site.call("GET", "/api/tasks", params=page)["tasks"]]

    def pushed(name: str) -> list[int]:
        push.push(workspace, name, image_url=lambda image_id: f"http://127.0.0.1:1/{image_id}")
        return shown(name)

    for task in pushed(catalog.name):
        site.answer(task, "cat")
    pull.pull(workspace, catalog.name)
    verdicts.review(workspace, catalog.name, accept_at=0.5)
    lot = lot_opening.open_lot(
        workspace, catalog.name, auditor="auditors", terms=Terms("single", sizes=(3,), accept=(1,))
    )
    answered, *_ = pushed(lot.audits[0])
    site.answer(answered, "cat")

    done = lot_decisions.withdraw(workspace, lot.id)
    assert (done.outcome, done.audited, done.found) == ("withdrawn", 1, 0)
    assert shown(lot.audits[0]) == [answered]
    with workspace.database.read() as session:
        assert sorted(label.value for label in labels.in_force(session, "animals")) == ["cat"] * 5
    again = lot_opening.open_lot(
        workspace, catalog.name, auditor="auditors", terms=Terms("single", sizes=(3,), accept=(0,))
    )
    assert (again.size, again.drawn) == (4, 3)
