"""Rectified logistic regression."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit

from engine.errors import ArgumentError
from engine.rectification.calibration import calibrate_scores
from engine.rectification.design import Moments
from engine.rectification.estimate import Estimate
from engine.rectification.inputs import Alternative, Calibration, Faults, Floats, Question, quietly
from engine.rectification.layout import Design
from engine.rectification.ols import inflated
from engine.rectification.regression import (
    ROWS,
    Table,
    products,
    read_table,
    solve,
    thinning,
    to_estimate,
    units,
    weighted_gram,
)
from engine.rectification.tuning import Tuned, tune

STEPS = 50  # Newton steps before giving up
SEPARATED = (
    "The labels are separated by x without error, so the logistic coefficients have no finite value: "
    "label more rows or drop a covariate."
)


@dataclass(frozen=True)
class PoolScores:
    """At one theta: mean gradient of the predictions' loss over the pool, (p,), mean Hessian and mean g g', (p, p)."""

    gradient: Floats
    hessian: Floats
    meat: Floats


def rectified_logistic(
    y: object,
    predictions: object,
    pool_predictions: object,
    x: object,
    x_pool: object,
    *,
    intercept: bool = False,
    confidence: float = 0.95,
    power_tuning: bool = True,
    weights: object | None = None,
    pool_weights: object | None = None,
    clusters: object | None = None,
    finite_population: bool = False,
    alternative: Alternative = "two-sided",
    null: float = 0.0,
    calibrate: Calibration | None = None,
) -> Estimate:
    """Logistic coefficients: the minimum of L(Y) + lambda (L_pool(f) - L(f)) (Angelopoulos, Duchi & Zrnic 2023).

    One lambda places the minimum; each coefficient then moves along the path of minima to a lambda of its own. Takes
    what rectified_ols takes, with y of 0 and 1 and predictions between 0 and 1 (probabilities or hard labels).

    Returns:
        Estimate with arrays (p,), p_value against `null`, and the covariance of the coefficients.

    Raises:
        ArgumentError: naming every argument at fault; where the labels are separated or alike.
    """
    faults = Faults()
    question = faults.question(confidence, alternative, power_tuning, finite_population, null)
    faults.choice("calibrate", calibrate, (None, "linear", "isotonic"))
    design = Design(weights, pool_weights, clusters=clusters)
    table = read_table(faults, y, predictions, pool_predictions, x, x_pool, intercept, question, design)
    _check_shares(faults, table)
    faults.raise_any()
    if calibrate is not None:
        mapped = calibrate_scores(table.y[:, None], table.f[:, None], table.pool_f[:, None], calibrate)
        pool = np.clip(np.asarray(mapped["pool"])[:, 0], 0, 1)
        table = replace(table, f=np.clip(mapped["f"][:, 0], 0, 1), pool_f=pool)
    result: Estimate = quietly(lambda: _answer(table, question))
    return result


def _check_shares(faults: Faults, table: Table) -> None:
    if not np.isin(table.y, (0, 1)).all():
        faults.add("y must hold only 0 and 1 for a logistic regression.")
    elif np.ptp(table.y) == 0:
        faults.add(f"y holds only {table.y[0]:g}; a logistic regression needs both 0 and 1.")
    for name, values in (("predictions", table.f), ("pool_predictions", table.pool_f)):
        if values.min() < 0 or values.max() > 1:
            faults.add(f"{name} must lie between 0 and 1; they range from {values.min():g} to {values.max():g}.")


def _answer(table: Table, question: Question) -> Estimate:
    theta = _labels_fit(table)
    alone = _labels_covariance(table, theta)
    tuned, _, _, pool = _tune(table, question, theta, theta)
    power = float(np.mean([t.power for t in tuned]))
    joint = theta if power == 0 else _joint_fit(table, theta, power, pool)
    tuned, plain, slope, pool = _tune(table, question, joint, theta)
    own = np.array([t.power for t in tuned])
    # The minimum moves with lambda at the rate -H^-1 (gradient over labels - gradient over pool).
    point = np.where(own == 0, theta, joint - (own - power) * slope)
    model = _pool_minimum(table, joint, pool)
    return to_estimate(table, question, (theta, alone), (point, inflated(plain, tuned)), np.diag(plain), tuned, model)


def _labels_fit(table: Table) -> Floats:
    """Maximum likelihood on the labels by Newton steps, halved where the likelihood falls."""
    x, y, w = table.x, table.y, table.weights
    theta = np.zeros(x.shape[1])
    solve(weighted_gram(x, w), "x")
    loss = _loss(x @ theta, y, w)
    for _ in range(STEPS):
        mu = expit(x @ theta)
        gradient = x.T @ (w * (mu - y))
        hessian = weighted_gram(x, w * mu * (1 - mu))
        if np.linalg.cond(hessian) > 1e13 or _is_separated(x @ theta, y, w):
            raise ArgumentError(SEPARATED)
        step = np.linalg.solve(hessian, gradient)
        while (new := _loss(x @ (theta - step), y, w)) > loss + 1e-14 and np.abs(step).max() > 1e-12:
            step = step / 2
        theta, loss = theta - step, min(new, loss)
        if np.abs(step).max() <= 1e-12 * max(1.0, float(np.abs(theta).max())):
            return np.asarray(theta)
    if _is_separated(x @ theta, y, w) or loss < 1e-6:
        raise ArgumentError(SEPARATED)
    return np.asarray(theta)


def _is_separated(linear: Floats, y: Floats, w: Floats) -> bool:
    """Every row of positive weight is on its side, and far from the middle."""
    sides = np.where(y > 0.5, linear, -linear)[w > 0]
    return bool(sides.min() > 0 and np.abs(linear).max() > 12)


def _loss(linear: Floats, y: Floats, w: Floats) -> float:
    return float(w @ (np.logaddexp(0, linear) - y * linear))


def _labels_covariance(table: Table, theta: Floats) -> Floats:
    """The sandwich of the labels alone, residuals as HC3."""
    a, _ = _influences(table, theta, None)
    return thinning(table) * products(a, a, table.layout)


def _influences(table: Table, theta: Floats, hessian: Floats | None) -> tuple[Floats, Floats]:
    """What each label adds to the coefficients through Y and through f, (n, p) each, about their means."""
    x, w = table.x, table.weights
    mu = expit(x @ theta)
    own = weighted_gram(x, w * mu * (1 - mu))
    inverse = solve(own if hessian is None else hessian, "x")
    left = 1 - np.einsum("ij,jk,ik->i", x, solve(own, "x"), x) * w * mu * (1 - mu)
    lever = (x * (w / np.maximum(left, 0.05))[:, None]) @ inverse
    parts = [lever * (values - mu)[:, None] for values in (table.y, table.f)]
    a, b = (part - w[:, None] * part.sum(axis=0) for part in parts)
    return a, b


def _tune(
    table: Table, question: Question, theta: Floats, labels: Floats
) -> tuple[list[Tuned], Floats, Floats, PoolScores]:
    """lambda of every coefficient, their plug-in covariance, and the path's slope, all at one theta."""
    pool = _pool_scores(table, theta)
    n, m = len(table.y), len(table.pool_f)
    mu = expit(table.x @ theta)
    own = weighted_gram(table.x, table.weights * mu * (1 - mu))
    hessian = (n * own + m * pool.hessian) / (n + m) if not table.layout.finite else pool.hessian
    inverse = solve(hessian, "x_pool")
    a, b = _influences(table, theta, hessian)
    thin = thinning(table)
    var_y, var_f, cov = (thin * products(p, q, table.layout) for p, q in ((a, a), (b, b), (a, b)))
    centred = pool.meat - np.outer(pool.gradient, pool.gradient) * _squares(table)
    var_pool = np.zeros_like(own) if table.layout.finite else inverse @ centred @ inverse * m / (m - 1)
    gradient = table.x.T @ (table.weights * (mu - table.f))
    slope = inverse @ (pool.gradient - gradient)
    free = units(table) - table.x.shape[1] + 1
    tuned = []
    for c in range(len(theta)):
        at = slice(c, c + 1)
        vy, cv, vf, vp = (np.diag(part)[at] for part in (var_y, cov, var_f, var_pool))
        moments = Moments(labels[at], slope[at], np.zeros(1), vy, cv, vf + vp, vf, cv, np.zeros(1), free, free, 1.0)
        tuned.append(tune(moments, question.power_tuning))
    power = np.array([t.power for t in tuned])
    plain = var_y - cov * power - (cov * power).T + (var_f + var_pool) * np.outer(power, power)
    return tuned, plain, slope, pool


