"""The connection to the catalog: short read and write transactions over SQLAlchemy."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from store.errors import InvalidInputError

HEAD_REVISION = "0016"  # of the last file in migrations/versions
_MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK_TIMEOUT_S = 60
_T = TypeVar("_T")
_VALUES_A_QUERY = 1000


class Database:
    """The catalog behind one SQLAlchemy URL, at the newest schema.

    A write transaction takes SQLite's write lock when it begins, so that two processes wait for
    each other instead of failing half-way. Keep it short: compute first, then write.
    """

    def __init__(self, url: str) -> None:
        self.engine = create_engine(url, connect_args={"timeout": _LOCK_TIMEOUT_S})
        event.listen(self.engine, "connect", _configure_sqlite)
        event.listen(self.engine, "begin", _begin_sqlite)
        try:
            self._migrate()
        except DatabaseError as error:
            raise InvalidInputError(f"{self.engine.url.database} is not a Winnow catalog: {error.orig}.") from error

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session on one consistent snapshot; nothing is written."""
        with Session(self.engine) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session that commits when the block ends and rolls back when it raises."""
        with Session(self.engine.execution_options(writes=True)) as session, session.begin():
            yield session

    def _migrate(self) -> None:
        revision = _revision(self.engine)
        if revision == HEAD_REVISION:
            return
        if revision is not None and revision > HEAD_REVISION:  # they are four digits
            raise InvalidInputError(
                f"{self.engine.url.database} was made by a newer Winnow (its schema is {revision}, this one's "
                f"{HEAD_REVISION}): install that one."
            )
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
        with self.engine.execution_options(writes=True).begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def batched(values: Iterable[_T]) -> Iterator[Sequence[_T]]:
    """So many of them at a time as one query can name."""
    left = iter(values)
    while some := list(islice(left, _VALUES_A_QUERY)):
        yield some


def _revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _configure_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, see _begin_sqlite
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
