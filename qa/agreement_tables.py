"""How far people agree: in a campaign, on each class and slice, at each vendor, under each revision of a guideline."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from qa import agreement, answers
from qa.agreement import Level
from qa.answers import Answers
from qa.consensus import belief
from store.arrays import Bools, Ints
from store.schema import Campaign, Task, Taxonomy, Vendor


@dataclass(frozen=True)
class AgreementRow:
    """How far people agree on some items."""

    of: str  # campaign, class, slice, vendor, guideline
    name: str
    items: int  # with two answers or more; of a class, those that anyone gave it
    alpha: float | None  # Krippendorff's; of a class whether an answer is that or another
    interval: tuple[float, float] | None  # its 95 %, by bootstrap over items; none of few, see `agreement.LEAST_ITEMS`
    raw_agreement: float | None
    kappa: float | None
    kappa_of: str | None  # Cohen where two people answered, Fleiss where all items have as many nominal ones, else none


def read(
    session: Session,
    campaign: Campaign,
    taxonomy: Taxonomy,
    said: Answers,
    slices: Mapping[str, Ints],
    *,
    level: Level = "nominal",
) -> list[AgreementRow]:
    """The campaign, its classes and slices; all vendors under this revision; all revisions of the taxonomy.

    Args:
        session: an open snapshot.
        campaign: whose items.
        taxonomy: its.
        said: the answers under it.
        slices: image ids by name, sorted.
        level: of the classes, in the order of their taxonomy.
    """
    own = np.isin(said.task_ids, list(answers.standing_items(session, campaign)))
    table, classes = said.table, len(said.classes)
    found = [describe("campaign", campaign.name, table, own, classes=classes, level=level)]
    found += of_classes(table, own, said.classes)
    found += [
        describe("slice", name, table, own & np.isin(said.image_ids, ids), classes=classes, level=level)
        for name, ids in slices.items()
    ]
    found += [
        describe("vendor", name, table, np.isin(said.task_ids, ids), classes=classes, level=level)
        for name, ids in of_vendors(session, taxonomy).items()
    ]
    for name, answered in of_revisions(session, taxonomy, said):
        everything = np.ones(len(answered.task_ids), dtype=np.bool_)
        size = len(answered.classes)
        found.append(describe("guideline", name, answered.table, everything, classes=size, level=level))
    return found


def of_vendors(session: Session, taxonomy: Taxonomy) -> dict[str, Ints]:
    """The items of each vendor's labelling campaigns under a revision of a taxonomy, by its name."""
    rows = session.execute(
        select(Vendor.name, Task.id)
        .join(Campaign, Campaign.vendor_id == Vendor.id)
        .join(Task, Task.campaign_id == Campaign.id)
        .where(Campaign.taxonomy_id == taxonomy.id, Campaign.purpose == "labelling")
    )
    items: dict[str, list[int]] = {}
    for name, task_id in rows:
        items.setdefault(name, []).append(task_id)
    return {name: np.sort(items[name]) for name in sorted(items)}


def of_revisions(session: Session, taxonomy: Taxonomy, own: Answers) -> Iterator[tuple[str, Answers]]:
    """The answers under each revision that asks for the same and was answered, oldest first; `own` are of this one."""
    of_name = select(Taxonomy).where(Taxonomy.name == taxonomy.name, Taxonomy.task_kind == taxonomy.task_kind)
    for revision in session.scalars(of_name.order_by(Taxonomy.revision)).all():
        said = own if revision.id == taxonomy.id else answers.read(session, revision)
        if said.given:
            yield f"{revision.name} {revision.revision}", said


def describe(
    of: str,
    name: str,
    table: Ints,
    among: Bools,
    *,
    classes: int,
    level: Level = "nominal",
    together: Ints | None = None,
) -> AgreementRow:
    """The agreement of answers `(M, 3)` on the items that `among` `(N,)` holds; `together` is `alpha_interval`'s."""
    chosen = table[among[table[:, 0]]]
    counts = belief.counts(chosen, items=len(among), classes=classes)
    kappa, kappa_of = _kappa(chosen, counts, level)
    return AgreementRow(
        of=of,
        name=name,
        items=int((counts.sum(axis=1) >= 2).sum()),
        alpha=agreement.krippendorff_alpha(counts, level=level),
        interval=agreement.alpha_interval(counts, level=level, together=together),
        raw_agreement=agreement.raw_agreement(counts),
        kappa=kappa,
        kappa_of=kappa_of,
    )


def of_classes(table: Ints, among: Bools, names: Sequence[str]) -> Iterator[AgreementRow]:
    """For each class, on whether an answer is that or another; `items` are those that anyone gave it."""
    for number, name in enumerate(names):
        is_class = table.copy()
        is_class[:, 2] = table[:, 2] == number
        found = describe("class", name, is_class, among, classes=2)
        given = np.unique(table[(table[:, 2] == number) & among[table[:, 0]], 0])
        yield AgreementRow(**vars(found) | {"items": len(given)})


def _kappa(table: Ints, counts: Ints, level: Level) -> tuple[float | None, str | None]:
    """Cohen's where just two people answered, else Fleiss' where every item has as many, of classes without order."""
    several = counts.sum(axis=1)[table[:, 0]] >= 2
    table = table[several]
    people = np.unique(table[:, 1])
    if len(people) == 2:
        first, second = (table[table[:, 1] == one] for one in people)
        first, second = (each[np.argsort(each[:, 0])] for each in (first, second))
        return agreement.cohen_kappa(first[:, 2], second[:, 2], level=level), "Cohen"
    if level == "nominal" and len(people) > 2 and len(np.unique(counts.sum(axis=1)[table[:, 0]])) == 1:
        return agreement.fleiss_kappa(counts), "Fleiss"
    return None, None
