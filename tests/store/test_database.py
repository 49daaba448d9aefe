"""The catalog's tables, their migrations, and what a killed process leaves."""

import sqlite3
import threading
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect, select, text

from store import database, schema
from store.errors import InvalidInputError
from store.workspace import Workspace, open_workspace
from tests.conftest import Builder


def test_migrations_end_at_the_schema(workspace: Workspace) -> None:
    with workspace.database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.Base.metadata) == []


def test_an_open_catalog_is_at_the_newest_revision_and_is_not_migrated_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = ScriptDirectory(str(Path(schema.__file__).parent / "migrations"))
    assert script.get_heads() == [database.HEAD_REVISION]
    monkeypatch.setattr(command, "upgrade", lambda *_: pytest.fail("a catalog at the newest revision was migrated"))
    open_workspace(workspace.home)


def test_a_catalog_of_a_newer_winnow_is_left_alone_with_a_sentence(workspace: Workspace) -> None:
    with workspace.database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(InvalidInputError, match="made by a newer Winnow"):
        open_workspace(workspace.home)


def empty_catalog(folder: Path) -> tuple[Config, Engine]:
    """Where the migrations are, and a database in `folder` / home that none has touched."""
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
    (folder / "home").mkdir()
    return config, create_engine(f"sqlite:///{folder / 'home' / 'winnow.db'}")


def test_a_run_of_the_second_revision_is_one_of_classes(tmp_path: Path) -> None:
    """A catalog of 0002 with a run in it is migrated when it is opened, and back."""
    config, engine = empty_catalog(tmp_path)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        connection.execute(
            text(
                "INSERT INTO prediction_runs VALUES (1, 'm', 'd', '[\"a\", \"b\"]', NULL, '{}', '2026-01-01 00:00:00')"
            )
        )
    with open_workspace(tmp_path / "home").database.read() as session:
        run = session.scalars(select(schema.PredictionRun)).one()
        assert (run.model, run.classes, run.kind, run.passes) == ("m", ["a", "b"], "classes", 1)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0002")
        assert "passes" not in {column["name"] for column in inspect(connection).get_columns("prediction_runs")}
        assert not inspect(connection).has_table("box_predictions")
    engine.dispose()


def test_a_schedule_of_the_third_revision_only_plans(tmp_path: Path) -> None:
    """A catalog of 0003 with a schedule in it is migrated when it is opened, and back."""
    config, engine = empty_catalog(tmp_path)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        row = "(1, 'nightly', '0 3 * * *', '{\"budget\": 5}', 0, '2026-01-01 00:00:00')"
        connection.execute(text(f"INSERT INTO schedules (id, name, cron, recipe, paused, created_at) VALUES {row}"))
    with open_workspace(tmp_path / "home").database.read() as session:
        one = session.scalars(select(schema.Schedule)).one()
        assert (one.name, one.recipe, one.paused) == ("nightly", {"budget": 5}, False)
        assert (one.campaign, one.capacity, one.min_drift, one.planned_tick) == (None, None, None, None)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0003")
        assert connection.execute(text("SELECT name, paused FROM schedules")).all() == [("nightly", 0)]
        assert "campaign" not in {column["name"] for column in inspect(connection).get_columns("schedules")}
    engine.dispose()


def test_a_campaign_of_the_sixth_revision_goes_on_with_its_tasks_and_answers(tmp_path: Path) -> None:
    """A catalog of 0006 in the middle of a campaign is migrated when it is opened."""
    config, engine = empty_catalog(tmp_path)
    moment, sha256 = "'2026-01-01 00:00:00'", "'" + "0" * 64 + "'"
    rows = {
        "images (id, sha256, phash, width, height, format, bytes, created_at)": (
            f"1, {sha256}, '', 8, 8, 'PNG', 1, {moment}"
        ),
        "batches": f"1, {sha256}, '{{}}', '{{}}', x'', '{{}}', {moment}",
        "taxonomies": f"1, 'animals', 1, 'classification', '[]', '', {moment}",
        "vendors (id, name, ls_url, ls_token_reference)": "1, 'acme', 'http://x', 'env:T'",
        "campaigns (id, name, purpose, batch_id, taxonomy_id, vendor_id, overlap, ls_project_id, created_at)": (
            f"1, 'one', 'labelling', 1, 1, 1, 2, 7, {moment}"
        ),
        "tasks (id, uid, campaign_id, image_id, rank, state, ls_task_id)": "1, 'u', 1, 1, 0, 'pushed', 9",
        "annotators": "1, 1, 1, 'ada'",
        "annotations (id, task_id, annotator_id, ls_annotation_id, revision, answer, result, skipped, deleted, "
        "ls_updated_at, seen_at)": f"1, 1, 1, 1, 0, 'cat', '[]', 0, 0, '2026-01-01T00:00:00Z', {moment}",
    }
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0006")
        for table, values in rows.items():
            connection.execute(text(f"INSERT INTO {table} VALUES ({values})"))
    engine.dispose()
    with open_workspace(tmp_path / "home").database.read() as session:
        task = session.scalars(select(schema.Task)).one()
        assert (task.state, task.ls_task_id, task.blind, task.prediction_run_id) == ("pushed", 9, None, None)
        campaign = session.scalars(select(schema.Campaign)).one()
        assert (campaign.ls_project_id, campaign.paused, campaign.pushing) == (7, False, None)
        assert session.scalars(select(schema.Annotation)).one().answer == "cat"
        assert session.scalars(select(schema.Vendor)).one().capacity is None


