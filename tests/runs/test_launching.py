"""Worker processes as the store sees them: double clicks, stubborn and dead workers, recycled pids."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import psutil
import pytest
from made_studies import make_study

from engine.errors import ArgumentError, DataError, RunError
from engine.runs import (
    RunSettings,
    RunState,
    launching,
    now,
    open_store,
    preflight,
    reconcile,
    resume_run,
    split_caution,
    start_run,
    stop_run,
)
from engine.runs.progress import ProgressReport


@pytest.fixture
def store():
    return open_store()


@pytest.fixture
def study(store):
    return make_study(store)


@pytest.fixture
def sleepers(monkeypatch):
    """Stand-ins for workers: processes that sleep, with or without an ear for SIGTERM."""
    started = []

    def start(*, deaf=False):
        ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN); " if deaf else ""
        code = f"import signal, time; {ignore}print('ready', flush=True); time.sleep(600)"
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
        process.stdout.readline()
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()


def running(store, study, process, **changes):
    """A run that the store believes to be done by a process."""
    run = store.create_run(study.id, "plan", RunSettings())
    created = psutil.Process(process.pid).create_time()
    store.update_run(run.id, state="running", started=now(), pid=process.pid, pid_started=created, **changes)
    return run.id


def end(process):
    process.kill()
    process.wait()


def test_a_double_click_starts_one_run(store, study, monkeypatch, sleepers):
    launched = []

    def launch(store_, run):
        launched.append(run.id)
        process = sleepers()
        created = psutil.Process(process.pid).create_time()
        store_.update_run(run.id, pid=process.pid, pid_started=created)
        return store_.run(run.id)

    monkeypatch.setattr(launching, "_launch", launch)
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(lambda _: start_run(store, study, "plan", RunSettings()), range(2))
    assert first.id == second.id
    assert launched == [first.id]
    other = start_run(store, study, "plan", RunSettings(seed=1))
    assert other.id != first.id


def test_too_few_labels_for_a_plan_are_refused_before_anything_starts(store, monkeypatch):
    monkeypatch.setattr(launching, "_launch", lambda _store, run: run)
    few, enough = make_study(store, labels=15), make_study(store, labels=20)
    said = (
        r"^labels\.csv has 15 labels, and a plan needs at least 20; label 5 more, or run with the strategy labels-only"
    )
    for kind in ("plan", "run"):
        with pytest.raises(DataError, match=said):
            start_run(store, few, kind, RunSettings())
        assert start_run(store, enough, kind, RunSettings()).kind == kind
    with pytest.raises(DataError, match=said):
        preflight(few.dataset(), RunSettings(strategy="split"))
    # What needs no plan goes on with ten.
    for kind, strategy in (("run", "labels-only"), ("efficiency", "auto"), ("select", "auto")):
        assert start_run(store, few, kind, RunSettings(strategy=strategy)).kind == kind
    own = make_study(store, labels=15, predictions=True)
    assert start_run(store, own, "run", RunSettings(strategy="zero-shot")).kind == "run"
    assert preflight(few.dataset(), RunSettings(strategy="labels-only")).seconds > 0


def test_zero_shot_without_predictions_is_refused_before_anything_starts(store, study, monkeypatch):
    monkeypatch.setattr(launching, "_launch", lambda _store, run: run)
    asked = RunSettings(strategy="zero-shot")
    for begin in (
        lambda: start_run(store, study, "plan", asked),
        lambda: start_run(store, study, "run", asked),
        lambda: preflight(study.dataset(), asked),
    ):
        with pytest.raises(ArgumentError) as told:
            begin()
        assert str(told.value) == (
            "The strategy zero-shot rectifies predictions, but no prediction column of labels.csv is named and "
            "sentence-transformers/all-MiniLM-L6-v2 does not write answers; name the column (--prediction COLUMN on "
            "the command line, or on the Data page), a model that writes, or another strategy."
        )
    assert store.runs() == ()
    # Of another model only the worker knows whether it writes; and predictions of the data are enough.
    for each, model in ((study, "another"), (make_study(store, predictions=True), asked.model)):
        for kind in ("plan", "run"):
            settings = replace(asked, model=model)
            assert start_run(store, each, kind, settings).settings == settings


def test_a_pool_of_one_text_says_nothing_of_a_larger_population(store):
    data = make_study(store, pool=1).dataset()
    with pytest.raises(DataError, match=r"^The pool has 1 text.*needs at least 2; bring a larger pool, or ask about"):
        preflight(data, RunSettings(strategy="labels-only"), "larger")
    assert preflight(data, RunSettings()).seconds > 0


def test_a_seed_that_no_generator_takes_starts_no_run(store, study, monkeypatch):
    monkeypatch.setattr(launching, "_launch", lambda _store, run: run)
    for seed in (-1, 2**63, 99999999999999999999):
        with pytest.raises(ArgumentError, match=f"^seed is {seed}, but it must lie from 0 to 9223372036854775807"):
            start_run(store, study, "select", RunSettings(seed=seed))
    assert store.runs() == ()
    store.create_run(study.id, "run", RunSettings(seed=-1))  # as on an earlier day; it is still told
    largest = start_run(store, study, "select", RunSettings(seed=2**63 - 1))
    assert {run.settings.seed for run in store.runs()} == {-1, largest.settings.seed}


@pytest.mark.parametrize("fault", [subprocess.TimeoutExpired("nvidia-smi", 20), FileNotFoundError(2, "No such file")])
def test_a_driver_that_hangs_is_no_gpu(monkeypatch, fault):
    told_before = sys.modules["engine.runs.preflight"]  # the package has a function of this name

    def hang(*_arguments, **_options):
        raise fault

    monkeypatch.setattr(told_before.shutil, "which", lambda _name: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(told_before.subprocess, "run", hang)
    told_before.gpu_name.cache_clear()
    assert told_before.gpu_name() is None
    told_before.gpu_name.cache_clear()


def test_long_texts_need_more_memory(study):
    data = study.dataset()
    longer = replace(data, pool_texts=tuple(text * 50 for text in data.pool_texts))
    needed = [preflight(each, RunSettings()).memory_needed for each in (data, longer)]
    assert needed[1] - needed[0] == 8 * 49 * sum(map(len, data.pool_texts))


def test_what_trains_nothing_is_reckoned_without_a_learner(store, study, monkeypatch):
    told_before = sys.modules["engine.runs.preflight"]  # the package has a function of this name
    monkeypatch.setattr(told_before, "gpu_name", lambda: None)
    data, own = study.dataset(), make_study(store, predictions=True).dataset()
    plain = preflight(data, RunSettings(strategy="labels-only"))
    assert plain.memory_needed < preflight(data, RunSettings()).memory_needed
    untrained = {"learner": "lora", "model": "another"}
    for each, strategy in ((data, "labels-only"), (own, "labels-only"), (own, "zero-shot")):
        ahead = preflight(each, RunSettings(strategy=strategy, **untrained))
        assert (ahead.seconds, ahead.memory_needed) == (plain.seconds, plain.memory_needed)
        assert ahead.sentences == ()
    asked = preflight(data, RunSettings(strategy="zero-shot", **untrained))
    assert asked.seconds > plain.seconds
    assert asked.memory_needed > plain.memory_needed
    assert "".join(asked.sentences).startswith("Time and memory were measured with the default model")
    assert "fine-tuning runs on the CPU" in preflight(data, RunSettings(learner="lora")).sentences[0]


def test_a_split_that_cannot_be_as_it_is_set_is_told(store):
    data = make_study(store, labels=400).dataset()
    said = preflight(data, RunSettings(strategy="split", finetune=20)).sentences
    assert said[0] == "The pilot opens 50 labels first, which cannot rectify any more: 50 labels fine-tune, not 20."
    said = preflight(data, RunSettings(strategy="split", finetune=1000)).sentences
    assert said[0] == "At least 10 labels must rectify: 390 labels fine-tune, not 1,000."
    said = split_caution(400, RunSettings(strategy="split", finetune=120), 200)
    assert said == "Earlier pilots opened 200 labels, which cannot rectify any more: 200 labels fine-tune, not 120."
    split = {"strategy": "split"}
    for settings in (split | {"finetune": 50}, split | {"finetune": 390}, split, {"finetune": 20}):
        said = "".join(preflight(data, RunSettings(**settings)).sentences)
        assert "pilot" not in said
        assert "rectify" not in said


def test_an_objective_of_classes_is_refused_for_numbers_before_anything_starts(store, study, monkeypatch):
    monkeypatch.setattr(launching, "_launch", lambda _store, run: run)
    asked = RunSettings(learner="lora", objective="cross-entropy")
    for begin in (lambda: start_run(store, study, "run", asked), lambda: preflight(study.dataset(), asked)):
        with pytest.raises(ArgumentError, match=r"one of classes, and the labels of labels\.csv are numbers; take var"):
            begin()
    assert start_run(store, make_study(store, kind="classes"), "run", asked).settings == asked
    # Where nothing is fine-tuned no objective counts.
    for idle in (replace(asked, learner="probe"), replace(asked, strategy="labels-only")):
        assert start_run(store, study, "run", idle).settings == idle


def test_a_run_whose_worker_died_is_not_taken_for_one_under_way(store, study, monkeypatch, sleepers):
    process = sleepers()
    dead = running(store, study, process)
    end(process)
    monkeypatch.setattr(launching, "_launch", lambda _store, run: run)
    fresh = start_run(store, study, "plan", RunSettings())
    assert fresh.id != dead
    assert store.run(dead).state is RunState.INTERRUPTED


def test_a_dead_worker_is_interrupted_and_says_so(store, study, sleepers):
    process = sleepers()
    run_id = running(store, study, process)
    reconcile(store)
    assert store.run(run_id).state is RunState.RUNNING
    end(process)
    reconcile(store)
    run = store.run(run_id)
    assert run.state is RunState.INTERRUPTED
    assert run.is_finished
    assert "resume it" in run.error


def test_a_recycled_pid_is_not_mistaken_for_the_worker(store, study, sleepers):
    process = sleepers()
    run_id = running(store, study, process)
    assert launching.worker_process(store.run(run_id)).pid == process.pid
    store.update_run(run_id, pid_started=psutil.Process(process.pid).create_time() - 1000)
    assert launching.worker_process(store.run(run_id)) is None
    reconcile(store)
    assert store.run(run_id).state is RunState.INTERRUPTED
    assert process.poll() is None


def test_stopping_a_stranger_with_the_workers_pid_does_it_no_harm(store, study, sleepers):
    process = sleepers()
    run_id = running(store, study, process)
    store.update_run(run_id, pid_started=1.0)
    stop_run(store, run_id)
    assert store.run(run_id).state is RunState.STOPPED
    assert process.poll() is None


@pytest.mark.parametrize("keep", [True, False])
def test_a_stopped_run_is_kept_or_discarded(store, study, sleepers, keep):
    process = sleepers()
    run_id = running(store, study, process)
    assert stop_run(store, run_id, keep=keep).state is RunState.STOPPING
    assert process.wait() == -signal.SIGTERM
    reconcile(store)
    if keep:
        assert store.run(run_id).state is RunState.STOPPED
    else:
        with pytest.raises(RunError):
            store.run(run_id)


def test_a_worker_that_ignores_the_wish_to_stop_is_killed_after_the_grace(store, study, sleepers, monkeypatch):
    process = sleepers(deaf=True)
    run_id = running(store, study, process)
    stop_run(store, run_id)
    reconcile(store)
    assert process.poll() is None
    monkeypatch.setattr(launching, "STOP_GRACE", timedelta(0))
    reconcile(store)
    assert process.wait() == -signal.SIGKILL
    reconcile(store)
    assert store.run(run_id).state is RunState.STOPPED


def test_a_worker_that_has_not_told_its_pid_has_time_to_start(store, study):
    run = store.create_run(study.id, "plan", RunSettings())
    reconcile(store)
    assert store.run(run.id).state is RunState.QUEUED
    store.update_run(run.id, created=now() - launching.START_GRACE - timedelta(seconds=1))
    reconcile(store)
    assert store.run(run.id).state is RunState.INTERRUPTED


@pytest.mark.parametrize("state", [RunState.RUNNING, RunState.QUEUED, RunState.FINISHED])
def test_only_what_is_over_without_a_result_is_resumed(store, study, state):
    run = store.create_run(study.id, "plan", RunSettings())
    store.update_run(run.id, state=state.value)
    with pytest.raises(RunError, match=state.value):
        resume_run(store, run.id)


def test_stopping_what_is_over_changes_nothing(store, study):
    run = store.create_run(study.id, "plan", RunSettings())
    store.update_run(run.id, state="finished")
    assert stop_run(store, run.id, keep=False).state is RunState.FINISHED
    assert store.run(run.id).keep


def test_progress_counts_stages_and_the_heart_beats_while_a_stage_is_silent(store, study, monkeypatch, capsys):
    from engine.runs import progress

    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_HEARTBEATS", 0.01)
    run = store.create_run(study.id, "plan", RunSettings())
    store.update_run(run.id, state="running", heartbeat=now() - timedelta(hours=1))
    before = signal.getsignal(signal.SIGTERM)
    report = ProgressReport(store, run.id, {"one": 1.0, "two": 3.0})
    try:
        report.stage("one")
        report.stage("two")
        assert store.run(run.id).progress == pytest.approx(0.25)
        assert store.run(run.id).stage == "two"
        store.update_run(run.id, heartbeat=now() - timedelta(hours=1))
        report.listen()
        wait_for(lambda: now() - store.run(run.id).heartbeat < timedelta(minutes=1))
        store.update_run(run.id, state="stopping")
        wait_for(lambda: report._stop.is_set())
        with pytest.raises(RunError, match="stopped"):
            report(0.5)
    finally:
        report.end()
        signal.signal(signal.SIGTERM, before)
    assert "two" in capsys.readouterr().out


def wait_for(condition, seconds=120):
    """Wait until something is so, however slow the machine is."""
    for _ in range(seconds * 20):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("It did not come about.")


@pytest.mark.slow
def test_a_real_worker_killed_in_the_pilot_goes_on_from_its_stored_trials(store, offline_model, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    study = make_study(store, labels=400, pool=200)
    run = start_run(store, study, "run", RunSettings(strategy="cross-fit", folds=3))
    assert start_run(store, study, "run", RunSettings(strategy="cross-fit", folds=3)).id == run.id

    def trials():
        return {name for name in store.step_results(run.id) if name.startswith("trial ")}

    wait_for(lambda: len(trials()) >= 2 or store.run(run.id).is_finished)
    os.killpg(store.run(run.id).pid, signal.SIGKILL)
    wait_for(lambda: reconcile(store) or store.run(run.id).is_finished)
    assert store.run(run.id).state is RunState.INTERRUPTED, store.run(run.id).log_tail()
    kept = trials()
    before = store.run(run.id).log_tail()
    resume_run(store, run.id)
    wait_for(lambda: reconcile(store) or store.run(run.id).is_finished)
    done = store.run(run.id)
    assert (done.state, done.error) == (RunState.FINISHED, None), done.log_tail()
    computed = done.log_tail(10_000).removeprefix(before).count("residual variance")
    # A kill just after a result is stored leaves it without its link to the run: that one is found, not computed.
    assert 0 <= len(trials()) - len(kept) - computed <= 1
    assert "Rectifying" in done.log_tail()


@pytest.mark.slow
def test_a_real_worker_stops_when_asked_and_an_unfit_question_fails_it(store, study, offline_model):
    wrong = store.create_study("w", study.labels_file, study.pool_file, study.roles, type(study.question)("shares"))
    failing = start_run(store, wrong, "efficiency", RunSettings())
    stopping = start_run(store, study, "run", RunSettings())
    stop_run(store, stopping.id)
    wait_for(lambda: reconcile(store) or all(store.run(run.id).is_finished for run in (failing, stopping)))
    assert store.run(failing.id).state is RunState.FAILED
    assert "ask for their mean" in store.run(failing.id).error
    assert store.run(stopping.id).state is RunState.STOPPED
    assert "Traceback" not in store.run(failing.id).log_tail() + store.run(stopping.id).log_tail()
