"""The probe: a closed-form head on frozen embeddings, averaged over penalties by their fit and how usual they are.

Ridge for numbers, one-against-the-rest logistic regression for classes. The leave-one-out predictions come from the
hat matrix (exactly for ridge; by one Newton step from the fit for logistic, Rad & Maleki, arXiv 1801.10243), so no
refit is needed. With few labels the best penalty is uncertain, and choosing one overfits: the heads of all penalties
are averaged, weighted by a power of their leave-one-out likelihood (Leung & Barron, IEEE Trans. Inf. Theory 52, 2006)
times how usual the penalty is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Penalties relative to the mean squared length of a centred embedding, from hardly any to almost all.
_PENALTIES = np.logspace(-2.5, 3, 23)
# The power of the leave-one-out likelihood that weighs a penalty; one would be too sure of it.
_CERTAINTY = 0.6
# The usual penalty, and the factor that is one standard deviation from it: labels hold more noise than an embedding
# tells of them. Looked for on rows apart from those that benchmarks/residual_variance.py reports: one from 1.5 to 4,
# with powers from 0.4 to 1, leaves 1% less variance than none with 50 and 100 labels, and as much with 400 and more.
_USUAL, _FACTOR = 2.5, 4.0
_NEWTON_STEPS, _BOUND_STEPS = 30, 100


@dataclass(frozen=True)
class Head:
    """A linear head on embeddings.

    Attributes:
        centre: Mean embedding, shape (d,).
        coefficients: Shape (d, k); k = 1 for numbers.
        intercepts: Shape (k,).
        logistic: Whether the outputs are class probabilities.
        loo: Leave-one-out predictions of the training rows, shape (n,) or (n, k).
    """

    centre: Floats
    coefficients: Floats
    intercepts: Floats
    logistic: bool
    loo: Floats

    def predict(self, embeddings: NDArray[np.floating]) -> Floats:
        """Return predictions of shape (rows,) for numbers, probabilities (rows, k) for classes."""
        scores = (np.asarray(embeddings, dtype=float) - self.centre) @ self.coefficients + self.intercepts
        return _probabilities(scores) if self.logistic else scores[:, 0]


def fit_ridge(embeddings: NDArray[np.floating], y: Floats) -> Head:
    """Fit ridge regression, its penalties weighed by the variance of the leave-one-out residual.

    Args:
        embeddings: Shape (n, d), n >= 2.
        y: Numbers, shape (n,).
    """
    centre, U, d, Vt = _decompose(embeddings)
    target, n = y - y.mean(), len(y)
    projected = U.T @ target
    shrinks = [d**2 / (d**2 + penalty) for penalty in _PENALTIES * (d**2).sum() / n]
    leverages = (U**2) @ np.transpose(shrinks) + 1 / n
    fitted = U @ (np.transpose(shrinks) * projected[:, None])
    residuals = (target[:, None] - fitted) / np.maximum(1 - leverages, 1e-6)
    # The variance objective: a constant bias of the prediction costs a rectified estimate nothing.
    weights = _weights(_PENALTIES, 0.5 * n * np.log(np.maximum(residuals.var(0), 1e-300)))
    coefficients = Vt.T @ (np.transpose(shrinks) @ weights / np.where(d > 0, d, 1) * projected)
    return Head(centre, coefficients[:, None], np.array([y.mean()]), False, y - residuals @ weights)


def fit_layers(states: NDArray[np.floating], y: NDArray[Any], classes: int | None) -> Head:
    """Fit a head on the pooled states of several layers, each coordinate in units of its deviation over the rows.

    Args:
        states: Shape (n, layers, width).
        y: Numbers, or class codes, shape (n,).
        classes: Number of classes, or None for numbers.

    Returns:
        A head on the states laid side by side, shape (rows, layers * width).
    """
    X = states.reshape(len(states), -1).astype(float)
    scale = X.std(0)
    scale[scale < 1e-6 * max(float(scale.max()), 1e-300)] = np.inf  # a coordinate that never changes
    scaled = X / scale
    head = fit_logistic(scaled, y, classes) if classes else fit_ridge(scaled, y)
    centre = np.where(np.isinf(scale), 0.0, X.mean(0))
    return replace(head, centre=centre, coefficients=head.coefficients / scale[:, None])


def _weights(penalties: Floats, losses: Floats) -> Floats:
    """Weights of penalties by their models' negative log likelihood of labels left out; all of shape (penalties,)."""
    unusual = (np.log(penalties / _USUAL) / np.log(_FACTOR)) ** 2 / 2
    logs = -_CERTAINTY * losses - unusual
    weights = np.exp(logs - logs.max())
    return np.asarray(weights / weights.sum())


