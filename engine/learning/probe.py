"""The probe: a closed-form head on frozen embeddings, its penalty chosen by leave-one-out.

Ridge for numbers, one-against-the-rest logistic regression for classes. The leave-one-out predictions come from the
hat matrix (exactly for ridge; by one Newton step from the fit for logistic, Rad & Maleki, arXiv 1801.10243), so no
refit is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Penalties relative to the mean squared length of a centred embedding, from hardly any to almost all.
_PENALTIES = np.logspace(-2.5, 3, 23)
_NEWTON_STEPS = 30


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
    """Fit ridge regression with the penalty of smallest leave-one-out variance.

    Args:
        embeddings: Shape (n, d), n >= 2.
        y: Numbers, shape (n,).
    """
    centre, U, d, Vt = _decompose(embeddings)
    target, n = y - y.mean(), len(y)
    projected = U.T @ target
    best: tuple[float, Floats, Floats] | None = None
    for penalty in _PENALTIES * (d**2).sum() / n:
        shrink = d**2 / (d**2 + penalty)
        leverage = (U**2) @ shrink + 1 / n
        residual = (target - U @ (shrink * projected)) / np.maximum(1 - leverage, 1e-6)
        # The variance objective: a constant bias of the prediction costs a rectified estimate nothing.
        score = float(residual.var())
        if best is None or score < best[0]:
            best = (score, residual, Vt.T @ (d / (d**2 + penalty) * projected))
    assert best is not None
    _, residual, coefficients = best
    return Head(centre, coefficients[:, None], np.array([y.mean()]), False, y - residual)


def fit_logistic(embeddings: NDArray[np.floating], codes: NDArray[np.integer], classes: int) -> Head:
    """Fit one-against-the-rest logistic regressions, each with the penalty of smallest leave-one-out log loss.

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
        y = (codes == k).astype(float)
        if 0 < y.sum() < n:
            weights[:, k], intercepts[k], loo[:, k] = _fit_binary(Z, y)
        else:
            share = (y.sum() + 0.5) / (n + 1)
            intercepts[k] = np.log(share / (1 - share))
            loo[:, k] = intercepts[k]
    return Head(centre, Vt.T @ weights, intercepts, True, _probabilities(loo))


def _fit_binary(Z: Floats, y: Floats) -> tuple[Floats, float, Floats]:
    """Return coefficients, intercept and leave-one-out scores for the penalty of smallest leave-one-out log loss."""
    scale = (Z**2).sum() / len(y)
    beta, best = np.zeros(Z.shape[1] + 1), None
    design = np.column_stack([Z, np.ones(len(y))])
    for penalty in sorted(_PENALTIES[::3] * scale / 4, reverse=True):  # from strong to weak: each starts near its end
        beta, loo = _newton(design, y, penalty, beta)
        loss = float(np.logaddexp(0, np.where(y > 0, -loo, loo)).mean())
        if best is None or loss < best[0]:
            best = (loss, beta, loo)
    assert best is not None
    return best[1][:-1], float(best[1][-1]), best[2]


def _newton(design: Floats, y: Floats, penalty: float, beta: Floats) -> tuple[Floats, Floats]:
    ridge = np.full(design.shape[1], penalty)
    ridge[-1] = 1e-6  # the intercept is free
    for _ in range(_NEWTON_STEPS):
        p = 1 / (1 + np.exp(-np.clip(design @ beta, -30, 30)))
        w = np.maximum(p * (1 - p), 1e-6)
        hessian = (design.T * w) @ design + np.diag(ridge)
        step = np.linalg.solve(hessian, design.T @ (y - p) - ridge * beta)
        beta = beta + step
        if np.abs(step).max() < 1e-6 * (1 + np.abs(beta).max()):
            break
    scores = design @ beta
    p = 1 / (1 + np.exp(-np.clip(scores, -30, 30)))
    w = np.maximum(p * (1 - p), 1e-6)
    leverage = ((design @ np.linalg.inv((design.T * w) @ design + np.diag(ridge))) * design).sum(1)
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
