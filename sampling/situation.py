"""What a strategy looks at when it chooses."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from sampling import scores
from sampling.head import Settings, Views
from store.arrays import Floats, Ints, Vectors
from store.errors import InvalidInputError

_ROWS = 1 << 16


@dataclass(frozen=True)
class Situation:
    """Everything there is, what of it is labelled, and what may be chosen. Positions are rows of `views`."""

    views: Views  # of `(N,)` images
    settings: Settings  # of the probe
    labelled: Ints  # (L,)
    candidates: Ints  # (M,), ordered by sha256: ties go to the first
    probabilities: Floats | None  # (N, C) calibrated; None before there is a model, or where it finds boxes
    classes: int
    uncertainty: Floats | None = None  # (N,) from 0; None: the margins of the probabilities
    changed: Floats | None = None  # (N,) share of a model's passes that take an image for another class

    @property
    def is_predicted(self) -> bool:
        """Whether a model says anything."""
        return self.probabilities is not None or self.uncertainty is not None

    @property
    def seen(self) -> Vectors:
        """The vectors `(N, d)` that the probe sees."""
        return self.views.seen(self.settings)

    @property
    def offered(self) -> Vectors:
        """Those of the candidates `(M, d)`."""
        vectors: Vectors = self.seen[self.candidates]
        return vectors

    def picked(self, places: Ints) -> Ints:
        """The positions of candidates given by their places among them."""
        positions: Ints = self.candidates[places]
        return positions

    @property
    def unsure(self) -> Floats:
        """How uncertain the model is of each candidate `(M,)`, from 0.

        Raises:
            InvalidInputError: nothing is predicted.
        """
        if self.uncertainty is not None:
            return np.asarray(self.uncertainty[self.candidates])
        p = self._predicted()
        parts = [scores.margin(p[self.candidates[i : i + _ROWS]]) for i in range(0, len(self.candidates), _ROWS)]
        return np.concatenate([np.empty(0), *parts])

    @property
    def doubts(self) -> Floats:
        """The uncertainty that was given, else Gini's 1 - Σ p², of everything `(N,)`; 0 where nothing is predicted.

        What is labelled and was not predicted counts as doubted as the candidates are, on average: its label tells.

        Raises:
            InvalidInputError: nothing is predicted.
        """
        if self.uncertainty is not None:
            return self.uncertainty
        p = self._predicted()
        said = p.sum(axis=1)
        doubts = np.asarray(said - np.einsum("ij,ij->i", p, p), dtype=np.float64).clip(min=0)
        untold = self.labelled[said[self.labelled] == 0]
        if len(untold) and len(self.candidates):
            doubts[untold] = doubts[self.candidates].mean()
        return doubts

    def _predicted(self) -> Floats:
        if self.probabilities is None:
            raise InvalidInputError(
                "This strategy needs predictions. Run: winnow predictions probe VERSION, or plan with --strategy auto."
            )
        return self.probabilities


Strategy: TypeAlias = Callable[[Situation, int, int], Ints]
"""Chooses k candidates, given a seed: `(situation, k, seed) -> (k,)` positions, in order of choosing."""
