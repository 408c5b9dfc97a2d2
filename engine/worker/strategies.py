"""Carrying out a strategy: which labels train, which rectify, and the predictions that come of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.allocation import Plan
from engine.allocation.strategies import FEWEST_TO_RECTIFY
from engine.data.sealing import Rows, generator, require_sealed
from engine.learning.checkpoints import Checkpoints
from engine.learning.decoders import without_template
from engine.learning.files import files_of
from engine.learning.models import Progress, is_decoder
from engine.learning.prediction import in_parts
from engine.runs import fingerprint, home
from engine.runs.pace import predicted
from engine.runs.preflight import no_predictions
from engine.worker.asking import asked, choices
from engine.worker.job import VERSION, Job
from engine.worker.keeping import kept, write

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Predictions:
    """Predictions to rectify, and which labelled rows did what.

    Attributes:
        trained: Rows that trained the model and rectify nothing.
        rectify: Rows whose predictions come from a model that has not seen them.
        labels: Predictions for `rectify`, shape (r,) or (r, k).
        pool: Predictions for the pool, shape (m,) or (m, k); under cross-fit each text's comes from one fold's model.
        folds: Under cross-fit the fold of each row of `rectify`.
        parts: Under cross-fit the fold whose model predicts, for each text of the pool, shape (m,).
    """

    trained: Rows
    rectify: Rows
    labels: Floats
    pool: Floats
    folds: Rows | None = None
    parts: Rows | None = None


def require_predictions(job: Job) -> None:
    """Require what the strategy zero-shot rectifies: predictions with the data, or a model that can be asked for them.

    Raises:
        ArgumentError: There are none, and the model does not write.
        ModelError: The model writes, but cannot be asked.
    """
    model = job.settings.model
    if job.settings.strategy != "zero-shot" or job.dataset.predictions is not None or job.can_be_asked:
        return
    raise without_template(model) if is_decoder(model) else no_predictions(job.dataset.name, model)


def carry_out(name: str, job: Job, made: Plan | None) -> Predictions:
    """Return the predictions of a strategy by its name; for zero-shot, `require_predictions` has found some."""
    strategies = {"labels-only": _labels_only, "zero-shot": _zero_shot, "split": _split, "cross-fit": _cross_fit}
    predictions = strategies[name](job, made)
    # Of a run that was stopped, models may be left that no other fit has taken.
    shutil.rmtree(_checkpoints(job), ignore_errors=True)
    return predictions


def _labels_only(job: Job, _made: Plan | None) -> Predictions:
    # A constant predicts nothing: rectifying it is the labels-only answer. For classes all are equally probable.
    n, m, k = job.dataset.n, job.dataset.m, job.classes
    labels, pool = (np.full((n, k), 1 / k), np.full((m, k), 1 / k)) if k else (np.zeros(n), np.zeros(m))
    return Predictions(np.empty(0, np.intp), np.arange(n), labels, pool)


def _zero_shot(job: Job, _made: Plan | None) -> Predictions:
    data = job.dataset
    labels, pool = data.predictions, data.pool_predictions
    if labels is None or pool is None:
        every = asked(job, [*data.texts, *data.pool_texts], job.report)
        assert every is not None
        _keep_model(job, 0, partial(choices(job).save, model=job.settings.model))
        labels, pool = every[: data.n], every[data.n :]
    return Predictions(np.empty(0, np.intp), np.arange(data.n), labels, pool)


def _split(job: Job, made: Plan | None) -> Predictions:
    # Pilots have looked at their labels, so they fine-tune and never rectify.
    assert made is not None
    asked = made["split"].finetune if job.settings.finetune is None else job.settings.finetune
    s = max(asked, made.finetune_minimum)
    s = min(s, job.dataset.n - FEWEST_TO_RECTIFY)
    train, rectify = job.sealing.split(s)
    require_sealed(job.sealing.opened(made.finetune_minimum).pilot, rectify)
    spans = _spans(made, np.array([made.costs.seconds(1, s, 0)]), predicted(job.settings, job.dataset))
    labels, pool = _fit_and_predict(job, train, rectify, np.arange(job.dataset.m), 0, spans[0])
    return Predictions(train, rectify, labels, pool)


def _cross_fit(job: Job, made: Plan | None) -> Predictions:
    """Every label trains the models of all folds but its own, and rectifies that one.

    Each fold's model predicts its own part of the pool, drawn at random: labels and pool are then predicted alike, each
    text by one of the models taken at random, and the rectified estimate and its interval are those of a single
    predictor. The mean of all models' predictions (Zrnic & Candes, arXiv 2309.16598) would take K times as long, and
    gain nothing where the labels are far fewer than the pool: the error is that of the residuals of the labels.
    """
    assert made is not None
    n, m = job.dataset.n, job.dataset.m
    folds = job.sealing.folds(made["cross-fit"].folds)
    order = generator(job.dataset.key, job.settings.seed).permutation(m)
    labels, pool, numbers, parts = None, None, np.empty(n, np.intp), np.empty(m, np.intp)
    for j, (fold, part) in enumerate(zip(folds, np.array_split(order, len(folds)), strict=True)):
        numbers[fold], parts[part] = j, j
    blocks = numbers if made.costs.shares(len(folds)) else None
    # A fit trains the models that no earlier one has.
    work = np.ones(len(folds)) if blocks is None else np.arange(len(folds), 0, -1.0)
    training = made.costs.seconds(len(folds), n - len(folds[0]), 0) * work / work.sum()
    spans = _spans(made, training, predicted(job.settings, job.dataset))
    for j, (fold, span) in enumerate(zip(folds, spans, strict=True)):
        train = np.setdiff1d(np.arange(n), fold)
        part = np.flatnonzero(parts == j)
        own, rest = _fit_and_predict(job, train, fold, part, j, span, blocks)
        if labels is None or pool is None:
            labels, pool = np.empty((n, *own.shape[1:])), np.empty((m, *own.shape[1:]))
        labels[fold], pool[part] = own, rest
    assert labels is not None
    assert pool is not None
    return Predictions(np.empty(0, np.intp), np.arange(n), labels, pool, numbers, parts)


def _spans(made: Plan, training: Floats, m: int) -> Floats:
    """Where in the stage each fit begins, has trained and has predicted its part of the pool, shape (fits, 3).

    `training` has the seconds that training each of them is expected to take.
    """
    predicting = made.costs.seconds_per_thousand * m / 1000 / len(training)
    ends = np.concatenate([[0], np.column_stack([training, np.full(len(training), predicting)]).cumsum()])
    ends = ends / ends[-1] if ends[-1] else np.linspace(0, 1, len(ends))
    return np.column_stack([ends[:-1:2], ends[1::2], ends[2::2]])


def _fit_and_predict(
    job: Job, train: Rows, rectify: Rows, pool: Rows, number: int, span: Floats, blocks: Rows | None = None
) -> tuple[Floats, Floats]:
    """Predictions of one model for its rectification rows and rows of the pool; kept on disk, since models are dear.

    `span` says where in the stage it begins, has trained and ends. `blocks` has the fold of every label where the fits
    of all folds have their models in common.
    """

    def between(low: float, high: float) -> Progress:
        return lambda share: job.report(low + share * (high - low))

    settings, data = job.settings, job.dataset
    parts = None if blocks is None else blocks[train]
    inputs = [data.key, job.read, settings.learner, settings.objective, settings.seed, train.tolist(), pool.tolist()]
    inputs += [] if parts is None else [parts.tolist()]
    path = home() / "cache" / "predictions" / f"{fingerprint(VERSION, *inputs)}.npz"
    if not path.exists():
        texts = [data.texts[i] for i in train]
        # To read a large pool may take longer than training, and may be stopped too: the models stay until it is read,
        # and so do the predictions of its parts.
        checkpoints = Checkpoints(_checkpoints(job), holding=True)
        model = job.learner().fit(
            texts,
            data.y[train],
            seed=settings.seed,
            progress=between(span[0], span[1]),
            report_loss=job.loss_report(f"model {number + 1}"),
            checkpoints=checkpoints,
            blocks=parts,
        )
        if model.residual is not None:
            job.tracker.log({f"model {number + 1}/residual_share": model.residual})
        folder = _keep_model(job, number, model.save)
        every = [data.texts[i] for i in rectify] + [data.pool_texts[i] for i in pool]
        # One model must predict labels and pool: what other weights predicted is not taken.
        weights = {name: digest for name, digest in files_of(str(folder)).items() if name.endswith(".safetensors")}
        read = _checkpoints(job) / "predictions"
        predict = kept(partial(model.predict, rough=True), read, path.stem, weights)
        predictions = in_parts(predict, every, between(span[1], span[2]))
        arrays = {"rectify": predictions[: len(rectify)], "pool": predictions[len(rectify) :]}
        write(path, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]
        shutil.rmtree(read)
        checkpoints.let_go()
        print(f"         model {number + 1} fitted on {len(train)} labels")
    job.report(span[2])
    with np.load(path) as found:
        return found["rectify"], found["pool"]


def _keep_model(job: Job, number: int, save: Callable[[Path], None]) -> Path:
    """Save one of the run's models, and what its base model was; return the folder."""
    folder = job.run.folder / "models" / str(number)
    save(folder)
    (folder / "base.json").write_text(json.dumps(job.files, indent=2), encoding="utf-8")
    return folder


def _checkpoints(job: Job) -> Path:
    return job.run.folder / "checkpoints"
