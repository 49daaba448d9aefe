"""How a campaign of several classes, or of regions, is doing, and how good its annotators are. Reads only."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, islice

import numpy as np
from sqlalchemy.orm import Session

from curation import labels
from labeling import content
from labeling.content import Content, Region
from labeling.results import ImageSize
from qa import agreement, agreement_tables, annotators, answers, crowd, defects, ledger, report, shapes
from qa.agreement_tables import AgreementRow
from qa.annotators import LEAST_ACCURACY, AnnotatorQuality
from qa.answers import Answers
from qa.defects import Tolerance
from qa.report import Progress
from store.arrays import Floats, Ints
from store.schema import Campaign, Taxonomy
from store.workspace import Workspace

_ALIKE = Tolerance(least_iou=agreement.REGION_THRESHOLDS[0], least_f1=1)  # every thing in the same place, by half


@dataclass(frozen=True)
class DrawnRow:
    """How far people who saw the same images draw the same things in the same places."""

    of: str  # campaign, class, slice, vendor, guideline or people
    name: str
    images: int  # that two people saw, and one or more drew in
    regions: int  # of both of each two: one counts once for each other person who saw its image
    matched: int  # pairs of these that overlap by half
    mean_likeness: float | None  # of the pairs: IoU, or of keypoints nearness
    f1: tuple[float, ...] | None  # at each of agreement.REGION_THRESHOLDS; of a class where both call it that


@dataclass(frozen=True)
class Disputed:
    """An item that people see differently and nobody settled."""

    image: int
    name: str  # of its file
    width: int
    height: int
    said: dict[str, Content]  # by annotator's name, with their id where several have it
    posterior: float | None  # how sure we are of what it holds, by the verdict in force; none without one
    outcome: str | None  # of that verdict


@dataclass(frozen=True)
class ContentReport(Progress):
    """One campaign in figures."""

    agreement: list[AgreementRow]  # where several classes are asked for: on all, and on each
    drawn: list[DrawnRow]  # where regions are; keypoints overlap as far as they are near
    annotators: list[AnnotatorQuality]  # of this campaign, by name, judged over all campaigns under this revision
    disputed: list[Disputed]  # the most doubtful first


@dataclass(frozen=True)
class _Pair:
    """What two people drew in one image."""

    task_id: int
    image: int
    people: tuple[int, int]  # annotator ids
    regions: tuple[Sequence[Region], Sequence[Region]]
    likeness: Floats  # (N, M)


@dataclass(frozen=True)
class _Revision:
    """Everything that was answered under one revision of a taxonomy."""

    said: Answers

    @cached_property
    def names(self) -> dict[int, str]:
        """What everybody is shown as, by annotator id: a name that several have comes with that id."""
        names = {answer.annotator_id: answer.annotator for answer in self.said.given}
        people = Counter(names.values())
        return {one: name if people[name] == 1 else f"{name} ({one})" for one, name in names.items()}

    @cached_property
    def contents(self) -> dict[int, dict[int, Content]]:
        """What everybody said of each item, by annotator id."""
        contents: dict[int, dict[int, Content]] = {task_id: {} for task_id in self.said.task_ids}
        for answer in self.said.given:
            if answer.value is not None:
                contents[answer.task_id][answer.annotator_id] = content.from_json(answer.value)
        return contents

    @cached_property
    def pairs(self) -> list[_Pair]:
        """Each two people's drawings of each item."""
        items = zip(self.said.task_ids, self.said.image_ids, self.said.sizes, strict=True)
        found = []
        for task_id, image_id, size in items:
            by_person = self.contents[task_id]
            for one, other in combinations(sorted(by_person, key=self.names.__getitem__), 2):
                regions = (by_person[one].regions, by_person[other].regions)
                places = ([each.shape for each in drawn] for drawn in regions)
                likeness = shapes.likeness(*places, diagonal=math.hypot(size.width, size.height))
                found.append(_Pair(task_id, image_id, (one, other), regions, likeness))
        return found


