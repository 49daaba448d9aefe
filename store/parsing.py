"""What people or other programs wrote in YAML or JSON: read, or refused in a sentence."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from store.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from pydantic import ValidationError


def read_text(path: Path, *, kind: str) -> str:
    """The text of a UTF-8 file; the sentences call it a `kind`.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: it cannot be read, or is no UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise NotFoundError(f"There is no {kind} {path}.") from error
    except OSError as error:
        raise InvalidInputError(f"The {kind} {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"The {kind} {path} cannot be read: it is no UTF-8.") from error


def read_yaml(path: Path, *, kind: str) -> dict[str, Any]:
    """The plain values in a YAML file; the sentences call it a `kind`.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: it is not a YAML mapping.
    """
    import yaml

    text = read_text(path, kind=kind)
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidInputError(f"The {kind} {path} cannot be read: {' '.join(str(error).split())}.") from error
    if not isinstance(values, dict):
        raise InvalidInputError(f"The {kind} {path} is not a mapping of names to values.")
    return values


def misfit(error: "ValidationError", *, kind: str) -> InvalidInputError:
    """What to raise where a document of a `kind` does not fit what is expected."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "the whole"
    count = error.error_count()
    return InvalidInputError(
        f"The {kind} does not fit in {count} place{'s' * (count != 1)}, first {where}: {first['msg']}."
    )
