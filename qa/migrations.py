"""Labels carried over to the next revision of their taxonomy: each through a verdict that names what it replaces.

A label whose class is certain in the new words gets a verdict that accepts it anew; one whose class was split or
retired gets a verdict that rejects it, so that its image counts as unlabelled and is planned again. What a class of
the same name says already stays as it is. A campaign keeps the revision it began with; what is accepted in it
later is carried over by the same rules.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from curation import labels
from labeling import content, definitions, evolution, taxonomy
from labeling.content import Content
from labeling.evolution import Migration, NeedsRelabelling
from labeling.taxonomy import TaxonomyRevision
from qa import ledger
from store.schema import ImageId, Label, Taxonomy, Verdict
from store.workspace import Workspace


@dataclass(frozen=True)
class CarriedOver:
    """What became of the labels of a taxonomy."""

    carried: int  # to another class
    unchanged: int
    rejected: list[ImageId]  # whose images need another label


@dataclass(frozen=True)
class _Old:
    """A label of an earlier revision that is in force."""

    label_id: int
    image_id: ImageId
    value: str
    revision: int
    verdict: Verdict


def migrate(workspace: Workspace, name: str, migration: Migration) -> tuple[TaxonomyRevision, CarriedOver]:
    """Make the next revision of a taxonomy and carry the labels over, all or nothing.

    Raises:
        NotFoundError: there is no taxonomy of this name.
        InvalidInputError: the migration does not fit it, or what it leads to cannot be used.
    """
    with workspace.database.write() as session:
        definition = evolution.evolve(taxonomy.newest(session, name).definition, migration)
        definitions.check(definition)
        revision = taxonomy.add(session, name, definition, migration=evolution.document(migration))
        return revision, carry_over(session, name)


def carry_over(session: Session, name: str) -> CarriedOver:
    """Bring the labels in force under a taxonomy's name up to its newest revision; again, nothing changes."""
    newest, old, changed = _due(session, name)
    verdicts = [(label.image_id, _verdict(label, now, to=newest)) for label, now in changed]
    return CarriedOver(
        carried=ledger.enter(session, newest.id, verdicts),
        unchanged=old - len(changed),
        rejected=[ImageId(image_id) for image_id, verdict in verdicts if verdict.outcome == "rejected"],
    )


def is_behind(session: Session, name: str) -> bool:
    """Whether `carry_over` has something to do."""
    return bool(_due(session, name)[2])


def _due(session: Session, name: str) -> tuple[Taxonomy, int, list[tuple[_Old, str | NeedsRelabelling]]]:
    """The newest revision, how many labels of any are in force, and what those say now that it changes.

    Where nothing was migrated none are counted.
    """
    rows = session.scalars(select(Taxonomy).where(Taxonomy.name == name).order_by(Taxonomy.revision)).all()
    migrations = _of(rows)
    old = _in_force(session, name) if migrations else []
    said = ((label, value_now(label.value, label.revision, migrations, kind=rows[-1].task_kind)) for label in old)
    return rows[-1], len(old), [(label, now) for label, now in said if now != label.value]


def of_taxonomy(session: Session, name: str) -> dict[int, Migration]:
    """The migrations of a taxonomy, by the revision that each led to."""
    return _of(session.scalars(select(Taxonomy).where(Taxonomy.name == name)))


def _of(revisions: Iterable[Taxonomy]) -> dict[int, Migration]:
    return {row.revision: evolution.parse(row.migration) for row in revisions if row.migration}


def value_now(
    value: str, revision: int, migrations: Mapping[int, Migration], *, kind: str = labels.CLASSIFICATION
) -> str | NeedsRelabelling:
    """What a label of one revision says after all later migrations, given by the revision each led to."""
    for number in sorted(migrations):
        if number > revision:
            after = _after(migrations[number], value, kind)
            if isinstance(after, NeedsRelabelling):
                return replace(after, why=f"{after.why[:-1]} in revision {number}.")
            value = after
    return value


def value_then(
    value: str, revision: int, migrations: Mapping[int, Migration], *, asked: TaxonomyRevision
) -> str | None:
    """What a value of one revision is called in another, `asked`, earlier or later.

    None where no class of that one means it today, or several do.
    """
    if revision == asked.revision:
        return value
    kind = asked.definition.kind
    now = value_now(value, revision, migrations, kind=kind)
    if isinstance(now, NeedsRelabelling):
        return None
    then: dict[str, list[str]] = {}
    for name in asked.definition.class_names:
        today = value_now(name, asked.revision, migrations)
        if isinstance(today, str):
            then.setdefault(today, []).append(name)
    backwards = Migration({today: tuple(then.get(today, ())) for today in _classes(now, kind)})
    back = _after(backwards, now, kind)
    return back if isinstance(back, str) else None


def names_now(said: Content, revision: int, migrations: Mapping[int, Migration]) -> Content:
    """What was said under one revision, in today's names of classes; one that was split or retired keeps its own."""

    def now(names: Sequence[str]) -> tuple[str, ...]:
        found = ((name, value_now(name, revision, migrations)) for name in names)
        return tuple(dict.fromkeys(new if isinstance(new, str) else name for name, new in found))

    choice = said.choice and replace(said.choice, classes=now(said.choice.classes))
    return replace(said, choice=choice, regions=tuple(replace(one, classes=now(one.classes)) for one in said.regions))


def _after(migration: Migration, value: str, kind: str) -> str | NeedsRelabelling:
    if kind == labels.CLASSIFICATION:
        return evolution.class_after(migration, value)
    now = evolution.apply(migration, content.from_json(value))
    return now if isinstance(now, NeedsRelabelling) else content.to_json(content.essence(now))


def _classes(value: str, kind: str) -> set[str]:
    """Those that a value names."""
    if kind == labels.CLASSIFICATION:
        return {value}
    said = content.from_json(value)
    chosen = said.choice.classes if said.choice else ()
    return {*chosen, *(name for region in said.regions for name in region.classes)}


def _in_force(session: Session, name: str) -> Sequence[_Old]:
    rows = session.execute(
        select(Label.id, Label.image_id, Label.value, Taxonomy.revision, Verdict)
        .join(Taxonomy, Taxonomy.id == Label.taxonomy_id)
        .join(Verdict, Verdict.id == Label.verdict_id)
        .where(Label.id.in_(labels.newest_ids(name)))
        .order_by(Label.id)
    )
    return [_Old(row[0], ImageId(row[1]), *row[2:]) for row in rows]


def _verdict(label: _Old, now: str | NeedsRelabelling, *, to: Taxonomy) -> Verdict:
    """A verdict on the same item that rests on the same annotations."""
    source: dict[str, Any] = {
        "label": label.label_id,
        "verdict": label.verdict.id,
        "from": label.revision,
        "to": to.revision,
    }
    if isinstance(now, NeedsRelabelling):
        source["why"] = now.why
    return Verdict(
        task_id=label.verdict.task_id,
        outcome="rejected" if isinstance(now, NeedsRelabelling) else "accepted",
        answer=None if isinstance(now, NeedsRelabelling) else now,
        posterior=label.verdict.posterior,
        evidence={**label.verdict.evidence, labels.MIGRATED: source},
    )
