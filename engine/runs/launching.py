"""Starting, stopping and looking after the processes that execute runs.

A worker is a detached process in a session of its own, its output in the run's log file: closing the browser or the
app leaves it alone. What the store says of it is reconciled with the processes that really live.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from datetime import timedelta

import psutil
from filelock import FileLock

from engine.data import prepare
from engine.errors import RunError
from engine.runs.preflight import is_planned, require_labels, require_predictions, require_seed, require_service
from engine.runs.states import Run, RunKind, RunSettings, RunState, Study, home
from engine.runs.store import Store, now

# A worker asked to stop saves and ends within this time, or its whole process group is killed.
STOP_GRACE = timedelta(seconds=20)
# A process that has not yet told its pid may still be importing; after this time it is taken for dead.
START_GRACE = timedelta(seconds=120)

# Threads that spin while they wait slow each other down tenfold as soon as anything else uses the machine.
_PATIENT = {"OMP_WAIT_POLICY": "PASSIVE"}

_LIVE = (RunState.QUEUED, RunState.RUNNING, RunState.STOPPING)


def start_run(store: Store, study: Study, kind: RunKind, settings: RunSettings) -> Run:
    """Start a detached worker on a study.

    An active run of the same study, kind and settings is returned instead of a second one, so that a double click
    starts one run.

    Raises:
        ArgumentError: The seed is none, the service that the run reports to is not installed, the objective does not
            suit the labels, or the strategy zero-shot has no predictions.
        DataError: The labels are fewer than a plan needs.
    """
    require_seed(settings.seed)
    require_service(settings.report_to)
    require_predictions(study.labels_file.name, study.roles.prediction is not None, kind, settings)
    if is_planned(kind, settings):
        # A pool may be long to read, and the labels tell enough.
        require_labels(prepare(study.labels_file.read(), None, study.roles, needs_pool=False), kind, settings)
    with FileLock(home() / "launch.lock"):
        # A run whose worker died is not under way, whatever the store last heard of it.
        reconcile(store)
        for run in store.runs(study.id):
            if not run.is_finished and (run.kind, run.settings) == (kind, settings):
                return run
        run = store.create_run(study.id, kind, settings)
        return _launch(store, run)


def resume_run(store: Store, run_id: str) -> Run:
    """Go on with a run that was stopped, failed or interrupted; steps whose results are stored are not repeated.

    Raises:
        RunError: The run is under way or already has its result.
    """
    with FileLock(home() / "launch.lock"):
        over = (RunState.STOPPED, RunState.FAILED, RunState.INTERRUPTED)
        fresh = {"stage": "Waiting to start", "error": None, "stop_requested": None, "pid": None, "finished": None}
        if not store.move_run(run_id, frm=over, to=RunState.QUEUED, created=now(), keep=True, **fresh):
            state = store.run(run_id).state
            raise RunError(f"Run {run_id} is {state}; only a stopped, failed or interrupted run can be resumed.")
        return _launch(store, store.run(run_id))


def _launch(store: Store, run: Run) -> Run:
    run.folder.mkdir(parents=True, exist_ok=True)
    environment = {**_PATIENT, **os.environ, "LABELWISE_HOME": str(home()), "PYTHONUNBUFFERED": "1"}
    with run.log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "engine.worker", run.id],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment,
            cwd=run.folder,
        )
    _CHILDREN.append(process)
    store.update_run(run.id, pid=process.pid, pid_started=_started(process.pid))
    return store.run(run.id)


# Children are kept so that their exit status is collected: a zombie would look alive to psutil.
_CHILDREN: list[subprocess.Popen[bytes]] = []


def stop_run(store: Store, run_id: str, *, keep: bool = True) -> Run:
    """Ask a run to stop. It saves what it has and ends; `reconcile` kills it if it does not within 20 seconds.

    Args:
        store: The open store.
        run_id: The run.
        keep: Keep what was computed so far, so that the run can be resumed; otherwise the run is deleted once it ended.
    """
    store.move_run(
        run_id,
        frm=(RunState.QUEUED, RunState.RUNNING),
        to=RunState.STOPPING,
        stop_requested=now(),
        keep=keep,
        stage="Stopping",
    )
    run = store.run(run_id)
    process = worker_process(run)
    if run.state is RunState.STOPPING and process is not None:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGTERM)
    reconcile(store)
    return run


def worker_process(run: Run) -> psutil.Process | None:
    """Return the live process of a run, or None. A recycled pid is told apart by its start time."""
    if run.pid is None:
        return None
    try:
        process = psutil.Process(run.pid)
        same = run.pid_started is None or abs(process.create_time() - run.pid_started) < 2
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def reconcile(store: Store) -> None:
    """Bring the store in line with the processes that live: dead workers are interrupted, stubborn ones are killed."""
    for child in list(_CHILDREN):
        if child.poll() is not None:
            _CHILDREN.remove(child)
    for run in store.runs():
        if run.is_finished:
            _discard(store, run)
            continue
        process = worker_process(run)
        if process is None:
            _settle_dead(store, run)
        elif run.state is RunState.STOPPING and run.stop_requested and now() - run.stop_requested > STOP_GRACE:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)


def _settle_dead(store: Store, run: Run) -> None:
    if run.pid is None and now() - run.created < START_GRACE:
        return
    if run.state is RunState.STOPPING:
        store.move_run(run.id, frm=_LIVE, to=RunState.STOPPED, finished=now(), stage="Stopped")
        _discard(store, store.run(run.id))
        return
    error = "The worker process ended before the run was finished; resume it to go on from the last stored step."
    store.move_run(run.id, frm=_LIVE, to=RunState.INTERRUPTED, finished=now(), stage="Interrupted", error=error)


def _discard(store: Store, run: Run) -> None:
    if run.state is RunState.STOPPED and not run.keep and worker_process(run) is None:
        with suppress(RunError):
            store.delete_run(run.id)


def _started(pid: int) -> float | None:
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return None
