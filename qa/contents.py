"""What items hold of which several classes, or regions, are asked: what several people's answers make of each.

Classes are believed one by one (`qa.consensus.multilabel`), regions as things that several people drew or did not
(`qa.consensus.regions`); what is likelier there than not is in the likeliest content. Attributes are what most of those
said who said anything of them.

The posterior of classes is the chance that all of them are right. Of regions it is the share expected to be right of
all things that are in the content or should be: a doubtful one among many is a small fault, alone it is the whole.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from labeling import content
from labeling.content import Content, ImageChoice, Region, Value
from qa import shapes
from qa.answers import Answers
from qa.case import Case, Finding, Findings
from qa.consensus import multilabel, regions
from qa.consensus.regions import Drawn
from store.arrays import Bools, Floats, Ints, positions_of_each

_MULTILABEL = "multilabel"
_LIKELIER = 0.5  # than not
_TOLD = 0.01  # a chance above is named in the verdict

_Contents: TypeAlias = Mapping[int, Mapping[int, Content]]  # what was said of each task by whom


@dataclass(frozen=True)
class _Belief:
    """What items hold, each at its place, and how good annotators are at saying so."""

    likeliest: list[Content]
    sure: Floats  # (N,), see above
    reasons: list[dict[str, Any]]  # what is said of each in its verdict
    accuracy: Floats  # (A,)


def find(case: Case) -> Findings:
    """What the answers to the items of a campaign come to."""
    said = case.said
    contents: dict[int, dict[int, Content]] = {task_id: {} for task_id in said.task_ids}
    for answer in said.given:
        if answer.value is not None:
            contents[answer.task_id][answer.annotator_id] = content.from_json(answer.value)
    belief = _several_classes(said, contents) if said.definition.kind == _MULTILABEL else _regions(said, contents)
    findings = {}
    for item, task_id in enumerate(said.task_ids):
        if task_id in case.looks:
            attributes = _most_said([found.attributes for found in contents[task_id].values()])
            value = content.to_json(replace(belief.likeliest[item], attributes=attributes))
            posterior = float(belief.sure[item])
            outcome = case.outcome(task_id, posterior)
            findings[task_id] = Finding(outcome, value, posterior, belief.reasons[item])
    return Findings(findings, dict(zip(said.annotator_ids, belief.accuracy.tolist(), strict=True)), model=None)


def _several_classes(said: Answers, contents: _Contents) -> _Belief:
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
        annotators=len(said.annotator_ids),
    )
    likeliest, reasons = [], []
    for row in found.posteriors.tolist():
        chances = dict(zip(said.classes, row, strict=True))
        held = sorted(name for name, chance in chances.items() if chance > _LIKELIER)
        likeliest.append(Content(choice=ImageChoice(tuple(held))))
        told = {name: chance for name, chance in chances.items() if chance > _TOLD}
        reasons.append({"method": "class by class", "chances": told})
    sure = np.maximum(found.posteriors, 1 - found.posteriors).prod(axis=1)
    return _Belief(likeliest, sure, reasons, accuracy=(found.sensitivity + found.specificity).mean(axis=1) / 2)


def _regions(said: Answers, contents: _Contents) -> _Belief:
    settled = {task_id: content.from_json(value) for task_id, value in said.settled.items() if value is not None}
    by_expert = np.array([(i, len(said.annotator_ids)) for i, one in enumerate(said.task_ids) if one in settled])
    looked = np.concatenate([_looked(said, contents), by_expert.reshape(-1, 2).astype(np.int64)])
    whole = [*_flat(contents), *(settled[task_id] for task_id in said.task_ids if task_id in settled)]
    of = [(row, region) for row, found in enumerate(whole) for region in found.regions]
    item, annotator = looked[[row for row, _ in of]].reshape(-1, 2).T
    drawn = [region for _, region in of]
    names = _namings(said, drawn)
    naming = np.array([names.index(region.classes) for region in drawn], dtype=np.int64)
    diagonals = np.array([math.hypot(size.width, size.height) for size in said.sizes], dtype=np.float64)
    names_of = {answer.annotator_id: answer.annotator for answer in said.given}
    people = [*(names_of[one] for one in said.annotator_ids), "an expert"]
    images = len(said.task_ids)
    kept: list[list[Region]] = [[] for _ in said.task_ids]
    told: list[list[dict[str, Any]]] = [[] for _ in said.task_ids]
    right, wanted = np.zeros(images), np.zeros(images)  # things of the likeliest; those and what it should hold too
    recalls = []
    for rows, places in shapes.sort([region.shape for region in drawn], diagonals[item]):
        found = regions.fit(
            Drawn(item[rows], annotator[rows], naming[rows]),
            places,
            looked,
            images=images,
            annotators=len(said.annotator_ids),
            classes=len(names),
        )
        is_kept = found.existence > _LIKELIER
        right += np.bincount(found.image, weights=found.scores * is_kept, minlength=images)
        wanted += np.bincount(found.image, weights=np.where(is_kept, 1.0, found.existence), minlength=images)
        wanted += found.missed
        recalls.append(found.recall.mean(axis=1))
        for thing, of_thing in enumerate(positions_of_each(found.thing)):
            classes = names[int(found.classes[thing].argmax())]
            told[found.image[thing]].append(
                {
                    "classes": list(classes),
                    "chance": float(found.existence[thing]),
                    "chance_of_classes": float(found.classes[thing].max()),
                    "drawn_by": [people[one] for one in annotator[rows[of_thing]]],
                }
            )
            if is_kept[thing]:
                attributes = _most_said([drawn[row].attributes for row in rows[of_thing]])
                shape = shapes.at(found.places, thing)
                kept[found.image[thing]].append(Region("", shape, classes, attributes=attributes))
    has_any = np.array([bool(one) for one in kept], dtype=np.bool_)
    sure = np.where(has_any, right / np.where(has_any, wanted, 1.0), np.exp(-wanted))
    return _Belief(
        [Content(regions=tuple(one)) for one in kept],
        sure,
        [{"method": "regions", "regions": one} for one in told],
        accuracy=np.mean(recalls, axis=0) if recalls else np.ones(len(said.annotator_ids)),
    )


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


def _namings(said: Answers, drawn: Iterable[Region]) -> list[tuple[str, ...]]:
    """Everything a region may be called: a class, or what else somebody called one, several classes or none."""
    single = [(name,) for name in said.classes]
    return [*single, *sorted({region.classes for region in drawn} - set(single))] or [()]


def _most_said(attributes: Sequence[Mapping[str, Value]]) -> dict[str, Value]:
    """What most say of each attribute; of equals the last in the order of their text."""
    said: dict[str, Counter[Value]] = {}
    for each in attributes:
        for name, value in each.items():
            said.setdefault(name, Counter())[value] += 1
    return {name: max(values.items(), key=lambda one: (one[1], repr(one[0])))[0] for name, values in said.items()}
