"""Who answered under one revision of a taxonomy, as arrays, and what `qa.conduct` makes of them. Reads only."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from curation import labels, predictions
from qa import answers, standing
from qa.answers import Answers
from qa.conduct import accuracy, speed, trends
from qa.conduct.accuracy import Estimates, Judged
from qa.conduct.speed import Pace
from qa.conduct.trends import Difference, Slope
from qa.consensus import posterior
from qa.consensus.posterior import Posterior
from store.arrays import Bools, Floats, Ints
from store.schema import Annotator, Campaign, ImageId, PredictionRun, Standing, Task, Taxonomy, Vendor

_WEEK_S = 7 * 24 * 3600.0


@dataclass(frozen=True)
class Crowd:
    """A people, M answers that name one of C classes, those to one item by time, N items.

    Answers of people who are paused are here, and judged like others; they are never held against anybody else.
    """

    taxonomy: Taxonomy
    said: Answers
    people: dict[int, tuple[str, str]]  # name and vendor by annotator id, in the order of their numbers
    standings: dict[int, Standing]  # by annotator id
    skips: Ints  # (A,)
    table: Ints  # (M, 3) item, annotator and class
    counted: Bools  # (M,) whether it counts: its author was not paused
    is_gold: Bools  # (M,) whether it is to a gold item
    task: Ints  # (M,) id of the task
    image: Ints  # (M,) id of the image
    seconds: Floats  # (M,) lead time, NaN where there is none
    moment_s: Floats  # (M,) when it was given, NaN where nobody knows
    predicted: Ints  # (M,) the class a model predicts there for those not blind, -1 where none does
    blind: Bools  # (M,) whether that was not shown

    @property
    def classes(self) -> list[str]:
        """Their names, by number."""
        return self.said.classes

    @cached_property
    def found(self) -> Posterior:
        """What the answers that count say of all items."""
        return posterior.fit(
            self.table[self.counted], self.said.known, annotators=len(self.people), classes=len(self.classes)
        )

    @cached_property
    def judged(self) -> Judged:
        """What is held against each answer."""
        return accuracy.judge(self.table, self.counted, self.said.known, self.found)

    @cached_property
    def total(self) -> Estimates:
        """The accuracy of each of the people."""
        return self.estimate(self.table[self.judged.rows, 1], groups=len(self.people))

    @cached_property
    def on_gold(self) -> Estimates:
        """The same on gold items alone."""
        who = np.where(self.is_gold, self.table[:, 1], len(self.people))[self.judged.rows]
        return self.estimate(who, groups=len(self.people) + 1)

    @cached_property
    def confusions(self) -> Floats:
        """`(A, C, C)`: what each answered to items of each class; expected counts."""
        return accuracy.confusion(self.table, self.judged, self.found)

    def estimate(self, group: Ints, *, groups: int) -> Estimates:
        """The accuracy of groups of the judged answers `(J,)`."""
        return accuracy.estimate(self.judged.chance(self.table), group, groups=groups, classes=len(self.classes))

    @cached_property
    def paces(self) -> dict[int, Pace]:
        """Of everybody who can be compared, by number."""
        timed = speed.is_plausible(self.seconds)
        return speed.paces(self.seconds[timed], self.table[timed, 0], self.table[timed, 1])

    @cached_property
    def per_hour(self) -> list[Slope | None]:
        """How the accuracy of each changes within a session."""
        credit, weight = self._credit
        slopes = []
        for number, rows in enumerate(self._timed):
            own = np.flatnonzero((self.table[:, 1] == number) & ~np.isnan(self.moment_s))
            session, hours = np.zeros(len(self.table), dtype=np.int64), np.zeros(len(self.table))
            session[own], hours[own] = trends.sessions(self.moment_s[own])
            answer = self.judged.rows[rows]
            slopes.append(trends.slope(credit[rows], weight[rows], hours[answer], session[answer]))
        return slopes

    @cached_property
    def per_week(self) -> list[Slope | None]:
        """How the accuracy of each changes over the weeks."""
        credit, weight = self._credit
        slopes = []
        for rows in self._timed:
            weeks = self.moment_s[self.judged.rows[rows]] / _WEEK_S
            weeks = weeks - weeks.min(initial=np.inf)
            slopes.append(trends.slope(credit[rows], weight[rows], weeks, np.zeros(len(rows), dtype=np.int64)))
        return slopes

    @cached_property
    def anchoring(self) -> list[Difference | None]:
        """How much more often each agrees with a prediction that is shown than with one that is not."""
        has, agrees = self.predicted >= 0, self.predicted == self.table[:, 2]
        found = []
        for number in range(len(self.people)):
            own = has & (self.table[:, 1] == number)
            shown, hidden = own & ~self.blind, own & self.blind
            first = int(agrees[shown].sum()), int(shown.sum())
            found.append(trends.difference(first, (int(agrees[hidden].sum()), int(hidden.sum()))))
        return found

    @cached_property
    def _credit(self) -> tuple[Floats, Floats]:
        return accuracy.credit(self.table, self.judged, self.total.accuracy)

    @cached_property
    def _timed(self) -> list[Ints]:
        """Of each person the judged answers whose time is known, as positions among the judged."""
        known = ~np.isnan(self.moment_s[self.judged.rows])
        who = self.table[self.judged.rows, 1]
        return [np.flatnonzero(known & (who == i)) for i in range(len(self.people))]


def taxonomies(session: Session) -> list[Taxonomy]:
    """Those in use whose answers can be weighed, by name and revision."""
    used = select(Campaign.taxonomy_id)
    weighed = select(Taxonomy).where(Taxonomy.id.in_(used), Taxonomy.task_kind == labels.CLASSIFICATION)
    return list(session.scalars(weighed.order_by(Taxonomy.name, Taxonomy.revision)))


def load(session: Session, taxonomy: Taxonomy) -> Crowd:
    """Read the answers under one revision of a taxonomy, and who gave them, when, and seeing what."""
    said = answers.read(session, taxonomy)
    everything = [*said.given, *said.aside]
    given = sorted((one for one in everything if one.value is not None), key=lambda one: (one.task_id, one.order))
    ids = {one.annotator_id for one in everything}
    names = session.execute(
        select(Annotator.id, Annotator.name, Vendor.name)
        .join(Vendor, Vendor.id == Annotator.vendor_id)
        .order_by(Annotator.name, Vendor.name, Annotator.id)
    )
    people = {one: (name, vendor) for one, name, vendor in names if one in ids}
    of_taxonomy = select(Task.id).join(Campaign).where(Campaign.taxonomy_id == taxonomy.id)
    tasks = {task.id: task for task in session.scalars(select(Task).where(Task.id.in_(of_taxonomy)))}
    number = {one: i for i, one in enumerate(people)}
    item = {task_id: i for i, task_id in enumerate(said.task_ids)}
    class_number = {name: i for i, name in enumerate(said.classes)}
    rows = [(item[one.task_id], number[one.annotator_id], class_number[one.value or ""]) for one in given]
    aside = {one.annotation_id for one in said.aside}
    moments = [one.given_at for one in given]
    predicted = _predicted(session, list(tasks.values()), class_number)
    skipped = [number[one.annotator_id] for one in everything if one.value is None]
    return Crowd(
        taxonomy=taxonomy,
        said=said,
        people=people,
        standings=standing.in_force(session),
        skips=np.bincount(np.array(skipped, dtype=np.int64), minlength=len(people)),
        table=np.array(rows, dtype=np.int64).reshape(-1, 3),
        counted=np.array([one.annotation_id not in aside for one in given], dtype=np.bool_),
        is_gold=np.array([one.task_id in said.gold for one in given], dtype=np.bool_),
        task=np.array([one.task_id for one in given], dtype=np.int64),
        image=np.array([tasks[one.task_id].image_id for one in given], dtype=np.int64),
        seconds=np.array([one.lead_time_s for one in given], dtype=np.float64),
        moment_s=np.array([np.nan if one is None else one.timestamp() for one in moments], dtype=np.float64),
        predicted=np.array([predicted.get(one.task_id, -1) for one in given], dtype=np.int64),
        blind=np.array([bool(tasks[one.task_id].blind) for one in given], dtype=np.bool_),
    )


def _predicted(session: Session, tasks: Sequence[Task], number: Mapping[str, int]) -> dict[int, int]:
    """The likeliest class of the items that a model predicts for people, as a number; -1 if it is none of theirs."""
    of_run: dict[int, list[Task]] = defaultdict(list)
    for task in tasks:
        if task.prediction_run_id is not None:
            of_run[task.prediction_run_id].append(task)
    found = {}
    for run_id, shown in of_run.items():
        run = session.get_one(PredictionRun, run_id)
        likeliest = predictions.read(session, run, [ImageId(task.image_id) for task in shown]).argmax(axis=1)
        found.update({task.id: number.get(run.classes[i], -1) for task, i in zip(shown, likeliest, strict=True)})
    return found
