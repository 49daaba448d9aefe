"""`batch simulate`: the strategies replayed on images of the catalog whose labels are known already."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from curation import labels, manifests, splits
from curation.embed import find_encoder
from curation.index import open_directions
from sampling.head import Views
from sampling.recipes import Recipe, parse
from sampling.simulate import Curve, labels_needed, simulate
from sampling.strategies import with_cold_start
from store.errors import InvalidInputError, NotFoundError
from store.schema import ImageId, Sighting
from store.workspace import Workspace

BASELINE = "random"


@dataclass(frozen=True)
class Backtest:
    """What a simulation found, and on what."""

    encoder: str
    images: int  # with a label and a vector
    classes: list[str]
    unknown: list[str]  # uris of the file that are in no catalog
    not_embedded: int  # images with a label and without a vector
    curves: list[Curve]

    @property
    def needed(self) -> dict[str, float | None]:
        """How many labels each strategy needed for what random reached with the most; None: more than that."""
        baseline = next((curve for curve in self.curves if curve.strategy == BASELINE), None)
        if baseline is None:
            return {}
        return {curve.strategy: labels_needed(curve, float(baseline.accuracy[-1])) for curve in self.curves}


def backtest(
    workspace: Workspace,
    *,
    strategies: Sequence[str],
    budgets: Sequence[int],
    seeds: int,
    label_file: Path | None = None,
    taxonomy: str | None = None,
    encoder: str | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Backtest:
    """Replay strategies on the labels of a file (`uri,label`), or on the accepted ones.

    Duplicates and scenes are never both chosen and tested on.

    Raises:
        InvalidInputError: a strategy is unknown, budgets do not rise, or the labels are too few or of one class.
        NotFoundError: nothing is embedded, or none of the labelled images is.
    """
    recipes: dict[str, Recipe] = {name: parse({"budget": 1, "strategy": name}) for name in strategies}
    if not budgets or list(budgets) != sorted(set(budgets)) or budgets[0] < 1:
        raise InvalidInputError("The budgets have to be numbers of labels that rise, such as --budgets 20,50,100.")
    with workspace.database.read() as session:
        row = find_encoder(session, encoder)
        directions = open_directions(workspace, session, row)
        value_of, unknown = _accepted(session, taxonomy) if label_file is None else _in_file(session, label_file)
        catalog = splits.read(session)
        encoder_name = row.name
    component_of = dict(zip(catalog.image_ids, catalog.components.tolist(), strict=True))
    sha256_of = dict(zip(catalog.image_ids, catalog.sha256s, strict=True))
    row_of = {ImageId(image_id): i for i, image_id in enumerate(directions.image_ids.tolist())}
    there = sorted((image_id for image_id in value_of if image_id in row_of), key=lambda one: sha256_of[one])
    if not there:
        raise NotFoundError(
            f"None of {len(value_of)} labelled images has a vector of {encoder_name}"
            f"{f', and {len(unknown)} uris are in no catalog' if unknown else ''}. Run: winnow ingest, winnow embed."
        )
    classes = sorted({value_of[image_id] for image_id in there})
    rows = np.array([row_of[image_id] for image_id in there], dtype=np.int64)
    curves = simulate(
        Views.of(lambda positions: directions.take(rows[positions]), len(rows)),
        np.array([classes.index(value_of[image_id]) for image_id in there], dtype=np.int64),
        np.array([component_of[image_id] for image_id in there], dtype=np.int64),
        strategies={name: with_cold_start(recipe.strategy) for name, recipe in recipes.items()},
        budgets=budgets,
        seeds=seeds,
        on_progress=on_progress,
    )
    return Backtest(encoder_name, len(there), classes, unknown, len(value_of) - len(there), curves)


def _accepted(session: Session, taxonomy: str | None) -> tuple[dict[ImageId, str], list[str]]:
    name = labels.the_taxonomy(session, taxonomy, of_classes=True).name
    return {one.image_id: one.value for one in labels.in_force(session, name)}, []


def _in_file(session: Session, path: Path) -> tuple[dict[ImageId, str], list[str]]:
    """The label of each image that a file names, and the uris it names in vain."""
    sightings = session.execute(select(Sighting.uri, Sighting.image_id).where(Sighting.current))
    known = {uri: ImageId(image_id) for uri, image_id in sightings}
    value_of: dict[ImageId, str] = {}
    unknown = []
    if not path.is_file():
        raise NotFoundError(f"There is no file {path}.")
    for uri, described in manifests.read(path):
        if "label" not in described:
            raise InvalidInputError(f"{path} has no label for {uri}: it needs the columns uri and label.")
        if uri not in known:
            unknown.append(uri)
            continue
        label = str(described["label"])
        if value_of.setdefault(known[uri], label) != label:
            raise InvalidInputError(f"{path} gives two labels to one image, {uri}: {value_of[known[uri]]} and {label}.")
    return value_of, unknown
