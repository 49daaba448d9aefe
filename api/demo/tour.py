"""The demo: the whole loop on real photos, with a real Label Studio and simulated annotators."""

import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from sqlalchemy import select

from api import image_urls, jobs, schedules
from api.cli.console import progress_bar, table
from api.demo import people, scoring, services, solar_cells
from api.demo.services import Services
from api.demo.solar_cells import Collection
from curation import duplicates, embed, exports, failures, integrity, servers, versions
from curation import ingest as ingesting
from curation.versions import VersionSummary
from labeling import campaigns, pull, push, taxonomy, vendors
from labeling.definitions import ClassDefinition, Definition
from qa import adjudication, report, verdicts
from qa.report import QaReport
from sampling import batch, probe, recipes
from store.errors import ConflictError, InvalidInputError, RemoteError
from store.schema import Campaign, Task
from store.workspace import Workspace, open_workspace

_ROUNDS = 2
_RANDOM_SHARE = 0.2
_OVERLAP = 2
_NAME = "solar-cells"
_VENDOR = "demo"
_JOB_TIMEOUT_S = 120


@dataclass(frozen=True)
class Round:
    """What one round of the loop gave."""

    version: VersionSummary
    quality: QaReport
    run_id: int
    accuracy: scoring.Accuracy
    exported: int


def run(home: Path, *, count: int | None = None, budget: int, stay: bool) -> None:
    """Run the loop in `home`, or continue it, and print what came out.

    Args:
        home: the workspace.
        count: take only that many photos.
        budget: images a round.
        stay: keep the servers until Ctrl-C; otherwise leave them running and return.

    Raises:
        WinnowError: a step failed; the servers are stopped and the same call continues.
    """
    started = time.monotonic()
    _interrupt_on_termination()
    workspace = open_workspace(home)
    print(f"Winnow's demo in {home}: photos of solar cells ({solar_cells.LICENCE}).")
    collection = solar_cells.make(home / "photos", count=count)
    with services.running(workspace) as running:
        _say(f"Label Studio: {running.label_studio.url}  ·  dashboard: {running.url}")
        _take_in(workspace, [str(collection.manifest), str(collection.planted)])
        score = scoring.score_duplicates(workspace, collection)
        _say(
            f"  of {score.planted} planted recompressions and crops {score.found} were found; "
            f"{score.wrong} different cells were thrown together"
        )
        classes = list(solar_cells.CLASSES.items())
        taxonomy.create(workspace, _NAME, _definition(classes, solar_cells.GUIDELINE))
        vendors.add(workspace, _VENDOR, url=running.label_studio.url, token=f"file:{running.label_studio.token_file}")
        rounds = [_round(running, collection, number, budget=budget) for number in range(1, _ROUNDS + 1)]
        difference = versions.diff(workspace, rounds[0].version.id, rounds[1].version.id)
        _say(
            f"Version 2 against 1: {len(difference.added)} added, {len(difference.removed)} removed, "
            f"{len(difference.relabelled)} relabelled, {len(difference.moved)} moved between splits"
        )
        _schedule(workspace)
        _step("explore", "the catalog in the FiftyOne App")
        view = running.explore()
        _check(workspace)
        print()
        for line in summary(workspace, score, rounds):
            print(line)
        print(f"\nThe loop took {(time.monotonic() - started) / 60:.1f} minutes.")
        _finish(
            running,
            [
                f"Dashboard      {running.url}",
                f"Label Studio   {running.label_studio.url}  (log in as {running.label_studio.email}, "
                f"password in {home}/label-studio/login.json)",
                f"FiftyOne App   {view.url}",
            ],
            stay=stay,
        )


