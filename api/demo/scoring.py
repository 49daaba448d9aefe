"""What the demo measures with the experts' grading that the loop never saw."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import select

from api.demo import people
from api.demo.solar_cells import Collection
from curation import duplicates, predictions, splits
from curation.embed import find_encoder
from curation.index import open_directions
from sampling import head
from sampling.head import Views
from store.arrays import Bools, Ints
from store.schema import ImageId, PredictionRun, Sighting
from store.workspace import Workspace

_SEEDS = 10


@dataclass(frozen=True)
class DuplicateScore:
    """What the scan made of the planted copies."""

    planted: int  # recompressed and cropped ones
    found: int
    wrong: int  # members that show another cell than their representative


@dataclass(frozen=True)
class Accuracy:
    """Right answers on the held-out cells, by the experts' grading."""

    value: float
    held_out: int
    random: list[float]  # of probes trained on as many images drawn at random, one per seed


def score_duplicates(workspace: Workspace, collection: Collection) -> DuplicateScore:
    """Compare the newest scan's groups with what was planted."""
    image_at = _images_by_uri(workspace)
    shown = {image_id: collection.origin.get(uri, uri) for uri, image_id in image_at.items()}
    with workspace.database.read() as session:
        groups = duplicates.newest_groups(session)
    group_of = {member.image_id: group for group, _, members in groups for member in members}
    found = sum(
        image_at[copy] in group_of and group_of[image_at[copy]] == group_of.get(image_at[collection.origin[copy]])
        for copy in collection.altered
    )
    wrong = sum(
        shown[ImageId(member.image_id)] != shown[representative]
        for _, representative, members in groups
        for member in members
    )
    return DuplicateScore(len(collection.altered), found, wrong)


def score_probe(workspace: Workspace, collection: Collection, *, run_id: int, trained_on: int) -> Accuracy:
    """A prediction run on the whole test reserve, beside ten probes trained on random batches of the same size.

    The random batches are labelled by the same simulated people: two of them, and the expert
    where they disagree.
    """
    probability = by_image(workspace, collection)
    with workspace.database.read() as session:
        split_of = splits.load(session)
        run = session.get_one(PredictionRun, run_id)
        classes = list(run.classes)
        image_ids = predictions.predicted(session, run)
        best = predictions.read(session, run, image_ids).argmax(axis=1).tolist()
        predicted = dict(zip(image_ids, best, strict=True))
        copies = {
            member.image_id
            for _, representative, members in duplicates.newest_groups(session)
            for member in members
            if member.image_id != representative
        }
        directions = open_directions(workspace, session, find_encoder(session))
    ids = [ImageId(image_id) for image_id in directions.image_ids.tolist()]
    held_out = np.array([split_of[image_id] == "test" and image_id not in copies for image_id in ids])
    trainable = np.flatnonzero([split_of[image_id] == "train" and image_id not in copies for image_id in ids])
    truth = np.array([classes.index("defective" if probability[i] > 0.5 else "functional") for i in ids])
    answers = np.array([predicted[image_id] for image_id in ids])
    bought = _bought_labels(ids, probability, classes)
    views = Views.of(directions.take, len(ids))
    random = [_accuracy(views, bought, truth, held_out, chosen) for chosen in _draws(trainable, bought, trained_on)]
    return Accuracy(float((answers == truth)[held_out].mean()), int(held_out.sum()), random)


def by_image(workspace: Workspace, collection: Collection) -> dict[ImageId, float]:
    """The experts' probability of being defective, by image."""
    images = _images_by_uri(workspace).items()
    return {image_id: collection.probability[uri] for uri, image_id in images if uri in collection.probability}


def _images_by_uri(workspace: Workspace) -> dict[str, ImageId]:
    with workspace.database.read() as session:
        sightings = session.execute(select(Sighting.uri, Sighting.image_id).where(Sighting.current)).all()
    return {uri: ImageId(image_id) for uri, image_id in sightings}


def _bought_labels(ids: Sequence[ImageId], probability: Mapping[ImageId, float], classes: Sequence[str]) -> Ints:
    labels = []
    for image_id in ids:
        uid = f"random/{image_id}"
        asked = people.assigned(uid, people.ANNOTATORS, overlap=2, seed=0)
        said = {people.judge(one, uid, probability=probability[image_id], seed=0) for one in asked}
        if len(said) > 1:
            said = {people.judge(people.EXPERT, uid, probability=probability[image_id], seed=0)}
        labels.append(classes.index(("functional", "defective")[said.pop()]))
    return np.array(labels, dtype=np.int64)


def _draws(trainable: Ints, labels: Ints, size: int) -> list[Ints]:
    """As many random batches as seeds; one that drew a single class is drawn again."""
    draws = []
    for seed in range(_SEEDS):
        generator = np.random.default_rng(seed)
        chosen = generator.choice(trainable, size, replace=False)
        while len(np.unique(labels[chosen])) < 2:
            chosen = generator.choice(trainable, size, replace=False)
        draws.append(chosen)
    return draws


def _accuracy(views: Views, labels: Ints, truth: Ints, held_out: Bools, chosen: Ints) -> float:
    settings = head.choose_settings(views, chosen, labels[chosen], chosen, classes=2)
    probabilities = head.probabilities(views, chosen, labels[chosen], classes=2, settings=settings)
    return float((probabilities.argmax(axis=1) == truth)[held_out].mean())
