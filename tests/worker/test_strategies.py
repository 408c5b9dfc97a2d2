"""Whole runs in this process: each kind, each strategy, numbers and classes; and who rectifies what."""

from __future__ import annotations

import json
import shutil
import signal
from collections import Counter
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from made_studies import make_study, rows

from engine.data.sealing import Sealing
from engine.errors import RunStopped
from engine.learning.finetuning import FineTuned
from engine.learning.folds import Fold
from engine.learning.recipe import Recipe
from engine.runs import RunSettings, RunState, Store, home, now, open_store, read_results, sample_study
from engine.runs.progress import ProgressReport
from engine.worker import process
from engine.worker.job import MODELS, Job

STEPS = {
    "efficiency": {"efficiency"},
    "plan": {"efficiency", "law", "plan"},
    "run": {"efficiency", "law", "plan", "estimate"},
}


def finished(in_process, study, kind="run", **settings):
    status, run = in_process(study, kind, RunSettings(**settings))
    assert (status, run.state, run.error) == (0, RunState.FINISHED, None), run.log_tail()
    return run, read_results(open_store(), run), open_store().step_results(run.id)


@pytest.mark.parametrize("data", ["numbers", "classes"])
@pytest.mark.parametrize("kind", ["efficiency", "plan", "run"])
def test_each_kind_stores_what_it_is_asked_for(in_process, store, data, kind, request):
    if kind != "efficiency":
        request.getfixturevalue("quick_coslow")
    study = make_study(store, kind=data)
    run, results, steps = finished(in_process, study, kind, folds=5)
    assert {"efficiency", "law", "plan", "estimate"} & set(steps) == STEPS[kind]
    assert (run.progress, run.stage) == (1.0, "Finished")
    assert -1 <= results.details["coslow"] <= 1
    assert results.details["device"]
    if kind == "efficiency":
        assert results.trials.empty
        return
    pilot = Sealing.of(study.dataset().key, 60, 0).opened(results.plan.finetune_minimum)
    assert len(results.trials) == len(pilot.trials(5))
    assert results.law.label_variance == pytest.approx(results.plan.design.label_variance)
    assert results.plan.finetune_minimum == pilot.pilot_size
    json.dumps(steps)


def truth(study):
    """The mean rating, or the share of each class, over all 260 texts."""
    ratings = np.concatenate([rows(60, 1)[1], rows(200, 2)[1]])
    if study.question.estimand == "mean":
        return ratings.mean()
    names = np.array(["bad", "bad", "middling", "good", "good"])[ratings - 1]
    return np.array([(names == name).mean() for name in ("bad", "good", "middling")])


@pytest.mark.parametrize("data", ["numbers", "classes"])
@pytest.mark.parametrize("strategy", ["labels-only", "zero-shot", "split", "cross-fit"])
def test_each_strategy_answers_and_says_which_rows_did_what(in_process, quick_coslow, store, data, strategy):
    study = make_study(store, kind=data, predictions=True)
    run, results, steps = finished(in_process, study, strategy=strategy, folds=5)
    estimate, used = results.estimate, steps["rows"]
    assert estimate.method == strategy == results.details["strategy"]
    assert (estimate.labels_only is None) == (strategy == "labels-only")
    error = np.abs(np.asarray(estimate.estimate) - truth(study))
    assert (error <= 2 * (np.asarray(estimate.ci_high) - np.asarray(estimate.ci_low))).all()
    if data == "classes":
        assert np.sum(estimate.estimate) == pytest.approx(1)
        assert estimate.names == ("bad", "good", "middling")
    finetune, rectify = set(used["finetune"]), set(used["rectify"])
    assert not finetune & rectify
    assert finetune | rectify == set(range(60))
    assert bool(finetune) == (strategy == "split")
    frame = pd.read_parquet(run.folder / "predictions.parquet")
    assert frame["part"].value_counts().to_dict() == {"pool": 200, "rectify": len(rectify)}
    assert frame.notna().all(axis=None)


