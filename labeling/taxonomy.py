"""Taxonomies: named classes with a guideline, in numbered revisions that never change."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from labeling import label_config
from labeling.label_config import ClassDefinition
from store.errors import InvalidInputError, NotFoundError
from store.schema import Taxonomy
from store.workspace import Workspace

_TASK_KIND = "classification"


@dataclass(frozen=True)
class TaxonomyRevision:
    """One revision of a taxonomy."""

    id: int
    name: str
    revision: int
    classes: list[ClassDefinition]
    guideline: str


def create(
    workspace: Workspace, name: str, classes: Sequence[ClassDefinition], *, guideline: str = ""
) -> TaxonomyRevision:
    """Save a taxonomy: a new revision when the content changed, the newest one as it is when not.

    Raises:
        InvalidInputError: the name is empty, or the classes cannot be used.
    """
    if not name.strip():
        raise InvalidInputError("A taxonomy needs a name.")
    label_config.check(classes)
    with workspace.database.write() as session:
        latest = _newest(session, name)
        if latest is not None and (_revision(latest).classes, latest.guideline) == (list(classes), guideline):
            return _revision(latest)
        taxonomy = Taxonomy(
            name=name,
            revision=latest.revision + 1 if latest else 1,
            task_kind=_TASK_KIND,
            classes=[asdict(each) for each in classes],
            guideline=guideline,
        )
        session.add(taxonomy)
        session.flush()
        return _revision(taxonomy)


def newest(session: Session, name: str) -> TaxonomyRevision:
    """The newest revision of a taxonomy.

    Raises:
        NotFoundError: there is none of this name.
    """
    taxonomy = _newest(session, name)
    if taxonomy is None:
        raise NotFoundError(f"There is no taxonomy called {name!r}. See: winnow taxonomy list.")
    return _revision(taxonomy)


def get(session: Session, taxonomy_id: int) -> TaxonomyRevision:
    """One revision by its id."""
    return _revision(session.get_one(Taxonomy, taxonomy_id))


def list_all(session: Session) -> list[TaxonomyRevision]:
    """Every revision, by name and number."""
    rows = session.scalars(select(Taxonomy).order_by(Taxonomy.name, Taxonomy.revision))
    return [_revision(row) for row in rows]


def _newest(session: Session, name: str) -> Taxonomy | None:
    return session.scalar(select(Taxonomy).where(Taxonomy.name == name).order_by(Taxonomy.revision.desc()).limit(1))


def _revision(row: Taxonomy) -> TaxonomyRevision:
    classes = [ClassDefinition(**each) for each in row.classes]
    return TaxonomyRevision(row.id, row.name, row.revision, classes, row.guideline)
