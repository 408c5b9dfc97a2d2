"""The estimate for a data set: its numbers or classes, groups, weights and population."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data import Dataset
from engine.errors import ArgumentError, DataError
from engine.rectification.estimate import Estimate
from engine.rectification.groups import rectified_groups
from engine.rectification.mean import rectified_mean
from engine.rectification.pool import PoolSummary
from engine.rectification.quantile import rectified_quantile
from engine.rectification.shares import rectified_shares

Rows = NDArray[np.intp]
Floats = NDArray[np.float64]


def check_estimand(data: Dataset, estimand: str) -> None:
    """Refuse an estimand that the labels do not have.

    Raises:
        ArgumentError: Saying what the labels are and which estimand they have.
    """
    if estimand in ("mean", "quantile") and data.classes:
        raise ArgumentError(f"The {estimand} needs numbers, but the labels are classes; ask for their shares.")
    if estimand == "shares" and not data.classes:
        raise ArgumentError("Shares need classes, but the labels are numbers; ask for their mean.")
    if estimand == "groups" and data.groups is None:
        raise ArgumentError("Groups need a column that names each row's group; name it (--by on the command line).")
    if estimand == "groups" and data.classes and len(data.classes) > 2:
        raise ArgumentError(
            f"Groups are compared by a mean or by the share of one of two classes, but the labels have "
            f"{len(data.classes)} classes; ask for shares, or join the classes to two."
        )


def check_population(data: Dataset, population: str) -> None:
    """Refuse to speak of a larger population from a pool of one text, which does not tell how texts differ.

    Raises:
        DataError: Saying what to do instead.
    """
    if data.m == 1 and population == "larger":
        raise DataError(
            "The pool has 1 text, and an answer about a larger population needs at least 2; bring a larger pool, or "
            "ask about these texts alone."
        )


def rectify_dataset(
    data: Dataset,
    predictions: Floats,
    pool_predictions: Floats | PoolSummary,
    *,
    estimand: str,
    q: float = 0.5,
    rows: Rows | None = None,
    trained: Rows | None = None,
    population: str = "these",
    confidence: float = 0.95,
) -> Estimate:
    """Rectify predictions with a data set's labels.

    Args:
        data: Labels and pool.
        predictions: For the labelled `rows`, shape (r,) for numbers or (r, k) for classes.
        pool_predictions: For the pool, shape (m,) or (m, k); for a mean their sums suffice, weighted like the data.
        estimand: "mean", "quantile", "shares" or "groups".
        q: Which quantile.
        rows: Labelled rows that rectify, shape (r,); all by default.
        trained: Labelled rows that trained the predictor; none of `rows`.
        population: "these" texts (labels and pool are everything) or a "larger" one.
        confidence: Confidence level.

    Raises:
        ArgumentError: The labels do not have this estimand, or the predictions do not fit the rows.
    """
    check_estimand(data, estimand)
    rows = np.arange(data.n) if rows is None else rows
    trained = None if trained is None or len(trained) == 0 else trained
    options: dict[str, Any] = {"confidence": confidence, "finite_population": population == "these"}
    if data.weights is not None:
        options["weights"] = data.weights[rows]
        if not isinstance(pool_predictions, PoolSummary):
            options["pool_weights"] = data.pool_weights
        if trained is not None:
            options["trained_weights"] = data.weights[trained]
    if data.clusters is not None:
        options["clusters"] = data.clusters[rows]
        if trained is not None:
            options["trained_clusters"] = data.clusters[trained]
    if estimand == "shares":
        names = np.asarray(data.classes)[data.y]
        options["trained"] = None if trained is None else names[trained]
        return rectified_shares(names[rows], predictions, pool_predictions, classes=data.classes, **options)
    if estimand == "mean":
        options["trained"] = None if trained is None else data.y[trained]
        return rectified_mean(data.y[rows], predictions, pool_predictions, **options)
    y, f, pool = _as_numbers(data, predictions, np.asarray(pool_predictions))
    options["trained"] = None if trained is None else y[trained]
    if estimand == "quantile":
        return rectified_quantile(y[rows], f, pool, q=q, **options)
    assert data.groups is not None
    options |= {"groups": data.groups[rows], "pool_groups": data.pool_groups}
    options["trained_groups"] = None if trained is None else data.groups[trained]
    return rectified_groups(y[rows], f, pool, **options)


def _as_numbers(data: Dataset, predictions: Floats, pool: Floats) -> tuple[Floats, Floats, Floats]:
    """Numbers as they are; of two classes, whether a row is of the second."""
    if data.classes:
        return (data.y == 1).astype(float), predictions[:, 1], pool[:, 1]
    return data.y, predictions, pool
