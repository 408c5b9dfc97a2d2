"""How far each label will carry: from CoS-Low and pilot scores to a data-efficiency curve.

Ground: Je & Raffel, arXiv 2512.24991. The normalised score g(n) lies between the zero-shot score (0) and the ceiling
(1); with x = log2 max(n, 1) / log2 5000 the curve is x^p, and its area AUC = 1 / (p + 1). CoS-Low, the median cosine
between gradients of low-confidence examples, predicts the area by AUC' = c CoS-Low + I.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from engine.errors import ArgumentError

Floats = NDArray[np.float64]

LARGEST = 5000
SIZES = (0, 50, 100, 200, 500, 1000, 2500, 5000)

# (c, I) of AUC' = c CoS-Low + I as published for Llama 3.1 8B, Mistral 7B v0.3 and Qwen 2.5 14B.
COEFFICIENTS = {"llama": (0.545, 0.310), "mistral": (0.797, 0.357), "qwen": (0.526, 0.305)}
_AUC_ERROR = {True: 0.10, False: 0.16}  # standard error of AUC', calibrated or not
_AUC_SPREAD = (0.52, 0.17)  # mean and standard deviation of the area over published tasks, for want of CoS-Low
_DRAWS = 2000
_SCORE_ERROR = 0.03  # spread of a score between seeds that no binomial noise explains


@dataclass(frozen=True)
class Efficiency:
    """A data-efficiency curve with its uncertainty.

    Attributes:
        auc: Median area under the normalised curve, between 0 and 1.
        interval: 80% interval of the area.
        coslow: CoS-Low, or None where it was not measured.
        calibrated: Whether the model's own coefficients turned CoS-Low into an area.
        scores: Pilot scores by number of labels; empty for a pure prediction.
        draws: Posterior draws of (p, zero-shot score, ceiling), shape (2000, 3).
    """

    auc: float
    interval: tuple[float, float]
    coslow: float | None
    calibrated: bool
    scores: dict[int, float]
    draws: Floats

    @property
    def measured(self) -> bool:
        """Whether pilot scores are behind the curve."""
        return bool(self.scores)

    def curve(self, sizes: ArrayLike = SIZES) -> pd.DataFrame:
        """Return the score at each number of labels: n, median, low and high (80%)."""
        n = np.atleast_1d(np.asarray(sizes, dtype=float))
        low, median, high = np.quantile(_scores(self.draws, n), [0.1, 0.5, 0.9], axis=0)
        return pd.DataFrame({"n": n.astype(int), "median": median, "low": low, "high": high})

    def labels_to(self, fraction: float) -> dict[str, float]:
        """Return the labels that reach a fraction of the way from zero-shot to ceiling: median, low, high (80%).

        Raises:
            ArgumentError: The fraction does not lie above 0 and up to 1.
        """
        if not 0 < fraction <= 1:
            raise ArgumentError(f"fraction is {fraction}, but it must lie above 0 and up to 1, such as 0.9.")
        labels = 2 ** (fraction ** (1 / self.draws[:, 0]) * np.log2(LARGEST))
        low, median, high = np.quantile(labels, [0.1, 0.5, 0.9])
        return {"median": float(median), "low": float(low), "high": float(high)}

    def summary(self) -> str:
        """Say in a sentence how far labels will carry."""
        to = self.labels_to(0.9)
        source = "Measured on the pilot" if self.measured else "Predicted, nothing trained yet"
        return (
            f"{source}: about {_round(to['median'])} labels to 90% of what this model can reach "
            f"(80% interval {_round(to['low'])} to {_round(to['high'])})."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary fit for JSON."""
        return {
            "auc": self.auc,
            "interval": list(self.interval),
            "coslow": self.coslow,
            "calibrated": self.calibrated,
            "measured": self.measured,
            "scores": {str(n): score for n, score in self.scores.items()},
            "curve": self.curve().to_dict("records"),
            "labels_to": {"0.9": self.labels_to(0.9)},
            "draws": self.draws.round(6).tolist(),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild an efficiency from `to_dict`."""
        scores = {int(n): score for n, score in values["scores"].items()}
        draws = np.asarray(values["draws"], dtype=float)
        return cls(values["auc"], tuple(values["interval"]), values["coslow"], values["calibrated"], scores, draws)


def area(sizes: ArrayLike, scores: ArrayLike, *, zero_shot: float, ceiling: float) -> float:
    """Return the published area under a learning curve.

    The trapezoid of the normalised score over x = log2 max(n, 1) / log2 5000, after a running maximum; a curve that
    ends before 5000 goes on flat. The published ceiling is the best score up to 5000 or human agreement, whichever
    is higher.

    Raises:
        ArgumentError: The ceiling is not above the zero-shot score.
    """
    if not ceiling > zero_shot:
        raise ArgumentError(f"ceiling is {ceiling}, but it must be above the zero-shot score, {zero_shot}.")
    n, score = np.asarray(sizes, dtype=float), np.asarray(scores, dtype=float)
    g = np.maximum.accumulate((score[np.argsort(n)] - zero_shot) / (ceiling - zero_shot))
    x = _x(np.sort(n))
    return float(np.trapezoid(g, x) + g[-1] * max(1 - x[-1], 0.0))


def efficiency(
    coslow: float | None = None,
    *,
    family: str | None = None,
    scores: dict[int, float] | None = None,
    ceiling: float | None = None,
    test_size: int | None = None,
) -> Efficiency:
    """Predict the data-efficiency curve from CoS-Low, pilot scores, or both.

    Args:
        coslow: Median cosine of low-confidence gradients, between -1 and 1.
        family: "llama", "mistral" or "qwen" where the published coefficients hold; otherwise uncalibrated.
        scores: Pilot scores by number of labels (accuracy, or 1 - sigma2/Var(Y)); n = 0 is zero-shot.
        ceiling: The best score that can be hoped for, such as human agreement; unknown by default.
        test_size: Number of texts that each score was measured on; gives the scores their sampling noise.

    Raises:
        ArgumentError: A value lies outside its range, or neither CoS-Low nor scores is given.
    """
    _check(coslow, family, scores, ceiling, test_size)
    rng = np.random.default_rng(20251224)
    areas = _area_prior(coslow, family, rng)
    p = 1 / areas - 1
    low, high = _ends(scores or {}, ceiling, rng)
    draws = np.column_stack([p, low, high])
    if scores:
        draws = _condition(draws, scores, test_size, rng)
    area_draws = 1 / (draws[:, 0] + 1)
    q10, q50, q90 = np.quantile(area_draws, [0.1, 0.5, 0.9])
    known = family in COEFFICIENTS
    ordered = dict(sorted((scores or {}).items()))
    return Efficiency(float(q50), (float(q10), float(q90)), coslow, known, ordered, draws)


def _check(
    coslow: float | None,
    family: str | None,
    scores: dict[int, float] | None,
    ceiling: float | None,
    test_size: int | None,
) -> None:
    if coslow is None and not scores:
        raise ArgumentError("Neither coslow nor scores is given; a curve needs at least one of them.")
    if coslow is not None and not -1 <= coslow <= 1:
        raise ArgumentError(f"coslow is {coslow}, but a cosine lies between -1 and 1.")
    if family is not None and family not in COEFFICIENTS:
        raise ArgumentError(f"family is {family!r}; coefficients are published for {', '.join(COEFFICIENTS)}.")
    for n, score in (scores or {}).items():
        if n < 0 or int(n) != n or not np.isfinite(score) or score > 1:
            raise ArgumentError(
                f"scores holds {score} at n = {n}; scores are finite and at most 1, sizes whole numbers from 0."
            )
    if ceiling is not None and not (np.isfinite(ceiling) and ceiling <= 1):
        raise ArgumentError(f"ceiling is {ceiling}, but a score is at most 1.")
    if test_size is not None and not test_size > 0:
        raise ArgumentError(f"test_size is {test_size}, but scores are measured on at least one text.")


def _area_prior(coslow: float | None, family: str | None, rng: np.random.Generator) -> Floats:
    if coslow is None:
        mean, error = _AUC_SPREAD
    else:
        known = family in COEFFICIENTS
        pairs = [COEFFICIENTS[family]] if family is not None else list(COEFFICIENTS.values())
        c, intercept = np.mean(pairs, axis=0)
        mean, error = c * coslow + intercept, _AUC_ERROR[known]
    # On the logit scale the area stays between 0 and 1.
    centre = float(np.clip(mean, 0.05, 0.95))
    spread = error / (centre * (1 - centre))
    logits = np.log(centre / (1 - centre)) + spread * stats.norm.ppf((np.arange(_DRAWS) + 0.5) / _DRAWS)
    return np.asarray(1 / (1 + np.exp(-np.clip(rng.permutation(logits), -4, 4))))


def _ends(scores: dict[int, float], ceiling: float | None, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Draws of the zero-shot score and of the ceiling."""
    zero = np.full(_DRAWS, scores.get(0, 0.0))
    best = max([0.0, *scores.values()])
    if ceiling is not None:
        # Models do surpass human agreement; a curve never falls for that.
        return zero, np.full(_DRAWS, max(ceiling, best))
    return zero, best + (1 - best) * rng.uniform(0, 1, _DRAWS) if scores else np.ones(_DRAWS)


def _condition(draws: Floats, scores: dict[int, float], test_size: int | None, rng: np.random.Generator) -> Floats:
    """Resample the draws by the likelihood of the pilot scores (zero-shot is where the curve starts)."""
    n = np.array([size for size in scores if size > 0], dtype=float)
    if n.size == 0:
        return draws
    seen = np.array([scores[int(size)] for size in n])
    noise = np.abs(seen * (1 - seen)) / test_size if test_size else np.zeros(n.size)
    error = np.sqrt(noise + _SCORE_ERROR**2)
    # Many draws first, since the prior is wide where the likelihood is narrow.
    many = np.column_stack([rng.choice(column, 40_000) for column in draws.T])
    many[:, 0] *= np.exp(rng.normal(0, 0.1, many.shape[0]))
    log_weight = stats.t.logpdf((seen - _scores(many, n)) / error, 4).sum(axis=1)
    weight = np.exp(log_weight - log_weight.max())
    return many[rng.choice(many.shape[0], _DRAWS, p=weight / weight.sum())]


def _x(n: Floats) -> Floats:
    return np.asarray(np.log2(np.maximum(n, 1)) / np.log2(LARGEST))


def _scores(draws: Floats, n: Floats) -> Floats:
    p, zero, ceiling = (column[:, None] for column in draws.T)
    return np.asarray(zero + (ceiling - zero) * np.minimum(_x(n), 1.0) ** p)


def _round(labels: float) -> str:
    step = 10 ** max(int(np.log10(max(labels, 1))) - 1, 0)
    return f"{round(labels / step) * step:,}"
