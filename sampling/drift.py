"""Drift of images: whether those that came can be told from those that were there before, by their embeddings.

A classifier learns to tell the two apart. Its area under the ROC curve (AUC) is .5 where they are alike and 1 where
they have nothing in common.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from curation import splits
from curation.embed import find_encoder
from curation.index import open_directions
from curation.joins import Take
from sampling import features, head
from sampling.head import Settings
from store.arrays import Bools, Ints, Vectors
from store.workspace import Workspace

_MOST = 2000  # images of either side
_FOLDS = 5
_HEAD = Settings(smooth=False, inverse_penalty=1.0)
_Z = 1.96  # of a 95 % interval
_EDGE = 1e-9  # keeps the search for a limit off the ends, where the variance is 0


@dataclass(frozen=True)
class ImageDrift:
    """How well new images can be told from old ones."""

    auc: float | None  # cross-validated; none where one side has a single image, or none
    low: float  # of the 95 % interval, which is all of 0 to 1 where there is no AUC
    high: float
    old: int  # images compared, see `draw`
    new: int


def since(workspace: Workspace, images: frozenset[int]) -> ImageDrift:
    """The drift of these embedded images from all others.

    Raises:
        NotFoundError: nothing is embedded.
        IntegrityError: vectors are missing on disk, or hold NaN.
    """
    with workspace.database.read() as session:
        directions = open_directions(workspace, session, find_encoder(session))
        catalog = splits.read(session)
    component_of = dict(zip(catalog.image_ids, catalog.components.tolist(), strict=True))
    tied = np.array([component_of[image_id] for image_id in directions.image_ids.tolist()], dtype=np.int64)
    return measure(directions.take, np.isin(directions.image_ids, list(images)), tied)


def measure(take: Take, is_new: Bools, tied: Ints, *, seed: int = 0) -> ImageDrift:
    """The drift of the images that are new from the others, with its 95 % interval.

    The AUC is the mean over five folds, fewer where a side has fewer images.

    Args:
        take: gives the unit vectors `(n, D)` at positions.
        is_new: `(N,)`.
        tied: `(N,)`, equal for images that must not be separated.
        seed: of the draw and the folds.
    """
    positions = draw(is_new, tied, seed=seed)
    targets = is_new[positions]
    new = int(targets.sum())
    old = len(targets) - new
    folds = min(_FOLDS, new, old)
    if folds < 2:
        return ImageDrift(None, 0.0, 1.0, old, new)
    vectors = features.principal(lambda places: take(positions[places]), len(positions))
    auc = _cross_validated(vectors, targets, folds=folds, seed=seed)
    return ImageDrift(auc, *interval(auc, old, new, folds=folds), old, new)


def draw(is_new: Bools, tied: Ints, *, seed: int) -> Ints:
    """Positions of images to compare, ascending: 2,000 of each side at most, one of those that are tied.

    Images of one scene are no independent witnesses, so that a hundred of them count once. Where some of them are
    old, the scene is.
    """
    shuffled = np.random.default_rng(seed).permutation(len(is_new))
    old_first = shuffled[np.argsort(is_new[shuffled], kind="stable")]
    _, first = np.unique(tied[old_first], return_index=True)
    speakers = old_first[np.sort(first)]
    new = is_new[speakers]
    return np.sort(np.concatenate([speakers[~new][:_MOST], speakers[new][:_MOST]]))


def interval(auc: float, old: int, new: int, *, folds: int) -> tuple[float, float]:
    """The 95 % interval of a cross-validated AUC.

    The variance is that of Hanley & McNeil (Radiology 143, 1982) at the limit itself and not at `auc`, as Newcombe
    (Statistics in Medicine 25, 2006) does, so that the interval stays within 0 and 1 and has a width at both. It is
    multiplied by 1 + K / (K - 1) for K folds, because they share what they are trained on (Nadeau & Bengio, Machine
    Learning 52, 2003): as if folds were independent, every sixth interval would miss.
    """
    widening = 1 + folds / (folds - 1)

    def excess(limit: float) -> float:
        """Above 0 where `auc` is farther from the limit than chance takes it."""
        return (auc - limit) ** 2 - _Z**2 * widening * _variance(limit, old, new)

    low = _root(excess, 0.0, min(auc, 1 - _EDGE)) if auc > _EDGE else 0.0
    high = _root(excess, max(auc, _EDGE), 1.0) if auc < 1 - _EDGE else 1.0
    return low, high


def _variance(auc: float, old: int, new: int) -> float:
    """Of the AUC of a fixed classifier (Hanley & McNeil 1982)."""
    two_new = auc / (2 - auc)  # the chance that two new images both score above one old image
    two_old = 2 * auc**2 / (1 + auc)
    spread = auc * (1 - auc) + (new - 1) * (two_new - auc**2) + (old - 1) * (two_old - auc**2)
    return spread / (old * new)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    from scipy.optimize import brentq

    return float(brentq(function, low, high))


def _cross_validated(vectors: Vectors, targets: Bools, *, folds: int, seed: int) -> float:
    """The mean AUC `(N, d)` over folds; scores of two folds come from two classifiers and are not compared."""
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold

    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    aucs = []
    for seen, unseen in splitter.split(vectors, targets):
        fitted = head.fit(vectors[seen], targets[seen].astype(np.int64), _HEAD)
        aucs.append(roc_auc_score(targets[unseen], fitted.decision_function(vectors[unseen])))
    return float(np.mean(aucs))
