"""Differences between means, with their covariance, and allowance for making several comparisons at once."""

from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np
from scipy import optimize

from engine.rectification.assembly import Answer
from engine.rectification.inputs import Alternative, Floats, Question
from engine.rectification.intervals import Interval, t_interval, wilson_interval

Multiplicity = Literal["holm", "bonferroni", "none"]


@dataclass(frozen=True)
class Differences:
    """All pairs of means: names "A - B", points, variances, degrees of freedom, bounds and p-values, (pairs,)."""

    names: tuple[str, ...]
    point: Floats
    variance: Floats
    freedom: Floats
    low: Floats
    high: Floats
    p_value: Floats


def all_differences(
    names: tuple[str, ...],
    answer: Answer,
    covariance: Floats,
    question: Question,
    shares: bool,
    multiplicity: Multiplicity,
) -> Differences:
    """Every pair of groups; intervals hold together at the confidence unless multiplicity is "none".

    Bonferroni: each interval at 1 - alpha / pairs. Holm: p-values step down (Holm 1979), and an interval that holds 0
    although Holm rejects ends at 0, the region that agrees with the procedure (Guilbaud 2008).
    """
    pairs = list(combinations(range(len(names)), 2))
    titles = tuple(f"{names[a]} - {names[b]}" for a, b in pairs)
    null = 0.0 if question.null is None else question.null
    count = max(len(pairs), 1) if multiplicity != "none" else 1
    level = replace(question, confidence=1 - (1 - question.confidence) / count, null=null)
    single = [_difference(answer, covariance, a, b, level, shares) for a, b in pairs]
    low, high, raw = (np.array([s[i] for s in single], dtype=np.float64) for i in range(3))
    p = adjusted(raw, multiplicity)
    point = np.array([answer.point[a] - answer.point[b] for a, b in pairs], dtype=np.float64)
    if multiplicity == "holm":
        low, high = _truncate(low, high, point, p <= 1 - question.confidence, null)
    variance = np.array([_variance(covariance, a, b) for a, b in pairs], dtype=np.float64)
    freedom = np.array([_welch(answer, a, b) for a, b in pairs], dtype=np.float64)
    return Differences(titles, point, variance, freedom, low, high, p)


def adjusted(p: Floats, multiplicity: Multiplicity) -> Floats:
    """p-values that allow for their number."""
    k = len(p)
    if multiplicity == "none" or k == 0:
        return p
    if multiplicity == "bonferroni":
        return np.minimum(p * k, 1)
    order = np.argsort(p, kind="stable")
    out = np.empty(k)
    out[order] = np.minimum(np.maximum.accumulate(p[order] * (k - np.arange(k))), 1)
    return out


def _truncate(low: Floats, high: Floats, point: Floats, rejected: np.ndarray, null: float) -> tuple[Floats, Floats]:
    above, below = rejected & (point > null), rejected & (point < null)
    return np.where(above, np.maximum(low, null), low), np.where(below, np.minimum(high, null), high)


def _variance(covariance: Floats, a: int, b: int) -> float:
    return float(max(covariance[a, a] + covariance[b, b] - 2 * covariance[a, b], 0.0))


def _welch(answer: Answer, a: int, b: int) -> float:
    """Degrees of freedom of a difference (Welch 1947)."""
    va, vb = answer.variance[a], answer.variance[b]
    spread = va**2 / answer.freedom[a] + vb**2 / answer.freedom[b]
    return float((va + vb) ** 2 / spread) if spread > 0 else float(answer.freedom[a] + answer.freedom[b])


def _difference(
    answer: Answer, covariance: Floats, a: int, b: int, question: Question, shares: bool
) -> tuple[float, float, float]:
    """Low, high and p-value of mean a - mean b."""
    if shares:
        return _difference_of_shares(answer, covariance, a, b, question)
    point = np.array([answer.point[a] - answer.point[b]])
    error = np.sqrt(np.array([_variance(covariance, a, b)]))
    bounds = t_interval(point, error, np.array([_welch(answer, a, b)]), question)
    return float(bounds.low[0]), float(bounds.high[0]), float(np.asarray(bounds.p_value)[0])


def _difference_of_shares(
    answer: Answer, covariance: Floats, a: int, b: int, question: Question
) -> tuple[float, float, float]:
    """Newcombe's hybrid of two Wilson intervals (1998, method 10), with the correlation of the two shares."""
    spread = float(np.sqrt(covariance[a, a] * covariance[b, b]))
    rho = float(np.clip(covariance[a, b] / spread, -1, 1)) if spread > 0 else 0.0
    point = float(answer.point[a] - answer.point[b])
    null = 0.0 if question.null is None else question.null

    def bounds(confidence: float) -> tuple[float, float]:
        both = replace(question, confidence=confidence, alternative="two-sided", null=None)
        wilson = wilson_interval(answer.point, answer.trials, answer.score_freedom, both)
        return _hybrid(wilson, answer.point, a, b, rho)

    sides = 1 if question.alternative == "two-sided" else 2
    low, high = bounds(1 - sides * (1 - question.confidence))
    p = _p_by_inversion(bounds, point, null, question.alternative)
    low, high = (
        (low if question.alternative != "smaller" else -1.0),
        (high if question.alternative != "larger" else 1.0),
    )
    return low, high, p


def _hybrid(wilson: Interval, point: Floats, a: int, b: int, rho: float) -> tuple[float, float]:
    down_a, up_a = point[a] - wilson.low[a], wilson.high[a] - point[a]
    down_b, up_b = point[b] - wilson.low[b], wilson.high[b] - point[b]
    gap = float(point[a] - point[b])
    low = gap - np.sqrt(max(down_a**2 + up_b**2 - 2 * rho * down_a * up_b, 0.0))
    high = gap + np.sqrt(max(up_a**2 + down_b**2 - 2 * rho * up_a * down_b, 0.0))
    return float(max(low, -1.0)), float(min(high, 1.0))


def _p_by_inversion(bounds: object, point: float, null: float, alternative: Alternative) -> float:
    """One minus the confidence at which the interval just touches the null value."""

    def reach(confidence: float) -> float:
        low, high = bounds(confidence)  # type: ignore[operator]
        return float(null - low if point > null else high - null)

    if point == null or reach(1e-9) >= 0:
        two = 1.0
    elif reach(1 - 1e-15) <= 0:
        two = 1e-15
    else:
        two = 1 - float(optimize.brentq(reach, 1e-9, 1 - 1e-15, xtol=1e-14))
    if alternative == "two-sided":
        return two
    towards = point > null if alternative == "larger" else point < null
    return two / 2 if towards else 1 - two / 2
