"""What items hold of which several classes, or regions, are asked: what several people's answers make of each.

Classes are believed one by one (`qa.consensus.multilabel`), regions as things that several people drew or did not
(`qa.consensus.regions`); what is likelier there than not is in the likeliest content. Attributes are weighed by those
who said anything of them (`qa.consensus.attributes`): where the value of one is in doubt, so is what it is said of.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from curation import labels
from labeling import content
from labeling.content import Content, ImageChoice, Region
from qa import gains, shapes, things
from qa.answers import Answers
from qa.case import TOLD, Belief, Case
from qa.consensus import attributes, multilabel, regions
from qa.consensus.belief import PRIOR_RIGHT, PRIOR_WRONG
from qa.consensus.places import Places
from qa.consensus.regions import Drawn, Regions
from qa.overlap import Gain
from store.arrays import Bools, Floats, Ints, positions_of_each

_Contents: TypeAlias = Mapping[int, Mapping[int, Content]]  # what was said of each task by whom


def believe(case: Case) -> Belief:
    """What all items hold."""
    said = case.said
    contents: dict[int, dict[int, Content]] = {task_id: {} for task_id in said.task_ids}
    for answer in said.given:
        if answer.value is not None:
            contents[answer.task_id][answer.annotator_id] = content.from_json(answer.value)
    looked, whole = _heard(case, contents)
    is_multilabel = said.definition.kind == labels.MULTILABEL
    found = _several_classes(case, contents) if is_multilabel else _regions(case, looked, whole)
    of_image = attributes.fit(
        [each.attributes for each in whole], *looked.T, things=len(said.task_ids), annotators=len(case.annotators)
    )
    sure = found.sure * of_image.sure

    def gain(pairs: Ints) -> Floats:
        item, annotator = pairs.T
        then = (found.sure[item] + found.gain(pairs)) * of_image.after(item, annotator)
        return np.asarray(np.maximum(then - sure[item], 0))

    def likeliest(item: int) -> tuple[str, dict[str, Any]]:
        whole = replace(found.likeliest[item], attributes=of_image.likeliest[item])
        chances = of_image.chances[item]
        return content.to_json(whole), found.reasons[item] | ({"attributes": chances} if chances else {})

    return Belief(sure, found.accuracy, gain, likeliest, precision=found.precision)


@dataclass(frozen=True)
class _Found:
    """What N items hold, and how good A annotators are at saying so; see `qa.case.Belief`."""

    likeliest: list[Content]
    reasons: list[dict[str, Any]]  # what is said of each in its verdict
    sure: Floats
    accuracy: Floats
    gain: Gain
    precision: Floats | None = None


def _several_classes(case: Case, contents: _Contents) -> _Found:
    said = case.said
    named = [_held(found, said.classes) for found in _flat(contents)]
    known = np.full((len(said.task_ids), len(said.classes)), -1, dtype=np.int64)
    settled = said.settled
    for item, task_id in enumerate(said.task_ids):
        if value := settled.get(task_id):
            known[item] = _held(content.from_json(value), said.classes)
    found = multilabel.fit(
        _looked(said, contents),
        np.array(named, dtype=np.bool_).reshape(-1, len(said.classes)),
        known,
        annotators=len(case.annotators),
        gold=np.isin(said.task_ids, list(said.gold)),
    )
    likeliest, reasons = [], []
    for row in found.posteriors.tolist():
        chances = dict(zip(said.classes, row, strict=True))
        held = sorted(name for name, chance in chances.items() if chance > gains.LIKELIER)
        likeliest.append(Content(choice=ImageChoice(tuple(held))))
        told = {name: chance for name, chance in chances.items() if chance > TOLD}
        reasons.append({"method": "class by class", "chances": told})
    accuracy = (found.sensitivity + found.specificity).mean(axis=1) / 2
    return _Found(likeliest, reasons, gains.all_right(found), accuracy, partial(gains.of_classes, found))


def _regions(case: Case, looked: Ints, whole: Sequence[Content]) -> _Found:
    """`looked` and `whole` are `_heard`'s."""
    said, expert = case.said, len(case.annotators)
    of = [(row, region) for row, found in enumerate(whole) for region in found.regions]
    item, annotator = looked[[row for row, _ in of]].reshape(-1, 2).T
    drawn = [region for _, region in of]
    names, naming = things.namings(drawn, said.classes)
    diagonals = np.array([math.hypot(size.width, size.height) for size in said.sizes], dtype=np.float64)
    names_of = {answer.annotator_id: answer.annotator for answer in said.given}
    kept: list[list[Region]] = [[] for _ in said.task_ids]
    told: list[list[dict[str, Any]]] = [[] for _ in said.task_ids]
    fits: list[Regions[Places]] = []
    drew: list[Ints] = []
    for rows, places in shapes.sort([region.shape for region in drawn], diagonals[item]):
        found = regions.fit(
            Drawn(item[rows], annotator[rows], naming[rows]),
            places,
            looked,
            images=len(said.task_ids),
            annotators=expert,
            classes=len(names),
            gold=np.isin(said.task_ids, list(said.gold)),
        )
        described = attributes.fit(
            [drawn[row].attributes for row in rows.tolist()],
            found.thing,
            annotator[rows],
            things=len(found.existence),
            annotators=expert,
        )
        fits.append(replace(found, attributes=described))
        drew.append(annotator[rows])
        for thing, of_thing in enumerate(positions_of_each(found.thing)):
            classes = names[int(found.classes[thing].argmax())]
            told[found.image[thing]].append(
                {
                    "classes": list(classes),
                    "chance": float(found.existence[thing]),
                    "chance_of_classes": float(found.classes[thing].max()),
                    **({"attributes": chances} if (chances := described.chances[thing]) else {}),
                    "drawn_by": [
                        "an expert" if one == expert else names_of[case.annotators[one]]
                        for one in annotator[rows[of_thing]].tolist()
                    ],
                }
            )
            if found.existence[thing] > gains.LIKELIER:
                shape = shapes.at(found.places, thing)
                kept[found.image[thing]].append(Region("", shape, classes, attributes=described.likeliest[thing]))
    accuracy, precision = _detection(drew, fits, annotators=expert)
    return _Found(
        [Content(regions=tuple(one)) for one in kept],
        [{"method": "regions", "regions": one} for one in told],
        sure=gains.share_right(fits, images=len(said.task_ids)),
        accuracy=accuracy,
        gain=partial(gains.of_regions, fits),
        precision=precision,
    )


