"""A model's boxes as pre-annotations in a real Label Studio."""

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import select

from labeling import campaigns, push, results, taxonomy
from labeling.content import Region
from labeling.definitions import ClassDefinition, Definition, TagNames
from labeling.geometry import Box
from labeling.results import ImageSize
from store.errors import InvalidInputError
from store.schema import BoxPrediction, ImageId, PredictionRun
from tests.labeling.conftest import Catalog, Site

pytestmark = pytest.mark.label_studio

SIZE = ImageSize(width=8, height=8)
TRAFFIC = Definition("boxes", (ClassDefinition("car"), ClassDefinition("bus")))
CAR = {"box": [1.0, 2.0, 4.0, 2.0], "class": "car", "score": 0.9}
BUS = {"box": [0.0, 0.0, 8.0, 8.0], "class": "bus", "score": 0.5}
DOG = {"box": [0.0, 0.0, 2.0, 2.0], "class": "dog", "score": 0.8}


def image_url(image_id: ImageId) -> str:
    return f"http://127.0.0.1:1/images/{image_id:08x}"


def predict(catalog: Catalog, found: dict[ImageId, list[Any]], classes: Sequence[str] = ("car", "bus", "dog")) -> None:
    """A run of the model "yolo" that found these passes of boxes."""
    with catalog.workspace.database.write() as session:
        count = len(session.scalars(select(PredictionRun.id)).all())
        run = PredictionRun(model="yolo", digest=f"{count}" * 64, kind="boxes", classes=list(classes), report={})
        session.add(run)
        session.flush()
        session.add_all(BoxPrediction(run_id=run.id, image_id=image, passes=each) for image, each in found.items())


def shown(site: Site, catalog: Catalog, asked: Definition = TRAFFIC) -> list[list[tuple[Region, ...]]]:
    """For each task the regions of each prediction it shows."""
    return [
        [results.read(each["result"], asked, SIZE).regions for each in task["predictions"]]
        for task in site.tasks(catalog.name)
    ]


def test_boxes_are_shown_with_score_and_model_version(catalog: Catalog, site: Site) -> None:
    taxonomy.create(catalog.workspace, "traffic", TRAFFIC)
    both, none, _ = catalog.campaign(3, taxonomy="traffic")
    predict(catalog, {both: [[CAR, DOG, BUS], [BUS]], none: [[]]})
    pushed = push.push(catalog.workspace, catalog.name, image_url=image_url, predictions_model="yolo")
    assert (pushed.created, pushed.unknown_classes) == (3, ["dog"])
    car = Region("00000000-0", Box(1, 2, 4, 2), ("car",), 0.9)
    bus = Region("00000000-1", Box(0, 0, 8, 8), ("bus",), 0.5)
    assert shown(site, catalog) == [[(car, bus)], [()], []]
    first, second, _ = site.tasks(catalog.name)
    [prediction] = first["predictions"]
    assert (prediction["score"], prediction["model_version"]) == (pytest.approx(0.7), "yolo 00000000")
    assert second["predictions"][0]["score"] is None


def test_boxes_below_a_score_are_not_shown_and_a_task_that_is_made_again_shows_the_same(
    catalog: Catalog, site: Site
) -> None:
    taxonomy.create(catalog.workspace, "traffic", TRAFFIC)
    [image] = catalog.campaign(1, taxonomy="traffic")
    predict(catalog, {image: [[CAR, BUS]]})
    arguments = ("push", catalog.name, "--image-base-url", "http://127.0.0.1:1", "--predictions", "yolo")
    code, _, stderr = catalog.run(*arguments, "--min-score", "0.6")
    assert (code, stderr) == (0, "Boxes of classes that the taxonomy lacks are not shown: dog.\n")
    [[(region,)]] = shown(site, catalog)
    assert (region.classes, region.score) == (("car",), 0.9)
    [task] = site.tasks(catalog.name)
    site.call("DELETE", f"/api/tasks/{task['id']}/")
    assert catalog.run("reconcile", catalog.name)[0] == 0
    assert shown(site, catalog) == [[(region,)]]
    assert catalog.run(*arguments, "--min-score", "1.5")[2] == (
        "winnow: The score from which boxes are shown is between 0 and 1, not 1.5.\n"
    )


def test_a_tool_beside_the_classes_draws_the_boxes(catalog: Catalog, site: Site) -> None:
    tags = TagNames(shapes=(("polygons", "outline"), ("boxes", "box")))
    asked = Definition("polygons", TRAFFIC.classes, tags=tags)
    taxonomy.create(catalog.workspace, "traffic", asked)
    [image] = catalog.campaign(1, taxonomy="traffic")
    predict(catalog, {image: [[CAR]]})
    push.push(catalog.workspace, catalog.name, image_url=image_url, predictions_model="yolo")
    [[(region,)]] = shown(site, catalog, asked)
    assert (region.shape, region.classes, region.score) == (Box(1, 2, 4, 2), ("car",), 0.9)


def test_gold_shows_no_score(catalog: Catalog, site: Site) -> None:
    taxonomy.create(catalog.workspace, "traffic", TRAFFIC)
    images = catalog.campaign(2, taxonomy="traffic", arms=["random", "gold"])
    predict(catalog, {images[0]: [[CAR]]})
    with pytest.raises(InvalidInputError, match="no prediction of 1 of 1 gold items"):
        push.push(catalog.workspace, catalog.name, image_url=image_url, predictions_model="yolo")
    predict(catalog, {image: [[CAR]] for image in images})
    push.push(catalog.workspace, catalog.name, image_url=image_url, predictions_model="yolo")
    assert [[region.score for region in regions] for [regions] in shown(site, catalog)] == [[None], [None]]
    assert [task["predictions"][0]["score"] for task in site.tasks(catalog.name)] == [None, None]


def test_what_does_not_fit_is_refused_before_anything_is_made(catalog: Catalog, site: Site) -> None:
    [image] = catalog.campaign(1)
    predict(catalog, {image: [[CAR]]})
    with pytest.raises(InvalidInputError, match="'yolo' predicts boxes, and 'animals' asks for classification"):
        push.push(catalog.workspace, catalog.name, image_url=image_url, predictions_model="yolo")
    predict(catalog, {}, classes=["dog"])
    taxonomy.create(catalog.workspace, "traffic", TRAFFIC)
    catalog.name += "-boxes"
    batch = catalog.build.batch([image])
    campaigns.create(catalog.workspace, catalog.name, batch_id=batch, taxonomy_name="traffic", vendor_name="acme")
    with pytest.raises(InvalidInputError, match="'yolo' predicts 1 classes that 'traffic' lacks"):
        push.push(catalog.workspace, catalog.name, image_url=image_url, predictions_model="yolo")
    catalog.predict([image], [0.5, 0.5])
    with pytest.raises(InvalidInputError, match="'probe' predicts classes, and 'traffic' asks for boxes"):
        push.push(catalog.workspace, catalog.name, image_url=image_url, predictions_model="probe")
    assert site.projects(catalog.name) == []
