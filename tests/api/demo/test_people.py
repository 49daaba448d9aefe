import hashlib
from collections import Counter

import pytest

from api.demo import people
from api.demo.label_studio_server import LabelStudioServer
from api.demo.people import ANNOTATORS, EXPERT, Person
from labeling import label_config
from labeling.definitions import ClassDefinition, Definition

UIDS = [hashlib.sha256(str(i).encode()).hexdigest()[:32] for i in range(2000)]


def error_rate(person: Person, probability: float) -> float:
    truth = int(probability > 0.5)
    return sum(people.judge(person, uid, probability=probability, seed=0) != truth for uid in UIDS) / len(UIDS)


@pytest.mark.parametrize("person", [*ANNOTATORS, EXPERT])
def test_people_err_by_their_skill_and_most_where_experts_doubt(person: Person) -> None:
    assert error_rate(person, 1.0) == pytest.approx(1 - person.skill, abs=0.03)
    assert error_rate(person, 0.0) == pytest.approx(1 - person.skill, abs=0.03)
    assert error_rate(person, 0.33) == pytest.approx(min(0.5, (1 - person.skill) * (1 + 4 * 0.66)), abs=0.03)


def test_judgement_follows_from_the_seed() -> None:
    def answers(seed: int) -> list[int]:
        return [people.judge(ANNOTATORS[2], uid, probability=0.33, seed=seed) for uid in UIDS]

    assert answers(1) == answers(1)
    assert answers(1) != answers(2)


def test_tasks_are_shared_out_and_more_overlap_only_adds() -> None:
    shares: Counter[str] = Counter()
    for uid in UIDS:
        pair = people.assigned(uid, ANNOTATORS, overlap=2, seed=0)
        assert len(set(pair)) == 2
        assert people.assigned(uid, ANNOTATORS, overlap=3, seed=0)[:2] == pair
        shares.update(person.name for person in pair)
    assert min(shares.values()) > len(UIDS) * 0.6


@pytest.mark.label_studio
def test_three_people_answer_as_themselves_and_only_once(label_studio: LabelStudioServer) -> None:
    import httpx

    admin = (label_studio.email, label_studio.password)
    headers = {"Authorization": f"Token {label_studio.token_file.read_text()}"}
    config = label_config.render(Definition("classification", (ClassDefinition("good"), ClassDefinition("bad"))))
    with httpx.Client(base_url=label_studio.url, headers=headers, timeout=60) as http:
        created = http.post("/api/projects/", json={"title": "people", "label_config": config})
        project = created.json()["id"]
        tasks = [{"data": {"uid": uid, "image": "http://127.0.0.1:1/x"}} for uid in UIDS[:8]]
        http.post(f"/api/projects/{project}/import", json=tasks)

        def work(overlap: int) -> int:
            return people.answer(
                label_studio.url,
                project,
                ANNOTATORS,
                admin=admin,
                overlap=overlap,
                probability=lambda uid: 1.0 if uid in UIDS[:4] else 0.0,
                seed=0,
            ).answers

        assert [work(2), work(2), work(3)] == [16, 0, 8]
        emails = {user["id"]: user["email"] for user in http.get("/api/users/").json()}
        page = {"project": project, "page_size": 100, "fields": "all"}
        for task in http.get("/api/tasks", params=page).json()["tasks"]:
            uid = task["data"]["uid"]
            answers = {
                emails[each["completed_by"]]: each["result"][0]["value"]["choices"] for each in task["annotations"]
            }
            truth = 1.0 if uid in UIDS[:4] else 0.0
            assert answers == {
                person.email: [["good", "bad"][people.judge(person, uid, probability=truth, seed=0)]]
                for person in ANNOTATORS
            }
