import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select, update

from api.demo.label_studio_server import LabelStudioServer
from api.demo.people import Person
from labeling import campaigns, content, label_config, label_studio, pull, push, results, taxonomy
from labeling.content import Content, Region
from labeling.definitions import ClassDefinition, Definition
from labeling.geometry import Mask
from labeling.label_studio import AnnotatedTask, LabelStudio, RemoteAnnotation
from labeling.pull import Change, Known, Pulled
from labeling.results import ImageSize
from store.errors import InvalidInputError, RemoteError
from store.schema import Annotation, Annotator, Campaign, Task, now
from tests.conftest import Builder
from tests.labeling import stand_in
from tests.labeling.conftest import Catalog, Site
from tests.labeling.team import Team

CAT, DOG = label_config.result("cat"), label_config.result("dog")


def remote(number: int, *, updated_at: str = "t1") -> RemoteAnnotation:
    return RemoteAnnotation(number, 7, CAT, skipped=False, lead_time_s=None, updated_at=updated_at)


def known(revision: int = 0, *, updated_at: str = "t1", deleted: bool = False) -> Known:
    return Known(revision, 1, updated_at, [] if deleted else CAT, deleted)


def test_only_differences_become_revisions() -> None:
    before = {(1, 10): known(), (1, 11): known(2), (2, 20): known(), (3, 30): known(1, deleted=True)}
    there = {1: [remote(10), remote(11, updated_at="t2")], 2: [], 4: [remote(40)]}
    assert pull.compare(before, there) == [
        Change(1, 11, 3, remote(11, updated_at="t2")),
        Change(2, 20, 1, None),
        Change(4, 40, 0, remote(40)),
    ]


def test_a_task_that_is_gone_takes_its_answers_along() -> None:
    assert pull.compare({(1, 10): known()}, {}) == [Change(1, 10, 1, None)]


def test_an_answer_that_comes_back_is_a_revision() -> None:
    assert pull.compare({(1, 10): known(1, deleted=True)}, {1: [remote(10)]}) == [Change(1, 10, 2, remote(10))]


def revisions(catalog: Catalog) -> list[tuple[int, int, str | None, bool, bool]]:
    """Rank, revision, answer, skipped, deleted: in the order seen."""
    columns = (Task.rank, Annotation.revision, Annotation.answer, Annotation.skipped, Annotation.deleted)
    with catalog.workspace.database.read() as session:
        rows = session.execute(select(*columns).join(Task, Task.id == Annotation.task_id).order_by(Annotation.id))
        return [tuple(row) for row in rows]


@pytest.fixture
def pushed(catalog: Catalog, site: Site) -> list[int]:
    """Label Studio's ids of three tasks, by rank."""
    catalog.campaign(3)
    push.push(catalog.workspace, catalog.name, image_url=lambda image_id: f"http://127.0.0.1:1/{image_id}")
    return [task["id"] for task in site.tasks(catalog.name)]


@pytest.mark.label_studio
def test_answers_are_pulled_once_with_who_gave_them(catalog: Catalog, site: Site, pushed: list[int]) -> None:
    site.answer(pushed[0], "cat")
    site.answer(pushed[0], "dog")
    site.answer(pushed[1], "dog", was_cancelled=True)
    assert pull.pull(catalog.workspace, catalog.name) == Pulled(answers=3, new=3, edited=0, deleted=0, missing=0)
    assert pull.pull(catalog.workspace, catalog.name) == Pulled(answers=3, new=0, edited=0, deleted=0, missing=0)
    assert revisions(catalog) == [
        (0, 0, "cat", False, False),
        (0, 0, "dog", False, False),
        (1, 0, None, True, False),
    ]
    with catalog.workspace.database.read() as session:
        [annotator] = session.scalars(select(Annotator)).all()
        assert annotator.name == "admin@winnow.example"
        assert {row.lead_time_s for row in session.scalars(select(Annotation))} == {2.5}


