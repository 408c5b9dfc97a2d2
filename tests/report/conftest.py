"""A store in a temporary folder, and a finished run in it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from made_results import made_efficiency, made_law, made_mean, made_plan, made_run, made_study, made_trials

from engine.runs import open_store


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("LABELWISE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LABELWISE_DATABASE_URL", raising=False)
    return open_store()


@pytest.fixture
def finished(store):
    """A finished run for a mean with everything a run can have."""
    study = made_study(store)
    trials = {f"trial {place}": row for place, row in enumerate(made_trials().to_dict("records"))}
    parts = {"law": made_law(), "plan": made_plan(), "efficiency": made_efficiency(), "estimate": made_mean()}
    steps = {name: part.to_dict() for name, part in parts.items()}
    run = made_run(store, study, details={"device": "cpu", "seconds": {"pilot": 3.2}}, **steps, **trials)
    losses = pd.DataFrame({"fit": "fold 1", "step": range(50), "loss": np.linspace(1, 0.2, 50), "rate": 1e-3})
    losses.to_csv(run.folder / "losses.csv", index=False)
    return run
