"""Named places at which a test can kill the process as `kill -9` would.

Nothing is armed unless the command line arms it from `WINNOW_FAIL_POINT=NAME[:N]`.
"""

import os
import signal

_armed: dict[str, int] = {}


def arm(specification: str) -> None:
    """Arm one point: `NAME` dies at its first passage, `NAME:N` at its Nth."""
    name, _, passages = specification.partition(":")
    _armed[name] = int(passages or 1)


def reach(name: str) -> None:
    """Mark that execution got here; if `name` is armed and due, die at once."""
    if name not in _armed:
        return
    _armed[name] -= 1
    if _armed[name] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
