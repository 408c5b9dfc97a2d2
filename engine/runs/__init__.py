"""The store of studies and runs, and the processes that execute them."""

from engine.runs.answers import Answers
from engine.runs.from_answers import labelled_study, selected_table
from engine.runs.labelling import Given, Labelling, Selection
from engine.runs.labelling_store import (
    begin_labelling,
    delete_labelling,
    hand_over,
    labellings,
    open_labelling,
    record_answer,
    selecting_run,
)
from engine.runs.launching import reconcile, resume_run, start_run, stop_run
from engine.runs.preflight import Preflight, preflight, split_caution
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
    "Answers",
    "Given",
    "Labelling",
    "Preflight",
    "Question",
    "Results",
    "Run",
    "RunSettings",
    "RunState",
    "Selection",
    "Store",
    "StoredFile",
    "Study",
    "application",
    "begin_labelling",
    "delete_labelling",
    "fingerprint",
    "hand_over",
    "home",
    "labelled_study",
    "labellings",
    "now",
    "open_labelling",
    "open_store",
    "preflight",
    "read_results",
    "reconcile",
    "record_answer",
    "resume_run",
    "sample_study",
    "selected_table",
    "selecting_run",
    "split_caution",
    "start_run",
    "stop_run",
]
