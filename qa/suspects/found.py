"""What a search for wrong labels gives, whatever the labels are."""

from collections.abc import Sequence
from dataclasses import dataclass

from curation import splits
from curation.labels import LabelInForce
from store.arrays import Ints
from store.schema import ImageId

_MOST_SENTENCES = 3


@dataclass(frozen=True)
class Candidate:
    """A label that an expert should look at."""

    label_id: int
    score: float  # 0 to 1, see qa.suspicion
    suggestion: str  # the value that would be better
    why: str


@dataclass(frozen=True)
class Found:
    """The candidates, the most suspect first."""

    candidates: list[Candidate]
    sources: dict[str, int]  # how many of them each witness doubts, or have each fault
    expected_wrong: float | None = None  # see `qa.label_errors.Summary`
    surest_denied: float | None = None  # likewise


def same_pictures(held: Sequence[LabelInForce], pairs: Sequence[tuple[ImageId, ImageId]]) -> Ints:
    """`(N,)`: the same number for labelled images that are one picture."""
    names = {label.image_id: label.sha256 for label in held}
    links = [(names[first], names[second]) for first, second in pairs if first in names and second in names]
    return splits.components([label.sha256 for label in held], links)


def together(sentences: Sequence[str]) -> str:
    """The first sentences, and how many are left out."""
    more = len(sentences) - _MOST_SENTENCES
    return " ".join(sentences[:_MOST_SENTENCES]) + (f" And {more} more." if more > 0 else "")
