"""Everybody who answers, judged by what others and gold say of the same items. Reads only; nobody is acted upon.

Nobody is judged on fewer answers than the interval allows: where the interval of an accuracy is wider than .3, there is
no accuracy and no suggestion.
"""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from sqlalchemy.orm import Session

from curation import where
from qa import crowd, shapes, standing
from qa.conduct import accuracy, signs, speed
from qa.conduct.accuracy import Estimates
from qa.conduct.speed import Pace
from qa.conduct.trends import Difference, Slope
from qa.crowd import Crowd
from store.arrays import Bools, Floats, Ints
from store.errors import InvalidInputError, NotFoundError
from store.schema import Standing
from store.workspace import Workspace

LEAST_ACCURACY = 0.7  # who is certainly under it is suggested for a pause

_MOST_SLICES = 30
_PERIODS = 8
_LEAST_IN_PERIOD = 25  # answers


@dataclass(frozen=True)
class Sign:
    """Something to look into, and how likely chance alone would bring it."""

    kind: str  # too-fast, one-class, same-answers, tiring, drifting, anchored
    sentence: str
    p_value: float


@dataclass(frozen=True)
class Part:
    """How often somebody is right in some of their answers."""

    name: str
    answers: int  # that can be judged
    accuracy: float | None  # none where the interval is too wide to judge by
    interval: tuple[float, float]  # 95 % credible


@dataclass(frozen=True)
class Detection:
    """How somebody finds things, classes of an image or regions in it, as far as others, experts or gold tell."""

    recall: Part  # the share of what is there that they find
    naming: Part | None  # how often they call rightly what they find; none where nothing can be called otherwise
    images: int  # that others saw too, or that are settled
    ghosts_per_image: float | None  # things that are not there; none where the person is not judged
    ghosts_interval: tuple[float, float] | None  # 95 % credible; none without images
    likeness: Part | None  # mean IoU, or of keypoints nearness, of what they draw with what is there, see `qa.things`


@dataclass(frozen=True)
class AnnotatorQuality:
    """One person, judged by everything they answered under one revision of a taxonomy.

    Where several classes or regions are asked for, what is judged are things, see `qa.things`: that somebody finds one
    and calls it what it is, or leaves out what others took for one, is right.
    """

    annotator: str
    vendor: str
    taxonomy: str
    revision: int
    answers: int  # that say something, be it that nothing is there
    skips: int
    judged: int  # answers to items, or about things, of which others, an adjudicator or gold tell the truth
    accuracy: float | None  # chance that an answer of theirs is right; none where the interval is too wide
    interval: tuple[float, float]  # its 95 % credible interval
    gold: Part | None  # on gold items alone
    detection: Detection | None  # where several classes or regions are asked for
    median_lead_time_s: float | None
    pace: Pace | None  # against others on the same items
    standing: str  # good, probation, paused
    signs: list[Sign]
    suggestion: str | None


@dataclass(frozen=True)
class InFull:
    """Everything that is known of how one person answers under one revision of a taxonomy."""

    quality: AnnotatorQuality
    classes: list[str]
    confusion: list[list[float]]  # row: what an item is, as others say; column: what they answered; expected counts
    by_class: list[Part]
    by_slice: list[Part]
    over_time: list[Part]
    per_hour: Slope | None  # of accuracy, within a session
    per_week: Slope | None
    anchoring: Difference | None  # agreement with the prediction where it is shown, minus where it is not
    decisions: list[dict[str, str]]  # state, since, reason, by and at, oldest first


def list_all(workspace: Workspace, *, least_accuracy: float = LEAST_ACCURACY) -> list[AnnotatorQuality]:
    """Everybody who answered, by taxonomy, revision and name.

    Raises:
        InvalidInputError: `least_accuracy` is not between 0 and 1.
    """
    _check(least_accuracy)
    with workspace.database.read() as session:
        crowds = [crowd.load(session, taxonomy) for taxonomy in crowd.taxonomies(session)]
    return [quality for each in crowds for quality in qualities(each, least_accuracy).values()]


def show(
    workspace: Workspace,
    name: str,
    *,
    vendor_name: str | None = None,
    by: str | None = None,
    least_accuracy: float = LEAST_ACCURACY,
) -> list[InFull]:
    """One person in full, under each revision of a taxonomy that they answered.

    Args:
        name: the annotator's.
        vendor_name: whose, where several vendors have one of that name.
        by: a column of metadata, `source` or `scene`, whose every value is a slice.
        least_accuracy: under which a pause is suggested.

    Raises:
        NotFoundError: nobody of that name answered what can be judged.
        InvalidInputError: several did, or the column is not there or has more than 30 values.
    """
    _check(least_accuracy)
    with workspace.database.read() as session:
        annotator = standing.find(session, name, vendor_name=vendor_name)
        slices = {} if by is None else read_slices(session, by)
        crowds = [crowd.load(session, taxonomy) for taxonomy in crowd.taxonomies(session)]
        decisions = standing.history(session, annotator.id)
    found = [
        _in_full(each, annotator.id, slices, decisions, least_accuracy)
        for each in crowds
        if annotator.id in each.people
    ]
    if not found:
        raise NotFoundError(f"{name!r} has answered nothing that can be judged: they were asked questions alone.")
    return found


