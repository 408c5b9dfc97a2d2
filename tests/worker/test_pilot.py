"""The pilot in whole runs: which labels it opens, what it says of them to law and plan, and what they then do."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from made_studies import make_study, rows
from test_strategies import finished

from engine.data import Roles
from engine.data.sealing import Sealing
from engine.report import html_report, settings_json
from engine.runs import Question, RunSettings
from engine.runs.progress import ProgressReport
from engine.worker import coslow, pilot, process
from engine.worker.job import PILOT, Job


def test_the_law_is_there_before_the_pilot_has_ended(in_process, store, monkeypatch):
    told = []

    def noted(job, name, value, record=Job.record):
        told.append((name, sum(step.startswith("trial") for step in store.step_results(job.run.id))))
        record(job, name, value)

    monkeypatch.setattr(Job, "record", noted)
    _, results, _ = finished(in_process, make_study(store, kind="numbers"), "plan")
    drawn = [trials for name, trials in told if name == "law"]
    assert drawn[0] == 10  # five seeds of two sizes
    assert drawn[-1] == len(results.trials)
    assert drawn.count(10) == 2  # as the second size landed, and at the end of the step


def test_cos_low_is_that_of_the_labels_that_a_run_looks_at(in_process, store, monkeypatch):
    monkeypatch.setattr(coslow, "cos_low", lambda _encoder, texts, *_more, **_options: len(texts) / 1000)
    monkeypatch.setattr(process, "measure_curve", lambda _job: None)
    study, seen = make_study(store, labels=400), []
    for kind in ("efficiency", "calibration", "efficiency"):
        _, results, _ = finished(in_process, study, kind)
        seen.append(results.details["coslow"])
    assert seen == [0.05, 0.32, 0.05]


def test_the_pilots_labels_never_rectify_under_split(in_process, quick_coslow, store):
    study = make_study(store)
    pilot = set(Sealing.of(study.dataset().key, 60, 0).pilot)
    for finetune in (None, 8, 45, 60):
        _, results, steps = finished(in_process, study, strategy="split", finetune=finetune)
        used = steps["rows"]
        assert not pilot & set(used["rectify"])
        assert len(used["rectify"]) >= 10
        assert results.estimate.n == len(used["rectify"])
        assert results.details["finetune"] == len(used["finetune"])


@pytest.mark.parametrize("finetune", [None, 40, 250])
def test_what_an_earlier_pilot_opened_never_rectifies_a_split(in_process, quick_coslow, store, finetune):
    study = make_study(store, labels=300)
    earlier = store.create_run(study.id, "plan", RunSettings(learner="lora", model="another"))
    store.save_step_result(earlier.id, "trial lora 00150 00100 0", "of the earlier one", {"size": 100})
    store.update_run(earlier.id, state="stopped")
    _, results, steps = finished(in_process, study, strategy="split", finetune=finetune)
    opened = set(Sealing.of(study.dataset().key, 300, 0).opened(150).pilot)
    used = steps["rows"]
    assert opened <= set(used["finetune"])
    assert not opened & set(used["rectify"])
    assert results.plan.finetune_minimum == 150
    if finetune is not None:
        assert len(used["finetune"]) == max(finetune, 150)


def test_the_store_says_which_labels_the_pilot_opened_and_why_it_stopped(in_process, quick_coslow, store):
    study = make_study(store, labels=300)
    run, results, steps = finished(in_process, study, strategy="split")
    ramp, used, n = steps["ramp-up"], steps["rows"], 300
    opened = [step["opened"] for step in ramp["steps"]]
    assert opened == Sealing.of(study.dataset().key, n, 0).steps()[: len(opened)]
    assert [step["goes_on"] for step in ramp["steps"]] == [True] * (len(opened) - 1) + [False]
    assert set(ramp["rows"]) == set(used["pilot"]) <= set(used["finetune"])
    assert len(ramp["rows"]) == opened[-1] == results.plan.finetune_minimum == results.details["pilot_labels"]
    assert not set(ramp["rows"]) & set(used["rectify"])
    assert sorted([*used["finetune"], *used["rectify"]]) == list(range(n))
    assert json.loads(settings_json(store, run.id))["rows"] == used
    table = pd.read_csv(run.folder / "labels.csv")
    assert list(table["text"]) == list(study.dataset().texts)
    assert set(np.flatnonzero(table["opened by the pilot"])) == set(ramp["rows"])
    assert set(np.flatnonzero(table["used to"] == "fine-tune")) == set(used["finetune"])
    assert set(np.flatnonzero(table["used to"] == "rectify")) == set(used["rectify"])
    # The trials shown are those of the last step, which the law rests on.
    assert sorted(results.trials["size"]) == sorted(results.law.sizes)


def test_the_pilot_does_not_overtake_the_users_split(in_process, quick_coslow, store):
    _, results, steps = finished(in_process, make_study(store, labels=300), strategy="split", finetune=40)
    assert len(steps["rows"]["pilot"]) <= 40
    assert results.details["finetune"] == 40


def test_no_trial_sees_a_sealed_label(in_process, quick_coslow, store, monkeypatch):
    study, seen = make_study(store, labels=300), set()
    run_trial = pilot.run_trial

    def noted(name, learner, texts, y, classes, train, holdout, *rest):
        seen.update(train.tolist(), holdout.tolist())
        return run_trial(name, learner, texts, y, classes, train, holdout, *rest)

    monkeypatch.setattr(pilot, "run_trial", noted)
    _, _, steps = finished(in_process, study, strategy="split")
    assert seen == set(steps["rows"]["pilot"])
    assert not seen & set(steps["rows"]["rectify"])


@pytest.mark.parametrize("strategy", ["labels-only", "zero-shot"])
def test_a_plan_weighs_all_strategies_whatever_was_asked_for(in_process, quick_coslow, store, strategy):
    _, results, _ = finished(in_process, make_study(store), "plan", strategy=strategy)
    assert results.plan.recommended


def test_auto_chooses_the_folds_and_cross_fit_takes_those_asked_for(in_process, quick_coslow, store):
    study = make_study(store)
    _, chosen, _ = finished(in_process, study, "plan")
    assert chosen.plan.folds_chosen
    _, asked, _ = finished(in_process, study, "plan", strategy="cross-fit", folds=4)
    assert (asked.plan.folds, asked.plan.folds_chosen) == (4, False)
    _, other, _ = finished(in_process, study, "plan", strategy="split", folds=4)
    assert other.plan.folds_chosen


def test_prices_reach_the_plan(in_process, quick_coslow, store):
    prices = {"cost_per_label": 0.5, "cost_per_gpu_hour": 3.0, "cost_per_thousand": 0.2}
    _, results, _ = finished(in_process, make_study(store), "plan", **prices)
    costs = results.plan.costs
    assert (costs.per_label, costs.per_gpu_hour, costs.per_thousand) == (0.5, 3.0, 0.2)
    plain, cross_fit = results.plan["labels-only"], results.plan["cross-fit"]
    assert cross_fit.cost > plain.cost == pytest.approx(0.5 * 60)


def test_the_pilot_reaches_the_end_of_its_stage_wherever_it_stops(in_process, quick_coslow, store, monkeypatch):
    told = {PILOT: []}

    def note(report, share):
        told.setdefault(report._stage, []).append(share)

    monkeypatch.setattr(ProgressReport, "__call__", note)
    status, run = in_process(make_study(store), "run", RunSettings())
    assert (status, run.error) == (0, None), run.log_tail()
    assert told[PILOT][-1] == pytest.approx(1)
    assert max(told[PILOT]) <= 1 + 1e-9


def test_trials_that_the_plan_has_made_take_a_run_no_time(in_process, quick_coslow, store, monkeypatch):
    study, told = make_study(store), []
    finished(in_process, study, "plan")
    expect = ProgressReport.expect
    monkeypatch.setattr(ProgressReport, "expect", lambda self, stages: (told.append(stages), expect(self, stages)))
    run, _, _ = finished(in_process, study)
    assert [stages[PILOT] for stages in told if PILOT in stages][-1] == 0
    store.update_run(run.id, state="queued")
    told.clear()
    # Those that it has made itself before it was stopped have taken their time.
    process.execute(run.id)
    assert [stages[PILOT] for stages in told if PILOT in stages][-1] > 0


# ------------------------------------------------------------------ what the pilot has not seen


def make_rare(store, common, rare):
    """A study of 300 labels of which the first step of the pilot sees only the common one."""
    texts, _ = rows(400, 1)
    for start in range(300):
        labels = np.roll([*rare, *[common] * 297], start)
        own = store.save_file("labels.csv", pd.DataFrame({"text": texts[:300], "label": labels}).to_csv().encode())
        rest = store.save_file("pool.csv", pd.DataFrame({"text": texts[300:]}).to_csv().encode())
        question = Question(estimand="mean" if isinstance(common, int) else "shares")
        study = store.create_study("rare", own, rest, Roles("text", "label"), question)
        sealing = Sealing.of(study.dataset().key, 300, 0)
        first, half = (labels[sealing.opened(opened).pilot] for opened in (sealing.pilot_size, 150))
        if (first == common).all() and (isinstance(common, int) or (half != common).any()):
            return study
    raise AssertionError("Every order shows the rare label at once.")


@pytest.mark.parametrize("related", [True, False])
def test_weights_that_go_with_the_labels_widen_the_plan_as_they_do_the_estimate(
    in_process, quick_coslow, store, related
):
    """A class of one in fifty that was sampled as often as the other."""
    texts, rng = rows(540, 1)[0], np.random.default_rng(0)
    labels = np.array(["yes", "no"])[rng.permutation(140) % 2]
    weights = np.where(labels == "yes", 0.04, 1.96)
    weights = weights if related else rng.permutation(weights)
    frames = {"text": texts[:140], "label": labels, "w": weights}, {"text": texts[140:], "w": np.ones(400)}
    files = [store.save_file(f"{k}.csv", pd.DataFrame(frame).to_csv().encode()) for k, frame in enumerate(frames)]
    study = store.create_study("weighted", *files, Roles("text", "label", weight="w"), Question(estimand="shares"))
    # Of 35 opened labels a tenth more of a class moves what the plan expects by a third: take a pilot like the rest.
    data = study.dataset()
    pilots = {seed: data.y[Sealing.of(data.key, data.n, seed).pilot].mean() for seed in range(20)}
    seed = min(pilots, key=lambda seed: abs(pilots[seed] - data.y.mean()))
    _, results, _ = finished(in_process, study, "plan", seed=seed)
    _, alone, _ = finished(in_process, study, seed=seed, strategy="labels-only")
    achieved = float(np.mean(alone.estimate.width)) / 2
    assert results.plan["labels-only"].half_width == pytest.approx(achieved, rel=0.15)
    _, crossed, _ = finished(in_process, study, seed=seed, strategy="cross-fit", folds=5)
    achieved = float(np.mean(crossed.estimate.width)) / 2
    assert crossed.plan["cross-fit"].half_width == pytest.approx(achieved, rel=0.15)


@pytest.mark.parametrize(("kind", "noise"), [("mean", 0.1), ("mean", 4.0), ("shares", 0.4)])
def test_the_plan_reckons_with_how_far_several_labels_of_a_text_agree(in_process, quick_coslow, store, kind, noise):
    """Three coders: ratings that agree and ratings that hardly do, and a class that each mistakes in two of five."""
    (texts, ratings), rng = rows(500, 1), np.random.default_rng(0)
    coded, votes = np.repeat(texts[:100], 3), np.repeat(ratings[:100], 3)
    if kind == "mean":
        labels = votes + noise * rng.normal(size=300)
    else:
        labels = np.where((votes > 3) ^ (rng.random(300) < noise), "yes", "no")
    frames = {"text": coded, "label": labels}, {"text": texts[100:]}
    files = [store.save_file(f"{k}.csv", pd.DataFrame(frame).to_csv().encode()) for k, frame in enumerate(frames)]
    study = store.create_study("coders", *files, Roles("text", "label"), Question(estimand=kind, population="larger"))
    # A pilot whose labels vary as all do, so that what is left is how they are reckoned with.
    data = study.dataset()
    means = np.bincount(data.clusters, data.y)[data.clusters] / 3
    spread = {seed: means[Sealing.of(data.key, 300, seed, data.clusters).pilot].std() for seed in range(20)}
    seed = min(spread, key=lambda seed: abs(spread[seed] - means.std()))
    _, results, _ = finished(in_process, study, "plan", seed=seed)
    _, alone, _ = finished(in_process, study, seed=seed, strategy="labels-only")
    achieved = float(np.mean(alone.estimate.width)) / 2
    assert results.plan["labels-only"].half_width == pytest.approx(achieved, rel=0.15)


def test_a_pilot_goes_on_where_an_earlier_one_has_made_the_trials(in_process, quick_coslow, store, monkeypatch):
    study, opened = make_study(store, labels=240), []
    weigh = pilot.weigh
    for goes_on in (False, True, False):
        monkeypatch.setattr(
            pilot, "weigh", lambda *given, go=goes_on, **options: replace(weigh(*given, **options), goes_on=go)
        )
        monkeypatch.setattr(Sealing, "steps", lambda _: [50, 100])
        _, _, steps = finished(in_process, study, "plan")
        opened.append([step["opened"] for step in steps["ramp-up"]["steps"]])
    assert opened == [[50], [50, 100], [50, 100]]


def test_the_pilot_goes_on_until_it_has_seen_a_rare_class(in_process, quick_coslow, store):
    study = make_rare(store, "no", ["yes"] * 3)
    _, results, steps = finished(in_process, study, "plan")
    data = study.dataset()
    assert len(set(data.y[steps["ramp-up"]["rows"]])) == 2
    share = 3 / 300
    alone = 1.96 * (share * (1 - share) / 300) ** 0.5
    for record in results.plan.strategies:
        assert alone / 4 < record.half_width < 4 * alone
        assert record.interval[1] > alone / 2


def test_a_pilot_that_has_seen_one_class_says_so(in_process, quick_coslow, store, monkeypatch):
    monkeypatch.setattr(Sealing, "steps", lambda sealing: [sealing.pilot_size])
    study = make_rare(store, "no", ["yes"] * 3)
    run, results, _ = finished(in_process, study, strategy="split")
    said = "All 37 labels that the pilot opened are “no”: it could not see what a model learns."
    assert results.details["warnings"] == [said]
    assert said in html_report(store, run.id)


def test_numbers_that_are_all_the_same_are_not_planned_with(in_process, quick_coslow, store, monkeypatch):
    monkeypatch.setattr(Sealing, "steps", lambda sealing: [sealing.pilot_size])
    study = make_rare(store, 3, [1.5, 4.5, 5])
    status, run = in_process(study, "plan", RunSettings())
    assert status != 0
    assert run.error == (
        "All 37 labels that the pilot opened are 3: nothing can be planned from them. Label more, or choose the "
        "strategy labels-only."
    )