def _squares(table: Table) -> float:
    """sum v^2 of the pool's weights, which sum to 1."""
    v = table.layout.pool_weights
    return 1 / len(table.pool_f) if v is None else float(v @ v / v.sum() ** 2)


def _pool_scores(table: Table, theta: Floats, meat: bool = True) -> PoolScores:
    """Sums over the pool (over all rows in a finite population), in chunks."""
    parts = [(table.pool_x, table.pool_f, table.layout.pool_weights)]
    if table.layout.finite:
        parts.append((table.x, table.f, table.layout.weights))
    p = table.x.shape[1]
    gradient, hessian, squares, total = np.zeros(p), np.zeros((p, p)), np.zeros((p, p)), 0.0
    for x, f, v in parts:
        total += float(len(f)) if v is None else float(v.sum())
        for start in range(0, len(f), ROWS):
            here = slice(start, start + ROWS)
            xs = x[here]
            mu = expit(xs @ theta)
            e, h = mu - f[here], mu * (1 - mu)
            if v is not None:
                e, h = v[here] * e, v[here] * h
            gradient += xs.T @ e
            hessian += (xs * h[:, None]).T @ xs
            if meat:
                scores = xs * e[:, None]
                squares += scores.T @ scores
    return PoolScores(gradient / total, hessian / total, squares / total**2)