def run_on_images(home: Path, images: Path, *, classes: Sequence[str], budget: int, stay: bool) -> None:
    """Run the loop on the user's own folder up to the push: nobody here can label these images.

    Raises:
        WinnowError: a step failed; the servers are stopped and the same call continues.
    """
    _interrupt_on_termination()
    if not images.is_dir():
        raise InvalidInputError(f"{images} is not a folder. Say: make demo IMAGES=/path/to/a/folder")
    workspace = open_workspace(home)
    print(f"Winnow's demo in {home}: your images in {images}.")
    with services.running(workspace) as running:
        _take_in(workspace, [str(images)])
        asked = _definition([(name, "") for name in classes], "Choose what it shows.")
        taxonomy.create(workspace, "classes", asked)
        vendors.add(workspace, _VENDOR, url=running.label_studio.url, token=f"file:{running.label_studio.token_file}")
        if not _has_campaign(workspace, "round-1"):
            _step("batch", "images by coverage, because nothing is labelled yet")
            batch_id = _plan_what_fits(workspace, budget)
            campaigns.create(
                workspace, "round-1", batch_id=batch_id, taxonomy_name="classes", vendor_name=_VENDOR, overlap=1
            )
        _step("campaign", "tasks in Label Studio")
        pushed = push.push(workspace, "round-1", image_url=image_urls.signer(workspace.key, running.url))
        view = running.explore()
        print(
            f"\nNow a person must label {pushed.tasks} images: open "
            f"{running.label_studio.url}/projects/{pushed.ls_project_id}, log in as {running.label_studio.email} "
            f"(password in {home}/label-studio/login.json), press “Label All Tasks” and choose "
            f"{' or '.join(classes)} for each. Then:\n"
            f"  winnow --home {home} campaign pull round-1\n"
            f"  winnow --home {home} qa review round-1\n"
            f"  winnow --home {home} version cut first"
        )
        _finish(running, [f"Dashboard      {running.url}", f"FiftyOne App   {view.url}"], stay=stay)


def summary(workspace: Workspace, score: scoring.DuplicateScore, rounds: Sequence[Round]) -> list[str]:
    """The closing table: one row a figure, one column a version."""
    with workspace.database.read() as session:
        scan = duplicates.newest_report(session) or {}
    found = f"{scan['exact_copies']} exact, {scan['duplicates']} proven by pixels ({score.wrong} wrong)"
    rows: list[tuple[str, Callable[[Round], str]]] = [
        ("images", lambda _: f"{scan['images']:,}"),
        ("duplicates", lambda _: found),
        ("labels bought", lambda one: str(sum(one.version.counts.values()))),
        ("answers per label", lambda one: f"{one.quality.answers_per_label or 0:.2f}"),
        ("agreement (Krippendorff's α)", lambda one: "–" if one.quality.alpha is None else f"{one.quality.alpha:.2f}"),
        ("accuracy on held-out cells", lambda one: f"{one.accuracy.value:.3f} of {one.accuracy.held_out}"),
        ("… of random batches that size", lambda one: _spread(one.accuracy.random)),
    ]
    headings = ["", *(f"version {one.version.number} ({one.version.id[:8]})" for one in rounds)]
    return table(headings, [(name, *(value(one) for one in rounds)) for name, value in rows])


def _take_in(workspace: Workspace, sources: Sequence[str]) -> None:
    """Ingest, embed and scan; what is done already costs nothing."""
    _step("ingest", ", ".join(sources))
    for source in sources:
        with progress_bar("Ingesting") as advance:
            done = ingesting.ingest(workspace, [source], on_progress=advance)
        _say(f"  {done.new_images} new images, {done.new_sightings} new sightings, {done.unchanged} unchanged")
        for uri, reason in done.quarantined:
            _say(f"  quarantined {Path(uri).name}: {reason}")
    _step("embed", "what is missing")
    with progress_bar("Embedding") as advance:
        embedded = embed.embed(workspace, on_progress=advance)
    _say(f"  {embedded.embedded} embedded with {embedded.encoder}, {embedded.already} already were")
    servers.spawn(  # the map that explore shows takes a minute: it is made while people answer
        [sys.executable, "-m", "curation.projection", str(workspace.home), embedded.encoder],
        log=workspace.home / "logs" / "projection.log",
    )
    if embedded.embedded or not _scanned(workspace):
        _step("duplicates", "exact, perceptual, embedding and crop, each pair proven by its pixels")
        with progress_bar("Sketching") as advance:
            scan = duplicates.scan(workspace, on_progress=advance)
        _say(
            f"  {scan.exact_copies} exact copies; {scan.duplicates} duplicates in {scan.groups} groups: "
            f"{', '.join(f'{count} {kind}' for kind, count in scan.kinds.items()) or 'none'}"
        )


