"""Taxonomies: definitions under a name, in numbered revisions that never change."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from labeling import definitions
from labeling.definitions import ClassDefinition, Definition
from store.errors import InvalidInputError, NotFoundError
from store.schema import Image, Taxonomy
from store.workspace import Workspace


@dataclass(frozen=True)
class TaxonomyRevision:
    """One revision of a taxonomy."""

    id: int
    name: str
    revision: int
    definition: Definition

    @property
    def classes(self) -> tuple[ClassDefinition, ...]:
        """In display order."""
        return self.definition.classes


def create(workspace: Workspace, name: str, definition: Definition) -> TaxonomyRevision:
    """Save a taxonomy: a new revision when the content changed, the newest one as it is when not.

    Raises:
        InvalidInputError: the name is empty, the definition cannot be used, or an example is no image of the catalog.
    """
    if not name.strip():
        raise InvalidInputError("A taxonomy needs a name.")
    definitions.check(definition)
    with workspace.database.write() as session:
        latest = _newest(session, name)
        if latest is not None and _revision(latest).definition == definition:
            return _revision(latest)
        _check_examples(session, definition)
        return add(session, name, definition)


def add(
    session: Session, name: str, definition: Definition, *, migration: dict[str, object] | None = None
) -> TaxonomyRevision:
    """The next revision of a taxonomy, whatever the one before holds."""
    latest = _newest(session, name)
    document = definitions.document(definition)
    taxonomy = Taxonomy(
        name=name,
        revision=latest.revision + 1 if latest else 1,
        task_kind=definition.kind,
        classes=document["classes"],
        guideline=definition.guideline,
        attributes=document["attributes"],
        tags=document["tags"],
        migration=migration,
    )
    session.add(taxonomy)
    session.flush()
    return _revision(taxonomy)


def newest(session: Session, name: str) -> TaxonomyRevision:
    """The newest revision of a taxonomy.

    Raises:
        NotFoundError: there is none of this name.
    """
    found = find(session, name)
    if found is None:
        raise NotFoundError(f"There is no taxonomy called {name!r}. See: winnow taxonomy list.")
    return found


def find(session: Session, name: str) -> TaxonomyRevision | None:
    """The same, or none."""
    taxonomy = _newest(session, name)
    return None if taxonomy is None else _revision(taxonomy)


def get(session: Session, taxonomy_id: int) -> TaxonomyRevision:
    """One revision by its id."""
    return _revision(session.get_one(Taxonomy, taxonomy_id))


def list_all(session: Session) -> list[TaxonomyRevision]:
    """Every revision, by name and number."""
    rows = session.scalars(select(Taxonomy).order_by(Taxonomy.name, Taxonomy.revision))
    return [_revision(row) for row in rows]


def _check_examples(session: Session, definition: Definition) -> None:
    examples = {image_id for each in definition.classes for image_id in each.examples}
    strangers = examples - set(session.scalars(select(Image.id).where(Image.id.in_(examples))))
    if strangers:
        raise InvalidInputError(
            f"{len(strangers)} of {len(examples)} examples are no images of this catalog, first {min(strangers)}: "
            "choose others from winnow images list."
        )


def _newest(session: Session, name: str) -> Taxonomy | None:
    return session.scalar(select(Taxonomy).where(Taxonomy.name == name).order_by(Taxonomy.revision.desc()).limit(1))


def _revision(row: Taxonomy) -> TaxonomyRevision:
    document = {
        "kind": row.task_kind,
        "classes": row.classes,
        "guideline": row.guideline,
        "attributes": row.attributes,
        "tags": row.tags,
    }
    return TaxonomyRevision(row.id, row.name, row.revision, definitions.parse(document))
