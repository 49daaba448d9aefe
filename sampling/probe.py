"""The built-in probe: a multinomial logistic head on the embeddings, for teams without a model."""

import hashlib
import json
from dataclasses import asdict, dataclass

import numpy as np
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from curation import splits
from curation.embed import find_encoder
from curation.index import open_directions
from sampling import head
from sampling.head import Views
from store.arrays import Ints
from store.errors import NotFoundError
from store.schema import Encoder, Image, Label, Prediction, PredictionRun, Version, VersionItem
from store.workspace import Workspace

MODEL = "probe"

_BLOCK = 4096  # images an insert


@dataclass(frozen=True)
class ProbeSummary:
    """What one training of the probe gave."""

    run_id: int
    version: str
    trained_on: int
    predicted: int
    classes: list[str]


def train(workspace: Workspace, version: str) -> ProbeSummary:
    """Train on a version's train split and predict every embedded image; the same version again is a no-op.

    Images it is trained on are predicted out of fold, so that their failures mean something too.

    Raises:
        NotFoundError: there is no such version, or its images are not embedded.
        InvalidInputError: its train split holds fewer than two classes.
    """
    with workspace.database.read() as session:
        encoder = find_encoder(session)
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
        directions = open_directions(workspace, session, encoder)
        digest = _digest(session, version, encoder, directions.image_ids)
        catalog = splits.read(session)
        done = session.scalar(select(PredictionRun.id).where(PredictionRun.digest == digest))
    image_ids: list[int] = directions.image_ids.tolist()
    labelled = np.array([i for i, image_id in enumerate(image_ids) if image_id in values], dtype=np.int64)
    if done is None:
        component_of: dict[int, int] = dict(zip(catalog.image_ids, catalog.components.tolist(), strict=True))
        targets = np.array([classes.index(values[image_ids[i]]) for i in labelled], dtype=np.int64)
        tied = np.array([component_of[image_ids[i]] for i in labelled], dtype=np.int64)
        views = Views.of(directions.take, len(image_ids))
        settings = head.choose_settings(views, labelled, targets, tied, classes=len(classes))
        probabilities = head.probabilities(views, labelled, targets, classes=len(classes), settings=settings)
        unseen = head.out_of_fold(views, labelled, targets, tied, classes=len(classes), settings=settings)
        if unseen is not None:
            probabilities[labelled] = unseen
        report = {
            "trained_on": len(labelled),
            "encoder": encoder.digest,
            "out_of_fold": unseen is not None,
            "settings": asdict(settings),
        }
        with workspace.database.write() as session:
            done = session.scalar(select(PredictionRun.id).where(PredictionRun.digest == digest))
            if done is None:  # else another process has trained the same meanwhile
                run = PredictionRun(model=MODEL, digest=digest, classes=classes, version_id=version, report=report)
                session.add(run)
                session.flush()
                done = run.id
                for start in range(0, len(image_ids), _BLOCK):
                    block = zip(image_ids[start : start + _BLOCK], probabilities[start : start + _BLOCK], strict=True)
                    rows = [
                        {"run_id": done, "image_id": image_id, "probabilities": row.astype("<f4").tobytes()}
                        for image_id, row in block
                    ]
                    session.execute(insert(Prediction), rows)
    return ProbeSummary(done, version, len(labelled), len(image_ids), classes)


def _digest(session: Session, version: str, encoder: Encoder, image_ids: Ints) -> str:
    """What a run depends on: how a head is trained, on which labels, and what it predicts."""
    sha256_of = dict(session.execute(select(Image.id, Image.sha256)).all())
    images = hashlib.sha256("".join(sha256_of[image_id] for image_id in image_ids.tolist()).encode()).hexdigest()
    return hashlib.sha256(json.dumps([MODEL, head.REVISION, version, encoder.digest, images]).encode()).hexdigest()
