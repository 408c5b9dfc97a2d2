"""How far a fine-tuned model may be trusted: a weight learnt from predictions of labels that it has not seen.

The weight w moves the prediction from a cautious one (the mean label, or the probe's) to the fine-tuned one:
cautious + w (tuned - cautious). It minimises the variance of the residual of the left-out predictions. Away from the
mean label it is shrunk to nothing, as James and Stein shrink a mean, where the move explains hardly more than chance
does; away from the probe it is shrunk to what is usual, for an average of two good predictors is better than either.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# The usual weight of LoRA beside the probe, and how precisely it is known. Looked for on rows apart from those that
# benchmarks/residual_variance.py reports; anything from 0.6 to 0.9 serves.
_USUAL, _KNOWN = 0.8, 100.0


def outcomes(y: NDArray[Any], classes: int | None) -> Floats:
    """Return labels as columns: (n, 1) numbers, or (n, k) one-hot classes."""
    return np.eye(classes)[y] if classes else np.asarray(y, dtype=float)[:, None]


def trust(y: Floats, tuned: Floats, cautious: Floats, *, final: Floats | None = None, most: float = 1.0) -> float:
    """Return the weight of the fine-tuned predictions, from 0 to `most`.

    Args:
        y: Labels as columns, shape (n, k).
        tuned: The fine-tuned predictions of these labels, by models that have not seen them, shape (n, k).
        cautious: The cautious predictions of them, likewise, shape (n, k).
        final: The final model's predictions of them, where it is an average of those models, shape (n, k). It scatters
            less than each of them, and a weight learnt from the single models would be too small. That it has seen the
            labels does no harm: what it remembers of their noise is foreign to a model that has not.
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
    remaining = length if final is None else float((move * _centred(final - cautious)).sum())
    if remaining <= 0:
        return most if kept > 0 else 0.0
    return float(min(kept * along / remaining, most))


def share_of(tuned_trust: float, y: Floats, tuned: Floats, cautious: Floats, *, final: Floats | None = None) -> float:
    """Return the weight of fine-tuned predictions beside another model's, from 0 to 1.

    The weight that the left-out predictions ask for and the usual one, each as far as it is known: the first errs by
    the noise of the labels, and for the fine-tuned model's worse, since the model of a fold has seen fewer labels than
    the other and is not an average.

    Args:
        tuned_trust: How far the fine-tuned model is trusted by itself; below 1 the usual weight falls with it, and at 0
            there is nothing to share with.
        y: Labels as columns, shape (n, k).
        tuned: The fine-tuned predictions of these labels, as in `trust`.
        cautious: The other model's predictions of them, by a model that has not seen them.
        final: As in `trust`.
    """
    residual, move = _centred(y - cautious), _centred(tuned - cautious)
    length, along = float((move**2).sum()), float((move * residual).sum())
    usual = _USUAL * min(tuned_trust, 1.0)
    if length <= 0 or usual == 0:
        return usual
    remaining = length if final is None else max(float((move * _centred(final - cautious)).sum()), 0.0)
    noise = (float((residual**2).sum()) - along**2 / length) / max(y.shape[1] * (len(y) - 2), 1)
    asked = min(max(along, 0.0) / remaining, 1.0) if remaining else float(along > 0)
    known = remaining / max(noise, 1e-300)
    return float((known * asked + _KNOWN * usual) / (known + _KNOWN))


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
