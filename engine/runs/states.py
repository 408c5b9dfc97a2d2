"""What a study, a question and a run are, as plain values that travel between page, store and worker."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Self

import platformdirs

from engine.data import Dataset, Roles, Table, prepare, read_table
from engine.data.dataset import prepare_pool
from engine.data.matching import labelled_rows
from engine.errors import ArgumentError, DataError, RunError
from engine.runs.answers import Answers

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"

RunKind = Literal["select", "efficiency", "calibration", "plan", "run"]
LEARNERS = ("probe", "lora", "full", "auto")
OBJECTIVES = ("variance", "mean-square", "cross-entropy")
STRATEGIES = ("auto", "labels-only", "zero-shot", "split", "cross-fit")
ESTIMANDS = ("mean", "shares", "quantile", "groups")
POPULATIONS = ("these", "larger")
SERVICES = ("tensorboard", "mlflow", "wandb")
DRAWS = ("confidence", "random")
ENDS = ("beginning", "end")
MOST_SELECTED = 1000


def application() -> Path:
    """Return the folder of app.py, its pages and the sample data: the checkout, or their copy inside the wheel."""
    package = Path(__file__).parents[1]
    return package.parent if (package.parent / "app.py").exists() else package / "dashboard"


def home() -> Path:
    """Return the folder that holds everything of the user's: `LABELWISE_HOME`, or the platform's data folder.

    Raises:
        RunError: The folder is not there and cannot be made.
    """
    chosen = os.environ.get("LABELWISE_HOME")
    folder = Path(chosen).expanduser() if chosen else platformdirs.user_data_path("labelwise", appauthor=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        sentence = f"The folder {folder} cannot be made ({error.strerror}); set LABELWISE_HOME to another."
        raise RunError(sentence) from error
    return folder


class RunState(StrEnum):
    """Where a run stands. A run is finished once its result is stored, not when its process ends."""

    QUEUED = "queued"
    RUNNING = "running"
    STOPPING = "stopping"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"
    INTERRUPTED = "interrupted"

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will happen unless the user resumes the run."""
        return self not in (RunState.QUEUED, RunState.RUNNING, RunState.STOPPING)


