"""How far a fine-tuned model may be trusted: a weight learnt from predictions of labels that it has not seen.

The weight w moves the prediction from a cautious one (the mean label, or the probe's) to the fine-tuned one:
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


def trust(y: Floats, tuned: Floats, cautious: Floats, *, excess: float = 0.0, most: float = 1.0) -> float:
    """Return the weight of the fine-tuned predictions, from 0 to `most`.

    Args:
        y: Labels as columns, shape (n, k).
        tuned: The fine-tuned predictions of these labels, by models that have not seen them, shape (n, k).
        cautious: The cautious predictions of them, likewise, shape (n, k).
        excess: By how much the variance of `tuned`, summed over columns, exceeds that of the final model's
            predictions. An average of models scatters less than each of them, and the noise it has lost was no part of
            what the predictions share with the labels: a weight learnt from the single models would be too small.
        most: Largest weight. Above 1 the final model's predictions are spread out.
    """
    residual, move = _centred(y - cautious), _centred(tuned - cautious)
    length, along = float((move**2).sum()), float((move * residual).sum())
    total = float((residual**2).sum())
    if along <= 0 or total <= 0:
        return 0.0
    explained = min(along**2 / length, total)
    noise = (total - explained) / max(y.shape[1] * (len(y) - 2), 1)
    kept = max(0.0, 1 - noise / explained)
    remaining = length - excess * len(y)
    if remaining <= 0:
        return most if kept > 0 else 0.0
    return float(min(kept * along / remaining, most))


def without_each(y: Floats) -> Floats:
    """Return the mean of the other labels for each label; y and the means have shape (n, k).

    A prediction that leaves a label out starts from this mean, which falls as the label rises.
    """
    return np.asarray((y.sum(0) - y) / max(len(y) - 1, 1))


def spread(columns: Floats) -> float:
    """Return the variance of predictions of shape (n, k), summed over columns."""
    return float(columns.var(0).sum())


def _centred(columns: Floats) -> Floats:
    return np.asarray(columns - columns.mean(0))
