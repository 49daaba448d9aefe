"""Labels in force that are probably wrong: candidates for adjudication, never changed by what is found here.

Three witnesses are heard about each label: a probe trained on the others (confident learning), its nearest
neighbours, and copies of the same picture. What an adjudicator said is evidence about others and no candidate itself.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from curation import duplicates, labels, splits
from curation.embed import find_encoder
from curation.index import open_directions
from curation.labels import LabelInForce
from qa import suspicion
from qa.consensus import probed
from qa.suspicion import Doubt
from sampling.head import Views
from store.arrays import Floats, Ints
from store.errors import InvalidInputError, NotFoundError
from store.schema import Campaign, ImageId, Label, LabelErrorScan, LabelSuspect, Task, Verdict
from store.workspace import Workspace

_FOLDS = 5
_AGAINST = 0.8  # share of the neighbours from which they alone make a label a candidate
_BLOCK = 10_000  # rows an insert


@dataclass(frozen=True)
class Summary:
    """What a search for wrong labels found."""

    scan: int
    taxonomy: str
    encoder: str
    labels: int  # looked at
    without_vectors: int  # labels not looked at
    adjudicated: int  # of the labels: those an adjudicator gave, which are no candidates
    candidates: int
    sources: dict[str, int]  # how many candidates each witness doubts: model, neighbours, copies
    expected_wrong: float | None  # share of the labels, by confident learning; none where no model could be trained


@dataclass(frozen=True)
class Suspect:
    """A label in force that the newest scan doubts."""

    taxonomy: str
    campaign: str  # whose item it is
    task: int
    image: int
    label: str
    suggestion: str
    score: float  # 0 to 1, see qa.suspicion
    rank: int  # in the scan, 0 the most suspect
    why: str


def scan(workspace: Workspace, taxonomy: str | None = None, *, encoder: str | None = None) -> Summary:
    """Look for wrong labels among those in force under a taxonomy's name, and keep the candidates.

    Args:
        workspace: holds the catalog.
        taxonomy: its name; needed when several have labels.
        encoder: whose vectors; see `embed.find_encoder`.

    Raises:
        NotFoundError: there are no labels, or none of their images has a vector.
        InvalidInputError: all labels are of one class, or the taxonomy asks for more than one class.
    """
    with workspace.database.read() as session:
        asked = labels.the_taxonomy(session, taxonomy, of_classes=True)
        if asked.task_kind != "classification":
            raise InvalidInputError(f"{asked.name!r} asks for {asked.task_kind}; single classes are looked at.")
        everything = {label.image_id: label for label in labels.in_force(session, asked.name)}
        row = find_encoder(session, encoder)
        directions = open_directions(workspace, session, row, among=everything.keys())
        catalog = splits.read(session)
        pairs = duplicates.pairs_in_force(session)
        encoder_name = row.name
    held = [everything[ImageId(image_id)] for image_id in directions.image_ids.tolist()]
    if not held:
        raise NotFoundError(f"None of {len(everything)} labelled images has a vector. Run: winnow embed.")
    classes = sorted({label.value for label in held})
    if len(classes) < 2:
        raise InvalidInputError(f"All {len(held)} labels are {classes[0]!r}: with one class nothing stands out.")
    component_of: dict[int, int] = dict(zip(catalog.image_ids, catalog.components.tolist(), strict=True))
    found = _search(
        held,
        classes,
        Views.of(directions.take, len(held)),
        tied=np.array([component_of[label.image_id] for label in held], dtype=np.int64),
        groups=_groups(held, pairs),
    )
    with workspace.database.write() as session:
        made = LabelErrorScan(
            taxonomy=asked.name,
            report={"encoder": row.digest, "labels": len(held), "candidates": len(found.rows)},
        )
        session.add(made)
        session.flush()
        for start in range(0, len(found.rows), _BLOCK):
            chunk = found.rows[start : start + _BLOCK]
            session.execute(insert(LabelSuspect), [each | {"scan_id": made.id} for each in chunk])
        scan_id = made.id
    return Summary(
        scan=scan_id,
        taxonomy=asked.name,
        encoder=encoder_name,
        labels=len(held),
        without_vectors=len(everything) - len(held),
        adjudicated=sum(label.posterior is None for label in held),
        candidates=len(found.rows),
        sources=found.sources,
        expected_wrong=found.expected_wrong,
    )


def standing(session: Session, *, campaign: str | None = None) -> list[Suspect]:
    """The candidates of each taxonomy's newest scan whose labels are still in force, the most suspect first."""
    newest = select(func.max(LabelErrorScan.id)).group_by(LabelErrorScan.taxonomy)
    query = (
        select(LabelErrorScan.taxonomy, Campaign.name, Task.id, Task.image_id, Label.value, LabelSuspect)
        .join(LabelErrorScan, LabelErrorScan.id == LabelSuspect.scan_id)
        .join(Label, Label.id == LabelSuspect.label_id)
        .join(Verdict, Verdict.id == Label.verdict_id)
        .join(Task, Task.id == Verdict.task_id)
        .join(Campaign, Campaign.id == Task.campaign_id)
        .where(LabelSuspect.scan_id.in_(newest), Label.id.in_(labels.newest_ids()), Task.state != "withdrawn")
        .order_by(LabelSuspect.score.desc(), LabelSuspect.scan_id, LabelSuspect.rank)
    )
    if campaign is not None:
        query = query.where(Campaign.name == campaign)
    return [
        Suspect(taxonomy, name, task_id, image_id, value, row.suggestion, row.score, row.rank, row.why)
        for taxonomy, name, task_id, image_id, value, row in session.execute(query)
    ]


