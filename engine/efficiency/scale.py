"""Scores on the unbounded scale where curves are averaged, with their measurement noise.

| kind | score | latent | its variance on T texts |
|---|---|---|---|
| accuracy | share k/T that is right | log (k + 1/2)/(T - k + 1/2) | 1/(k + 1/2) + 1/(T - k + 1/2) |
| explained variance | s = 1 - sigma2/Var(Y) | asinh(v / 0.1), v = -log(1 - s) | 4 max(|s|, 0.1) / (T (v^2 + 0.01)) |

Exact match and F1 count as accuracies; an explained variance is negative where a model does harm.
The empirical logit and its variance are those of Haldane and Anscombe, finite at 0 and 1; accuracies within 0.002 of 0
or 1 count as 0.002 or 0.998. For explained variance v is the log of Var(Y)/sigma2, a line in log n wherever sigma2
follows a power law; asinh is linear near 0, where noise rules and scores may be negative, and a logarithm beyond, where
tasks differ by factors. With r the correlation of residual and label, the delta method for a normal pair gives v the
variance 4 (1 - r^2)/T, and 1 - r^2 is s for the best linear prediction and -s/(1 - s) for noise; 0.1 keeps a score near
0 from seeming certain. Exactly 0 is the mean of the labels, known without error.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

Floats = NDArray[np.float64]
Kind = Literal["accuracy", "explained variance"]

ACCURACY: Kind = "accuracy"
EXPLAINED_VARIANCE: Kind = "explained variance"
TEST_SIZE = 1200  # where a score does not say on how many texts it was measured: the median of the published tasks
_MOST = {ACCURACY: 0.995, EXPLAINED_VARIANCE: 0.9999}  # nothing is known to be better, not even a ceiling of 1
_FARTHEST = 12.0  # latent explained variance: 1 - exp(-8000)
_LEAST = 0.002  # accuracies nearer to 0 or 1 are all alike: on the logit scale they would be worlds apart
_LINEAR = 0.1  # explained variance around 0 up to which the latent scale is linear


def to_latent(kind: Kind, scores: ArrayLike, test_size: float | None = None) -> tuple[Floats, Floats]:
    """Return the latent scores and the variances of their measurement, both of the shape of the scores."""
    score, size = np.asarray(scores, dtype=float), TEST_SIZE if test_size is None else test_size
    if kind == ACCURACY:
        right = np.clip(score * size + 0.5, _LEAST * (size + 1), (1 - _LEAST) * (size + 1))
        wrong = size + 1 - right
        return np.log(right / wrong), 1 / right + 1 / wrong
    variance = np.where(score == 0, 0.0, 4 * np.maximum(np.abs(score), 0.1) / size)
    return bend(-np.log1p(-np.minimum(score, _MOST[kind])), variance)


def bend(v: Floats, variance: Floats) -> tuple[Floats, Floats]:
    """Return the latent explained variances of v = -log(1 - s), and their variances by the delta method."""
    return np.arcsinh(v / _LINEAR), variance / (v**2 + _LINEAR**2)


def to_score(kind: Kind, latent: Floats) -> Floats:
    """Return the scores of latent scores, without measurement noise."""
    if kind == ACCURACY:
        return np.asarray(expit(latent))
    # A heavy tail would overflow; nothing that is plotted or counted lies there.
    v = _LINEAR * np.sinh(np.clip(latent, -_FARTHEST, _FARTHEST))
    return np.asarray(-np.expm1(-np.maximum(v, -1.0)))


def latent_ceiling(kind: Kind, ceiling: float) -> float:
    """Return a ceiling, such as human agreement, on the latent scale; it has no measurement noise."""
    if kind == ACCURACY:
        return float(logit(np.clip(ceiling, 1 - _MOST[kind], _MOST[kind])))
    return float(to_latent(kind, ceiling)[0])
