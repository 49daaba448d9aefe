"""Making good what happened to a project in Label Studio: deleted tasks, copies, a server that lost a day."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from api.demo import label_studio_server
from api.demo.label_studio_server import LabelStudioServer
from labeling import campaigns, label_config, pull, push, reconcile
from labeling.label_studio import RemoteAnnotation
from labeling.reconcile import Reconciled
from store.errors import ConflictError
from store.schema import Annotation, Annotator, Campaign, ImageId, Task
from store.workspace import Workspace
from tests.conftest import Builder
from tests.labeling.conftest import Catalog, Site, administrator
from tests.labeling.team import Team

pytestmark = pytest.mark.label_studio


def image_url(image_id: ImageId) -> str:
    return f"http://127.0.0.1:1/images/{image_id:08x}"


def answers(workspace: Workspace) -> list[tuple[int, str | None, str]]:
    """Rank, answer and author of what stands in the catalog."""
    with workspace.database.read() as session:
        rows = session.execute(
            select(Task.rank, Annotation.answer, Annotator.name)
            .join(Annotation, Annotation.task_id == Task.id)
            .join(Annotator, Annotator.id == Annotation.annotator_id)
            .where(Annotation.id.in_(campaigns.standing_annotations()))
        )
        return sorted((rank, answer, name.removesuffix("@winnow.example")) for rank, answer, name in rows)


def standing(workspace: Workspace) -> dict[int, str | None]:
    """The answers that stand in the catalog, by the rank of their task."""
    with workspace.database.read() as session:
        campaign_id = session.scalars(select(Campaign.id)).one()
        rows = session.execute(
            select(Task.rank, Annotation.answer)
            .join(Annotation, Annotation.task_id == Task.id)
            .where(Annotation.id.in_(campaigns.standing_annotations(Task.campaign_id == campaign_id)))
        )
        return dict(rows.all())


def test_deleted_tasks_are_made_again_and_copies_removed(catalog: Catalog, site: Site) -> None:
    catalog.campaign(3)
    push.push(catalog.workspace, catalog.name, image_url=image_url)
    first, second, third = site.tasks(catalog.name)
    site.answer(third["id"], "cat")
    site.call("DELETE", f"/api/tasks/{first['id']}/")
    [project] = site.projects(catalog.name)
    theirs = {"data": {"image": "somebody else's", "uid": "theirs"}}
    copies = [{"data": second["data"]}, {"data": {"image": "somebody else's"}}, theirs, theirs]
    site.call("POST", f"/api/projects/{project['id']}/import", json=copies)
    done = reconcile.reconcile(catalog.workspace, catalog.name, image_url=image_url)
    assert done == Reconciled(
        restored=False, recreated=1, waiting=0, removed=1, put_back=0, not_put_back=0, strangers=3
    )
    again = reconcile.reconcile(catalog.workspace, catalog.name, image_url=image_url)
    assert again == Reconciled(
        restored=False, recreated=0, waiting=0, removed=0, put_back=0, not_put_back=0, strangers=3
    )
    ours = [task for task in site.tasks(catalog.name) if task["data"].get("uid", "theirs") != "theirs"]
    assert {task["data"]["uid"] for task in ours} == {task["data"]["uid"] for task in (first, second, third)}
    assert len(ours) == 3
    assert standing(catalog.workspace) == {2: "cat"}
    code, stdout, _ = catalog.run("reconcile", catalog.name, "--image-base-url", "http://127.0.0.1:1")
    assert (code, stdout) == (
        0,
        f"{catalog.name}: 0 tasks made again, 0 copies removed; 3 tasks of others left alone\n",
    )


Restorable = tuple[LabelStudioServer, Callable[[], None], Callable[[], None]]


@pytest.fixture
def restorable(tmp_path: Path) -> Iterator[Restorable]:
    """A Label Studio of this test's own, a way to save its data, and one to start it again from there."""
    folder, log = tmp_path / "server", tmp_path / "server.log"
    running = [label_studio_server.start(folder, log=log, port=0)]
    port = int(running[0].url.rpartition(":")[2])

    def stop() -> None:
        os.killpg(running[0].server.process.pid, signal.SIGKILL)
        running[0].server.process.wait()

    def start() -> None:
        running[0] = label_studio_server.start(folder, log=log, port=port)

    def save() -> None:
        stop()
        shutil.copytree(folder / "data", tmp_path / "backup")
        start()

    def restore() -> None:
        stop()
        shutil.rmtree(folder / "data")
        shutil.copytree(tmp_path / "backup", folder / "data")
        start()

    yield running[0], save, restore
    running[0].stop()


