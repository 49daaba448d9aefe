"""What several classes or regions are asked of becomes questions of one class: what is this thing, or is it nothing?

A thing is whatever somebody whose word counts, an expert or gold said is there: a class of an image, or regions of
several people that are one (`qa.consensus.matching`). Whoever looked at the image answered it: with the class they gave
it, or with `NOTHING` where they left it out. So a miss, a ghost and a wrong class are wrong answers like others. What
nobody said is there is no question, and what one of two people drew is one that the other says little about.

What only somebody who is paused drew is asked of them alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from labeling.content import Content, Region
from qa import shapes
from qa.conduct import detection
from qa.consensus import regions
from qa.consensus.regions import Drawn
from store.arrays import Bools, Floats, Ints

NOTHING = "nothing"


@dataclass(frozen=True)
class Things:
    """N things, and M answers of who looked at L images to whether they are there."""

    classes: list[str]  # what a thing may be called; the last is `NOTHING`
    item: Ints  # (N,) int64, where each is
    known: Ints  # (N,) int64, the class of what gold or an expert settled, -1 of others
    table: Ints  # (M, 3) int64: thing, look and class
    nearness: Floats  # (M,) float64, how alike what was drawn is to what is there; NaN where nothing tells


@dataclass(frozen=True)
class _Said:
    """S times that somebody said a thing is there."""

    source: Ints  # (S,) a look, or beyond these the place of a settled item
    thing: Ints  # (S,)
    naming: Ints  # (S,)
    nearness: Floats  # (S,)


def of_classes(
    contents: Sequence[Content],
    item: Ints,
    counted: Bools,
    settled: Mapping[int, Content],
    *,
    classes: Sequence[str],
) -> Things:
    """Each class of an image is a thing.

    Args:
        contents: what was said in each of L looks.
        item: `(L,)` int64, what they looked at.
        counted: `(L,)` whether it counts.
        settled: what gold and experts say of items.
        classes: of the taxonomy.
    """
    number = {name: i for i, name in enumerate(classes)}
    of = [
        (source, number[name])
        for source, said in enumerate(chain(contents, settled.values()))
        for name in (said.choice.classes if said.choice else ())
        if name in number
    ]
    source, naming = np.array(of, dtype=np.int64).reshape(-1, 2).T
    keys = _items(item, settled)[source] * len(classes) + naming
    _, thing = np.unique(keys, return_inverse=True)
    said = _Said(source, thing.reshape(-1), naming, np.full(len(source), np.nan))
    return _asked(said, item, counted, settled, classes)


def of_regions(
    contents: Sequence[Content],
    item: Ints,
    counted: Bools,
    settled: Mapping[int, Content],
    *,
    classes: Sequence[str],
    diagonals: Floats,
    annotator: Ints,
) -> Things:
    """What several people drew at one place is a thing, whatever they call it.

    How near somebody drew to what is there is their likeness with what an expert drew of it; else the mean over others,
    less only the part by which they are off themselves (`detection.own_share`).

    Args:
        contents, item, counted, settled, classes: see `of_classes`; a region may be called otherwise, or not at all.
        diagonals: of the images of items by their numbers, in pixels.
        annotator: `(L,)` int64, whose looks they are.
    """
    of = [(source, one) for source, said in enumerate(chain(contents, settled.values())) for one in said.regions]
    source = np.array([each for each, _ in of], dtype=np.int64)
    drawn = [one for _, one in of]
    called, naming = namings(drawn, classes)
    image = _items(item, settled)[source]
    counts = np.append(counted, np.ones(len(settled), dtype=np.bool_))[source]
    thing, count = np.zeros(len(drawn), dtype=np.int64), 0
    pairs: list[Ints] = [np.zeros((0, 2), dtype=np.int64)]
    alike: list[Floats] = [np.zeros(0)]
    for rows, places in shapes.sort([one.shape for one in drawn], diagonals[image]):
        found = regions.matched(Drawn(image[rows], source[rows], naming[rows]), places, places.least)
        for inside, numbers, likeness in found:
            mine = rows[inside]
            thing[mine] = count + numbers
            count += int(numbers.max()) + 1
            held = _held_against(numbers, source[mine] >= len(contents), counts[mine])
            pairs.append(mine[np.argwhere(held)])
            alike.append(likeness[held])
    people = int(annotator.max(initial=-1)) + 1
    by = np.append(annotator, np.full(len(settled), people))[source]
    nearness = _nearness(np.concatenate(pairs), np.concatenate(alike), by, people)
    names = [" and ".join(each) or "unnamed" for each in called]
    return _asked(_Said(source, thing, naming, nearness), item, counted, settled, names)


def namings(drawn: Sequence[Region], classes: Sequence[str]) -> tuple[list[tuple[str, ...]], Ints]:
    """Everything a region may be called, and `(R,)` int64 what each is called of it.

    A class, or what else somebody called one: several classes, or none.
    """
    single = [(name,) for name in classes]
    called = [*single, *sorted({region.classes for region in drawn} - set(single))]
    number = {each: i for i, each in enumerate(called)}
    return called, np.array([number[region.classes] for region in drawn], dtype=np.int64)


def _held_against(thing: Ints, by_expert: Bools, counts: Bools) -> Bools:
    """`(R, R)`: which regions of an image each is held against: an expert's of that thing, else others that count."""
    same = (thing[:, None] == thing[None, :]) & ~np.eye(len(thing), dtype=np.bool_)
    expert = same & by_expert
    return np.where(expert.any(axis=1)[:, None], expert, same & counts)


