"""An adjudication at a real Label Studio: answers go out as suggestions without names, reasons come back."""

from typing import Any

import pytest
from sqlalchemy import select

from labeling import campaigns, content, label_config, pull, push, reasons, results
from labeling.content import Content, Region
from labeling.definitions import ClassDefinition, Definition
from labeling.geometry import Box
from labeling.results import ImageSize
from labeling.taxonomy import create, get
from qa import adjudication, ledger, verdicts
from store.schema import Campaign, ImageId, Label, Task, Verdict
from tests.labeling.conftest import Catalog, Site

pytestmark = pytest.mark.label_studio
AGREED = ["cat"] * 4 + ["dog"] * 4


def image_url(image_id: ImageId) -> str:
    return f"http://127.0.0.1:1/images/{image_id}"


def opened(catalog: Catalog) -> str:
    """An adjudication of the three last of eleven items, pushed; its name."""
    catalog.campaign(11)
    with catalog.workspace.database.read() as session:
        [campaign_id] = session.scalars(select(Campaign.id)).all()
    said = {"ann": [*AGREED, "dog", "dog", "dog"], "bob": [*AGREED, "cat", "cat", "cat"]}
    catalog.build.answers(campaign_id, said)
    verdicts.review(catalog.workspace, catalog.name)
    name = adjudication.open_campaign(catalog.workspace, catalog.name).opened
    assert name is not None
    push.push(catalog.workspace, name, image_url=image_url)
    return name


def outcomes(catalog: Catalog, name: str) -> list[tuple[str, str | None, str | None]]:
    """After a pull and a review: outcome, answer and reason of the three, by rank."""
    pull.pull(catalog.workspace, name)
    verdicts.review(catalog.workspace, catalog.name)
    with catalog.workspace.database.read() as session:
        campaign = session.scalars(select(Campaign).where(Campaign.name == catalog.name)).one()
        newest = ledger.newest(session, campaign)
        ranked = session.scalars(select(Task.id).where(Task.campaign_id == campaign.id).order_by(Task.rank)).all()

    def told(verdict: Verdict) -> tuple[str, str | None, str | None]:
        return verdict.outcome, verdict.answer, verdict.evidence.get("adjudicator", {}).get("reason")

    return [told(newest[task_id]) for task_id in ranked[8:]]


def chosen(code: str) -> dict[str, Any]:
    return {"from_name": "reason", "to_name": "image", "type": "choices", "value": {"choices": [code]}}


def test_suggestions_go_out_without_names_and_reasons_come_back(catalog: Catalog, site: Site) -> None:
    name = opened(catalog)
    tasks = site.tasks(name)
    assert len(tasks) == 3
    for task in tasks:
        shown = [prediction["result"][0]["value"]["choices"] for prediction in task["predictions"]]
        assert sorted(shown) == [["cat"], ["dog"]]
        assert {prediction["model_version"] for prediction in task["predictions"]} == {"suggestion"}
        assert "ann" not in str(task["data"])
    [project] = site.projects(name)
    with catalog.workspace.database.read() as session:
        asked = reasons.asked_for(get(session, 1).definition)
    assert label_config.parse(project["label_config"]) == asked  # what annotators see is read back whole
    following = site.call("GET", f"/api/projects/{project['id']}/next")
    assert following["id"] == tasks[0]["id"]  # the queue's order
    assert len(following["predictions"]) == 2

    first, second, third = (task["id"] for task in tasks)
    both = [*label_config.result("dog"), chosen("guideline-unclear")]
    site.call("POST", f"/api/tasks/{first}/annotations/", json={"result": both})
    site.call("POST", f"/api/tasks/{second}/annotations/", json={"result": label_config.result("cat")})
    skipped = {"result": [chosen("bad-image")], "was_cancelled": True}
    site.call("POST", f"/api/tasks/{third}/annotations/", json=skipped)
    assert outcomes(catalog, name) == [
        ("accepted", "dog", "guideline-unclear"),
        ("accepted", "cat", None),
        ("rejected", None, "bad-image"),
    ]


def test_drawings_go_out_as_suggestions_and_the_one_the_expert_hands_in_is_the_label(
    catalog: Catalog, site: Site
) -> None:
    asked = Definition("boxes", (ClassDefinition("cat"), ClassDefinition("dog")))
    taxonomy_id = create(catalog.workspace, "pets", asked).id
    images = catalog.build.images(9, side=200)
    batch = catalog.build.batch(images)
    campaigns.create(
        catalog.workspace, catalog.name, batch_id=batch, taxonomy_name="pets", vendor_name="acme", overlap=2
    )
    size = ImageSize(200, 200)

    def one(x: float, name: str) -> Content:
        return Content(regions=(Region("r", Box(x, 20, 60, 80), (name,)),))

    with catalog.workspace.database.read() as session:
        campaign_id = session.scalars(select(Campaign.id).where(Campaign.name == catalog.name)).one()
    agreed = [one(10, "cat")] * 8
    said = {"ann": [*agreed, one(10, "cat")], "bob": [*agreed, one(120, "dog")]}
    catalog.build.answers(campaign_id, said)
    assert verdicts.review(catalog.workspace, catalog.name).outcomes == {"accepted": 8, "adjudication": 1}
    name = adjudication.open_campaign(catalog.workspace, catalog.name).opened
    assert name is not None
    push.push(catalog.workspace, name, image_url=image_url)
    [task] = site.tasks(name)
    shown = [results.read(each["result"], asked, size) for each in task["predictions"]]
    single = [each.regions for each in shown if len(each.regions) == 1]
    assert sorted(region.shape.x for [region] in single) == pytest.approx([10, 120])
    [chosen_one] = [  # beside it what the other drew, and what both come to
        each for each in task["predictions"] if [of["value"]["rectanglelabels"] for of in each["result"]] == [["dog"]]
    ]
    site.call("POST", f"/api/tasks/{task['id']}/annotations/", json={"result": chosen_one["result"]})
    pull.pull(catalog.workspace, name)
    assert verdicts.review(catalog.workspace, catalog.name).outcomes == {"accepted": 9}
    with catalog.workspace.database.read() as session:
        query = select(Label.value).where(Label.image_id == images[8], Label.taxonomy_id == taxonomy_id)
        [label] = [content.from_json(value) for value in session.scalars(query)]
    assert [region.classes for region in label.regions] == [("dog",)]
    assert label.regions[0].shape.x == pytest.approx(120)
