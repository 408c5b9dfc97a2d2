"""Mapping predictions onto the labels before rectifying, cross-fitted so that no label calibrates itself."""

from typing import TypedDict

import numpy as np
from scipy.optimize import isotonic_regression

from engine.errors import ArgumentError
from engine.rectification.inputs import Calibration, Codes, Floats
from engine.rectification.layout import Pool
from engine.rectification.pool import PoolSummary

FOLDS = 10


class Calibrated(TypedDict):
    """Predictions after calibration: f (n, d), pool (m, d) or a summary."""

    f: Floats
    pool: Pool


def calibrate_scores(y: Floats, f: Floats, pool: Pool, how: Calibration) -> Calibrated:
    """Column by column: labels by the maps of the other folds, the pool by the mean of all maps.

    Raises: ArgumentError where a summary of the pool is to be calibrated by anything but a straight line.
    """
    if isinstance(pool, PoolSummary):
        raise ArgumentError("calibrate needs the pool row by row: give pool_predictions as an array, not a summary.")
    fold = fold_of(f, y)
    columns = [_one_column(y[:, j], f[:, j], pool[:, j], fold, how) for j in range(y.shape[1])]
    return {"f": np.column_stack([c[0] for c in columns]), "pool": np.column_stack([c[1] for c in columns])}


def fold_of(f: Floats, y: Floats) -> Codes:
    """Fold of each row, by rank of the prediction: even folds that do not depend on the order of the rows."""
    n = len(f)
    order = np.lexsort((y[:, 0], f[:, 0]))
    fold = np.empty(n, dtype=np.int64)
    fold[order] = np.arange(n) % min(FOLDS, n)
    return fold


def _one_column(y: Floats, f: Floats, pool: Floats, fold: Codes, how: Calibration) -> tuple[Floats, Floats]:
    own, total = np.empty_like(f), np.zeros_like(pool)
    count = int(fold.max()) + 1
    for k in range(count):
        here = fold == k
        curve = _linear(f[~here], y[~here]) if how == "linear" else _isotonic(f[~here], y[~here])
        own[here] = np.interp(f[here], *curve) if how == "isotonic" else curve[0] + curve[1] * f[here]
        total += np.interp(pool, *curve) if how == "isotonic" else curve[0] + curve[1] * pool
    return own, total / count


def _linear(f: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Intercept and slope of least squares."""
    gap = f - f.mean()
    spread = float(gap @ gap)
    slope = float(gap @ (y - y.mean())) / spread if spread > 0 else 0.0
    return np.asarray(y.mean() - slope * f.mean()), np.asarray(slope)


def _isotonic(f: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Knots of the rising step function nearest to y; tied predictions share their mean."""
    knots, place, counts = np.unique(f, return_inverse=True, return_counts=True)
    means = np.bincount(place, weights=y) / counts
    return knots, np.asarray(isotonic_regression(means, weights=counts).x)
