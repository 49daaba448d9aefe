"""The page on which an expert decides: what it shows and hides, what it keeps, and by keyboard in a real browser."""

import os
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from sqlalchemy import select

from api import adjudication_page
from labeling.content import Content, ImageChoice, Region, essence, to_json
from labeling.geometry import Box
from qa import adjudication, answers, label_errors, ledger, questions, verdicts
from qa.questions import Question
from store.schema import Decision, ImageId, Label, Sighting
from store.workspace import Workspace

NAME = "campaign-1"


@pytest.fixture
def disputed(workspace: Workspace, build: Any, photos: Any) -> list[ImageId]:
    """Two photos about which ann and bob differ, after ten on which they agree."""
    images = build.images(10)
    images += [photos.add("first.png", "teal", size=(400, 300)), photos.add("second.png", "olive", size=(300, 400))]
    campaign_id = build.campaign(build.batch(images), build.taxonomy(("cat", "dog", "fox")))
    agreed = ["cat"] * 5 + ["dog"] * 5
    build.answers(campaign_id, {"ann": [*agreed, "dog", "fox"], "bob": [*agreed, "cat", "cat"]})
    verdicts.review(workspace, NAME)
    return images[10:]


@pytest.fixture
def post(client: Any, workspace: Workspace) -> Callable[..., Any]:
    def send(task: int, *, token: str | None = None, **said: Any) -> Any:
        body = {"campaign": NAME, "task": task, "answer": "dog", "reason": "bad-image", "author": "eve"} | said
        headers = {adjudication_page.HEADER: adjudication_page.token(workspace) if token is None else token}
        return client.post("/v1/decisions", json=body, headers=headers)

    return send


def kept(workspace: Workspace) -> list[tuple[int, str | None, str, str]]:
    with workspace.database.read() as session:
        rows = session.scalars(select(Decision).order_by(Decision.id))
        return [(row.task_id, row.answer, row.reason, row.author) for row in rows]


@pytest.mark.usefixtures("build")
def test_an_empty_queue_says_so(client: Any) -> None:
    answer = client.get("/adjudication")
    assert answer.status_code == 200
    assert "The queue is empty" in answer.text


@pytest.mark.usefixtures("disputed")
def test_the_page_shows_answers_and_hides_who_gave_them(client: Any) -> None:
    text = client.get("/adjudication").text
    assert "item 1 of 2" in text
    assert text.count("1 said so") == 2
    for name in ("ann", "bob"):
        assert f">{name}<" not in text
        assert f"{name} " not in text
    assert client.get("/adjudication?task=12").text.count("item 2 of 2") == 1
    assert client.get("/adjudication?task=999").text.count("item 1 of 2") == 1  # what has left the queue
    assert client.get("/adjudication?campaign=none").status_code == 404
    assert len(client.get("/v1/queue").json()["items"]) == 2


