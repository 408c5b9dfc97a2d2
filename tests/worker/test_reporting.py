"""A run's figures go to the service that it names, or the run does not begin."""

from __future__ import annotations

import sys

import pytest
from made_studies import make_study

from engine.errors import ArgumentError
from engine.runs import RunSettings, RunState, preflight, start_run


def test_the_pilots_residual_variances_and_the_fits_losses_reach_tensorboard(in_process, quick_coslow, store):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    status, run = in_process(make_study(store), "plan", RunSettings(report_to="tensorboard"))
    assert (status, run.error) == (0, None)
    trials = [value for name, value in store.step_results(run.id).items() if name.startswith("trial ")]
    seen = accumulators.EventAccumulator(str(run.folder / "events")).Reload()
    told = sorted(event.value for event in seen.Scalars("trial/residual_variance"))
    assert told == pytest.approx(sorted(trial["variance"] for trial in trials))
    assert {event.value for event in seen.Scalars("trial/labels")} == {trial["size"] for trial in trials}


def test_a_service_that_is_not_installed_is_told_before_any_work(in_process, store, monkeypatch):
    study, settings = make_study(store), RunSettings(report_to="mlflow")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    sentence = "The run is to report to mlflow, which is not installed; `pip install mlflow`, or report to nothing."
    for ask in (lambda: preflight(study.dataset(), settings), lambda: start_run(store, study, "run", settings)):
        with pytest.raises(ArgumentError) as fault:
            ask()
        assert str(fault.value) == sentence
    assert not store.runs()
    status, run = in_process(study, "run", settings)
    assert (status, run.state, run.error) == (1, RunState.FAILED, sentence)


def test_a_service_by_another_name_is_refused():
    with pytest.raises(ArgumentError, match=r"report_to is 'tensorbaord', .* one of tensorboard, mlflow, wandb"):
        RunSettings(report_to="tensorbaord")