def read_slices(session: Session, column: str) -> dict[str, Ints]:
    """The images of each value of a column, sorted, by a name for it.

    Raises:
        InvalidInputError: there is no such column, or it has more than 30 values.
    """
    expressions = where.of_each_value(session, column, most=_MOST_SLICES)
    return {name: where.image_ids(session, expression) for name, expression in expressions.items()}


def qualities(found: Crowd, least_accuracy: float = LEAST_ACCURACY) -> dict[int, AnnotatorQuality]:
    """Everybody's, by annotator id, in the order of their names.

    Raises:
        InvalidInputError: `least_accuracy`, under which a pause is suggested, is not between 0 and 1.
    """
    _check(least_accuracy)
    if not found.people:
        return {}
    told: list[list[Sign]] = [[] for _ in found.people]
    for number, sign in (
        *_hasty(found),
        *_of_one_class(found),
        *_together(found),
        *_losing(found, "tiring", found.per_hour, "each hour of a session"),
        *_losing(found, "drifting", found.per_week, "each week"),
        *_anchored(found),
    ):
        told[number].append(sign)
    return {one: _quality(found, one, i, told[i], least_accuracy) for i, one in enumerate(found.people)}


def _quality(found: Crowd, annotator_id: int, number: int, told: list[Sign], least_accuracy: float) -> AnnotatorQuality:
    name, vendor = found.people[annotator_id]
    total, gold = _part("all", found.total, number), _part("gold", found.on_gold, number)
    state = found.standings[annotator_id].state if annotator_id in found.standings else "good"
    own = found.looks[:, 1] == number
    timed = found.seconds[own & speed.is_plausible(found.seconds)]
    suggestion = None
    if total.accuracy is not None and total.interval[1] < least_accuracy and state != "paused":
        what = "things" if found.of_things else "answers"
        suggestion = (
            f"gets at most {total.interval[1]:.0%} of {what} right, where {least_accuracy:.0%} are wanted: "
            f'winnow qa annotators pause {shlex.quote(name)} --reason "..."'
        )
    return AnnotatorQuality(
        annotator=name,
        vendor=vendor,
        taxonomy=found.taxonomy.name,
        revision=found.taxonomy.revision,
        answers=int(own.sum()),
        skips=int(found.skips[number]),
        judged=total.answers,
        accuracy=total.accuracy,
        interval=total.interval,
        gold=gold if gold.answers else None,
        detection=_detection(found, number, is_judged=total.accuracy is not None) if found.of_things else None,
        median_lead_time_s=float(np.median(timed)) if len(timed) else None,
        pace=found.paces.get(number),
        standing=state,
        signs=told,
        suggestion=suggestion,
    )


def _detection(found: Crowd, number: int, *, is_judged: bool) -> Detection:
    images = int(found.ghosts.images[number])
    low, high = found.ghosts.interval[number].tolist()
    called = shapes.likeness_of(found.taxonomy.task_kind)
    return Detection(
        recall=_part("recall", found.recall, number),
        naming=None if found.naming is None else _part("naming", found.naming, number),
        images=images,
        ghosts_per_image=float(found.ghosts.rate[number]) if is_judged and images else None,
        ghosts_interval=(low, high) if images else None,
        likeness=None if found.near is None else _part(called, found.near, number),
    )


def _in_full(
    found: Crowd, annotator_id: int, slices: Mapping[str, Ints], decisions: Iterable[Standing], least_accuracy: float
) -> InFull:
    number = list(found.people).index(annotator_id)
    confusion = found.confusions[number]
    image = found.image[found.look[found.judged.rows]]
    own = found.table[found.judged.rows, 1] == number
    per_class = accuracy.by_class(confusion, weight=float(found.weight[own].mean()) if own.any() else 1.0)
    return InFull(
        quality=qualities(found, least_accuracy)[annotator_id],
        classes=found.classes,
        confusion=confusion.tolist(),
        by_class=[_part(name, per_class, i) for i, name in enumerate(found.classes[: -1 if found.of_things else None])],
        by_slice=_parts(found, number, {name: np.isin(image, ids) for name, ids in slices.items()}),
        over_time=_parts(found, number, _periods(found, number)),
        per_hour=found.per_hour[number],
        per_week=found.per_week[number],
        anchoring=found.anchoring[number],
        decisions=[
            {
                "state": one.state,
                "since": one.since.isoformat(),
                "reason": one.reason,
                "by": one.decided_by,
                "at": one.decided_at.isoformat(),
            }
            for one in decisions
        ],
    )


