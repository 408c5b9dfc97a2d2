"""The pilot: trials at growing numbers of labels, each scored on labels it has not seen."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.learning.blending import outcomes
from engine.learning.learners import Learner
from engine.learning.models import Progress, silent
from engine.learning.training import LossReport

__all__ = ["Trial", "outcomes", "residual_variance", "run_trial"]

Floats = NDArray[np.float64]


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


def residual_variance(y: Floats, predictions: Floats) -> tuple[float, float, float]:
    """Return residual variance under the best linear use of the predictions, label variance, degrees of freedom.

    Both arrays have shape (n, k); variances are means over columns, and one slope serves all columns, as one lambda
    serves all shares.
    """
    dy, df = y - y.mean(0), predictions - predictions.mean(0)
    spread = float((df**2).sum())
    # A slope below zero would say that the model is worse than nothing; lambda is never negative.
    slope = max(float((dy * df).sum()) / spread, 0.0) if spread > 0 else 0.0
    freedom = max(len(y) - 2, 1)
    k = y.shape[1]
    return float(((dy - slope * df) ** 2).sum() / freedom / k), float((dy**2).sum() / (len(y) - 1) / k), float(freedom)


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
) -> Trial:
    """Fit on the rows `train` and score on the rows `holdout`."""
    start = perf_counter()
    model = learner.fit([texts[i] for i in train], y[train], seed=seed, progress=progress, report_loss=report_loss)
    predictions = model.predict([texts[i] for i in holdout], rough=True)
    columns = predictions if classes else predictions[:, None]
    variance, spread, freedom = residual_variance(outcomes(y[holdout], classes), columns)
    score = 1 - variance / spread if spread > 0 else 0.0
    return Trial(name, len(train), seed, max(variance, 1e-12), score, freedom, perf_counter() - start)
