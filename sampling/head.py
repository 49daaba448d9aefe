"""A multinomial logistic head on embeddings: pure functions of arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from curation.joins import Take
from sampling import features
from store.arrays import Floats, Ints, Vectors
from store.errors import InvalidInputError

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

REVISION = 4  # counts the changes after which the same labels train another head
_FOLDS = 5
_SEARCHED = 2000  # labels at most on which settings are tried
_ROUGHLY = 1e-3  # the tolerance then: losses are compared, and settings differ by more
_ENOUGH = 50  # labels from which on trying tells anything


@dataclass(frozen=True)
class Settings:
    """What is chosen by cross-validation."""

    smooth: bool  # whether each image is averaged with its neighbours
    inverse_penalty: float  # scikit-learn's C on unit vectors


DEFAULT = Settings(smooth=True, inverse_penalty=10.0)
_CHOICES = [Settings(smooth, c) for smooth in (True, False) for c in (10.0, 3.0, 30.0)]  # on a tie the first


@dataclass(frozen=True)
class Views:
    """All images of a collection as a head may see them."""

    plain: Vectors  # (N, d) unit vectors
    smooth: Vectors  # (N, d), see sampling.features.smoothed

    @classmethod
    def of(cls, take: Take, count: int) -> "Views":
        """The views of unit vectors 0 … `count` - 1, labelled or not."""
        plain = features.principal(take, count)
        return cls(plain, features.smoothed(plain))

    def seen(self, settings: Settings) -> Vectors:
        """The view that some settings ask for."""
        return self.smooth if settings.smooth else self.plain


def probabilities(views: Views, labelled: Ints, targets: Ints, *, classes: int, settings: Settings) -> Floats:
    """Train on `labelled` positions with `targets` in `range(classes)`; probabilities `(N, classes)` of everything.

    A class without a training image gets probability 0.

    Raises:
        InvalidInputError: fewer than two classes have images.
    """
    seen = views.seen(settings)
    return predict(fit(seen[labelled], targets, settings), seen, classes=classes)


def fit(
    vectors: Vectors, targets: Ints, settings: Settings, *, weights: Floats | None = None, tolerance: float = 1e-4
) -> Any:
    """A head trained on `(L, d)` with `targets` `(L,)`, each counting as 1 or as `weights` `(L,)` say.

    `tolerance` is of the gradient: it is what training stops at.

    Raises:
        InvalidInputError: fewer than two classes have images.
    """
    from sklearn.linear_model import LogisticRegression

    present = len(np.unique(targets))
    if present < 2:
        raise InvalidInputError(
            f"The probe needs images of two classes or more; these {len(targets)} hold {present}. Label more."
        )
    head = LogisticRegression(C=settings.inverse_penalty, max_iter=1000, tol=tolerance)
    with _libraries().limit(limits=1, user_api="blas"):
        return head.fit(vectors, targets, weights)


@cache
def _libraries() -> "ThreadpoolController":
    """Those that multiply matrices: on a busy machine several threads wait for each other ten times as long as for one.

    The matrices of one step of training are too small to gain by more.
    """
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def predict(head: Any, vectors: Vectors, *, classes: int) -> Floats:
    """Probabilities `(N, classes)` for vectors `(N, d)`; 0 for a class the head has not seen."""
    result = np.zeros((len(vectors), classes))
    result[:, head.classes_] = head.predict_proba(vectors)
    return result


def choose_settings(views: Views, labelled: Ints, targets: Ints, tied: Ints, *, classes: int) -> Settings:
    """The settings of the least cross-validated log loss; the default where labels are too few to tell."""
    if len(labelled) < _ENOUGH:
        return DEFAULT
    some = np.sort(np.random.default_rng(0).permutation(len(labelled))[:_SEARCHED])
    labelled, targets, tied = labelled[some], targets[some], tied[some]
    splits = _splits(targets, tied)
    if splits is None:
        return DEFAULT
    losses = []
    for settings in _CHOICES:
        seen = views.seen(settings)[labelled]
        unseen = _unseen(seen, targets, splits, settings, classes=classes, tolerance=_ROUGHLY)
        losses.append(float(-np.log(unseen[np.arange(len(targets)), targets].clip(min=1e-6)).mean()))
    return _CHOICES[int(np.argmin(losses))]


def out_of_fold(
    views: Views, labelled: Ints, targets: Ints, tied: Ints, *, classes: int, settings: Settings
) -> Floats | None:
    """Each labelled image's probabilities `(L, classes)` by a head that saw neither it nor what it is `tied` to.

    Stratified, five folds at most. None where a class is in a single component of `tied` `(L,)`, which no fold can
    both learn and judge.
    """
    splits = _splits(targets, tied)
    return (
        None if splits is None else _unseen(views.seen(settings)[labelled], targets, splits, settings, classes=classes)
    )


def _splits(targets: Ints, tied: Ints) -> Sequence[tuple[Ints, Ints]] | None:
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    folds = min([_FOLDS, *(len(np.unique(tied[targets == target])) for target in np.unique(targets))])
    if folds < 2:
        return None
    folds_of = {"n_splits": folds, "shuffle": True, "random_state": 0}
    if len(np.unique(tied)) == len(tied):  # each image on its own: the same for less
        splits = list(StratifiedKFold(**folds_of).split(targets, targets))
    else:
        splits = list(StratifiedGroupKFold(**folds_of).split(targets, targets, tied))
    return None if any(len(np.unique(targets[seen])) < 2 for seen, _ in splits) else splits


def _unseen(
    vectors: Vectors,
    targets: Ints,
    splits: Sequence[tuple[Ints, Ints]],
    settings: Settings,
    *,
    classes: int,
    tolerance: float = 1e-4,
) -> Floats:
    result = np.zeros((len(vectors), classes))
    for seen, unseen in splits:
        head = fit(vectors[seen], targets[seen], settings, tolerance=tolerance)
        result[unseen] = predict(head, vectors[unseen], classes=classes)
    return result
