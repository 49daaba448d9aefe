"""`qa simulate`: policies of asking replayed on a file of answers, with the catalog's vectors where it has them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sqlalchemy import select

from qa import answer_files, views
from qa.answer_files import AnswerFile
from qa.overlap import Rules
from qa.simulate import Outcome, Recorded, simulate
from sampling.head import Views
from store.arrays import Ints
from store.errors import InvalidInputError, NotFoundError
from store.schema import Sighting
from store.workspace import Workspace

_MOST_CONFUSIONS = 1 << 26  # people times pairs of classes: half a gigabyte


@dataclass(frozen=True)
class Backtest:
    """What a simulation found, and on what."""

    items: int
    annotators: int
    classes: list[str]
    answers: int
    known: int  # items whose true class is known
    skipped: int  # rows without a label
    repeated: int  # rows replaced by a later answer
    repeated_truth: int  # rows of the truth replaced by a later one of the same item
    repeated_predictions: int  # likewise of the model's probabilities
    model: str | None  # what the posterior heard beside the people
    outcomes: list[Outcome]


def backtest(
    workspace: Workspace,
    path: Path,
    *,
    rules: Rules,
    seeds: int,
    truth: Path | None = None,
    probabilities: Path | None = None,
    encoder: str | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Backtest:
    """Replay policies on the answers of a file, see `qa.answer_files`.

    The posterior hears people alone; or a model's probabilities, if they are given; or the probe on an encoder's
    vectors, if the file says in a column uri which images its items are.

    Raises:
        NotFoundError: there is no such file, or the images have no vectors.
        InvalidInputError: a file cannot be used, or both a model and an encoder are named.
    """
    if probabilities is not None and encoder is not None:
        raise InvalidInputError("Give either the probabilities of a model or an encoder for the probe, not both.")
    told = answer_files.read(path, truth=truth)
    if len(told.annotators) * len(told.classes) ** 2 > _MOST_CONFUSIONS:
        raise InvalidInputError(
            f"{path} has {len(told.annotators)} people and {len(told.classes)} classes: what each confuses with what "
            "is too much to hold. Take some of the people, or join classes."
        )
    if encoder is not None and not told.uris:
        raise InvalidInputError(f"{path} needs a column uri that says which image of the catalog each item is.")
    model, seen, tied = (None if probabilities is None else probabilities.name), None, None
    if probabilities is None and told.uris:
        model, seen, tied = _views(workspace, told, encoder)
    chances, repeated = (None, 0) if probabilities is None else answer_files.read_probabilities(probabilities, told)
    recorded = Recorded(
        told.answers,
        told.truth,
        annotators=len(told.annotators),
        classes=len(told.classes),
        probabilities=chances,
        views=seen,
        tied=tied,
    )
    return Backtest(
        items=len(told.items),
        annotators=len(told.annotators),
        classes=told.classes,
        answers=len(told.answers),
        known=int((told.truth >= 0).sum()),
        skipped=told.skipped,
        repeated=told.repeated,
        repeated_truth=told.repeated_truth,
        repeated_predictions=repeated,
        model=model,
        outcomes=simulate(recorded, rules=rules, seeds=seeds, on_progress=on_progress),
    )


def _views(workspace: Workspace, told: AnswerFile, encoder: str | None) -> tuple[str, Views, Ints]:
    """The encoder's name, what the probe sees of the items, and the component of each."""
    with workspace.database.read() as session:
        sightings = session.execute(select(Sighting.uri, Sighting.image_id).where(Sighting.current))
        image_of: dict[str, int] = dict(sightings.all())
        images = [image_of.get(told.uris.get(item, "")) for item in told.items]
        seen = views.of_images(workspace, session, images, encoder=encoder)
    missing = np.flatnonzero(~seen.has_vector)
    if len(missing):
        raise NotFoundError(
            f"{len(missing)} of {len(told.items)} items have no image with a vector of {seen.encoder}, such as "
            f"{told.items[missing[0]]}. Run: winnow ingest, winnow embed."
        )
    return seen.model, seen.views(), seen.tied