def test_a_server_restored_from_yesterdays_backup_loses_nothing(build: Builder, restorable: Restorable) -> None:
    server, save, restore = restorable
    catalog = Catalog(build, server)
    catalog.campaign(4)
    push.push(catalog.workspace, catalog.name, image_url=image_url)
    with administrator(server) as http:
        tasks = [task["id"] for task in Site(http).tasks(catalog.name)]
        Site(http).answer(tasks[0], "cat")
    pull.pull(catalog.workspace, catalog.name)
    save()
    with administrator(server) as http:
        Site(http).answer(tasks[1], "dog")
        Site(http).answer(tasks[2], "cat")
    pull.pull(catalog.workspace, catalog.name)
    before = standing(catalog.workspace)
    assert before == {0: "cat", 1: "dog", 2: "cat"}
    restore()
    for refuses in (
        lambda: pull.pull(catalog.workspace, catalog.name),
        lambda: push.push(catalog.workspace, catalog.name, image_url=image_url),
    ):
        with pytest.raises(ConflictError, match=r"restored from a backup.*winnow campaign reconcile"):
            refuses()
    assert standing(catalog.workspace) == before
    done = reconcile.reconcile(catalog.workspace, catalog.name, image_url=image_url)
    assert (done.restored, done.put_back) == (True, 2)
    assert standing(catalog.workspace) == before
    with administrator(server) as http:
        answered = [len(task["annotations"]) for task in Site(http).tasks(catalog.name)]
    assert answered == [1, 1, 1, 0]
    assert pull.pull(catalog.workspace, catalog.name).answers == 3


def test_a_campaign_that_ended_gets_its_answers_back_too(build: Builder, restorable: Restorable) -> None:
    """One task was pushed after the backup: its answer stays in the catalog alone, and no task is made."""
    server, save, restore = restorable
    catalog = Catalog(build, server)
    catalog.campaign(3, overlap=1)
    catalog.set_capacity(2)
    push.push(catalog.workspace, catalog.name, image_url=image_url)
    pull.pull(catalog.workspace, catalog.name)
    save()
    with administrator(server) as http:
        for task in Site(http).tasks(catalog.name):
            Site(http).answer(task["id"], "dog")
        pull.pull(catalog.workspace, catalog.name)
        push.push(catalog.workspace, catalog.name, image_url=image_url)
        Site(http).answer(Site(http).tasks(catalog.name)[-1]["id"], "cat")
    pull.pull(catalog.workspace, catalog.name)
    before = answers(catalog.workspace)
    campaigns.close(catalog.workspace, catalog.name)
    restore()
    with pytest.raises(ConflictError, match="winnow campaign reconcile"):
        pull.pull(catalog.workspace, catalog.name)
    done = reconcile.reconcile(catalog.workspace, catalog.name, image_url=image_url)
    assert (done.restored, done.recreated, done.put_back, done.not_put_back) == (True, 0, 2, 1)
    assert answers(catalog.workspace) == before
    pull.pull(catalog.workspace, catalog.name, everything=True)
    assert answers(catalog.workspace) == before
    with administrator(server) as http:
        assert len(Site(http).tasks(catalog.name)) == 2
    with pytest.raises(ConflictError, match="is closed: nothing is pushed"):
        reconcile.reconcile(catalog.workspace, catalog.name, image_url=image_url)


