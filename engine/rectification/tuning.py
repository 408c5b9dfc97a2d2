"""How much to trust the predictions: lambda, and the variance once lambda itself is an estimate."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from engine.rectification.design import Moments
from engine.rectification.inputs import Value, at_least

TIMID = "The predictions vary too little for the labels, so they were stretched by {scale:.2f}."
USELESS = "The predictions did not help, so this is the labels-only answer."
CONSTANT = "The predictions are all the same, so this is the labels-only answer."
AGAINST = "The predictions run against the labels, so this is the labels-only answer."
PERFECT = "The predictions agree with every label; the interval allows for errors that were not seen."

TINY = 1e-300  # what does not vary has no covariance either: 0 / TINY is the 0 that is meant


@dataclass(frozen=True)
class Tuned:
    """One stratum with its lambda; plain: variance without what estimating lambda costs; arrays (d,), or floats."""

    point: Any
    variance: Any
    plain: Any
    freedom: float
    power: float
    correlation: Any
    note: str | None


def tune(part: Moments, power_tuning: bool, shares: bool = False) -> Tuned:
    """Point and variance of theta = mean(Y) - lambda D in one stratum.

    lambda = Cov(mean Y, D) / Var D (Angelopoulos, Duchi & Zrnic 2023, arXiv 2311.01453, eq. 6, for any design). It is
    the slope of Y on f, shrunk, so the answer is that of the regression of Y on f at the pool's mean of f, and its
    variance adds D^2 Var(lambda): with Gaussian rows and n - 2 degrees of freedom the interval is then exact.
    """
    residual = _residual(part)
    power, note = choose_power(part, residual) if power_tuning else (1.0, None)
    plain = part.var_y - 2 * power * part.cov + power**2 * part.var_d
    tuned = power_tuning and power > 0
    variance, freedom = plain, part.units - 1
    if tuned:
        own = at_least(part.var_y - 2 * power * part.cov_f + power**2 * part.var_f, 0.0)
        unseen = _unseen(part, own, residual, shares)
        note = PERFECT if note is None and not shares and _sum(unseen) > 0 else note
        variance = plain + unseen + own / (part.units - 2) + part.difference**2 * _variance_of_power(part, residual)
        freedom = part.units - 2
    point = part.mean_y - power * part.difference
    return Tuned(
        point,
        at_least(variance, 0.0) + part.base,
        at_least(plain, 0.0) + part.base,
        freedom,
        power,
        correlation(part),
        note,
    )


def choose_power(part: Moments, residual: Value) -> tuple[float, str | None]:
    """lambda in [0, 1], common to all columns; 0 where correlation is below 1/sqrt(n - 2) (arXiv 2505.20178).

    Only where the predictions are plainly too timid (lambda beyond 1 by two standard errors) it may exceed 1.
    """
    var_d, cov, var_y = _sum(part.var_d), _sum(part.cov), _sum(part.var_y)
    var_f = _sum(part.var_f)
    if var_d <= 0 or var_f <= 1e-30 * _sum(part.model**2):
        return 0.0, CONSTANT
    rho = _sum(part.cov_f) / sqrt(var_y * var_f) if var_y > 0 else 0.0
    if part.units <= 3 or abs(rho) < 1 / sqrt(part.units - 2):
        return 0.0, USELESS
    if rho < 0 or cov <= 0:
        return 0.0, AGAINST
    power = cov / var_d
    if power <= 1:
        return power, None
    error = sqrt(np.mean(_variance_of_power(part, residual)))
    return (power, TIMID.format(scale=power)) if power > 1 + 2 * error else (1.0, None)


def correlation(part: Moments) -> Any:
    """Correlation of labels and predictions under the design, (d,); 0 where either does not vary."""
    rho = part.cov_f / np.sqrt(at_least(part.var_y * part.var_f, TINY))
    return -at_least(-at_least(rho, -1.0), -1.0)


def satterthwaite(variances: Sequence[Any], freedoms: Sequence[float]) -> Any:
    """Degrees of freedom of a sum of independent variance estimates (Satterthwaite 1946), (d,)."""
    if len(variances) == 1:
        freedom = float(max(freedoms[0], 1))
        return freedom if isinstance(variances[0], float) else np.full(len(variances[0]), freedom)
    total = np.sum(variances, axis=0)
    spread = sum(v**2 / max(k, 1) for v, k in zip(variances, freedoms, strict=True))
    most = float(max(sum(freedoms), 1))
    out = np.divide(total**2, spread, out=np.full_like(total, most), where=spread > 0)
    return np.asarray(np.clip(out, 1, most))


def _unseen(part: Moments, own: Any, residual: Any, shares: bool) -> Any:
    """Variance for errors of the predictions that the labels are too few to have shown.

    Where no error at all was seen, one row in n + 2 may yet be wrong (rule of succession).
    """
    if shares:
        return np.maximum(part.var_y - own, 0.0) * unseen_part(part.units, part.mean_y)
    return (residual <= 1e-10 * part.var_y) * part.var_y / (part.units + 2)


def unseen_part(units: Value, shares: Value) -> Any:
    """Return the part of what predictions explain of the variance of a share that stays, since the labels are few.

    The x labels of the rarer class carry all there is to know of the errors: 2 in 3 x + 2 parts stay. Without it a
    share of 0.03 from 30 labels with strong predictions covers 0.88 at nominal 0.95, with it 0.93.

    Args:
        units: Number of labels.
        shares: The share of each class among them.
    """
    p = np.clip(shares, 0, 1)
    return 2 / (3 * units * np.minimum(p, 1 - p) + 2)


def _residual(part: Moments) -> Any:
    """Variance of mean(Y) that f leaves, (d,)."""
    return part.var_y - part.cov_f**2 / at_least(part.var_f, TINY)


def _variance_of_power(part: Moments, residual: Value) -> Any:
    """Variance of lambda: residual variance over the spread of f, shrunk as lambda is by var_f / var_d, (d,)."""
    var_d = at_least(part.var_d, TINY)
    return at_least(residual, 0.0) * (part.var_f / var_d) / var_d / max(part.units - 2, 1)


def _sum(values: Value) -> float:
    """The sum over columns."""
    return float(values if isinstance(values, float) else values.sum())
