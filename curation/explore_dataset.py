"""The catalog as a FiftyOne dataset. It is a cache: rows go in, nothing comes back.

`python -m curation.explore_dataset HOME` runs in a process of its own, see `curation.explore`:
FiftyOne reads its settings once, when it is imported, and keeps threads and an exit hook that wait
for MongoDB.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from curation import explore_fields, projection
from curation.embed import find_encoder
from curation.explore_fields import Answer, Item, Reason, Value
from store.errors import NotFoundError
from store.workspace import Workspace, open_workspace

NAME = "winnow"
MAP = "umap"  # the brain key, and the App's saved layout with a panel for it beside the images


@dataclass(frozen=True)
class DatasetSummary:
    """What was put into the dataset."""

    images: int
    without_file: int
    fields: list[str]
    views: list[str]
    on_the_map: int


def replace(workspace: Workspace) -> DatasetSummary:
    """Build the dataset from what the catalog holds now, then put it in the place of the one before."""
    with workspace.database.read() as session:
        catalog = explore_fields.read(session, workspace.originals_dir)
        try:
            encoder: str | None = find_encoder(session).name
        except NotFoundError:
            encoder = None

    import fiftyone as fo

    dataset = fo.Dataset(f"{NAME}-next", overwrite=True)
    _declare(dataset, catalog.fields)
    sample_ids = _add(dataset, catalog.items)
    _arrange(dataset, catalog.reasons)
    views = _save_views(dataset, catalog)
    on_the_map = 0
    if encoder is not None:
        on_the_map = _draw_map(dataset, workspace, encoder, sample_ids)
    if fo.dataset_exists(NAME):
        fo.delete_dataset(NAME)
    dataset.name = NAME
    dataset.persistent = True
    return DatasetSummary(len(catalog.items), catalog.without_file, list(catalog.fields), views, on_the_map)


def _declare(dataset: Any, fields: Mapping[str, type]) -> None:
    """Add the fields, each with the type of its values."""
    import fiftyone as fo

    types: dict[type, type] = {
        str: fo.StringField,
        bool: fo.BooleanField,
        int: fo.IntField,
        float: fo.FloatField,
        list: fo.ListField,
    }
    for name, kind in fields.items():
        if kind is Answer:
            dataset.add_sample_field(name, fo.EmbeddedDocumentField, embedded_doc_type=fo.Classification)
        elif kind is Reason:
            dataset.add_sample_field(name, fo.EmbeddedDocumentField, embedded_doc_type=fo.DynamicEmbeddedDocument)
            _declare_reason(dataset, name)
        else:
            dataset.add_sample_field(name, types[kind])


def _declare_reason(dataset: Any, name: str) -> None:
    """The parts of a `Reason`; the arm is a label, which the App colours and counts."""
    import fiftyone as fo

    dataset.add_sample_field(f"{name}.arm", fo.EmbeddedDocumentField, embedded_doc_type=fo.Classification)
    dataset.add_sample_field(f"{name}.rank", fo.IntField)
    dataset.add_sample_field(f"{name}.score", fo.FloatField)
    dataset.add_sample_field(f"{name}.why", fo.StringField)


def _add(dataset: Any, items: list[Item]) -> dict[int, str]:
    """One sample for each image; returns their ids by image id."""
    import fiftyone as fo

    samples = [
        fo.Sample(
            filepath=item.path,
            media_type="image",  # whatever the file's name ends in
            metadata=fo.ImageMetadata(size_bytes=item.bytes, width=item.width, height=item.height),
            **{name: _native(value) for name, value in item.values.items()},
        )
        for item in items
    ]
    sample_ids = dataset.add_samples(samples, expand_schema=False, validate=False, progress=False)
    return {item.image_id: sample_id for item, sample_id in zip(items, sample_ids, strict=True)}


def _native(value: Value) -> Any:
    """A value as FiftyOne keeps it."""
    import fiftyone as fo

    if isinstance(value, Answer):
        return fo.Classification(label=value.value, confidence=value.confidence)
    if isinstance(value, Reason):
        arm = fo.Classification(label=value.arm)
        return fo.DynamicEmbeddedDocument(arm=arm, rank=value.rank, score=value.score, why=value.why)
    return value


def _arrange(dataset: Any, reasons: list[str]) -> None:
    """What the App shows at first: reasons stand right after the labels, and ranks and scores are on the pictures."""
    import fiftyone as fo

    groups = fo.DatasetAppConfig.default_sidebar_groups(dataset)
    of_reasons = [group for name in reasons for group in groups if group.name == name]
    others = [group for group in groups if group not in of_reasons]
    after_labels = 1 + next(i for i, group in enumerate(others) if group.name == "labels")
    shown = fo.DatasetAppConfig.default_active_fields(dataset)
    shown.paths += [f"{name}.{part}" for name in reasons for part in ("rank", "score")]
    dataset.app_config.color_scheme = fo.ColorScheme(color_by="value")
    dataset.app_config.sidebar_groups = [*others[:after_labels], *of_reasons, *others[after_labels:]]
    dataset.app_config.active_fields = shown


def _save_views(dataset: Any, catalog: explore_fields.Catalog) -> list[str]:
    from fiftyone import ViewField as F

    views = {}
    if "duplicate_group" in catalog.fields:
        views["duplicates"] = dataset.exists("duplicate_group").sort_by("duplicate_group")
    if "failure_cluster" in catalog.fields:
        views["failures"] = dataset.exists("failure_cluster").sort_by("failure_cluster")
    if "disputed" in catalog.fields:
        views["disputed"] = dataset.exists("disputed")
    for batch in catalog.batches:
        views[f"batch {batch}"] = _batch_view(dataset, batch, catalog.reasons)
    for version in catalog.versions:
        views[f"version {version}"] = dataset.match(F("versions").contains(version))
    for name, view in views.items():
        dataset.save_view(name, view)
    return list(views)


def _batch_view(dataset: Any, batch: int, reasons: list[str]) -> Any:
    """The picks, the most wanted first, without the reasons of other batches; of an old batch in no order."""
    from fiftyone import ViewField as F

    own = explore_fields.batch_field(batch)
    if own not in reasons:
        return dataset.match(F("batches").contains(batch))
    view = dataset.exists(own).sort_by(f"{own}.rank")
    others = [name for name in reasons if name != own]
    return view.exclude_fields(others) if others else view


def _draw_map(dataset: Any, workspace: Workspace, encoder: str, sample_ids: dict[int, str]) -> int:
    """The projection of the encoder's vectors as a brain run, and a layout with it; returns how many are on it."""
    import fiftyone as fo
    import fiftyone.brain as fob

    image_ids, points = projection.load_or_compute(workspace, encoder)
    placed = {
        sample_ids[image_id]: point
        for image_id, point in zip(image_ids.tolist(), points, strict=True)
        if image_id in sample_ids
    }
    if not placed:
        return 0
    fob.compute_visualization(dataset, points=placed, brain_key=MAP, progress=False)
    panels = [fo.Panel(type="Samples", pinned=True), fo.Panel(type="Embeddings")]
    sides = [fo.Space(children=[panel], active_child=panel.component_id) for panel in panels]
    dataset.save_workspace(MAP, fo.Space(children=sides, orientation="horizontal"))
    return len(placed)


if __name__ == "__main__":
    print(json.dumps(asdict(replace(open_workspace(Path(sys.argv[1]))))))
