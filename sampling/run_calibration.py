"""Calibrating a prediction run on the labels in force that it has not learnt from."""

from dataclasses import dataclass

import numpy as np
from sqlalchemy.orm import Session

from curation import evaluation, predictions, splits
from curation.evaluation import Judgement
from sampling.calibration import LEAST_LABELS, Calibration, Calibrator, calibrate
from store.errors import RequestError
from store.schema import PredictionRun


@dataclass(frozen=True)
class Report:
    """What calibrating a run gained, and what a reader should know of it, in sentences."""

    calibration: Calibration
    remarks: list[str]

    @property
    def sentence(self) -> str:
        """What is done to the probabilities, and what it gains."""
        done = self.calibration
        if done.before is None or done.after is None:
            return " ".join(["Probabilities are taken as the model says them.", *self.remarks])
        how = {
            "identity": "need no correction",
            "temperature": f"are softened by a temperature of {done.calibrator.temperature:.2f}",
            "isotonic": "are mapped by a curve for each class",
        }[done.calibrator.method]
        gained = (
            f"Probabilities {how}: their calibration error is {done.after.ece:.3f} instead of {done.before.ece:.3f} on "
            f"{done.labels} labels, each left out of the fit that it judges."
        )
        return " ".join([gained, *self.remarks])


def calibrated(session: Session, run: PredictionRun, *, taxonomy: str | None = None) -> tuple[Calibrator, Report]:
    """How to read a run's class probabilities; where it cannot be told, as they are.

    Labels of images the run was trained on count only if it predicted them out of fold. Of a run that names no
    version nobody knows what it was trained on: labels of val and test are used where they are enough, else all.

    Raises:
        NotFoundError: a taxonomy is named, and there is none of that name.
    """
    if run.kind != "classes":
        return _unchanged(f"Run {run.id} predicts {run.kind}, whose scores are used as they are.")
    try:
        found = evaluation.judge_run(session, run, taxonomy=taxonomy)
    except RequestError as error:
        if taxonomy is not None:
            raise
        return _unchanged(str(error))  # nothing is labelled, or under several taxonomies
    judged = [each for each in found.judged if each.label in run.classes]
    remarks = []
    if len(judged) < len(found.judged):
        remarks.append(f"{len(found.judged) - len(judged)} labels are of classes that run {run.id} does not have.")
    if run.version_id is None:
        judged, remark = _held_out(judged, run.classes)
        remarks.append(remark)
    image_ids = [each.image_id for each in judged]
    targets = np.array([run.classes.index(each.label) for each in judged], dtype=np.int64)
    catalog = splits.read(session)
    component_of = dict(zip(catalog.image_ids, catalog.components.tolist(), strict=True))
    components = np.array([component_of[image_id] for image_id in image_ids], dtype=np.int64)
    done = calibrate(predictions.read(session, run, image_ids), targets, components)
    return done.calibrator, Report(done, [*remarks, *([done.note] if done.note else [])])


def _held_out(judged: list[Judgement], classes: list[str]) -> tuple[list[Judgement], str]:
    """The labels of val and test where they are enough, else all, with a sentence."""
    held_out = [each for each in judged if each.split != "train"]
    if len(held_out) >= LEAST_LABELS and {each.label for each in held_out} == set(classes):
        return held_out, "What the run was trained on is not known: only labels of val and test were used."
    return judged, (
        f"What the run was trained on is not known, and {len(held_out)} labels of val and test are too few or lack "
        "a class: all labels were used. They must not be of images it was trained on."
    )


def _unchanged(note: str) -> tuple[Calibrator, Report]:
    return Calibrator(), Report(Calibration(Calibrator(), 0, None, None, {}, note), [note])