def _round(running: Services, collection: Collection, number: int, *, budget: int) -> Round:
    """Plan, label, adjudicate, cut, train, and look where it fails."""
    workspace = running.workspace
    name = f"round-{number}"
    print(f"\nRound {number}")
    if not _has_campaign(workspace, name):
        _step("batch", f"{budget} images")
        plan = batch.plan(workspace, recipes.parse({"budget": budget, "random_share": _RANDOM_SHARE, "seed": number}))
        _say(f"  {', '.join(f'{count} {arm}' for arm, count in plan.arms.items())}")
        campaigns.create(
            workspace, name, batch_id=plan.batch_id, taxonomy_name=_NAME, vendor_name=_VENDOR, overlap=_OVERLAP
        )
    _label(running, collection, name, people.ANNOTATORS, overlap=_OVERLAP, model=probe.MODEL if number > 1 else None)
    reviewed = verdicts.review(workspace, name)
    _say(f"  after {_OVERLAP} answers each: {_counts(reviewed.outcomes)}")
    disputed = adjudication.open_campaign(workspace, name)
    for opened in _adjudications(workspace, name):
        _label(running, collection, opened, [people.EXPERT], overlap=1, model=None)
    if disputed.items or disputed.already:
        reviewed = verdicts.review(workspace, name)
        _say(f"  after the expert: {_counts(reviewed.outcomes)}")
    quality = report.report(workspace, name)
    _step("version", "freeze, train the probe, look where it fails")
    version = _cut(workspace, number)
    folder = workspace.home / "exports" / f"{_NAME}-{number}"
    for file_format in ("parquet", "image-folder"):
        if not (folder / file_format).exists():
            exports.export(workspace, version.id, format=file_format, folder=folder / file_format)
    trained = probe.train(workspace, version.id)
    accuracy = scoring.score_probe(workspace, collection, run_id=trained.run_id, trained_on=trained.trained_on)
    scan = failures.scan(workspace, probe.MODEL) if number == _newest_version(workspace) else None
    _say(f"  version {version.id[:12]}: {_counts(version.counts)}; exported to {folder}")
    _say(f"  probe: {accuracy.value:.3f} right on {accuracy.held_out} held-out cells")
    if scan is not None:
        found = [f"“{cluster.name}” ({cluster.lift:.1f} × as often)" for cluster in scan.clusters]
        _say(f"  it fails most in: {', '.join(found) or scan.note}")
    return Round(version, quality, trained.run_id, accuracy, sum(version.counts.values()))


def _label(
    running: Services,
    collection: Collection,
    name: str,
    annotators: Sequence[people.Person],
    *,
    overlap: int,
    model: str | None,
) -> None:
    """Push a campaign, let people answer in Label Studio, pull their answers."""
    workspace = running.workspace
    _step("campaign", name)
    image_url = image_urls.signer(workspace.key, running.url)
    pushed = push.push(workspace, name, image_url=image_url, predictions_model=model)
    again = push.push(workspace, name, image_url=image_url, predictions_model=model)
    _say(f"  {pushed.tasks} tasks in Label Studio; a second push created {again.created}")
    probability = scoring.by_image(workspace, collection)
    with workspace.database.read() as session:
        tasks = session.execute(select(Task.uid, Task.image_id)).all()
    graded = {uid: probability[image_id] for uid, image_id in tasks if image_id in probability}  # type: ignore[index]
    done = people.answer(
        running.label_studio.url,
        pushed.ls_project_id,
        annotators,
        admin=(running.label_studio.email, running.label_studio.password),
        overlap=overlap,
        probability=graded.__getitem__,
        seed=0,
    )
    pulled = pull.pull(workspace, name)
    _say(
        f"  {done.answers} answers from {len(annotators)} people in {done.seconds:.0f} s; {pulled.new} new ones pulled"
    )


