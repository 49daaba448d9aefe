"""Labels in force that are probably wrong: candidates for adjudication, never changed by what is found here.

About labels of one class or several, three witnesses are heard: a probe trained on the others (confident learning), the
nearest neighbours, and copies of the same picture. About boxes a detector of the team's own is heard, which must not
have seen them. What an adjudicator said is evidence about others and no candidate itself.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from curation import duplicates, labels, predictions, splits
from curation.embed import find_encoder
from curation.index import open_directions
from curation.labels import CLASSIFICATION, MULTILABEL, LabelInForce
from labeling import definitions
from labeling import taxonomy as taxonomies
from labeling.definitions import Definition
from qa.suspects import boxes, found, one_class, several_classes
from qa.suspects.found import Found
from sampling.head import Views
from store.errors import InvalidInputError, NotFoundError
from store.schema import Campaign, ImageId, Label, LabelErrorScan, LabelSuspect, Task, Taxonomy, Verdict
from store.workspace import Workspace

_BLOCK = 10_000  # rows an insert


@dataclass(frozen=True)
class Summary:
    """What a search for wrong labels found."""

    scan: int
    taxonomy: str
    kind: str  # of task
    encoder: str | None  # whose vectors; none of boxes
    model: str | None  # whose predictions; none of classes
    labels: int  # looked at
    without_vectors: int  # labels not looked at,
    without_predictions: int  # and of boxes
    adjudicated: int  # of the labels: those an adjudicator gave, which are no candidates
    candidates: int
    sources: dict[str, int]  # how many candidates each witness doubts: model, neighbours, copies; of boxes by fault
    expected_wrong: float | None  # at most, by confident learning; none where it cannot tell: of one class share of the
    # labels; of several what is wrong of what they say of a class, of the usual one
    surest_denied: float | None  # share of the quarter a detector is surest of that labels lack or call otherwise


@dataclass(frozen=True)
class Suspect:
    """A label in force that the newest scan doubts."""

    taxonomy: str
    kind: str  # of task
    campaign: str  # whose item it is
    task: int
    image: int
    label: str  # its value; where more than one class is asked for, the JSON of a `labeling.content`
    suggestion: str  # likewise
    score: float  # 0 to 1, see qa.suspicion
    rank: int  # in the scan, 0 the most suspect
    why: str


def scan(
    workspace: Workspace,
    taxonomy: str | None = None,
    *,
    encoder: str | None = None,
    model: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Look for wrong labels among those in force under a taxonomy's name, and keep the candidates.

    Args:
        workspace: holds the catalog.
        taxonomy: its name; needed when several have labels.
        encoder: whose vectors; see `embed.find_encoder`. Of boxes none are looked at.
        model: whose newest predictions, which boxes need and only they.
        on_progress: of several classes, called with how many are done and how many there are.

    Raises:
        NotFoundError: there are no labels, or none of their images has a vector, or a prediction.
        InvalidInputError: all labels are of one class, the taxonomy asks for what cannot be looked at, or a model or
            encoder is named where none is asked, or none where one is.
    """
    with workspace.database.read() as session:
        asked = labels.the_taxonomy(session, taxonomy)
        definition = taxonomies.get(session, asked.id).definition
        name = asked.name
        everything = {label.image_id: label for label in labels.in_force(session, name)}
    if not everything:
        raise NotFoundError(f"No label under {name!r} is in force. Run: winnow qa review CAMPAIGN.")
    if definition.kind in (CLASSIFICATION, MULTILABEL):
        if model is not None:
            raise InvalidInputError(f"{name!r} asks for {definition.kind}: predictions are compared with boxes alone.")
        looked = _by_look(workspace, name, definition, everything, encoder, on_progress=on_progress)
    elif "boxes" in definitions.shape_kinds(definition):
        if encoder is not None:
            raise InvalidInputError(f"{name!r} asks for {definition.kind}: predictions are looked at, not vectors.")
        looked = _by_predictions(workspace, name, definition.class_names, everything, model)
    else:
        raise InvalidInputError(f"{name!r} asks for {definition.kind}; classes of images and boxes are looked at.")
    candidates = looked.found.candidates
    with workspace.database.write() as session:
        report = {looked.by: looked.digest, "labels": len(looked.held), "candidates": len(candidates)}
        made = LabelErrorScan(taxonomy=name, report=report)
        session.add(made)
        session.flush()
        rows = [
            {
                "scan_id": made.id,
                "label_id": one.label_id,
                "rank": rank,
                "score": one.score,
                "suggestion": one.suggestion,
                "why": one.why,
            }
            for rank, one in enumerate(candidates)
        ]
        for start in range(0, len(rows), _BLOCK):
            session.execute(insert(LabelSuspect), rows[start : start + _BLOCK])
        scan_id = made.id
    left_out = len(everything) - len(looked.held)
    by_encoder = looked.by == "encoder"
    return Summary(
        scan=scan_id,
        taxonomy=name,
        kind=definition.kind,
        encoder=looked.name if by_encoder else None,
        model=None if by_encoder else looked.name,
        labels=len(looked.held),
        without_vectors=left_out if by_encoder else 0,
        without_predictions=0 if by_encoder else left_out,
        adjudicated=sum(label.posterior is None for label in looked.held),
        candidates=len(candidates),
        sources=looked.found.sources,
        expected_wrong=looked.found.expected_wrong,
        surest_denied=looked.found.surest_denied,
    )