@pytest.mark.label_studio
def test_edits_and_deletions_are_revisions(catalog: Catalog, site: Site, pushed: list[int]) -> None:
    edited, deleted, _ = (site.answer(task, "cat") for task in pushed)
    pull.pull(catalog.workspace, catalog.name)
    site.call("PATCH", f"/api/annotations/{edited}/", json={"result": DOG})
    site.call("DELETE", f"/api/annotations/{deleted}/")
    assert pull.pull(catalog.workspace, catalog.name) == Pulled(answers=2, new=0, edited=1, deleted=1, missing=0)
    assert pull.pull(catalog.workspace, catalog.name) == Pulled(answers=2, new=0, edited=0, deleted=0, missing=0)
    assert sorted(revisions(catalog)) == [
        (0, 0, "cat", False, False),
        (0, 1, "dog", False, False),
        (1, 0, "cat", False, False),
        (1, 1, None, False, True),
        (2, 0, "cat", False, False),
    ]


@pytest.mark.label_studio
def test_a_task_deleted_by_hand_does_not_stop_a_pull(catalog: Catalog, site: Site, pushed: list[int]) -> None:
    site.answer(pushed[0], "cat")
    site.answer(pushed[1], "dog")
    pull.pull(catalog.workspace, catalog.name)
    site.call("DELETE", f"/api/tasks/{pushed[0]}/")
    assert pull.pull(catalog.workspace, catalog.name) == Pulled(answers=1, new=0, edited=0, deleted=1, missing=1)


@pytest.mark.label_studio
def test_what_somebody_said_whose_login_is_deleted_stays_theirs(
    catalog: Catalog, site: Site, pushed: list[int], label_studio: LabelStudioServer
) -> None:
    [project] = site.projects(catalog.name)
    with ExitStack() as stack:
        team = Team(label_studio, [f"{name}-of-{catalog.name}" for name in ("stays", "leaves")], stack)
        for name in team.sessions:
            assert sorted(team.work(name, project["id"], {})) == pushed
        said = pull.pull(catalog.workspace, catalog.name)
        site.call("DELETE", f"/api/users/{team.id(f'leaves-of-{catalog.name}')}/")
    assert said == Pulled(answers=6, new=6, edited=0, deleted=0, missing=0)
    for everything in (False, True):
        again = pull.pull(catalog.workspace, catalog.name, everything=everything)
        assert again == Pulled(answers=6, new=0, edited=0, deleted=0, missing=0)
    of_person = select(Annotator.name, func.count()).join(Annotation, Annotation.annotator_id == Annotator.id)
    with catalog.workspace.database.read() as session:
        answers = dict(session.execute(of_person.group_by(Annotator.name)).all())
    assert answers == {Person(name, 1).email: 3 for name in team.sessions}


@pytest.mark.label_studio
def test_tasks_that_others_put_into_the_project_are_left_alone(catalog: Catalog, site: Site, pushed: list[int]) -> None:
    [project] = site.projects(catalog.name)
    site.call("POST", f"/api/projects/{project['id']}/import", json=[{"data": {"image": "x"}}])
    site.answer(site.tasks(catalog.name)[-1]["id"], "cat")
    assert pull.pull(catalog.workspace, catalog.name).answers == 0


