"""The processes that a command starts and waits for."""

from __future__ import annotations

import signal
import subprocess
from contextlib import suppress


def carry_out(command: list[str]) -> int:
    """Start a process, wait for its end and return its exit status; what ends this one ends it too.

    It does not hear Ctrl-C itself, unless it comes to ask for it: while it imports what it needs it could answer with a
    traceback only.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed; the process has ended.
    """
    process: subprocess.Popen[bytes] | None = None
    before = signal.signal(signal.SIGINT, signal.SIG_IGN), signal.getsignal(signal.SIGTERM)
    try:
        process = subprocess.Popen(command)
        # Who ends this process means that one, which would keep its port.
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        signal.signal(signal.SIGINT, before[0])
        while True:
            # A signal that comes in the instant before the waiting begins is heard when it ends.
            with suppress(subprocess.TimeoutExpired):
                return process.wait(timeout=1)
    finally:
        if process is not None:
            process.terminate()
            process.wait()
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(number, handler)
