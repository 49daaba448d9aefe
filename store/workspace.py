"""One workspace: a folder that holds the catalog and every cache made from it."""

import os
import secrets
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from store.database import Database
from store.errors import InvalidInputError

_DATABASE_FILE = "winnow.db"


@dataclass(frozen=True)
class Workspace:
    """Where things are. Only `database` and `key` are truth; the folders below are caches."""

    home: Path
    database: Database

    @property
    def vectors_dir(self) -> Path:
        """Append-only vector files, one per encoder."""
        return self.home / "vectors"

    @property
    def models_dir(self) -> Path:
        """Networks in the form they run fastest, named by their encoder's digest."""
        return self.home / "models"

    @property
    def projections_dir(self) -> Path:
        """Two-dimensional layouts of the collection, for plots."""
        return self.home / "projections"

    @property
    def thumbnails_dir(self) -> Path:
        """JPEG thumbnails named by sha256."""
        return self.home / "thumbnails"

    @cached_property
    def key(self) -> bytes:
        """The 32-byte secret that signs image URLs; made on first use, readable by its owner only."""
        path = self.home / "secret.key"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            key = bytes.fromhex(path.read_text())
        else:
            key = secrets.token_bytes(32)
            with os.fdopen(descriptor, "w") as file:
                file.write(key.hex())
                file.flush()
                os.fsync(file.fileno())
        if len(key) != 32:
            raise InvalidInputError(f"{path} is not a 32-byte key. Delete it: a new one will be made.")
        return key


def open_workspace(home: Path) -> Workspace:
    """Open the workspace at `home`, creating or migrating it as needed.

    Raises:
        InvalidInputError: `home` is a file, or cannot be written.
    """
    home = home.expanduser().absolute()
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError(f"The workspace {home} cannot be created: {error.strerror}.") from error
    if not os.access(home, os.W_OK):
        raise InvalidInputError(f"The workspace {home} cannot be written.")
    return Workspace(home=home, database=Database(f"sqlite:///{home / _DATABASE_FILE}"))
