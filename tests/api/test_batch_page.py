"""The page of a batch: what is read, what is counted, and that neither grows with the batch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
import pytest
import yaml
from sqlalchemy import event, insert, select

from api import batch_page
from api.batch_page import BatchLink, ClassRow, QuotaRow, Scores
from curation import projection
from sampling import recipes
from store import schema
from store.errors import NotFoundError
from store.schema import ImageId
from store.workspace import Workspace
from tests.api.test_pages import HOSTILE, Page


def change(workspace: Workspace, batch_id: int, **values: Any) -> None:
    with workspace.database.write() as session:
        batch = session.get_one(schema.Batch, batch_id)
        for name, value in values.items():
            setattr(batch, name, value)


def score(workspace: Workspace, batch_id: int, scores: list[float]) -> None:
    with workspace.database.write() as session:
        of_batch = select(schema.Pick).where(schema.Pick.batch_id == batch_id).order_by(schema.Pick.rank)
        for pick, value in zip(session.scalars(of_batch), scores, strict=True):
            pick.score = value


@pytest.fixture
def images(build: Any) -> list[ImageId]:
    found: list[ImageId] = build.images(8)
    return found


def test_picks_are_counted_by_arm_and_split(workspace: Workspace, build: Any, images: list[ImageId]) -> None:
    batch_id = build.batch(images, arms=["uncertain", "random", "uncertain", *["diverse"] * 4, "gold"])
    with workspace.database.write() as session:
        for pick in session.scalars(select(schema.Pick)):
            pick.split = "test" if pick.rank < 3 else "train"
    model = batch_page.read(workspace, batch_id)
    assert model.picks == 8
    assert model.arms == [("diverse", 4), ("uncertain", 2), ("gold", 1), ("random", 1)]
    assert model.splits == [("train", 5), ("test", 3)]


def test_scores_are_binned_from_the_lowest_to_the_highest_of_each_arm(
    workspace: Workspace, build: Any, images: list[ImageId]
) -> None:
    batch_id = build.batch(images, arms=[*["uncertain"] * 5, *["random"] * 3])
    score(workspace, batch_id, [0.0, 1.0, 1.5 / 24, 0.5, 0.9999, 0, 0, 0])
    uncertain, random = batch_page.read(workspace, batch_id).scores
    expected = [0] * 24
    expected[0] = expected[1] = expected[12] = 1
    expected[23] = 2  # the highest ends the last bin
    assert (uncertain.arm, uncertain.lowest, uncertain.highest) == ("uncertain", 0.0, 1.0)
    assert uncertain.bins == expected
    assert uncertain.heights[0] == 0.5
    assert random == Scores("random", 0.0, 0.0, "drawn, not scored", [])


def test_the_recipe_is_told_and_can_be_planned_from(workspace: Workspace, build: Any, images: list[ImageId]) -> None:
    recipe = recipes.parse({"budget": 8, "strategy": {"name": "uherding"}, "quotas": [{"where": "“nüll”", "least": 2}]})
    batch_id = build.batch(images, arms=[*["uncertain"] * 6, "random", "random"])
    change(
        workspace,
        batch_id,
        recipe=recipe.model_dump(mode="json"),
        report={"pool": 99, "for_training": 6, "quotas": [[0, "“nüll”", 4]]},
    )
    model = batch_page.read(workspace, batch_id)
    assert model.words[0] == "10% are drawn at random from the val and test reserve."
    assert model.quotas == [QuotaRow("“nüll”", "at least 2", (4, 6))]
    assert model.pool == 99
    assert "“nüll”" in model.yaml
    assert recipes.parse(yaml.safe_load(model.yaml)) == recipe


def test_a_batch_of_another_version_of_winnow_is_shown_all_the_same(
    workspace: Workspace, build: Any, images: list[ImageId]
) -> None:
    batch_id = build.batch(images)
    change(
        workspace,
        batch_id,
        recipe={"money": 12.5},
        state={"encoder": "f" * 64, "oracle": 1},
        report={"forecast": "Expect 0.91 ± 0.02.", "spent": {"EUR": 12}},
    )
    model = batch_page.read(workspace, batch_id)
    assert (model.words, model.quotas, model.classes, model.pool) == ([], [], [], None)
    assert model.yaml == "money: 12.5\n"
    assert model.said == ["Expect 0.91 ± 0.02."]
    assert model.sources == [("Predictions", "none"), ("Failure scan", "none")]


def test_a_quota_of_a_batch_that_did_not_count_it_has_no_number(
    workspace: Workspace, build: Any, images: list[ImageId]
) -> None:
    batch_id = build.batch(images)
    recipe = recipes.parse({"budget": 8, "quotas": [{"where": "missing", "most": 2}]})
    change(workspace, batch_id, recipe=recipe.model_dump(mode="json"))
    assert batch_page.read(workspace, batch_id).quotas == [QuotaRow("missing", "at most 2", None)]


@pytest.mark.parametrize(
    ("calibrator", "said"),
    [
        (None, "none: as the model gave them"),
        ({"method": "identity", "temperature": 1.0, "curves": []}, "none: as the model gave them"),
        ({"method": "temperature", "temperature": 1.318, "curves": []}, "temperature 1.32"),
        ({"method": "isotonic", "temperature": 1.0, "curves": []}, "isotonic, a curve for each class"),
    ],
)
def test_what_the_planner_read_is_named(
    workspace: Workspace, build: Any, images: list[ImageId], calibrator: Any, said: str
) -> None:
    encoder = build.vectors(images, np.eye(8))
    batch_id = build.batch(images)
    with workspace.database.write() as session:
        session.add(schema.Version(id="a" * 64, name="animals", number=3, manifest={}, gates=[]))
        session.flush()
        session.add(
            schema.PredictionRun(
                id=7, model="probe", digest="p", classes=["cat", "dog"], report={}, version_id="a" * 64
            )
        )
        session.flush()
        session.add(schema.FailureScan(id=2, run_id=7, report={}))
        session.flush()
        counts = {"failures": 1, "labelled": 1, "failure_rate": 1, "lift": 1, "interval_low": 0, "interval_high": 1}
        session.add(schema.FailureCluster(scan_id=2, name="night", **counts))
    state = {"encoder": encoder.digest, "prediction_run": 7, "failure_scan": 2, "calibrator": calibrator}
    change(workspace, batch_id, state=state)
    assert batch_page.read(workspace, batch_id).sources == [
        ("Encoder", f"test · {encoder.digest[:10]}"),
        ("Predictions", "run 7 of probe"),
        ("Trained on", "animals v3"),
        ("Calibration", said),
        ("Failure scan", "scan 2: night"),
    ]


def test_classes_come_by_how_often_they_were_picked_and_many_rare_ones_as_one(
    workspace: Workspace, build: Any, images: list[ImageId]
) -> None:
    batch_id = build.batch(images)
    predicted = {"classes": ["cat", "dog"], "pool": [30, 10], "picks": [2, 6]}
    change(workspace, batch_id, report={"predicted": predicted})
    assert batch_page.read(workspace, batch_id).classes == [ClassRow("dog", 0.25, 0.75), ClassRow("cat", 0.75, 0.25)]

    names = [f"class {i}" for i in range(20)]
    change(workspace, batch_id, report={"predicted": {"classes": names, "pool": [5] * 20, "picks": [1] * 20}})
    rows = batch_page.read(workspace, batch_id).classes
    assert len(rows) == 12
    assert rows[-1] == ClassRow("9 others", 0.45, 0.45)


def test_labelling_counts_the_picks_of_this_batch_at_each_step(
    workspace: Workspace, build: Any, images: list[ImageId]
) -> None:
    batch_id, other = build.batch(images[:5]), build.batch(images[3:])
    campaign, another = build.campaign(batch_id, build.taxonomy()), build.campaign(other, 1)
    build.answers(campaign, {"ann": ["cat", "cat", "cat", "cat", None], "bob": ["cat", None, None, None, None]})
    build.answers(another, {"ann": ["dog"] * 5})
    with workspace.database.write() as session:
        tasks = session.scalars(select(schema.Task).order_by(schema.Task.id)).all()
        tasks[4].state = "planned"
        withdrawn = session.scalars(select(schema.Annotation).where(schema.Annotation.task_id == tasks[3].id)).one()
        again = {column.name: getattr(withdrawn, column.name) for column in schema.Annotation.__table__.columns}
        session.add(schema.Annotation(**{**again, "id": None, "revision": 1, "deleted": True}))
        for task, outcome in [(tasks[0], "accepted"), (tasks[1], "accepted"), (tasks[1], "adjudication")]:
            verdict = schema.Verdict(task_id=task.id, outcome=outcome, answer="cat", evidence={})
            session.add(verdict)
            session.flush()
            if outcome == "accepted":
                session.add(schema.Label(image_id=task.image_id, taxonomy_id=1, verdict_id=verdict.id, value="cat"))
    progress = batch_page.read(workspace, batch_id).progress
    assert progress.steps == [("picked", 5), ("pushed", 4), ("answered", 3), ("labelled", 1)]
    assert progress.campaigns == [(f"campaign-{batch_id}", "http://127.0.0.1:1/projects/1")]


def test_the_batches_around_it_are_at_hand(workspace: Workspace, build: Any, images: list[ImageId]) -> None:
    ids = [build.batch(images[:count]) for count in (1, 2, 3, 4, 5, 6, 7)]
    model = batch_page.read(workspace, ids[5])
    assert [(link.id, link.picks) for link in model.older] == [(ids[i], i + 1) for i in (4, 3, 2, 1)]
    assert [(link.id, link.picks) for link in model.newer] == [(ids[6], 7)]
    assert isinstance(model.older[0], BatchLink)


def test_pages_hold_every_pick_once_and_the_filter_keeps_the_ranks(workspace: Workspace, build: Any) -> None:
    arms = ["uncertain" if i % 3 else "random" for i in range(150)]
    batch_id = build.batch(build.images(150), arms=arms)
    pages = [batch_page.read(workspace, batch_id, page=page) for page in (1, 2, 3)]
    assert [row.rank for model in pages for row in model.rows] == list(range(150))
    assert {model.pages for model in pages} == {3}
    random = batch_page.read(workspace, batch_id, arm="random")
    assert [row.rank for row in random.rows] == list(range(0, 150, 3))
    assert (random.picks, random.pages) == (150, 1)


def test_what_is_not_there_is_a_sentence(workspace: Workspace, build: Any, images: list[ImageId]) -> None:
    batch_id = build.batch(images)
    for asked, said in [
        ({"batch_id": 99}, f"There is no batch 99; the newest is {batch_id}"),
        ({"batch_id": batch_id, "arm": "gold"}, "has no arm 'gold'; it has diverse"),
        ({"batch_id": batch_id, "page": 2}, "pages 1 to 1, not on page 2"),
        ({"batch_id": batch_id, "page": 0}, "not on page 0"),
    ]:
        with pytest.raises(NotFoundError, match=said):
            batch_page.read(workspace, **asked)  # type: ignore[arg-type]


@contextmanager
def rows_read(workspace: Workspace) -> Iterator[list[int]]:
    """How many rows SQLite hands over meanwhile, as one number."""
    count = [0]

    def counting(_cursor: object, row: tuple[Any, ...]) -> tuple[Any, ...]:
        count[0] += 1
        return row

    def count_rows(connection: Any, *_: object) -> None:
        connection.row_factory = counting

    workspace.database.engine.dispose()  # so that every connection is a new one
    event.listen(workspace.database.engine, "connect", count_rows)
    yield count
    event.remove(workspace.database.engine, "connect", count_rows)
    workspace.database.engine.dispose()


@pytest.mark.slow
def test_ten_thousand_picks_are_not_ten_thousand_rows(workspace: Workspace, build: Any) -> None:
    images = build.images(61)
    encoder = build.vectors(images, np.eye(61))
    projection.load_or_compute(workspace, "test")
    read: dict[int, int] = {}
    for count in (5_000, 10_000):
        batch_id = build.batch([])
        change(workspace, batch_id, state={"encoder": encoder.digest}, pool=b"x" * 1_000_000)
        with workspace.database.write() as session:
            session.execute(
                insert(schema.Pick),
                [
                    {
                        "batch_id": batch_id,
                        "rank": rank,
                        "image_id": images[rank % 61],
                        "arm": ("uncertain", "diverse")[rank % 2],
                        "score": rank / count,
                        "split": "train",
                        "why": "a test",
                    }
                    for rank in range(count)
                ],
            )
        with rows_read(workspace) as rows:
            model = batch_page.read(workspace, batch_id, page=80)
        assert model.picks == count
        assert [row.rank for row in model.rows] == list(range(4740, 4800))
        assert sum(model.scores[0].bins) == count // 2
        read[count] = rows[0]
    assert 2_060 < read[5_000] < 2_400  # 60 picks with their files, and 2,000 for the map
    assert read[10_000] <= read[5_000] + 5


# --- as HTML


@pytest.fixture
def show(client: Any) -> Callable[[str], Page]:
    def get(path: str) -> Page:
        answer = client.get(path)
        assert answer.status_code == 200, answer.text
        return Page(answer.text)

    return get


def hrefs(page: Page) -> list[str]:
    return [attributes["href"] or "" for tag, attributes in page.tags if tag == "a"]


def test_the_dashboard_leads_to_the_batch(show: Callable[[str], Page], build: Any, images: list[ImageId]) -> None:
    batch_id = build.batch(images, arms=["diverse", "random"] * 4)
    links = hrefs(show("/"))
    assert f"/batches/{batch_id}" in links
    assert f"/batches/{batch_id}?arm=random#picks" in links


def test_the_page_tells_everything(
    show: Callable[[str], Page], workspace: Workspace, build: Any, images: list[ImageId]
) -> None:
    encoder = build.vectors(images, np.eye(8))
    older = build.batch(images[:2])
    batch_id = build.batch(images, arms=[*["uncertain"] * 6, "random", "gold"])
    score(workspace, batch_id, [0.9, 0.8, 0.7, 0.6, 0.5, 0.25, 0, 0])
    recipe = recipes.parse({"budget": 8, "quotas": [{"where": "night == 1", "least": 2}]})
    change(
        workspace,
        batch_id,
        recipe=recipe.model_dump(mode="json"),
        state={"encoder": encoder.digest, "prediction_run": None, "failure_scan": None, "calibrator": None},
        report={
            "pool": 1_234,
            "for_training": 7,
            "quotas": [[0, "night == 1", 3]],
            "forecast": "Expect 0.91 ± 0.02.",
            "predicted": {"classes": ["cat", "dog"], "pool": [1, 3], "picks": [4, 4]},
        },
    )
    shown = show(f"/batches/{batch_id}")
    text = " ".join(shown.text.split())
    for part in (
        "8 images chosen from 1,234. Expect 0.91 ± 0.02.",
        "uncertain 6 75.0%",
        "The rest is chosen by auto",
        "night == 1 at least 2 3 of 7",
        "where: night == 1",  # in the YAML
        "winnow campaign create",
        f"winnow batch replay {batch_id}",
        "winnow explore",  # makes the map
        "cat 50.0% 25.0%",
        "0.25 0.9",
        "a test",
    ):
        assert part in text, part
    assert f"/batches/{older}" in hrefs(shown)

    projection.load_or_compute(workspace, "test")
    shown = show(f"/batches/{batch_id}")
    assert "8 of 8 picks among 8 images" in " ".join(shown.text.split())
    dots = {attributes["class"]: attributes["d"] for tag, attributes in shown.tags if tag == "path"}
    assert {arm: (path or "").count("M") for arm, path in dots.items()} == {
        "others": 8,
        "picked uncertain": 6,
        "picked random": 1,
        "picked gold": 1,
    }


def test_links_to_pages_keep_the_arm(show: Callable[[str], Page], build: Any) -> None:
    batch_id = build.batch(build.images(400), arms=["diverse", "random"] * 200)
    links = hrefs(show(f"/batches/{batch_id}?arm=random&page=2"))
    for page in (1, 3, 4):
        assert f"/batches/{batch_id}?arm=random&page={page}#picks" in links
    assert f"/batches/{batch_id}?arm=random&page=5#picks" not in links
    assert f"/batches/{batch_id}?page=1#picks" in links


def test_an_empty_batch_has_a_page(show: Callable[[str], Page], build: Any) -> None:
    assert "0 images" in show(f"/batches/{build.batch([])}").text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("99", 404),
        ("0", 404),
        ("-1", 404),
        ("x", 422),
        ("1.5", 422),
        (f"{10**30}", 422),
        (f"1?arm={quote(HOSTILE)}", 404),
        ("1?arm=", 404),
        ("1?arm=%ff%00", 404),
        ("1?page=0", 404),
        ("1?page=-3", 404),
        (f"1?page={10**30}", 404),
        ("1?page=x", 422),
        (f"1?page={quote(HOSTILE)}", 422),
    ],
)
def test_hostile_addresses_are_refused_in_a_sentence(
    client: Any, build: Any, images: list[ImageId], path: str, status: int
) -> None:
    assert build.batch(images) == 1
    answer = client.get(f"/batches/{path}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.json()["error"].endswith(".")


def test_what_comes_from_outside_is_text_and_nothing_else(
    show: Callable[[str], Page], workspace: Workspace, build: Any, images: list[ImageId]
) -> None:
    encoder = build.vectors(images, np.eye(8), name=HOSTILE)
    projection.load_or_compute(workspace, HOSTILE)
    batch_id = build.batch(images, arms=[HOSTILE[:16]] * 8)
    build.campaign(batch_id, build.taxonomy())
    recipe = recipes.parse({"budget": 8, "where": HOSTILE, "quotas": [{"where": HOSTILE}]})
    predicted = {"classes": [HOSTILE], "pool": [1], "picks": [1]}
    change(
        workspace,
        batch_id,
        recipe=recipe.model_dump(mode="json"),
        state={"encoder": encoder.digest},
        report={"forecast": HOSTILE, "predicted": predicted},
    )
    with workspace.database.write() as session:
        session.scalars(select(schema.Campaign)).one().name = HOSTILE
        session.scalars(select(schema.Vendor)).one().ls_url = "javascript:alert(1)"
        for pick in session.scalars(select(schema.Pick)):
            pick.why = HOSTILE
    shown = show(f"/batches/{batch_id}?arm={quote(HOSTILE[:16])}")
    scripts = [attributes for tag, attributes in shown.tags if tag == "script"]
    assert scripts == [{"src": "/static/refresh.js", "defer": None}]
    assert not [name for _, attributes in shown.tags for name in attributes if name.startswith("on")]
    assert all(link.startswith("/") for link in hrefs(shown))
    assert shown.text.count(HOSTILE) >= 8 + 6


def test_the_page_follows_the_labelling_and_leaves_the_rest_alone(show: Callable[[str], Page], build: Any) -> None:
    batch_id = build.batch(build.images(3))
    before = {attributes["id"] for _, attributes in show(f"/batches/{batch_id}").tags if "id" in attributes}
    assert before == {"batches", "labelling", "picks"}


def test_in_a_browser_only_what_changed_is_put_in(
    page: Any, client: Any, workspace: Workspace, build: Any, images: list[ImageId]
) -> None:
    def answer(route: Any) -> None:
        asked = urlsplit(route.request.url)
        given = client.get(f"{asked.path}?{asked.query}")
        route.fulfill(status=given.status_code, headers=dict(given.headers), body=given.content)

    batch_id = build.batch(images)
    change(workspace, batch_id, recipe={"budget": 8})
    page.clock.install()
    page.route("**/*", answer)
    page.goto(f"http://127.0.0.1/batches/{batch_id}?arm=diverse&page=1#picks")
    page.get_by_text("The recipe as YAML").click()
    navigations: list[str] = []
    page.on("framenavigated", lambda frame: navigations.append(frame.url))
    build.campaign(batch_id, build.taxonomy())
    page.clock.run_for(5_000)
    page.locator("#labelling").get_by_text(f"campaign-{batch_id}").wait_for()
    assert page.get_by_text("budget: 8").is_visible()
    assert navigations == []
