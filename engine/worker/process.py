"""The worker's process: wait for the machine, do the steps, store how it ended."""

from __future__ import annotations

import os
import traceback
from dataclasses import replace
from datetime import timedelta
from time import sleep

from engine.allocation import Plan
from engine.data import Dataset
from engine.data.sealing import Sealing
from engine.errors import DataError, LabelwiseError, RunStopped
from engine.learning.tracking import tracked
from engine.rectification.dataset import check_estimand, check_population
from engine.runs import Run, RunState, Store, Study, now, open_store, reconcile
from engine.runs.pace import SECONDS_TO_FIT, SECONDS_TO_PREDICT, UNTRAINED, costs_of, pilot_work, strategy_seconds
from engine.runs.preflight import require_labels, require_service
from engine.runs.progress import ProgressReport
from engine.worker.answering import answer
from engine.worker.asking import texts_cut
from engine.worker.calibrating import COSLOW_LABELS, calibration_trials, measure_curve
from engine.worker.coslow import measure_coslow
from engine.worker.job import COSLOW, CURVE, ESTIMATE, LOADING, MODELS, PILOT, READING, Job
from engine.worker.pilot import make_plan, run_pilot
from engine.worker.selecting import MOST_READ, select
from engine.worker.strategies import require_predictions


def _dataset(run: Run, study: Study) -> Dataset:
    """The data as this kind of run needs them."""
    if run.kind == "select":
        try:
            return study.dataset()
        except DataError:
            # Labels are none, too few or faulty: texts can be selected without them.
            return study.unlabelled()
    needs_pool = run.kind not in ("efficiency", "calibration")
    dataset = study.dataset(needs_pool=needs_pool, without_pool=run.settings.without_pool)
    check_estimand(dataset, study.question.estimand)
    if run.kind in ("plan", "run"):
        check_population(dataset, study.question.population)
    require_labels(dataset, run.kind, run.settings)
    return dataset


def _stages(run: Run, dataset: Dataset, sealing: Sealing) -> dict[str, float]:
    """Expected seconds of each stage, before any of them has told its pace."""
    if _untrained(run):
        return {MODELS: 0.5, ESTIMATE: 0.5}
    if run.kind == "select":
        return {LOADING: 6.0, READING: SECONDS_TO_PREDICT * min(dataset.m, MOST_READ)}
    embed, pace = SECONDS_TO_PREDICT * dataset.n, SECONDS_TO_FIT[run.settings.learner]
    stages = {LOADING: 6.0, COSLOW: 4.0 + embed}
    if run.kind == "calibration":
        costs = costs_of(run.settings)
        work = sum(costs.work(len(train)) for _, train, _ in calibration_trials(dataset, sealing))
        return {**stages, CURVE: embed + pace * work}
    if run.kind != "efficiency":
        stages[PILOT] = pace * pilot_work(run.settings, sealing)
    if run.kind == "run":
        reading = {READING: SECONDS_TO_PREDICT * dataset.m} if run.settings.learner == "probe" else {}
        stages |= {**reading, MODELS: strategy_seconds(run.settings, dataset, pace), ESTIMATE: 0.5}
    return stages


def _tell(job: Job, made: Plan | None) -> None:
    """Carry the strategy out and write the answer into the log."""
    print(f"         {answer(job, made).summary(share=job.classes is not None)}")


def _untrained(run: Run) -> bool:
    """Whether the run asks for no model: then there is nothing to pilot and nothing to plan."""
    return run.kind == "run" and run.settings.strategy in UNTRAINED