def test_cross_fit_uses_every_label_once_and_predicts_it_with_a_model_that_has_not_seen_it(
    in_process, quick_coslow, store, monkeypatch
):
    from engine.learning import learners

    study = make_study(store)
    data, asked, told = study.dataset(), [], Counter()
    fit, predict = learners.Probe.fit, learners.Probed.predict

    def noted_fit(self, texts, y, **options):
        model = fit(self, texts, y, **options)
        asked.append((frozenset(texts), model))
        return model

    def noted_predict(self, texts, *rest, **options):
        seen = next((texts_ for texts_, model in asked if model is self), frozenset())
        assert not seen & set(texts)
        told.update(texts)
        return predict(self, texts, *rest, **options)

    monkeypatch.setattr(learners.Probe, "fit", noted_fit)
    monkeypatch.setattr(learners.Probed, "predict", noted_predict)
    _, results, steps = finished(in_process, study, strategy="cross-fit", folds=5)
    folds = np.array(steps["rows"]["fold"])
    assert np.bincount(folds).tolist() == [12] * 5
    expected = Sealing.of(data.key, 60, 0).folds(5)
    assert all(set(np.flatnonzero(folds == j)) == set(fold) for j, fold in enumerate(expected))
    assert results.estimate.n == 60
    # The models share the pool: each text of it is predicted once.
    assert {told[text] for text in data.pool_texts} == {1}


@pytest.mark.parametrize("strategy", ["split", "cross-fit"])
def test_the_progress_of_a_stage_never_falls_and_ends(in_process, quick_coslow, store, monkeypatch, strategy):
    shares, stage, report = [], ProgressReport.stage, ProgressReport.__call__

    def noted_stage(self, sentence):
        shares.append((sentence, []))
        stage(self, sentence)

    def noted(self, share):
        shares[-1][1].append(share)
        report(self, share)

    monkeypatch.setattr(ProgressReport, "stage", noted_stage)
    monkeypatch.setattr(ProgressReport, "__call__", noted)
    finished(in_process, make_study(store), strategy=strategy, folds=5)
    told = dict(shares)[MODELS]
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1)


def test_a_resumed_run_that_waits_counts_neither_the_pause_nor_the_wait(in_process, quick_coslow, store, monkeypatch):
    study = make_study(store)
    other = store.create_run(study.id, "plan", RunSettings(seed=1))
    store.update_run(other.id, state="running")
    create, earlier = Store.create_run, now() - timedelta(days=2)

    def worked_before(self, *arguments):
        run = create(self, *arguments)
        self.update_run(run.id, started=earlier, heartbeat=earlier + timedelta(seconds=90))
        return run

    monkeypatch.setattr(Store, "create_run", worked_before)
    monkeypatch.setattr(process, "reconcile", lambda store: store.update_run(other.id, state="stopped"))
    run, results, _ = finished(in_process, study, "plan")
    assert timedelta(seconds=90) < run.finished - run.started < timedelta(minutes=10)
    assert results.details["seconds"] == pytest.approx((run.finished - run.started).total_seconds(), abs=1)


def test_losses_of_an_earlier_day_make_room_for_those_of_today(in_process, quick_coslow, store):
    study = make_study(store)
    run = store.create_run(study.id, "run", RunSettings())
    (run.folder / "losses.csv").write_text("fit,step,loss\n0,1,0.9\n", encoding="utf-8")
    job = Job(store, run, study, study.dataset(), Sealing.of(study.dataset().key, 60, 0), lambda _share: None)
    job.loss_report("model 1")(1, 0.8, 0.001)
    job.loss_report("model 1")(2, 0.7, 0.001)
    assert read_results(store, run).losses["loss"].tolist() == [0.8, 0.7]


def test_auto_takes_the_plans_recommendation(in_process, quick_coslow, store):
    _, results, _ = finished(in_process, make_study(store))
    assert results.estimate.method == results.plan.recommended


def test_weights_reach_the_estimate(in_process, quick_coslow, store):
    study = make_study(store, weights=True)
    data = study.dataset()
    _, results, _ = finished(in_process, study, strategy="labels-only")
    assert results.estimate.estimate == pytest.approx(np.average(data.y, weights=data.weights), rel=0.02)


def test_a_second_run_computes_no_trial_again_and_answers_the_same(in_process, quick_coslow, store, monkeypatch):
    from engine.worker import coslow, pilot

    study = make_study(store)
    _, first, _ = finished(in_process, study, strategy="cross-fit", folds=5)

    def refuse(*_args, **_options):
        raise AssertionError("a stored trial was computed again")

    monkeypatch.setattr(pilot, "run_trial", refuse)
    monkeypatch.setattr(coslow, "cos_low", refuse)
    _, again, _ = finished(in_process, study, strategy="cross-fit", folds=5)
    pd.testing.assert_frame_equal(first.trials, again.trials)
    assert again.estimate.estimate == first.estimate.estimate
    # Another seed is another pilot, and another end of a text another text.
    for other in (RunSettings(seed=1), RunSettings(keep="end")):
        status, run = in_process(study, "plan", other)
        assert (status, run.state) == (1, RunState.FAILED)


