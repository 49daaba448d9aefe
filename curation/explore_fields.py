"""What the catalog knows of each image, as named values that a viewer can show, filter and colour by.

Every field belongs to a word of the vocabulary; the user's own columns are called `details_…`, and
a model's predictions `prediction_…`, so that no name of theirs can collide with another.
"""

import contextlib
import json
import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from curation import labels, predictions, uris
from curation.originals import Original
from store.errors import NotFoundError
from store.schema import (
    Batch,
    DuplicateGroup,
    DuplicateMember,
    DuplicateScan,
    FailureCluster,
    FailureMember,
    FailureScan,
    Image,
    ImageId,
    Label,
    Pick,
    PredictionRun,
    Sighting,
    Task,
    Taxonomy,
    Verdict,
    Version,
    VersionItem,
)

_EXPLAINED = 5  # the newest batches, which have a field each


@dataclass(frozen=True)
class Answer:
    """A class and how sure its giver was."""

    value: str
    confidence: float | None


@dataclass(frozen=True)
class Reason:
    """Why an image is in a batch."""

    rank: int
    arm: str
    score: float
    why: str


Value: TypeAlias = str | int | float | bool | Answer | Reason | list[int] | list[str]
Column: TypeAlias = Mapping[int, Value]  # by image id; an image without a value is absent


@dataclass(frozen=True)
class Item:
    """One image of the catalog that a file stands behind."""

    image_id: ImageId
    path: str
    width: int
    height: int
    bytes: int
    values: dict[str, Value]


@dataclass(frozen=True)
class Catalog:
    """Everything there is to see."""

    items: list[Item]  # ordered by sha256
    fields: dict[str, type]  # those that any item has a value of
    batches: list[int]
    versions: list[str]  # "NAME NUMBER", as in the field `versions`, oldest first
    without_file: int  # images that no local file stands behind any more

    @property
    def reasons(self) -> list[str]:
        """The fields that say why a batch picked an image, of the newest batch first."""
        return [name for name, kind in self.fields.items() if kind is Reason]


def read(session: Session, copies: Path) -> Catalog:
    """The images whose bytes can be had, and all fields that any of them has.

    Those behind a URL or inside an archive or video are copied into the folder `copies`: a viewer needs files.
    """
    paths = _paths(session, copies)
    sightings = {image_id: sighting for image_id, (sighting, _) in paths.items()}
    versions = session.scalars(select(Version).order_by(Version.created_at, Version.id)).all()
    columns: dict[str, Column] = {
        "source": {image_id: sighting.source for image_id, sighting in sightings.items()},
        "scene": {image_id: sighting.scene for image_id, sighting in sightings.items() if sighting.scene is not None},
        **_labels(session),
        **_predictions(session),
        **_duplicates(session),
        **_failures(session),
        **_picks(session),
        "disputed": _disputed(session),
        **_splits(session, versions),
        **_details({image_id: sighting.details for image_id, sighting in sightings.items()}),
        "image_id": {image_id: image_id for image_id in sightings},
        "sha256": dict(session.execute(select(Image.id, Image.sha256)).all()),
    }
    images = session.scalars(select(Image).order_by(Image.sha256)).all()
    items = [
        Item(
            image_id=ImageId(image.id),
            path=str(paths[image.id][1]),
            width=image.width,
            height=image.height,
            bytes=image.bytes,
            values={name: column[image.id] for name, column in columns.items() if image.id in column},
        )
        for image in images
        if image.id in sightings
    ]
    types = {name: type(value) for item in items for name, value in item.values.items()}
    return Catalog(
        items=items,
        fields={name: types[name] for name in columns if name in types},
        batches=list(session.scalars(select(Batch.id).order_by(Batch.id))),
        versions=[_title(version) for version in versions],
        without_file=len(images) - len(items),
    )


def _paths(session: Session, copies: Path) -> dict[int, tuple[Sighting, Path]]:
    """For each image the first of its current sightings whose bytes can be had, and the file that holds them."""
    found: dict[int, tuple[Sighting, Path]] = {}
    rows = session.execute(
        select(Sighting, Image.sha256, Image.format, Image.width * Image.height)
        .join(Image, Image.id == Sighting.image_id)
        .where(Sighting.current)
        .order_by(Sighting.uri)
    )
    for sighting, sha256, file_format, pixels in rows:
        if sighting.image_id in found:
            continue
        if os.path.isfile(sighting.uri):
            found[sighting.image_id] = (sighting, Path(sighting.uri))
        elif not uris.is_local_file(sighting.uri):
            original = Original(ImageId(sighting.image_id), sha256, file_format, pixels, (sighting.uri,))
            with contextlib.suppress(NotFoundError):
                found[sighting.image_id] = (sighting, original.locate(copies))
    return found


def _labels(session: Session) -> dict[str, Column]:
    """`label`, or one `label_NAME` for each taxonomy when several have labels."""
    labelled = select(Taxonomy.name, Taxonomy.task_kind).join(Label, Label.taxonomy_id == Taxonomy.id).distinct()
    kinds = dict(session.execute(labelled).all())
    fields = {"label": next(iter(kinds))} if len(kinds) == 1 else _field_names("label", kinds)
    return {
        field: {
            label.image_id: Answer(labels.in_words(label.value, kinds[taxonomy]), label.posterior)
            for label in labels.in_force(session, taxonomy)
        }
        for field, taxonomy in fields.items()
    }