def test_the_catalog_is_in_wal_mode(workspace: Workspace) -> None:
    connection = sqlite3.connect(workspace.home / "winnow.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_a_write_that_raises_leaves_nothing(workspace: Workspace) -> None:
    def fail() -> None:
        with workspace.database.write() as session:
            session.add(schema.Vendor(name="a", ls_url="u", ls_token_reference="env:T"))
            session.flush()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with workspace.database.read() as session:
        assert session.scalars(select(schema.Vendor)).all() == []


def test_writers_wait_for_each_other(workspace: Workspace) -> None:
    """Both read before they write: without the lock at the beginning one of them would fail or be lost."""

    def add(name: str) -> None:
        for i in range(20):
            with workspace.database.write() as session:
                count = len(session.scalars(select(schema.Vendor)).all())
                session.add(schema.Vendor(name=f"{name}{i}", ls_url=str(count), ls_token_reference="env:T"))

    threads = [threading.Thread(target=add, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with workspace.database.read() as session:
        counts = session.scalars(select(schema.Vendor.ls_url)).all()
    assert sorted(map(int, counts)) == list(range(40))


def test_moments_keep_their_zone(workspace: Workspace) -> None:
    moment = schema.now()
    with workspace.database.write() as session:
        session.add(schema.Quarantined(uri="u", source="s", reason="r", seen_at=moment))
    with workspace.database.read() as session:
        assert session.scalars(select(schema.Quarantined.seen_at)).one() == moment


def test_a_file_is_no_workspace(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match="cannot be created"):
        open_workspace(tmp_path / "file")


def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "winnow.db").write_bytes(b"not a database" * 100)
    with pytest.raises(InvalidInputError, match="not a Winnow catalog"):
        open_workspace(tmp_path)


def test_the_key_is_secret_and_stays(workspace: Workspace) -> None:
    assert len(workspace.key) == 32
    assert (workspace.home / "secret.key").stat().st_mode & 0o077 == 0
    assert open_workspace(workspace.home).key == workspace.key


def test_a_key_that_is_none_is_refused(workspace: Workspace) -> None:
    (workspace.home / "secret.key").write_text("hello")
    with pytest.raises(InvalidInputError, match="does not hold a key of ours"):
        _ = workspace.key


def test_a_label_is_in_another_lot_since_the_fifteenth_revision(workspace: Workspace, build: Builder) -> None:
    """A catalog of 0014 is migrated when it is opened; back, the items of lots that were withdrawn are gone."""
    build.labels({build.images(1)[0]: "cat"})
    with workspace.database.write() as session:
        label, task, vendor, campaign = (
            session.scalars(select(each.id)).one()
            for each in (schema.Label, schema.Task, schema.Vendor, schema.Campaign)
        )
        for number in (1, 2):
            lot = schema.Lot(campaign_id=campaign, auditor_id=vendor, severity="normal", terms={}, plan={}, seed=number)
            session.add(lot)
            session.flush()
            session.add(schema.LotItem(lot_id=lot.id, place=0, task_id=task, label_id=label))
        session.add(schema.LotDecision(lot_id=1, outcome="withdrawn", audited=0, found=0, evidence={}))
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
    with workspace.database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0014")
        assert connection.execute(text("SELECT lot_id FROM lot_items")).scalars().all() == [2]
    workspace.database.engine.dispose()
    with open_workspace(workspace.home).database.write() as session:
        session.add(schema.LotItem(lot_id=1, place=0, task_id=task, label_id=label))