def test_predictions_of_one_end_of_the_texts_are_not_taken_for_the_others(in_process, quick_coslow, store):
    study, counts = make_study(store), []
    for keep in ("beginning", "end", "end"):
        finished(in_process, study, strategy="cross-fit", folds=3, keep=keep)
        counts.append(len(list((home() / "cache" / "predictions").glob("*.npz"))))
    assert counts == [3, 6, 6]


# ------------------------------------------------------------------- faults


def test_zero_shot_without_predictions_fails_before_any_work(in_process, store):
    status, run = in_process(make_study(store), "run", RunSettings(strategy="zero-shot"))
    assert (status, run.state) == (1, RunState.FAILED)
    assert "no prediction column of labels.csv is named" in run.error
    assert "--prediction COLUMN" in run.error
    assert store.step_results(run.id) == {}


def test_a_question_that_does_not_fit_the_labels_fails_with_a_sentence(in_process, quick_coslow, store):
    study = make_study(store)
    other = store.create_study("wrong", study.labels_file, study.pool_file, study.roles, type(study.question)("shares"))
    status, run = in_process(other, "run", RunSettings())
    assert (status, run.state) == (1, RunState.FAILED)
    assert "numbers" in run.error


def test_fewer_labels_than_a_plan_needs_fail_before_the_pilot_and_suffice_without_one(in_process, store):
    study = make_study(store, labels=15)
    status, run = in_process(study, "run", RunSettings())
    assert (status, run.state) == (1, RunState.FAILED)
    assert "15 labels, and a plan needs at least 20" in run.error
    assert not len(read_results(store, run).trials)
    finished(in_process, study, strategy="labels-only")


@pytest.mark.parametrize(
    ("fault", "words"),
    [(ZeroDivisionError("by nothing"), "did not foresee (ZeroDivisionError: by nothing)"), (MemoryError(), "memory")],
)
def test_an_unforeseen_fault_fails_the_run_in_one_sentence(
    in_process, quick_coslow, store, monkeypatch, fault, words, capfd
):
    from engine.worker import process

    def fail(*_args):
        raise fault

    monkeypatch.setattr(process, "make_plan", fail)
    status, run = in_process(make_study(store), "plan", RunSettings())
    assert (status, run.state, run.stage) == (1, RunState.FAILED, "Failed")
    assert words in run.error
    assert run.error.endswith(".")
    assert "\n" not in run.error
    assert ("Traceback" in capfd.readouterr().err) == isinstance(fault, ZeroDivisionError)


def test_a_run_asked_to_stop_keeps_its_trials_and_goes_on_from_them(in_process, quick_coslow, store, monkeypatch):
    from engine.runs.progress import ProgressReport
    from engine.worker import pilot, process

    done, run_trial = [], pilot.run_trial

    def stop_after_three(*args, **options):
        done.append(args)
        if len(done) == 4:
            reports[-1]._asked_to_stop(15, None)
            reports[-1](0.0)
        return run_trial(*args, **options)

    reports = []

    class Noted(ProgressReport):
        def __init__(self, *args):
            super().__init__(*args)
            reports.append(self)

    monkeypatch.setattr(process, "ProgressReport", Noted)
    monkeypatch.setattr(pilot, "run_trial", stop_after_three)
    study = make_study(store)
    status, run = in_process(study, "plan", RunSettings())
    assert (status, run.state) == (1, RunState.STOPPED)
    assert len(read_results(store, run).trials) == 3
    done.clear()
    total = len(Sealing.of(study.dataset().key, 60, 0).trials(5))
    store.update_run(run.id, state="queued")
    monkeypatch.setattr(pilot, "run_trial", lambda *args, **options: done.append(args) or run_trial(*args, **options))
    assert process.execute(run.id) == 0
    assert len(done) == total - 3


def execute(run):
    """Carry out a run in this process, which hears a stop afterwards as before."""
    signals = signal.getsignal(signal.SIGTERM)
    status = process.execute(run.id)
    signal.signal(signal.SIGTERM, signals)
    return status


def told(run):
    return pd.read_parquet(run.folder / "predictions.parquet")