def test_a_config_that_was_changed_in_label_studio_is_told_and_answers_that_name_no_class(
    catalog: Catalog, site: Site
) -> None:
    catalog.campaign(2)
    push.push(catalog.workspace, catalog.name, image_url=image_url)
    assert reconcile.find(catalog.workspace, catalog.name).config == []
    [project] = site.projects(catalog.name)
    changed = project["label_config"].replace('value="dog"', 'value="hound"')
    site.call("PATCH", f"/api/projects/{project['id']}", json={"label_config": changed})
    site.answer(site.tasks(catalog.name)[0]["id"], "hound")
    site.answer(site.tasks(catalog.name)[1]["id"], "cat")
    pull.pull(catalog.workspace, catalog.name)
    found = reconcile.find(catalog.workspace, catalog.name).config
    assert found == ["it adds 1 classes: 'hound'", "it lacks 1 classes: 'dog'"]
    assert (catalog.status().answers, catalog.status().unreadable) == (2, 1)
    _, stdout, _ = catalog.run("status", catalog.name)
    assert "1 answers name no class of the taxonomy" in stdout
    assert "labelling config was changed there: it adds 1 classes: 'hound'" in stdout


def test_what_is_to_be_made_again_and_finds_no_room_is_told(catalog: Catalog, site: Site) -> None:
    catalog.campaign(3)
    push.push(catalog.workspace, catalog.name, image_url=image_url)
    for task in site.tasks(catalog.name)[:2]:
        site.call("DELETE", f"/api/tasks/{task['id']}/")
    catalog.set_capacity(1)
    done = reconcile.reconcile(catalog.workspace, catalog.name, image_url=image_url)
    assert (done.recreated, done.waiting) == (0, 2)


def test_answers_whose_numbers_a_restored_server_gives_to_others_stand_once(
    build: Builder, restorable: Restorable
) -> None:
    server, save, restore = restorable
    catalog = Catalog(build, server)
    catalog.campaign(4)
    push.push(catalog.workspace, catalog.name, image_url=image_url)
    with administrator(server) as http:
        tasks = [task["id"] for task in Site(http).tasks(catalog.name)]
        Site(http).answer(tasks[3], "cat")
    pull.pull(catalog.workspace, catalog.name)
    save()
    with administrator(server) as http:
        for task, name in ((tasks[2], "dog"), (tasks[0], "cat"), (tasks[1], "dog")):  # they are put back by rank
            Site(http).answer(task, name)
    pull.pull(catalog.workspace, catalog.name)
    restore()
    reconcile.reconcile(catalog.workspace, catalog.name, image_url=image_url)
    for everything in (False, True):
        assert pull.pull(catalog.workspace, catalog.name, everything=everything).answers == 4
    assert standing(catalog.workspace) == {0: "cat", 1: "dog", 2: "dog", 3: "cat"}
    with administrator(server) as http:
        assert [len(task["annotations"]) for task in Site(http).tasks(catalog.name)] == [1, 1, 1, 1]


