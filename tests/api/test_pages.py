from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from sqlalchemy import select

from api import schedules
from store import schema
from store.workspace import Workspace

HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>"


class Page(HTMLParser):
    """A page taken apart: its text, the tags it has, and where its links and sources lead."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def page(client: Any) -> Callable[[], Page]:
    return lambda: Page(client.get("/").text)


def test_an_empty_workspace_says_what_to_run_first(page: Callable[[], Page], workspace: Workspace) -> None:
    text = page().text
    assert "Nothing here yet" in text
    assert f"winnow --home {workspace.home} ingest PHOTOS/" in text


def test_images_alone_say_what_to_run_next(page: Callable[[], Page], build: Any) -> None:
    build.images(3)
    text = page().text
    for command in ("duplicates scan", "batch plan", "campaign create", "version cut", "failures scan"):
        assert f"winnow {command}" in text


@pytest.fixture
def full(workspace: Workspace, build: Any) -> None:
    """Something in every section, and every name that comes from outside is hostile."""
    images = build.images(6)
    schedules.add(workspace, "weekly", cron="0 6 * * 1", recipe={"budget": 5})
    build.taxonomy([HOSTILE, "dog"])
    build.labels(dict.fromkeys(images, HOSTILE))
    build.answers(1, {HOSTILE: [HOSTILE] * 6, "bob": ["dog"] * 6})
    with workspace.database.write() as session:
        for sighting in session.scalars(select(schema.Sighting)):
            sighting.uri = f"/photos/{sighting.id} {HOSTILE.replace('/', '')}.png"
        for pick in session.scalars(select(schema.Pick)):
            pick.why = HOSTILE
        session.scalars(select(schema.Campaign)).one().name = HOSTILE
        session.scalars(select(schema.Vendor)).one().name = HOSTILE
        session.add(schema.Verdict(task_id=1, outcome="adjudication", evidence={}))
        terms = {"taxonomy": HOSTILE, "vendor": "studio", "image_base_url": "", "overlap": 3, "predictions": "probe"}
        limits = {"capacity": 1500, "min_drift": 0.6}
        session.add(schema.Schedule(name="nightly", cron="0 3 * * *", recipe={}, campaign=terms, **limits))
        session.add(schema.Quarantined(uri=f"/photos/{HOSTILE}", source=HOSTILE, reason=HOSTILE))
        session.add(schema.Encoder(name=HOSTILE, digest="0" * 64, dimensions=2))
        gates = [{"gate": HOSTILE, "outcome": HOSTILE, "detail": HOSTILE}]
        session.add(schema.Version(id="a" * 64, name=HOSTILE, number=1, manifest={}, gates=gates))
        session.flush()
        session.add(schema.DuplicateScan(id=1, digest="0" * 64, encoder_id=1, report={}))
        session.add(
            schema.PredictionRun(
                id=1, model=HOSTILE, digest="0" * 64, classes=[HOSTILE, "dog"], version_id="a" * 64, report={}
            )
        )
        session.flush()
        session.add(schema.DuplicateGroup(id=1, scan_id=1, representative_id=images[0]))
        session.add(schema.FailureScan(id=1, run_id=1, report={}))
        session.flush()
        session.add(schema.DuplicateMember(group_id=1, image_id=images[0], kind="representative", distance=0.0))
        session.add(schema.DuplicateMember(group_id=1, image_id=images[1], kind=HOSTILE, distance=0.25))
        session.add(
            schema.FailureCluster(
                id=1, scan_id=1, name=HOSTILE, failures=1, labelled=2, failure_rate=0.5, lift=2.5,
                interval_low=0.1, interval_high=0.9,
            )
        )  # fmt: skip
        session.flush()
        session.add(schema.FailureMember(cluster_id=1, image_id=images[0], medoid=True))
        for i, image_id in enumerate(images):
            split = "test" if i < 2 else "train"
            session.add(schema.VersionItem(version_id="a" * 64, image_id=image_id, label_id=i + 1, split=split))
            session.add(schema.Prediction(run_id=1, image_id=image_id, probabilities=b"\0\0\x80\x3f\0\0\0\0"))


@pytest.mark.usefixtures("full")
def test_what_comes_from_outside_is_text_and_nothing_else(page: Callable[[], Page]) -> None:
    shown = page()
    scripts = [attributes for tag, attributes in shown.tags if tag == "script"]
    assert scripts == [{"src": "/static/refresh.js", "defer": None}]
    assert not [name for _, attributes in shown.tags for name in attributes if name.startswith("on")]
    sources = {attributes.get("src") or "" for tag, attributes in shown.tags if tag == "img"}
    assert all(source.startswith(("/static/", "/thumbnails/")) for source in sources)
    assert shown.text.count(HOSTILE) >= 10
    assert any(HOSTILE.replace("/", "") in (attributes.get("title") or "") for _, attributes in shown.tags)


@pytest.mark.usefixtures("full")
def test_a_full_page_shows_every_section(page: Callable[[], Page]) -> None:
    shown = page()
    text = " ".join(shown.text.split())
    assert "v1 100.0%" in text  # the learning curve
    assert "2.5×" in text
    assert "0.25" in text
    assert "1 open · 0 settled" in text
    terms = "studio · overlap 3 · shows probe · up to 1,500 open · from a drift of 0.6"
    assert f"nightly 0 3 * * * {HOSTILE} · {terms}" in text
    assert "weekly 0 6 * * 1" in text
    assert "No job has run yet" in text
    assert ("a", "http://127.0.0.1:1/projects/1") in [(tag, attributes.get("href")) for tag, attributes in shown.tags]
    anchors = {attributes["href"] for tag, attributes in shown.tags if tag == "a" and attributes["href"][:1] == "#"}
    ids = {f"#{attributes['id']}" for _, attributes in shown.tags if "id" in attributes}
    assert anchors <= ids