@pytest.mark.parametrize(("strategy", "fits", "models"), [("split", 1, [2]), ("cross-fit", 4, [3, 2, 1, 0])])
def test_a_run_stopped_while_it_predicts_trains_no_model_again(
    writer, quick_coslow, store, monkeypatch, strategy, fits, models
):
    short = Recipe(rank=4, epochs=1, steps=1, folds=2)
    monkeypatch.setattr(Recipe, "suited", lambda *_, **__: short)
    monkeypatch.setattr("engine.worker.coslow.cos_low_of_decoder", lambda *_arguments, **_options: 0.2)
    study, trained, stops = make_study(store, labels=60, pool=40), [], []
    settings = RunSettings(model=writer, learner="lora", strategy=strategy, folds=4)
    train, predict = Fold.train, FineTuned.predict

    def noted(self, *arguments):
        trained[-1] += 1
        return train(self, *arguments)

    def stopped(self, texts, *arguments, **options):
        predictions = predict(self, texts, *arguments, **options)
        if len(stops) < len(trained) <= fits:
            stops.append(1)
            raise RunStopped("The run was stopped by the user.")
        trained.append(0)
        return predictions

    whole = store.create_run(study.id, "run", settings)
    assert execute(whole) == 0, store.run(whole.id).log_tail()
    shutil.rmtree(home() / "cache" / "predictions")
    monkeypatch.setattr(Fold, "train", noted)
    monkeypatch.setattr(FineTuned, "predict", stopped)
    run = store.create_run(study.id, "run", settings)
    trained.append(0)
    for _ in range(fits):
        assert (execute(run), store.run(run.id).state) == (1, RunState.STOPPED)
        assert any((run.folder / "checkpoints").iterdir())
        store.update_run(run.id, state="queued")
    assert execute(run) == 0, store.run(run.id).log_tail()
    assert (trained, len(stops)) == ([*models, 0], fits)
    pd.testing.assert_frame_equal(told(whole), told(run))
    assert not (run.folder / "checkpoints").exists()


@pytest.mark.parametrize(("strategy", "learner"), [("split", "auto"), ("cross-fit", "lora")])
def test_a_run_stopped_while_it_predicts_reads_no_part_of_the_pool_again(
    writer, quick_coslow, store, monkeypatch, strategy, learner
):
    short = Recipe(rank=4, epochs=1, steps=1, folds=2)
    monkeypatch.setattr(Recipe, "suited", lambda *_, **__: short)
    monkeypatch.setattr("engine.worker.coslow.cos_low_of_decoder", lambda *_arguments, **_options: 0.2)
    monkeypatch.setattr("engine.learning.prediction._PER_PART", 12)
    # A blend that trusted the tiny model nothing would not ask it.
    monkeypatch.setattr("engine.learning.learners.trust", lambda *_arguments, **_options: 0.5)
    study, read, calls, stops = make_study(store, labels=60, pool=40), Counter(), [], (2, 5, 7)
    settings = RunSettings(model=writer, learner=learner, strategy=strategy, folds=4)
    predict = FineTuned.predict

    def noted(self, texts, *arguments, **options):
        calls.append(1)
        if len(calls) in stops:
            raise RunStopped("The run was stopped by the user.")
        read.update(texts)
        return predict(self, texts, *arguments, **options)

    whole = store.create_run(study.id, "run", settings)
    assert execute(whole) == 0, store.run(whole.id).log_tail()
    shutil.rmtree(home() / "cache" / "predictions")
    monkeypatch.setattr(FineTuned, "predict", noted)
    run = store.create_run(study.id, "run", settings)
    for _ in stops:
        assert (execute(run), store.run(run.id).state) == (1, RunState.STOPPED)
        store.update_run(run.id, state="queued")
    assert execute(run) == 0, store.run(run.id).log_tail()
    pd.testing.assert_frame_equal(told(whole), told(run), check_exact=True)
    assert read == Counter(told(run)["text"])
    # What is kept of a fit that is done is its predictions alone.
    assert not (run.folder / "checkpoints").exists()


def test_the_identifiers_of_the_rows_stand_in_the_tables_of_a_run(in_process, store):
    study = sample_study(store)
    data = study.dataset()
    run, *_ = finished(in_process, study, strategy="labels-only")
    labels = pd.read_csv(run.folder / "labels.csv")
    predictions = pd.read_parquet(run.folder / "predictions.parquet")
    assert labels["id"].tolist() == data.ids.tolist() == predictions["id"][: data.n].tolist()
    assert predictions["id"][data.n :].tolist() == data.pool_ids.tolist()
    assert predictions["id"].is_unique


@pytest.mark.parametrize("kind", ["plan", "run"])
def test_a_pool_of_one_text_is_refused_for_a_larger_population_before_any_work(in_process, store, kind):
    study = make_study(store, pool=1, population="larger")
    status, run = in_process(study, kind, RunSettings())
    assert (status, run.state) == (1, RunState.FAILED)
    assert run.error.startswith("The pool has 1 text, and an answer about a larger population needs at least 2")
    assert store.step_results(run.id) == {}