def fit_logistic(embeddings: NDArray[np.floating], codes: NDArray[np.integer], classes: int) -> Head:
    """Fit one-against-the-rest logistic regressions, their penalties weighed by the leave-one-out log loss.

    Args:
        embeddings: Shape (n, d).
        codes: Class of each row, 0 to classes - 1, shape (n,).
        classes: Number of classes k; one that no row has keeps a small constant probability.
    """
    centre, U, d, Vt = _decompose(embeddings)
    Z = U * d
    n = len(codes)
    weights, intercepts, loo = np.zeros((Z.shape[1], classes)), np.zeros(classes), np.zeros((n, classes))
    for k in range(classes):
        if k == 1 and classes == 2:  # the mirror image of the first
            weights[:, 1], intercepts[1], loo[:, 1] = -weights[:, 0], -intercepts[0], -loo[:, 0]
            break
        y = (codes == k).astype(float)
        if 0 < y.sum() < n:
            weights[:, k], intercepts[k], loo[:, k] = _fit_binary(Z, y)
        else:
            share = (y.sum() + 0.5) / (n + 1)
            intercepts[k] = np.log(share / (1 - share))
            loo[:, k] = intercepts[k]
    return Head(centre, Vt.T @ weights, intercepts, True, _probabilities(loo))


def _fit_binary(Z: Floats, y: Floats) -> tuple[Floats, float, Floats]:
    """Return coefficients, intercept and leave-one-out scores, averaged over penalties."""
    scale = (Z**2).sum() / len(y)
    beta, fits = np.zeros(Z.shape[1] + 1), []
    design = np.column_stack([Z, np.ones(len(y))])
    penalties = _PENALTIES[::-3]  # from strong to weak: each starts near its end
    for penalty in penalties * scale / 4:
        beta, loo = _newton(design, y, penalty, _approach(Z, y, penalty, beta))
        fits.append((float(np.logaddexp(0, np.where(y > 0, -loo, loo)).sum()), beta, loo))
    weights = _weights(penalties, np.array([loss for loss, _, _ in fits]))
    beta, loo = (np.tensordot(weights, np.array(column), 1) for column in list(zip(*fits, strict=True))[1:])
    return beta[:-1], float(beta[-1]), loo


def _approach(Z: Floats, y: Floats, penalty: float, beta: Floats) -> Floats:
    """Steps towards the minimum that cost no Hessian: its bound Z'Z / 4 (Böhning, Ann. Inst. Stat. Math. 44, 1992) is
    diagonal here, since the columns of Z are orthogonal and centred. Accelerated, begun anew where it overshoots."""
    bound = np.append((Z**2).sum(0), len(y)) / 4 + penalty
    last, ahead, t = beta, beta, 1.0
    for _ in range(_BOUND_STEPS):
        p = 1 / (1 + np.exp(-np.clip(Z @ ahead[:-1] + ahead[-1], -30, 30)))
        gradient = np.append(Z.T @ (y - p) - penalty * ahead[:-1], (y - p).sum())
        beta = ahead + gradient / bound
        move = beta - last
        if np.abs(move).max() < 1e-4 * (1 + np.abs(beta).max()):
            break
        t, before = ((1 + np.sqrt(1 + 4 * t * t)) / 2, t) if gradient @ move > 0 else (1.0, 1.0)
        last, ahead = beta, beta + (before - 1) / t * move
    return beta


def _newton(design: Floats, y: Floats, penalty: float, beta: Floats) -> tuple[Floats, Floats]:
    """The minimum from a point near it, and the leave-one-out scores there."""
    ridge = np.full(design.shape[1], penalty)
    ridge[-1] = 1e-6  # the intercept is free
    for _ in range(_NEWTON_STEPS):
        p = 1 / (1 + np.exp(-np.clip(design @ beta, -30, 30)))
        w = np.maximum(p * (1 - p), 1e-6)
        inverse = np.linalg.inv((design.T * w) @ design + np.diag(ridge))
        step = inverse @ (design.T @ (y - p) - ridge * beta)
        beta = beta + step
        if np.abs(step).max() < 1e-3 * (1 + np.abs(beta).max()):  # what is left is of the order of its square
            break
    scores = design @ beta
    p = 1 / (1 + np.exp(-np.clip(scores, -30, 30)))
    leverage = ((design @ inverse) * design).sum(1)
    loo = scores - leverage * (y - p) / np.maximum(1 - leverage * w, 1e-3)
    return beta, loo


def _decompose(embeddings: NDArray[np.floating]) -> tuple[Floats, Floats, Floats, Floats]:
    X = np.asarray(embeddings, dtype=float)
    centre = X.mean(0)
    U, d, Vt = np.linalg.svd(X - centre, full_matrices=False)
    kept = d > 1e-8 * max(d[0], 1e-12) if d.size else np.zeros(0, dtype=bool)
    return centre, U[:, kept], d[kept], Vt[kept]


def _probabilities(scores: Floats) -> Floats:
    """One-against-the-rest probabilities, made to sum to one over classes."""
    p = 1 / (1 + np.exp(-np.clip(scores, -30, 30)))
    return np.asarray(p / p.sum(1, keepdims=True))