def _require(name: str, value: object, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise ArgumentError(f"{name} is {value!r}, but it must be one of {', '.join(valid)}.")


@dataclass(frozen=True)
class Question:
    """What the user wants to know of the whole.

    Attributes:
        estimand: "mean" or "quantile" of numeric labels, "shares" of classes, or "groups": means (of two classes, the
            share of the second) by group with all their differences.
        population: "these" texts (labels and pool are everything) or a "larger" one of which they are a sample.
        confidence: Confidence level of the interval, between 0.5 and 1.
        q: Which quantile, between 0 and 1; 0.5 is the median. Only "quantile" uses it.
    """

    estimand: str = "mean"
    population: str = "these"
    confidence: float = 0.95
    q: float = 0.5

    def __post_init__(self) -> None:
        _require("estimand", self.estimand, ESTIMANDS)
        _require("population", self.population, POPULATIONS)
        if not 0.5 <= self.confidence < 1:
            raise ArgumentError(f"confidence is {self.confidence}, but it must lie from 0.5 to below 1, such as 0.95.")
        if not 0 < self.q < 1:
            raise ArgumentError(f"q is {self.q}, but a quantile lies between 0 and 1; 0.5 is the median.")

    def caution_of_widths(self, classes: int | None) -> str:
        """Say of what a plan foretells the width where that is not all that is asked; empty where it is.

        Args:
            classes: Number of classes; None for numbers.
        """
        if self.estimand == "quantile":
            return (
                "The plan's widths, and what a target takes, are those of the mean; the interval of a quantile has "
                "another width."
            )
        if self.estimand == "groups":
            return (
                "The plan's widths, and what a target takes, are those of all texts together; a group, with fewer "
                "labels, has a wider interval and takes more."
            )
        if classes and classes > 2:
            return (
                "The plan's widths, and what a target takes, are those of a share of average variance; a share near a "
                "half has a wider interval and takes more."
            )
        return ""

    def sentence(self, roles: Roles, rows: int) -> str:
        """Return the question in words, for `rows` texts in all (labels and pool)."""
        label = roles.label.replace("_", " ")
        quantile = "median" if self.q == 0.5 else f"{self.q:g} quantile"
        subject = {
            "mean": f"What is the mean {label}",
            "quantile": f"What is the {quantile} {label}",
            "shares": f"What share has each {label}",
            "groups": f"How does {label} differ by {(roles.group or 'group').replace('_', ' ')} in",
        }[self.estimand]
        whole = f"these {rows:,} texts" if self.population == "these" else f"all texts like these {rows:,}"
        return f"{subject} {whole}?" if self.estimand == "groups" else f"{subject} of {whole}?"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dictionary fit for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class RunSettings:
    """How a run is to be done; stored with the run.

    Attributes:
        learner: "probe" (frozen encoder, closed-form head), "lora", "full", or "auto" (probe and LoRA, blended
            in usual shares until their predictions of labels that they have not seen tell others).
        model: Hub name or folder of the model; a folder is kept as an absolute path, since the worker runs elsewhere.
        objective: Fine-tuning loss: the "variance" of the residual, its "mean-square" or, of classes, "cross-entropy".
        strategy: "auto" takes the plan's recommendation.
        finetune: Number of labels to fine-tune on under "split"; None takes the plan's optimum.
        folds: Number of folds K under "cross-fit".
        seed: Seed of every random draw of the run, from 0 to 2**63 - 1.
        cost_per_label: Price of one label, in the user's currency.
        cost_per_gpu_hour: Price of an hour of compute.
        cost_per_thousand: Price of a thousand predictions, beside the hours they take.
        half_width: Target half-width of the interval in units of the label, if the user has one.
        count: Number of texts to select for labelling, from 1 to 1,000; only "select" uses it and `draw`.
        draw: How they are drawn: by the model's "confidence", from the tenth where it is lowest, or at "random".
        answers: What may be answered about a text, where the labels do not tell; a model that writes is asked for it.
        keep: Which end of a text that is longer than the model reads is kept: its "beginning" or its "end".
        report_to: Service that is passed settings, losses and residual variances, but no text, label or prediction:
            "tensorboard", "mlflow" or "wandb"; empty for none.
        without_pool: Whether rows of the labels file without a label are left out: taken for a pool, they would seal
            labels. Only "efficiency" uses it.
    """

    learner: str = "probe"
    model: str = DEFAULT_MODEL
    objective: str = "variance"
    strategy: str = "auto"
    finetune: int | None = None
    folds: int = 10
    seed: int = 0
    cost_per_label: float = 0.0
    cost_per_gpu_hour: float = 0.0
    cost_per_thousand: float = 0.0
    half_width: float | None = None
    count: int = 32
    draw: str = "confidence"
    answers: Answers | None = None
    keep: Literal["beginning", "end"] = "beginning"
    report_to: str = ""
    without_pool: bool = False

    def __post_init__(self) -> None:
        if self.model != DEFAULT_MODEL and os.path.isdir(self.model):
            object.__setattr__(self, "model", os.path.abspath(self.model))
        _require("learner", self.learner, LEARNERS)
        _require("objective", self.objective, OBJECTIVES)
        _require("strategy", self.strategy, STRATEGIES)
        if not 2 <= self.folds <= 50:
            raise ArgumentError(f"folds is {self.folds}, but it must lie from 2 to 50.")
        if self.finetune is not None and self.finetune < 0:
            raise ArgumentError(f"finetune is {self.finetune}, but it cannot be negative.")
        for name in ("cost_per_label", "cost_per_gpu_hour", "cost_per_thousand"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ArgumentError(f"{name} is {getattr(self, name)}, but it must be a number from zero up.")
        if self.half_width is not None and not 0 < self.half_width < math.inf:
            raise ArgumentError(f"half_width is {self.half_width}, but it must be finite and above zero.")
        _require("draw", self.draw, DRAWS)
        _require("keep", self.keep, ENDS)
        if self.report_to:
            _require("report_to", self.report_to, SERVICES)
        if not 1 <= self.count <= MOST_SELECTED:
            raise ArgumentError(f"count is {self.count}, but it must lie from 1 to {MOST_SELECTED:,}.")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dictionary fit for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild the settings; fields that this version does not know are left out."""
        known = {field.name for field in fields(cls)}
        given = {name: value for name, value in values.items() if name in known}
        if given.get("answers"):
            given["answers"] = Answers.from_dict(given["answers"])
        return cls(**given)


@dataclass(frozen=True)
class StoredFile:
    """A user's file, kept under the hash of its content, and its ending where the same content has another one too."""

    hash: str
    name: str
    path: Path
    size: int

    @property
    def sha256(self) -> str:
        """The SHA-256 of the content, without an ending."""
        return self.hash[:64]

    @property
    def short(self) -> str:
        """A few letters that tell the file from others, for keys of what a page asks about it."""
        return f"{self.hash[:5]}{self.hash[65:]}"

    def read(self) -> Table:
        """Read the file as a table."""
        return read_table(self.path, name=self.name)


@dataclass(frozen=True)
class Study:
    """Data, column roles and question; its id is a hash of them, so the same study is never stored twice.

    `skewed`: all its labels are of texts that the model was least sure of, so that no estimate may rest on them.
    """

    id: str
    name: str
    labels_file: StoredFile
    pool_file: StoredFile | None
    roles: Roles
    question: Question
    created: datetime
    skewed: bool = False

    @property
    def caution(self) -> str | None:
        """What is to be said beside an estimate of this study; None where its labels speak for all texts."""
        if not self.skewed:
            return None
        return (
            "All labels are of texts that the model was least sure of: they tell how far labels carry, but an estimate "
            "from them speaks of hard texts alone. Label texts drawn at random too."
        )

    def tables(self) -> tuple[Table, Table | None]:
        """Read the labels and, where there is one, the pool."""
        return self.labels_file.read(), self.pool_file.read() if self.pool_file else None

    def dataset(self, *, needs_pool: bool = True, without_pool: bool = False) -> Dataset:
        """Read and prepare the data; there need be no pool where nothing is to be estimated.

        Args:
            needs_pool: Whether a study without a pool is refused.
            without_pool: Leave out rows of the labels file without a label, which would else join the pool.

        Raises:
            DataError: The files do not hold what the roles say.
        """
        labels, pool = self.tables()
        labels = labelled_rows(labels, self.roles) if without_pool else labels
        return prepare(labels, pool, self.roles, needs_pool=needs_pool)

    def has_labels(self) -> bool:
        """Whether there are labels enough to work with.

        Raises:
            DataError: Something else is wrong with the files.
        """
        try:
            self.dataset(needs_pool=False)
        except DataError:
            self.unlabelled()
            return False
        return True

    def unlabelled(self) -> Dataset:
        """Read and prepare the pool alone: the study's texts as long as its labels are none or too few.

        Raises:
            DataError: The files hold no text without a label.
        """
        return prepare_pool(*self.tables(), self.roles)


@dataclass(frozen=True)
class Run:
    """One run as the store knew it when it was asked."""

    id: str
    study_id: str
    kind: RunKind
    settings: RunSettings
    state: RunState
    stage: str
    progress: float
    error: str | None
    created: datetime
    started: datetime | None
    finished: datetime | None
    heartbeat: datetime | None
    pid: int | None
    pid_started: float | None
    stop_requested: datetime | None
    keep: bool

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will happen unless the user resumes the run."""
        return self.state.is_finished

    @property
    def folder(self) -> Path:
        """The run's folder: log, losses, predictions, adapters."""
        return home() / "runs" / self.id

    @property
    def log(self) -> Path:
        """The file that takes everything the worker prints."""
        return self.folder / "log.txt"

    @property
    def seconds_left(self) -> float | None:
        """Seconds to go at the pace so far; None until the pace is known."""
        if self.state is not RunState.RUNNING or self.started is None or self.heartbeat is None or self.progress < 0.03:
            return None
        elapsed = (self.heartbeat - self.started).total_seconds()
        return elapsed * (1 - self.progress) / self.progress

    def log_tail(self, lines: int = 200) -> str:
        """Return the last lines of the log; empty while there is none."""
        if not self.log.exists():
            return ""
        text = self.log.read_text(encoding="utf-8", errors="replace")
        # A progress bar rewrites its line with carriage returns: only what it said last is worth reading.
        rows = [row.rsplit("\r", 1)[-1] for row in text.splitlines()]
        return "\n".join(rows[-lines:])