def _predictions(session: Session) -> dict[str, Column]:
    """`prediction_MODEL` from the newest run of each model: its likeliest class."""
    newest = select(func.max(PredictionRun.id)).where(PredictionRun.kind == "classes").group_by(PredictionRun.model)
    runs = {run.model: run for run in session.scalars(select(PredictionRun).where(PredictionRun.id.in_(newest)))}
    columns: dict[str, Column] = {}
    for field, model in _field_names("prediction", runs).items():
        run = runs[model]
        image_ids = predictions.predicted(session, run)
        values = predictions.read(session, run, image_ids)
        best, highest = values.argmax(axis=1).tolist(), values.max(axis=1).tolist()
        columns[field] = {
            image_id: Answer(str(run.classes[i]), chance)
            for image_id, i, chance in zip(image_ids, best, highest, strict=True)
        }
    return columns


def _duplicates(session: Session) -> dict[str, Column]:
    rows = session.execute(
        select(DuplicateMember.image_id, DuplicateMember.group_id, DuplicateMember.kind, DuplicateMember.distance)
        .join(DuplicateGroup, DuplicateGroup.id == DuplicateMember.group_id)
        .where(DuplicateGroup.scan_id == select(func.max(DuplicateScan.id)).scalar_subquery())
    )
    return _columns(("duplicate_group", "duplicate_kind", "duplicate_distance"), rows)


def _failures(session: Session) -> dict[str, Column]:
    """The failure cluster of the newest scan, and the failure's type where the image is labelled."""
    rows = session.execute(
        select(FailureMember.image_id, FailureCluster.name, FailureMember.failure)
        .join(FailureCluster, FailureCluster.id == FailureMember.cluster_id)
        .where(FailureCluster.scan_id == select(func.max(FailureScan.id)).scalar_subquery())
        .order_by(FailureCluster.id.desc())  # of several clusters the first one found stays
    )
    return _columns(("failure_cluster", "failure"), rows)


def _picks(session: Session) -> dict[str, Column]:
    """All batches an image was picked for, and `batch_ID` with the reasons of each of the newest, these first."""
    newest = session.scalars(select(Batch.id).order_by(Batch.id.desc()).limit(_EXPLAINED)).all()
    reasons: dict[int, dict[int, Reason]] = {batch_id: {} for batch_id in newest}
    for pick in session.scalars(select(Pick).where(Pick.batch_id.in_(newest))):
        reasons[pick.batch_id][pick.image_id] = Reason(pick.rank, pick.arm, pick.score, pick.why)
    batches: dict[int, list[int]] = defaultdict(list)
    for image_id, batch_id in session.execute(select(Pick.image_id, Pick.batch_id).order_by(Pick.batch_id)):
        batches[image_id].append(batch_id)
    return {**{batch_field(batch_id): reasons[batch_id] for batch_id in newest}, "batches": batches}


def batch_field(batch_id: int) -> str:
    """The field that holds the reasons of a batch, where any field does."""
    return f"batch_{batch_id}"


def _disputed(session: Session) -> Column:
    """True where a verdict was ever "to adjudication"."""
    disputed = select(Task.image_id).join(Verdict, Verdict.task_id == Task.id).where(Verdict.outcome == "adjudication")
    return dict.fromkeys(session.scalars(disputed), True)


def _splits(session: Session, versions: Iterable[Version]) -> dict[str, Column]:
    """All versions an image is in, and its split in the newest that has it."""
    titles = {version.id: _title(version) for version in versions}
    of_image: dict[int, list[str]] = defaultdict(list)
    split: dict[int, Value] = {}
    for version_id, title in titles.items():
        rows = session.execute(
            select(VersionItem.image_id, VersionItem.split).where(VersionItem.version_id == version_id)
        )
        for image_id, image_split in rows:
            of_image[image_id].append(title)
            split[image_id] = image_split
    return {"versions": of_image, "split": split}


def _title(version: Version) -> str:
    return f"{version.name} {version.number}"


def _details(details: Mapping[int, Mapping[str, Any]]) -> dict[str, Column]:
    """The user's columns; one whose values differ in kind becomes text."""
    by_key: dict[str, dict[int, Any]] = defaultdict(dict)
    for image_id, columns in details.items():
        for key, value in columns.items():
            if value is not None:
                by_key[key][image_id] = value
    return {field: _one_kind(by_key[key]) for field, key in _field_names("details", by_key).items()}


def _one_kind(column: Mapping[int, Any]) -> Column:
    kinds = {type(value) for value in column.values()}
    if kinds == {bool} or (kinds == {int} and all(-(2**63) <= value < 2**63 for value in column.values())):
        return column
    if kinds <= {int, float} and all(abs(value) <= sys.float_info.max for value in column.values()):
        return {image_id: float(value) for image_id, value in column.items()}
    return {image_id: _text(value) for image_id, value in column.items()}


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode()  # half a surrogate pair is no text


def _field_names(prefix: str, texts: Iterable[str]) -> dict[str, str]:
    """A field name for each text: `prefix_text` of letters, digits and underscores; a number tells equals apart."""
    named: dict[str, str] = {}
    for text in sorted(texts):
        plain = re.sub(r"[\W_]+", "_", f"{prefix}_{text}"[:100]).rstrip("_")
        name, count = plain, 1
        while name in named:
            count += 1
            name = f"{plain}_{count}"
        named[name] = text
    return named


def _columns(names: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> dict[str, Column]:
    """Rows of (image id, value, value …) as one column each; a later row wins, None is absent."""
    columns: dict[str, dict[int, Value]] = {name: {} for name in names}
    for image_id, *values in rows:
        for name, value in zip(names, values, strict=True):
            if value is not None:
                columns[name][image_id] = value
    return dict(columns)
