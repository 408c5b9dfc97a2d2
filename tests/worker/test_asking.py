"""A model that writes predicts without training: where no predictions come with the data, it is asked."""

from __future__ import annotations

import shutil
import signal

import numpy as np
import pandas as pd
import pytest
import torch
from made_studies import make_study

from engine.data.sealing import Sealing
from engine.errors import RunStopped
from engine.learning import models
from engine.learning.decoders import load_decoder
from engine.learning.label_tokens import Choices, ask, saved_choices, zero_shot
from engine.learning.models import load_encoder
from engine.learning.saved import load_predictors
from engine.learning.trials import outcomes, residual_variance
from engine.runs import RunSettings, RunState, open_store, read_results
from engine.worker import asking, process
from engine.worker.job import Job
from engine.worker.predicting import models_of, predict_pool


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    """In half precision a text's prediction would depend on the texts beside it."""
    monkeypatch.setattr(models, "device", lambda: torch.device("cpu"))


@pytest.mark.parametrize("kind", ["numbers", "classes"])
def test_zero_shot_rectifies_what_the_model_answers(in_process, writer, kind, monkeypatch):
    monkeypatch.setattr(asking, "_PART", 25)
    study = make_study(open_store(), kind=kind, labels=40, pool=60)
    settings = RunSettings(strategy="zero-shot", model=writer)
    status, run = in_process(study, "run", settings)
    assert (status, run.state, run.error) == (0, RunState.FINISHED, None), run.log_tail()
    frame, data = pd.read_parquet(run.folder / "predictions.parquet"), study.dataset()
    expected = zero_shot(load_decoder(writer), [*data.texts, *data.pool_texts], choices(data))
    np.testing.assert_allclose(frame.iloc[:, 2:].to_numpy().squeeze(), expected, rtol=1e-4)
    assert list(frame["part"]) == ["rectify"] * 40 + ["pool"] * 60
    first = read_results(open_store(), run).estimate
    monkeypatch.setattr(asking, "zero_shot", None)  # what was answered is not asked again
    assert in_process(study, "run", settings)[0] == 0
    assert np.all(np.asarray(first.ci_low) < np.asarray(first.ci_high))


@pytest.mark.parametrize("kind", ["numbers", "classes"])
def test_a_further_pool_is_asked_what_the_run_asked(in_process, writer, kind, tmp_path, monkeypatch):
    store, settings = open_store(), RunSettings(strategy="zero-shot", model=writer)
    study = make_study(store, kind=kind, labels=40, pool=60)
    _, first = in_process(study, "run", settings)
    monkeypatch.setattr(asking, "zero_shot", None)
    _, second = in_process(study, "run", settings)  # whose answers were there
    known = pd.read_parquet(first.folder / "predictions.parquet").query("part == 'pool'")[:30]
    known[["text"]].rename(columns={"text": study.roles.text}).to_parquet(tmp_path / "further.parquet")
    for run in (first, second):
        assert predict_pool(store, run.id, tmp_path / "further.parquet", tmp_path / run.id).rows == 30
        found = pd.read_parquet(tmp_path / run.id)
        np.testing.assert_allclose(found.iloc[:, 1:], known.iloc[:, 2:], rtol=1e-4)
        assert models_of(run) == (1, 1)


def test_other_weights_in_the_same_folder_are_asked_and_tried_anew(in_process, writer, tmp_path):
    folder = shutil.copytree(writer, tmp_path / "writer")
    store, settings = open_store(), RunSettings(strategy="zero-shot", model=str(folder))
    study = make_study(store, labels=40, pool=60)

    def answered():
        status, run = in_process(study, "run", settings)
        assert (status, run.error) == (0, None), run.log_tail()
        return run, pd.read_parquet(run.folder / "predictions.parquet")["prediction"]

    def opened(run):
        data = study.dataset()
        return Job(store, run, study, data, Sealing.of(data.key, data.n, 0), lambda _share: None)

    run, before = answered()
    opened(run).step("trial", ["trial"], lambda: {"variance": 1.0})
    assert opened(run).is_stored(["trial"])
    decoder = load_decoder(str(folder))
    torch.nn.init.normal_(decoder.model.lm_head.weight, std=0.7)
    decoder.model.save_pretrained(folder)
    assert not opened(run).is_stored(["trial"])
    after = answered()[1]
    assert np.abs(before - after).max() > 1e-3
    pd.testing.assert_series_equal(answered()[1], after)


def choices(data):
    return Choices.of(data.y[Sealing.of(data.key, data.n, 0).pilot], data.classes, about="label")


def test_the_plan_knows_what_the_model_explains_without_training(in_process, quick_coslow, writer, monkeypatch):
    monkeypatch.setattr("engine.worker.coslow.cos_low_of_decoder", lambda *_arguments, **_options: 0.2)
    study = make_study(open_store(), labels=40, pool=60)
    status, run = in_process(study, "plan", RunSettings(model=writer))
    assert (status, run.error) == (0, None), run.log_tail()
    data = study.dataset()
    rows = Sealing.of(data.key, data.n, 0).pilot
    said = zero_shot(load_decoder(writer), [data.texts[i] for i in rows], choices(data))
    expected, _, _ = residual_variance(outcomes(data.y[rows], None), said[:, None])
    found = read_results(open_store(), run).plan
    assert "zero-shot" in [strategy.name for strategy in found.strategies]
    assert found.zero_shot_variance == pytest.approx(expected, rel=1e-4)


