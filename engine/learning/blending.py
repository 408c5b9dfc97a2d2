"""How far a fine-tuned model may be trusted: a weight learnt from predictions of labels that it has not seen.

The weight w moves the prediction from a cautious one (the mean label, or the probe's) to the fine-tuned one:
cautious + w (tuned - cautious). The left-out predictions ask for the one that minimises the variance of their residual.
Of few labels it is known badly, and the usual weight speaks too, each as far as it is known: the posterior mean of a
normal prior and the normal likelihood of a regression slope (Gelman et al., Bayesian Data Analysis, 2.5).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Usual(NamedTuple):
    """A usual weight, and its precision: one over the variance of weights about it."""

    weight: float
    precision: float


# Looked for on rows apart from those that benchmarks/residual_variance.py reports. Away from the mean label a weight
# from 0.5 to 0.8 with a precision from 2 to 5 serves: with 50 labels it leaves 1.3% less variance than a weight shrunk
# to nothing. Beside the probe anything from 0.6 to 0.8 serves: an average of two good predictors is better than either,
# and the left-out predictions ask for too little of a model that trained on fewer labels than the probe.
BY_ITSELF, BESIDE_THE_PROBE = Usual(0.6, 3.0), Usual(0.65, 100.0)


def outcomes(y: NDArray[Any], classes: int | None) -> Floats:
    """Return labels as columns: (n, 1) numbers, or (n, k) one-hot classes."""
    return np.eye(classes)[y] if classes else np.asarray(y, dtype=float)[:, None]


def trust(
    y: Floats, tuned: Floats, cautious: Floats, usual: Usual, *, final: Floats | None = None, most: float = 1.0
) -> float:
    """Return the weight of the fine-tuned predictions, from 0 to `most`.

    Args:
        y: Labels as columns, shape (n, k).
        tuned: The fine-tuned predictions of these labels, by models that have not seen them, shape (n, k).
        cautious: The cautious predictions of them, likewise, shape (n, k).
        usual: What the weight is where the labels do not tell.
        final: The final model's predictions of them, where it is an average of those models, shape (n, k). It scatters
            less than each of them, and a weight learnt from the single models would be too small. That it has seen the
            labels does no harm: what it remembers of their noise is foreign to a model that has not.
        most: Largest weight. Above 1 the final model's predictions are spread out.
    """
    residual, move = _centred(y - cautious), _centred(tuned - cautious)
    length, along = float((move**2).sum()), float((move * residual).sum())
    remaining = length if final is None else float((move * _centred(final - cautious)).sum())
    noise = (float((residual**2).sum()) - along**2 / length if length > 0 else 0.0) / max(y.shape[1] * (len(y) - 2), 1)
    # They ask for along / remaining, which is known with a precision of remaining^2 / (length noise).
    unsure = usual.precision * length * max(noise, 0.0)
    if unsure + remaining**2 <= 0:
        return min(usual.weight, most)
    weight = (remaining * along + unsure * usual.weight) / (remaining**2 + unsure)
    return float(min(max(weight, 0.0), most))


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
