"""The command that predicts a further pool with the models of a run."""

from __future__ import annotations

import sys
from argparse import Namespace as Arguments

from engine.cli.processes import carry_out


def predict(options: Arguments) -> int:
    """Predict a Parquet file of any size; the models are loaded in a process of their own."""
    command = [sys.executable, "-m", "engine.worker.predicting", options.run, str(options.pool), options.text or ""]
    command += [str(options.output), *(f"--{name}" for name in ("json", "force") if getattr(options, name))]
    try:
        return carry_out(command)
    except KeyboardInterrupt:
        print("labelwise: stopped; the same command goes on after the last shard.", file=sys.stderr)
        return 130