def _parts(found: Crowd, number: int, masks: Mapping[str, Bools]) -> list[Part]:
    """Somebody's accuracy in parts of the judged answers `(J,)`, which may overlap; without those of no answer."""
    own = found.table[found.judged.rows, 1] == number
    estimates = {name: found.estimate(np.where(own & mask, 0, 1), groups=2) for name, mask in masks.items()}
    return [_part(name, estimate, 0) for name, estimate in estimates.items() if estimate.answers[0]]


def _periods(found: Crowd, number: int) -> dict[str, Bools]:
    """Up to eight equal parts of somebody's judged answers by time."""
    moments = found.moment_s[found.look[found.judged.rows]]
    own = np.flatnonzero((found.table[found.judged.rows, 1] == number) & ~np.isnan(moments))
    own = own[np.argsort(moments[own], kind="stable")]
    masks: dict[str, Bools] = {}
    for part in np.array_split(own, max(1, min(_PERIODS, len(own) // _LEAST_IN_PERIOD))):
        if len(part):
            begin, end = moments[part[[0, -1]]].astype("datetime64[s]").tolist()
            mask = np.zeros(len(moments), dtype=np.bool_)
            mask[part] = True
            masks[f"{begin:%Y-%m-%d %H:%M} – {end:%Y-%m-%d %H:%M}"] = mask
    return masks


def _hasty(found: Crowd) -> Iterator[tuple[int, Sign]]:
    timed = speed.is_plausible(found.seconds)
    seconds, who = found.seconds[timed], found.looks[timed, 1]
    least_s = speed.least_plausible_s(seconds, who)
    if least_s is None:
        return
    total = np.bincount(who, minlength=len(found.people))
    fast = np.bincount(who[seconds < least_s], minlength=len(found.people))
    p_values = signs.haste(fast, total)
    for number in _discovered(p_values):
        sentence = f"gave {fast[number]} of {total[number]} answers in under {least_s:.1f} s, too short to look"
        yield number, Sign("too-fast", sentence, float(p_values[number]))


def _of_one_class(found: Crowd) -> Iterator[tuple[int, Sign]]:
    most, usual, p_values = signs.one_class(found.table, found.judged, found.found)
    said = found.table[found.judged.rows]
    for number in _discovered(p_values):
        share = float(np.mean(said[said[:, 1] == number, 2] == most[number]))
        name = found.classes[most[number]]
        if not found.of_things:
            says = f"answers {name!r} to {share:.0%} of items"
        elif most[number] == len(found.classes) - 1:
            says = f"leaves out {share:.0%} of things"
        else:
            says = f"says {name!r} of {share:.0%} of things"
        sentence = f"{says}, where {usual[number]:.0%} would be expected"
        yield number, Sign("one-class", sentence, float(p_values[number]))


def _together(found: Crowd) -> Iterator[tuple[int, Sign]]:
    if found.of_things:
        return  # what is hard to see is missed by many alike, and looks as if they had copied
    pairs = signs.same_answers(found.table[found.counted[found.look]], found.known, found.found)
    names = [name for name, _ in found.people.values()]
    for i in _discovered(pairs.p_value):
        for one, other in (pairs.people[i].tolist(), pairs.people[i][::-1].tolist()):
            sentence = (
                f"shares {pairs.shared[i]} mistakes with {names[other]} on {pairs.items[i]} items, "
                f"where {pairs.expected[i]:.1f} would be expected"
            )
            yield one, Sign("same-answers", sentence, float(pairs.p_value[i]))


def _losing(found: Crowd, kind: str, slopes: list[Slope | None], unit: str) -> Iterator[tuple[int, Sign]]:
    for number in _discovered(_p_values(slopes)):
        slope = slopes[number]
        if slope is not None:
            lost = _points(-slope.value, (-slope.interval[1], -slope.interval[0]))
            yield number, Sign(kind, f"loses {lost} of accuracy with {unit}", slope.p_value)


def _anchored(found: Crowd) -> Iterator[tuple[int, Sign]]:
    for number in _discovered(_p_values(found.anchoring)):
        difference = found.anchoring[number]
        if difference is not None:
            more = _points(difference.value, difference.interval)
            sentence = f"agrees with the model {more} more often where its prediction is shown"
            yield number, Sign("anchored", sentence, difference.p_value)


def _p_values(found: Iterable[Slope | Difference | None]) -> Floats:
    return np.array([np.nan if one is None else one.p_value for one in found])


def _discovered(p_values: Floats) -> list[int]:
    numbers: list[int] = np.flatnonzero(signs.discoveries(p_values)).tolist()
    return numbers


def _part(name: str, found: Estimates, i: int) -> Part:
    low, high = found.interval[i].tolist()
    return Part(name, int(found.answers[i]), float(found.accuracy[i]) if found.enough[i] else None, (low, high))


def _points(value: float, interval: tuple[float, float]) -> str:
    """A difference of shares in words."""
    return f"{100 * value:.0f} points ({100 * interval[0]:.0f} to {100 * interval[1]:.0f})"


def _check(least_accuracy: float) -> None:
    if not 0 <= least_accuracy <= 1:
        raise InvalidInputError(f"The least accuracy is between 0 and 1, not {least_accuracy:g}.")
