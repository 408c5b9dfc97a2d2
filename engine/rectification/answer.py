"""Scores and a design in, an Estimate out: the path that mean and shares have in common."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.rectification.assembly import (
    Answer,
    Trained,
    effective_labels,
    interval,
    labels_answer,
    labels_only_estimate,
    one,
    onto_simplex,
    rectified_answer,
    saved,
    standard_error,
    with_trained,
    with_unseen_classes,
)
from engine.rectification.design import Moments, Sample, add, moments
from engine.rectification.estimate import Estimate
from engine.rectification.inputs import Floats, Question, Value, quietly
from engine.rectification.layout import Layout, Pool, pool_rows
from engine.rectification.pool import PoolSummary
from engine.rectification.tuning import Tuned


@dataclass(frozen=True)
class Scores:
    """y, f: (n, d). pool: (m, d) or a summary. trained: (s, d), with trained_weights (s,)."""

    y: Floats
    f: Floats
    pool: Pool
    trained: Floats | None = None
    trained_weights: Floats | None = None


def answer_scores(
    scores: Scores, layout: Layout, question: Question, *, shares: bool, names: tuple[str, ...] | None = None
) -> Estimate:
    """The rectified means of the columns of y, with labels-only and model-only beside them."""
    result: Estimate = quietly(lambda: _answer(scores, layout, question, shares, names))
    return result


def _answer(
    scores: Scores, layout: Layout, question: Question, shares: bool, names: tuple[str, ...] | None
) -> Estimate:
    parts = [moments(sample) for sample in layout.samples(scores.y, scores.f, scores.pool)]
    if shares and len(parts) > 1:
        parts = [with_unseen_classes(part) for part in parts]
    if names is None and not shares and len(parts) == 1:
        parts = [parts[0].of_one_column()]
    between = _between_strata(parts, layout, scores)
    core, tuned = rectified_answer(parts, question, shares, between)
    n, m = len(scores.y), pool_rows(scores.pool)
    if all(t.power == 0 for t in tuned):
        core = labels_answer(parts, shares, between)
    answer = core if scores.trained is None else with_trained(core, _trained(scores, layout, question))
    if shares and len(answer.point) > 1:
        answer = replace(answer, point=onto_simplex(answer.point))
    alone = _labels_only(scores, layout, parts, shares, between)
    count = n + (0 if scores.trained is None else len(scores.trained))
    labels_only = labels_only_estimate(alone, question, count, shares, names)
    bounds = interval(answer, question, shares)
    population = float(count + m) if question.finite_population else None
    left = 1 - count / (count + m)
    point, low, high = one(answer.point, names), one(bounds.low, names), one(bounds.high, names)
    return Estimate(
        estimate=point,
        ci_low=low,
        ci_high=high,
        standard_error=one(standard_error(answer, shares), names),
        confidence=question.confidence,
        method="rectified",
        power=one(_overall(parts, [t.power + 0 * core.point for t in tuned]), names),
        correlation=one(_overall(parts, [t.correlation for t in tuned]), names),
        n=n,
        m=m,
        n_effective=one(effective_labels(answer.plain, alone.plain, count, left, population), names),
        labels_saved=saved((point, low, high), labels_only),
        labels_only=labels_only,
        model_only=one(add([p.share * p.model for p in parts]), names),
        names=names,
        notes=_notes(parts, tuned, layout),
        alternative=question.alternative,
        p_value=None if bounds.p_value is None else one(bounds.p_value, names),
        degrees_of_freedom=one(answer.freedom, names),
    )


def _labels_only(
    scores: Scores, layout: Layout, parts: Sequence[Moments], shares: bool, between: Floats | None
) -> Answer:
    """All the labels there are: those that trained the model too."""
    if scores.trained is None:
        return labels_answer(parts, shares, between)
    y = np.vstack([scores.y, scores.trained])
    weights = None
    if layout.weights is not None and scores.trained_weights is not None:
        weights = np.concatenate([layout.weights, scores.trained_weights])
    d = y.shape[1]
    rest = PoolSummary(
        pool_rows(scores.pool), float(pool_rows(scores.pool)), np.zeros(d), 0.0, np.zeros(d), np.zeros(d)
    )
    return labels_answer([moments(Sample(y, y, rest, weights, layout.every_cluster, finite=layout.finite))], shares)


def _trained(scores: Scores, layout: Layout, question: Question) -> Trained | None:
    if scores.trained is None:
        return None
    s = len(scores.trained)
    w = np.ones(s) if scores.trained_weights is None else scores.trained_weights
    mean = w @ scores.trained / w.sum()
    if not question.finite_population:
        return Trained(s, 0.0, mean)
    own = float(len(scores.y)) if layout.weights is None else float(layout.weights.sum())
    pool = scores.pool.weight if isinstance(scores.pool, PoolSummary) else float(len(scores.pool))
    if layout.pool_weights is not None:
        pool = float(layout.pool_weights.sum())
    return Trained(s, float(w.sum()) / (float(w.sum()) + own + pool), mean)


def _between_strata(parts: Sequence[Moments], layout: Layout, scores: Scores) -> Floats | None:
    """Variance from shares of strata that are themselves estimated on the pool: sum W_k (mean_k - mean)^2 / m."""
    if len(parts) == 1 or layout.finite:
        return None
    shares = np.array([p.share for p in parts])[:, None]
    means = np.array([p.mean_y for p in parts])
    centre = (shares * means).sum(axis=0)
    v = layout.pool_weights
    rows = float(pool_rows(scores.pool)) if v is None else float(v.sum() ** 2 / (v @ v))
    return np.asarray((shares * (means - centre) ** 2).sum(axis=0) / rows)


def _overall(parts: Sequence[Moments], values: Sequence[Value]) -> Value:
    """A number per stratum as its average over the population."""
    total: Value = add([p.share * v for p, v in zip(parts, values, strict=True)])
    return total


def _notes(parts: Sequence[Moments], tuned: Sequence[Tuned], layout: Layout) -> tuple[str, ...]:
    if len(parts) == 1:
        return tuple(t.note for t in tuned if t.note)
    return tuple(
        f"Stratum {name}: {t.note[0].lower()}{t.note[1:]}"
        for name, t in zip(layout.strata_names, tuned, strict=True)
        if t.note
    )
