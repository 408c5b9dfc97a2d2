"""From predictions to the estimate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from engine.allocation import Plan
from engine.rectification import Estimate
from engine.rectification.dataset import rectify_dataset
from engine.runs.pace import SECONDS_TO_PREDICT, predicted
from engine.worker.job import ESTIMATE, MODELS, READING, Job
from engine.worker.strategies import Predictions, carry_out


def answer(job: Job, made: Plan | None) -> Estimate:
    """Carry out the strategy and rectify; the strategies that train nothing need no plan."""
    name = made.recommended if made and job.settings.strategy == "auto" else job.settings.strategy
    if job.settings.learner == "probe" and name in ("split", "cross-fit"):
        # Every fold's probe reads the same embeddings, so nearly all of the work is here.
        job.report.stage(READING)
        job.bench.cache.keep([*job.dataset.texts, *job.dataset.pool_texts], job.report)
    if made:
        texts = predicted(job.settings, job.dataset)
        training = made.costs.seconds(made[name].folds, made[name].finetune, texts)
        job.report.expect({MODELS: training or SECONDS_TO_PREDICT * job.dataset.m})
    job.report.stage(MODELS)
    predictions = carry_out(name, job, made)
    job.report.stage(ESTIMATE)
    question = job.study.question
    estimate = rectify_dataset(
        job.dataset,
        predictions.labels,
        predictions.pool,
        rows=predictions.rectify,
        trained=predictions.trained,
        estimand=question.estimand,
        q=question.q,
        population=question.population,
        confidence=question.confidence,
    )
    if name == "labels-only" and estimate.labels_only is not None:
        estimate = estimate.labels_only
    cautions = (job.study.caution,) if job.study.caution else ()
    estimate = replace(estimate, method=name, notes=(*estimate.notes, *cautions))
    _save_predictions(job, predictions)
    job.record("estimate", estimate.to_dict())
    job.record("details strategy", {"strategy": name, "finetune": len(predictions.trained)})
    used = {"pilot": job.sealing.pilot.tolist() if made else [], **_used_rows(predictions)}
    job.record("rows", used)
    _save_labels(job, predictions, used)
    return estimate


def _save_predictions(job: Job, predictions: Predictions) -> None:
    """Every row with its part, its prediction and, under cross-fit, the fold of the model that made it."""
    data = job.dataset
    frame = pd.DataFrame({"text": [*(data.texts[i] for i in predictions.rectify), *data.pool_texts]})
    if data.ids is not None and data.pool_ids is not None:
        frame.insert(0, "id", [*data.ids[predictions.rectify], *data.pool_ids])
    frame["part"] = ["rectify"] * len(predictions.rectify) + ["pool"] * data.m
    if predictions.folds is not None and predictions.parts is not None:
        frame["fold"] = np.concatenate([predictions.folds, predictions.parts])
    values = np.concatenate([predictions.labels, predictions.pool])
    if data.classes:
        for k, name in enumerate(data.classes):
            frame[f"probability of {name}"] = values[:, k]
    else:
        frame["prediction"] = values
    frame.to_parquet(job.run.folder / "predictions.parquet", index=False)


def _save_labels(job: Job, predictions: Predictions, used: dict[str, list[int]]) -> None:
    """Every labelled row with what it was used for: opened by the pilot, fine-tuned, rectified, and its fold."""
    data, every = job.dataset, np.arange(job.dataset.n)
    labels = np.array(data.classes)[data.y] if data.classes else data.y
    frame = pd.DataFrame({"text": data.texts, "label": labels})
    if data.ids is not None:
        frame.insert(0, "id", data.ids)
    frame["opened by the pilot"] = np.isin(every, used["pilot"])
    frame["used to"] = np.where(np.isin(every, used["finetune"]), "fine-tune", "rectify")
    if predictions.folds is not None:
        frame["fold"] = predictions.folds
    frame.to_csv(job.run.folder / "labels.csv", index=False)


def _used_rows(predictions: Predictions) -> dict[str, list[int]]:
    used = {"finetune": predictions.trained.tolist(), "rectify": predictions.rectify.tolist()}
    if predictions.folds is not None:
        used["fold"] = predictions.folds.tolist()
    return used
