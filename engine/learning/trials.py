"""The pilot: trials at growing numbers of labels, each scored on labels it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.learning.blending import outcomes
from engine.learning.learners import Learner
from engine.learning.models import Progress, silent
from engine.learning.training import LossReport

__all__ = [
    "Trial",
    "above_zero",
    "class_shares",
    "label_variance",
    "outcomes",
    "residual_variance",
    "run_trial",
    "weighed",
]

Floats = NDArray[np.float64]
_NEXT_TO_NOTHING = 1e-10


@dataclass(frozen=True)
class Trial:
    """One fit of a learner on `size` labels with one seed.

    Attributes:
        learner: Its name.
        size: Labels it was fitted on.
        seed: Which hold-out and which order of labels.
        variance: Residual variance on the hold-out under the best linear use of the predictions; for classes the mean
            over classes.
        score: 1 - variance / label variance of the hold-out.
        degrees_of_freedom: Of the variance.
        seconds: Time of fit and prediction.
    """

    learner: str
    size: int
    seed: int
    variance: float
    score: float
    degrees_of_freedom: float
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dictionary fit for JSON."""
        return asdict(self)


def weighed(columns: Floats, weights: Floats | None, texts: Sequence[str] | None = None) -> Floats:
    """Return what each row, or each text, adds to the error of a weighted mean, w (y - mean y), in the labels' unit.

    The variance of these, times Kish's factor and over n, is that of the weighted mean (Hajek): labels and predictions
    that are weighed lead from a slope to the variance that a weighted estimate will have. Several labels of a text add
    up, so that it counts how far they agree.

    Args:
        columns: Labels or predictions, shape (n, k).
        weights: Of the rows, shape (n,); None, or none above zero, for rows that count alike.
        texts: Of the rows, where rows of the same text are to be one, shape (n,).

    Returns:
        Shape (n, k), or (number of texts, k). Without weights and texts these are the columns.
    """
    alike = weights is None or not weights.any()
    if alike and texts is None:
        return columns
    w = np.ones(len(columns)) if weights is None or alike else weights
    errors, units = w[:, None] * (columns - (w / w.sum()) @ columns), w
    if texts is not None:
        found, codes = np.unique(np.asarray(texts, dtype=object), return_inverse=True)
        units, sums = np.bincount(codes, w).astype(float), np.zeros((len(found), columns.shape[1]))
        np.add.at(sums, codes, errors)
        errors = sums
    return np.asarray(errors / np.sqrt((units**2).mean()))


def class_shares(y: Floats) -> Floats:
    """Return the share of each class among labels as columns, shape (n, k) to (k,); none is 0 or 1.

    Each class and its absence count half a label more than were seen (Jeffreys' prior): that none of 50 labels is of a
    class does not say that there is none.
    """
    return np.asarray((y.sum(0) + 0.5) / (len(y) + 1))


def label_variance(y: Floats, *, classes: bool) -> float:
    """Return the variance of labels as columns, shape (n, k), as a mean over columns; of classes never zero."""
    if not classes:
        return float(y.var(0, ddof=1).mean())
    shares = class_shares(y)
    return float((shares * (1 - shares)).mean() * len(y) / (len(y) - 1))


def residual_variance(y: Floats, predictions: Floats, shares: Floats | None = None) -> tuple[float, float, float]:
    """Return residual variance under the best linear use of the predictions, label variance, degrees of freedom.

    Args:
        y: Labels as columns, shape (n, k); variances are means over columns, and one slope serves all columns, as one
            lambda serves all shares.
        predictions: Of these labels, shape (n, k).
        shares: The share of each class wherever it is better known, shape (k,); None for numbers. Each class counts by
            its share, and one that none of these labels has as if the predictions told nothing of it.
    """
    seen, weights = len(y), np.ones(len(y))
    if shares is not None:
        counts = y.sum(0)
        unseen = np.flatnonzero(counts == 0)
        # The shares of many classes, each better known with its half label, sum to more than 1.
        weights = seen / shares.sum() * np.concatenate([y @ (shares / np.maximum(counts, 1)), shares[unseen]])
        y = np.concatenate([y, np.eye(y.shape[1])[unseen]])
        predictions = np.concatenate([predictions, np.tile(predictions.mean(0), (len(unseen), 1))])
    total, k = weights.sum(), y.shape[1]
    dy = y - np.average(y, 0, weights)
    df = predictions - np.average(predictions, 0, weights)
    each = weights[:, None]
    spread = float((each * df**2).sum())
    # A slope below zero would say that the model is worse than nothing; lambda is never negative.
    slope = max(float((each * dy * df).sum()) / spread, 0.0) if spread > 0 else 0.0
    fitted = 1 if shares is None else 0  # shares that are known have taken no freedom from these labels
    residual, spread_of_labels = float((each * (dy - slope * df) ** 2).sum()), float((each * dy**2).sum())
    return residual / max(total - fitted - 1, 1) / k, spread_of_labels / (total - fitted) / k, float(max(seen - 2, 1))


def above_zero(variance: float, spread: float, seen: int, *, classes: bool) -> float:
    """Return a residual variance that can be believed of so many labels seen, where nothing is left of theirs.

    A label more counts of which half is left: that none of 20 is mistaken does not say that none ever is. Of numbers a
    little may be left of every label, and that is believed. `spread` is the label variance.
    """
    is_left = not classes and variance > _NEXT_TO_NOTHING * spread
    return max(variance, 0.0 if is_left else 0.5 / (seen + 1) * spread, float(np.finfo(float).tiny))


def run_trial(
    name: str,
    learner: Learner,
    texts: list[str],
    y: NDArray[Any],
    classes: int | None,
    train: NDArray[np.intp],
    holdout: NDArray[np.intp],
    seed: int,
    progress: Progress = silent,
    report_loss: LossReport | None = None,
    shares: Floats | None = None,
    weights: Floats | None = None,
    by_text: bool = False,
) -> Trial:
    """Fit on the rows `train` and score on the rows `holdout`.

    `shares` are as in `residual_variance`; `weights`, of all rows, are those of the estimate, and `by_text` takes the
    labels of a text as one: neither leaves shares.
    """
    start = perf_counter()
    model = learner.fit([texts[i] for i in train], y[train], seed=seed, progress=progress, report_loss=report_loss)
    predictions = model.predict([texts[i] for i in holdout], rough=True)

    def counting(columns: Floats, rows: NDArray[np.intp]) -> Floats:
        own = None if weights is None else weights[rows]
        return weighed(columns, own, [texts[i] for i in rows] if by_text else None)

    labels = counting(outcomes(y[holdout], classes), holdout)
    columns = counting(predictions if classes else predictions[:, None], holdout)
    variance, spread, freedom = residual_variance(labels, columns, shares)
    score = 1 - variance / spread if spread > 0 else 0.0
    known = np.concatenate([train, holdout])
    every = counting(outcomes(y[known], classes), known)
    counted = classes is not None and weights is None and not by_text
    variance = above_zero(variance, label_variance(every, classes=counted), len(labels), classes=counted)
    return Trial(name, len(train), seed, variance, score, freedom, perf_counter() - start)
