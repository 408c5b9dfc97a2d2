"""Passing a run's figures on to TensorBoard, MLflow or Weights & Biases, through accelerate's trackers.

Passed on are the run's settings (numbers, and the names of learner, model, objective and strategy), the loss and the
learning rate of each step, and the residual variance of each fit. No text, label or prediction leaves the machine.
Where a service keeps them is for its own environment variables to say (MLFLOW_TRACKING_URI, WANDB_MODE); the events of
TensorBoard lie in the run's folder. A run that is resumed is the same there, and goes on with the step after its last.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.tracking import GeneralTracker, MLflowTracker, TensorBoardTracker, WandBTracker

from engine.errors import RunError
from engine.learning.training import LossReport

_PROJECT = "labelwise"
_EVENTS, _TOLD = "events", "tracked.json"
_FIGURES_ALONE = {"console": "off", "save_code": False, "disable_git": True}  # else W&B sends what the run prints too

# Of the run's name, its folder, and the name under which MLflow keeps it, once there is one.
_MADE: dict[str, Callable[[str, Path, str | None], GeneralTracker]] = {
    "tensorboard": lambda _run, folder, _own: TensorBoardTracker(_EVENTS, folder),
    "mlflow": lambda run, _folder, own: MLflowTracker(_PROJECT, run_id=own, run_name=run),
    "wandb": lambda run, folder, _own: WandBTracker(
        _PROJECT, name=run, id=run, resume="allow", dir=str(folder), settings=_FIGURES_ALONE
    ),
}


class Tracker:
    """Passes figures on to a service, or to none.

    Args:
        service: Where they go; None passes nothing on.
        step: The last that was passed on before.
        note: Called with each step before it is passed on.
    """

    def __init__(
        self, service: GeneralTracker | None = None, step: int = 0, note: Callable[[int], None] = lambda _step: None
    ) -> None:
        self._service, self._step, self._note = service, step, note

    def steps_of(self, fit: str) -> LossReport:
        """Return what takes the loss and the learning rate of each step of a fit of this name."""

        def report(_step: int, loss: float, rate: float) -> None:
            self.log({f"{fit}/loss": loss, f"{fit}/learning_rate": rate})

        return report

    def log(self, values: dict[str, float]) -> None:
        """Pass figures on; each call is one step, since not every service lets fits count steps of their own.

        A service that fails costs the run its figures there and nothing else.
        """

        def pass_on(service: GeneralTracker) -> None:
            self._step += 1
            self._note(self._step)
            service.log(values, step=self._step)

        self._tell(pass_on)

    def finish(self) -> None:
        """Tell the service that no more will come."""
        self._tell(lambda service: service.finish())

    def _tell(self, call: Callable[[GeneralTracker], None]) -> None:
        if self._service is None:
            return
        try:
            call(self._service)
        except Exception as fault:  # noqa: BLE001 (the services raise what they like)
            print(f"         {self._service.name} takes no more figures ({_first_line(fault)}); the run goes on")
            self._service = None


@contextmanager
def tracked(service: str, run: str, settings: dict[str, Any], folder: Path) -> Iterator[Tracker]:
    """Pass the figures of a run on while the context lasts.

    Args:
        service: "tensorboard", "mlflow" or "wandb"; empty passes nothing on.
        run: The run's name there.
        settings: Its settings; what is neither number nor name is left out.
        folder: The run's folder.

    Raises:
        RunError: The service cannot be started.
    """
    tracker = _started(service, run, settings, folder) if service else Tracker()
    try:
        yield tracker
    finally:
        tracker.finish()


def _started(service: str, run: str, settings: dict[str, Any], folder: Path) -> Tracker:
    PartialState()  # of which accelerate's log asks whether this is the main process
    path = folder / _TOLD
    told: dict[str, Any] = {"step": 0, "own": None}
    if path.exists():
        told = json.loads(path.read_text(encoding="utf-8"))

    def start(own: str | None) -> GeneralTracker:
        made = _MADE[service](run, folder, own)
        made.start()
        return made

    try:
        try:
            made, known = start(told["own"]), path.exists()
        except Exception:
            if told["own"] is None:
                raise
            made, known = start(None), False  # deleted there since, or kept elsewhere now
        if not known:
            made.store_init_configuration(
                {name: v for name, v in settings.items() if isinstance(v, bool | int | float | str)}
            )
        own = made.tracker.info.run_id if isinstance(made, MLflowTracker) else None
    except Exception as fault:  # the services raise what they like
        raise RunError(
            f"{service} could not be started ({_first_line(fault)}); set it up as its own documentation says, or "
            "report to nothing."
        ) from fault

    def note(step: int) -> None:
        part = path.with_suffix(".part")
        part.write_text(json.dumps({"step": step, "own": own}), encoding="utf-8")
        os.replace(part, path)

    note(told["step"])
    return Tracker(made, told["step"], note)


def _first_line(fault: Exception) -> str:
    return (str(fault).strip().splitlines() or [type(fault).__name__])[0].rstrip(".")