def _detection(drew: Sequence[Ints], fits: Sequence[Regions[Places]], *, annotators: int) -> tuple[Floats, Floats]:
    """How much of what is there each annotator draws, and how much of what they draw is there, both `(A,)`.

    Args:
        drew: By kind of place, who drew each region; A is an expert.
        fits: What became of these.
        annotators: A.
    """
    there: Floats = np.zeros(annotators)
    expected = 0.0
    right, drawn = np.full(annotators, PRIOR_RIGHT), np.full(annotators, PRIOR_RIGHT + PRIOR_WRONG)
    for by, found in zip(drew, fits, strict=True):
        of_class = found.existence @ found.classes
        there, expected = there + found.recall @ of_class, expected + of_class.sum()
        right += np.bincount(by, weights=found.existence[found.thing], minlength=annotators + 1)[:annotators]
        drawn += np.bincount(by, minlength=annotators + 1)[:annotators]
    usual = PRIOR_RIGHT / (PRIOR_RIGHT + PRIOR_WRONG)
    return there / expected if expected else np.full(annotators, usual), right / drawn


def _heard(case: Case, contents: _Contents) -> tuple[Ints, list[Content]]:
    """Who looked at what (see `_looked`), and said what; at last what is settled, as if by an expert, number A."""
    said = case.said
    settled = {task_id: content.from_json(value) for task_id, value in said.settled.items() if value is not None}
    places = [i for i, task_id in enumerate(said.task_ids) if task_id in settled]
    by_expert = np.array([(i, len(case.annotators)) for i in places], dtype=np.int64).reshape(-1, 2)
    looked = np.concatenate([_looked(said, contents), by_expert])
    return looked, [*_flat(contents), *(settled[said.task_ids[i]] for i in places)]


def _flat(contents: _Contents) -> list[Content]:
    return [found for of_task in contents.values() for found in of_task.values()]


def _looked(said: Answers, contents: _Contents) -> Ints:
    """`(M, 2)` int64: the item and the annotator of each content, as positions in the lists of `said`."""
    item, annotator = ({each: i for i, each in enumerate(ids)} for ids in (said.task_ids, said.annotator_ids))
    pairs = [(item[task_id], annotator[one]) for task_id, of_task in contents.items() for one in of_task]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _held(found: Content, classes: Sequence[str]) -> Bools:
    """`(C,)`: which classes the image is said to hold."""
    chosen = found.choice.classes if found.choice else ()
    return np.array([name in chosen for name in classes], dtype=np.bool_)
