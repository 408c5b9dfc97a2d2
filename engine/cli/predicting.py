"""The command that predicts a further pool with the models of a run."""

from __future__ import annotations

import subprocess
import sys
from argparse import Namespace as Arguments
from contextlib import suppress


def predict(options: Arguments) -> int:
    """Predict a Parquet file of any size; the models are loaded in a process of their own."""
    command = [sys.executable, "-m", "engine.worker.predicting", options.run, str(options.pool), options.text or ""]
    command += [str(options.output), *(f"--{name}" for name in ("json", "force") if getattr(options, name))]
    with subprocess.Popen(command) as process:
        while True:
            with suppress(KeyboardInterrupt):  # which the process hears too, and says how to go on
                return process.wait()
