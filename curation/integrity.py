"""Does the workspace agree with itself, and what is restored when it does not."""

from dataclasses import dataclass

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from curation import embed, encoders, ivf, originals, versions
from store.errors import WinnowError
from store.schema import Embedding, Encoder, Image, Task, VectorBlock, VersionId
from store.vectors import VectorFile
from store.workspace import Workspace


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str  # a sentence
    repaired: bool = False


def verify(workspace: Workspace, *, repair: bool = False) -> list[Check]:
    """Look at the catalog, the vectors, the files, open pushes and versions; with `repair`, restore the caches.

    Only caches are restored (vectors are embedded again). What is truth is reported, never changed.
    """
    with workspace.database.read() as session:
        checks = [_catalog(session), _files(session), _pushes(session)]
        rows = list(session.scalars(select(Encoder).order_by(Encoder.id)))
        session.expunge_all()
    checks += [_vectors(workspace, encoder, repair=repair) for encoder in rows]
    return checks + [_version(workspace, version.id) for version in versions.list_all(workspace)]


def _catalog(session: Session) -> Check:
    problems = [row[0] for row in session.execute(text("PRAGMA integrity_check")) if row[0] != "ok"]
    orphans = len(session.execute(text("PRAGMA foreign_key_check")).all())
    if problems or orphans:
        detail = (
            f"The database has {len(problems)} damaged places and {orphans} rows that point nowhere: {problems[:1]}."
        )
        return Check("catalog", False, f"{detail} Restore it from a backup.")
    images = session.scalar(select(func.count(Image.id)))
    return Check("catalog", True, f"{images} images; the database is whole.")


def _files(session: Session) -> Check:
    found = originals.find(session)
    gone = [original for original in found if not original.exists()]
    if gone:
        detail = f"The files of {len(gone)} of {len(found)} images are gone, first {gone[0].uris or ['(replaced)']}."
        return Check("files", False, f"{detail} Put them back, or ingest them from where they are now.")
    return Check("files", True, f"Every one of {len(found)} images has its file.")


def _pushes(session: Session) -> Check:
    unknown = session.scalar(select(func.count(Task.id)).where(Task.state == "intended")) or 0
    detail = (
        f"{unknown} tasks were on their way when a push stopped; the next `winnow campaign push` settles them."
        if unknown
        else "No push was interrupted."
    )
    return Check("pushes", True, detail)


def _version(workspace: Workspace, version: VersionId) -> Check:
    try:
        versions.verify(workspace, version)
    except WinnowError as error:
        return Check(f"version {version[:12]}", False, str(error))
    return Check(f"version {version[:12]}", True, "Its content has the digest it is named by.")


def _vectors(workspace: Workspace, encoder: Encoder, *, repair: bool) -> Check:
    """Blocks against their digests; repaired by forgetting the damaged ones and embedding those images again."""
    name = f"vectors of {encoder.name}"
    file = VectorFile(workspace.vectors_dir, encoder)
    with workspace.database.read() as session:
        blocks = session.scalar(select(func.count(VectorBlock.id)).where(VectorBlock.encoder_id == encoder.id))
        damaged = file.damaged_blocks(session)
        embedded = session.scalar(select(func.count()).where(Embedding.encoder_id == encoder.id)) or 0
    if not damaged:
        return Check(name, True, f"{embedded} vectors in {blocks} blocks, every block as it was written.")
    detail = f"{sum(block.rows for block in damaged)} of {embedded} vectors are missing or damaged on disk."
    if not repair:
        return Check(name, False, f"{detail} Run: winnow verify --repair.")
    forgotten = file.forget_damaged(workspace.database)
    ivf.drop(workspace, encoder)
    try:
        same = encoders.get(encoder.name, workspace.models_dir).digest == encoder.digest
    except WinnowError:  # imported, or its package or weights have gone
        same = False
    if not same:
        return Check(
            name,
            False,
            f"{detail} {forgotten} were forgotten; what made them is not here to compute them again. "
            f"Import them: winnow embeddings import FILE.npz --encoder NAME, or embed anew: winnow embed.",
        )
    summary = embed.embed(workspace, encoder=encoder.name)
    return Check(name, not summary.unreadable, f"{detail} {summary.embedded} were computed again.", repaired=True)
