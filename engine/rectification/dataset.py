"""The estimate for a data set: its numbers or classes, its weights, its population."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data import Dataset
from engine.rectification.estimate import Estimate
from engine.rectification.mean import rectified_mean
from engine.rectification.shares import rectified_shares

Rows = NDArray[np.intp]


def rectify_dataset(
    data: Dataset,
    predictions: NDArray[np.float64],
    pool_predictions: NDArray[np.float64],
    *,
    rows: Rows | None = None,
    trained: Rows | None = None,
    population: str = "these",
    confidence: float = 0.95,
) -> Estimate:
    """Rectify predictions with a data set's labels: the mean of numbers, the shares of classes.

    Args:
        data: Labels and pool.
        predictions: For the labelled `rows`, shape (r,) for numbers or (r, k) for classes.
        pool_predictions: For the pool, shape (m,) or (m, k).
        rows: Labelled rows that rectify, shape (r,); all by default.
        trained: Labelled rows that trained the predictor; none of `rows`.
        population: "these" texts (labels and pool are everything) or a "larger" one.
        confidence: Confidence level.

    Raises:
        ArgumentError: The predictions do not fit the rows.
    """
    rows = np.arange(data.n) if rows is None else rows
    y = np.asarray(data.classes)[data.y] if data.classes else data.y
    options: dict[str, Any] = {"confidence": confidence, "finite_population": population == "these"}
    if trained is not None and len(trained):
        options["trained"] = y[trained]
    if data.weights is not None:
        options |= {"weights": data.weights[rows], "pool_weights": data.pool_weights}
        if "trained" in options:
            options["trained_weights"] = data.weights[trained]
    if data.classes:
        return rectified_shares(y[rows], predictions, pool_predictions, classes=data.classes, **options)
    return rectified_mean(y[rows], predictions, pool_predictions, **options)