@pytest.mark.label_studio
@pytest.mark.parametrize("page", [1, 500])
def test_answers_to_a_task_and_to_its_copy_both_stand(
    catalog: Catalog, site: Site, pushed: list[int], monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(label_studio, "_PAGE", page)
    [project] = site.projects(catalog.name)
    copy = [{"data": site.tasks(catalog.name)[0]["data"]}]
    site.call("POST", f"/api/projects/{project['id']}/import", json=copy)
    copied = site.tasks(catalog.name)[-1]["id"]
    site.answer(pushed[0], "cat")
    answer = site.answer(copied, "dog")
    assert pull.pull(catalog.workspace, catalog.name) == Pulled(answers=2, new=2, edited=0, deleted=0, missing=0)
    site.answer(pushed[0], "dog")
    assert pull.pull(catalog.workspace, catalog.name) == Pulled(answers=3, new=1, edited=0, deleted=0, missing=0)
    site.call("DELETE", f"/api/annotations/{answer}/")
    assert pull.pull(catalog.workspace, catalog.name) == Pulled(answers=2, new=0, edited=0, deleted=1, missing=0)
    assert pull.pull(catalog.workspace, catalog.name, everything=True).deleted == 0


@pytest.mark.label_studio
def test_only_what_changed_is_asked_for(catalog: Catalog, site: Site, pushed: list[int], calls: Counter[str]) -> None:
    for task in pushed:
        site.answer(task, "cat")
    pull.pull(catalog.workspace, catalog.name)
    forget_the_overlap(catalog)
    calls.clear()
    assert pull.pull(catalog.workspace, catalog.name).answers == 3
    assert calls["tasks"] == 0
    site.answer(pushed[1], "dog")
    assert pull.pull(catalog.workspace, catalog.name).new == 1
    assert calls["tasks"] == 1
    assert pull.pull(catalog.workspace, catalog.name, everything=True).answers == 4
    assert calls["tasks"] == 4


def forget_the_overlap(catalog: Catalog) -> None:
    """Say that the newest change was seen as long ago as a pull looks back."""
    with catalog.workspace.database.write() as session:
        campaign = session.scalars(select(Campaign)).one()
        assert campaign.ls_sync is not None
        since = datetime.strptime(campaign.ls_sync["since"], label_studio.MOMENT) + pull._OVERLAP
        campaign.ls_sync = {**campaign.ls_sync, "since": since.strftime(label_studio.MOMENT)}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many tasks a pull was sent."""
    counted: Counter[str] = Counter()
    annotated = LabelStudio.annotated

    def count(self: LabelStudio, *arguments: Any, **named: Any) -> Iterator[list[AnnotatedTask]]:
        for page in annotated(self, *arguments, **named):
            counted["tasks"] += len(page)
            yield page

    monkeypatch.setattr(LabelStudio, "annotated", count)
    return counted


@pytest.mark.label_studio
def test_what_people_do_in_label_studio_is_seen_without_listing_everything(
    catalog: Catalog, site: Site, pushed: list[int]
) -> None:
    first, second, _ = (site.answer(task, "cat") for task in pushed)
    [project] = site.projects(catalog.name)
    pull.pull(catalog.workspace, catalog.name)
    site.call("PATCH", f"/api/annotations/{first}/", json={"ground_truth": True})
    body = {"selectedItems": {"all": False, "included": [pushed[1]]}}
    site.call("POST", "/api/dm/actions", params={"id": "delete_tasks_annotations", "project": project["id"]}, json=body)
    site.call("POST", f"/api/tasks/{pushed[2]}/drafts", json={"result": DOG})  # not an answer yet
    assert pull.pull(catalog.workspace, catalog.name) == Pulled(answers=2, new=0, edited=1, deleted=1, missing=0)
    with catalog.workspace.database.read() as session:
        marked = session.scalars(select(Annotation).where(Annotation.ground_truth)).one()
        assert (marked.ls_annotation_id, marked.revision, marked.answer) == (first, 1, "cat")
        gone = session.scalars(select(Annotation).where(Annotation.deleted)).one()
        assert (gone.ls_annotation_id, gone.annotator_id) == (second, marked.annotator_id)
    site.call("DELETE", f"/api/tasks/{pushed[0]}/")
    assert pull.pull(catalog.workspace, catalog.name) == Pulled(answers=1, new=0, edited=0, deleted=1, missing=1)
    assert pull.pull(catalog.workspace, catalog.name) == Pulled(answers=1, new=0, edited=0, deleted=0, missing=1)


@pytest.mark.label_studio
def test_a_pull_that_dies_between_pages_goes_on_where_it_was(
    catalog: Catalog, site: Site, pushed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_studio, "_PAGE", 1)
    for task in pushed:
        site.answer(task, "cat")
    annotated = LabelStudio.annotated

    def die(self: LabelStudio, *arguments: Any, **named: Any) -> Iterator[list[AnnotatedTask]]:
        yield next(annotated(self, *arguments, **named))
        raise RemoteError("The line was cut.")

    with monkeypatch.context() as cut:
        cut.setattr(LabelStudio, "annotated", die)
        with pytest.raises(RemoteError, match="cut"):
            pull.pull(catalog.workspace, catalog.name)
    assert len(revisions(catalog)) == 1
    assert pull.pull(catalog.workspace, catalog.name) == Pulled(answers=3, new=2, edited=0, deleted=0, missing=0)


@pytest.mark.label_studio
def test_a_killed_pull_is_repeated_whole(catalog: Catalog, site: Site, pushed: list[int]) -> None:
    for task in pushed:
        site.answer(task, "cat")
    assert catalog.run("pull", catalog.name, fail_point="pull.before_commit")[0] == -signal.SIGKILL
    assert revisions(catalog) == []
    code, stdout, _ = catalog.run("pull", catalog.name)
    assert (code, stdout) == (0, f"{catalog.name}: 3 answers, 3 new, 0 edited, 0 deleted\n")
    assert len(revisions(catalog)) == 3


@pytest.mark.label_studio
def test_a_campaign_must_be_pushed_before_it_is_pulled(catalog: Catalog) -> None:
    catalog.campaign(1)
    with pytest.raises(InvalidInputError, match="not been pushed"):
        pull.pull(catalog.workspace, catalog.name)


@pytest.mark.label_studio
def test_another_server_at_the_same_address_empties_nothing(catalog: Catalog, site: Site, pushed: list[int]) -> None:
    site.answer(pushed[0], "cat")
    pull.pull(catalog.workspace, catalog.name)
    [project] = site.projects(catalog.name)
    site.call("PATCH", f"/api/projects/{project['id']}/", json={"description": "somebody else's"})
    with pytest.raises(RemoteError, match="no project"):
        pull.pull(catalog.workspace, catalog.name)
    assert len(revisions(catalog)) == 1


@pytest.mark.parametrize("minutes", [1, -60])
def test_an_answer_to_a_page_that_was_read_is_found_by_the_next_pull(
    build: Builder, monkeypatch: pytest.MonkeyPatch, minutes: int
) -> None:
    """A listing of six minutes: that answer comes in the first, by the server's clock, or bears an earlier moment."""
    monkeypatch.setattr(label_studio, "_PAGE", 2)
    with stand_in.serving() as server:
        catalog = Catalog(build, server)
        catalog.campaign(4)
        push.push(catalog.workspace, catalog.name, image_url=lambda image_id: f"http://127.0.0.1:1/{image_id}")
        began = datetime.now(UTC)

        def answer(task: int, minutes: int) -> None:
            server.state.create_annotation(task, asked={}, body={"result": CAT})
            moment = (began + timedelta(minutes=minutes)).strftime(label_studio.MOMENT)
            server.state.tasks[task]["updated_at"] = moment

        annotated = LabelStudio.annotated

        def slowly(self: LabelStudio, *arguments: Any, **named: Any) -> Iterator[list[AnnotatedTask]]:
            pages = annotated(self, *arguments, **named)
            yield next(pages)
            answer(1, minutes)
            answer(4, 6)
            yield from pages

        with monkeypatch.context() as slow:
            slow.setattr(LabelStudio, "annotated", slowly)
            assert pull.pull(catalog.workspace, catalog.name).answers == 1
        assert pull.pull(catalog.workspace, catalog.name).answers == 2


def test_what_others_have_in_the_project_does_not_make_every_pull_list_everything(
    build: Builder, calls: Counter[str]
) -> None:
    with stand_in.serving() as server:
        catalog = Catalog(build, server)
        catalog.campaign(2)
        push.push(catalog.workspace, catalog.name, image_url=lambda image_id: f"http://127.0.0.1:1/{image_id}")
        copy = {"data": server.state.tasks[1]["data"]}
        server.state.import_tasks(1, asked={}, body=[{"data": {"image": "somebody else's"}}, copy])
        for task in (1, 3, 3, 4):
            server.state.create_annotation(task, asked={}, body={"result": CAT})
        assert pull.pull(catalog.workspace, catalog.name).answers == 2
        forget_the_overlap(catalog)
        calls.clear()
        assert pull.pull(catalog.workspace, catalog.name).answers == 2
        assert calls["tasks"] == 0


def test_answers_that_stand_are_counted_as_they_change(build: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    with stand_in.serving() as server:
        catalog = Catalog(build, server)
        catalog.campaign(2)
        push.push(catalog.workspace, catalog.name, image_url=lambda image_id: f"http://127.0.0.1:1/{image_id}")
        state = server.state
        for task in (1, 1, 2):
            state.create_annotation(task, asked={}, body={"result": CAT})
        assert pull.pull(catalog.workspace, catalog.name).answers == 3

        def refuse(*of_tasks: Any) -> None:
            raise AssertionError("They were counted one by one.")

        monkeypatch.setattr(campaigns, "standing_annotations", refuse)
        assert pull.pull(catalog.workspace, catalog.name).answers == 3
        state.update_annotation(1, asked={}, body={"result": DOG})
        back = state.annotations[2]
        state.delete_annotation(2, asked={}, body=None)
        state.create_annotation(2, asked={}, body={"result": CAT})
        state.create_annotation(2, asked={}, body={"result": CAT})
        assert pull.pull(catalog.workspace, catalog.name) == Pulled(answers=4, new=2, edited=1, deleted=1, missing=0)
        state.annotations[2] = back
        state.tasks[1]["annotations"].append(2)
        state.update_annotation(2, asked={}, body={})  # it came back, as after a restore
        assert pull.pull(catalog.workspace, catalog.name) == Pulled(answers=5, new=0, edited=1, deleted=0, missing=0)
        monkeypatch.undo()
        assert pull.pull(catalog.workspace, catalog.name, everything=True).answers == 5


def test_a_deleted_task_that_a_strangers_one_hides_is_missed_within_a_day(build: Builder) -> None:
    with stand_in.serving() as server:
        catalog = Catalog(build, server)
        catalog.campaign(3)
        push.push(catalog.workspace, catalog.name, image_url=lambda image_id: f"http://127.0.0.1:1/{image_id}")
        assert pull.pull(catalog.workspace, catalog.name).missing == 0
        server.state.delete_task(1, asked={}, body=None)
        server.state.import_tasks(1, asked={}, body=[{"data": {"image": "somebody else's"}}])
        assert pull.pull(catalog.workspace, catalog.name).missing == 0
        with catalog.workspace.database.write() as session:
            campaign = session.scalars(select(Campaign)).one()
            assert campaign.ls_sync is not None
            campaign.ls_sync = {**campaign.ls_sync, "listed_at": (now() - timedelta(days=1)).isoformat()}
        assert pull.pull(catalog.workspace, catalog.name).missing == 1


def test_what_regions_say_is_read_once_when_they_are_pulled(build: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    with stand_in.serving() as server:
        catalog = Catalog(build, server)
        definition = Definition("masks", (ClassDefinition("cell"),))
        taxonomy.create(catalog.workspace, "cells", definition)
        catalog.campaign(2, taxonomy="cells")
        push.push(catalog.workspace, catalog.name, image_url=lambda image_id: f"http://127.0.0.1:1/{image_id}")
        drawn = Content(regions=(Region("r", Mask.of(np.eye(8, dtype=np.bool_)), ("cell",)),))
        said = results.write(drawn, definition, ImageSize(8, 8))
        server.state.create_annotation(1, asked={}, body={"result": said})
        server.state.create_annotation(1, asked={}, body={"result": [], "was_cancelled": True})

        def contents() -> list[str | None]:
            with catalog.workspace.database.read() as session:
                return list(session.scalars(select(Annotation.content).order_by(Annotation.id)))

        pull.pull(catalog.workspace, catalog.name)
        assert contents() == [content.to_json(content.essence(drawn)), None]
        server.state.update_annotation(1, asked={}, body={"result": []})
        pull.pull(catalog.workspace, catalog.name)
        before = contents()
        assert before[2] == content.to_json(Content())

        with catalog.workspace.database.write() as session:  # as they were before that was kept
            session.execute(update(Annotation).values(content=None))
        monkeypatch.setattr(pull, "_TASKS_A_QUERY", 1)
        pull.pull(catalog.workspace, catalog.name)
        assert contents() == before


def test_the_reason_of_an_adjudicator_is_no_part_of_what_their_answer_says(build: Builder) -> None:
    with stand_in.serving() as server:
        catalog = Catalog(build, server)
        definition = Definition("boxes", (ClassDefinition("cell"),))
        taxonomy.create(catalog.workspace, "cells", definition)
        [image] = catalog.campaign(1, taxonomy="cells")
        name = f"{catalog.name}-adjudication"
        build.plan_adjudication(name, parent=catalog.name, image_ids=[image], vendor="acme")
        push.push(catalog.workspace, name, image_url=lambda image_id: f"http://127.0.0.1:1/{image_id}")
        why = {"from_name": "reason", "to_name": "image", "type": "choices", "value": {"choices": ["bad-image"]}}
        server.state.create_annotation(1, asked={}, body={"result": [why]})
        pull.pull(catalog.workspace, name)
        with catalog.workspace.database.read() as session:
            assert session.scalars(select(Annotation.content)).one() == content.to_json(Content())
