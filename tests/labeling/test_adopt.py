"""A project that a team had in a real Label Studio becomes a campaign; what it holds comes back, and stays there."""

import io
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture
from sqlalchemy import select

from api import batch_page
from api.demo import people
from api.demo.label_studio_server import LabelStudioServer
from curation import ingest
from labeling import adopt, campaigns, cancel, label_studio, pull, reconcile, taxonomy, vendors
from labeling.adopt import Adopted
from labeling.definitions import ClassDefinition, Definition
from sampling import batch
from store.errors import ConflictError, InvalidInputError, NotFoundError, RemoteError
from store.schema import AdoptedTask, Annotation, Annotator, Campaign, Image, Pick, Sighting, Task
from store.workspace import Workspace, open_workspace
from tests.commands import winnow
from tests.labeling.conftest import Catalog, Site

pytestmark = pytest.mark.label_studio

CONFIG = (
    '<View><Header value="What is it?"/><Choices name="what" toName="img" required="true">'
    '<Choice value="car"/><Choice value="bus"/></Choices><Image name="img" value="$photo"/></View>'
)
HOSTILE = ("plain.png", "ä ö & ?#%25.png", "..%2f..%2fetc.png", "'; drop table tasks; --.png", "日本.png")


def png(number: int) -> bytes:
    """A picture like no other number's."""
    stored = io.BytesIO()
    Picture.fromarray(np.random.default_rng(number).integers(0, 256, (12, 16, 3), dtype=np.uint8)).save(stored, "PNG")
    return stored.getvalue()


def said(name: str) -> list[dict[str, Any]]:
    return [{"from_name": "what", "to_name": "img", "type": "choices", "value": {"choices": [name]}}]


class Team:
    """A project that was there before us, as its people fill it."""

    def __init__(self, site: Site, *, config: str = CONFIG, overlap: int = 2) -> None:
        self.site = site
        body = {"title": "Street", "description": "Ours.", "label_config": config, "maximum_annotations": overlap}
        self.project = int(site.call("POST", "/api/projects/", json=body)["id"])

    def upload(self, name: str, data: bytes) -> None:
        self.site.call("POST", f"/api/projects/{self.project}/import", files={"file": (name, data, "image/png")})

    def add(self, *addresses: Any, key: str = "photo") -> None:
        tasks = [{"data": {key: address, "uid": "theirs", "shift": i}} for i, address in enumerate(addresses)]
        self.site.call("POST", f"/api/projects/{self.project}/import", json=tasks)

    def tasks(self) -> list[dict[str, Any]]:
        page = {"project": self.project, "page_size": 5000, "fields": "all", "resolve_uri": "false"}
        found = self.site.call("GET", "/api/tasks", params=page)["tasks"]
        for annotation in (each for task in found for each in task["annotations"]):
            del annotation["created_ago"]
        return sorted(found, key=lambda task: task["id"])

    def numbers(self) -> list[int]:
        return [task["id"] for task in self.tasks()]

    def description(self) -> str:
        return str(self.site.call("GET", f"/api/projects/{self.project}/")["description"])


