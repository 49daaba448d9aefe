"""What a vendor's people can see of gold: nothing that other items do not show as well."""

import base64
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import numpy as np
import pytest
from sqlalchemy import select

from api import image_urls
from api.demo import people
from api.demo.label_studio_server import LabelStudioServer
from labeling import push
from store.errors import InvalidInputError
from store.schema import ImageId, Pick, Prediction, Task
from tests.labeling.conftest import Catalog, Site

pytestmark = pytest.mark.label_studio

ITEMS = 24
GOLD = frozenset(range(4))  # the oldest images of the catalog


@pytest.fixture
def annotator(label_studio: LabelStudioServer) -> Iterator[httpx.Client]:
    """Speaks with the token of somebody who only answers."""
    admin = (label_studio.email, label_studio.password)
    with closing(people.join(label_studio.url, people.ANNOTATORS[0], admin=admin)) as own:
        yield own


def gold_uids(catalog: Catalog) -> set[str]:
    with catalog.workspace.database.read() as session:
        of_gold = select(Task.uid).join(Pick, Pick.image_id == Task.image_id).where(Pick.arm == "gold")
        return set(session.scalars(of_gold))


def shape(value: Any) -> Any:
    """What is left of a JSON value when only its kinds, keys and lengths count, and what is not of the task itself."""
    if isinstance(value, dict):
        return tuple((key, shape(each)) for key, each in sorted(value.items()))
    if isinstance(value, list):
        return tuple(map(shape, value))
    if isinstance(value, str):
        return len(value), value.count("/"), value.count(".")
    return type(value).__name__


CONSTANT = ("project", "meta", "is_labeled", "overlap", "file_upload", "updated_by", "total_predictions", "annotations")


def test_gold_looks_like_everything_else(catalog: Catalog, site: Site, annotator: httpx.Client) -> None:
    images = catalog.campaign(ITEMS, arms=["gold" if i in GOLD else "uncertain" for i in range(ITEMS)])
    catalog.predict(images, [0.9, 0.1])
    with catalog.workspace.database.write() as session:  # a model that learnt from the gold is surer of it
        for prediction in session.scalars(select(Prediction).where(Prediction.image_id.in_(images[: len(GOLD)]))):
            prediction.probabilities = np.array([0.999, 0.001], dtype="<f4").tobytes()
    push.push(
        catalog.workspace,
        catalog.name,
        image_url=image_urls.signer(catalog.workspace.key, "http://127.0.0.1:1"),
        predictions_model="probe",
    )
    [project] = site.projects(catalog.name)
    seen = annotator.get("/api/tasks", params={"project": project["id"], "page_size": 100, "fields": "all"})
    seen_one_by_one = [annotator.get(f"/api/tasks/{task['id']}/").json() for task in seen.json()["tasks"]]
    gold = gold_uids(catalog)
    assert len(gold) == len(GOLD)
    for tasks in (seen.json()["tasks"], seen_one_by_one):
        assert len(tasks) == ITEMS
        shapes = {task["data"]["uid"]: shape(task) for task in tasks}
        assert {shapes[uid] for uid in gold} <= {shapes[uid] for uid in shapes.keys() - gold}
        for name in CONSTANT:
            assert len({str(task.get(name)) for task in tasks}) == 1, name
        assert {tuple(task["data"]) for task in tasks} in ({("uid", "image")}, {("image", "uid")})
        assert {each["score"] for task in tasks for each in task["predictions"]} == {None}
        assert len({each["model_version"] for task in tasks for each in task["predictions"]}) == 1
    by_id = sorted(seen.json()["tasks"], key=lambda task: task["id"])
    assert [task["data"]["uid"] for task in by_id] == [task.uid for task in catalog.tasks()]
    for task in by_id:  # no id of an image, whose age would tell
        token = base64.urlsafe_b64decode(task["data"]["image"].rpartition("/")[2] + "==")
        assert not any(image.to_bytes(8) in token for image in images)


def test_gold_that_alone_lacks_predictions_is_not_pushed_with_them(catalog: Catalog, site: Site) -> None:
    images = catalog.campaign(6, arms=["gold", "gold", *["random"] * 4])
    catalog.predict(images[1:], [0.9, 0.1])
    with pytest.raises(InvalidInputError, match="no prediction of 1 of 2 gold items, which would tell them"):
        push.push(catalog.workspace, catalog.name, image_url=image_url, predictions_model="probe")
    assert site.projects(catalog.name) == []
    push.push(catalog.workspace, catalog.name, image_url=image_url)


def image_url(image_id: ImageId) -> str:
    return f"http://127.0.0.1:1/images/{image_id:08x}"
