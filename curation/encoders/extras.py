"""Packages that only some encoders need, and the hub that only some machines reach."""

import importlib
import os
from typing import Any

from store.errors import InvalidInputError, NotFoundError


def need(module: str, extra: str) -> Any:
    """The module, or one sentence about how to get it.

    Raises:
        InvalidInputError: it is not installed, or does not import.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = error.name if error.name and error.name.partition(".")[0] != module else None
        what = f"{module} needs {missing}, which is not installed" if missing else f"{module} is not installed"
        raise InvalidInputError(f"{what}. Run: pip install 'winnow[{extra}]'.") from error


def unreachable(name: str, error: Exception) -> NotFoundError:
    """What to raise when weights are neither here nor to be had."""
    offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return NotFoundError(
        f"The weights of {name} are not on this machine and could not be fetched{offline}: {reason.rstrip(' .:')}. "
        "Fetch them where there is a network, copy the cache folder (HF_HOME) here, and run this again."
    )
