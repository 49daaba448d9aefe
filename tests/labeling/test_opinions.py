"""Another opinion is really asked for: the queue of the real Label Studio offers a task to one more person."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from sqlalchemy import select

from api.demo.label_studio_server import LabelStudioServer
from api.demo.people import Person
from labeling import campaigns, opinions, pull, results, taxonomy
from labeling.content import Content, Region
from labeling.definitions import ClassDefinition, Definition
from labeling.geometry import Box
from labeling.opinions import Offered
from labeling.results import ImageSize
from qa import adjudication, verdicts
from store.schema import Annotator
from tests.labeling.conftest import Catalog, Site
from tests.labeling.team import ITEMS, Team, adaptive

pytestmark = pytest.mark.label_studio


@pytest.fixture
def team(label_studio: LabelStudioServer, catalog: Catalog) -> Iterator[Team]:
    with ExitStack() as stack:
        yield Team(label_studio, [f"{name}-{catalog.name[-40:]}" for name in ("ann", "bob", "cleo")], stack)


def review(catalog: Catalog) -> tuple[dict[str, int], Offered]:
    pull.pull(catalog.workspace, catalog.name)
    summary = verdicts.review(catalog.workspace, catalog.name)
    offered = opinions.offer(catalog.workspace, catalog.name)
    assert opinions.offer(catalog.workspace, catalog.name) == Offered(0, 0)
    return summary.outcomes, offered


def test_one_answer_each_is_asked_for_and_what_one_person_did_alone_is_offered_to_colleagues(
    catalog: Catalog, team: Team
) -> None:
    project = adaptive(catalog)
    ann, bob, _ = team.sessions
    assert len(team.work(ann, project, {})) == ITEMS
    assert [team.offered(name, project) for name in team.sessions] == [None] * 3
    assert review(catalog) == ({"another-opinion": ITEMS}, Offered(more=ITEMS, fewer=0))
    assert team.offered(ann, project) is None
    assert len(team.work(bob, project, {})) == ITEMS


def test_a_second_person_is_offered_what_is_doubtful_and_a_third_what_is_disputed(
    catalog: Catalog, site: Site, team: Team
) -> None:
    project = adaptive(catalog, target_error=0.03)
    ann, bob, cleo = team.sessions
    mine = team.work(ann, project, {}, most=3)
    others = team.work(bob, project, {})
    assert (len(mine), len(others)) == (3, 3)
    outcomes, offered = review(catalog)
    assert (outcomes, offered) == ({"another-opinion": ITEMS}, Offered(more=ITEMS, fewer=0))
    assert {task["overlap"] for task in site.tasks(catalog.name)} == {2}

    disputed = others[0]
    assert team.work(ann, project, {disputed: "dog"}) == others  # theirs are offered, her own never again
    assert sorted(team.work(bob, project, {})) == mine
    assert team.offered(cleo, project) is None  # each has the two answers that were asked for
    outcomes, offered = review(catalog)
    assert outcomes == {"accepted": ITEMS - 1, "adjudication": 1}  # nobody else is known
    summary = adjudication.open_campaign(catalog.workspace, catalog.name)
    assert (summary.opened, summary.items) == (f"{catalog.name}-adjudication", 1)


def test_a_task_is_taken_back_when_it_is_believed_after_all_and_again_after_a_kill(
    catalog: Catalog, site: Site, team: Team
) -> None:
    project = adaptive(catalog)
    ann, bob, cleo = team.sessions
    team.work(ann, project, {}, most=3)
    team.work(bob, project, {})
    pull.pull(catalog.workspace, catalog.name)
    verdicts.review(catalog.workspace, catalog.name)
    code, _, _ = catalog.run("pull", catalog.name, fail_point="offer.after_request")
    assert code != 0
    assert sorted(task["overlap"] for task in site.tasks(catalog.name)) == [1] * (ITEMS - 1) + [2]
    assert catalog.run("pull", catalog.name)[0] == 0
    assert {task["overlap"] for task in site.tasks(catalog.name)} == {2}

    campaigns.set_paused(catalog.workspace, catalog.name, paused=True)
    assert opinions.offer(catalog.workspace, catalog.name) == Offered(0, 0)
    campaigns.set_paused(catalog.workspace, catalog.name, paused=False)
    with catalog.workspace.database.write() as session:
        for person in session.scalars(select(Annotator)):
            person.gone = True  # nobody is left to ask
    verdicts.review(catalog.workspace, catalog.name)
    assert opinions.offer(catalog.workspace, catalog.name) == Offered(more=0, fewer=ITEMS)
    assert team.offered(cleo, project) is None


def test_another_person_is_offered_a_drawing_that_two_disagree_on_and_none_that_they_agree_on(
    catalog: Catalog, site: Site, team: Team
) -> None:
    traffic = Definition("boxes", (ClassDefinition("car"), ClassDefinition("bus")))
    taxonomy.create(catalog.workspace, "traffic", traffic)
    project = adaptive(catalog, taxonomy="traffic", target_error=0.05)
    ann, bob, cleo = team.sessions
    car, bus = (
        results.write(Content(regions=(Region("r", box, (name,)),)), traffic, ImageSize(8, 8))
        for box, name in ((Box(1, 2, 4, 2), "car"), (Box(4, 5, 3, 3), "bus"))
    )
    disputed, *_ = team.work(ann, project, {}, most=3, usually=car)
    team.work(bob, project, {}, most=2, usually=car)
    team.work(cleo, project, {}, usually=car)
    assert review(catalog) == ({"another-opinion": ITEMS}, Offered(more=ITEMS, fewer=0))

    team.work(ann, project, {}, usually=car)
    team.work(bob, project, {disputed: bus}, usually=car)
    assert {task["total_annotations"] for task in site.tasks(catalog.name)} == {2}
    assert review(catalog) == ({"accepted": ITEMS - 1, "another-opinion": 1}, Offered(more=1, fewer=0))
    assert [team.offered(name, project) for name in (ann, bob, cleo)] == [None, None, disputed]
    asked = verdicts.review(catalog.workspace, catalog.name).opinions
    assert [each.ask for each in asked] == [Person(cleo, 1).email]

    team.work(cleo, project, {}, usually=car)
    assert review(catalog) == ({"accepted": ITEMS}, Offered(0, 0))


def test_who_skips_is_not_asked_again_and_who_left_is_noticed(catalog: Catalog, site: Site, team: Team) -> None:
    project = adaptive(catalog)
    ann, bob, cleo = team.sessions
    tasks = [task["id"] for task in site.tasks(catalog.name)]
    team.work(ann, project, {tasks[0]: None}, most=3)
    assert tasks[0] in team.work(bob, project, {tasks[0]: None})
    team.work(cleo, project, {tasks[0]: None}, most=1)
    assert [team.offered(name, project) for name in (ann, bob, cleo)] == [None] * 3
    outcomes, _ = review(catalog)
    assert outcomes == {"adjudication": 1, "another-opinion": ITEMS - 1}  # everybody skipped the first

    site.call("DELETE", f"/api/users/{team.id(cleo)}/")
    site.call("DELETE", f"/api/organizations/1/memberships/{team.id(bob)}/")
    outcomes, _ = review(catalog)
    with catalog.workspace.database.read() as session:
        gone = dict(session.execute(select(Annotator.name, Annotator.gone)).all())
    assert gone == {Person(name, 1).email: name != ann for name in (ann, bob, cleo)}
    assert outcomes["adjudication"] >= 3  # what ann has seen, and nobody else is left to see