def test_a_model_that_writes_but_takes_no_questions_is_read_as_an_encoder(in_process, writer, tmp_path):
    folder = shutil.copytree(writer, tmp_path / "base")
    (folder / "chat_template.jinja").unlink()
    study = make_study(open_store(), labels=40, pool=60)
    status, run = in_process(study, "run", RunSettings(model=str(folder), learner="probe"))
    assert (status, run.error) == (0, None), run.log_tail()
    status, run = in_process(study, "run", RunSettings(model=str(folder), strategy="zero-shot"))
    assert status == 1
    assert run.error == (
        f"The tokenizer of model {folder} has no chat template, so the model cannot be asked; choose its "
        "instruction-tuned form (often named -Instruct or -it)."
    )


@pytest.mark.parametrize(("strategy", "learner"), [("zero-shot", "probe"), ("labels-only", "probe"), ("auto", "probe")])
def test_a_run_tells_how_many_texts_its_model_cut(in_process, quick_coslow, writer, monkeypatch, strategy, learner):
    monkeypatch.setattr("engine.worker.coslow.cos_low_of_decoder", lambda *_arguments, **_options: 0.2)
    study = make_study(open_store(), labels=40, pool=60)
    texts = [*study.dataset().texts, *study.dataset().pool_texts]
    settings = RunSettings(model=writer, strategy=strategy, learner=learner)
    status, run = in_process(study, "run", settings)
    assert (status, run.error) == (0, None), run.log_tail()
    told = read_results(open_store(), run).details.get("texts_cut")
    asked = ask(load_decoder(writer), choices(study.dataset())).truncated(texts)
    assert told == {"zero-shot": asked, "labels-only": None, "auto": load_encoder(writer).truncated(texts)}[strategy]


@pytest.mark.parametrize("learner", ["probe", "lora"])
def test_counting_the_texts_cut_hears_a_stop_between_parts(writer, monkeypatch, learner):
    monkeypatch.setattr(asking, "_PART", 25)
    store, told = open_store(), []
    study = make_study(store, labels=40, pool=60)
    run = store.create_run(study.id, "run", RunSettings(model=writer, learner=learner))
    data = study.dataset()

    def report(share):
        told.append(share)
        if len(told) == 3:
            raise RunStopped("stopped")

    job = Job(store, run, study, data, Sealing.of(data.key, data.n, 0), report)
    with pytest.raises(RunStopped):
        asking.texts_cut(job)
    assert told == [0.0, 0.25, 0.5]


@pytest.mark.slow
def test_a_model_that_writes_is_fine_tuned_through_its_answers_and_predicts_further_texts(writer, tmp_path):
    store = open_store()
    study = make_study(store, labels=60, pool=40)
    settings = RunSettings(model=writer, learner="lora", strategy="cross-fit", folds=4)
    run = store.create_run(study.id, "run", settings)
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert process.execute(run.id) == 0, store.run(run.id).log_tail()
    finally:
        signal.signal(signal.SIGTERM, before)
    # Three folds' models are averaged by a fit, and a model that leaves out two folds serves both.
    steps = read_results(store, run).losses.groupby("fit").size()
    assert steps.index.tolist() == ["model 1", "model 2", "model 3"]
    assert (steps / steps["model 3"]).tolist() == [3, 2, 1]
    # Those of the pilot's trials, shown until then, are kept beside them.
    every = pd.read_csv(run.folder / "losses.csv")
    assert {"trial on 11 of 30 labels with seed 0", "model 1"} < set(every["fit"])
    assert (every["rate"] > 0).all()
    assert not (run.folder / "checkpoints").exists()
    known = pd.read_parquet(run.folder / "predictions.parquet").query("part == 'pool'")
    assert known["fold"].value_counts().tolist() == [10] * 4
    every = []
    for number in range(4):
        folder = run.folder / "models" / str(number)
        assert (folder / "adapter_model.safetensors").exists()
        assert saved_choices(folder) == Choices.between(1, 5, about=study.roles.label)
        every.append(load_predictors([folder], writer).predict(list(known["text"])).squeeze())
    # The run has each text predicted by one of its models, a further pool by their mean.
    own = np.array(every)[known["fold"], np.arange(len(known))]
    np.testing.assert_allclose(known["prediction"], own, atol=1e-4)
    assert read_results(store, run).estimate.ci_low < read_results(store, run).estimate.ci_high
    known[["text"]].rename(columns={"text": study.roles.text}).to_parquet(tmp_path / "further.parquet")
    predict_pool(store, run.id, tmp_path / "further.parquet", tmp_path / "out")
    found = pd.read_parquet(tmp_path / "out")
    np.testing.assert_allclose(found["prediction"], np.mean(every, axis=0), atol=1e-4)