@dataclass(frozen=True)
class _Found:
    rows: list[dict[str, object]]
    sources: dict[str, int]
    expected_wrong: float | None


def _search(held: Sequence[LabelInForce], classes: list[str], views: Views, *, tied: Ints, groups: Ints) -> _Found:
    number = {name: i for i, name in enumerate(classes)}
    targets = np.array([number[label.value] for label in held], dtype=np.int64)
    probabilities = out_of_fold(views, targets, tied, classes=len(classes))
    near = suspicion.of_neighbours(views.plain, targets, tied, classes=len(classes))
    copies = suspicion.of_copies(targets, groups, classes=len(classes))
    is_candidate = {"neighbours": near.score >= _AGAINST, "copies": copies.score > 0}
    model, expected = None, None
    if probabilities is not None:
        model = suspicion.confident_learning(targets, probabilities)
        is_candidate = {"model": model.flagged, **is_candidate}
        expected = suspicion.expected_wrong(model.joint, np.bincount(targets, minlength=len(classes)))
    score = suspicion.combined(model, near, copies)
    settled = np.array([label.posterior is None for label in held])
    chosen = np.flatnonzero(np.any(list(is_candidate.values()), axis=0) & ~settled)
    chosen = chosen[np.argsort(-score[chosen], kind="stable")]
    copies_of: dict[int, list[int]] = {}
    for position in np.flatnonzero(copies.score > 0).tolist():
        copies_of.setdefault(int(groups[position]), []).append(position)
    rows = []
    for rank, i in enumerate(chosen.tolist()):
        against = [each for each in copies_of.get(int(groups[i]), []) if targets[each] != targets[i]]
        witnesses = [
            None if model is None else _by_model(model, probabilities, i, targets, classes),
            _by_neighbours(near, i, targets, classes),
            None if not against else _by_copies([held[each] for each in against]),
        ]
        suggestion = copies if against else model if model is not None and model.flagged[i] else near
        rows.append(
            {
                "label_id": held[i].label_id,
                "rank": rank,
                "score": float(score[i]),
                "suggestion": classes[_other(suggestion, model or near, i, int(targets[i]))],
                "why": " ".join(filter(None, witnesses)),
            }
        )
    return _Found(rows, {name: int(doubted[chosen].sum()) for name, doubted in is_candidate.items()}, expected)


def _other(source: Doubt, fallback: Doubt, i: int, label: int) -> int:
    """What a source suggests, or the other one where that is the label itself."""
    suggested = int(source.suggestion[i])
    return suggested if suggested != label else int(fallback.suggestion[i])


def _by_model(model: Doubt, probabilities: Floats | None, i: int, targets: Ints, classes: list[str]) -> str | None:
    assert probabilities is not None  # noqa: S101  the model came from them
    other = int(model.suggestion[i])
    own = probabilities[i, targets[i]]
    return (
        f"A probe that did not see this label gives {classes[targets[i]]!r} {own:.0%} "
        f"and {classes[other]!r} {probabilities[i, other]:.0%}."
    )


def _by_neighbours(near: Doubt, i: int, targets: Ints, classes: list[str]) -> str | None:
    if near.score[i] == 0:
        return None
    most = int(near.suggestion[i])
    said = f", most of them {classes[most]!r}" if most != targets[i] else ""
    return f"{near.score[i]:.0%} of its nearest neighbours, by weight, are called something else{said}."


def _by_copies(others: Sequence[LabelInForce]) -> str:
    called = Counter(each.value for each in others)
    names = " and ".join(repr(name) for name in sorted(called))
    first = f"image {others[0].image_id}"
    who = first if len(others) == 1 else f"{first} and {len(others) - 1} more"
    return f"The same picture, {who}, is labelled {names}."


def _groups(held: Sequence[LabelInForce], pairs: Sequence[tuple[ImageId, ImageId]]) -> Ints:
    """The same number for labelled images that are one picture."""
    names = {label.image_id: label.sha256 for label in held}
    links = [(names[first], names[second]) for first, second in pairs if first in names and second in names]
    return splits.components([label.sha256 for label in held], links)


def out_of_fold(views: Views, targets: Ints, tied: Ints, *, classes: int) -> Floats | None:
    """Probabilities `(N, C)` by probes that saw neither an item nor what it is tied to; none where none can learn."""
    _, component = np.unique(tied, return_inverse=True)
    dealt = np.random.default_rng(0).permutation(int(component.max()) + 1) % _FOLDS
    heard = np.ones(len(targets), dtype=np.bool_)
    return probed.out_of_fold(views, np.eye(classes)[targets], heard, dealt[component])
