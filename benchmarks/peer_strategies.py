"""scikit-activeml's and modAL's strategies in our harness: run by benchmarks.peers in the peers' environment."""

import sys
from collections.abc import Iterator
from typing import Any


def curves(problem: str, budgets: list[int], seeds: int, root: str) -> Iterator[Any]:
    """The accuracies `(S, B)` of each strategy, by its name."""
    sys.path.insert(0, root)
    import warnings

    import numpy as np

    from sampling.head import Views
    from sampling.simulate import simulate

    warnings.filterwarnings("ignore")  # of the peers about their own dependencies
    held = np.load(problem)
    yield
    found = simulate(
        Views(held["plain"], held["smooth"]),
        held["targets"],
        np.arange(len(held["targets"])),
        strategies={name: _after_random(choose) for name, choose in _strategies().items()},
        budgets=budgets,
        seeds=seeds,
    )
    yield {curve.strategy: curve.runs.tolist() for curve in found}


def _after_random(choose: Any) -> Any:
    """The first round at random, unless the strategy looks at no model; then what it chooses."""
    import numpy as np

    def strategy(situation: Any, k: int, seed: int) -> Any:
        if situation.probabilities is None and not getattr(choose, "needs_no_model", False):
            return np.random.default_rng([seed, 0]).choice(situation.candidates, k, replace=False)
        return choose(situation, k, seed)

    return strategy


def _strategies() -> dict[str, Any]:
    """Each `(situation, k, seed) -> positions`, with the same probabilities and vectors as ours."""
    import numpy as np
    from modAL.batch import uncertainty_batch_sampling
    from modAL.uncertainty import entropy_sampling, margin_sampling
    from skactiveml.pool import Badge, CoreSet, TypiClust, UncertaintySampling

    def of_modal(query: Any) -> Any:
        def choose(situation: Any, k: int, seed: int) -> Any:
            offered = situation.candidates
            chosen = query(_Known(situation), situation.seen[offered], n_instances=k)
            return offered[np.asarray(chosen[0] if isinstance(chosen, tuple) else chosen)[:k]]

        return choose

    def of_skactiveml(make: Any, *, needs_no_model: bool = False, asks_model: bool = False) -> Any:
        def choose(situation: Any, k: int, seed: int) -> Any:
            targets = np.full(len(situation.seen), np.nan)
            targets[situation.labelled] = (
                0 if situation.probabilities is None else situation.probabilities[situation.labelled].argmax(axis=1)
            )
            given: dict[str, Any] = {"X": situation.seen, "y": targets, "candidates": situation.candidates}
            if asks_model:
                given |= {"clf": _frozen(situation), "fit_clf": False}
            return make(seed).query(**given, batch_size=k)

        choose.needs_no_model = needs_no_model  # type: ignore[attr-defined]
        return choose

    def uncertain(method: str) -> Any:
        return of_skactiveml(
            lambda seed: UncertaintySampling(method=method, random_state=seed, missing_label=np.nan), asks_model=True
        )

    return {
        "modAL margin": of_modal(margin_sampling),
        "modAL entropy": of_modal(entropy_sampling),
        "modAL ranked batch": of_modal(uncertainty_batch_sampling),
        "skactiveml margin": uncertain("margin_sampling"),
        "skactiveml TypiClust": of_skactiveml(lambda seed: TypiClust(random_state=seed), needs_no_model=True),
        "skactiveml CoreSet": of_skactiveml(lambda seed: CoreSet(random_state=seed), needs_no_model=True),
        "skactiveml Badge": of_skactiveml(lambda seed: Badge(random_state=seed), asks_model=True),
    }


class _Known:
    """A fitted model for modAL, which asks it only for probabilities of vectors it was given."""

    def __init__(self, situation: Any) -> None:
        self._situation = situation
        self.estimator = self
        self.on_transformed = False
        self.X_training = situation.seen[situation.labelled]

    def predict_proba(self, vectors: Any, **_: Any) -> Any:
        return self._situation.probabilities[self._situation.candidates][: len(vectors)]


def _frozen(situation: Any) -> Any:
    """The probe as a classifier of scikit-activeml."""
    import numpy as np
    from skactiveml.base import SkactivemlClassifier

    row_of = {row.tobytes(): i for i, row in enumerate(np.asarray(situation.seen))}

    class Frozen(SkactivemlClassifier):  # type: ignore[misc]
        def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:  # noqa: N803
            self.classes_ = np.arange(situation.classes)
            return self

        def predict_proba(self, X: Any) -> Any:  # noqa: N803
            rows = [row_of[row.tobytes()] for row in np.asarray(X, dtype=situation.seen.dtype)]
            return situation.probabilities[rows]

    return Frozen(classes=list(range(situation.classes))).fit(None, None)
