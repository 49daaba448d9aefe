"""A campaign answered by a simulated crew, for tests: who is honest, who is not, and when they answered."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import insert, select

from store.arrays import Ints
from store.schema import Annotation, Annotator, Campaign, Label, Prediction, PredictionRun, Task, Verdict
from store.workspace import Workspace

CLASSES = ("cat", "dog", "owl")
HONEST = {"ann": 0.95, "bob": 0.9, "cay": 0.85, "dan": 0.9, "eve": 0.8}
BEGIN = datetime(2026, 3, 2, 9, tzinfo=UTC)


class Crew:
    """Answers to a campaign of `items` images, each by `overlap` people drawn at random.

    The first fiftieth of the items is gold. People answer in turns of an hour a day, at random intervals.
    """

    def __init__(self, workspace: Workspace, build: Any, *, items: int, seed: int = 0) -> None:
        self.workspace = workspace
        self.random = np.random.default_rng(seed)
        images = build.images(items)
        self.truth = self.random.integers(0, len(CLASSES), items)
        taxonomy = build.taxonomy(CLASSES)
        gold = items // 50
        if gold:
            build.labels({images[i]: CLASSES[self.truth[i]] for i in range(gold)})
        arms = ["gold"] * gold + ["diverse"] * (items - gold)
        self.campaign_id: int = build.campaign(build.batch(images, arms=arms), taxonomy)
        with workspace.database.read() as session:
            self.name = session.get_one(Campaign, self.campaign_id).name
            of_campaign = select(Task.id).where(Task.campaign_id == self.campaign_id).order_by(Task.rank)
            self.task_ids = list(session.scalars(of_campaign))
        self.images = images

    def shown(self, *, blind_share: float) -> Ints:
        """A model that is right in 70 % predicts every item; what it says, whether blind or not."""
        said = np.where(self.random.random(len(self.truth)) < 0.7, self.truth, (self.truth + 1) % len(CLASSES))
        with self.workspace.database.write() as session:
            run = PredictionRun(model="model", digest="p" * 64, classes=list(CLASSES), report={})
            session.add(run)
            session.flush()
            for image, value in zip(self.images, said, strict=True):
                probabilities = np.eye(len(CLASSES), dtype="<f4")[value].tobytes()
                session.add(Prediction(run_id=run.id, image_id=image, probabilities=probabilities))
            tasks = session.scalars(select(Task).where(Task.id.in_(self.task_ids)).order_by(Task.rank)).all()
            for task in tasks:
                task.prediction_run_id, task.blind = run.id, bool(self.random.random() < blind_share)
        return np.asarray(said)

    def table(self, people: dict[str, float], *, overlap: int = 3) -> Ints:
        """`(M, 3)` item, person and class, as people of these accuracies would say."""
        rows = []
        for item, real in enumerate(self.truth):
            for one in self.random.choice(len(people), min(overlap, len(people)), replace=False):
                right = self.random.random() < list(people.values())[one]
                rows.append((item, one, real if right else (real + self.random.integers(1, 3)) % 3))
        return np.array(rows, dtype=np.int64)

    def seconds(self, table: Ints) -> np.ndarray:
        """Lead times of people who look."""
        return np.exp(self.random.normal(np.log(5), 0.4, len(table)))

    def answer(self, people: list[str], table: Ints, seconds: np.ndarray | None = None) -> None:
        """Write what was answered, everybody's items in their order: fifty within an hour, a session a day."""
        turn = dict.fromkeys(range(len(people)), 0)
        with self.workspace.database.write() as session:
            campaign = session.get_one(Campaign, self.campaign_id)
            ids = []
            for name in people:
                annotator = session.scalar(select(Annotator).where(Annotator.name == name))
                if annotator is None:
                    number = len(session.scalars(select(Annotator.id)).all()) + 1
                    annotator = Annotator(vendor_id=campaign.vendor_id, ls_user_id=number, name=name)
                    session.add(annotator)
                    session.flush()
                ids.append(annotator.id)
            first = len(session.scalars(select(Annotation.id)).all()) + 1
            rows = []
            for i, (item, one, value) in enumerate(table.tolist()):
                day, place = divmod(turn[one], 50)
                turn[one] += 1
                rows.append(
                    {
                        "task_id": self.task_ids[item],
                        "annotator_id": ids[one],
                        "ls_annotation_id": first + i,
                        "revision": 0,
                        "answer": CLASSES[value],
                        "result": [],
                        "skipped": False,
                        "deleted": False,
                        "lead_time_s": None if seconds is None else float(seconds[i]),
                        "ls_updated_at": (BEGIN + timedelta(days=day, seconds=70 * place + one)).isoformat(),
                    }
                )
            session.execute(insert(Annotation), rows)

    def labels(self) -> int:
        """How many labels this campaign made."""
        with self.workspace.database.read() as session:
            made = select(Label.id).join(Verdict, Verdict.id == Label.verdict_id)
            return len(session.scalars(made.where(Verdict.task_id.in_(self.task_ids))).all())