def _work(job: Job) -> None:
    if job.run.kind == "select":
        select(job)
        return
    if _untrained(job.run):
        require_predictions(job)
        _tell(job, None)
        if job.settings.strategy == "zero-shot" and job.dataset.predictions is None:
            job.record("details run", {"texts_cut": texts_cut(job), "model": job.settings.model})
        return
    job.report.stage(LOADING)
    coslow = measure_coslow(job)
    if job.run.kind == "calibration":
        measure_curve(job)
    elif job.run.kind != "efficiency":
        law, seconds_per_label = run_pilot(job, coslow)
        made = make_plan(job, law, seconds_per_label)
        if job.run.kind == "run":
            _tell(job, made)
    facts = {"cores": os.cpu_count(), "pilot_labels": job.sealing.pilot_size}
    if job.run.kind == "run":
        facts["texts_cut"] = texts_cut(job)
    assert job.run.started is not None
    # As the pages tell it: with the work of earlier attempts, without the pauses between them.
    seconds = (now() - job.run.started).total_seconds()
    job.record("details run", {**facts, "seconds": seconds, "device": job.device, "model": job.settings.model})


def execute(run_id: str) -> int:
    """Execute a run to its end, whatever it is; return 0 if the result is stored."""
    store = open_store()
    run = store.run(run_id)
    # Before it was stopped; kept apart from the pause, and from the time that it waits now.
    worked = run.heartbeat - run.started if run.heartbeat and run.started else timedelta()
    store.update_run(run_id, started=now() - worked, heartbeat=now())
    report = ProgressReport(store, run_id, {})
    report.listen()
    live = (RunState.QUEUED, RunState.RUNNING, RunState.STOPPING)
    try:
        require_service(run.settings.report_to)
        _await_turn(store, run_id, report, worked)
        study = store.study(run.study_id)
        dataset = _dataset(run, study)
        sealing = Sealing.of(dataset.key, dataset.n, run.settings.seed, dataset.clusters)
        if run.kind == "calibration":
            sealing = replace(sealing, pilot_size=min(dataset.n, COSLOW_LABELS))
        elif not dataset.m:  # nothing is to be rectified, so nothing is sealed
            sealing = replace(sealing, pilot_size=dataset.n)
        report.expect(_stages(run, dataset, sealing))
        facts = {**run.settings.to_dict(), "kind": run.kind, "labels": dataset.n, "pool": dataset.m}
        with tracked(run.settings.report_to, run_id, facts, run.folder) as tracker:
            _work(Job(store, store.run(run_id), study, dataset, sealing, report, tracker))
        ending = {"to": RunState.FINISHED, "stage": "Finished", "progress": 1.0}
    except RunStopped as stop:
        ending = {"to": RunState.STOPPED, "stage": "Stopped", "error": str(stop)}
    except LabelwiseError as fault:
        ending = {"to": RunState.FAILED, "stage": "Failed", "error": str(fault)}
    except MemoryError:
        sentence = "There was not enough memory; choose the probe, a smaller model or a smaller pool."
        ending = {"to": RunState.FAILED, "stage": "Failed", "error": sentence}
    except Exception as fault:  # noqa: BLE001 (whatever it is, the user is told in a sentence and the log has the rest)
        traceback.print_exc()
        sentence = (
            f"Something went wrong that Labelwise did not foresee ({type(fault).__name__}: {fault}); see the log."
        )
        ending = {"to": RunState.FAILED, "stage": "Failed", "error": sentence}
    report.end()
    store.move_run(run_id, frm=live, finished=now(), heartbeat=now(), **ending)  # type: ignore[arg-type]
    print(f"{now():%H:%M:%S} {ending['stage']}. {ending.get('error', '')}", flush=True)
    return 0 if ending["to"] is RunState.FINISHED else 1


def _await_turn(store: Store, run_id: str, report: ProgressReport, worked: timedelta) -> None:
    """Wait until no other run uses the machine."""
    waiting = False
    while not store.claim_machine(run_id, worked):
        if store.run(run_id).state is RunState.STOPPING:
            raise RunStopped("The run was stopped before it began.")
        if not waiting:
            report.stage("Waiting for another run to end")
            waiting = True
        # The run that holds the machine may have died without a word.
        reconcile(store)
        sleep(0.5)
