"""`campaign` and `vendor`: what they print for programs and for people."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from api.cli.main import app
from labeling import vendors
from store.errors import InvalidInputError, NotFoundError
from store.schema import now
from store.workspace import Workspace


@pytest.fixture
def winnow(workspace: Workspace, build: Any) -> Any:
    """Runs a command in a catalog with a batch of ten images; gives what people see, and the document."""
    build.taxonomy()
    images = build.images(10)
    build.batch(images, arms=["gold", *["random", "diverse"] * 4, "diverse"])
    for name in ("a", "b"):
        prices, capacity = {"classification": 0.5}, 3
        vendors.add(workspace, name, url="http://127.0.0.1:1", token="env:NO_TOKEN", prices=prices, capacity=capacity)

    def run(*arguments: str) -> tuple[str, Any]:
        printed = []
        for command in (arguments, (*arguments, "--json")):
            result = CliRunner().invoke(app, ["--home", str(workspace.home), *command], catch_exceptions=False)
            assert result.exit_code == 0, result.output
            printed.append(result.stdout)
        return printed[0], json.loads(printed[1])

    return run


CREATE = ("campaign", "create", "one", "--batch", "1", "--taxonomy", "animals")


def test_shares_of_a_batch(winnow: Any) -> None:
    text, document = winnow(*CREATE, "--vendor", "a=2/3", "--vendor", "b=1/3")
    bare = "1 picked as gold have no label under 'animals': they are items like others.\n"
    assert text == f"one-a: 7 tasks planned for a\n{bare}one-b: 4 tasks planned for b\n{bare}"
    assert [each["unlabelled_gold"] for each in document["campaigns"]] == [1, 1]
    assert [each["name"] for each in document["campaigns"]] == ["one-a", "one-b"]
    text, document = winnow(*CREATE[:2], "two", *CREATE[3:], "--vendor", "a", "--where", "id <= 4")
    [first, second] = text.splitlines()[0].split("; ")[1:]
    assert (first.endswith("in one-a too"), second.endswith("in one-b too")) == (True, True)
    assert (document["items"], sum(document["shared_items"].values())) == (4, 3)


@pytest.mark.parametrize("command", ["push", "pull", "status", "close"])
def test_campaigns_that_begin_like_one_that_is_not_there_are_suggested(
    workspace: Workspace, winnow: Any, command: str
) -> None:
    winnow(*CREATE, "--vendor", "a=0.5", "--vendor", "b=0.5")
    winnow(*CREATE[:2], "o_e", *CREATE[3:], "--vendor", "a")

    def refusal(name: str) -> str:
        with pytest.raises(NotFoundError) as caught:
            CliRunner().invoke(app, ["--home", str(workspace.home), "campaign", command, name], catch_exceptions=False)
        return str(caught.value)

    assert refusal("one") == "There is no campaign called 'one', but one-a and one-b. See: winnow campaign list."
    assert refusal("o_") == "There is no campaign called 'o_', but o_e. See: winnow campaign list."
    assert refusal("two") == "There is no campaign called 'two'. See: winnow campaign list."


def test_three_of_many_neighbours_are_named(winnow: Any) -> None:
    for name in ("two", "three", "four", "five", "six"):
        winnow(*CREATE[:2], name, *CREATE[3:], "--vendor", "a")
    text, document = winnow(*CREATE, "--vendor", "a")
    assert text.splitlines()[0] == (
        "one: 10 tasks planned for a; 9 of its items are in two too; 9 of its items are in three too; "
        "9 of its items are in four too; and some in 2 more campaigns"
    )
    assert len(document["shared_items"]) == 5


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (("a=x",), "not of the form VENDOR=SHARE"),
        (("a=1/0",), "not of the form VENDOR=SHARE"),
        (("a=0.5", "b=0.6"), r"The shares 0\.5 \+ 0\.6 make 1\.1"),
        (("a", "a=0.5"), "names 'a' twice"),
    ],
)
def test_shares_that_are_none(workspace: Workspace, winnow: Any, said: tuple[str, ...], sentence: str) -> None:
    options = [word for each in said for word in ("--vendor", each)]
    with pytest.raises(InvalidInputError, match=sentence):
        CliRunner().invoke(app, ["--home", str(workspace.home), *CREATE, *options], catch_exceptions=False)


@pytest.mark.parametrize(("overlap", "warns"), [("1", True), ("2", False), ("adaptive", False)])
def test_that_one_answer_is_not_accepted_alone_is_said_beforehand(
    workspace: Workspace, winnow: Any, overlap: str, warns: bool
) -> None:
    command = ["--home", str(workspace.home), *CREATE, "--vendor", "a", "--overlap", overlap]
    found = CliRunner().invoke(app, command, catch_exceptions=False)
    assert ("all items go to an expert" in found.stderr) == warns
    assert "expert" not in found.stdout


def test_a_review_says_why_one_answer_was_not_enough(winnow: Any, build: Any) -> None:
    winnow(*CREATE, "--vendor", "a", "--overlap", "1")
    build.answers(1, {"ann": ["cat", "dog"] * 5})
    text, document = winnow("qa", "review", "one")
    assert document["outcomes"] == {"adjudication": 10}
    assert (document["accept_at"], 0.5 < document["too_unsure"] < 0.9) == (0.9, True)
    assert f"no item surer than {document['too_unsure']:.3f}, and they are accepted from 0.9 on" in text
    text, document = winnow("qa", "review", "one", "--accept-at", "0.7")
    assert document["outcomes"] == {"accepted": 10}
    assert (document["too_unsure"], "surer" in text) == (None, False)


def test_an_adaptive_campaign(winnow: Any) -> None:
    adaptive = ("--overlap", "adaptive", "--most-answers", "4", "--adjudication-cost", "2.5")
    text, document = winnow(*CREATE, "--vendor", "a", *adaptive)
    assert text.splitlines()[0] == "one: 10 tasks planned for a"
    assert document["overlap"] == 1
    assert document["adaptive"] == {
        "target_error": 0.06,
        "most_answers": 4,
        "adjudication_cost": 2.5,
        "audited": 0.02,
    }
    assert "overlap adaptive to an error of 0.06, 4 at most; planned" in winnow("campaign", "status", "one")[0]
    text, document = winnow("qa", "review", "one")
    assert text == "one: 10 items, 10 another-opinion; 0 new labels; heard people alone\n"
    assert document["offered"] == {"more": 0, "fewer": 0}


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (("--overlap", "often"), "--overlap is a number of answers or the word adaptive, not 'often'"),
        (("--overlap", "0"), "one answer or more, not 0"),
        (("--target-error", "0.1"), "--target-error is of adaptive campaigns: say --overlap adaptive too"),
        (("--overlap", "adaptive", "--target-error", "6"), "a share between 0 and 1, not 6.0"),
        (("--overlap", "adaptive", "--most-answers", "0"), "0 were allowed"),
        (("--overlap", "adaptive", "--adjudication-cost", "3"), "'c' has none: winnow vendor add c --price"),
    ],
)
def test_overlaps_that_are_none(workspace: Workspace, winnow: Any, said: tuple[str, ...], sentence: str) -> None:
    vendors.add(workspace, "c", url="http://127.0.0.1:1", token="env:NO_TOKEN")
    with pytest.raises(InvalidInputError, match=sentence):
        CliRunner().invoke(
            app, ["--home", str(workspace.home), *CREATE, "--vendor", "c", *said], catch_exceptions=False
        )


def test_a_campaigns_status_is_one_screen_whatever_the_server_does(
    workspace: Workspace, build: Any, winnow: Any
) -> None:
    campaign = build.campaign(1, 1)
    build.answers(campaign, {"ada": ["cat"] * 5 + [None] * 5, "ben": ["cat"] * 2 + [None] * 8})
    text, document = winnow("campaign", "status", "campaign-1")
    assert text.splitlines() == [
        "campaign-1: labelling of batch 1 by a, animals revision 1, overlap 2; open",
        "  items     10: 0 planned, 10 pushed",
        "  work      3 in work, 2 answered; 0 escalated, 0 accepted",
        "  answers   7, 0 of them skips; 7.0 an hour over the last day of activity",
        "  cost      3.50 so far, 10.00 at the end; 0.5 an answer",
        f"  end       {document['outlook']}",
        "  vendor    8 of 3 tasks in flight",
        "  In Label Studio: The Label Studio token should be in the environment variable NO_TOKEN: set it.",
    ]
    assert (document["drift"], document["trouble"][:23]) == (None, "The Label Studio token ")
    assert document["outlook"].startswith("at this rate done on 20")
    listed, documents = winnow("campaign", "list")
    assert "at this rate done on" in listed
    assert documents["campaigns"][0]["in_work"] == 3


def test_the_kind_that_has_no_price_is_named(workspace: Workspace, winnow: Any) -> None:
    vendors.add(workspace, "c", url="http://127.0.0.1:1", token="env:NO_TOKEN", prices={"boxes": 0.5})
    _, document = winnow(*CREATE, "--vendor", "c")
    assert document["task_kind"] == "classification"
    assert "c has no price for classification: winnow vendor add" in winnow("campaign", "status", "one")[0]


def test_pauses_and_ends_are_said(winnow: Any) -> None:
    winnow(*CREATE, "--vendor", "a", "--deadline", "2020-12-24")
    assert winnow("campaign", "pause", "one")[0] == "one is paused\n"
    text, document = winnow("campaign", "status", "one")
    assert "late by " in text
    assert (document["state"], document["deadline"]) == ("paused", "2020-12-24")
    assert winnow("campaign", "resume", "one")[0] == "one is planned\n"
    text, document = winnow("campaign", "cancel", "one")
    assert text == "one is cancelled: 10 unanswered tasks withdrawn, 0 with answers kept\n"
    assert document == {"withdrawn": 10, "kept": 0}
    assert winnow("campaign", "close", "one")[0] == "one is cancelled\n"
    winnow(*CREATE[:2], "two", *CREATE[3:], "--vendor", "a")
    assert winnow("campaign", "close", "two")[0] == "two is closed\n"


def test_a_deadline_that_is_past_is_said(workspace: Workspace, winnow: Any) -> None:
    def warned(day: str) -> str:
        options = ("--vendor", "a", "--deadline", day)
        return CliRunner().invoke(app, ["--home", str(workspace.home), *CREATE, *options]).stderr

    assert winnow("campaign", "list")[1] == {"campaigns": []}
    assert warned("2020-12-24") == "The deadline 2020-12-24 is past: the same command with a later one moves it.\n"
    assert warned(f"{now():%Y-%m-%d}") == warned("9999-12-31") == ""


def test_vendors_show_what_they_have_in_flight(build: Any, winnow: Any) -> None:
    build.campaign(1, 1)
    text, document = winnow("vendor", "list")
    assert [line.split()[-2:] for line in text.splitlines()[1:]] == [["3", "10"], ["3", "0"]]
    assert [(each["capacity"], each["in_flight"]) for each in document["vendors"]] == [(3, 10), (3, 0)]
