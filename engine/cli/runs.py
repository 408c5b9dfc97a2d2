"""The commands on runs: list, show, stop, resume, delete."""

from __future__ import annotations

import json
from argparse import Namespace as Arguments
from time import sleep
from typing import Any

from engine.cli import commands, selecting
from engine.cli.following import run_record
from engine.cli.studies import answer_told
from engine.errors import ArgumentError, RunError
from engine.runs import Run, RunState, Store, open_store, read_results, reconcile, resume_run, stop_run


def list(options: Arguments) -> None:
    """Print all runs, newest first."""
    store = open_store()
    reconcile(store)
    runs = store.runs()
    if options.json:
        print(json.dumps({"runs": [run_record(run) for run in runs]}))
        return
    for run in runs:
        name = store.study(run.study_id).name
        print(f"{run.id}  {run.created:%Y-%m-%d %H:%M}  {run.kind:10}  {run.state:11}  {run.progress:4.0%}  {name}")
    if not runs:
        print("There are no runs yet; `labelwise demo` makes one.")


def show(options: Arguments) -> None:
    """Print state, results and log of a run."""
    store = open_store()
    reconcile(store)
    run = store.run(options.run)
    results = read_results(store, run)
    if options.json:
        parts: dict[str, Any] = {"run": run_record(run)}
        for name in ("efficiency", "plan", "estimate"):
            value = getattr(results, name)
            parts[name] = value.to_dict() if value is not None else None
        print(json.dumps(parts))
        return
    print(f"Run {run.id} ({run.kind}) is {run.state}: {run.stage}, {run.progress:.0%}.")
    said = [run.error, results.selection and results.selection.why, results.plan and results.plan.why]
    if results.efficiency:
        usual = results.efficiency.usual_words()
        said += [results.efficiency.summary(), usual and f"{usual}."]
    if results.estimate:
        said.append(answer_told(results.estimate, store.study(run.study_id)))
    for sentence in said:
        if sentence:
            print(sentence)
    print(f"\nLog ({run.log}):\n{run.log_tail(40)}")


def stop(options: Arguments) -> None:
    """Stop a run and wait until it has ended."""
    store = open_store()
    run = store.run(options.run)
    if run.is_finished:
        raise RunError(f"Run {run.id} is {run.state} already.")
    stop_run(store, run.id, keep=not options.discard)
    _say(options, _settled(store, run.id))


def resume(options: Arguments) -> None:
    """Go on with a stopped run; where an output is named, to its end, and write what came of it there."""
    store = open_store()
    reconcile(store)
    if options.output is None:
        _say(options, resume_run(store, options.run))
        return
    run = store.run(options.run)
    if run.kind == "select":
        selecting.check_output(options.output, store.study(run.study_id).roles.label, options.force)
        selecting.finish(options, store, _taken_up(store, run))
    elif run.kind == "run":
        commands.make_folder(options.output)
        commands.finish(options, store, _taken_up(store, run))
    else:
        raise ArgumentError(f"Run {run.id} ({run.kind}) writes nothing into a folder or a file; leave -o out.")


def _taken_up(store: Store, run: Run) -> Run:
    """Go on with a run, if need be once it has stopped; one that has its result by now is left as it is."""
    if run.state is RunState.STOPPING:
        run = _settled(store, run.id) or run
    return run if run.state is RunState.FINISHED else resume_run(store, run.id)


def delete(options: Arguments) -> None:
    """Delete a run with its results."""
    store = open_store()
    reconcile(store)
    run = store.run(options.run)
    store.delete_run(run.id)
    _say(options, None, f"Run {run.id} is deleted.")


def _say(options: Arguments, run: Run | None, sentence: str | None = None) -> None:
    if options.json:
        print(json.dumps({"run": run_record(run) if run else None}))
    else:
        print(sentence or (f"Run {run.id} is {run.state}." if run else "The run is stopped and deleted."))


def _settled(store: Store, run_id: str) -> Run | None:
    """Wait for a run that was asked to stop; None if it was discarded."""
    while True:
        reconcile(store)
        runs = [run for run in store.runs() if run.id == run_id]
        if not runs or runs[0].is_finished:
            return runs[0] if runs else None
        sleep(0.3)
