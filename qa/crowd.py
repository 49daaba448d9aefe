"""Who answered under one revision of a taxonomy, as arrays, and what `qa.conduct` makes of them. Reads only."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from curation import labels, predictions
from labeling import content
from labeling.definitions import SHAPE_KINDS
from qa import answers, ledger, standing, things
from qa.answers import Answer, Answers
from qa.conduct import accuracy, detection, speed, trends
from qa.conduct.accuracy import Estimates, Judged
from qa.conduct.detection import Alone, Rates
from qa.conduct.speed import Pace
from qa.conduct.trends import Difference, Slope
from qa.consensus import belief, posterior
from qa.consensus.posterior import Posterior
from qa.things import Things
from store.arrays import Bools, Floats, Ints
from store.schema import Annotator, Campaign, ImageId, PredictionRun, Standing, Task, Taxonomy, Vendor

_WEEK_S = 7 * 24 * 3600.0
_LEAST = 1e-4  # that all classes together have that a model does not name


@dataclass(frozen=True)
class Crowd:
    """A people who looked L times at N things and gave M answers, each one of C classes, those to one thing by time.

    Where one class is asked for, the things are the items, and a look is an answer that names a class. Else what they
    are `qa.things` says. Looks of people who are paused are here, and judged like others; they are never held against
    anybody else. Ints are int64, floats float64.
    """

    taxonomy: Taxonomy
    said: Answers
    people: dict[int, tuple[str, str]]  # name and vendor by annotator id, in the order of their numbers
    standings: dict[int, Standing]  # by annotator id
    skips: Ints  # (A,)
    classes: list[str]  # their names, by number
    item: Ints  # (N,) of which item each thing is
    known: Ints  # (N,) the class of what is settled, -1 of others
    model: Floats  # (items, classes) how likely the model of the last review held each, as far as it was trusted; NaN
    # where it said nothing, as where more than one class is asked for
    table: Ints  # (M, 3) thing, person and class
    look: Ints  # (M,) in which look each answer was given
    predicted: Ints  # (M,) the class a model predicts there for those not blind, -1 where none does
    nearness: Floats  # (M,) of what was drawn, see `qa.things`
    looks: Ints  # (L, 2) item and person
    counted: Bools  # (L,) whether it counts: its author was not paused
    is_gold: Bools  # (L,) whether it is at a gold item
    task: Ints  # (L,) id of the task
    image: Ints  # (L,) id of the image
    seconds: Floats  # (L,) lead time, NaN where there is none
    moment_s: Floats  # (L,) when it was, NaN where nobody knows
    blind: Bools  # (L,) whether what a model predicts was not shown

    @property
    def of_things(self) -> bool:
        """Whether more is asked for than one class of an image."""
        return self.taxonomy.task_kind != labels.CLASSIFICATION

    @cached_property
    def found(self) -> Posterior:
        """What the answers that count say of all items."""
        is_heard = self.counted[self.look]
        heard = self.table[is_heard]
        if self.taxonomy.task_kind == labels.MULTILABEL:
            return detection.believe_classes(
                heard,
                (self.counted.cumsum() - 1)[self.look[is_heard]],
                self.item,
                self.looks[self.counted],
                self.known,
                settled=np.flatnonzero(np.isin(self.said.task_ids, self._settled)),
                gold=np.isin(self.said.task_ids, list(self.said.gold)),
                items=len(self.said.task_ids),
                annotators=len(self.people),
                classes=len(self.classes),
            )
        if self.of_things:
            return detection.believe(
                heard,
                self.item,
                self.looks[self.counted],
                self.known,
                gold=np.isin(self.said.task_ids, list(self.said.gold)),
                images=len(self.said.task_ids),
                annotators=len(self.people),
                classes=len(self.classes),
            )
        return posterior.of_people(
            heard, self.known, annotators=len(self.people), classes=len(self.classes), model=self.model
        )

    @cached_property
    def judged(self) -> Judged:
        """What is held against each answer."""
        is_told = None if self.of_things else np.asarray(~np.isnan(self.model).any(axis=1))
        judged = accuracy.judge(self.table, self.counted[self.look], self.known, self.found, is_told=is_told)
        is_told = self._others_tell[self.look[judged.rows]] | (self.known[self.table[judged.rows, 0]] >= 0)
        return Judged(judged.rows[is_told], judged.truth[is_told])

    @cached_property
    def _others_tell(self) -> Bools:
        """`(L,)`: which looks can be judged by others, see `belief.told_by_others`; by what is settled all can.

        Who is paused judges nobody, and is judged where somebody who is told apart looked too.
        """
        heard, items = self.looks[self.counted], len(self.said.task_ids)
        told = belief.told_by_others(heard, items=items, annotators=len(self.people))
        item, who = self.looks.T
        return np.where(self.counted, told[who], np.isin(item, heard[told[heard[:, 1]], 0]))

    @cached_property
    def weight(self) -> Floats:
        """`(J,)`: what each judged answer counts, as those of one look are alike."""
        rows = self.judged.rows
        right = self.judged.chance(self.table)
        return accuracy.independent_share(right, self.table[rows, 1], self.look[rows])

    @cached_property
    def total(self) -> Estimates:
        """The accuracy of each of the people."""
        return self.estimate(self.table[self.judged.rows, 1], groups=len(self.people))

    @cached_property
    def on_gold(self) -> Estimates:
        """The same on gold items alone."""
        who = np.where(self.is_gold[self.look], self.table[:, 1], len(self.people))[self.judged.rows]
        return self.estimate(who, groups=len(self.people) + 1)

    @cached_property
    def confusions(self) -> Floats:
        """`(A, C, C)`: what each answered to items of each class; expected counts."""
        return accuracy.confusion(self.table, self.judged, self.found)

    def estimate(self, group: Ints, *, groups: int) -> Estimates:
        """The accuracy of groups of the judged answers `(J,)`."""
        chance = self.judged.chance(self.table)
        kept: Bools = np.ones(len(chance), dtype=np.bool_)
        if self.of_things:
            chance = np.where(self.alone.rows, self.alone.right, chance)
            kept = ~self.alone.doubtful
        return accuracy.estimate(
            chance[kept], group[kept], groups=groups, classes=self._outcomes, weight=self.weight[kept]
        )

    @property
    def _outcomes(self) -> int:
        """How many answers there are to a thing: where several classes are asked for, each is there or not."""
        return 2 if self.taxonomy.task_kind == labels.MULTILABEL else len(self.classes)

    @cached_property
    def alone(self) -> Alone:
        """Of things: the judged answers that name what nobody else did."""
        return detection.alone(self.table, self.counted[self.look], self.known, self.judged, self.found)

    @cached_property
    def recall(self) -> Estimates:
        """Of things: the share of what is there that each finds."""
        return detection.recall(self.table, self.judged, self.weight, annotators=len(self.people))

    @cached_property
    def naming(self) -> Estimates | None:
        """Of things: how often each calls rightly what they find; none where it has one class, or is a class."""
        if self.taxonomy.task_kind == labels.MULTILABEL:
            return None
        return detection.naming(self.table, self.judged, self.weight, annotators=len(self.people))

    @cached_property
    def ghosts(self) -> Rates:
        """Of things: how many that are not there each says are, in an image that others saw or that is settled."""
        item, who = self.looks.T
        others = np.bincount(item[self.counted], minlength=len(self.said.task_ids))[item] - self.counted
        is_judged = (((others > 0) & self._others_tell) | self._is_settled) & bool(len(self.judged.rows))
        images = np.bincount(who[is_judged], minlength=len(self.people))
        return detection.ghosts(self.table, self.judged, self.found, images)

    @cached_property
    def near(self) -> Estimates | None:
        """Of regions: how near each draws to others."""
        if self.taxonomy.task_kind not in SHAPE_KINDS:
            return None
        return detection.nearness(self.nearness, self.look, self.table[:, 1], annotators=len(self.people))

    @cached_property
    def paces(self) -> dict[int, Pace]:
        """Of everybody who can be compared, by number."""
        timed = speed.is_plausible(self.seconds)
        return speed.paces(self.seconds[timed], *self.looks[timed].T)

    @cached_property
    def per_hour(self) -> list[Slope | None]:
        """How the accuracy of each changes within a session."""
        credit, weight = self._credit
        slopes = []
        for number, looks in enumerate(self._timed):
            own = np.flatnonzero((self.looks[:, 1] == number) & ~np.isnan(self.moment_s))
            session, hours = np.zeros(len(self.looks), dtype=np.int64), np.zeros(len(self.looks))
            session[own], hours[own] = trends.sessions(self.moment_s[own])
            strata = 2 * session[looks] + self._is_settled[looks]
            slopes.append(trends.slope(credit[looks], weight[looks], hours[looks], strata))
        return slopes

    @cached_property
    def per_week(self) -> list[Slope | None]:
        """How the accuracy of each changes over the weeks."""
        credit, weight = self._credit
        slopes = []
        for looks in self._timed:
            weeks = self.moment_s[looks] / _WEEK_S
            weeks = weeks - weeks.min(initial=np.inf)
            strata = self._is_settled[looks].astype(np.int64)
            slopes.append(trends.slope(credit[looks], weight[looks], weeks, strata))
        return slopes

    @cached_property
    def anchoring(self) -> list[Difference | None]:
        """How much more often each agrees with a prediction that is shown than with one that is not."""
        has, agrees = self.predicted >= 0, self.predicted == self.table[:, 2]
        found = []
        for number in range(len(self.people)):
            own = has & (self.table[:, 1] == number)
            shown, hidden = own & ~self.blind[self.look], own & self.blind[self.look]
            first = int(agrees[shown].sum()), int(shown.sum())
            found.append(trends.difference(first, (int(agrees[hidden].sum()), int(hidden.sum()))))
        return found

    @cached_property
    def _credit(self) -> tuple[Floats, Floats]:
        """`(L,)` both: see `accuracy.credit`, the mean of the judged answers of each look and all they weigh."""
        credit, weight = accuracy.credit(self.table, self.judged, self.total.accuracy, classes=self._outcomes)
        if self.of_things:
            weight = np.where(self.alone.rows, 0.0, weight)
        look = self.look[self.judged.rows]
        total: Floats = np.bincount(look, weights=weight, minlength=len(self.looks)).astype(np.float64)
        gained = np.bincount(look, weights=weight * credit, minlength=len(self.looks))
        return gained / np.where(total > 0, total, 1), total

    @property
    def _settled(self) -> list[int]:
        """The tasks of which all is known."""
        return [one for one, value in self.said.settled.items() if value is not None]

    @cached_property
    def _is_settled(self) -> Bools:
        """`(L,)`: of things, whether the item is settled, so that what everybody missed is known there alone."""
        return np.isin(self.task, self._settled if self.of_things else [])

    @cached_property
    def _timed(self) -> list[Ints]:
        """Of each person the looks that are judged and whose time is known."""
        is_judged = np.zeros(len(self.looks), dtype=np.bool_)
        is_judged[self.look[self.judged.rows]] = True
        known = is_judged & ~np.isnan(self.moment_s)
        return [np.flatnonzero(known & (self.looks[:, 1] == i)) for i in range(len(self.people))]


class _Task(NamedTuple):
    id: int
    image_id: int
    blind: bool | None
    prediction_run_id: int | None


def taxonomies(session: Session) -> list[Taxonomy]:
    """Those in use whose answers can be weighed, by name and revision."""
    used = select(Campaign.taxonomy_id)
    weighed = select(Taxonomy).where(Taxonomy.id.in_(used), Taxonomy.task_kind != answers.UNDECIDED)
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
    columns = select(Task.id, Task.image_id, Task.blind, Task.prediction_run_id)
    of_taxonomy = columns.join(Campaign).where(Campaign.taxonomy_id == taxonomy.id)
    tasks: dict[int, _Task] = {row[0]: _Task(*row) for row in session.execute(of_taxonomy)}
    number = {one: i for i, one in enumerate(people)}
    item = {task_id: i for i, task_id in enumerate(said.task_ids)}
    rows = [(item[one.task_id], number[one.annotator_id]) for one in given]
    looks = np.array(rows, dtype=np.int64).reshape(-1, 2)
    aside = {one.annotation_id for one in said.aside}
    counted = np.array([one.annotation_id not in aside for one in given], dtype=np.bool_)
    asked = _things(said, given, looks, counted)
    moments = [one.given_at for one in given]
    skipped = [number[one.annotator_id] for one in everything if one.value is None]
    thing, look, answer = asked.table.T
    is_of_classes = taxonomy.task_kind == labels.CLASSIFICATION
    predicted = _predicted(session, list(tasks.values()), asked.classes) if is_of_classes else {}
    return Crowd(
        taxonomy=taxonomy,
        said=said,
        people=people,
        standings=standing.in_force(session),
        skips=np.bincount(np.array(skipped, dtype=np.int64), minlength=len(people)),
        classes=asked.classes,
        item=asked.item,
        known=asked.known,
        model=_said_by_model(session, taxonomy, said),
        table=np.stack([thing, looks[look, 1], answer], axis=1),
        look=look,
        predicted=np.array([predicted.get(given[i].task_id, -1) for i in look], dtype=np.int64),
        nearness=asked.nearness,
        looks=looks,
        counted=counted,
        is_gold=np.array([one.task_id in said.gold for one in given], dtype=np.bool_),
        task=np.array([one.task_id for one in given], dtype=np.int64),
        image=np.array([tasks[one.task_id].image_id for one in given], dtype=np.int64),
        seconds=np.array([one.lead_time_s for one in given], dtype=np.float64),
        moment_s=np.array([np.nan if one is None else one.timestamp() for one in moments], dtype=np.float64),
        blind=np.array([bool(tasks[one.task_id].blind) for one in given], dtype=np.bool_),
    )


def _things(said: Answers, given: Sequence[Answer], looks: Ints, counted: Bools) -> Things:
    """What was asked, and answered in each look: of one class the item itself."""
    kind, (item, annotator) = said.definition.kind, looks.T
    if kind == labels.CLASSIFICATION:
        number = {name: i for i, name in enumerate(said.classes)}
        answer = np.array([number[one.value or ""] for one in given], dtype=np.int64)
        table = np.stack([item, np.arange(len(given)), answer], axis=1)
        return Things(said.classes, np.arange(len(said.known)), said.known, table, np.full(len(given), np.nan))
    contents = [content.from_json(one.value or "") for one in given]
    place = {task_id: i for i, task_id in enumerate(said.task_ids)}
    settled = {place[one]: content.from_json(value) for one, value in said.settled.items() if value is not None}
    if kind == labels.MULTILABEL:
        return things.of_classes(contents, item, counted, settled, classes=said.classes)
    diagonals = np.array([math.hypot(size.width, size.height) for size in said.sizes], dtype=np.float64)
    return things.of_regions(
        contents, item, counted, settled, classes=said.classes, diagonals=diagonals, annotator=annotator
    )


def _said_by_model(session: Session, taxonomy: Taxonomy, said: Answers) -> Floats:
    """`(N, C)`, see `Crowd.model`: as the verdicts in force tell, the classes that they do not name alike."""
    chances: Floats = np.zeros((len(said.task_ids), len(said.classes)))
    powers: Floats = np.full(len(said.task_ids), np.nan)
    if taxonomy.task_kind == labels.CLASSIFICATION:
        number = {name: i for i, name in enumerate(said.classes)}
        item = {task_id: i for i, task_id in enumerate(said.task_ids)}
        for task_id, told, power in ledger.said_by_model(session, taxonomy):
            powers[item[task_id]] = power
            for name, chance in told.items():
                chances[item[task_id], number[name]] = chance
    unnamed = chances == 0
    rest = np.maximum(1 - chances.sum(axis=1), _LEAST) / np.maximum(unnamed.sum(axis=1), 1)
    trusted = np.where(unnamed, rest[:, None], chances) ** powers[:, None]
    return np.asarray(trusted / trusted.sum(axis=1, keepdims=True))


def _predicted(session: Session, tasks: Sequence[_Task], classes: Sequence[str]) -> dict[int, int]:
    """The likeliest class of the items that a model predicts for people, as a number; -1 if it is none of theirs."""
    number = {name: i for i, name in enumerate(classes)}
    of_run: dict[int, list[_Task]] = defaultdict(list)
    for task in tasks:
        if task.prediction_run_id is not None:
            of_run[task.prediction_run_id].append(task)
    found = {}
    for run_id, shown in of_run.items():
        run = session.get_one(PredictionRun, run_id)
        likeliest = predictions.read(session, run, [ImageId(task.image_id) for task in shown]).argmax(axis=1)
        found.update({task.id: number.get(run.classes[i], -1) for task, i in zip(shown, likeliest, strict=True)})
    return found
