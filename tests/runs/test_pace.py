"""How long pilot and strategy are expected to take, and what a run shows until there is a law."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module

import pytest
from made_studies import make_study

from engine.data.sealing import Sealing
from engine.learning.recipe import THOROUGH_FOLDS, Recipe
from engine.runs import RunSettings, open_store, preflight, read_results
from engine.runs.pace import (
    AVERAGED,
    FEWEST,
    SECONDS_TO_FIT,
    SECONDS_TO_PREDICT,
    costs_of,
    pilot_work,
    strategy_seconds,
)


@pytest.fixture
def store():
    return open_store()


def made(store, kind="run", **settings):
    study = make_study(store, labels=200, pool=1000)
    data, run = study.dataset(), store.create_run(study.id, kind, RunSettings(**settings))
    return run, data, pilot_work(run.settings, Sealing.of(data.key, data.n, 0))


def test_the_recipe_is_as_the_pace_takes_it():
    assert {"lora": Recipe.folds, "auto": THOROUGH_FOLDS} == AVERAGED
    assert Recipe.steps * Recipe.batch_size // Recipe.epochs == FEWEST


def test_a_trial_on_few_labels_takes_the_time_of_the_fewest_that_fill_the_least_steps(store):
    _, _, work = made(store, learner="auto")
    # Fifty labels are opened, of which a quarter is held out: four trials on 18 and on 37 labels.
    assert work == pytest.approx(8 * FEWEST * AVERAGED["auto"] / (AVERAGED["auto"] - 1))
    _, data, work = made(store)
    assert work == sum(len(train) for _, train, _ in Sealing.of(data.key, data.n, 0).trials(5))


@pytest.mark.parametrize("learner", ["probe", "lora", "full", "auto"])
@pytest.mark.parametrize("strategy", ["auto", "split", "cross-fit"])
def test_a_strategy_is_expected_at_the_pace_of_the_trials(store, learner, strategy, monkeypatch):
    run, data, work = made(store, learner=learner, strategy=strategy)
    predicting, once, twice = (strategy_seconds(run.settings, data, pace) for pace in (0.0, 1.0, 2.0))
    assert twice - predicting == pytest.approx(2 * (once - predicting))
    assert once - predicting >= (100 if strategy == "split" else 200)
    pace = SECONDS_TO_FIT[learner]
    expected = 8 + pace * work + strategy_seconds(run.settings, data, pace)
    told_before = import_module("engine.runs.preflight")  # the package has a function of this name
    monkeypatch.setattr(told_before, "gpu_name", lambda: None)
    monkeypatch.setattr(told_before.psutil, "cpu_count", lambda: 2)
    # Beside that the texts are embedded, the pool too where a head reads it.
    assert expected < preflight(data, run.settings).seconds <= expected + 1200 * SECONDS_TO_PREDICT


def test_a_model_that_is_slower_to_train_is_as_much_slower_to_predict(store):
    for learner in ("lora", "full", "auto"):
        settings, usual = RunSettings(learner=learner), SECONDS_TO_FIT[learner]
        thousand = [costs_of(settings, pace).seconds_per_thousand for pace in (usual, 40 * usual)]
        assert thousand == pytest.approx([1000 * SECONDS_TO_PREDICT, 40_000 * SECONDS_TO_PREDICT])
    # A probe's fits do not pass a text through the model.
    assert costs_of(RunSettings(), 1.0).seconds_per_thousand == 1000 * SECONDS_TO_PREDICT


def test_a_split_on_the_pilots_labels_alone_takes_the_least(store):
    run, data, _ = made(store, learner="lora", strategy="split", finetune=0)
    assert strategy_seconds(run.settings, data, 1.0) < strategy_seconds(replace(run.settings, finetune=150), data, 1.0)


def test_labels_alone_take_no_training(store):
    run, data, _ = made(store, strategy="labels-only", learner="auto")
    assert preflight(data, run.settings).seconds < 10


def test_losses_of_the_pilots_trials_are_shown_until_a_model_trains(store):
    run, *_ = made(store)
    assert read_results(store, run).losses.empty
    run.folder.mkdir(parents=True, exist_ok=True)
    file = run.folder / "losses.csv"
    file.write_text("fit,step,loss,rate\ntrial on 12 labels with seed 0,1,0.9,0.001\n", encoding="utf-8")
    assert read_results(store, run).losses["loss"].tolist() == [0.9]
    with file.open("a", encoding="utf-8") as lines:
        lines.write("model 1,1,0.8,0.001\n")
    assert read_results(store, run).losses["fit"].tolist() == ["model 1"]


def test_losses_of_trials_alone_are_none_of_a_run_that_has_ended(store):
    run, *_ = made(store)
    run.folder.mkdir(parents=True, exist_ok=True)
    (run.folder / "losses.csv").write_text("fit,step,loss,rate\ntrial on 12 of 50,1,0.9,0.1\n", encoding="utf-8")
    store.update_run(run.id, state="finished")
    assert read_results(store, store.run(run.id)).losses.empty


def test_steps_that_a_resumed_fit_takes_again_are_told_once(store):
    run, *_ = made(store)
    run.folder.mkdir(parents=True, exist_ok=True)
    told = [("model 1", 1, 0.9), ("model 2", 1, 0.8), ("model 2", 2, 0.7), ("model 2", 3, 0.6), ("model 2", 2, 0.5)]
    lines = [f"{fit},{step},{loss},0.001\n" for fit, step, loss in told]
    (run.folder / "losses.csv").write_text("".join(["fit,step,loss,rate\n", *lines]), encoding="utf-8")
    assert read_results(store, run).losses["loss"].tolist() == [0.9, 0.8, 0.5]


def test_a_line_that_is_being_written_is_left_for_later(store):
    run, *_ = made(store)
    run.folder.mkdir(parents=True, exist_ok=True)
    for half in ("mod", "model 2", "model 2,"):
        (run.folder / "losses.csv").write_text(f"fit,step,loss,rate\nmodel 1,1,0.9,0.001\n{half}", encoding="utf-8")
        assert read_results(store, run).losses["fit"].tolist() == ["model 1"]


@pytest.mark.parametrize("begun", ["", "f", "fit,", "fit,step", "fit,step,loss,rate", "fit,step,loss,rate\n"])
def test_a_file_of_losses_that_is_only_begun_holds_none(store, begun):
    run, *_ = made(store)
    run.folder.mkdir(parents=True, exist_ok=True)
    (run.folder / "losses.csv").write_text(begun, encoding="utf-8")
    assert read_results(store, run).losses.empty


def test_losses_of_an_earlier_day_have_no_rate(store):
    run, *_ = made(store)
    run.folder.mkdir(parents=True, exist_ok=True)
    (run.folder / "losses.csv").write_text("fit,step,loss\n0,1,0.9\n", encoding="utf-8")
    losses = read_results(store, run).losses
    assert (losses["fit"].tolist(), losses["rate"].isna().all()) == (["0"], True)
