"""People who label for the demo and the tests: real Label Studio users with simulated judgement.

They use Label Studio's own pages and HTTP API, and none of Winnow's labelling code: what they
leave there is what a vendor's annotators would leave.
"""

import hashlib
import hmac
import re
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import httpx
import numpy as np

from store.errors import RemoteError

_PAGE = 500  # tasks
_TIMEOUT_S = 60


@dataclass(frozen=True)
class Person:
    """Someone who answers; `skill`, 0.5–1, is how often they are right where the experts had no doubt."""

    name: str
    skill: float

    @property
    def email(self) -> str:
        """What they log in as."""
        return f"{self.name}@winnow.example"


ANNOTATORS = (Person("ada", 0.97), Person("ben", 0.93), Person("cleo", 0.88))
EXPERT = Person("edith", 0.995)


@dataclass(frozen=True)
class Round:
    """What people did in one go."""

    answers: int
    seconds: float


def answer(
    url: str,
    project: int,
    people: Sequence[Person],
    *,
    admin: tuple[str, str],
    overlap: int,
    probability: Callable[[str], float],
    seed: int,
) -> Round:
    """Let `people` work, one after the other, until every task has answers from `overlap` of them.

    At the same time they would be no faster, as the server answers with one core, and its SQLite
    now and then refuses the second of two writers. Called again, they only answer what is new.

    Args:
        url: Label Studio's.
        project: its id there; its label config must offer two classes.
        people: whoever has no login yet joins by the administrator's invitation.
        admin: the administrator's e-mail and password.
        overlap: at most the number of people.
        probability: from a task's uid, how sure experts are that the second class is right, 0–1.
        seed: with the uids alone it decides who takes which task and who errs where.

    Raises:
        RemoteError: Label Studio refused a login or an answer.
    """

    def work(person: Person) -> int:
        with closing(join(url, person, admin=admin)) as session:
            user = _call(session, "GET", "/api/current-user/whoami")["id"]
            question = _question(session, project)
            mine = [
                task
                for task in _tasks(session, project)
                if person in assigned(task["data"]["uid"], people, overlap=overlap, seed=seed)
                and all(annotation["completed_by"] != user for annotation in task["annotations"])
            ]
            for task in mine:
                uid = task["data"]["uid"]
                choice = judge(person, uid, probability=probability(uid), seed=seed)
                _submit(session, task["id"], question, question.classes[choice])
            return len(mine)

    started = time.monotonic()
    answers = sum(work(person) for person in people)
    return Round(answers, time.monotonic() - started)


def assigned(uid: str, people: Sequence[Person], *, overlap: int, seed: int) -> list[Person]:
    """The people who answer one task: a larger overlap adds people and takes none away."""
    return [people[i] for i in _generator(seed, uid).permutation(len(people))[:overlap]]


def judge(person: Person, uid: str, *, probability: float, seed: int) -> int:
    """One person's choice, 0 or 1, on a picture of which experts say 1 with `probability`.

    They are wrong with probability 1 − skill where the experts are sure, and up to five times
    as often, never more than half the time, where the experts are not.
    """
    truth = int(probability > 0.5)
    doubt = 1 - abs(2 * probability - 1)
    wrong = min(0.5, (1 - person.skill) * (1 + 4 * doubt))
    return 1 - truth if _generator(seed, uid, person.name).random() < wrong else truth


def join(url: str, person: Person, *, admin: tuple[str, str]) -> httpx.Client:
    """Log in as `person`, after signing up by invitation the first time; speaks with their own token.

    Raises:
        RemoteError: Label Studio refused.
    """
    password = hmac.new(admin[1].encode(), person.email.encode(), hashlib.sha256).hexdigest()
    browser = _browser(url)
    if not _log_in(browser, person.email, password):
        with closing(log_in(url, *admin)) as office:
            invitation = _call(office, "GET", "/api/invite")["invite_url"]
        if not _submit_form(browser, invitation, {"email": person.email, "password": password}):
            raise RemoteError(f"Label Studio at {url} refused to sign up {person.email}.")
    token = _call(browser, "GET", "/api/current-user/token")["token"]
    browser.cookies.clear()
    browser.headers["Authorization"] = f"Token {token}"
    return browser


def log_in(url: str, email: str, password: str) -> httpx.Client:
    """The session of somebody who has an account, as their browser holds it.

    Raises:
        RemoteError: Label Studio refused.
    """
    browser = _browser(url)
    if not _log_in(browser, email, password):
        raise RemoteError(f"Label Studio at {url} refused the login of {email}.")
    return browser


@dataclass(frozen=True)
class _Question:
    """What a project's label config asks."""

    from_name: str
    to_name: str
    classes: Sequence[str]


def _question(session: httpx.Client, project: int) -> _Question:
    config = _call(session, "GET", f"/api/projects/{project}/")["label_config"]
    choices = ElementTree.fromstring(config).find(".//Choices")  # noqa: S314 - from our own server
    if choices is None or len(choices) != 2:
        raise RemoteError(f"Label Studio project {project} does not ask for one of two classes.")
    return _Question(choices.attrib["name"], choices.attrib["toName"], [choice.attrib["value"] for choice in choices])


def _tasks(session: httpx.Client, project: int) -> list[dict[str, Any]]:
    tasks: list[dict[str, Any]] = []
    while True:
        page = {"project": project, "page": len(tasks) // _PAGE + 1, "page_size": _PAGE, "fields": "all"}
        answer = _call(session, "GET", "/api/tasks", params=page)
        tasks += answer["tasks"]
        if len(tasks) >= answer["total"]:
            return sorted(tasks, key=lambda task: task["id"])


def _submit(session: httpx.Client, task: int, question: _Question, name: str) -> None:
    result = {
        "from_name": question.from_name,
        "to_name": question.to_name,
        "type": "choices",
        "value": {"choices": [name]},
    }
    _call(session, "POST", f"/api/tasks/{task}/annotations/", json={"result": [result], "lead_time": 3.0})


def _browser(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, timeout=_TIMEOUT_S)


def _log_in(browser: httpx.Client, email: str, password: str) -> bool:
    return _submit_form(browser, "/user/login/", {"email": email, "password": password})


def _submit_form(browser: httpx.Client, path: str, fields: dict[str, str]) -> bool:
    """Fill in a page's form; a good answer redirects, a bad one shows the form again."""
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', browser.get(path).text)
    answer = browser.post(path, data=fields | {"csrfmiddlewaretoken": token[1] if token else ""})
    return answer.is_redirect


def _call(session: httpx.Client, method: str, path: str, **request: Any) -> Any:
    answer = session.request(method, path, **request)
    if answer.is_error:
        raise RemoteError(f"Label Studio answered {answer.status_code} to {method} {path}: {answer.text[:200]}")
    return answer.json()


def _generator(seed: int, *names: str) -> np.random.Generator:
    digest = hashlib.sha256("/".join([str(seed), *names]).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))
