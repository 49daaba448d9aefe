"""How often a model is right, on images it was not trained on."""

import math
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from curation import labels, predictions, splits
from curation.splits import FRACTIONS, Catalog, Split
from store.errors import InvalidInputError
from store.schema import Image, ImageId, Label, Prediction, PredictionRun, Version, VersionItem
from store.workspace import Workspace

_Z = 1.959964  # 95 % of a normal distribution lie within


@dataclass(frozen=True)
class Judgement:
    """A prediction on a labelled image."""

    image_id: ImageId
    split: Split
    label: str
    predicted: str

    @property
    def failed(self) -> bool:
        """Whether the prediction disagrees with the label."""
        return self.predicted != self.label


@dataclass(frozen=True)
class Judgements:
    """What the newest run of a model said about labelled images it had not learnt from, ordered by sha256."""

    run_id: int
    classes: list[str]
    taxonomy: str
    judged: list[Judgement]


@dataclass(frozen=True)
class ClassMetrics:
    """One class; shares of nothing are none."""

    name: str
    images: int
    recall: float | None
    precision: float | None


@dataclass(frozen=True)
class Evaluation:
    """A model on one split."""

    model: str
    run: int
    taxonomy: str
    split: str
    images: int
    correct: int
    accuracy: float
    interval: tuple[float, float]  # Wilson's, 95 %
    confusion: dict[str, dict[str, int]]  # images by label, then by prediction
    classes: list[ClassMetrics]


def wilson(successes: int, total: int) -> tuple[float, float]:
    """The 95 % score interval of a share; (0, 1) of nothing. E. B. Wilson, JASA 22 (1927)."""
    if total == 0:
        return 0.0, 1.0
    share = successes / total
    centre = share + _Z**2 / (2 * total)
    margin = _Z * math.sqrt(share * (1 - share) / total + _Z**2 / (4 * total**2))
    scale = 1 + _Z**2 / total
    return max(0.0, min(share, (centre - margin) / scale)), min(1.0, max(share, (centre + margin) / scale))


def evaluate(workspace: Workspace, model: str, *, split: str = "test", taxonomy: str | None = None) -> Evaluation:
    """Compare the newest run of `model` with the labels in force of one split.

    Raises:
        NotFoundError: the model has no predictions, or nothing is labelled.
        InvalidInputError: there is no such split, or no image of it is labelled and predicted.
    """
    if split not in FRACTIONS:
        raise InvalidInputError(f"There is no split {split!r}: say {', '.join(FRACTIONS)}.")
    with workspace.database.read() as session:
        found = judge(session, model, taxonomy=taxonomy)
    judged = [each for each in found.judged if each.split == split]
    if not judged:
        raise InvalidInputError(
            f"No image of {split} has both a label and a prediction of {model!r} that it was not trained on."
        )
    names = list(dict.fromkeys([*found.classes, *sorted(each.label for each in judged)]))
    confusion = {name: dict.fromkeys(found.classes, 0) for name in names}
    for each in judged:
        confusion[each.label][each.predicted] += 1
    correct = sum(not each.failed for each in judged)
    return Evaluation(
        model=model,
        run=found.run_id,
        taxonomy=found.taxonomy,
        split=split,
        images=len(judged),
        correct=correct,
        accuracy=correct / len(judged),
        interval=wilson(correct, len(judged)),
        confusion=confusion,
        classes=[_metrics(name, confusion) for name in names],
    )


def judge(session: Session, model: str, *, taxonomy: str | None = None) -> Judgements:
    """Set the newest run of `model` beside the labels in force.

    Images the run was trained on, and what is tied to them, say nothing about it and are left out.
    The former count all the same if the run reports `out_of_fold`: a model that had not seen it
    predicted each.

    Args:
        session: a read session.
        model: whose newest run.
        taxonomy: whose labels; by default those of the version the run was trained on.

    Raises:
        NotFoundError: the model has no run, or nothing is labelled.
        InvalidInputError: the run names no version and several taxonomies have labels.
    """
    return judge_run(session, predictions.newest_run(session, model), taxonomy=taxonomy)


def judge_run(session: Session, run: PredictionRun, *, taxonomy: str | None = None) -> Judgements:
    """Set one run beside the labels in force, as `judge` does."""
    if taxonomy is None and run.version_id is not None:
        taxonomy = session.get_one(Version, run.version_id).manifest.get("taxonomy")
    taxonomy = labels.the_taxonomy(session, taxonomy, of_classes=True).name
    catalog = splits.read(session)
    split_of = dict(zip(catalog.image_ids, splits.settle(catalog), strict=True))
    seen = _learnt_from(session, run, catalog)
    rows = session.execute(
        select(Label.image_id, Label.value)
        .join(Image, Image.id == Label.image_id)
        .join(Prediction, (Prediction.image_id == Label.image_id) & (Prediction.run_id == run.id))
        .where(Label.id.in_(labels.newest_ids(taxonomy)))
        .order_by(Image.sha256)
    )
    labelled = [(ImageId(image_id), value) for image_id, value in rows if image_id not in seen]
    best = predictions.read(session, run, [image_id for image_id, _ in labelled]).argmax(axis=1)
    judged = [
        Judgement(image_id=image_id, split=split_of[image_id], label=value, predicted=run.classes[i])
        for (image_id, value), i in zip(labelled, best, strict=True)
    ]
    return Judgements(run.id, run.classes, taxonomy, judged)


def _learnt_from(session: Session, run: PredictionRun, catalog: Catalog) -> set[int]:
    """The images in the train split the run was trained on, unless predicted out of fold, and all tied to one."""
    trained_on = set(
        session.scalars(
            select(VersionItem.image_id).where(VersionItem.version_id == run.version_id, VersionItem.split == "train")
        )
    )
    tied = list(zip(catalog.image_ids, catalog.components.tolist(), strict=True))
    roots = {root for image_id, root in tied if image_id in trained_on}
    spared = trained_on if run.report.get("out_of_fold") else set()
    return {image_id for image_id, root in tied if root in roots and image_id not in spared}


def _metrics(name: str, confusion: dict[str, dict[str, int]]) -> ClassMetrics:
    images = sum(confusion[name].values())
    predicted = sum(row.get(name, 0) for row in confusion.values())
    hits = confusion[name].get(name, 0)
    return ClassMetrics(
        name=name,
        images=images,
        recall=hits / images if images else None,
        precision=hits / predicted if predicted else None,
    )
