"""Rectified least squares."""

from dataclasses import replace

import numpy as np

from engine.rectification.calibration import calibrate_scores
from engine.rectification.design import Moments
from engine.rectification.estimate import Estimate
from engine.rectification.inputs import Alternative, Calibration, Faults, Floats, Question, quietly
from engine.rectification.layout import Design
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


def rectified_ols(
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
    """Least-squares coefficients: OLS(Y on labels) - lambda (OLS(f on labels) - OLS(f on the pool)), coordinate-wise.

    The estimator of Angelopoulos, Duchi & Zrnic (2023), with a lambda for each coefficient, HC3 residuals for the
    labels (MacKinnon & White 1985) and t quantiles. Takes what rectified_mean takes (but strata), and:
        x, x_pool: covariates, n x p and m x p, with a constant column where one is wanted.
        intercept: add a constant column where x has none.

    Returns:
        Estimate with arrays (p,), p_value against `null`, and the covariance of the coefficients.

    Raises:
        ArgumentError: naming every argument at fault; where columns of x depend on each other.
    """
    faults = Faults()
    question = faults.question(confidence, alternative, power_tuning, finite_population, null)
    faults.choice("calibrate", calibrate, (None, "linear", "isotonic"))
    design = Design(weights, pool_weights, clusters=clusters)
    table = read_table(faults, y, predictions, pool_predictions, x, x_pool, intercept, question, design)
    if calibrate is not None:
        mapped = calibrate_scores(table.y[:, None], table.f[:, None], table.pool_f[:, None], calibrate)
        table = replace(table, f=mapped["f"][:, 0], pool_f=np.asarray(mapped["pool"])[:, 0])
    result: Estimate = quietly(lambda: _answer(table, question))
    return result


def _answer(table: Table, question: Question) -> Estimate:
    x, w = table.x, table.weights
    inverse = solve(weighted_gram(x, w), "x")
    map_ = inverse @ (x * w[:, None]).T
    slope_y, slope_f = map_ @ table.y, map_ @ table.f
    # HC3: a row's residual as it would be had the row not been fitted.
    left = 1 - np.einsum("ij,ji->i", x, map_)
    lever = (map_ / np.maximum(left, 1e-8)).T
    a = lever * (table.y - x @ slope_y)[:, None]
    b = lever * (table.f - x @ slope_f)[:, None]
    thin = thinning(table)
    var_y, var_f, cov = (thin * products(p, q, table.layout) for p, q in ((a, a), (b, b), (a, b)))
    model, var_pool = _pool_fit(table)
    difference = slope_f - model
    tuned = [
        tune(
            _moments(slope_y, difference, model, var_y, cov, var_f, var_pool, c, units(table) - x.shape[1] + 1),
            question.power_tuning,
        )
        for c in range(x.shape[1])
    ]
    power = np.array([t.power for t in tuned])
    plain = var_y - cov * power - (cov * power).T + (var_f + var_pool) * np.outer(power, power)
    return to_estimate(
        table,
        question,
        (slope_y, var_y),
        (slope_y - power * difference, inflated(plain, tuned)),
        np.diag(plain),
        tuned,
        model,
    )


def inflated(plain: Floats, tuned: list[Tuned]) -> Floats:
    """The covariance scaled so that its diagonal is what tuning makes of it."""
    own = np.diag(plain)
    ratio = np.sqrt(np.divide([float(t.variance[0]) for t in tuned], own, out=np.ones_like(own), where=own > 0))
    return np.asarray(plain * np.outer(ratio, ratio))


def _moments(
    slope: Floats,
    difference: Floats,
    model: Floats,
    var_y: Floats,
    cov: Floats,
    var_f: Floats,
    var_pool: Floats,
    c: int,
    free: int,
) -> Moments:
    """One coefficient as if it were a mean."""
    at = slice(c, c + 1)
    vy, cv, vf, vp = (np.diag(part)[at] for part in (var_y, cov, var_f, var_pool))
    # A coefficient's spread, not its size, tells whether the predictions vary at all.
    return Moments(
        slope[at], difference[at], 0 * model[at], vy, cv, vf + vp, vf, cv, np.zeros(1), free, float(free), 1.0
    )


def _pool_fit(table: Table) -> tuple[Floats, Floats]:
    """Coefficients of the predictions on the pool and their covariance; in a finite population on all rows, zero."""
    x, f, v = table.pool_x, table.pool_f, table.layout.pool_weights
    gram, moment = weighted_gram(x, v), x.T @ (f if v is None else v * f)
    if table.layout.finite:
        own = np.ones(len(table.y)) if table.layout.weights is None else table.layout.weights
        gram = gram + weighted_gram(table.x, own)
        moment = moment + table.x.T @ (own * table.f)
    inverse = solve(gram, "x_pool")
    slope = inverse @ moment
    if table.layout.finite:
        return slope, np.zeros_like(gram)
    meat = np.zeros_like(gram)
    for start in range(0, len(f), ROWS):
        here = slice(start, start + ROWS)
        e = f[here] - x[here] @ slope
        scores = x[here] * (e if v is None else v[here] * e)[:, None]
        meat += scores.T @ scores
    return slope, inverse @ meat @ inverse * len(f) / max(len(f) - x.shape[1], 1)
