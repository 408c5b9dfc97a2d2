"""The store of studies and runs, and the processes that execute them."""

from engine.runs.launching import reconcile, resume_run, start_run, stop_run
from engine.runs.preflight import Preflight, preflight
from engine.runs.results import Results, read_results
from engine.runs.sample import sample_study
from engine.runs.states import (
    DEFAULT_MODEL,
    Question,
    Run,
    RunSettings,
    RunState,
    StoredFile,
    Study,
    application,
    home,
)
from engine.runs.store import Store, fingerprint, now, open_store

__all__ = [
    "DEFAULT_MODEL",
    "Preflight",
    "Question",
    "Results",
    "Run",
    "RunSettings",
    "RunState",
    "Store",
    "StoredFile",
    "Study",
    "application",
    "fingerprint",
    "home",
    "now",
    "open_store",
    "preflight",
    "read_results",
    "reconcile",
    "resume_run",
    "sample_study",
    "start_run",
    "stop_run",
]
