"""A run with all that its steps share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from engine.data import Dataset
from engine.data.sealing import Sealing
from engine.learning.decoders import can_be_asked
from engine.learning.files import files_of, known_as
from engine.learning.learners import Learner, Workbench
from engine.learning.tracking import Tracker
from engine.learning.training import LossReport
from engine.runs import Run, RunSettings, Store, Study, fingerprint, home
from engine.runs.progress import ProgressReport

LOADING, COSLOW, PILOT = "Loading the model", "Measuring CoS-Low", "Pilot: trials at growing sizes"
READING, CURVE = "Reading the pool with the model", "Measuring the curve"
MODELS, ESTIMATE = "Fitting models and predicting the pool", "Rectifying"

# Part of every key: results of an older way of computing them are not taken for today's.
VERSION = 11
_LOSSES = "fit,step,loss,rate\n"


@dataclass
class Job:
    """A run with all that its steps share."""

    store: Store
    run: Run
    study: Study
    dataset: Dataset
    sealing: Sealing
    report: ProgressReport
    tracker: Tracker = field(default_factory=Tracker)

    @property
    def settings(self) -> RunSettings:
        """The run's settings."""
        return self.run.settings

    @property
    def classes(self) -> int | None:
        """Number of classes; None for numbers."""
        return len(self.dataset.classes) if self.dataset.classes else None

    @cached_property
    def bench(self) -> Workbench:
        """The loaded model; loaded only once a step is not stored yet."""
        return Workbench.open(self.settings.model, home() / "cache", self.settings.keep)

    @cached_property
    def can_be_asked(self) -> bool:
        """Whether the model writes its answers; it is not loaded for that."""
        return can_be_asked(self.settings.model)

    @cached_property
    def weights(self) -> str:
        """What tells the model's weights from others, as they were when this was first asked."""
        return known_as(self.settings.model)

    @cached_property
    def files(self) -> dict[str, str]:
        """Hashes of the model's files, likewise: what it is made of, wherever it lies."""
        return files_of(self.settings.model)

    @property
    def read(self) -> list[str]:
        """What a fit depends on beside texts, labels and learner: the model, the end it keeps, the label's name."""
        return [self.weights, self.settings.keep, self.study.roles.label]

    def learner(self) -> Learner:
        """Return the learner that the settings name, for the study's labels."""
        settings = self.settings
        return self.bench.learner(settings.learner, settings.objective, self.dataset.classes, self.study.roles.label)

    def loss_report(self, fit: str) -> LossReport:
        """Return what takes the loss of each step of a fit of this name: for the pages, and for the tracker."""
        path, told = self.run.folder / "losses.csv", self.tracker.steps_of(fit)
        # Of a run of an earlier day, which had no rates, the losses begin anew.
        if not path.exists() or not path.read_text("utf-8").startswith(_LOSSES):
            path.write_text(_LOSSES, encoding="utf-8")

        def write(step: int, loss: float, rate: float) -> None:
            told(step, loss, rate)
            with path.open("a", encoding="utf-8") as file:
                file.write(f"{fit},{step},{loss:.6g},{rate:.6g}\n")

        return write

    def step(self, name: str, inputs: list[object], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return the stored result of a step with these inputs on this data, or compute and store it."""
        key = self._key(inputs)
        value = self.store.step_result(key)
        if value is None:
            value = compute()
        self.store.save_step_result(self.run.id, name, key, value)
        return value

    def is_stored(self, inputs: list[object]) -> bool:
        """Return whether a step with these inputs need not be computed."""
        return self.store.step_result(self._key(inputs)) is not None

    def _key(self, inputs: list[object]) -> str:
        return fingerprint(VERSION, self.dataset.key, self.read, self.settings.seed, self.classes, *inputs)

    def record(self, name: str, value: dict[str, Any]) -> None:
        """Store a result that belongs to this run alone."""
        self.store.save_step_result(self.run.id, name, fingerprint(self.run.id, name, value), value)

    @property
    def device(self) -> str:
        """Where the model ran; "cpu" where every step was already stored and no model was loaded."""
        return str(self.bench.encoder.device) if "bench" in self.__dict__ else "cpu"
