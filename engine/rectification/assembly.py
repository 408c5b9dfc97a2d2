"""From tuned strata to an Estimate: adding up, trained labels, intervals, and what it was all worth."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine.errors import ArgumentError
from engine.rectification.design import Moments, add
from engine.rectification.estimate import Estimate, interval_width
from engine.rectification.inputs import Floats, Question, Value, all_finite, at_least
from engine.rectification.intervals import Interval, t_interval, wilson_interval
from engine.rectification.tuning import TINY, Tuned, satterthwaite, tune


@dataclass(frozen=True)
class Answer:
    """A point with its variance, (d,) or floats, before the interval; `trials` counts the labels a share is worth.

    score_freedom: degrees of freedom of a share's test; for shares infinite unless a design makes the variance an
    estimate.
    plain: plug-in variance, without what estimating lambda costs.
    """

    point: Any
    variance: Any
    plain: Any
    freedom: Any
    trials: Any
    score_freedom: Any


@dataclass(frozen=True)
class Trained:
    """Labels that trained the predictor: their part of the population (0 of a larger one), and mean, (d,)."""

    count: int
    part: float
    mean: Floats


def labels_answer(parts: Sequence[Moments], shares: bool, extra: Floats | None = None) -> Answer:
    """The labels alone, under the same design."""
    point = add([p.share * p.mean_y for p in parts])
    variances = [p.share**2 * (p.var_y + p.base) for p in parts]
    variance = add(variances) + (0 if extra is None else extra)
    freedom = satterthwaite(variances, [p.units - 1 for p in parts])
    trials = _trials(parts, variance) if shares else variance
    return Answer(point, variance, variance, freedom, trials, _score_freedom(parts, freedom) if shares else freedom)


def with_unseen_classes(part: Moments) -> Moments:
    """A stratum whose labels are all alike still has a spread: that of half a label more of each kind (Jeffreys)."""
    p = (part.mean_y * part.units + 0.5) / (part.units + 1)
    return replace(part, var_y=np.where(part.var_y > 0, part.var_y, p * (1 - p) / part.units))


def rectified_answer(
    parts: Sequence[Moments], question: Question, shares: bool, extra: Floats | None = None
) -> tuple[Answer, list[Tuned]]:
    """Labels corrected by predictions, a lambda in each stratum. extra: variance between strata of unknown shares."""
    tuned = [tune(part, question.power_tuning, shares) for part in parts]
    added = 0 if extra is None else extra
    point = add([p.share * t.point for p, t in zip(parts, tuned, strict=True)])
    variances = [p.share**2 * t.variance for p, t in zip(parts, tuned, strict=True)]
    variance = add(variances) + added
    plain = add([p.share**2 * t.plain for p, t in zip(parts, tuned, strict=True)]) + added
    freedom = satterthwaite(variances, [t.freedom for t in tuned])
    if shares:
        point = onto_simplex(point) if len(point) > 1 else np.clip(point, 0, 1)
    trials = _trials(parts, variance) if shares else variance
    score_freedom = _score_freedom(parts, freedom) if shares else freedom
    return Answer(point, variance, plain, freedom, trials, score_freedom), tuned


def with_trained(answer: Answer, trained: Trained | None) -> Answer:
    """Labels that trained the predictor enter exactly: theta = (sum(trained) + (M - s) theta_rest) / M."""
    if trained is None or trained.part == 0:
        return answer
    rest = 1 - trained.part
    point = trained.part * trained.mean + rest * answer.point
    scale = rest**2
    return replace(
        answer,
        point=point,
        variance=scale * answer.variance,
        plain=scale * answer.plain,
        trials=answer.trials / scale,
    )


def interval(answer: Answer, question: Question, shares: bool) -> Interval:
    """Wilson's for shares, Student's otherwise. Raises: ArgumentError where nothing varies."""
    if shares:
        return wilson_interval(answer.point, answer.trials, answer.score_freedom, question)
    error = np.sqrt(answer.variance)
    low = 1e-15 * at_least(abs(answer.point), 1e-300)
    if not all_finite(error + answer.point):
        raise ArgumentError("The numbers are too large to compute with: divide them by a constant first.")
    if (error <= low) if isinstance(error, float) else (error <= low).any():
        raise ArgumentError(
            "The labels are all the same, or differ too little to compute with, so no interval can be given: "
            "label more rows, or use 0 and 1 for a share."
        )
    return t_interval(answer.point, error, answer.freedom, question)


def labels_only_estimate(
    answer: Answer, question: Question, n: int, shares: bool, names: tuple[str, ...] | None
) -> Estimate:
    """The comparator as an Estimate."""
    bounds = interval(answer, question, shares)
    nothing = one(0 * answer.point, names)
    return Estimate(
        estimate=one(answer.point, names),
        ci_low=one(bounds.low, names),
        ci_high=one(bounds.high, names),
        standard_error=one(standard_error(answer, shares), names),
        confidence=question.confidence,
        method="labels-only",
        power=nothing,
        correlation=nothing,
        n=n,
        m=0,
        n_effective=n + nothing,
        labels_saved=nothing,
        labels_only=None,
        model_only=None,
        names=names,
        alternative=question.alternative,
        p_value=None if bounds.p_value is None else one(bounds.p_value, names),
        degrees_of_freedom=one(answer.freedom, names),
    )


def standard_error(answer: Answer, shares: bool) -> Any:
    """The square root of the variance; for a share with no spread that of its Wilson interval, never zero."""
    error = np.sqrt(answer.variance)
    if not shares:
        return error
    middle = (answer.point * answer.trials + 2) / (answer.trials + 4)
    return np.asarray(np.where(error > 0, error, np.sqrt(middle * (1 - middle) / (answer.trials + 4))))


def saved(estimate: tuple[Value, Value, Value], labels: Estimate) -> Value:
    """1 - (width / labels-only width)^2; nothing where either has no width, as a share of 0 that is bounded below."""
    width, alone = interval_width(*estimate, labels.alternative), labels.width
    if isinstance(width, float) and isinstance(alone, float):
        return 1 - (width / alone) ** 2 if width > 0 and alone > 0 else 0.0
    both = np.greater(width, 0) & np.greater(alone, 0)
    return np.asarray(1 - np.divide(width, alone, out=np.ones(np.shape(width)), where=both) ** 2)


def effective_labels(plain: Value, labels: Value, n: int, left: float, population: float | None) -> Any:
    """How many labels alone give the plug-in variance; left: 1 - n/M, where the population of M is finite."""
    if population is None:
        known = (plain > 0) & (labels > 0)
        worth = n * labels / at_least(plain, TINY)
        return (worth if known else float(n)) if isinstance(worth, float) else np.where(known, worth, float(n))
    spread = n * labels / max(left, 1e-12)
    whole = plain + spread / population
    return np.where(whole > 0, spread / at_least(whole, TINY), float(n))


def onto_simplex(shares: Floats) -> Floats:
    """The nearest point whose entries are not negative and sum to 1 (Duchi et al. 2008, algorithm 1)."""
    ordered = np.sort(shares)[::-1]
    excess = (np.cumsum(ordered) - 1) / np.arange(1, len(shares) + 1)
    level = excess[np.flatnonzero(ordered > excess)[-1]]
    out = np.maximum(shares - level, 0)
    return np.asarray(out / out.sum())


def one(values: Value, names: tuple[str, ...] | None) -> Value:
    """The single entry as a float where there are no names."""
    if names is not None:
        return np.asarray(values)
    return float(values) if isinstance(values, float) or values.ndim == 0 else float(values[0])


def _trials(parts: Sequence[Moments], variance: Floats) -> Floats:
    """Independent labels that would leave this variance: S^2 / V with S^2 = p (1 - p) n / (n - 1)."""
    p = np.clip(add([q.share * q.mean_y for q in parts]), 0, 1)
    units = sum(q.units for q in parts)
    spread = p * (1 - p) * units / max(units - 1, 1)
    simple = 1 / sum(q.share**2 / q.simple for q in parts if q.share > 0)
    usable = (variance > 0) & (spread > 0)
    return np.asarray(np.divide(spread, variance, out=np.full_like(variance, simple), where=usable))


def _score_freedom(parts: Sequence[Moments], freedom: Floats) -> Floats:
    return freedom if any(p.designed for p in parts) else np.full_like(freedom, np.inf)
