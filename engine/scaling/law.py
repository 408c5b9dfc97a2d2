"""The law sigma2(s) = a s^-alpha + b of residual variance against fine-tuning labels, with its uncertainty.

The form is the scaling law of Wang, Ye & Zhao (arXiv 2511.19486). Few and noisy trials do not determine its three
parameters, so it is fitted as a posterior on a grid: Student-t errors on the log scale (one odd trial does not turn the
curve), log alpha ~ N(log 0.5, 0.5), and the floor b as a share of the level at the sizes seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from engine.errors import ArgumentError

Floats = NDArray[np.float64]

_DRAWS = 2000
_ERROR_DF = 4.0
_LEAST_ERROR = 0.02  # log scale; keeps three trials that agree by chance from claiming certainty


@dataclass(frozen=True)
class Law:
    """A fitted law.

    Attributes:
        a, alpha, b: Posterior medians of the parameters; use `predict` and `interval` for figures, not these.
        r2: Share of the variance of the log residual variances that the median curve explains; nan-free, at most 1.
        sizes: Numbers of fine-tuning labels of the trials, shape (t,).
        variances: Residual variances of the trials, shape (t,), in squared units of the label.
        label_variance: Var(Y), which no prediction exceeds; None where unknown.
        draws: Posterior draws of (a, alpha, b), shape (2000, 3).
    """

    a: float
    alpha: float
    b: float
    r2: float
    sizes: Floats
    variances: Floats
    label_variance: float | None
    draws: Floats

    def curves(self, sizes: ArrayLike) -> Floats:
        """Return every draw's residual variance, shape (2000, len(sizes)), never above the label variance."""
        s = np.atleast_1d(np.asarray(sizes, dtype=float))
        a, alpha, b = (column[:, None] for column in self.draws.T)
        with np.errstate(divide="ignore"):
            values: Floats = a * np.maximum(s, 1e-9) ** -alpha + b
        ceiling = np.inf if self.label_variance is None else self.label_variance
        # With no label the best linear use of a predictor is its mean: the label variance is all there is.
        return np.where(s > 0, np.minimum(values, ceiling), ceiling if np.isfinite(ceiling) else values)

    def predict(self, s: ArrayLike) -> Floats | float:
        """Return the posterior median of the residual variance at s labels (a number for a number)."""
        median = np.median(self.curves(s), axis=0)
        return float(median[0]) if np.ndim(s) == 0 else median

    def interval(self, s: ArrayLike, level: float = 0.8) -> tuple[Floats | float, Floats | float]:
        """Return the central interval of the residual variance curve at s labels (not of a single trial).

        Raises:
            ArgumentError: The level does not lie between 0 and 1.
        """
        if not 0 < level < 1:
            raise ArgumentError(f"level is {level}, but it must lie between 0 and 1, such as 0.8.")
        low, high = np.quantile(self.curves(s), [(1 - level) / 2, (1 + level) / 2], axis=0)
        return (float(low[0]), float(high[0])) if np.ndim(s) == 0 else (low, high)

    def summary(self) -> str:
        """Say in a sentence what the law says."""
        largest = float(self.sizes.max())
        now, later = float(self.predict(largest)), float(self.predict(2 * largest))
        low, high = self.interval(2 * largest)
        return (
            f"Residual variance falls as labels grow: {now:.3g} at {largest:.0f} fine-tuning labels, "
            f"and probably {later:.3g} (80% between {low:.3g} and {high:.3g}) at {2 * largest:.0f}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the trials; the fit is deterministic, so they determine the law."""
        return {
            "a": self.a,
            "alpha": self.alpha,
            "b": self.b,
            "r2": self.r2,
            "sizes": self.sizes.tolist(),
            "variances": self.variances.tolist(),
            "label_variance": self.label_variance,
            "draws": self.draws.tolist(),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild a law from `to_dict`."""
        arrays = {name: np.asarray(values[name], dtype=float) for name in ("sizes", "variances", "draws")}
        return cls(**{**values, **arrays})


def fit_law(
    sizes: ArrayLike,
    variances: ArrayLike,
    *,
    degrees_of_freedom: ArrayLike | None = None,
    label_variance: float | None = None,
) -> Law:
    """Fit sigma2(s) = a s^-alpha + b to trials.

    Args:
        sizes: Fine-tuning labels of each trial, shape (t,), t >= 1; repeated sizes are several seeds.
        variances: Residual variance of each trial on labels it has not seen, shape (t,), above zero.
        degrees_of_freedom: Degrees of freedom of each variance (hold-out labels less parameters), shape (t,) or one
            number; gives each trial its sampling error. Without them the spread between trials alone says it.
        label_variance: Var(Y), the ceiling of every prediction.

    Returns:
        The law with its posterior draws. The same trials give the same law: the draws have a fixed seed.

    Raises:
        ArgumentError: Lengths differ, or a size, variance or number of degrees of freedom is not above zero.
    """
    s, v = _checked(sizes, variances, label_variance)
    freedom = None if degrees_of_freedom is None else _checked_freedom(degrees_of_freedom, s.size)
    log_v, log_s = np.log(v), np.log(s)
    centre = float(np.median(log_s))
    alphas = np.exp(np.linspace(np.log(0.08), np.log(2.0), 36))
    floors = np.linspace(0.0, 0.98, 25)
    shapes = _shapes(log_s - centre, alphas, floors)
    errors = _errors(log_v, log_s, freedom)
    prior = stats.norm.logpdf(np.log(alphas), np.log(0.5), 0.5)[:, None] + np.zeros(floors.size)

    levels = np.linspace(log_v.min() - 1.0, log_v.max() + 1.0, 81)
    residuals = log_v - shapes.reshape(-1, s.size)[:, None, :] - levels[:, None]
    likelihood = stats.t.logpdf(residuals / errors, _ERROR_DF).sum(axis=-1)
    posterior = likelihood + prior.reshape(-1, 1)
    draws = _draw(posterior, alphas, floors, levels, centre)

    a, alpha, b = np.median(draws, axis=0)
    fitted = np.log(np.median(draws[:, 0] * s[:, None] ** -draws[:, 1] + draws[:, 2], axis=1))
    total = float(((log_v - log_v.mean()) ** 2).sum())
    r2 = 1 - float(((log_v - fitted) ** 2).sum()) / total if total > 0 else 0.0
    return Law(float(a), float(alpha), float(b), r2, s, v, label_variance, draws)


def _checked(sizes: ArrayLike, variances: ArrayLike, label_variance: float | None) -> tuple[Floats, Floats]:
    s, v = _numbers("sizes", sizes), _numbers("variances", variances)
    if s.shape != v.shape or s.ndim != 1 or s.size == 0:
        raise ArgumentError(f"sizes has shape {s.shape} and variances {v.shape}; give one variance for each size.")
    _require_above_zero("sizes", s)
    _require_above_zero("variances", v)
    if label_variance is not None and not (np.isfinite(label_variance) and label_variance > 0):
        raise ArgumentError(f"label_variance is {label_variance}; it must be finite and above zero.")
    return s, v


def _checked_freedom(degrees_of_freedom: ArrayLike, trials: int) -> Floats:
    freedom = _numbers("degrees_of_freedom", degrees_of_freedom)
    if freedom.shape not in ((1,), (trials,)):
        raise ArgumentError(f"degrees_of_freedom has shape {freedom.shape}; give one number, or one for each trial.")
    _require_above_zero("degrees_of_freedom", freedom)
    return freedom


def _numbers(name: str, values: ArrayLike) -> Floats:
    try:
        return np.atleast_1d(np.asarray(values, dtype=float))
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{name} is not a list of numbers; give numbers alone.") from error


def _require_above_zero(name: str, values: Floats) -> None:
    good = np.isfinite(values) & (values > 0)
    if not good.all():
        raise ArgumentError(f"{name} holds {values[~good].flat[0]}; every value must be finite and above zero.")


def _shapes(x: Floats, alphas: Floats, floors: Floats) -> Floats:
    """Log of (1 - w) (s/s0)^-alpha + w for every alpha, floor share w and trial."""
    power = np.exp(-alphas[:, None, None] * x)
    w = floors[None, :, None]
    return np.log((1 - w) * power + w)


def _errors(log_v: Floats, log_s: Floats, degrees_of_freedom: Floats | None) -> Floats:
    """Standard error of each log variance: its sampling error, and the spread between trials of like size."""
    # A straight line on the log-log scale is near enough to the law to see the scatter about it.
    spread = 0.15
    if log_v.size >= 4 and np.ptp(log_s) > 0:
        slope = np.polyfit(log_s, log_v, 1)
        residual = log_v - np.polyval(slope, log_s)
        spread = float(1.4826 * np.median(np.abs(residual)) * np.sqrt(log_v.size / (log_v.size - 2)))
    if degrees_of_freedom is None:
        return np.full(log_v.size, max(spread, _LEAST_ERROR))
    df = np.broadcast_to(np.maximum(degrees_of_freedom, 1.0), log_v.shape)
    # var(log chi2_k / k) is close to 2/k.
    return np.sqrt(np.maximum(2 / df, max(spread, _LEAST_ERROR) ** 2))


def _draw(posterior: Floats, alphas: Floats, floors: Floats, levels: Floats, centre: float) -> Floats:
    """Draw (a, alpha, b) from the grid, each draw moved at random within its cell."""
    weights = np.exp(posterior - posterior.max())
    rng = np.random.default_rng(20251119)
    chosen = rng.choice(weights.size, size=_DRAWS, p=(weights / weights.sum()).ravel())
    cell, level = np.unravel_index(chosen, weights.shape)
    i, j = np.unravel_index(cell, (alphas.size, floors.size))
    step = np.log(alphas[1] / alphas[0])
    alpha = alphas[i] * np.exp(step * rng.uniform(-0.5, 0.5, _DRAWS))
    floor = np.clip(floors[j] + (floors[1] - floors[0]) * rng.uniform(-0.5, 0.5, _DRAWS), 0.0, 1.0)
    height = np.exp(levels[level] + (levels[1] - levels[0]) * rng.uniform(-0.5, 0.5, _DRAWS))
    a = height * (1 - floor) * np.exp(alpha * centre)
    return np.column_stack([a, alpha, height * floor])
