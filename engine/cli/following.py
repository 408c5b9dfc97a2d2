"""Following a run from the terminal."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from typing import Any

from tqdm import tqdm

from engine.errors import ArgumentError, RunError
from engine.runs import Run, RunState, Store, reconcile, split_caution, stop_run


def follow(store: Store, run: Run, output: Path | None = None, *, force: bool = False) -> Run:
    """Show a run's progress until it ends; say before that where it does not do what was set.

    Args:
        store: The open store.
        run: The run.
        output: Where what comes of it is to be written, so that whoever stops it is told how to get there yet.
        force: Whether that may be overwritten.

    Raises:
        RunError: It did not finish; the sentence says why and how to go on.
    """
    if run.settings.finetune is not None:
        study = store.study(run.study_id)
        opened = store.opened_labels(study, run.settings.seed)
        if caution := split_caution(study.dataset(needs_pool=False).n, run.settings, opened):
            print(caution, file=sys.stderr)
    bar = tqdm(total=100, disable=None, bar_format="{desc} {percentage:3.0f}% |{bar}| {elapsed}{postfix}")
    try:
        while not run.is_finished:
            sleep(0.4)
            reconcile(store)
            run = store.run(run.id)
            bar.set_description_str(run.stage, refresh=False)
            bar.set_postfix_str(f", {run.seconds_left:.0f} s left" if run.seconds_left else "", refresh=False)
            bar.update(100 * run.progress - bar.n)
    except KeyboardInterrupt:
        stop_run(store, run.id)
        raise RunError(f"Stopped; `{_resuming(run, output, force)}` goes on with it.") from None
    finally:
        bar.close()
    if run.state is not RunState.FINISHED:
        reason = run.error or f"The run is {run.state}."
        raise RunError(f"{reason} (run {run.id}; `labelwise runs show {run.id}` prints its log)")
    return run


def _resuming(run: Run, output: Path | None, force: bool) -> str:
    words = ["labelwise", "runs", "resume", run.id, *(["-o", str(output)] if output else [])]
    return shlex.join([*words, *(["--force"] if force else [])])


@contextmanager
def writing_told(output: Path, kind: str) -> Iterator[None]:
    """Say in a sentence that an output, a file or a folder, cannot be written, before any work is done for it.

    Raises:
        ArgumentError: It cannot.
    """
    try:
        yield
    except OSError as fault:
        raise ArgumentError(f"{output} cannot be written ({fault.strerror}); name another {kind} with -o.") from None


def not_written(run: Run, output: Path, other: str, fault: OSError) -> ArgumentError:
    """Return what is to be raised where the results of a finished run cannot be written: they need not be made again.

    Args:
        run: The run.
        output: Where they were to be written.
        other: A word for another such place.
        fault: Why they were not.
    """
    place = fault.filename2 or fault.filename or output
    why = fault.strerror or fault
    command = shlex.join(["labelwise", "runs", "resume", run.id, "-o", other])
    return ArgumentError(f"{place} cannot be written ({why}); `{command}` writes what came of the run elsewhere.")


def run_record(run: Run) -> dict[str, Any]:
    """Return a run as a dictionary fit for JSON."""
    return {
        "id": run.id,
        "study": run.study_id,
        "kind": run.kind,
        "state": run.state.value,
        "stage": run.stage,
        "progress": run.progress,
        "error": run.error,
        "settings": run.settings.to_dict(),
        "folder": str(run.folder),
        "created": run.created.isoformat(),
        "finished": run.finished.isoformat() if run.finished else None,
    }
