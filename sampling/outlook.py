"""How accurate the model is so far, and what the next labels are expected to bring."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from sampling import learning_curve
from sampling.forecast import Estimate, Round, advice


@dataclass(frozen=True)
class Outlook:
    """Sentences and the figures in them; none where nothing was measured."""

    accuracy: str | None = None
    forecast: str | None = None
    gain: Estimate | None = None  # of accuracy
    stop: bool | None = None


def read(session: Session, model: str, *, labels: int, cost: float | None, stop_below: float) -> Outlook:
    """What a batch of so many labels to learn from, at this cost in all, is expected to bring a model.

    Accuracy is measured on the newest version's test images, which the random arm drew. Its rounds share them, so
    their errors go together and the interval of a gain is rather too wide than too narrow.
    """
    points = learning_curve.read(session, model)
    if not points or labels < 1:
        return Outlook()
    newest = points[-1]
    low, high = newest.interval
    accuracy = (
        f"{newest.model} is right on {newest.accuracy:.1%} of {newest.total} test images (95 % interval {low:.1%} to "
        f"{high:.1%}) after {newest.train_labels} labels."
    )
    said = advice(
        [Round(point.train_labels, point.correct, point.total) for point in points],
        more_labels=labels,
        cost_per_label=None if cost is None else cost / labels,
        threshold=stop_below,
    )
    return Outlook(accuracy, said.sentence, said.gain, said.stop)
