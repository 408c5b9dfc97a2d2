"""The command calibrate: real runs on small tasks, and what it refuses."""

import json

import numpy as np
import pandas as pd
import pytest

from engine.cli import main
from engine.efficiency import Calibration
from engine.runs import home, open_store, read_results
from engine.runs.calibrations import calibration_of, calibration_path
from engine.runs.states import DEFAULT_MODEL, application

POOL = application() / "sample_data" / "pool.csv"


@pytest.fixture
def tasks(tmp_path):
    """Five tasks of 260 reviews each: whether a review is of one product."""
    frame = pd.read_csv(POOL)
    paths = []
    for k, product in enumerate(sorted(frame["product"].unique())[:5]):
        part = frame.iloc[260 * k : 260 * (k + 1)][["review"]]
        part = part.assign(
            review=part["review"].str[:80], label=np.where(frame.loc[part.index, "product"] == product, "yes", "no")
        )
        part.to_csv(tmp_path / f"{k}.csv", index=False)
        paths.append(str(tmp_path / f"{k}.csv"))
    return paths


@pytest.mark.slow
def test_a_calibration_is_learned_and_used_from_then_on(offline_model, tasks, capsys):
    before = calibration_of(DEFAULT_MODEL, "probe", "explained variance")
    assert main(["calibrate", *tasks, "--text", "review", "--label", "label", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    own = calibration_of(DEFAULT_MODEL, "probe", "explained variance")
    assert calibration_path(DEFAULT_MODEL, "probe").is_relative_to(home())
    assert own.own
    assert own != before
    assert own.to_dict() == Calibration.from_dict(record["calibration"]).to_dict()
    assert own.link.tasks == 5
    assert set(own.link.errors) == {"with", "without"}
    assert "5 tasks" in own.summary()
    # LoRA's curves are others: nothing is known of them yet.
    assert calibration_of(DEFAULT_MODEL, "lora", "explained variance").name == "explained variance"
    runs = open_store().runs()
    assert {run.kind for run in runs} == {"calibration"}
    trials = read_results(open_store(), runs[0]).trials
    assert sorted(set(trials["size"])) == [50, 100, 200]


def test_too_few_tasks_or_labels_are_refused(tasks, capsys, tmp_path):
    columns = ["--text", "review", "--label", "label"]
    assert main(["calibrate", *tasks[:3], *columns]) == 2
    assert "learned from 5 or more" in capsys.readouterr().err
    assert main(["calibrate", *tasks[:4], tasks[0], *columns]) == 2
    assert "a name of its own" in capsys.readouterr().err


@pytest.mark.slow
def test_a_task_of_few_labels_is_named(offline_model, tasks, capsys):
    pd.read_csv(tasks[0]).head(100).to_csv(tasks[0], index=False)
    assert main(["calibrate", *tasks, "--text", "review", "--label", "label"]) == 2
    sentence = capsys.readouterr().err.strip().splitlines()[-1]
    assert "0.csv has 100 labels" in sentence
    assert "250 or more" in sentence
