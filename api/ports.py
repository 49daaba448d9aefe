"""Finding a port that is free."""

import socket

from store.errors import InvalidInputError


def listen(host: str, preferred: int) -> socket.socket:
    """A listening socket at the preferred port of `host`, or at one the system chooses when that is busy.

    Raises:
        InvalidInputError: `host` is not an IPv4 address of this machine.
    """
    try:
        return _listen(host, preferred)
    except PermissionError as error:
        raise InvalidInputError(f"Port {preferred} needs more rights. Choose one above 1023.") from error
    except OSError:
        try:
            return _listen(host, 0)
        except OSError as error:
            raise InvalidInputError(f"{host} is not an IPv4 address of this machine: {error.strerror}.") from error


def free(host: str, preferred: int) -> int:
    """A port that was free a moment ago, for a server that opens it by number."""
    with listen(host, preferred) as bound:
        return int(bound.getsockname()[1])


def _listen(host: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a server that just stopped does not keep it
    try:
        bound.bind((host, port))
        bound.listen()
    except OSError:
        bound.close()
        raise
    return bound