def _nearness(pairs: Ints, likeness: Floats, by: Ints, people: int) -> Floats:
    """`(R,)`: how near each region comes to what is there, by pairs `(P, 2)` of them and whose they are `(R,)`."""
    told = by[pairs[:, 0]] < people
    (one, other), likeness = pairs[told].T, likeness[told]
    off = (1 - likeness) * detection.own_share(likeness, by[one], by[other], annotators=people)
    with np.errstate(invalid="ignore"):
        return np.asarray(1 - np.bincount(one, weights=off, minlength=len(by)) / np.bincount(one, minlength=len(by)))


def _items(item: Ints, settled: Mapping[int, Content]) -> Ints:
    """The item of each source: of the looks, then of what is settled."""
    return np.concatenate([item, np.array(list(settled), dtype=np.int64)])


def _asked(said: _Said, item: Ints, counted: Bools, settled: Mapping[int, Content], names: Sequence[str]) -> Things:
    """Ask everybody who looked about every thing."""
    looks, nothing = len(item), len(names)
    things = int(said.thing.max(initial=-1)) + 1
    of = np.zeros(things, dtype=np.int64)
    of[said.thing] = _items(item, settled)[said.source]
    by_expert = said.source >= looks
    known = np.where(np.isin(of, list(settled)), nothing, -1)
    known[said.thing[by_expert]] = said.naming[by_expert]

    order = np.argsort(item, kind="stable")
    first, last = np.searchsorted(item[order], of), np.searchsorted(item[order], of, side="right")
    thing = np.repeat(np.arange(things), last - first)
    begin = np.cumsum(last - first) - (last - first)
    look = order[np.arange(len(thing)) - begin[thing] + first[thing]]
    rank = np.empty(looks, dtype=np.int64)
    rank[order] = np.arange(looks)
    rows = (begin - first)[said.thing[~by_expert]] + rank[said.source[~by_expert]]
    answer, nearness = np.full(len(thing), nothing), np.full(len(thing), np.nan)
    answer[rows], nearness[rows] = said.naming[~by_expert], said.nearness[~by_expert]

    is_asked = known >= 0
    is_asked[thing[(answer != nothing) & counted[look]]] = True
    kept = is_asked[thing] | (answer != nothing)
    table = np.stack([thing, look, answer], axis=1)
    return Things([*names, NOTHING], of, known, table[kept], nearness[kept])
