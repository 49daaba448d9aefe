"""What a batch is chosen from, as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from curation.joins import Take
from sampling.head import Settings, Views
from sampling.situation import Situation
from store.arrays import Floats, Ints


@dataclass(frozen=True)
class Slice:
    """A failure cluster that the batch may grow."""

    name: str
    lift: float
    members: Ints  # positions in the pool


@dataclass(frozen=True)
class Kind:
    """Images that a quota of the recipe counts."""

    quota: int  # its number in the recipe
    name: str  # as a person knows them: source=night
    members: Ints  # positions in the pool


@dataclass(frozen=True)
class Pool:
    """Every embedded image, ordered by sha256, and which of them may be chosen."""

    sha256s: list[str]
    image_ids: list[int]
    take: Take  # gives the centred unit vectors at positions
    eligible: Ints  # positions that nobody labels, for training
    reserve: Ints  # likewise for val and test
    labelled: Ints  # positions that are labelled or being labelled
    probabilities: Floats | None  # (N, C), of what is not eligible perhaps 0; None without a model, or of boxes
    classes: list[str]
    settings: Settings  # of the probe
    uncertainty: Floats | None = None  # (N,) from 0; None: the margins of the probabilities
    changed: Floats | None = None  # (N,) share of a model's passes that take an image for another class
    gold: Ints = field(default_factory=lambda: np.empty(0, dtype=np.int64))  # positions whose label is known
    costs: Floats | None = None  # (N,) of each image
    slices: Sequence[Slice] = ()
    kinds: Sequence[Kind] = ()

    @property
    def is_predicted(self) -> bool:
        """Whether a model says anything."""
        return self.probabilities is not None or self.uncertainty is not None

    @cached_property
    def views(self) -> Views:
        """What the probe sees; taken from disk when a strategy asks."""
        return Views.of(self.take, len(self.image_ids))

    def situation(self, candidates: Ints) -> Situation:
        """What a strategy looks at."""
        return Situation(
            self.views,
            self.settings,
            self.labelled,
            candidates,
            self.probabilities,
            classes=len(self.classes),
            uncertainty=self.uncertainty,
            changed=self.changed,
        )
