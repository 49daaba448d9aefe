"""Every error Winnow raises on purpose.

    WinnowError                  the root; its message is a sentence for the user
    ├── RequestError             the request was wrong (exit 2)
    │   ├── NotFoundError        it names something that does not exist
    │   ├── InvalidInputError    a value, file or option that cannot be used
    │   └── ConflictError        it clashes with what is there already
    ├── LeakError                a version would put one picture into two splits (exit 1)
    ├── IntegrityError           the workspace contradicts itself (exit 1)
    └── RemoteError              another service failed or refused (exit 1)

A message says what, how many, and what to do next. It never holds a secret.
"""


class WinnowError(Exception):
    """The root of the tree: whatever a user may be told in one sentence."""


class RequestError(WinnowError):
    """The request was wrong; asking again unchanged cannot help."""


class NotFoundError(RequestError):
    """The request names something that does not exist."""


class InvalidInputError(RequestError):
    """A value, file or option cannot be used as it is."""


class ConflictError(RequestError):
    """The request clashes with something that is there already."""


class LeakError(WinnowError):
    """A version would put images of one scene or duplicate group into two splits."""


class IntegrityError(WinnowError):
    """The workspace contradicts itself; `winnow verify --repair` is the next step."""


class RemoteError(WinnowError):
    """Another service failed or refused; the same call may succeed later."""
