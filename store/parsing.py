"""What people or other programs wrote in YAML or JSON: read, or refused in a sentence."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from store.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from pydantic import ValidationError


def read_yaml(path: Path, *, kind: str) -> dict[str, Any]:
    """The plain values in a YAML file; the sentences call it a `kind`.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: it is not a YAML mapping.
    """
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFoundError(f"There is no {kind} {path}.") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidInputError(f"The {kind} {path} cannot be read: {' '.join(str(error).split())}.") from error
    if not isinstance(values, dict):
        raise InvalidInputError(f"The {kind} {path} is not a mapping of names to values.")
    return values


def misfit(error: "ValidationError", *, kind: str) -> InvalidInputError:
    """What to raise where a document of a `kind` does not fit what is expected."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "the whole"
    return InvalidInputError(f"The {kind} does not fit in {error.error_count()} places, first {where}: {first['msg']}.")
