"""Figures passed on to TensorBoard (really), and to MLflow and Weights & Biases (stand-ins for their packages)."""

from __future__ import annotations

import sys
from unittest.mock import MagicMock

import numpy as np
import pytest
from accelerate.tracking import GeneralTracker

from engine.errors import RunError
from engine.learning.finetuning import fine_tune
from engine.learning.recipe import Recipe
from engine.learning.regressor import Pooled
from engine.learning.tracking import Tracker, tracked
from engine.learning.training import warm_up_and_fall

SETTINGS = {"learner": "lora", "seed": 3, "cost_per_label": 0.5, "half_width": None, "answers": {"classes": ["secret"]}}
RECIPE = Recipe(rank=2, epochs=2, steps=1, enough=10**6, folds=2, learning_rate=0.01)


def test_tensorboard_has_losses_rates_and_settings_but_no_text(tiny_encoder, phrases, tmp_path):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    y = np.arange(60.0)
    reader = Pooled(tiny_encoder, np.ones((60, 32), np.float32))
    losses, rates = [], []

    def report(step, loss, rate):
        losses.append(loss)
        rates.append(rate)
        told(step, loss, rate)

    with tracked("tensorboard", "run", SETTINGS, tmp_path) as tracker:
        told = tracker.steps_of("fit 0")
        fine_tune(reader, phrases, y, classes=None, recipe=RECIPE, seed=1, report_loss=report)
        tracker.log({"fit 0/residual_variance": 0.25})
    seen = accumulators.EventAccumulator(str(tmp_path / "events")).Reload()
    assert np.allclose([event.value for event in seen.Scalars("fit 0/loss")], losses)
    assert [event.step for event in seen.Scalars("fit 0/learning_rate")] == list(range(1, len(losses) + 1))
    assert np.allclose([event.value for event in seen.Scalars("fit 0/learning_rate")], rates)
    assert [event.value for event in seen.Scalars("fit 0/residual_variance")] == [0.25]
    share = warm_up_and_fall(len(losses) // 2)
    assert np.allclose(rates, 2 * [0.01 * share(step) for step in range(len(losses) // 2)])
    (settings,) = tmp_path.rglob("hparams.yml")
    assert settings.read_text(encoding="utf-8").split() == ["cost_per_label:", "0.5", "learner:", "lora", "seed:", "3"]
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert not any(word in written for word in (b"secret", b"good", b"clean"))


def test_a_resumed_run_goes_on_at_the_step_after_its_last(tmp_path):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for losses in ((0.9, 0.8, 0.7), (0.75, 0.6)):  # the third step is trained again
        with tracked("tensorboard", "run", SETTINGS, tmp_path) as tracker:
            for loss in losses:
                tracker.steps_of("fit 0")(1, loss, 0.01)
    events = accumulators.EventAccumulator(str(tmp_path / "events")).Reload().Scalars("fit 0/loss")
    assert [event.step for event in events] == [1, 2, 3, 4, 5]
    assert [event.value for event in events] == pytest.approx([0.9, 0.8, 0.7, 0.75, 0.6])
    assert len(list(tmp_path.rglob("hparams.yml"))) == 1


def test_weights_and_biases_is_passed_them(monkeypatch, tmp_path):
    wandb = MagicMock()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    with tracked("wandb", "run", SETTINGS, tmp_path) as tracker:
        tracker.steps_of("fit 0")(1, 0.5, 0.01)
    given = wandb.init.call_args.kwargs
    assert (given["project"], given["name"], given["dir"]) == ("labelwise", "run", str(tmp_path))
    assert (given["id"], given["resume"]) == ("run", "allow")
    assert given["settings"]["console"] == "off"
    wandb.config.update.assert_called_once_with(
        {"learner": "lora", "seed": 3, "cost_per_label": 0.5}, allow_val_change=True
    )
    run = wandb.init.return_value
    run.log.assert_called_once_with({"fit 0/loss": 0.5, "fit 0/learning_rate": 0.01}, step=1)
    run.finish.assert_called_once()


def test_mlflow_is_passed_them(monkeypatch, tmp_path):
    mlflow = MagicMock()
    mlflow.search_experiments.return_value = []
    mlflow.start_run.return_value.info.run_id = "its own"
    mlflow.utils.validation.MAX_PARAM_VAL_LENGTH = mlflow.utils.validation.MAX_PARAMS_TAGS_PER_BATCH = 100
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    with tracked("mlflow", "run", SETTINGS, tmp_path) as tracker:
        tracker.log({"trial/labels": 50, "trial/residual_variance": 0.5})
    assert mlflow.start_run.call_args.kwargs["run_name"] == "run"
    mlflow.log_params.assert_called_once_with({"learner": "lora", "seed": 3, "cost_per_label": 0.5})
    mlflow.log_metrics.assert_called_once_with({"trial/labels": 50, "trial/residual_variance": 0.5}, step=1)
    mlflow.end_run.assert_called_once()
    assert mlflow.start_run.call_args.kwargs["run_id"] is None
    with tracked("mlflow", "run", SETTINGS, tmp_path) as tracker:  # resumed
        tracker.log({"trial/labels": 60})
    assert mlflow.start_run.call_args.kwargs["run_id"] == "its own"
    mlflow.log_params.assert_called_once()
    mlflow.log_metrics.assert_called_with({"trial/labels": 60}, step=2)
    mlflow.start_run.side_effect = [ConnectionError("no such run"), mlflow.start_run.return_value]
    with tracked("mlflow", "run", SETTINGS, tmp_path):  # resumed once it was deleted there
        pass
    assert [call.kwargs["run_id"] for call in mlflow.start_run.call_args_list[2:]] == ["its own", None]
    assert mlflow.log_params.call_count == 2


def test_without_a_service_nothing_is_passed_on_or_written(tmp_path):
    with tracked("", "run", SETTINGS, tmp_path) as tracker:
        tracker.steps_of("fit 0")(1, 0.5, 0.01)
    assert not list(tmp_path.iterdir())


def test_a_service_that_cannot_start_is_told_in_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    sentence = r"^mlflow could not be started \(.*\); set it up .* or report to nothing\.$"
    with pytest.raises(RunError, match=sentence), tracked("mlflow", "run", SETTINGS, tmp_path):
        pass


class Failing(GeneralTracker):
    """A service whose network is gone after the first figures."""

    name = "failing"
    requires_logging_directory = False
    seen = 0

    @property
    def tracker(self):
        return self

    def log(self, values, step=None, **_):
        self.seen += 1
        if step > 1:
            raise ConnectionError("no route to host.")


def test_a_service_that_fails_midway_does_not_cost_the_run(capsys):
    service = Failing()
    tracker = Tracker(service)
    for _ in range(4):
        tracker.log({"loss": 1.0})
    tracker.finish()
    assert service.seen == 2
    assert capsys.readouterr().out.strip() == "failing takes no more figures (no route to host); the run goes on"
