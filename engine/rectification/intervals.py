"""Intervals and p-values that agree: t for means, Wilson's score interval for shares."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from engine.rectification.inputs import Alternative, Floats, Question


@dataclass(frozen=True)
class Interval:
    """Bounds and, where a null value was given, the p-value; arrays (d,)."""

    low: Floats
    high: Floats
    p_value: Floats | None


def t_interval(point: Floats, error: Floats, freedom: Floats, question: Question) -> Interval:
    """Student's t around the point; an open side is infinite."""
    reach = quantile(question, freedom) * error
    low = point - reach if question.alternative != "smaller" else np.full_like(point, -np.inf)
    high = point + reach if question.alternative != "larger" else np.full_like(point, np.inf)
    p = None
    if question.null is not None:
        p = tail((point - question.null) / error, freedom, question.alternative)
    return Interval(low, high, p)


def wilson_interval(share: Floats, trials: Floats, freedom: Floats, question: Question) -> Interval:
    """Wilson's score interval (1927) for shares known as if from so many independent labels; open sides end at 0, 1."""
    z = quantile(question, freedom)
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    reach = z / (1 + z**2 / trials) * np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    # At 0 and 1 centre and reach are equal; rounding must not leave the bound beside them.
    low = np.where(share <= 0, 0.0, np.clip(centre - reach, 0, 1))
    high = np.where(share >= 1, 1.0, np.clip(centre + reach, 0, 1))
    low = low if question.alternative != "smaller" else np.zeros_like(share)
    high = high if question.alternative != "larger" else np.ones_like(share)
    return Interval(low, high, _wilson_p(share, trials, freedom, question))


def quantile(question: Question, freedom: Floats) -> Floats:
    """The t quantile for the confidence, one- or two-sided; infinite degrees of freedom give the normal's."""
    tail_share = 1 - question.confidence
    level = 1 - (tail_share / 2 if question.alternative == "two-sided" else tail_share)
    return np.asarray(stats.t.ppf(level, freedom))


def tail(statistic: Floats, freedom: Floats, alternative: Alternative) -> Floats:
    """The p-value of a t statistic."""
    if alternative == "larger":
        return np.asarray(stats.t.sf(statistic, freedom))
    if alternative == "smaller":
        return np.asarray(stats.t.cdf(statistic, freedom))
    return np.asarray(2 * stats.t.sf(np.abs(statistic), freedom))


def _wilson_p(share: Floats, trials: Floats, freedom: Floats, question: Question) -> Floats | None:
    """The score test, of which Wilson's interval is the inversion."""
    null = question.null
    if null is None:
        return None
    if not 0 < null < 1:  # an impossible or certain share: only exact agreement survives
        return np.where(share == null, 1.0, 0.0)
    return tail((share - null) / np.sqrt(null * (1 - null) / trials), freedom, question.alternative)
