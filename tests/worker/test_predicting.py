"""A further pool through the models of a finished run."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from made_studies import make_study
from safetensors.torch import load_file, save_file

from engine.cli import main
from engine.errors import RunError
from engine.learning.files import DEFAULT_MODEL
from engine.learning.saved import load_predictors
from engine.runs import RunSettings, home, open_store
from engine.worker.predicting import predict_pool


@pytest.mark.parametrize("kind", ["numbers", "classes"])
def test_a_further_pool_gets_the_mean_of_the_runs_models(in_process, quick_coslow, kind, tmp_path, capfd):
    store = open_store()
    study = make_study(store, kind=kind)
    status, run = in_process(study, "run", RunSettings(learner="probe", strategy="cross-fit", folds=3))
    assert status == 0
    (run.folder / "models" / ".DS_Store").write_bytes(b"Bud1")
    (run.folder / "models" / "copy of 1").mkdir()
    data = study.dataset()
    pool = tmp_path / "further.parquet"
    pd.DataFrame({study.roles.text: list(data.pool_texts[:30]), "id": range(30)}).to_parquet(pool)
    out = tmp_path / "out"
    capfd.readouterr()
    assert main(["predict", run.id, str(pool), "-o", str(out), "--json"]) == 0
    record = json.loads(capfd.readouterr().out)["prediction"]
    assert (record["rows"], record["missing"], record["computed"]) == (30, 0, 1)
    assert (record["models"], record["models_of_run"]) == (3, 3)
    found = pd.read_parquet(out)
    known = pd.read_parquet(run.folder / "predictions.parquet")
    known = known[known["part"] == "pool"].set_index("text").loc[found["text"]]
    names = [name for name in found if name.startswith(("prediction", "probability"))]
    assert len(names) == (1 if kind == "numbers" else 3)
    parts = [load_predictors([run.folder / "models" / str(j)], DEFAULT_MODEL).parts[0] for j in range(3)]
    every = np.array([np.reshape(part.predict(list(found["text"])), (30, -1)) for part in parts])
    np.testing.assert_allclose(found[names], every.mean(0), atol=1e-4)
    # The run itself has each text predicted by one of the models.
    np.testing.assert_allclose(known[names], every[known["fold"], np.arange(30)], atol=1e-4)
    assert set(known["fold"]) == {0, 1, 2}

    pd.DataFrame({study.roles.text: ["one", "two"]}).to_parquet(pool)
    assert main(["predict", run.id, str(pool), "-o", str(out)]) == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert "holds predictions of other rows or texts, or by other models; name another folder with -o" in err
    assert "or add --force" in err
    assert len(pd.read_parquet(out)) == 30
    assert main(["predict", run.id, str(pool), "-o", str(out), "--force"]) == 0
    assert list(pd.read_parquet(out)[study.roles.text]) == ["one", "two"]


def test_models_that_an_earlier_run_fitted_are_said_to_be_missing(in_process, quick_coslow, tmp_path, capfd):
    study = make_study(open_store())
    settings = RunSettings(learner="probe", strategy="cross-fit", folds=3)
    _, first = in_process(study, "run", settings)
    # As if the first had been stopped before its third model: the second takes two models' predictions from it.
    newest = max((home() / "cache" / "predictions").glob("*.npz"), key=lambda path: path.stat().st_mtime_ns)
    newest.unlink()
    _, second = in_process(study, "run", settings)
    pool = tmp_path / "further.parquet"
    pd.DataFrame({study.roles.text: ["one", "two"]}).to_parquet(pool)
    for run, said in ((first, ""), (second, "They are the mean of 1 of the run's 3 models")):
        capfd.readouterr()
        status = main(["predict", run.id, str(pool), "-o", str(tmp_path / run.id)])
        out, err = capfd.readouterr()
        assert status == 0, err
        assert said in out
        assert ("the mean of" in out) == bool(said)


def test_models_serve_on_the_model_that_they_were_trained_on(in_process, quick_coslow, writer, tmp_path):
    folder = shutil.copytree(writer, tmp_path / "base")
    (folder / "chat_template.jinja").unlink()  # it is read as an encoder then
    store, settings = open_store(), RunSettings(learner="probe", strategy="cross-fit", folds=3, model=str(folder))
    status, run = in_process(make_study(store, labels=40, pool=60), "run", settings)
    assert (status, run.error) == (0, None)
    pool = tmp_path / "further.parquet"
    pd.DataFrame({"text": ["one", "two"]}).to_parquet(pool)

    def predict():
        return predict_pool(store, run.id, pool, tmp_path / "out", text="text", force=True)

    assert predict().rows == 2
    weights = folder / "model.safetensors"
    before = weights.read_bytes()
    other = {name: weight + 0.1 for name, weight in load_file(weights).items()}
    save_file(other, weights, {"format": "pt"})
    changed = f"{folder} has changed since run {run.id} was trained on it (model.safetensors is another now)"
    with pytest.raises(RunError, match=re.escape(changed)):
        predict()
    weights.write_bytes(before)  # as it was, at another time
    assert predict().rows == 2
    save_file(other, weights, {"format": "pt"})
    for kept in run.folder.glob("models/*/base.json"):
        kept.unlink()  # as an earlier version left it
    assert predict().rows == 2


def test_faults_are_one_line(in_process, quick_coslow, tmp_path, capfd):
    store = open_store()
    _, run = in_process(make_study(store), "run", RunSettings(strategy="labels-only"))
    pool = tmp_path / "further.parquet"
    pd.DataFrame({"text": ["one"]}).to_parquet(pool)
    capfd.readouterr()
    for name, said in ((run.id, "kept no model"), ("no-such-run", "no-such-run")):
        assert main(["predict", name, str(pool), "-o", str(tmp_path / "out")]) == 2
        err = capfd.readouterr().err
        assert err.count("\n") == 1
        assert said in err