def _cut(workspace: Workspace, number: int) -> VersionSummary:
    """Version `number`, cut now unless an earlier demo did."""
    for version in versions.list_all(workspace):
        if version.name == _NAME and version.number == number:
            return version
    return versions.cut(workspace, _NAME)


def _schedule(workspace: Workspace) -> None:
    _step("schedule", "a sampling job every night, and once now")
    try:
        schedules.add(workspace, "nightly", cron="0 3 * * *", recipe={"budget": 50})
    except ConflictError:
        return
    job = schedules.run(workspace, "nightly")
    deadline = time.monotonic() + _JOB_TIMEOUT_S
    while (state := jobs.find(workspace, job).state) in ("waiting", "running"):
        if time.monotonic() > deadline:
            raise RemoteError(f"The job {job} is still {state} after {_JOB_TIMEOUT_S} s. See: winnow jobs show {job}")
        time.sleep(0.2)
    _say(f"  job {job}: {jobs.find(workspace, job).outcome}")


def _check(workspace: Workspace) -> None:
    broken = [check for check in integrity.verify(workspace) if not check.ok]
    for check in broken:
        _say(f"  winnow verify: {check.name}: {check.detail}")
    if not broken:
        _say("  winnow verify: everything is whole")


def _finish(running: Services, lines: Sequence[str], *, stay: bool) -> None:
    print("\n" + "\n".join(lines))
    if not stay:
        print("The servers stay up. Stop them with: make demo-stop")
        sys.stdout.flush()
        return
    print("Ctrl-C stops them.")
    sys.stdout.flush()
    try:
        running.winnow.process.wait()
    except KeyboardInterrupt:
        print("\nStopping …")
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would leave the rest running
        running.stop()


def _plan_what_fits(workspace: Workspace, budget: int) -> int:
    """A batch of `budget` images, or of as many as a small collection holds."""
    while True:
        try:
            return batch.plan(workspace, recipes.parse({"budget": budget, "random_share": _RANDOM_SHARE})).batch_id
        except InvalidInputError:
            if budget == 1:
                raise
            budget //= 2


def _definition(classes: Sequence[tuple[str, str]], guideline: str) -> Definition:
    described = tuple(ClassDefinition(name, description) for name, description in classes)
    return Definition("classification", described, guideline=guideline)


def _has_campaign(workspace: Workspace, name: str) -> bool:
    with workspace.database.read() as session:
        return name in campaigns.list_names(session)


def _adjudications(workspace: Workspace, name: str) -> list[str]:
    with workspace.database.read() as session:
        parent = campaigns.get(session, name)
        return list(session.scalars(select(Campaign.name).where(Campaign.parent_id == parent.id).order_by(Campaign.id)))


def _newest_version(workspace: Workspace) -> int:
    return max(version.number for version in versions.list_all(workspace) if version.name == _NAME)


def _scanned(workspace: Workspace) -> bool:
    with workspace.database.read() as session:
        return duplicates.newest_report(session) is not None


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _spread(values: Sequence[float]) -> str:
    mean = sum(values) / len(values)
    deviation = (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5
    return f"{mean:.3f} ± {deviation:.3f} ({len(values)} seeds)"


def _interrupt_on_termination() -> None:
    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, interrupt)


def _step(name: str, what: str) -> None:
    _say(f"· {name}: {what}")


def _say(line: str) -> None:
    print(line, flush=True)