@pytest.mark.usefixtures("disputed")
def test_an_item_is_shown_without_reading_what_was_said_of_others(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("Everything was read.")

    for module, name in ((questions, "ask"), (answers, "read"), (ledger, "newest")):
        monkeypatch.setattr(module, name, refuse)
    assert "item 2 of 2" in client.get(f"/adjudication?campaign={NAME}&task=12").text


def test_questions_to_the_guideline_have_a_page_of_their_own(
    client: Any, monkeypatch: pytest.MonkeyPatch, disputed: list[ImageId]
) -> None:
    assert f'href="/questions?campaign={NAME}"' in client.get(f"/adjudication?campaign={NAME}").text
    assert "No classes are confused" in client.get(f"/questions?campaign={NAME}").text
    assert client.get("/questions?campaign=none").status_code == 404
    asked = Question(
        taxonomy="animals",
        classes=("cat", "dog"),
        text="Is 'cat' or 'dog' meant?",
        items=2,
        people=2,
        expected=0.1,
        p_value=0.001,
        alpha=0.5,
        unclear=0,
        images=[disputed[0]],
        descriptions={"cat": "It meows.", "dog": ""},
        guideline="",
    )
    monkeypatch.setattr(questions, "ask", lambda *_: [asked])
    text = client.get("/questions").text
    for part in ("Is &#39;cat&#39; or &#39;dog&#39; meant?", "It meows.", "The taxonomy says nothing about it."):
        assert part in text
    assert f"/thumbnails/{disputed[0]}.jpg" in text


def test_the_page_of_a_campaign_of_boxes_asks_no_questions(client: Any, workspace: Workspace, build: Any) -> None:
    campaign_id = build.campaign(build.batch(build.images(1)), build.taxonomy(kind="boxes"))
    build.answers(
        campaign_id, {"ann": [Content(regions=(Region("a", Box(1, 1, 5, 5), ("cat",)),))], "bob": [Content()]}
    )
    verdicts.review(workspace, NAME)
    shown = client.get(f"/adjudication?campaign={NAME}")
    assert (shown.status_code, "/questions" in shown.text) == (200, False)


def test_a_suspect_of_several_classes_is_told_with_what_it_might_be(
    client: Any, workspace: Workspace, build: Any, post: Callable[..., Any]
) -> None:
    images = build.images(2)
    build.taxonomy(("cat", "dog"), kind="multilabel")
    one, both = (to_json(Content(choice=ImageChoice(names))) for names in (("cat",), ("cat", "dog")))
    build.labels({images[0]: one, images[1]: both})
    build.vectors(images, np.eye(2))
    build.duplicates(images)
    assert label_errors.scan(workspace).candidates == 2
    text = client.get("/adjudication?task=1").text
    assert "&#39;dog&#39; is probably missing: the same picture, image 2, is labelled with it." in text
    assert "The label in force is <b>cat</b>." in text
    assert "</kbd> cat</button>" in text
    assert "</kbd> cat, dog</button>" in text
    assert "answer in Label Studio: <code>winnow qa adjudicate campaign-1 --label-errors 1</code>" in text
    assert adjudication.open_campaign(workspace, NAME, label_errors_too=1).items == 1
    assert "answer in Label Studio, in campaign-1-adjudication" in client.get("/adjudication?task=1").text
    other = to_json(Content(choice=ImageChoice(("dog",))))
    for answer in ("dog", other):
        assert "decide for one of the suggestions of winnow qa queue campaign-1 --json" in post(1, answer=answer).text
    assert post(1, answer=None).status_code == 201  # it cannot be decided
    assert post(1, answer=both).json()["words"] == "cat, dog"
    assert kept(workspace) == [(1, None, "bad-image", "eve"), (1, both, "bad-image", "eve")]


def test_a_decision_is_kept_only_from_a_page_of_ours(
    workspace: Workspace, post: Callable[..., Any], disputed: list[ImageId]
) -> None:
    for token in ("", "0" * 64, "ä"):
        refused = post(11, token=token.encode() if token == "ä" else token)
        assert refused.status_code == 403
    assert kept(workspace) == []
    made = post(11)
    assert (made.status_code, made.json()["image"]) == (201, disputed[0])
    assert kept(workspace) == [(11, "dog", "bad-image", "eve")]


@pytest.mark.usefixtures("disputed")
@pytest.mark.parametrize(
    ("said", "status", "sentence"),
    [
        ({"answer": "cow"}, 422, "'cow' is no class"),
        ({"reason": "because"}, 422, "is no reason"),
        ({"answer": None, "reason": "annotator-mistake"}, 422, "Without a class the reason is one of"),
        ({"author": ""}, 422, "whose it is"),
        ({"task": 999}, 404, "has no item"),
        ({"task": "x"}, 422, "The request cannot be used"),
        ({"other": 1}, 422, "The request cannot be used"),
    ],
)
def test_what_cannot_be_kept_is_a_sentence(
    workspace: Workspace, post: Callable[..., Any], said: dict[str, Any], status: int, sentence: str
) -> None:
    answer = post(**{"task": 11, **said})
    assert answer.status_code == status
    assert sentence in answer.json()["error"]
    assert kept(workspace) == []


def through(page: Any, client: Any) -> list[str]:
    """Have a page ask the client instead of a server; what its console complains of."""

    def answer(route: Any) -> None:
        asked = urlsplit(route.request.url)
        given = client.request(
            route.request.method,
            f"{asked.path}?{asked.query}",
            content=route.request.post_data,
            headers=route.request.headers,
        )
        route.fulfill(status=given.status_code, headers=dict(given.headers), body=given.content)

    page.route("**/*", answer)
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    return problems


def look(page: Any, name: str) -> None:
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=f"{folder}/{name}.png", full_page=True)


