"""One workspace: a folder that holds the catalog and every cache made from it."""

import contextlib
import os
import secrets
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from store.database import Database
from store.errors import InvalidInputError

_DATABASE_FILE = "winnow.db"
_KEY_BYTES = 32


@dataclass(frozen=True)
class Workspace:
    """Where things are. Only `database`, `key` and `adopted_dir` are truth; the other folders are caches."""

    home: Path
    database: Database

    @property
    def vectors_dir(self) -> Path:
        """Append-only vector files, one per encoder."""
        return self.home / "vectors"

    @property
    def indexes_dir(self) -> Path:
        """Trained indexes over the vectors, one per encoder that has many."""
        return self.home / "indexes"

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

    @property
    def renditions_dir(self) -> Path:
        """PNGs, named by sha256, of images whose own format no browser shows."""
        return self.home / "renditions"

    @property
    def originals_dir(self) -> Path:
        """Copies of images that are no files: those behind URLs, in archives and in videos."""
        return self.home / "originals"

    @property
    def adopted_dir(self) -> Path:
        """Pictures that only a Label Studio held, see labeling.adopt; truth too, as sightings name them."""
        return self.home / "adopted"

    @cached_property
    def key(self) -> bytes:
        """The 32-byte secret that signs image URLs; made on first use, readable by its owner only."""
        path = self.home / "secret.key"
        if not path.exists():
            _write_once(path, secrets.token_bytes(_KEY_BYTES).hex())
        try:
            key = bytes.fromhex(path.read_text())
        except ValueError:
            key = b""
        if len(key) != _KEY_BYTES:
            raise InvalidInputError(f"{path} does not hold a key of ours. Put back the one from your backup.")
        return key


def _write_once(path: Path, text: str) -> None:
    """A file for its owner's eyes, whole when it appears; whoever comes first wins."""
    descriptor, scratch = tempfile.mkstemp(dir=path.parent)  # readable by its owner only
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    with contextlib.suppress(FileExistsError):
        os.link(scratch, path)
    os.unlink(scratch)


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
