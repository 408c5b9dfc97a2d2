"""Starting the processes that a command waits for."""

from __future__ import annotations

import signal
import subprocess


def started(command: list[str]) -> subprocess.Popen[bytes]:
    """Start a process that does not hear Ctrl-C, which who waits for it does, unless it comes to ask for it.

    While it imports what it needs it could answer with a traceback only.
    """
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return subprocess.Popen(command)
    finally:
        signal.signal(signal.SIGINT, before)
