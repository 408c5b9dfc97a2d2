"""The probe fitted thousands of times: one decomposition for all ratings of a text, in single precision.

Its fits are those of engine.learning.probe, which is checked on the first.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.linalg import eigh

from engine.learning.probe import _PENALTIES, _weights, fit_layers

Fit = Callable[..., np.ndarray]  # rows to train on, rows to predict -> (rows, ratings)


def probe_of(states: np.ndarray, y: np.ndarray) -> Fit:
    """Return the probe of all ratings at once; `states` has shape (rows, layers, width), `y` (rows, ratings)."""
    X = np.ascontiguousarray(states.reshape(len(states), -1))

    def fit(train: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        own = X[train]
        centre, scale = own.mean(0, dtype=float), own.std(0, dtype=float)
        scale[scale < 1e-6 * max(float(scale.max()), 1e-300)] = np.inf
        target, n = y[train] - y[train].mean(0), len(train)
        values, U, V = _decomposed(((own - centre) / scale).astype(np.float32))
        shrinks = np.array([values / (values + p) for p in _PENALTIES * values.sum() / n]).T
        leverages = np.maximum(1 - (U**2) @ shrinks - 1 / n, 1e-6)
        coefficients = []
        for column in target.T.astype(np.float32):
            projected = U.T @ column
            left_out = (column[:, None] - U @ (shrinks * projected[:, None])) / leverages
            weights = _weights(_PENALTIES, 0.5 * n * np.log(np.maximum(left_out.var(0, dtype=float), 1e-300)))
            coefficients.append(V(shrinks @ weights / np.sqrt(values) * projected) / scale)
        slope = np.array(coefficients).T
        return X[wanted] @ slope.astype(np.float32) + (y[train].mean(0) - centre @ slope)

    check = np.arange(min(150, len(y)))
    head = fit_layers(states[check], y[check, 0], None)
    every = np.arange(len(y))
    if not np.allclose(fit(check, every)[:, 0], head.predict(X), atol=1e-3 * y[:, 0].std()):
        raise SystemExit("The shared decomposition no longer gives the probe of engine.learning.probe: bring it up.")
    return fit


def _decomposed(Z: np.ndarray) -> tuple[np.ndarray, np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Return squared singular values, left singular vectors, and the map of coordinates to the right space."""
    tall = len(Z) > Z.shape[1]
    values, vectors = eigh(Z.T @ Z if tall else Z @ Z.T, overwrite_a=True, check_finite=False, driver="evd")
    kept = values > 1e-6 * values[-1]
    values, vectors = values[kept], vectors[:, kept]
    roots = np.sqrt(values)
    if tall:
        return values, Z @ vectors / roots, lambda w: vectors @ w
    return values, vectors, lambda w: Z.T @ (vectors @ (w / roots))