@dataclass(frozen=True)
class _Part:
    """Some items of a revision."""

    of: str
    name: str
    revision: _Revision
    task_ids: Ints

    @property
    def pairs(self) -> list[_Pair]:
        wanted = set(self.task_ids.tolist())
        return [pair for pair in self.revision.pairs if pair.task_id in wanted]

    @property
    def contents(self) -> list[dict[int, Content]]:
        return [self.revision.contents[task_id] for task_id in self.task_ids.tolist()]


def read(
    workspace: Workspace, campaign_name: str, *, by: str | None = None, least_accuracy: float = LEAST_ACCURACY
) -> ContentReport:
    """Progress, cost, agreement and annotators of one campaign, as its newest review left it.

    Args:
        workspace: where it is.
        campaign_name: which campaign.
        by: a column of metadata, `source` or `scene`; the agreement on each of its values is told.
        least_accuracy: under which a pause of an annotator is suggested.

    Raises:
        NotFoundError: there is no such campaign.
        InvalidInputError: it is an adjudication, the column is not there or has more than
            30 values, or `least_accuracy` is not between 0 and 1.
    """
    with workspace.database.read() as session:
        campaign = answers.labelling_campaign(session, campaign_name)
        taxonomy = session.get_one(Taxonomy, campaign.taxonomy_id)
        slices = {} if by is None else annotators.read_slices(session, by)
        people = crowd.load(session, taxonomy)
        said = people.said
        so_far = report.progress(session, campaign, taxonomy, said)
        own = np.array(sorted(answers.standing_items(session, campaign)), dtype=np.int64)
        vendors = agreement_tables.of_vendors(session, taxonomy)
        revisions = list(agreement_tables.of_revisions(session, taxonomy, said))
        this = _Revision(said)
        disputed = list(_disputed(session, campaign, this, own.tolist()))
    own_tasks = set(own.tolist())
    present = {answer.annotator_id for answer in [*said.given, *said.aside] if answer.task_id in own_tasks}
    qualities = annotators.qualities(people, least_accuracy)
    image_of = np.array(said.image_ids, dtype=np.int64)[np.searchsorted(said.task_ids, own)]
    parts = [_Part("slice", name, this, own[np.isin(image_of, ids)]) for name, ids in slices.items()]
    parts += [_Part("vendor", name, this, ids) for name, ids in vendors.items()]
    for name, answered in revisions:
        revision = this if answered is said else _Revision(answered)
        parts.append(_Part("guideline", name, revision, np.array(answered.task_ids)))
    whole = _Part("campaign", campaign.name, this, own)
    is_drawn = taxonomy.task_kind != labels.MULTILABEL
    return ContentReport(
        **vars(so_far),
        agreement=[] if is_drawn else list(_on_classes(whole, parts)),
        drawn=list(_drawn(whole, parts)) if is_drawn else [],
        annotators=[quality for annotator_id, quality in qualities.items() if annotator_id in present],
        disputed=disputed,
    )


def _disputed(session: Session, campaign: Campaign, revision: _Revision, task_ids: Sequence[int]) -> Iterator[Disputed]:
    said, verdicts = revision.said, ledger.newest(session, campaign)
    settled = said.settled
    contents = {task_id: revision.contents[task_id] for task_id in task_ids if task_id not in settled}

    def sure(task_id: int) -> float:
        return verdicts[task_id].posterior or 0.0 if task_id in verdicts else 0.0

    place = {task_id: i for i, task_id in enumerate(said.task_ids)}
    most_doubtful = sorted(contents, key=lambda one: (sure(one), one))
    different = (one for one in most_doubtful if _is_disputed(contents[one], said.sizes[place[one]]))
    worst = list(islice(different, report.MOST_DISPUTED))
    image_of = {task_id: said.image_ids[place[task_id]] for task_id in worst}
    name_of = report.file_names(session, image_of.values())
    for task_id in worst:
        size, verdict = said.sizes[place[task_id]], verdicts.get(task_id)
        yield Disputed(
            image=image_of[task_id],
            name=name_of[image_of[task_id]],
            width=size.width,
            height=size.height,
            said={revision.names[one]: found for one, found in contents[task_id].items()},
            posterior=None if verdict is None else verdict.posterior,
            outcome=None if verdict is None else verdict.outcome,
        )