def test_an_expert_decides_by_keyboard_and_by_mouse(
    page: Any, client: Any, workspace: Workspace, disputed: list[ImageId]
) -> None:
    problems = through(page, client)
    page.goto(f"http://127.0.0.1/adjudication?campaign={NAME}")
    page.locator(".subject img").wait_for()
    look(page, "adjudication")
    page.keyboard.press("2")
    assert kept(workspace) == []  # nobody's decision is kept
    page.get_by_label("Your name").fill("eve 2")  # typing decides nothing
    page.get_by_label("Comment").fill("x")
    page.keyboard.press("Tab")
    page.get_by_text("What is it?").click()
    page.keyboard.press("x")
    page.get_by_text("Choose why it cannot be decided.").wait_for()
    page.keyboard.press("e")
    page.keyboard.press("2")
    page.get_by_text("item 1 of 1").wait_for()
    assert kept(workspace) == [(11, "dog", "guideline-unclear", "eve 2")]
    page.wait_for_function("document.querySelector('input[name=author]').value === 'eve 2'")  # once the script ran
    page.get_by_text("the image is too poor to tell").click()
    page.get_by_role("button", name="cannot be decided").click()
    page.get_by_text("The queue is empty").wait_for()
    assert kept(workspace)[1] == (12, None, "bad-image", "eve 2")
    assert problems == []


def test_an_image_whose_file_is_gone_can_be_decided(
    client: Any, workspace: Workspace, post: Callable[..., Any], photos: Any, disputed: list[ImageId]
) -> None:
    (photos.folder / "first.png").unlink()
    with workspace.database.write() as session:
        session.scalars(select(Sighting).where(Sighting.image_id == disputed[0])).one().missing = True
    assert client.get(f"/thumbnails/{disputed[0]}.jpg?size=384").status_code == 404
    assert "its file cannot be shown" in client.get("/adjudication").text
    assert post(11, answer=None).status_code == 201


def test_an_expert_takes_one_of_the_drawings(
    page: Any, client: Any, workspace: Workspace, build: Any, photos: Any
) -> None:
    images = [photos.add("cells.png", "teal", size=(400, 300))]
    campaign_id = build.campaign(build.batch(images), build.taxonomy(("cat", "dog"), kind="boxes"))
    drawn = {
        "ann": Content(regions=(Region("a", Box(40, 30, 120, 90), ("cat",)),)),
        "bob": Content(
            regions=(Region("b", Box(40, 30, 120, 90), ("dog",)), Region("c", Box(220, 150, 90, 90), ("dog",)))
        ),
        "cid": Content(regions=(Region("d", Box(230, 30, 100, 60), ("cat",)),)),
    }
    build.answers(campaign_id, {name: [said] for name, said in drawn.items()})
    verdicts.review(workspace, NAME)
    with workspace.database.read() as session:
        [queued] = adjudication.queue(workspace, session).items
    problems = through(page, client)
    page.goto("http://127.0.0.1/adjudication")
    shown = page.locator(".subject g:not(.hidden)")
    assert shown.count() == len(queued.suggestions) >= 3
    wanted = queued.suggestions.index(to_json(essence(drawn["bob"])))
    button = page.get_by_role("button", name="2 dog")
    button.hover()
    look(page, "adjudication-of-boxes")
    assert shown.count() == 1
    assert shown.locator("title").inner_html() == str(wanted + 1)
    assert shown.locator("polygon").count() == 2
    page.mouse.move(0, 0)
    assert shown.count() == len(queued.suggestions)
    page.get_by_label("Your name").fill("eve")
    page.get_by_text("Which is right?").click()
    page.keyboard.press(str(wanted + 1))
    page.get_by_text("The queue is empty").wait_for()
    assert problems == []
    assert verdicts.review(workspace, NAME).new_labels == 1
    with workspace.database.read() as session:
        label = session.scalars(select(Label)).one()
    assert label.value == to_json(essence(drawn["bob"]))


def test_a_drawing_whose_image_is_gone_says_so(client: Any, workspace: Workspace, build: Any) -> None:
    campaign_id = build.campaign(build.batch(build.images(1)), build.taxonomy(kind="boxes"))
    build.answers(
        campaign_id, {"ann": [Content(regions=(Region("a", Box(1, 1, 5, 5), ("cat",)),))], "bob": [Content()]}
    )
    verdicts.review(workspace, NAME)
    text = client.get("/adjudication").text
    assert ">its file cannot be shown</text>" in text
    colours = re.findall(r'<g stroke="(#\w{6})"', text)
    assert len(set(colours)) == len(colours) >= 2