def test_answers_of_people_whom_a_restored_server_does_not_know_stay(build: Builder, restorable: Restorable) -> None:
    """Of who joined after the backup, and of who was deleted before anyone pulled what they said."""
    server, save, restore = restorable
    catalog = Catalog(build, server)
    catalog.campaign(3)
    project = push.push(catalog.workspace, catalog.name, image_url=image_url).ls_project_id
    save()
    with administrator(server) as http, ExitStack() as stack:
        admin = Site(http)
        first, second, third = (task["id"] for task in admin.tasks(catalog.name))
        team = Team(server, ["late", "gone"], stack)
        team.work("late", project, {}, most=1)
        admin.answer(first, "dog")
        team.work("gone", project, {second: "dog"}, most=1)
        admin.call("DELETE", f"/api/users/{team.id('gone')}/")
        admin.answer(third, "cat")
    pull.pull(catalog.workspace, catalog.name)
    before = answers(catalog.workspace)
    assert before == [(0, "cat", "late"), (0, "dog", "admin"), (1, "dog", "user 0"), (2, "cat", "admin")]
    restore()
    done = reconcile.reconcile(catalog.workspace, catalog.name, image_url=image_url)
    assert (done.put_back, done.not_put_back) == (2, 2)
    for everything in (False, True):
        pulled = pull.pull(catalog.workspace, catalog.name, everything=everything)
        assert (pulled.answers, pulled.deleted) == (2, 0)
        assert answers(catalog.workspace) == before
    again = reconcile.reconcile(catalog.workspace, catalog.name, image_url=image_url)
    assert (again.restored, again.put_back, again.not_put_back) == (False, 0, 0)
    assert answers(catalog.workspace) == before
    with administrator(server) as http:
        Site(http).answer(second, "cat")
    assert pull.pull(catalog.workspace, catalog.name).new == 1
    assert answers(catalog.workspace) == sorted([*before, (1, "cat", "admin")])


def test_a_restored_server_forgets_no_edit_and_no_second_answer(build: Builder, restorable: Restorable) -> None:
    server, save, restore = restorable
    catalog = Catalog(build, server)
    catalog.campaign(5)
    push.push(catalog.workspace, catalog.name, image_url=image_url)
    with administrator(server) as http:
        tasks = [task["id"] for task in Site(http).tasks(catalog.name)]
        edited, skipped, once, marked, later = (Site(http).answer(task, "cat") for task in tasks)
    pull.pull(catalog.workspace, catalog.name)
    save()
    with administrator(server) as http:
        dog = label_config.result("dog")
        Site(http).call("PATCH", f"/api/annotations/{edited}/", json={"result": dog})
        Site(http).call("PATCH", f"/api/annotations/{skipped}/", json={"result": [], "was_cancelled": True})
        Site(http).answer(tasks[2], "dog")
        Site(http).call("PATCH", f"/api/annotations/{marked}/", json={"ground_truth": True})
        Site(http).call("PATCH", f"/api/annotations/{later}/", json={"result": []})
    pull.pull(catalog.workspace, catalog.name)
    restore()
    with administrator(server) as http:
        Site(http).call("PATCH", f"/api/annotations/{later}/", json={"result": dog})
    done = reconcile.reconcile(catalog.workspace, catalog.name, image_url=image_url)
    assert (done.put_back, done.not_put_back) == (4, 0)
    expected = [(0, "dog"), (1, None), (2, "cat"), (2, "dog"), (3, "cat"), (4, "dog")]
    assert [(rank, answer) for rank, answer, _ in answers(catalog.workspace)] == expected
    assert pull.pull(catalog.workspace, catalog.name).answers == 6
    with administrator(server) as http:
        there = [task["annotations"] for task in Site(http).tasks(catalog.name)]
    assert [[each["was_cancelled"] for each in of_task] for of_task in there] == [
        *([False], [True], [False, False], [False], [False])
    ]
    assert there[3][0]["ground_truth"]
    assert {each["id"] for of_task in there for each in of_task} >= {edited, skipped, once, marked, later}


def test_who_got_the_number_of_somebody_else_after_a_restore_is_not_taken_for_them() -> None:
    cat = RemoteAnnotation(5, 7, label_config.result("cat"), skipped=False, lead_time_s=None, updated_at="t1")
    ours = reconcile._Answer(1, 1, "ann@", cat)
    theirs = replace(cat, result=label_config.result("dog"), updated_at="t2")
    assert reconcile._compare([ours], [theirs], {7: "bob@"}) == reconcile._Losses([], {}, [ours])
    assert reconcile._compare([ours], [theirs], {7: "ann@"}) == reconcile._Losses([], {}, [])  # she said it again
    assert reconcile._compare([ours], [replace(theirs, ls_user_id=8)], {7: "ann@"}) == reconcile._Losses([ours], {}, [])
