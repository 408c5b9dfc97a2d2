"""The store: files, studies, runs and step results in SQLite (WAL) or PostgreSQL, through SQLAlchemy."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from filelock import FileLock
from sqlalchemy import Engine, create_engine, delete, event, func, select, update
from sqlalchemy.exc import IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

from engine.data import Roles, ending_of
from engine.errors import DataError, RunError
from engine.runs.schema import AnswerRow, Base, FileRow, LabellingRow, ResultRow, RunResultRow, RunRow, StudyRow
from engine.runs.states import Question, Run, RunKind, RunSettings, RunState, StoredFile, Study, home

_ACTIVE = [state.value for state in RunState if not state.is_finished]


def now() -> datetime:
    """Return the present time in UTC without a zone, as the store keeps it."""
    return datetime.now(UTC).replace(tzinfo=None)


def fingerprint(*parts: object) -> str:
    """Return a stable hash of JSON-like parts: the key under which a step's result is stored."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


class Store:
    """Files, studies, runs and results. Safe to open from several processes at once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def session(self) -> Session:
        """Open a session on the tables; rows stay readable after it has ended."""
        return Session(self._engine, expire_on_commit=False)

    # ---------------------------------------------------------------- files

    def save_file(self, name: str, content: bytes | Path) -> StoredFile:
        """Keep a file under the hash of its content; the same content is kept once for each way of reading it.

        Args:
            name: The file's name as the user knows it.
            content: The bytes, or the path of a file to copy.

        Raises:
            DataError: The path cannot be read.
            RunError: The file cannot be written, as on a full disk.
        """
        try:
            data = content.read_bytes() if isinstance(content, Path) else content
        except OSError as error:
            raise DataError(f"{name} cannot be read ({error.strerror}); check the path and its permissions.") from error
        digest = hashlib.sha256(data).hexdigest()
        try:
            stored = self._file_of(digest, name, len(data))
            if not stored.path.exists():
                _write(data, stored.path)
        except (OSError, OperationalError) as error:
            sentence = f"{name} cannot be kept in {home()} ({_reason(error)}); make room there or set LABELWISE_HOME."
            raise RunError(sentence) from error
        return stored

    def _file_of(self, digest: str, name: str, size: int) -> StoredFile:
        """The row of a content that is read by the ending of this name; made where there is none."""
        with Session(self._engine) as session:
            known = session.get(FileRow, f"{digest}{ending_of(name)}") is not None
        # The hash alone is the key of the first ending that a content came with; another one is told by its own.
        for key in (digest, f"{digest}{ending_of(name)}")[known:]:
            self._insert_once(key, FileRow(hash=key, name=name, size=size, created=now()))
            stored = self.file(key)
            if ending_of(stored.name) == ending_of(name):
                break
        return stored

    def _insert_once(self, key: str | tuple[str, str], row: Base) -> None:
        """Add a row unless its key is there; another process may add it at the same moment."""
        with suppress(IntegrityError), Session(self._engine) as session, session.begin():
            if session.get(type(row), key) is None:
                session.add(row)

    def file(self, digest: str) -> StoredFile:
        """Return a kept file.

        Raises:
            RunError: The store holds no such file.
        """
        with Session(self._engine) as session:
            row = session.get(FileRow, digest)
            if row is None:
                raise RunError(f"The store holds no file {digest[:12]}; upload it again.")
            return StoredFile(row.hash, row.name, _file_path(row.hash, row.name), row.size)

    # -------------------------------------------------------------- studies

    def create_study(
        self,
        name: str,
        labels: StoredFile,
        pool: StoredFile | None,
        roles: Roles,
        question: Question,
        *,
        skewed: bool = False,
    ) -> Study:
        """Store a study; the same data, roles and question give the study that is already there.

        One of the labels of a skewed study is skewed too, whatever it asks of them.
        """
        pool_hash = pool.hash if pool else None
        key = fingerprint(labels.hash, pool_hash, roles.to_dict(), question.to_dict())[:10]
        self._insert_once(
            key,
            StudyRow(
                id=key,
                name=name,
                labels_hash=labels.hash,
                pool_hash=pool_hash,
                roles=roles.to_dict(),
                question=question.to_dict(),
                skewed=skewed or self._are_skewed(labels),
                created=now(),
            ),
        )
        return self.study(key)

    def _are_skewed(self, labels: StoredFile) -> bool:
        skewed = select(StudyRow.id).where(StudyRow.labels_hash == labels.hash, StudyRow.skewed).limit(1)
        with Session(self._engine) as session:
            return session.scalar(skewed) is not None

    def study(self, study_id: str) -> Study:
        """Return a study.

        Raises:
            RunError: The store holds no such study.
        """
        with Session(self._engine) as session:
            row = session.get(StudyRow, study_id)
        if row is None:
            raise RunError(f"There is no study {study_id}; choose one on the Data page.")
        return self._study(row)

    def studies(self) -> tuple[Study, ...]:
        """Return all studies, newest first."""
        with Session(self._engine) as session:
            rows = session.scalars(select(StudyRow).order_by(StudyRow.created.desc())).all()
        return tuple(self._study(row) for row in rows)

    def rename_study(self, study_id: str, name: str) -> None:
        """Give a study another name."""
        with Session(self._engine) as session, session.begin():
            session.execute(update(StudyRow).where(StudyRow.id == study_id).values(name=name))

    def delete_study(self, study_id: str) -> None:
        """Delete a study with its runs and labellings, and its files where no other study needs them.

        Raises:
            RunError: A run of the study is still under way.
        """
        study, runs = self.study(study_id), self.runs(study_id)
        for run in runs:
            _refuse_under_way(run)
        for run in runs:
            self.delete_run(run.id)
        with Session(self._engine) as session, session.begin():
            own = select(LabellingRow.id).where(LabellingRow.study_id == study_id)
            session.execute(delete(AnswerRow).where(AnswerRow.labelling_id.in_(own)))
            session.execute(delete(LabellingRow).where(LabellingRow.study_id == study_id))
            session.execute(delete(StudyRow).where(StudyRow.id == study_id))
            session.flush()
            for file in filter(None, (study.labels_file, study.pool_file)):
                needed = (StudyRow.labels_hash == file.hash) | (StudyRow.pool_hash == file.hash)
                if session.scalar(select(StudyRow.id).where(needed).limit(1)) is None:
                    session.execute(delete(FileRow).where(FileRow.hash == file.hash))
                    file.path.unlink(missing_ok=True)

    def _study(self, row: StudyRow) -> Study:
        return Study(
            id=row.id,
            name=row.name,
            labels_file=self.file(row.labels_hash),
            pool_file=self.file(row.pool_hash) if row.pool_hash else None,
            roles=Roles.from_dict(row.roles),
            question=Question(**row.question),
            created=row.created,
            skewed=row.skewed,
        )

    # ----------------------------------------------------------------- runs

    def create_run(self, study_id: str, kind: RunKind, settings: RunSettings) -> Run:
        """Store a new run in the state QUEUED; its process is started by `engine.runs.launching`."""
        row = RunRow(
            id=secrets.token_hex(4),
            study_id=study_id,
            kind=kind,
            settings=settings.to_dict(),
            state=RunState.QUEUED.value,
            stage="Waiting to start",
            progress=0.0,
            created=now(),
            keep=True,
        )
        with Session(self._engine, expire_on_commit=False) as session, session.begin():
            session.add(row)
        run = _run(row)
        run.folder.mkdir(parents=True, exist_ok=True)
        return run

    def run(self, run_id: str) -> Run:
        """Return a run.

        Raises:
            RunError: The store holds no such run.
        """
        with Session(self._engine) as session:
            row = session.get(RunRow, run_id)
        if row is None:
            raise RunError(f"There is no run {run_id}; `labelwise runs list` shows those there are.")
        return _run(row)

    def runs(self, study_id: str | None = None) -> tuple[Run, ...]:
        """Return the runs, newest first, of one study or of all."""
        query = select(RunRow).order_by(RunRow.created.desc())
        if study_id is not None:
            query = query.where(RunRow.study_id == study_id)
        with Session(self._engine) as session:
            return tuple(_run(row) for row in session.scalars(query))

    def update_run(self, run_id: str, **values: Any) -> None:
        """Write fields of a run's row."""
        with Session(self._engine) as session, session.begin():
            session.execute(update(RunRow).where(RunRow.id == run_id).values(**values))

    def move_run(self, run_id: str, *, frm: tuple[RunState, ...], to: RunState, **values: Any) -> bool:
        """Change a run's state only if it still is one of `frm`; say whether it was. One atomic statement."""
        condition = (RunRow.id == run_id) & RunRow.state.in_([state.value for state in frm])
        with Session(self._engine) as session, session.begin():
            result = session.execute(update(RunRow).where(condition).values(state=to.value, **values))
            return bool(cast(Any, result).rowcount == 1)

    def claim_machine(self, run_id: str, worked: timedelta = timedelta()) -> bool:
        """Let a queued run start, unless another run of the same machine is under way. One atomic statement.

        A run that is resumed has begun earlier by the time that it `worked` before: its pace is that of all its work.
        """
        other = RunRow.__table__.alias("other")
        busy = (
            select(other.c.id)
            .where(other.c.id != run_id)
            .where(other.c.state.in_([RunState.RUNNING.value, RunState.STOPPING.value]))
        )
        condition = (RunRow.id == run_id) & (RunRow.state == RunState.QUEUED.value) & ~busy.exists()
        begins = now()
        values = {"state": RunState.RUNNING.value, "started": begins - worked, "heartbeat": begins}
        with Session(self._engine) as session, session.begin():
            result = session.execute(update(RunRow).where(condition).values(**values))
            return bool(cast(Any, result).rowcount == 1)

    def delete_run(self, run_id: str) -> None:
        """Delete a run, its folder, and the step results that no other run shares.

        Raises:
            RunError: The run is still under way.
        """
        run = self.run(run_id)
        _refuse_under_way(run)
        with Session(self._engine) as session, session.begin():
            keys = session.scalars(select(RunResultRow.key).where(RunResultRow.run_id == run_id)).all()
            session.execute(delete(RunResultRow).where(RunResultRow.run_id == run_id))
            shared = select(RunResultRow.key)
            session.execute(delete(ResultRow).where(ResultRow.key.in_(keys), ResultRow.key.not_in(shared)))
            session.execute(delete(RunRow).where(RunRow.id == run_id))
        shutil.rmtree(run.folder, ignore_errors=True)

    # -------------------------------------------------------------- results

    def step_result(self, key: str) -> dict[str, Any] | None:
        """Return the result stored under a step's key, or None."""
        with Session(self._engine) as session:
            row = session.get(ResultRow, key)
            return row.value if row else None

    def save_step_result(self, run_id: str, name: str, key: str, value: dict[str, Any] | None = None) -> None:
        """Store a step's result (unless it is already there) and link it to a run under a name."""
        if value is not None:
            self._insert_once(key, ResultRow(key=key, value=value, created=now()))
        self._insert_once((run_id, name), RunResultRow(run_id=run_id, name=name, key=key))
        link = (RunResultRow.run_id == run_id) & (RunResultRow.name == name)
        with Session(self._engine) as session, session.begin():
            session.execute(update(RunResultRow).where(link).values(key=key))

    def step_results(self, run_id: str) -> dict[str, dict[str, Any]]:
        """Return all results linked to a run by name."""
        query = (
            select(RunResultRow.name, ResultRow.value)
            .join(ResultRow, ResultRow.key == RunResultRow.key)
            .where(RunResultRow.run_id == run_id)
        )
        with Session(self._engine) as session:
            return {row[0]: row[1] for row in session.execute(query)}

    def opened_labels(self, study: Study, seed: int) -> int:
        """Return how many labels pilots have opened of a study's data: the first ones in the order of this seed.

        Data and seed alone make the order: pilots of any model and learner count, of another question about the data
        too, and those that were stopped. The rows' identifiers are no part of it.
        """
        parts = replace(study.roles, id=None)
        # The same bytes under another ending are the same labels.
        pool = study.pool_file.sha256 if study.pool_file else None
        files = (func.substr(StudyRow.labels_hash, 1, 64) == study.labels_file.sha256) & (
            func.substr(StudyRow.pool_hash, 1, 64) == pool
        )
        query = (
            select(StudyRow.roles, RunRow.settings, RunResultRow.name)
            .join(RunRow, RunRow.study_id == StudyRow.id)
            .join(RunResultRow, RunResultRow.run_id == RunRow.id)
            .where(files, RunResultRow.name.startswith("trial "))
        )
        with Session(self._engine) as session:
            made = [
                name.split()
                for roles, settings, name in session.execute(query)
                if replace(Roles.from_dict(roles), id=None) == parts and settings.get("seed", 0) == seed
            ]
        # "trial LEARNER OPENED SIZE SEED"
        return max((int(words[2]) for words in made if len(words) == 5), default=0)


