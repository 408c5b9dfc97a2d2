"""Migrations: from nothing to the schema and back, once even when many open the store together."""

from __future__ import annotations

import subprocess
import sys

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, inspect
from sqlalchemy.orm import Session

from engine.errors import RunError
from engine.runs import open_store
from engine.runs.schema import Base, StudyRow


@pytest.fixture
def connection(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path / 'bare.db'}")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def config(connection):
    made = Config()
    made.set_main_option("script_location", "engine.runs:migrations")
    made.attributes["connection"] = connection
    return made


def test_the_migrated_tables_are_those_of_the_schema(connection):
    command.upgrade(config(connection), "head")
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    assert compare_metadata(context, Base.metadata) == []


def test_down_and_up_again(connection):
    command.upgrade(config(connection), "head")
    command.downgrade(config(connection), "base")
    assert set(inspect(connection).get_table_names()) <= {"alembic_version"}
    command.upgrade(config(connection), "head")
    assert set(Base.metadata.tables) <= set(inspect(connection).get_table_names())


def test_studies_of_an_older_store_are_there_after_the_upgrade(connection):
    command.upgrade(config(connection), "0001")
    connection.exec_driver_sql("INSERT INTO files VALUES ('f', 'labels.csv', 1, '2026-11-01 00:00:00')")
    study = "('s', 'Old', 'f', NULL, '{\"text\": \"t\", \"label\": \"y\"}', '{}', '2026-11-01 00:00:00')"
    connection.exec_driver_sql(f"INSERT INTO studies VALUES {study}")
    connection.commit()
    command.upgrade(config(connection), "head")
    with Session(connection) as session:
        old = session.get(StudyRow, "s")
        assert (old.name, old.skewed) == ("Old", False)
    command.downgrade(config(connection), "0001")
    assert connection.exec_driver_sql("SELECT name FROM studies").scalar() == "Old"


SCRIPT = """
import engine.runs as runs
for _ in range(3):
    store = runs.open_store()
    store.save_file("labels.csv", b"text,label")
"""


@pytest.mark.slow
def test_many_processes_open_a_new_store_together(labelwise_home):
    run = [sys.executable, "-W", "error", "-c", SCRIPT]
    together = [subprocess.Popen(run, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    faults = [process.communicate()[1] for process in together]
    assert faults == [""] * 3
    assert (labelwise_home / "labelwise.db").exists()
    assert open_store().studies() == ()


def test_readers_do_not_wait_for_a_writer(labelwise_home):
    open_store()
    engine = create_engine(f"sqlite:///{labelwise_home / 'labelwise.db'}")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    engine.dispose()


def test_another_database_by_url(tmp_path, monkeypatch, labelwise_home):
    monkeypatch.setenv("LABELWISE_DATABASE_URL", f"sqlite:///{tmp_path / 'other.db'}")
    open_store()
    assert (tmp_path / "other.db").exists()
    assert not (labelwise_home / "labelwise.db").exists()


@pytest.mark.parametrize("url", ["nonsense", "sqlite:////no/such/folder/x.db", "oracle://nobody@nowhere/x"])
def test_a_database_that_cannot_be_opened_is_said_to_be(url):
    with pytest.raises(RunError, match="cannot be opened") as fault:
        open_store(url)
    assert "\n" not in str(fault.value)


def test_a_folder_that_cannot_be_made_is_said_to_be(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LABELWISE_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(RunError, match=r"home cannot be made \(Not a directory\); set LABELWISE_HOME"):
        open_store()


def test_a_store_of_a_newer_version_is_said_to_be(labelwise_home):
    open_store()
    engine = create_engine(f"sqlite:///{labelwise_home / 'labelwise.db'}")
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    with pytest.raises(RunError, match="made by a newer Labelwise; update"):
        open_store()


def test_a_lock_that_cannot_be_had_is_said(labelwise_home):
    (labelwise_home / "migration.lock").mkdir(parents=True)
    with pytest.raises(RunError, match="The store cannot be opened"):
        open_store()
