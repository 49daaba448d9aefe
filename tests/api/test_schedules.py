from dataclasses import replace
from typing import Any

import pytest

from api import jobs, schedules
from api.schedules import CampaignTerms
from labeling import vendors
from store import schema
from store.errors import ConflictError, InvalidInputError, NotFoundError
from store.workspace import Workspace

TERMS = CampaignTerms("animals", "studio", "http://127.0.0.1:8765")
RECIPE = {"budget": 5, "strategy": "typiclust"}


@pytest.mark.parametrize("cron", ["", "never", "61 * * * *", "* * *", "* * * * * * * *"])
def test_what_is_no_cron_expression_is_refused(workspace: Workspace, cron: str) -> None:
    with pytest.raises(InvalidInputError, match="is no cron expression"):
        schedules.add(workspace, "weekly", cron=cron, recipe=RECIPE)


@pytest.mark.parametrize("name", ["", "-x", "a b", "../x", "a\n", "é", "a" * 65])
def test_a_name_is_plain(workspace: Workspace, name: str) -> None:
    with pytest.raises(InvalidInputError, match="cannot name a schedule"):
        schedules.add(workspace, name, cron="* * * * *", recipe=RECIPE)


def test_a_recipe_is_checked_when_it_is_given(workspace: Workspace) -> None:
    with pytest.raises(InvalidInputError, match="budget"):
        schedules.add(workspace, "weekly", cron="* * * * *", recipe={"budget": 0})
    assert schedules.load(workspace) == []


def test_a_name_is_given_once_and_must_exist(workspace: Workspace) -> None:
    schedules.add(workspace, "weekly", cron="* * * * *", recipe=RECIPE)
    with pytest.raises(ConflictError, match="weekly already"):
        schedules.add(workspace, "weekly", cron="* * * * *", recipe=RECIPE)
    for act in (schedules.run, schedules.find):
        with pytest.raises(NotFoundError, match="no schedule nightly"):
            act(workspace, "nightly")
    with pytest.raises(NotFoundError):
        schedules.set_paused(workspace, "nightly", paused=True)


def test_pausing_is_remembered_and_asking_by_hand_still_works(workspace: Workspace) -> None:
    schedules.add(workspace, "weekly", cron="* * * * *", recipe=RECIPE)
    assert schedules.set_paused(workspace, "weekly", paused=True).paused
    assert schedules.find(workspace, "weekly").paused
    job = jobs.find(workspace, schedules.run(workspace, "weekly"))
    assert (job.schedule, job.state) == ("weekly", "waiting")
    assert not schedules.set_paused(workspace, "weekly", paused=False).paused


@pytest.fixture
def studio(workspace: Workspace, build: Any) -> None:
    """A taxonomy and a vendor to label under."""
    build.taxonomy()
    vendors.add(workspace, "studio", url="http://127.0.0.1:1", token="env:TOKEN")


@pytest.mark.usefixtures("studio")
def test_the_terms_and_limits_of_a_campaign_are_kept(workspace: Workspace) -> None:
    with workspace.database.write() as session:
        session.add(schema.PredictionRun(model="probe", digest="0" * 64, classes=["cat"], report={}))
    terms = replace(TERMS, overlap=3, predictions="probe")
    schedules.add(workspace, "weekly", cron="* * * * *", recipe=RECIPE, campaign=terms, capacity=5, min_drift=0.6)
    schedules.add(workspace, "bare", cron="* * * * *", recipe=RECIPE)
    bare, weekly = (schedules.document(schedule) for schedule in schedules.load(workspace))
    assert weekly == {
        "name": "weekly",
        "cron": "* * * * *",
        "recipe": RECIPE,
        "campaign": {
            "taxonomy": "animals",
            "vendor": "studio",
            "image_base_url": "http://127.0.0.1:8765",
            "overlap": 3,
            "predictions": "probe",
        },
        "capacity": 5,
        "min_drift": 0.6,
        "paused": False,
    }
    assert (bare["campaign"], bare["capacity"], bare["min_drift"]) == (None, None, None)


@pytest.mark.usefixtures("studio")
@pytest.mark.parametrize(
    ("terms", "error", "sentence"),
    [
        (replace(TERMS, taxonomy="plants"), NotFoundError, "no taxonomy called 'plants'"),
        (replace(TERMS, vendor="nobody"), NotFoundError, "no vendor called 'nobody'"),
        (replace(TERMS, image_base_url="127.0.0.1:8765"), InvalidInputError, "is not the address of a winnow serve"),
        (replace(TERMS, image_base_url="http://me:secret@127.0.0.1"), InvalidInputError, "holds a login"),
        (replace(TERMS, overlap=0), InvalidInputError, "one answer or more, not 0"),
        (replace(TERMS, predictions="probe"), NotFoundError, "no predictions of 'probe'"),
    ],
)
def test_terms_are_checked_when_they_are_given(
    workspace: Workspace, terms: CampaignTerms, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence) as raised:
        schedules.add(workspace, "weekly", cron="* * * * *", recipe=RECIPE, campaign=terms)
    assert "secret" not in str(raised.value)
    assert schedules.load(workspace) == []


@pytest.mark.usefixtures("studio")
@pytest.mark.parametrize(
    ("terms", "limits", "sentence"),
    [
        (None, {"capacity": 10}, "A capacity is a vendor's"),
        (TERMS, {"capacity": 4}, "A capacity of 4 never has room for the 5 the recipe asks for"),
        (None, {"min_drift": 0.4}, "not 0.4"),
        (None, {"min_drift": 1.01}, "not 1.01"),
        (None, {"min_drift": float("nan")}, "not nan"),
    ],
)
def test_limits_are_checked_when_they_are_given(
    workspace: Workspace, terms: CampaignTerms | None, limits: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InvalidInputError, match=sentence):
        schedules.add(workspace, "weekly", cron="* * * * *", recipe=RECIPE, campaign=terms, **limits)
    assert schedules.load(workspace) == []


@pytest.mark.usefixtures("studio")
def test_a_sum_of_money_cannot_be_compared_with_a_capacity(workspace: Workspace) -> None:
    recipe = {"money": 10, "cost": 0.5}
    with pytest.raises(InvalidInputError, match="needs a budget"):
        schedules.add(workspace, "weekly", cron="* * * * *", recipe=recipe, campaign=TERMS, capacity=100)
    assert schedules.add(workspace, "weekly", cron="* * * * *", recipe=recipe, campaign=TERMS).capacity is None


def test_a_removed_schedule_is_gone_its_jobs_are_not_and_its_name_is_free(workspace: Workspace) -> None:
    schedules.add(workspace, "weekly", cron="* * * * *", recipe=RECIPE)
    job = schedules.run(workspace, "weekly")
    schedules.remove(workspace, "weekly")
    assert schedules.load(workspace) == []
    assert jobs.find(workspace, job).schedule == "weekly"
    with pytest.raises(NotFoundError, match="no schedule weekly"):
        schedules.remove(workspace, "weekly")
    schedules.add(workspace, "weekly", cron="* * * * *", recipe=RECIPE)