def _joint_fit(table: Table, start: Floats, power: float, first: PoolScores) -> Floats:
    """The minimum of L(Y) + lambda (L_pool(f) - L(f)); a last Newton step of 1e-6 leaves an error of its square."""
    x, w, theta = table.x, table.weights, start
    for turn in range(STEPS):
        mu = expit(x @ theta)
        pool = _pool_scores(table, theta, meat=False) if turn else first
        gradient = x.T @ (w * (mu - table.y - power * (mu - table.f))) + power * pool.gradient
        own = weighted_gram(x, w * mu * (1 - mu))
        step = np.linalg.solve((1 - power) * own + power * pool.hessian, gradient)
        theta = theta - step * min(1.0, 5 / max(float(np.abs(x @ step).max()), 1e-300))
        if np.abs(step).max() <= 1e-6 * max(1.0, float(np.abs(theta).max())):
            return np.asarray(theta)
    raise ArgumentError("The rectified logistic regression found no minimum: label more rows or drop a covariate.")


def _pool_minimum(table: Table, start: Floats, first: PoolScores) -> Floats:
    """The coefficients of the predictions alone."""
    theta = start
    for turn in range(STEPS):
        pool = _pool_scores(table, theta, meat=False) if turn else first
        if np.linalg.cond(pool.hessian) > 1e13:
            break
        step = np.linalg.solve(pool.hessian, pool.gradient)
        theta = theta - step * min(1.0, 5 / max(float(np.abs(table.x @ step).max()), 1e-300))
        if np.abs(step).max() <= 1e-3 * max(1.0, float(np.abs(theta).max())):
            break
    return np.asarray(theta)
