"""Suspects among labels of one class an image."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from curation.labels import LabelInForce
from qa import suspicion
from qa.suspects.found import Candidate, Found
from qa.suspicion import Doubt
from sampling.head import Views
from store.arrays import Floats, Ints


def search(held: Sequence[LabelInForce], classes: list[str], views: Views, *, tied: Ints, groups: Ints) -> Found:
    """Hear a probe, the neighbours and copies about each of N labels.

    Args:
        held: N of them.
        classes: what they are called, two or more.
        views: of their images.
        tied: `(N,)`; what has the same number is no witness of a probe or as a neighbour.
        groups: `(N,)`; what has the same number is one picture.
    """
    number = {name: i for i, name in enumerate(classes)}
    targets = np.array([number[label.value] for label in held], dtype=np.int64)
    probabilities = suspicion.out_of_fold(views, targets, tied, classes=len(classes))
    near = suspicion.of_neighbours(views.plain, targets, tied, classes=len(classes))
    copies = suspicion.of_copies(targets, groups, classes=len(classes))
    is_candidate = {"neighbours": near.score >= suspicion.AGAINST, "copies": copies.score > 0}
    model, expected = None, None
    if probabilities is not None:
        model = suspicion.confident_learning(targets, probabilities)
        is_candidate = {"model": model.flagged, **is_candidate}
        expected = suspicion.expected_wrong(
            suspicion.estimated(model.joint, np.bincount(targets, minlength=len(classes)))
        )
    score = suspicion.combined(model, near, copies)
    settled = np.array([label.posterior is None for label in held])
    chosen = np.flatnonzero(np.any(list(is_candidate.values()), axis=0) & ~settled)
    chosen = chosen[np.argsort(-score[chosen], kind="stable")]
    copies_of: dict[int, list[int]] = {}
    for position in np.flatnonzero(copies.score > 0).tolist():
        copies_of.setdefault(int(groups[position]), []).append(position)
    candidates = []
    for i in chosen.tolist():
        against = [each for each in copies_of.get(int(groups[i]), []) if targets[each] != targets[i]]
        witnesses = [
            None if model is None else _by_model(model, probabilities, i, targets, classes),
            _by_neighbours(near, i, targets, classes),
            None if not against else _by_copies([held[each] for each in against]),
        ]
        suggestion = copies if against else model if model is not None and model.flagged[i] else near
        better = classes[_other(suggestion, model or near, i, int(targets[i]))]
        candidates.append(Candidate(held[i].label_id, float(score[i]), better, " ".join(filter(None, witnesses))))
    return Found(candidates, {name: int(doubted[chosen].sum()) for name, doubted in is_candidate.items()}, expected)


def _other(source: Doubt, fallback: Doubt, i: int, label: int) -> int:
    """What a source suggests, or the other one where that is the label itself."""
    suggested = int(source.suggestion[i])
    return suggested if suggested != label else int(fallback.suggestion[i])


def _by_model(model: Doubt, probabilities: Floats | None, i: int, targets: Ints, classes: list[str]) -> str:
    assert probabilities is not None  # noqa: S101  the model came from them
    other = int(model.suggestion[i])
    own = probabilities[i, targets[i]]
    return (
        f"A probe that did not see this label gives {classes[targets[i]]!r} {own:.0%} "
        f"and {classes[other]!r} {probabilities[i, other]:.0%}."
    )


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