def standing(session: Session, *, campaign: str | None = None) -> list[Suspect]:
    """The candidates of each taxonomy's newest scan whose labels are still in force, the most suspect first."""
    newest = select(func.max(LabelErrorScan.id)).group_by(LabelErrorScan.taxonomy)
    query = (
        select(
            LabelErrorScan.taxonomy,
            Taxonomy.task_kind,
            Campaign.name,
            Task.id,
            Task.image_id,
            Label.value,
            LabelSuspect,
        )
        .join(LabelErrorScan, LabelErrorScan.id == LabelSuspect.scan_id)
        .join(Label, Label.id == LabelSuspect.label_id)
        .join(Taxonomy, Taxonomy.id == Label.taxonomy_id)
        .join(Verdict, Verdict.id == Label.verdict_id)
        .join(Task, Task.id == Verdict.task_id)
        .join(Campaign, Campaign.id == Task.campaign_id)
        .where(LabelSuspect.scan_id.in_(newest), Label.id.in_(labels.newest_ids()), Task.state != "withdrawn")
        .order_by(LabelSuspect.score.desc(), LabelSuspect.scan_id, LabelSuspect.rank)
    )
    if campaign is not None:
        query = query.where(Campaign.name == campaign)
    return [
        Suspect(taxonomy, kind, name, task_id, image_id, value, row.suggestion, row.score, row.rank, row.why)
        for taxonomy, kind, name, task_id, image_id, value, row in session.execute(query)
    ]


@dataclass(frozen=True)
class _Looked:
    """Which labels were looked at, by what, and what was found."""

    held: list[LabelInForce]
    by: str  # encoder or run
    name: str  # of the encoder or model
    digest: str
    found: Found


def _by_look(
    workspace: Workspace,
    name: str,
    definition: Definition,
    everything: Mapping[ImageId, LabelInForce],
    encoder: str | None,
    *,
    on_progress: Callable[[int, int], None] | None,
) -> _Looked:
    """Hear the vectors about classes of images."""
    kind, classes = definition.kind, definition.class_names
    with workspace.database.read() as session:
        row = find_encoder(session, encoder)
        directions = open_directions(workspace, session, row, among=everything.keys())
        catalog = splits.read(session)
        pairs = duplicates.pairs_in_force(session)
        encoder_name, digest = row.name, row.digest
        held = [everything[ImageId(image_id)] for image_id in directions.image_ids.tolist()]
        asked_of = _asked(session, name, held) if kind == MULTILABEL else []
    if not held:
        raise NotFoundError(f"None of {len(everything)} labelled images has a vector. Run: winnow embed.")
    values = sorted({label.value for label in held})
    if kind == CLASSIFICATION and len(values) < 2:
        raise InvalidInputError(f"All {len(held)} labels are {values[0]!r}: with one class nothing stands out.")
    component_of: dict[int, int] = dict(zip(catalog.image_ids, catalog.components.tolist(), strict=True))
    tied = np.array([component_of[label.image_id] for label in held], dtype=np.int64)
    groups = found.same_pictures(held, pairs)
    views = Views.of(directions.take, len(held))
    if kind == CLASSIFICATION:
        result = one_class.search(held, values, views, tied=tied, groups=groups)
    else:
        asked = np.array([[each in names for each in classes] for names in asked_of], dtype=np.bool_)
        result = several_classes.search(held, classes, asked, views, tied=tied, groups=groups, on_progress=on_progress)
    return _Looked(held, "encoder", encoder_name, digest, result)


def _by_predictions(
    workspace: Workspace,
    name: str,
    classes: Sequence[str],
    everything: Mapping[ImageId, LabelInForce],
    model: str | None,
) -> _Looked:
    """Hear a detector about boxes; of several passes the first."""
    how = "winnow predictions import FILE --model NAME"
    if model is None:
        raise InvalidInputError(
            f"{name!r} asks for boxes, which a model that did not learn from them is compared with: "
            f"say --predictions NAME, after {how}."
        )
    with workspace.database.read() as session:
        run = predictions.newest_run(session, model)
        if run.kind != "boxes":
            raise InvalidInputError(f"Run {run.id} of {model!r} predicts {run.kind}; boxes are needed: {how}.")
        if not set(run.classes) & set(classes):
            raise InvalidInputError(
                f"{model!r} predicts none of the classes of {name!r}, which are {', '.join(classes)}."
            )
        seen = set(predictions.predicted(session, run))
        held = [label for image_id, label in everything.items() if image_id in seen]
        if not held:
            raise NotFoundError(
                f"{model!r} predicts none of the {len(everything)} images labelled under {name!r}: {how}."
            )
        said = predictions.read_boxes(session, run, [label.image_id for label in held])
        asked = _asked(session, name, held)
        digest = run.digest
    named = sorted(frozenset().union(*asked) | set(run.classes))
    return _Looked(held, "run", model, digest, boxes.search(held, named, asked, [passes[0] for passes in said]))


def _asked(session: Session, name: str, held: Sequence[LabelInForce]) -> list[frozenset[str]]:
    """The classes that the taxonomy had when each was labelled."""
    of_revision = {
        taxonomy.id: frozenset(str(each["name"]) for each in taxonomy.classes)
        for taxonomy in session.scalars(select(Taxonomy).where(Taxonomy.name == name))
    }
    query = select(Label.id, Label.taxonomy_id).where(Label.id.in_(labels.newest_ids(name)))
    revision_of: dict[int, int] = dict(session.execute(query).all())
    return [of_revision[revision_of[label.label_id]] for label in held]
