"""The law of residual variance against fine-tuning labels, with its uncertainty.

The form is the scaling law of Wang, Ye & Zhao (arXiv 2511.19486), sigma2(s) = a s^-alpha + b, begun at s + shift: the
first labels teach little, and without any the model leaves what it leaves untrained. Few and noisy trials do not
determine its parameters, so it is fitted as a posterior on a grid: log alpha ~ N(log 0.5, 0.35), hardly any shift or
log shift ~ N(log 40, 0.75), the floor b as a share of the level at the sizes seen. With hardly any shift the curve may
have fallen before the smallest size, as that of a model does that a few labels suffice for. Trials that were scored on
the same hold-out share its error, and odd trials weigh little (Student-t errors on the log scale).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import ArgumentError
from engine.scaling.errors import TrialErrors, plausible, trial_errors

Floats = NDArray[np.float64]

_DRAWS = 2000
_ERROR_DF = 4.0
_ALPHAS = np.exp(np.linspace(np.log(0.08), np.log(2.0), 28))
_FLOORS = np.linspace(0.0, 0.98, 25)
_SHIFTS = np.geomspace(2.0**-4, 256.0, 25)
_ALPHA, _SHIFT = (0.5, 0.35), (40.0, 0.75)  # medians, and deviations of the logarithm
# Hardly any shift, nearly the published form, is together as probable as the most probable shift.
_HARDLY = 4.0
_REWEIGHTINGS = 3
_KNOTS = np.append(0.0, np.geomspace(0.25, 1e7, 420))
_FEWEST = 3  # trials that R² is told of
_NO_GAIN = 0.01  # a predicted fall below this share is none
_START_ERROR = 0.03  # log scale: how well the curve begins at what the untrained model leaves


@dataclass(frozen=True)
class Law:
    """A fitted law.

    Attributes:
        a, alpha, b, shift: Posterior medians of the parameters; use `predict` and `interval` for figures, not these.
        r2: Share of the variance of the log residual variances that the median curve explains, within the trials of
            each hold-out, whose level they share; nan-free, at most 1, and 0 where one size was tried.
        sizes: Numbers of fine-tuning labels of the trials, shape (t,).
        variances: Residual variances of the trials, shape (t,), in squared units of the label.
        label_variance: Var(Y), which no prediction exceeds; None where unknown.
        zero_shot_variance: What the model leaves untrained; None where it predicts nothing before it is trained.
        draws: Posterior draws of (a, alpha, b, shift), shape (2000, 4).
    """

    a: float
    alpha: float
    b: float
    shift: float
    r2: float
    sizes: Floats
    variances: Floats
    label_variance: float | None
    zero_shot_variance: float | None
    draws: Floats

    def curves(self, sizes: ArrayLike) -> Floats:
        """Return every draw's residual variance, shape (2000, len(sizes)), never above the label variance."""
        s, values = np.atleast_1d(np.asarray(sizes, dtype=float)), self._unbounded(sizes)
        known = [v for v in (self.label_variance, self.zero_shot_variance) if v is not None]
        start = ceiling = min(known, default=np.inf)
        if float(np.median(self.variances)) > start:  # few labels can make a good model worse: its trials say so
            ceiling = np.inf if self.label_variance is None else self.label_variance
        # Untrained, the model leaves its zero-shot variance; one that predicts nothing leaves the label variance.
        return np.where(s > 0, np.minimum(values, ceiling), start if known else values)

    def _unbounded(self, sizes: ArrayLike) -> Floats:
        """The draws' curves, each of which begins at what the label variance is in that draw."""
        s = np.atleast_1d(np.asarray(sizes, dtype=float))
        a, alpha, b, shift = (column[:, None] for column in self.draws.T)
        return np.asarray(a * np.maximum(s + shift, 1e-9) ** -alpha + b)

    def predict(self, s: ArrayLike) -> Floats | float:
        """Return the posterior median of the residual variance at s labels (a number for a number)."""
        return _between_knots(s, self._at_knots(0.5))

    def expected(self, s: ArrayLike) -> Floats | float:
        """Return the posterior mean of the residual variance at s labels, inside its 80% interval.

        The variance of a rectified estimate is linear in the residual variance, so the best choice is that of the
        smallest mean: where some draws say that the model helps and the others that it does no harm, it is worth using.
        """
        return _between_knots(s, self._means)

    def interval(self, s: ArrayLike, level: float = 0.8) -> tuple[Floats | float, Floats | float]:
        """Return the central interval of the residual variance curve at s labels (not of a single trial).

        It may reach above the label variance, which was measured on few labels too: where the model explains little,
        that is most of what is uncertain.

        Raises:
            ArgumentError: The level does not lie between 0 and 1.
        """
        if not 0 < level < 1:
            raise ArgumentError(f"level is {level}, but it must lie between 0 and 1, such as 0.8.")
        low, high = self._at_knots((1 - level) / 2), self._at_knots((1 + level) / 2)
        beyond = _quantile(self._ordered_unbounded, (1 + level) / 2)
        return _between_knots(s, low), _between_knots(s, np.maximum(high, beyond))

    @cached_property
    def _ordered(self) -> Floats:
        """The draws' curves at `_KNOTS`, ordered at each: quantiles at any size are read between the knots."""
        return np.sort(self.curves(_KNOTS), axis=0)

    @cached_property
    def _ordered_unbounded(self) -> Floats:
        return np.sort(self._unbounded(_KNOTS), axis=0)

    @cached_property
    def _means(self) -> Floats:
        low, high = (self._at_knots(share) for share in (0.1, 0.9))
        return np.asarray(np.clip(self._ordered.mean(0), low, high))

    def _at_knots(self, share: float) -> Floats:
        return _quantile(self._ordered, share)

    def summary(self) -> str:
        """Say in a sentence what the law says: how far the residual variance falls, or that no fall is seen yet."""
        largest = float(self.sizes.max())
        now, later = float(self.predict(largest)), float(self.predict(2 * largest))
        low, high = self.interval(2 * largest)
        if np.ptp(self.sizes) == 0:
            return (
                f"Only one size was tried: residual variance is {now:.3g} at {largest:.0f} fine-tuning labels, and "
                f"probably {later:.3g} (80% between {low:.3g} and {high:.3g}) at {2 * largest:.0f}."
            )
        if self.r2 <= 0 or later > (1 - _NO_GAIN) * now:
            return (
                f"No gain from more training labels is seen yet: residual variance is {now:.3g} at {largest:.0f} "
                f"fine-tuning labels, and twice as many would probably leave {later:.3g} (80% between {low:.3g} and "
                f"{high:.3g})."
            )
        return (
            f"Residual variance falls as labels grow: {now:.3g} at {largest:.0f} fine-tuning labels, "
            f"and probably {later:.3g} (80% between {low:.3g} and {high:.3g}) at {2 * largest:.0f}."
        )

    def fit_summary(self, trials: int) -> str:
        """Say how well the law fits its trials, as many as there are; one or two tell nothing of that."""
        if trials < _FEWEST:
            return f"So far from {trials} trial{'' if trials == 1 else 's'} only."
        if np.ptp(self.sizes) == 0:
            return f"The {trials} trials are of one size, which tells nothing of the curve."
        if self.r2 < 0:
            return f"R² below 0 over {trials} trials: their mean fits them better."
        return f"R² {self.r2:.2f} over {trials} trials."

    def to_dict(self) -> dict[str, Any]:
        """Return the trials; the fit is deterministic, so they determine the law."""
        return {
            "a": self.a,
            "alpha": self.alpha,
            "b": self.b,
            "shift": self.shift,
            "r2": self.r2,
            "sizes": self.sizes.tolist(),
            "variances": self.variances.tolist(),
            "label_variance": self.label_variance,
            "zero_shot_variance": self.zero_shot_variance,
            "draws": self.draws.tolist(),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild a law from `to_dict`; one stored before laws had a shift has none."""
        arrays = {name: np.asarray(values[name], dtype=float) for name in ("sizes", "variances", "draws")}
        draws = arrays["draws"]
        if draws.shape[1] == 3:
            arrays["draws"] = np.column_stack([draws, np.zeros(len(draws))])
        return cls(**{"shift": 0.0, "zero_shot_variance": None, **values, **arrays})


def _quantile(ordered: Floats, share: float) -> Floats:
    place = share * (len(ordered) - 1)
    below, above = ordered[int(np.floor(place))], ordered[int(np.ceil(place))]
    return np.asarray(below + (place % 1) * (above - below))


def _between_knots(s: ArrayLike, values: Floats) -> Floats | float:
    found = np.interp(np.log1p(np.asarray(s, dtype=float)), np.log1p(_KNOTS), values)
    return float(found) if np.ndim(s) == 0 else np.asarray(found)


def fit_law(
    sizes: ArrayLike,
    variances: ArrayLike,
    *,
    degrees_of_freedom: ArrayLike | None = None,
    label_variance: float | None = None,
    holdouts: ArrayLike | None = None,
    zero_shot_variance: float | None = None,
) -> Law:
    """Fit sigma2(s) = a (s + shift)^-alpha + b to trials.

    Args:
        sizes: Fine-tuning labels of each trial, shape (t,), t >= 1; repeated sizes are several seeds.
        variances: Residual variance of each trial on labels it has not seen, shape (t,), above zero.
        degrees_of_freedom: Degrees of freedom of each variance (hold-out labels less parameters), shape (t,) or one
            number; gives each trial its sampling error. Without them the spread between trials alone says it. Where the
            labels' tails are not the normal's, `effective_freedom` says how many they are worth.
        label_variance: Var(Y), the ceiling of every prediction, estimated from the labels that the trials held out.
        holdouts: Name of the hold-out of each trial, shape (t,). Trials of several sizes that were scored on the same
            hold-out share its sampling error; without names each trial is taken to have its own.
        zero_shot_variance: What the model leaves untrained, on the same labels; by default it predicts nothing then.

    Returns:
        The law with its posterior draws. The same trials give the same law: the draws have a fixed seed.

    Raises:
        ArgumentError: Lengths differ, or a size, variance or number of degrees of freedom is not above zero.
    """
    s, v = _checked(sizes, variances)
    for name, value in (("label_variance", label_variance), ("zero_shot_variance", zero_shot_variance)):
        if value is not None and not (np.isfinite(value) and value > 0):
            raise ArgumentError(f"{name} is {value}; it must be finite and above zero.")
    freedom = None if degrees_of_freedom is None else _checked_freedom(degrees_of_freedom, s.size)
    names = None if holdouts is None else _checked_names(holdouts, s.size)
    v = v if freedom is None else plausible(s, v, freedom)
    errors = trial_errors(s, v, freedom, names)
    start = zero_shot_variance if zero_shot_variance is not None else label_variance
    draws = _draw(_posterior(s, errors, start))

    a, alpha, b, shift = np.median(draws, axis=0)
    fitted = np.log(np.median(draws[:, 0] * (s[:, None] + draws[:, 3]) ** -draws[:, 1] + draws[:, 2], axis=1))
    r2 = _explained(s, np.log(v), fitted, names)
    return Law(float(a), float(alpha), float(b), float(shift), r2, s, v, label_variance, zero_shot_variance, draws)


def _explained(s: Floats, log_v: Floats, fitted: Floats, names: NDArray[np.intp] | None) -> float:
    """The share of the variance within hold-outs that the curve explains; trials without names are taken together."""
    shared = names is not None and len(np.unique(names)) < len(names)
    groups = names if names is not None and shared else np.zeros(len(s), dtype=np.intp)
    counts = np.bincount(groups)

    def within(values: Floats) -> Floats:
        means = np.bincount(groups, values) / np.maximum(counts, 1)
        return np.asarray(values - means[groups])

    total = float((within(log_v) ** 2).sum())
    if np.ptp(s) == 0 or total <= 0:
        return 0.0
    return 1 - float((within(log_v - fitted) ** 2).sum()) / total


def _checked(sizes: ArrayLike, variances: ArrayLike) -> tuple[Floats, Floats]:
    s, v = _numbers("sizes", sizes), _numbers("variances", variances)
    if s.shape != v.shape or s.ndim != 1 or s.size == 0:
        raise ArgumentError(f"sizes has shape {s.shape} and variances {v.shape}; give one variance for each size.")
    _require_above_zero("sizes", s)
    _require_above_zero("variances", v)
    return s, v


def _checked_freedom(degrees_of_freedom: ArrayLike, trials: int) -> Floats:
    freedom = _numbers("degrees_of_freedom", degrees_of_freedom)
    if freedom.shape not in ((1,), (trials,)):
        raise ArgumentError(f"degrees_of_freedom has shape {freedom.shape}; give one number, or one for each trial.")
    _require_above_zero("degrees_of_freedom", freedom)
    return np.broadcast_to(freedom, (trials,))


def _checked_names(holdouts: ArrayLike, trials: int) -> NDArray[np.intp]:
    names = np.asarray(holdouts)
    if names.shape != (trials,):
        raise ArgumentError(f"holdouts has shape {names.shape}; give one name for each trial.")
    return np.unique(names, return_inverse=True)[1]


def _numbers(name: str, values: ArrayLike) -> Floats:
    try:
        return np.atleast_1d(np.asarray(values, dtype=float))
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{name} is not a list of numbers; give numbers alone.") from error


def _require_above_zero(name: str, values: Floats) -> None:
    good = np.isfinite(values) & (values > 0)
    if not good.all():
        raise ArgumentError(f"{name} holds {values[~good].flat[0]}; every value must be finite and above zero.")


@dataclass(frozen=True)
class _Posterior:
    """Log posterior of every shape, and the level of the curve given the shape.

    shapes: (alpha, floor share, shift) of each, (g, 3). log_weights: (g,). levels: log height at `centre`, (g,).
    level_error: its standard error, the same for all shapes. centre: number of labels at which the height is meant.
    """

    shapes: Floats
    log_weights: Floats
    levels: Floats
    level_error: float
    centre: float


def _posterior(s: Floats, errors: TrialErrors, start: float | None) -> _Posterior:
    """The posterior on the grid; trials far off the curve are weighed down and it is taken again."""
    centre = float(np.exp(np.median(np.log(s))))
    grid = np.stack(np.meshgrid(_ALPHAS, _FLOORS, _SHIFTS, indexing="ij"), axis=-1).reshape(-1, 3)
    prior = -0.5 * ((np.log(grid[:, 0]) - np.log(_ALPHA[0])) / _ALPHA[1]) ** 2
    usual = np.exp(-0.5 * ((np.log(grid[:, 2]) - np.log(_SHIFT[0])) / _SHIFT[1]) ** 2)
    prior += np.log(usual + np.where(grid[:, 2] < _HARDLY, 1 / (_SHIFTS < _HARDLY).sum(), 0.0))
    x, y = s, errors.log_variances
    luck, shared = errors.luck, errors.shared
    if start is not None:
        x, y, luck, shared = _with_start(x, errors, start)
    logs = _log_shapes(grid, x, centre)
    weights = np.ones(len(y))
    for _ in range(_REWEIGHTINGS):
        covariance = shared + np.diag(luck / weights)
        whiten = np.linalg.inv(np.linalg.cholesky(covariance))
        gaps, one = (y - logs) @ whiten.T, whiten.sum(1)
        levels = gaps @ one / (one @ one)
        misfit = ((gaps - levels[:, None] * one) ** 2).sum(1)
        log_weights = prior - 0.5 * misfit
        best = int(np.argmax(log_weights))
        residual = y - logs[best] - levels[best]
        own = luck / weights * np.linalg.solve(covariance, residual)  # what the shared errors do not explain
        weights = (_ERROR_DF + 1) / (_ERROR_DF + own**2 / luck)
        weights = np.minimum(weights, 1.0)
    return _Posterior(grid, log_weights, levels, float(1 / np.sqrt(one @ one)), centre)


def _with_start(x: Floats, errors: TrialErrors, start: float) -> tuple[Floats, Floats, Floats, Floats]:
    """Add what the model leaves untrained as a point at no labels, which shares the level error of the trials."""
    y, t = errors.log_variances, len(x)
    common = min(float(np.exp(np.median(y)) / start), 1.0)
    wider = np.zeros((t + 1, t + 1))
    wider[:t, :t] = errors.shared
    wider[t, :t] = wider[:t, t] = common * errors.with_level
    wider[t, t] = errors.level
    return np.append(x, 0.0), np.append(y, np.log(start)), np.append(errors.luck, _START_ERROR**2), wider


def _log_shapes(grid: Floats, x: Floats, centre: float) -> Floats:
    """Log of the curve of every shape at x, its height at `centre` being one, shape (g, len(x))."""
    alpha, floor, shift = (column[:, None] for column in grid.T)
    with np.errstate(divide="ignore"):
        power = np.minimum(alpha * (np.log(centre + shift) - np.log(x + shift)), 50.0)
    return np.asarray(np.log((1 - floor) * np.exp(power) + floor))


def _draw(posterior: _Posterior) -> Floats:
    """Draw (a, alpha, b, shift) from the grid, each draw moved at random within its cell."""
    weights = np.exp(posterior.log_weights - posterior.log_weights.max())
    rng = np.random.default_rng(20251119)
    chosen = rng.choice(weights.size, size=_DRAWS, p=weights / weights.sum())
    alpha, floor, shift = posterior.shapes[chosen].T
    level = posterior.levels[chosen] + posterior.level_error * rng.standard_normal(_DRAWS)
    alpha = alpha * np.exp(np.log(_ALPHAS[1] / _ALPHAS[0]) * rng.uniform(-0.5, 0.5, _DRAWS))
    floor = np.clip(floor + _FLOORS[1] * rng.uniform(-0.5, 0.5, _DRAWS), 0.0, 1.0)
    shift = shift * (_SHIFTS[1] / _SHIFTS[0]) ** rng.uniform(-0.5, 0.5, _DRAWS)
    height = np.exp(level)
    a = height * (1 - floor) * (posterior.centre + shift) ** alpha
    return np.column_stack([a, alpha, height * floor, shift])
