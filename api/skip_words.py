"""What is to be done where an expert skipped an item and did not say why, in words."""

import shlex
from collections.abc import Sequence


def settle(images: Sequence[int], campaign: str, *, of: str) -> str:
    """How to settle these images, one or more, of a campaign; `of` says which of its items they are among."""
    return (
        f"{len(images)} of {of} were skipped without a reason, such as image {images[0]}, and no push brings them "
        f"back: settle each by winnow qa decide IMAGE --campaign {shlex.quote(campaign)} --answer ANSWER --reason "
        "REASON, without an answer where nobody can tell."
    )
