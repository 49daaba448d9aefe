"""What people see and send in Label Studio's own editor, in a real browser."""

import io
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, replace

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page

from api.demo import people
from api.demo.label_studio_server import LabelStudioServer
from labeling import label_config, results
from labeling.content import Content, Region
from labeling.definitions import ClassDefinition, Definition, TagNames
from labeling.geometry import Box, Keypoint, Mask, Polygon, Shape
from labeling.results import ImageSize
from tests.labeling.closeness import close
from tests.labeling.conftest import Site

UPRIGHT = ImageSize(width=90, height=160)
TOOLS = TagNames(shapes=(("rotated-boxes", "box"), ("polygons", "polygon"), ("keypoints", "point"), ("masks", "brush")))
ASKED = Definition("rotated-boxes", (ClassDefinition("car"), ClassDefinition("bus")), tags=TOOLS)
_TRIES = 10
_PATIENCE_S = 400  # the editor is a large page: 20 s on two idle cores, 140 s and more at a load of 20
ON_ITS_SIDE = 6  # of EXIF: turn it by 90° clockwise to see it upright


def photo() -> bytes:
    """A JPEG whose pixels are 160 × 90, and whose EXIF says to show it upright as 90 × 160."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = ON_ITS_SIDE
    stored = io.BytesIO()
    image.save(stored, "JPEG", exif=exif)
    return stored.getvalue()


def shapes() -> list[Shape]:
    pixels = np.zeros((UPRIGHT.height, UPRIGHT.width), dtype=bool)
    pixels[40:90, 20:70] = True
    pixels[10, 10] = True
    return [
        Box(30, 20, 24, 16, rotation=30),
        Polygon(((9, 16), (81, 16), (45, 120))),
        Keypoint(45, 80, width=2),
        Mask.of(pixels),
    ]


def rename_first_region(page: Page, server: LabelStudioServer, project: int, task: int, *, turned: bool) -> None:
    """Open the task's annotation as a person does, call its first region a bus, and send it all."""
    log_in(page, server)
    page.set_default_timeout(_PATIENCE_S * 1000)
    page.goto(f"{server.url}/projects/{project}/data?task={task}", wait_until="networkidle")
    region = page.get_by_text("car", exact=True).nth(1)  # the first is the class itself
    for _ in range(_TRIES):
        if region.is_visible():
            break
        page.reload(wait_until="networkidle")  # it loads the task twice, which on a fast machine can leave it empty
    shown = f"Width === {UPRIGHT.width} && image.naturalHeight === {UPRIGHT.height}"
    wait_until(page, lambda: page.evaluate(f"[...document.images].some(image => image.natural{shown})"))
    if turned:
        page.locator("[aria-label=rotate-left]").click()
    region.click()
    page.get_by_text("bus", exact=True).first.click()
    page.locator("button", has_text="Update").click()


def log_in(page: Page, server: LabelStudioServer) -> None:
    """As a person does, but past the home page, which takes as long to load as the editor and is not wanted."""
    with closing(people.log_in(server.url, server.email, server.password)) as http:
        page.context.add_cookies(
            [{"name": name, "value": value, "url": server.url} for name, value in http.cookies.items()]
        )


def wait_until(page: Page, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        page.wait_for_timeout(100)


@pytest.mark.label_studio
@pytest.mark.parametrize("turned", [False, True])
def test_the_editor_gives_back_every_shape_on_the_upright_image(
    site: Site, label_studio: LabelStudioServer, page: Page, turned: bool
) -> None:
    config = label_config.render(ASKED).replace("<Image ", '<Image rotateControl="true" ')
    project = site.call("POST", "/api/projects/", json={"title": "editor", "label_config": config})["id"]
    site.call("POST", f"/api/projects/{project}/import", files={"file": ("photo.jpg", photo(), "image/jpeg")})
    [task] = site.call("GET", "/api/tasks", params={"project": project})["tasks"]
    regions = [Region(f"r{i}", shape, ("car",)) for i, shape in enumerate(shapes())]
    result = results.write(Content(regions=tuple(regions)), ASKED, UPRIGHT)
    made = site.call("POST", f"/api/tasks/{task['id']}/annotations/", json={"result": result})
    place = f"/api/annotations/{made['id']}/"

    rename_first_region(page, label_studio, project, task["id"], turned=turned)
    wait_until(page, lambda: bool(site.call("GET", place)["updated_at"] != made["updated_at"]))

    sent = site.call("GET", place)["result"]
    assert {part["image_rotation"] for part in sent} == {270 if turned else 0}
    content = results.read(sent, ASKED, UPRIGHT)
    assert content.unread == ()
    expected = [replace(regions[0], classes=("bus",)), *regions[1:]]
    assert close([asdict(replace(each, extras={})) for each in content.regions], [asdict(each) for each in expected])
    assert close(results.write(content, ASKED, UPRIGHT), sent)