def _is_disputed(by_person: Mapping[int, Content], size: ImageSize) -> bool:
    """Whether any two people see different things; none draws exactly what another does."""
    diagonal = math.hypot(size.width, size.height)
    pairs = combinations(by_person.values(), 2)
    return any(defects.differ(one, other, _ALIKE, diagonal=diagonal) for one, other in pairs)


def _on_classes(whole: _Part, parts: Sequence[_Part]) -> Iterator[AgreementRow]:
    """On whether an image holds each class; `items` are those that anyone said it of."""
    yield _on_all_classes(whole)
    table, classes = _holdings(whole), whole.revision.said.classes
    everything = np.ones(len(whole.task_ids), dtype=np.bool_)
    for number, name in enumerate(classes):
        of_class = table[table[:, 0] % len(classes) == number] // (len(classes), 1, 1)
        row = agreement_tables.describe("class", name, of_class, everything, classes=2)
        yield AgreementRow(**vars(row) | {"items": len(np.unique(of_class[of_class[:, 2] == 1, 0]))})
    for part in parts:
        yield _on_all_classes(part)


def _on_all_classes(part: _Part) -> AgreementRow:
    """Each class of each image is a question of its own, those of an image drawn together; `items` are images."""
    image = np.repeat(np.arange(len(part.task_ids)), len(part.revision.said.classes))
    everything = np.ones(len(image), dtype=np.bool_)
    row = agreement_tables.describe(part.of, part.name, _holdings(part), everything, classes=2, together=image)
    return AgreementRow(**vars(row) | {"items": sum(len(of_item) > 1 for of_item in part.contents)})


def _holdings(part: _Part) -> Ints:
    """`(M, 3)`: item times classes plus class, annotator, and whether they said that the item holds it."""
    people = sorted({one for of_item in part.contents for one in of_item})
    classes = part.revision.said.classes
    rows = [
        (item * len(classes) + number, people.index(one), found.choice is not None and wanted in found.choice.classes)
        for item, of_item in enumerate(part.contents)
        for one, found in of_item.items()
        for number, wanted in enumerate(classes)
    ]
    return np.array(rows, dtype=np.int64).reshape(-1, 3)


def _drawn(whole: _Part, parts: Sequence[_Part]) -> Iterator[DrawnRow]:
    pairs = whole.pairs
    yield _row(whole.of, whole.name, pairs)
    for name in whole.revision.said.classes:
        yield _row("class", name, [_of_class(pair, name) for pair in pairs])
    for part in parts:
        yield _row(part.of, part.name, part.pairs)
    names = whole.revision.names
    called = {pair.people: " and ".join(names[one] for one in pair.people) for pair in pairs}
    for people in sorted(called, key=called.__getitem__):
        yield _row("people", called[people], [pair for pair in pairs if pair.people == people])


def _of_class(pair: _Pair, name: str) -> _Pair:
    """What both call that."""
    rows, columns = ([i for i, each in enumerate(drawn) if name in each.classes] for drawn in pair.regions)
    regions = ([pair.regions[0][i] for i in rows], [pair.regions[1][i] for i in columns])
    return _Pair(pair.task_id, pair.image, pair.people, regions, pair.likeness[np.ix_(rows, columns)])


def _row(of: str, name: str, pairs: Sequence[_Pair]) -> DrawnRow:
    found = agreement.of_regions(pair.likeness for pair in pairs)
    images = {pair.image for pair in pairs if sum(pair.likeness.shape)}
    return DrawnRow(of, name, len(images), sum(found.regions), found.matched, found.mean_likeness, found.f1)
