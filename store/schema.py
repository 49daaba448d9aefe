"""The tables: one for each word of the vocabulary in docs/glossary.md.

Rows are appended; what a person or an annotator said is never overwritten. JSON columns hold
what is only ever read whole (a recipe, a report), never what a query filters on.
"""

from datetime import UTC, date, datetime
from typing import Any, ClassVar, NewType

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

ImageId = NewType("ImageId", int)
VersionId = NewType("VersionId", str)


def now() -> datetime:
    """The present moment, with its time zone."""
    return datetime.now(UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment: stored in UTC, read back with its time zone on every database."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC, without its zone."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """The zone put back."""
        return None if value is None else value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    """The root of every table."""

    type_annotation_map: ClassVar = {datetime: UtcDateTime, dict[str, Any]: JSON, list[Any]: JSON}


# --- the catalog ---------------------------------------------------------------------------------


class Image(Base):
    """One distinct content, named by the sha256 of its bytes."""

    __tablename__ = "images"

    id: Mapped[int] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    pixels_sha256: Mapped[str | None] = mapped_column(
        String(64), index=True
    )  # of the decoded RGB pixels; none until a scan finds an image of that size and hash
    phash: Mapped[str] = mapped_column(String(16))  # 64 bits in hex, equal to imagehash.phash
    dhash: Mapped[str | None] = mapped_column(String(16))  # 64 bits in hex, equal to imagehash.dhash
    width: Mapped[int]  # pixels, after EXIF orientation
    height: Mapped[int]
    format: Mapped[str] = mapped_column(String(16))
    bytes: Mapped[int] = mapped_column(BigInteger)
    sharpness: Mapped[float | None]  # see curation.quality; like dhash, none until a catalog of 0001 is ingested again
    exposure: Mapped[float | None]
    entropy: Mapped[float | None]
    captured_at: Mapped[datetime | None]  # EXIF; UTC where the camera named no zone
    latitude: Mapped[float | None]  # EXIF GPS, degrees north
    longitude: Mapped[float | None]  # degrees east
    note: Mapped[str | None]  # what decoding left out, such as the other pages
    created_at: Mapped[datetime] = mapped_column(default=now)


class Sighting(Base):
    """One place an image was seen. A uri that later shows other content is another sighting."""

    __tablename__ = "sightings"
    __table_args__ = (UniqueConstraint("uri", "image_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id"), index=True)
    uri: Mapped[str] = mapped_column(index=True)
    source: Mapped[str] = mapped_column(index=True)
    scene: Mapped[str | None] = mapped_column(index=True)  # images of one scene are never split
    details: Mapped[dict[str, Any]]  # the user's own columns
    bytes: Mapped[int] = mapped_column(BigInteger)
    modified_ns: Mapped[int] = mapped_column(BigInteger)
    current: Mapped[bool] = mapped_column(default=True)  # false once the uri shows other content
    missing: Mapped[bool] = mapped_column(default=False, server_default="0")  # the file was gone when last looked for
    seen_at: Mapped[datetime] = mapped_column(default=now)


class Quarantined(Base):
    """A file that could not become an image, and why."""

    __tablename__ = "quarantine"

    id: Mapped[int] = mapped_column(primary_key=True)
    uri: Mapped[str] = mapped_column(unique=True)
    source: Mapped[str]
    reason: Mapped[str]
    bytes: Mapped[int | None] = mapped_column(BigInteger)  # with modified_ns: tried again when either changed;
    modified_ns: Mapped[int | None] = mapped_column(BigInteger)  # none where the next ingest is to try in any case
    seen_at: Mapped[datetime] = mapped_column(default=now)


class Container(Base):
    """An archive or video that was read to its end; until it changes, what is inside is known."""

    __tablename__ = "containers"

    id: Mapped[int] = mapped_column(primary_key=True)
    uri: Mapped[str] = mapped_column(unique=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    modified_ns: Mapped[int] = mapped_column(BigInteger)
    frames: Mapped[str | None]  # which frames of a video were taken, such as "every 1.0 s"
    read_at: Mapped[datetime] = mapped_column(default=now)


# --- vectors and duplicates ----------------------------------------------------------------------


class Encoder(Base):
    """An encoder version: the digest covers its weights and its preprocessing."""

    __tablename__ = "encoders"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(index=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    dimensions: Mapped[int]
    dtype: Mapped[str] = mapped_column(String(8), default="float32", server_default="float32")  # on disk; or float16


class VectorBlock(Base):
    """A run of rows in an encoder's vector file that was on disk before it was recorded here."""

    __tablename__ = "vector_blocks"
    __table_args__ = (UniqueConstraint("encoder_id", "start"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    encoder_id: Mapped[int] = mapped_column(ForeignKey("encoders.id"))
    start: Mapped[int]  # first row
    rows: Mapped[int]
    sha256: Mapped[str] = mapped_column(String(64))


class Embedding(Base):
    """Which row of the encoder's vector file belongs to an image."""

    __tablename__ = "embeddings"
    __table_args__ = (UniqueConstraint("encoder_id", "row"),)

    image_id: Mapped[int] = mapped_column(ForeignKey("images.id"), primary_key=True)
    encoder_id: Mapped[int] = mapped_column(ForeignKey("encoders.id"), primary_key=True)
    row: Mapped[int]


class DuplicatePair(Base):
    """Two images that were found to be one picture, and by what. Their contents never change, so neither does this."""

    __tablename__ = "duplicate_pairs"

    first_id: Mapped[int] = mapped_column(ForeignKey("images.id"), primary_key=True)  # the smaller id
    second_id: Mapped[int] = mapped_column(ForeignKey("images.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))  # pixels, perceptual or embedding
    distance: Mapped[float]  # see curation.duplicates


class DuplicateDecision(Base):
    """What a person said of two images: one picture, or not. The newest row of a pair is in force."""

    __tablename__ = "duplicate_decisions"

    id: Mapped[int] = mapped_column(primary_key=True)
    first_id: Mapped[int] = mapped_column(ForeignKey("images.id"), index=True)  # the smaller id
    second_id: Mapped[int] = mapped_column(ForeignKey("images.id"))
    same: Mapped[bool]
    decided_at: Mapped[datetime] = mapped_column(default=now)


class DuplicateScan(Base):
    """One search for duplicates over all images of one encoder."""

    __tablename__ = "duplicate_scans"

    id: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))  # of the groups it found, by sha256
    encoder_id: Mapped[int] = mapped_column(ForeignKey("encoders.id"))
    report: Mapped[dict[str, Any]]  # thresholds, expected precision and recall, counts
    created_at: Mapped[datetime] = mapped_column(default=now)


class DuplicateGroup(Base):
    """Images that are one picture for training; every member was compared with the representative."""

    __tablename__ = "duplicate_groups"

    id: Mapped[int] = mapped_column(primary_key=True)
    scan_id: Mapped[int] = mapped_column(ForeignKey("duplicate_scans.id"), index=True)
    representative_id: Mapped[int] = mapped_column(ForeignKey("images.id"))


class DuplicateMember(Base):
    """One image of a group; the representative is a member too, at distance 0."""

    __tablename__ = "duplicate_members"

    group_id: Mapped[int] = mapped_column(ForeignKey("duplicate_groups.id"), primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))  # representative, pixels, perceptual, embedding or crop
    distance: Mapped[float]  # to the representative, on the scale of its kind


# --- predictions and failures --------------------------------------------------------------------


class PredictionRun(Base):
    """One model version's pass over images."""

    __tablename__ = "prediction_runs"

    id: Mapped[int] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(index=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)  # of the model and what it saw
    kind: Mapped[str] = mapped_column(String(8), default="classes", server_default="classes")  # or boxes
    classes: Mapped[list[Any]]
    passes: Mapped[int] = mapped_column(default=1, server_default="1")  # M: members of an ensemble, or dropout passes
    version_id: Mapped[str | None] = mapped_column(ForeignKey("versions.id"))  # what it was trained on
    report: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=now)


class Prediction(Base):
    """One model version's class probabilities on one image; curation.predictions reads them."""

    __tablename__ = "predictions"

    run_id: Mapped[int] = mapped_column(ForeignKey("prediction_runs.id"), primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id"), primary_key=True)
    probabilities: Mapped[bytes] = mapped_column(LargeBinary)  # (M, C) float32, little-endian, the run's class order
    energy: Mapped[float | None]  # -log Σ exp(logit), of a run that was given as logits


class BoxPrediction(Base):
    """The boxes one model version found in one image."""

    __tablename__ = "box_predictions"

    run_id: Mapped[int] = mapped_column(ForeignKey("prediction_runs.id"), primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id"), primary_key=True)
    passes: Mapped[list[Any]]  # M lists of {"box": [x, y, width, height], "class", "score", "probabilities"?}


class FailureScan(Base):
    """One search for regions of the collection where a prediction run fails."""

    __tablename__ = "failure_scans"

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("prediction_runs.id"))
    report: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=now)


class FailureCluster(Base):
    """A region in which the run fails more often than elsewhere."""

    __tablename__ = "failure_clusters"

    id: Mapped[int] = mapped_column(primary_key=True)
    scan_id: Mapped[int] = mapped_column(ForeignKey("failure_scans.id"), index=True)
    name: Mapped[str]
    failures: Mapped[int]
    labelled: Mapped[int]
    failure_rate: Mapped[float]
    lift: Mapped[float]  # failure rate over that of the whole collection
    interval_low: Mapped[float]
    interval_high: Mapped[float]


class FailureMember(Base):
    """An image in a failure cluster: labelled ones carry the failure's type, unlabelled ones none."""

    __tablename__ = "failure_members"

    cluster_id: Mapped[int] = mapped_column(ForeignKey("failure_clusters.id"), primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id"), primary_key=True)
    failure: Mapped[str | None]  # "confusion" where the prediction disagrees with the label
    medoid: Mapped[bool] = mapped_column(default=False)


# --- batches and campaigns -----------------------------------------------------------------------


class Batch(Base):
    """The images a recipe chose from one state of the catalog."""

    __tablename__ = "batches"

    id: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(
        String(64), unique=True
    )  # of recipe and picks; of an adopted one, which can grow, of the recipe
    recipe: Mapped[dict[str, Any]]
    state: Mapped[dict[str, Any]]  # which encoder, prediction run and failure scan the planner read
    pool: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)  # a bit per image and role: see sampling.batch
    report: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=now)


class Pick(Base):
    """One image of a batch, and why it is there."""

    __tablename__ = "picks"

    batch_id: Mapped[int] = mapped_column(ForeignKey("batches.id"), primary_key=True)
    rank: Mapped[int] = mapped_column(primary_key=True)  # 0 is the most wanted
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id"), index=True)
    arm: Mapped[str] = mapped_column(String(16))
    score: Mapped[float]
    split: Mapped[str] = mapped_column(String(8))  # the image's, kept from here on
    why: Mapped[str]


class Taxonomy(Base):
    """Versioned classes with their task kind and guideline."""

    __tablename__ = "taxonomies"
    __table_args__ = (UniqueConstraint("name", "revision"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    revision: Mapped[int]
    task_kind: Mapped[str] = mapped_column(String(32))
    classes: Mapped[list[Any]]  # [{"name", "description", …}], in display order: see labeling.definitions
    guideline: Mapped[str]
    attributes: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")
    tags: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")  # names in Label Studio
    migration: Mapped[dict[str, Any] | None]  # how labels of the revision before are carried over, if they are
    created_at: Mapped[datetime] = mapped_column(default=now)


class Vendor(Base):
    """Whoever labels, and the Label Studio they do it in. The token itself is never stored."""

    __tablename__ = "vendors"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    ls_url: Mapped[str]
    ls_token_reference: Mapped[str]  # "env:NAME" or "file:PATH"
    prices: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")  # of an answer, by kind of task
    capacity: Mapped[int | None]  # tasks they may have in flight: pushed, and not wholly answered


class Campaign(Base):
    """A batch, or the disputed part of one, being labelled: one Label Studio project."""

    __tablename__ = "campaigns"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    purpose: Mapped[str] = mapped_column(String(16))  # labelling, adjudication or audit
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("campaigns.id"))  # whose items it settles, audits, reworks
    batch_id: Mapped[int] = mapped_column(ForeignKey("batches.id"))
    taxonomy_id: Mapped[int] = mapped_column(ForeignKey("taxonomies.id"))
    vendor_id: Mapped[int] = mapped_column(ForeignKey("vendors.id"))
    overlap: Mapped[int]  # answers wanted per item; in an adaptive campaign of each at least
    adaptive: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))  # its rules, see qa.overlap.Rules
    ls_project_id: Mapped[int | None]
    ls_sync: Mapped[dict[str, Any] | None]  # how far it was pulled, see labeling.pull
    pushing: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))  # see labeling.push.Manner
    unsure_until: Mapped[datetime | None]  # a request that was sent again may still make its tasks a second time
    deadline: Mapped[date | None]
    paused: Mapped[bool] = mapped_column(default=False, server_default="0")
    cancelled_at: Mapped[datetime | None]  # from then on nothing is pushed; closed once Label Studio is cleared
    closed_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now)


