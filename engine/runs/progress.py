"""A worker's reports to the store: stage, share done, heartbeat; and the user's wish to stop, heard at each report."""

from __future__ import annotations

import signal
import threading
from time import monotonic
from types import FrameType

from engine.errors import RunStopped
from engine.runs.states import RunState
from engine.runs.store import Store, now

_SECONDS_BETWEEN_WRITES = 0.5
_SECONDS_BETWEEN_HEARTBEATS = 5.0
_LEAP = 0.02


class ProgressReport:
    """Tells the store how far a run is.

    Args:
        store: The open store.
        run_id: The run.
        stages: Expected seconds of each stage by its sentence, in order.
    """

    def __init__(self, store: Store, run_id: str, stages: dict[str, float]) -> None:
        self._store, self._run_id = store, run_id
        self._stages, self._total = dict(stages), max(sum(stages.values()), 1e-9)
        self._stage, self._before, self._written, self._done = "", 0.0, 0.0, 0.0
        self._stop, self._ended = threading.Event(), threading.Event()

    def listen(self) -> None:
        """Hear SIGTERM as the wish to stop, and send heartbeats until `end` even while a stage is silent."""
        signal.signal(signal.SIGTERM, self._asked_to_stop)
        threading.Thread(target=self._beat, daemon=True).start()

    def expect(self, stages: dict[str, float]) -> None:
        """Set the expected seconds of stages once they are known better."""
        self._stages.update(stages)
        self._total = max(sum(self._stages.values()), 1e-9)

    def stage(self, sentence: str) -> None:
        """Begin a stage; those before it are done."""
        if self._stage:
            self._before += self._stages.get(self._stage, 0.0)
        self._stage, self._written = sentence, 0.0
        print(f"{now():%H:%M:%S} {sentence}", flush=True)
        self(0.0)

    def __call__(self, share: float) -> None:
        """Report the share of the present stage that is done; the run's own never falls, whatever is expected now.

        Raises:
            RunStopped: The user asked the run to stop.
        """
        if self._stop.is_set():
            raise RunStopped("The run was stopped; what it had computed is kept.")
        done = min((self._before + self._stages.get(self._stage, 0.0) * min(share, 1.0)) / self._total, 0.99)
        # A leap, over what was stored, is told at once: time left is reckoned from it.
        if monotonic() - self._written < _SECONDS_BETWEEN_WRITES and done < self._done + _LEAP:
            return
        self._written, self._done = monotonic(), max(done, self._done)
        self._store.update_run(self._run_id, stage=self._stage, progress=self._done, heartbeat=now())

    def end(self) -> None:
        """Send no more heartbeats."""
        self._ended.set()

    def _asked_to_stop(self, _signal: int, _frame: FrameType | None) -> None:
        self._stop.set()

    def _beat(self) -> None:
        while not self._ended.wait(_SECONDS_BETWEEN_HEARTBEATS):
            if self._store.run(self._run_id).state is RunState.STOPPING:
                # The signal may have come before the handler was there.
                self._stop.set()
            self._store.update_run(self._run_id, heartbeat=now())
