"""How far a fine-tuned model may be trusted: a weight learnt from predictions of labels that it has not seen.

The weight w in [0, 1] moves the prediction from a cautious one (the mean label, or the probe's) to the fine-tuned one:
cautious + w (tuned - cautious). It minimises the variance of the residual of the left-out predictions, and is shrunk
as James and Stein shrink a mean where the move explains hardly more than chance does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def outcomes(y: NDArray[Any], classes: int | None) -> Floats:
    """Return labels as columns: (n, 1) numbers, or (n, k) one-hot classes."""
    return np.eye(classes)[y] if classes else np.asarray(y, dtype=float)[:, None]


def trust(y: Floats, tuned: Floats, cautious: Floats, averaged: int = 1) -> float:
    """Return the weight of the fine-tuned predictions, from 0 to 1.

    Args:
        y: Labels as columns, shape (n, k).
        tuned: The fine-tuned predictions of these labels, by models that have not seen them, shape (n, k).
        cautious: The cautious predictions of them, likewise, shape (n, k).
        averaged: How many models like those that made `tuned` the final model averages. An average of K carries less
            noise than one: were their errors independent, a slope of b for one would be b / (b + (1 - b) / K).
    """
    residual, move = _centred(y - cautious), _centred(tuned - cautious)
    length, along = float((move**2).sum()), float((move * residual).sum())
    total = float((residual**2).sum())
    if along <= 0 or total <= 0:
        return 0.0
    explained = min(along**2 / length, total)
    noise = (total - explained) / max(y.shape[1] * (len(y) - 2), 1)
    slope = min(along / length, 1.0) * max(0.0, 1 - noise / explained)
    return slope / (slope + (1 - slope) / averaged) if slope > 0 else 0.0


def without_each(y: Floats) -> Floats:
    """Return the mean of the other labels for each label; y and the means have shape (n, k).

    A prediction that leaves a label out starts from this mean, which falls as the label rises.
    """
    return np.asarray((y.sum(0) - y) / max(len(y) - 1, 1))


def _centred(columns: Floats) -> Floats:
    return np.asarray(columns - columns.mean(0))