class Task(Base):
    """One item of a campaign, on its way to exactly one Label Studio task."""

    __tablename__ = "tasks"
    __table_args__ = (
        UniqueConstraint("campaign_id", "image_id"),
        Index("ix_tasks_campaign_id_rank", "campaign_id", "rank"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    uid: Mapped[str] = mapped_column(String(32), unique=True)  # carried as data.uid
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaigns.id"))
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id"), index=True)
    rank: Mapped[int]
    state: Mapped[str] = mapped_column(String(16))  # planned, intended (a request may be out), pushed, withdrawn
    ls_task_id: Mapped[int | None]
    prediction_run_id: Mapped[int | None] = mapped_column(
        ForeignKey("prediction_runs.id")
    )  # that predicts it for people
    blind: Mapped[bool | None]  # whether they are not shown that; decided when the task is first sent
    suggestions: Mapped[list[Any] | None] = mapped_column(
        JSON(none_as_null=True)
    )  # of an adjudication: results to choose from, as Label Studio has them


class AdoptedTask(Base):
    """A Label Studio task that was there before its campaign; of several that show one image each is that item's."""

    __tablename__ = "adopted_tasks"

    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaigns.id"), primary_key=True)
    ls_task_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id"), index=True)


class Annotator(Base):
    """A person who answers, as one Label Studio knows them."""

    __tablename__ = "annotators"
    __table_args__ = (UniqueConstraint("vendor_id", "ls_user_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    vendor_id: Mapped[int] = mapped_column(ForeignKey("vendors.id"))
    ls_user_id: Mapped[int]
    name: Mapped[str]
    gone: Mapped[bool] = mapped_column(default=False, server_default="0")  # from that Label Studio: asked no more


class Annotation(Base):
    """One revision of one annotator's answer; an edit or a deletion is a further revision."""

    __tablename__ = "annotations"
    __table_args__ = (UniqueConstraint("task_id", "ls_annotation_id", "revision"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id"), index=True)
    annotator_id: Mapped[int] = mapped_column(ForeignKey("annotators.id"))
    ls_annotation_id: Mapped[int]  # below 0 if only we still have it: see labeling.reconcile
    revision: Mapped[int]  # 0, 1, 2 … in the order seen
    answer: Mapped[str | None]  # the class; none when skipped or deleted
    content: Mapped[str | None]  # `labeling.results.essence`, where more than one class is asked for; none until read
    result: Mapped[list[Any]]  # what Label Studio holds, unread
    skipped: Mapped[bool]
    deleted: Mapped[bool]
    ground_truth: Mapped[bool] = mapped_column(default=False, server_default="0")  # as somebody marked it there
    lead_time_s: Mapped[float | None]
    ls_updated_at: Mapped[str]
    seen_at: Mapped[datetime] = mapped_column(default=now)


# --- quality and labels --------------------------------------------------------------------------


class Standing(Base):
    """What somebody decided about an annotator: whether their answers count. The newest row of each is in force."""

    __tablename__ = "standings"

    id: Mapped[int] = mapped_column(primary_key=True)
    annotator_id: Mapped[int] = mapped_column(ForeignKey("annotators.id"), index=True)
    state: Mapped[str] = mapped_column(String(16))  # good, probation, paused
    since: Mapped[datetime]  # of a pause: answers given from then on do not count
    reason: Mapped[str]
    decided_by: Mapped[str]
    decided_at: Mapped[datetime] = mapped_column(default=now)


class Verdict(Base):
    """What QA decided about one item, from the annotations it names."""

    __tablename__ = "verdicts"

    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id"), index=True)
    outcome: Mapped[str] = mapped_column(String(16))  # accepted, another-opinion, adjudication, rejected
    answer: Mapped[str | None]
    posterior: Mapped[float | None]  # probability that the answer is right
    evidence: Mapped[dict[str, Any]]  # answers, accuracies, the model's say, adjudicator: see qa.verdicts
    created_at: Mapped[datetime] = mapped_column(default=now)


class Decision(Base):
    """What an adjudicator said of one item on the command line or in the dashboard; the newest word is in force."""

    __tablename__ = "decisions"

    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id"), index=True)
    answer: Mapped[str | None]  # none where it cannot be decided
    reason: Mapped[str] = mapped_column(String(32))  # a code, see labeling.reasons
    comment: Mapped[str]
    author: Mapped[str]
    decided_at: Mapped[datetime] = mapped_column(default=now)


class Label(Base):
    """An accepted value. The newest label of an image and taxonomy name is the one in force."""

    __tablename__ = "labels"

    id: Mapped[int] = mapped_column(primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id"), index=True)
    taxonomy_id: Mapped[int] = mapped_column(ForeignKey("taxonomies.id"))
    verdict_id: Mapped[int] = mapped_column(ForeignKey("verdicts.id"), unique=True)
    value: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=now)


class Lot(Base):
    """Items that a vendor delivered, judged together by a sample of them: see qa.lots."""

    __tablename__ = "lots"

    id: Mapped[int] = mapped_column(primary_key=True)
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaigns.id"), index=True)
    auditor_id: Mapped[int] = mapped_column(ForeignKey("vendors.id"))
    resubmits_id: Mapped[int | None] = mapped_column(ForeignKey("lots.id"))  # the rejected lot that was reworked
    severity: Mapped[str] = mapped_column(String(16))  # reduced, normal or tightened
    terms: Mapped[dict[str, Any]]  # what was asked for, see qa.lots.Terms
    plan: Mapped[dict[str, Any]]  # what came of it, see qa.acceptance.Plan
    seed: Mapped[int]  # of the order in which the items are drawn
    created_at: Mapped[datetime] = mapped_column(default=now)


class LotItem(Base):
    """One item of a lot, with the label that is judged."""

    __tablename__ = "lot_items"

    lot_id: Mapped[int] = mapped_column(ForeignKey("lots.id"), primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True)  # 0, 1, 2 … as drawn: the first are audited first
    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id"), index=True)
    label_id: Mapped[int] = mapped_column(ForeignKey("labels.id"), index=True)  # in one lot that is not withdrawn


class LotCampaign(Base):
    """A campaign that audits the lot, or in which its vendor reworks it; its purpose says which."""

    __tablename__ = "lot_campaigns"

    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaigns.id"), primary_key=True)
    lot_id: Mapped[int] = mapped_column(ForeignKey("lots.id"), index=True)


class LotDecision(Base):
    """What was decided about a lot, and on what; the newest row is in force."""

    __tablename__ = "lot_decisions"

    id: Mapped[int] = mapped_column(primary_key=True)
    lot_id: Mapped[int] = mapped_column(ForeignKey("lots.id"), index=True)
    outcome: Mapped[str] = mapped_column(String(16))  # continue, withdrawn, accepted, rejected, sorted
    audited: Mapped[int]  # items of the sample that decided
    found: Mapped[int]  # defectives in it
    evidence: Mapped[dict[str, Any]]  # the auditors' annotations, and which of the items are defective
    decided_at: Mapped[datetime] = mapped_column(default=now)


class LabelErrorScan(Base):
    """One search for wrong labels among those in force under a taxonomy's name."""

    __tablename__ = "label_error_scans"

    id: Mapped[int] = mapped_column(primary_key=True)
    taxonomy: Mapped[str] = mapped_column(index=True)
    report: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=now)


class LabelSuspect(Base):
    """A label that a scan doubts; while it is in force, a candidate for adjudication."""

    __tablename__ = "label_suspects"

    scan_id: Mapped[int] = mapped_column(ForeignKey("label_error_scans.id"), primary_key=True)
    label_id: Mapped[int] = mapped_column(ForeignKey("labels.id"), primary_key=True)
    rank: Mapped[int]  # 0 is the most suspect
    score: Mapped[float]  # 0 to 1, see qa.suspicion
    suggestion: Mapped[str]  # the value it might have
    why: Mapped[str]


# --- versions ------------------------------------------------------------------------------------


class Version(Base):
    """An immutable training set; its id is the digest of its manifest."""

    __tablename__ = "versions"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(index=True)
    number: Mapped[int]  # 1, 2, 3 … within the name
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("versions.id"))
    manifest: Mapped[dict[str, Any]]  # classes, fractions, encoder, scan, batches, items' digest
    gates: Mapped[list[Any]]
    created_at: Mapped[datetime] = mapped_column(default=now)


class VersionItem(Base):
    """One labelled image of a version."""

    __tablename__ = "version_items"

    version_id: Mapped[str] = mapped_column(ForeignKey("versions.id"), primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id"), primary_key=True, index=True)
    label_id: Mapped[int] = mapped_column(ForeignKey("labels.id"))
    split: Mapped[str] = mapped_column(String(8))  # train, val or test


# --- schedules -----------------------------------------------------------------------------------


class Schedule(Base):
    """A recipe that is planned again and again by cron, and what becomes of the batches."""

    __tablename__ = "schedules"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    cron: Mapped[str]
    recipe: Mapped[dict[str, Any]]
    campaign: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))  # see api.schedules.CampaignTerms
    capacity: Mapped[int | None]  # items that the campaign's vendor may have open
    min_drift: Mapped[float | None]  # AUC, see sampling.drift
    paused: Mapped[bool] = mapped_column(default=False)
    planned_tick: Mapped[datetime | None]  # the newest that planned a batch
    created_at: Mapped[datetime] = mapped_column(default=now)