def _file_path(digest: str, name: str) -> Path:
    # The ending is kept: readers tell the format by it.
    return home() / "files" / f"{digest[:64]}{Path(name).suffix.lower()}"


def _write(data: bytes, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{secrets.token_hex(4)}.part")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _reason(error: Exception) -> str:
    """What the system or the database says of a fault, in a line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(getattr(error, "orig", None) or error).splitlines()[0]


def _refuse_under_way(run: Run) -> None:
    if not run.is_finished:
        raise RunError(f"Run {run.id} is still under way; stop it before deleting it.")


def _run(row: RunRow) -> Run:
    return Run(
        id=row.id,
        study_id=row.study_id,
        kind=cast(RunKind, row.kind),
        settings=RunSettings.from_dict(row.settings),
        state=RunState(row.state),
        stage=row.stage,
        progress=row.progress,
        error=row.error,
        created=row.created,
        started=row.started,
        finished=row.finished,
        heartbeat=row.heartbeat,
        pid=row.pid,
        pid_started=row.pid_started,
        stop_requested=row.stop_requested,
        keep=row.keep,
    )


def open_store(url: str | None = None) -> Store:
    """Open the store and bring its tables up to date.

    Args:
        url: SQLAlchemy URL; default `LABELWISE_DATABASE_URL`, else SQLite in the user's data folder.

    Raises:
        RunError: The database cannot be opened, or a newer version has made it.
    """
    url = url or os.environ.get("LABELWISE_DATABASE_URL") or f"sqlite:///{home() / 'labelwise.db'}"
    try:
        engine = create_engine(url, **({"connect_args": {"timeout": 30}} if url.startswith("sqlite") else {}))
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _set_sqlite_pragmas)
        _migrate(engine)
    except CommandError as error:
        sentence = "The store was made by a newer Labelwise; update Labelwise, or set LABELWISE_HOME to another folder."
        raise RunError(sentence) from error
    except (SQLAlchemyError, ImportError, OSError) as error:
        sentence = f"The store cannot be opened ({_reason(error)}); check LABELWISE_DATABASE_URL or LABELWISE_HOME."
        raise RunError(sentence) from error
    return Store(engine)


def _set_sqlite_pragmas(connection: Any, _record: object) -> None:
    # WAL lets pages read while a worker writes; foreign keys are off in SQLite unless asked for.
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=30000"):
        connection.execute(f"PRAGMA {pragma}")


def _migrate(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", "engine.runs:migrations")
    head = ScriptDirectory.from_config(config).get_current_head()
    # Two processes may open a new store at once: one migrates, the other waits and finds it done.
    with FileLock(home() / "migration.lock"), engine.connect() as connection:
        if MigrationContext.configure(connection).get_current_revision() != head:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
