"""The tables of the store. Every change of them is an Alembic migration in `migrations/versions`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, DateTime, Float, ForeignKey, Index, String, Text, false
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """Base of all tables; dictionaries are stored as JSON, times as UTC without a zone."""

    type_annotation_map = {dict[str, Any]: JSON, datetime: DateTime, str: String, float: Float}  # noqa: RUF012 (SQLAlchemy's own form)


class FileRow(Base):
    """A user's file, kept under the SHA-256 of its content, and its ending where that content has another one too."""

    __tablename__ = "files"
    hash: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    size: Mapped[int]
    created: Mapped[datetime]


class StudyRow(Base):
    """Data, column roles and question."""

    __tablename__ = "studies"
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    labels_hash: Mapped[str] = mapped_column(ForeignKey("files.hash"))
    pool_hash: Mapped[str | None] = mapped_column(ForeignKey("files.hash"))
    roles: Mapped[dict[str, Any]]
    question: Mapped[dict[str, Any]]
    skewed: Mapped[bool] = mapped_column(default=False, server_default=false())
    created: Mapped[datetime]


class RunRow(Base):
    """One run: what was asked, where it stands, which process does it."""

    __tablename__ = "runs"
    id: Mapped[str] = mapped_column(primary_key=True)
    study_id: Mapped[str] = mapped_column(ForeignKey("studies.id"), index=True)
    kind: Mapped[str]
    settings: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(index=True)
    stage: Mapped[str] = mapped_column(Text)
    progress: Mapped[float]
    error: Mapped[str | None] = mapped_column(Text)
    created: Mapped[datetime]
    started: Mapped[datetime | None]
    finished: Mapped[datetime | None]
    heartbeat: Mapped[datetime | None]
    pid: Mapped[int | None]
    pid_started: Mapped[float | None]
    stop_requested: Mapped[datetime | None]
    keep: Mapped[bool]


class ResultRow(Base):
    """The result of one step, under a hash of everything that determines it."""

    __tablename__ = "results"
    key: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[dict[str, Any]]
    created: Mapped[datetime]


class RunResultRow(Base):
    """Which step results belong to a run, and under which name."""

    __tablename__ = "run_results"
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(ForeignKey("results.key"))

    __table_args__ = (Index("ix_run_results_key", "key"),)


class LabellingRow(Base):
    """Texts of a study's pool that someone labels on the page: which, why these, and what may be answered."""

    __tablename__ = "labellings"
    id: Mapped[str] = mapped_column(primary_key=True)
    study_id: Mapped[str] = mapped_column(ForeignKey("studies.id"), index=True)
    settings: Mapped[dict[str, Any]]
    selection: Mapped[dict[str, Any] | None]
    created: Mapped[datetime]


class AnswerRow(Base):
    """The answer about one text of a labelling; null where it was skipped."""

    __tablename__ = "answers"
    labelling_id: Mapped[str] = mapped_column(ForeignKey("labellings.id"), primary_key=True)
    row: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    answer: Mapped[str | None]
    at: Mapped[datetime]
