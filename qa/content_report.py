"""How a campaign of several classes, or of regions, is doing, and how far people agree in it. Reads only."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from sqlalchemy.orm import Session

from labeling import content
from labeling.content import Content, Region
from qa import agreement, agreement_tables, annotators, answers, report, shapes
from qa.agreement_tables import AgreementRow
from qa.answers import Answers
from qa.report import Progress
from store.arrays import Floats, Ints
from store.schema import Campaign, Taxonomy
from store.workspace import Workspace


@dataclass(frozen=True)
class DrawnRow:
    """How far people who saw the same images draw the same things in the same places."""

    of: str  # campaign, class, slice or people
    name: str
    images: int  # that two people saw, and one or more drew in
    regions: int  # drawn by both of each two
    matched: int  # pairs of these that overlap by half
    mean_iou: float | None  # of the pairs
    f1: tuple[float, ...] | None  # at each of agreement.REGION_THRESHOLDS


@dataclass(frozen=True)
class ContentReport(Progress):
    """One campaign in figures."""

    kind: str  # of task
    agreement: list[AgreementRow]  # on each class, where several are asked for
    drawn: list[DrawnRow]  # where regions are; keypoints overlap as far as they are near


@dataclass(frozen=True)
class _Pair:
    """What two people drew in one image."""

    image: int
    people: str
    regions: tuple[Sequence[Region], Sequence[Region]]
    likeness: Floats  # (N, M)


def read(workspace: Workspace, campaign_name: str, *, by: str | None = None) -> ContentReport:
    """Progress, cost and agreement of one campaign, as its newest review left it.

    Args:
        workspace: where it is.
        campaign_name: which campaign.
        by: a column of metadata, `source` or `scene`; the agreement on each of its values is told.

    Raises:
        NotFoundError: there is no such campaign.
        InvalidInputError: it is an adjudication, or the column is not there or has more than 30 values.
    """
    with workspace.database.read() as session:
        campaign = answers.labelling_campaign(session, campaign_name)
        taxonomy = session.get_one(Taxonomy, campaign.taxonomy_id)
        slices = {} if by is None else annotators.read_slices(session, by)
        said = answers.read(session, taxonomy)
        so_far = report.progress(session, campaign, taxonomy, said)
        contents = _contents(session, campaign, said)
    is_drawn = taxonomy.task_kind != "multilabel"
    return ContentReport(
        **vars(so_far),
        kind=taxonomy.task_kind,
        agreement=[] if is_drawn else list(_on_classes(said, contents)),
        drawn=list(_drawn(said, contents, slices)) if is_drawn else [],
    )


def _contents(session: Session, campaign: Campaign, said: Answers) -> dict[int, dict[str, Content]]:
    """What everybody said of each item of the campaign, by name."""
    contents: dict[int, dict[str, Content]] = {one: {} for one in sorted(report.standing_items(session, campaign))}
    for answer in said.given:
        if answer.task_id in contents and answer.value is not None:
            contents[answer.task_id][answer.annotator] = content.from_json(answer.value)
    return contents


def _on_classes(said: Answers, contents: Mapping[int, Mapping[str, Content]]) -> Iterator[AgreementRow]:
    """On whether an image holds each class; `items` are those that anyone said it of."""
    names = sorted({name for of_item in contents.values() for name in of_item})
    everything = np.ones(len(contents), dtype=np.bool_)
    for wanted in said.classes:
        rows = [
            (item, names.index(name), int(found.choice is not None and wanted in found.choice.classes))
            for item, of_item in enumerate(contents.values())
            for name, found in of_item.items()
        ]
        table = np.array(rows, dtype=np.int64).reshape(-1, 3)
        row = agreement_tables.describe("class", wanted, table, everything, classes=2)
        yield AgreementRow(**vars(row) | {"items": len(np.unique(table[table[:, 2] == 1, 0]))})


def _drawn(
    said: Answers, contents: Mapping[int, Mapping[str, Content]], slices: Mapping[str, Ints]
) -> Iterator[DrawnRow]:
    image_of = dict(zip(said.task_ids, said.image_ids, strict=True))
    diagonal_of = {
        task_id: float(np.hypot(size.width, size.height))
        for task_id, size in zip(said.task_ids, said.sizes, strict=True)
    }
    pairs = [
        _Pair(
            image_of[task_id],
            f"{one} and {other}",
            (of_item[one].regions, of_item[other].regions),
            shapes.likeness(
                *([region.shape for region in of_item[name].regions] for name in (one, other)),
                diagonal=diagonal_of[task_id],
            ),
        )
        for task_id, of_item in contents.items()
        for one, other in combinations(sorted(of_item), 2)
    ]
    yield _row("campaign", "all", pairs)
    for name in said.classes:
        yield _row("class", name, [_of_class(pair, name) for pair in pairs])
    for name, ids in slices.items():
        yield _row("slice", name, [pair for pair in pairs if pair.image in ids])
    for people in sorted({pair.people for pair in pairs}):
        yield _row("people", people, [pair for pair in pairs if pair.people == people])


def _of_class(pair: _Pair, name: str) -> _Pair:
    """What both call that."""
    rows, columns = ([i for i, each in enumerate(drawn) if name in each.classes] for drawn in pair.regions)
    regions = ([pair.regions[0][i] for i in rows], [pair.regions[1][i] for i in columns])
    return _Pair(pair.image, pair.people, regions, pair.likeness[np.ix_(rows, columns)])


def _row(of: str, name: str, pairs: Sequence[_Pair]) -> DrawnRow:
    found = agreement.of_regions(pair.likeness for pair in pairs)
    images = {pair.image for pair in pairs if sum(pair.likeness.shape)}
    return DrawnRow(of, name, len(images), sum(found.regions), found.matched, found.mean_iou, found.f1)
