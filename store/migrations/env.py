from typing import Any, Literal

from alembic import context
from sqlalchemy import DateTime

from store.schema import Base, UtcDateTime


def _render_item(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Migrations name plain column types only: they must run when today's classes are gone."""
    return f"sa.{DateTime.__name__}()" if kind == "type" and isinstance(item, UtcDateTime) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    render_item=_render_item,
)
context.run_migrations()
