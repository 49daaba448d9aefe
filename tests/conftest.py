"""What every test may ask for: a workspace of its own, and rows to put into it."""

import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from sqlalchemy import func, select

from api.demo import label_studio_server
from api.demo.label_studio_server import LabelStudioServer
from curation import labels, splits
from labeling import campaigns, results
from labeling import taxonomy as taxonomies
from labeling.content import Content
from labeling.definitions import TaskKind
from store import schema, vectors
from store.schema import ImageId
from store.workspace import Workspace, open_workspace

pytest_plugins = ["tests.browser"]

hypothesis.settings.register_profile("winnow", deadline=None)  # a busy machine fails no test
hypothesis.settings.load_profile("winnow")


@pytest.fixture(scope="session")
def empty_catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a catalog in which nothing is, so that not every test migrates its own."""
    made = open_workspace(tmp_path_factory.mktemp("empty") / "home")
    made.database.engine.dispose()
    return made.home / "winnow.db"


@pytest.fixture
def workspace(tmp_path: Path, empty_catalog: Path) -> Workspace:
    (tmp_path / "home").mkdir()
    shutil.copy(empty_catalog, tmp_path / "home")
    return open_workspace(tmp_path / "home")


class Builder:
    """Puts rows into a workspace that a test starts from."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def images(
        self,
        count: int,
        *,
        scenes: Sequence[str | None] | None = None,
        order: Sequence[int] | None = None,
        side: int = 8,
    ) -> list[ImageId]:
        """`count` images that no file stands behind, sha256 of their number, ingested in the order of these numbers."""
        numbers = range(count) if order is None else order
        digests = [hashlib.sha256(str(i).encode()).hexdigest() for i in numbers]
        with self.workspace.database.write() as session:
            images = [
                schema.Image(
                    sha256=sha256,
                    pixels_sha256=sha256,
                    phash=sha256[:16],
                    dhash=sha256[16:32],
                    width=side,
                    height=side,
                    format="PNG",
                    bytes=100,
                    sharpness=1.0,
                    exposure=0.5,
                    entropy=4.0,
                )
                for sha256 in digests
            ]
            session.add_all(images)
            session.flush()
            session.add_all(
                schema.Sighting(
                    image_id=image.id,
                    uri=f"/photos/{i}.png",
                    source="photos",
                    scene=scenes[i] if scenes else None,
                    details={},
                    bytes=100,
                    modified_ns=0,
                )
                for i, image in zip(numbers, images, strict=True)
            )
            return [ImageId(image.id) for image in images]

    def vectors(self, image_ids: Sequence[ImageId], values: np.ndarray, *, name: str = "test") -> schema.Encoder:
        """`values` (N, D) as the embeddings of `image_ids` under an encoder called `name`."""
        with self.workspace.database.write() as session:
            encoder = session.scalar(select(schema.Encoder).where(schema.Encoder.name == name))
            if encoder is None:
                digest = hashlib.sha256(name.encode()).hexdigest()
                encoder = schema.Encoder(name=name, digest=digest, dimensions=values.shape[1])
                session.add(encoder)
                session.flush()
            session.expunge(encoder)
        file = vectors.VectorFile(self.workspace.vectors_dir, encoder)
        file.append(self.workspace.database, image_ids, values.astype(np.float32))
        return encoder

    def duplicates(self, *groups: Sequence[ImageId], digest: str = "d" * 64) -> None:
        """A scan that found these groups, each around its first image, and proved every pair with it."""
        with self.workspace.database.write() as session:
            encoder = session.scalar(select(schema.Encoder))
            if encoder is None:
                encoder = schema.Encoder(name="test", digest="e" * 64, dimensions=2)
                session.add(encoder)
                session.flush()
            report = {"max_residual": 0.08, "scanned_until": 10**9, "unread": []}
            scan = schema.DuplicateScan(digest=digest, encoder_id=encoder.id, report=report)
            session.add(scan)
            session.flush()
            for images in groups:
                group = schema.DuplicateGroup(scan_id=scan.id, representative_id=images[0])
                session.add(group)
                session.flush()
                for image_id in images:
                    kind = "representative" if image_id == images[0] else "crop"
                    session.add(schema.DuplicateMember(group_id=group.id, image_id=image_id, kind=kind, distance=0.05))
                    first, second = sorted((images[0], image_id))
                    if first != second:
                        session.merge(
                            schema.DuplicatePair(first_id=first, second_id=second, kind="crop", distance=0.05)
                        )

    def taxonomy(self, classes: Sequence[str] = ("cat", "dog"), *, kind: TaskKind = "classification") -> int:
        """A taxonomy named "animals", by default of one class an image."""
        with self.workspace.database.write() as session:
            taxonomy = schema.Taxonomy(
                name="animals",
                revision=1,
                task_kind=kind,
                classes=[{"name": name, "description": ""} for name in classes],
                guideline="Say what it is.",
            )
            session.add(taxonomy)
            session.flush()
            return taxonomy.id

    def batch(self, image_ids: Sequence[ImageId], *, arms: Sequence[str] | None = None) -> int:
        """A batch of these images in this order."""
        with self.workspace.database.write() as session:
            count = len(session.scalars(select(schema.Batch.id)).all())
            digest = hashlib.sha256(f"batch {count}".encode()).hexdigest()
            batch = schema.Batch(digest=digest, recipe={}, state={}, pool=b"", report={})
            session.add(batch)
            session.flush()
            split_of = splits.load(session)
            for rank, image_id in enumerate(image_ids):
                arm = arms[rank] if arms else "diverse"
                session.add(
                    schema.Pick(
                        batch_id=batch.id,
                        rank=rank,
                        image_id=image_id,
                        arm=arm,
                        score=0.0,
                        split=split_of[image_id],
                        why="a test",
                    )
                )
            return batch.id

    def campaign(
        self, batch_id: int, taxonomy_id: int, *, overlap: int = 2, adaptive: dict[str, Any] | None = None
    ) -> int:
        """A campaign over a batch, every task pushed, by a vendor nobody can reach."""
        with self.workspace.database.write() as session:
            vendor = session.scalar(select(schema.Vendor))
            if vendor is None:
                vendor = schema.Vendor(name="nobody", ls_url="http://127.0.0.1:1", ls_token_reference="env:NOTHING")
                session.add(vendor)
                session.flush()
            campaign = schema.Campaign(
                name=f"campaign-{batch_id}",
                purpose="labelling",
                batch_id=batch_id,
                taxonomy_id=taxonomy_id,
                vendor_id=vendor.id,
                overlap=overlap if adaptive is None else 1,
                adaptive=adaptive,
                ls_project_id=1,
            )
            session.add(campaign)
            session.flush()
            picks = session.scalars(select(schema.Pick).where(schema.Pick.batch_id == batch_id)).all()
            for pick in picks:
                uid = hashlib.sha256(f"{campaign.id}/{pick.image_id}".encode()).hexdigest()[:32]
                session.add(
                    schema.Task(
                        uid=uid,
                        campaign_id=campaign.id,
                        image_id=pick.image_id,
                        rank=pick.rank,
                        state="pushed",
                        ls_task_id=pick.rank + 1,
                    )
                )
            return campaign.id

    def plan_adjudication(
        self, name: str, *, parent: str, image_ids: Sequence[ImageId], vendor: str | None = None
    ) -> None:
        """A campaign in which an expert settles these items of another, and nothing is suggested."""
        suggestions: dict[ImageId, list[list[dict[str, Any]]]] = {image_id: [] for image_id in image_ids}
        with self.workspace.database.write() as session:
            campaigns.plan_adjudication(
                session, self.workspace.key, name, parent=parent, suggestions=suggestions, vendor_name=vendor
            )

    def answers(self, campaign_id: int, answers: Mapping[str, Sequence[str | Content | None]]) -> None:
        """What each person answered to the items in order of rank; `None` where they did not."""
        with self.workspace.database.write() as session:
            campaign = session.get_one(schema.Campaign, campaign_id)
            tasks = session.scalars(
                select(schema.Task).where(schema.Task.campaign_id == campaign_id).order_by(schema.Task.rank)
            ).all()
            definition = taxonomies.get(session, campaign.taxonomy_id).definition
            sides = select(schema.Task.id, schema.Image.width, schema.Image.height).join(schema.Image)
            size_of = {
                task_id: results.ImageSize(width, height)
                for task_id, width, height in session.execute(sides.where(schema.Task.campaign_id == campaign_id))
            }
            number = session.scalar(select(func.count(schema.Annotation.id))) or 0
            for name, values in answers.items():
                annotator = session.scalar(select(schema.Annotator).where(schema.Annotator.name == name))
                if annotator is None:
                    people = session.scalar(select(func.count(schema.Annotator.id))) or 0
                    annotator = schema.Annotator(vendor_id=campaign.vendor_id, ls_user_id=people + 1, name=name)
                    session.add(annotator)
                    session.flush()
                for task, value in zip(tasks, values, strict=True):
                    if value is None:
                        continue
                    number += 1
                    said = [] if isinstance(value, str) else results.write(value, definition, size_of[task.id])
                    is_of_one_class = definition.kind == labels.CLASSIFICATION
                    session.add(
                        schema.Annotation(
                            task_id=task.id,
                            annotator_id=annotator.id,
                            ls_annotation_id=number,
                            revision=0,
                            answer=value if isinstance(value, str) else None,
                            content=None if is_of_one_class else results.essence(said, definition, size_of[task.id]),
                            result=said,
                            skipped=False,
                            deleted=False,
                            ls_updated_at=f"2026-01-01T00:00:00.{number:06}Z",
                        )
                    )

    def adjudication(
        self, parent_id: int, said: Mapping[int, str | Content], *, by: str = "eve", name: str | None = None
    ) -> None:
        """An expert's answers to items of a campaign, by their rank there, in a campaign of their own."""
        with self.workspace.database.write() as session:
            parent = session.get_one(schema.Campaign, parent_id)
            campaign = schema.Campaign(
                name=name or f"{parent.name}-adjudication",
                purpose="adjudication",
                parent_id=parent.id,
                batch_id=parent.batch_id,
                taxonomy_id=parent.taxonomy_id,
                vendor_id=parent.vendor_id,
                overlap=1,
            )
            session.add(campaign)
            session.flush()
            of_parent = select(schema.Task).where(schema.Task.campaign_id == parent_id)
            for task in session.scalars(of_parent.where(schema.Task.rank.in_(said)).order_by(schema.Task.rank)).all():
                uid, rank = f"{campaign.name}/{task.rank}"[-32:], task.rank
                copy = schema.Task(uid=uid, campaign_id=campaign.id, image_id=task.image_id, rank=rank, state="pushed")
                session.add(copy)
            campaign_id = campaign.id
        self.answers(campaign_id, {by: [said[rank] for rank in sorted(said)]})

    def labels(self, values: dict[ImageId, str]) -> None:
        """Accepted labels, each through a verdict of a campaign over just these images."""
        with self.workspace.database.read() as session:
            taxonomy_id = session.scalar(select(schema.Taxonomy.id).order_by(schema.Taxonomy.id.desc()))
        taxonomy_id = taxonomy_id or self.taxonomy(sorted(set(values.values())))
        campaign_id = self.campaign(self.batch(list(values)), taxonomy_id)
        with self.workspace.database.write() as session:
            for task in session.scalars(select(schema.Task).where(schema.Task.campaign_id == campaign_id)).all():
                value = values[ImageId(task.image_id)]
                verdict = schema.Verdict(
                    task_id=task.id, outcome="accepted", answer=value, posterior=0.99, evidence={"annotations": []}
                )
                session.add(verdict)
                session.flush()
                session.add(
                    schema.Label(image_id=task.image_id, taxonomy_id=taxonomy_id, verdict_id=verdict.id, value=value)
                )


@pytest.fixture
def build(workspace: Workspace) -> Builder:
    return Builder(workspace)


@pytest.fixture(scope="session")
def label_studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelStudioServer]:
    """A real Label Studio for the whole run; mark what needs it `label_studio`."""
    folder = tmp_path_factory.mktemp("label-studio")
    server = label_studio_server.start(folder / "server", log=folder / "label-studio.log", port=0)
    yield server
    server.stop()