class Pictures:
    """A web server with pictures of any number, which counts who asks for them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: Counter[str] = Counter()
        self.tokens: set[str | None] = set()
        self.late: int | None = None  # the picture that is at "late" by now

    def at(self, number: int | str) -> str:
        return f"{self.url}/{number}.png"


@pytest.fixture
def pictures() -> Iterator[Pictures]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked[self.path] += 1
            found.tokens.add(self.headers.get("Authorization"))
            name = self.path.partition("?")[0].strip("/").removesuffix(".png")
            if name == "late" and found.late is not None:
                name = str(found.late)
            body = png(int(name)) if name.isdecimal() else b"no picture"
            self.send_response(404 if name == "gone" else 200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, format: str, *arguments: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Pictures(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield found
        server.shutdown()
        thread.join()


@pytest.fixture
def home(workspace: Workspace, label_studio: LabelStudioServer) -> Workspace:
    vendors.add(workspace, "acme", url=label_studio.url, token=f"file:{label_studio.token_file}")
    return workspace


def take(workspace: Workspace, team: Team, name: str = "street", taxonomy_name: str | None = None) -> Adopted:
    return adopt.adopt(workspace, name, vendor_name="acme", ls_project_id=team.project, taxonomy_name=taxonomy_name)


def rows(workspace: Workspace, *columns: Any) -> list[Any]:
    with workspace.database.read() as session:
        return list(session.execute(select(*columns)).all())


def standing(workspace: Workspace) -> list[tuple[str, str | None, bool]]:
    """Who said what: person, answer, whether it is a skip; the newest revisions."""
    with workspace.database.read() as session:
        found = session.execute(
            select(Annotator.name, Annotation.answer, Annotation.skipped)
            .join(Annotation, Annotation.annotator_id == Annotator.id)
            .where(Annotation.id.in_(campaigns.standing_annotations()))
        )
        return sorted(map(tuple, found), key=str)


@contextmanager
def colleague(server: LabelStudioServer, name: str) -> Iterator[Site]:
    with closing(people.join(server.url, people.Person(name, 1.0), admin=(server.email, server.password))) as http:
        yield Site(http)


def test_a_project_comes_with_its_images_and_with_everybodys_answers(
    home: Workspace, site: Site, label_studio: LabelStudioServer
) -> None:
    team = Team(site)
    for number, name in enumerate(HOSTILE):
        team.upload(name, png(number))
    first, second, third, *_ = team.numbers()
    with colleague(label_studio, "ada") as ada, colleague(label_studio, "ben") as ben:
        ada.answer(first, "", result=said("car"), lead_time=4.5)
        ben.answer(first, "", result=said("bus"))
        ben.answer(second, "", result=[], was_cancelled=True)
        ada.call("POST", f"/api/tasks/{third}/drafts", json={"result": said("bus")})
        before = team.tasks()

        done = take(home, team)
        assert (done.tasks, done.new_tasks, done.items, done.new_images) == (5, 5, 5, 5)
        assert (done.left_out, done.unmapped) == ([], [])
        assert (done.taxonomy, done.taxonomy_revision) == ("street", 1)
        pulled = pull.pull(home, "street")
        assert (pulled.answers, pulled.new, pulled.missing) == (3, 3, 0)
        assert standing(home) == [
            ("ada@winnow.example", "car", False),
            ("ben@winnow.example", "bus", False),
            ("ben@winnow.example", None, True),
        ]
        assert (4.5,) in rows(home, Annotation.lead_time_s)
        assert team.tasks() == before
        assert team.description().startswith("Ours.\nAdopted by Winnow as the campaign street. Keep this mark: winnow:")

        again = take(home, team)
        assert (again.tasks, again.new_tasks, again.new_images) == (5, 0, 0)
        [answer] = [each["id"] for each in before[0]["annotations"] if each["result"] == said("car")]
        ada.call("PATCH", f"/api/annotations/{answer}/", json={"result": said("bus")})
        [skip] = before[1]["annotations"]
        ben.call("DELETE", f"/api/annotations/{skip['id']}/")
        pulled = pull.pull(home, "street")
        assert (pulled.answers, pulled.new, pulled.edited, pulled.deleted) == (2, 0, 1, 1)

    with home.database.read() as session:
        status = campaigns.status(session, "street")
    assert (status.items, status.pushed, status.overlap, status.answered, status.adopted) == (5, 5, 2, 1, True)
    for (uri,) in rows(home, Sighting.uri):
        assert str(home.adopted_dir) in uri
    assert {source for (source,) in rows(home, Sighting.source)} == {"street"}


def test_addresses_of_every_kind_and_what_cannot_be_read(
    home: Workspace, site: Site, pictures: Pictures, label_studio: LabelStudioServer
) -> None:
    ingest.ingest(home, [pictures.at(1)])
    before = pictures.asked.copy()
    team = Team(site)
    signed = pictures.at(3) + "?X-Signature=hunter2"
    team.add(
        pictures.at(1),
        pictures.at(2),
        signed,
        pictures.at("gone"),
        pictures.at("text"),
        "no.png",
        "/data/upload/9/no.png",
    )
    done = take(home, team)
    assert (done.tasks, done.items, done.new_images) == (3, 3, 2)
    numbers = team.numbers()
    why = {each.ls_task_id: each.why for each in done.left_out}
    assert sorted(why) == numbers[3:]
    assert why[numbers[3]] == "the file cannot be read: it does not exist"
    assert why[numbers[5]] == "'no.png' is no address that can be read from here"
    assert why[numbers[6]].startswith("its server answered with status ")
    assert pictures.asked["/1.png"] == before["/1.png"], "what the catalog knows is not asked for again"
    assert pictures.tokens == {None}
    assert label_studio.token_file.read_text() not in str(done)
    for path in home.home.rglob("*"):
        assert not path.is_file() or b"hunter2" not in path.read_bytes(), path
    assert rows(home, Pick.arm, Pick.score) == [("adopted", 0.0)] * 3


def test_what_is_no_picture_yet_is_fetched_again(home: Workspace, site: Site, pictures: Pictures) -> None:
    team = Team(site)
    team.add(pictures.at(1), pictures.at("late") + "?version=2")
    assert len(take(home, team).left_out) == 1
    pictures.late = 7
    done = take(home, team)
    assert (done.tasks, done.left_out, done.new_images) == (2, [], 1)


def test_tasks_that_show_one_image_are_one_item_with_all_their_answers(
    home: Workspace, site: Site, pictures: Pictures, label_studio: LabelStudioServer
) -> None:
    team = Team(site)
    team.add(pictures.at(1), pictures.at(2), pictures.at(1))
    team.upload("same.png", png(1))
    done = take(home, team)
    assert (done.tasks, done.items) == (4, 2)
    one, _, other, upload = team.numbers()
    site.answer(one, "", result=said("car"))
    with colleague(label_studio, "ada") as ada:
        copy = ada.answer(other, "", result=said("bus"))
        ada.answer(upload, "", result=said("bus"))
    assert pull.pull(home, "street").answers == 3
    assert pull.pull(home, "street", everything=True).answers == 3
    site.call("DELETE", f"/api/annotations/{copy}/")
    assert pull.pull(home, "street").answers == 2
    drift = reconcile.find(home, "street")
    assert (drift.missing, drift.copies, drift.strangers) == ([], 2, 0)
    done_again = reconcile.reconcile(home, "street", image_url=lambda image_id: f"http://127.0.0.1:1/{image_id}")
    assert (done_again.recreated, done_again.removed) == (0, 0)
    assert len(team.numbers()) == 4


def test_tasks_that_come_later_are_strangers_until_the_project_is_adopted_again(
    home: Workspace, site: Site, pictures: Pictures
) -> None:
    team = Team(site)
    team.add(*map(pictures.at, range(1, 4)))
    take(home, team)
    pull.pull(home, "street")
    team.add(pictures.at(4), pictures.at(2))
    site.answer(team.numbers()[3], "", result=said("bus"))
    assert pull.pull(home, "street").answers == 0
    assert reconcile.find(home, "street").strangers == 2
    done = take(home, team)
    assert (done.tasks, done.new_tasks, done.items) == (5, 2, 4)
    assert pull.pull(home, "street").answers == 1
    assert [rank for (rank,) in rows(home, Pick.rank)] == [0, 1, 2, 3]


def test_what_the_team_deletes_stays_deleted_and_nothing_of_theirs_is_removed(
    home: Workspace, site: Site, pictures: Pictures
) -> None:
    team = Team(site)
    team.add(*map(pictures.at, range(1, 4)))
    take(home, team)
    site.call("DELETE", f"/api/tasks/{team.numbers()[0]}/")
    assert pull.pull(home, "street", everything=True).missing == 1
    done = reconcile.reconcile(home, "street", image_url=lambda image_id: f"http://127.0.0.1:1/{image_id}")
    assert (done.recreated, done.removed) == (0, 0)
    with pytest.raises(ConflictError, match="nothing is removed from it"):
        cancel.cancel(home, "street")
    assert len(team.numbers()) == 2
    campaigns.close(home, "street")
    with pytest.raises(ConflictError, match="is closed: it takes in nothing more"):
        take(home, team)


def test_a_restored_project_gets_its_answers_back_once(home: Workspace, site: Site, pictures: Pictures) -> None:
    team = Team(site)
    team.add(pictures.at(1), pictures.at(2), pictures.at(1))
    take(home, team)
    description = team.description()
    answer = site.answer(team.numbers()[2], "", result=said("car"))
    assert pull.pull(home, "street").answers == 1
    site.call("DELETE", f"/api/annotations/{answer}/")
    site.call("PATCH", f"/api/projects/{team.project}/", json={"description": description})  # as a backup would say
    with pytest.raises(ConflictError, match="restored from a backup"):
        pull.pull(home, "street")
    done = json.loads(winnow(home.home, "campaign", "reconcile", "street", "--json").stdout)
    assert (done["restored"], done["put_back"], done["recreated"]) == (True, 1, 0)
    assert pull.pull(home, "street").answers == 1


@pytest.mark.parametrize(
    "fail_point",
    ["adopt.after_page", "adopt.after_commit", pytest.param("adopt.before_commit", marks=pytest.mark.slow)],
)
def test_whatever_dies_the_same_adopts_on(
    fail_point: str, build: Any, label_studio: LabelStudioServer, site: Site, pictures: Pictures
) -> None:
    catalog = Catalog(build, label_studio)
    team = Team(site)
    team.add(*map(pictures.at, range(1, 4)))
    command = ("adopt", catalog.name, "--ls-project", str(team.project), "--vendor", "acme")
    code, _, _ = catalog.run(*command, fail_point=fail_point)
    assert code == -9
    assert len(rows(catalog.workspace, AdoptedTask.task_id)) == (3 if fail_point == "adopt.after_commit" else 0)
    for _ in range(2):
        code, stdout, stderr = catalog.run(*command)
        assert (code, stderr) == (0, "")
    assert "3 in all, which show 3 images" in stdout
    assert len(rows(catalog.workspace, Image.id)) == len(rows(catalog.workspace, Task.id)) == 3
    assert team.description().count("winnow:") == 1
    assert pull.pull(catalog.workspace, catalog.name).missing == 0


def test_a_project_under_a_taxonomy_that_is_there(home: Workspace, site: Site, pictures: Pictures) -> None:
    team = Team(site)
    team.add(pictures.at(1))
    taxonomy.create(home, "other", Definition("classification", (ClassDefinition("car"), ClassDefinition("tram"))))
    with pytest.raises(InvalidInputError) as refused:
        take(home, team, taxonomy_name="other")
    assert "it adds 1 classes: 'bus'; it lacks 1 classes: 'tram'; its tags have other names" in str(refused.value)
    with pytest.raises(InvalidInputError, match="does not ask what the taxonomy 'other' asks"):
        take(home, team, name="other")
    take(home, team)
    assert take(home, team, taxonomy_name="street").taxonomy_revision == 1
    with pytest.raises(ConflictError, match="was adopted under the taxonomy 'street', not 'other'"):
        take(home, team, taxonomy_name="other")
    changed = CONFIG.replace('<Choice value="bus"/>', '<Choice value="bus"/><Choice value="tram"/>')
    site.call("PATCH", f"/api/projects/{team.project}/", json={"label_config": changed})
    with pytest.raises(InvalidInputError, match=r"it adds 1 classes: 'tram'\. Change its config back"):
        take(home, team)


def test_what_cannot_be_adopted_is_said_and_changes_nothing(
    home: Workspace, site: Site, pictures: Pictures, build: Any, label_studio: LabelStudioServer
) -> None:
    team = Team(site)
    with pytest.raises(InvalidInputError, match="has 0 tasks, and none with an image that can be read"):
        take(home, team)
    team.add(pictures.at("text"))
    with pytest.raises(InvalidInputError, match=r"has 1 tasks, and none with .*Task \d+: "):
        take(home, team)
    with pytest.raises(NotFoundError, match=r"has no project 1000000\."):
        adopt.adopt(home, "street", vendor_name="acme", ls_project_id=10**6)
    with pytest.raises(NotFoundError, match="There is no vendor called 'nobody'"):
        adopt.adopt(home, "street", vendor_name="nobody", ls_project_id=team.project)
    with pytest.raises(NotFoundError, match="There is no taxonomy called 'none'"):
        take(home, team, taxonomy_name="none")
    with pytest.raises(InvalidInputError, match=r"cannot be adopted\. The config shows 0 images"):
        take(home, Team(site, config='<View><Text name="t" value="$text"/></View>'))
    assert rows(home, Campaign.id) == []
    assert team.description() == "Ours."

    team.add(pictures.at(1))
    take(home, team)
    with pytest.raises(ConflictError, match="is the campaign 'street' already"):
        take(home, team, name="again")
    with pytest.raises(ConflictError, match="There is another campaign called 'street'"):
        take(home, Team(site))
    other = open_workspace(home.home.parent / "other")
    vendors.add(other, "acme", url=label_studio.url, token=f"file:{label_studio.token_file}")
    with pytest.raises(ConflictError, match="is a campaign of another workspace already"):
        take(other, team)
    wrong = home.home / "wrong"
    wrong.write_text("0" * 40)
    vendors.add(home, "acme", url=label_studio.url, token=f"file:{wrong}")
    with pytest.raises(RemoteError, match="refused the token"):
        take(home, team)


def test_the_batch_of_an_adopted_campaign_says_so(home: Workspace, site: Site, pictures: Pictures) -> None:
    team = Team(site)
    team.add(pictures.at(1))
    done = take(home, team)
    said_of_it = f"Adopted from project {team.project} of Label Studio at {site.http.base_url}".rstrip("/")
    with pytest.raises(InvalidInputError) as refused:
        batch.replay(home, done.batch)
    assert str(refused.value).startswith(f"Batch {done.batch} cannot be replayed. {said_of_it}")
    page = batch_page.read(home, done.batch)
    assert (page.origin or "").startswith(said_of_it)
    assert (page.arms, page.words, page.sources) == ([("adopted", 1)], [], [])


def test_many_tasks_come_a_page_at_a_time(
    home: Workspace, site: Site, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_studio, "_PAGE", 2)
    monkeypatch.setattr(adopt, "_CHUNK", 3)
    team = Team(site)
    team.add(*map(pictures.at, (1, 2, 3, 1, 4, 5, 3)))
    told: list[tuple[int, int]] = []
    done = adopt.adopt(
        home,
        "street",
        vendor_name="acme",
        ls_project_id=team.project,
        on_progress=lambda seen, total: told.append((seen, total)),
    )
    assert (done.tasks, done.items) == (7, 5)
    assert told == [(2, 7), (4, 7), (6, 7), (7, 7)]
    assert pull.pull(home, "street").missing == 0
