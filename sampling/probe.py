"""The built-in probe: a multinomial logistic head on the embeddings, for teams without a model."""

import hashlib
import json
from dataclasses import dataclass

import numpy as np
from sqlalchemy import insert, select

from curation import splits
from curation.index import open_index
from store.arrays import Floats, Ints, Vectors
from store.errors import InvalidInputError, NotFoundError
from store.schema import Image, Label, Prediction, PredictionRun, Version, VersionItem
from store.workspace import Workspace

MODEL = "probe"
_INVERSE_PENALTY = 10.0  # scikit-learn's C on unit vectors; on solar cells 1 and 100 are no better at 40–320 labels
_FOLDS = 5


@dataclass(frozen=True)
class ProbeSummary:
    """What one training of the probe gave."""

    run_id: int
    version: str
    trained_on: int
    predicted: int
    classes: list[str]


def fit_predict(train: Vectors, targets: Ints, pool: Vectors, *, classes: int) -> Floats:
    """Train on unit vectors `(N, D)` with targets `(N,)` in `range(classes)`; probabilities `(M, classes)` for `pool`.

    A class without a training image gets probability 0.

    Raises:
        InvalidInputError: fewer than two classes have images.
    """
    from sklearn.linear_model import LogisticRegression

    present = np.unique(targets)
    if len(present) < 2:
        raise InvalidInputError(
            f"The probe needs images of two classes or more; these {len(targets)} hold {len(present)}. Label more."
        )
    head = LogisticRegression(C=_INVERSE_PENALTY, max_iter=1000).fit(train, targets)
    probabilities = np.zeros((len(pool), classes))
    probabilities[:, present] = head.predict_proba(pool)
    return probabilities


def out_of_fold(vectors: Vectors, targets: Ints, components: Ints, *, classes: int) -> Floats | None:
    """Each image's probabilities by a probe that saw neither it nor what it is tied to: `(N, classes)`.

    Stratified, five folds at most. None where a class is in a single component `(N,)`, which no fold
    can both learn and judge.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    folds = min([_FOLDS, *(len(np.unique(components[targets == target])) for target in np.unique(targets))])
    if folds < 2:
        return None
    probabilities = np.zeros((len(vectors), classes))
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    for seen, unseen in splitter.split(vectors, targets, components):
        if len(np.unique(targets[seen])) < 2:
            return None
        probabilities[unseen] = fit_predict(vectors[seen], targets[seen], vectors[unseen], classes=classes)
    return probabilities


def train(workspace: Workspace, version: str) -> ProbeSummary:
    """Train on a version's train split and predict every embedded image; the same version again is a no-op.

    Images it is trained on are predicted out of fold, so that their failures mean something too.

    Raises:
        NotFoundError: there is no such version, or its images are not embedded.
        InvalidInputError: its train split holds fewer than two classes.
    """
    encoder, index = open_index(workspace)
    with workspace.database.read() as session:
        row = session.get(Version, version)
        if row is None:
            raise NotFoundError(f"There is no version {version}. See: winnow version list.")
        classes: list[str] = row.manifest["classes"]
        values = dict(
            session.execute(
                select(VersionItem.image_id, Label.value)
                .join(Label, Label.id == VersionItem.label_id)
                .where(VersionItem.version_id == version, VersionItem.split == "train")
            ).all()
        )
        digest = hashlib.sha256(json.dumps([MODEL, _INVERSE_PENALTY, version, encoder.digest]).encode()).hexdigest()
        sha256_of = dict(session.execute(select(Image.id, Image.sha256)).all())
        images = hashlib.sha256("".join(sha256_of[image_id] for image_id in index.image_ids.tolist()).encode())
        digest = hashlib.sha256(f"{digest}{images.hexdigest()}".encode()).hexdigest()
        catalog = splits.read(session)
        component_of: dict[int, int] = dict(zip(catalog.image_ids, catalog.components.tolist(), strict=True))
        done = session.scalar(select(PredictionRun.id).where(PredictionRun.digest == digest))
    positions = np.array(
        [i for i, image_id in enumerate(index.image_ids.tolist()) if image_id in values], dtype=np.int64
    )
    if done is None:
        targets = np.array([classes.index(values[int(index.image_ids[i])]) for i in positions], dtype=np.int64)
        learnt = index.directions[positions]
        probabilities = fit_predict(learnt, targets, index.directions, classes=len(classes))
        tied = np.array([component_of[int(index.image_ids[i])] for i in positions], dtype=np.int64)
        unseen = out_of_fold(learnt, targets, tied, classes=len(classes))
        if unseen is not None:
            probabilities[positions] = unseen
        with workspace.database.write() as session:
            run = PredictionRun(
                model=MODEL,
                digest=digest,
                classes=classes,
                version_id=version,
                report={
                    "trained_on": len(positions),
                    "encoder": encoder.digest,
                    "out_of_fold": unseen is not None,
                },
            )
            session.add(run)
            session.flush()
            done = run.id
            rows = [
                {"run_id": done, "image_id": image_id, "probabilities": row.astype("<f4").tobytes()}
                for image_id, row in zip(index.image_ids.tolist(), probabilities, strict=True)
            ]
            session.execute(insert(Prediction), rows)
    return ProbeSummary(done, version, len(positions), len(index.image_ids), classes)
