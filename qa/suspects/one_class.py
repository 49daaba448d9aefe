"""Suspects among labels of one class an image."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curation.labels import LabelInForce
from qa import label_noise, suspicion
from qa.suspects.found import Candidate, Found
from qa.suspicion import Confident, Doubt
from sampling.head import Views
from store.arrays import Floats, Ints

_WORTH_A_LOOK = 0.4  # chance that a label is wrong


def search(held: Sequence[LabelInForce], classes: list[str], views: Views, *, tied: Ints, groups: Ints) -> Found:
    """Hear a probe, the neighbours and copies about each of N labels.

    A probe and copies name candidates. Neighbours weigh in the score alone: those of a rare class are mostly of another
    one, whether the label is right or not.

    Args:
        held: N of them.
        classes: what they are called, two or more.
        views: of their images.
        tied: `(N,)`; what has the same number is no witness of a probe or as a neighbour.
        groups: `(N,)`; what has the same number is one picture.
    """
    number = {name: i for i, name in enumerate(classes)}
    targets = np.array([number[label.value] for label in held], dtype=np.int64)
    near = suspicion.of_neighbours(views.plain, targets, tied, classes=len(classes))
    copies = suspicion.of_copies(targets, groups, classes=len(classes))
    doubted = {"neighbours": near.score >= suspicion.AGAINST, "copies": copies.score > 0}
    is_candidate = doubted["copies"]
    told = _told(views, targets, tied, classes=len(classes))
    if told is not None:
        doubted = {"model": told.wrong > _WORTH_A_LOOK, **doubted}
        is_candidate = is_candidate | doubted["model"]
    model = None if told is None else told.model
    score = suspicion.combined(model, near, copies)
    settled = np.array([label.posterior is None for label in held])
    chosen = np.flatnonzero(is_candidate & ~settled)
    chosen = chosen[np.argsort(-score[chosen], kind="stable")]
    copies_of: dict[int, list[int]] = {}
    for position in np.flatnonzero(copies.score > 0).tolist():
        copies_of.setdefault(int(groups[position]), []).append(position)
    candidates = []
    for i in chosen.tolist():
        against = [each for each in copies_of.get(int(groups[i]), []) if targets[each] != targets[i]]
        witnesses = [
            None if told is None else _by_model(told, i, targets, classes),
            _by_neighbours(near, i, targets, classes),
            None if not against else _by_copies([held[each] for each in against]),
        ]
        better = classes[int((copies if against or model is None else model).suggestion[i])]
        candidates.append(Candidate(held[i].label_id, float(score[i]), better, " ".join(filter(None, witnesses))))
    sources = {name: int(of[chosen].sum()) for name, of in doubted.items()}
    return Found(candidates, sources, None if told is None else told.expected_wrong)


@dataclass(frozen=True)
class _Told:
    """What a probe tells of N labels."""

    probabilities: Floats  # (N, C), by probes that saw neither the label nor what it is tied to
    model: Confident
    expected_wrong: float  # share of the labels, at most: confident learning counts what a probe sees badly too
    wrong: Floats  # (N,) see qa.label_noise


def _told(views: Views, targets: Ints, tied: Ints, *, classes: int) -> _Told | None:
    """None where no probe could be trained, or it tells nothing."""
    probabilities = suspicion.out_of_fold(views, targets, tied, classes=classes)
    if probabilities is None:
        return None
    model = suspicion.confident_learning(targets, probabilities)
    estimated = suspicion.estimated(model.joint, np.bincount(targets, minlength=classes))
    wrong = label_noise.chance_of_wrong(targets, probabilities, estimated)
    return None if wrong is None else _Told(probabilities, model, suspicion.expected_wrong(estimated), wrong)


def _by_model(told: _Told, i: int, targets: Ints, classes: list[str]) -> str:
    other = int(told.model.suggestion[i])
    own, rival = told.probabilities[i, [targets[i], other]]
    named = f"{classes[targets[i]]!r} {own:.0%} and {classes[other]!r} {rival:.0%}"
    return f"A probe that did not see this label gives {named}."


def _by_neighbours(near: Doubt, i: int, targets: Ints, classes: list[str]) -> str | None:
    if near.score[i] == 0:
        return None
    most = int(near.suggestion[i])
    said = f", most of them {classes[most]!r}" if most != targets[i] else ""
    return f"{near.score[i]:.0%} of its nearest neighbours, by weight, are called something else{said}."


def _by_copies(others: Sequence[LabelInForce]) -> str:
    called = Counter(each.value for each in others)
    names = " and ".join(repr(name) for name in sorted(called))
    first = f"image {others[0].image_id}"
    who = first if len(others) == 1 else f"{first} and {len(others) - 1} more"
    return f"The same picture, {who}, is labelled {names}."
