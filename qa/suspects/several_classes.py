"""Suspects among labels of several classes an image: each class is a question of its own."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from curation.labels import LabelInForce
from labeling import content
from labeling.content import Content, ImageChoice
from qa import bit_suspicion
from qa.bit_suspicion import Doubts
from qa.suspects.found import Candidate, Found, together
from sampling.head import Views
from store.arrays import Bools, Ints


def search(
    held: Sequence[LabelInForce],
    classes: Sequence[str],
    asked: Bools,
    views: Views,
    *,
    tied: Ints,
    groups: Ints,
    on_progress: Callable[[int, int], None] | None = None,
) -> Found:
    """Hear a probe, the neighbours and copies about each class of N labels; an image is as suspect as its worst class.

    Args:
        held: N of them.
        classes: C.
        asked: `(N, C)`, whether the taxonomy had the class when the image was labelled.
        views: of their images.
        tied: `(N,)`; what has the same number is no witness of a probe or as a neighbour.
        groups: `(N,)`; what has the same number is one picture.
        on_progress: called with how many classes are done and how many there are.
    """
    contents = [content.from_json(label.value) for label in held]
    chosen = [set(one.choice.classes if one.choice else ()) for one in contents]
    bits = np.array([[name in names for name in classes] for names in chosen], dtype=np.bool_)
    doubts = bit_suspicion.doubt(bits, asked, views, tied=tied, groups=groups, on_progress=on_progress)
    settled = np.array([label.posterior is None for label in held])
    worst = np.where(doubts.is_candidate, doubts.score, 0).max(axis=1)
    suspects = np.flatnonzero(doubts.is_candidate.any(axis=1) & ~settled)
    suspects = suspects[np.argsort(-worst[suspects], kind="stable")]
    copies_of: dict[int, list[int]] = {}
    for i, group in enumerate(groups.tolist()):
        copies_of.setdefault(group, []).append(i)
    candidates = []
    for i in suspects.tolist():
        wrong = np.flatnonzero(doubts.is_candidate[i])
        wrong = wrong[np.argsort(-doubts.score[i, wrong], kind="stable")]
        copies = [each for each in copies_of[int(groups[i])] if each != i]
        sentences = []
        for number in wrong.tolist():
            differing = [held[j] for j in copies if asked[j, number] and bits[j, number] != bits[i, number]]
            by = [*_by_views(doubts, i, number), *_by_copies(differing, is_held=not bits[i, number])]
            verdict = "not there" if bits[i, number] else "missing"
            sentences.append(f"{classes[number]!r} is probably {verdict}: {', and '.join(by)}.")
        better = _better(contents[i], chosen[i] ^ {classes[number] for number in wrong.tolist()})
        candidates.append(Candidate(held[i].label_id, float(worst[i]), better, together(sentences)))
    sources = {name: int((of & doubts.is_candidate)[suspects].any(axis=1).sum()) for name, of in doubts.doubted.items()}
    return Found(candidates, sources, doubts.expected_wrong)


def _better(said: Content, names: set[str]) -> str:
    return content.to_json(replace(content.essence(said), choice=ImageChoice(tuple(sorted(names)))))


def _by_views(doubts: Doubts, i: int, number: int) -> list[str]:
    said = []
    if not np.isnan(doubts.model[i, number]):
        said.append(f"a probe that did not see this label gives it {doubts.model[i, number]:.0%}")
    if not np.isnan(doubts.near[i, number]):
        said.append(f"{doubts.near[i, number]:.0%} of its nearest neighbours, by weight, have it")
    return said


def _by_copies(others: Sequence[LabelInForce], *, is_held: bool) -> list[str]:
    if not others:
        return []
    first = f"the same picture, image {others[0].image_id}"
    who = first if len(others) == 1 else f"{first} and {len(others) - 1} more"
    return [f"{who}, is labelled {'with' if is_held else 'without'} it"]
