"""Means of groups as one answer with a covariance, and the Estimate made of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from engine.errors import ArgumentError
from engine.rectification.assembly import (
    Answer,
    Trained,
    effective_labels,
    interval,
    labels_answer,
    rectified_answer,
    saved,
    standard_error,
    with_trained,
)
from engine.rectification.contrasts import Multiplicity, all_differences
from engine.rectification.design import Moments, Sample, cluster_totals, moments
from engine.rectification.estimate import Estimate
from engine.rectification.inputs import Codes, Floats, Question
from engine.rectification.layout import Layout, counting_pool, scarce
from engine.rectification.pool import PoolSummary, summarise
from engine.rectification.tuning import Tuned

LEFT_OUT = "Group {name} is left out: it has {found}, and at least 2 are needed."
NO_POOL = "Group {name} has too few predictions in the pool, so this is its labels-only answer."
BORROWED = "The labels of group {name} are all the same, so it borrows the spread of the other groups."


@dataclass(frozen=True)
class GroupTable:
    """y (n,), f (n, 1), pool (m, 1) with the code of each row's group in names; labels that trained with theirs."""

    y: Floats
    f: Floats
    pool: Floats
    codes: Codes
    pool_codes: Codes
    names: tuple[str, ...]
    layout: Layout
    trained: Floats
    trained_marks: NDArray[np.object_]
    trained_weights: Floats


@dataclass(frozen=True)
class Group:
    """One group: its sample and moments, its place among the labels, and the answers with and without predictions.

    notes: of the answer with predictions. own_notes: those among them that hold for the labels alone too.
    """

    name: str
    rows: NDArray[np.bool_]
    sample: Sample
    part: Moments
    count: int
    alone: Answer
    rectified: Answer
    tuned: Tuned | None
    notes: tuple[str, ...]
    own_notes: tuple[str, ...]


def answer_groups(table: GroupTable, question: Question, multiplicity: Multiplicity, shares: bool) -> Estimate:
    """Means, then differences; labels-only beside them."""
    lacks = [scarce(table.layout, table.codes == k) for k in range(len(table.names))]
    left = tuple(
        LEFT_OUT.format(name=name, found=found) for name, found in zip(table.names, lacks, strict=True) if found
    )
    kept = [k for k, found in enumerate(lacks) if not found]
    if not kept:
        raise ArgumentError(
            f"No group has enough labels: {table.names[0]} has {lacks[0]}, and at least 2 are needed. Label more rows, "
            "or use fewer groups."
        )
    spread = _pooled_spread(table, kept)
    groups = [_group(table, k, question, shares, spread) for k in kept]
    alone = _estimate(groups, table, question, multiplicity, shares, None)
    # A run of the labels alone hands on this answer, so what it has to say of the data must stand in it too.
    alone = replace(alone, notes=left + tuple(note for g in groups for note in g.own_notes))
    result = _estimate(groups, table, question, multiplicity, shares, alone)
    return replace(result, notes=left + tuple(note for g in groups for note in g.notes))


def _group(table: GroupTable, k: int, question: Question, shares: bool, spread: float) -> Group:
    name, here = table.names[k], table.codes == k
    sample = _sample(table, k, here)
    part, notes = moments(sample), []
    if not shares and float(part.var_y[0]) <= 0:
        part = replace(part, var_y=np.array([spread / part.units]))
        notes.append(BORROWED.format(name=name))
    trained = table.trained_marks == name
    joined = _joined(table, sample, here, trained)
    alone = labels_answer([part if joined is None else moments(joined)], shares)
    own_notes = tuple(notes) if joined is None else ()
    if sample.pool.count < 2 and not (sample.finite and sample.pool.count):
        core, tuned = labels_answer([part], shares), None
        notes.append(NO_POOL.format(name=name))
    else:
        core, (tuned,) = rectified_answer([part], question, shares)
        core = labels_answer([part], shares) if tuned.power == 0 else core
        notes += [f"Group {name}: {tuned.note[0].lower()}{tuned.note[1:]}"] if tuned.note else []
    exact = with_trained(core, _exact(sample, table.trained[trained], table.trained_weights[trained]))
    return Group(name, here, sample, part, sample.n + int(trained.sum()), alone, exact, tuned, tuple(notes), own_notes)


def _sample(table: GroupTable, k: int, here: NDArray[np.bool_]) -> Sample:
    layout, there = table.layout, table.pool_codes == k
    clusters = None
    if layout.clusters is not None:
        clusters = np.asarray(pd.factorize(layout.clusters[here])[0], dtype=np.int64)
    weights = None if layout.weights is None else layout.weights[here]
    counting = counting_pool(layout, there)
    there = counting if counting.sum() < 2 else there  # rows of weight 0 make no pool
    pool = summarise(table.pool[there], None if layout.pool_weights is None else layout.pool_weights[there])
    # A group without a pool in a finite population is known exactly; its interval then speaks of more such rows.
    return Sample(
        table.y[here][:, None], table.f[here], pool, weights, clusters, None, layout.finite and pool.count > 0
    )


def _joined(table: GroupTable, sample: Sample, here: NDArray[np.bool_], trained: NDArray[np.bool_]) -> Sample | None:
    """All labels of a group, those that trained the predictor too."""
    if not trained.any():
        return None
    layout = table.layout
    y = np.concatenate([sample.y, table.trained[trained, None]])
    weights = None if sample.weights is None else np.concatenate([sample.weights, table.trained_weights[trained]])
    clusters = layout.every_cluster
    clusters = None if clusters is None else clusters[np.concatenate([here, trained])]
    rest = PoolSummary(sample.pool.count, sample.pool.weight, np.zeros(1), 0.0, np.zeros(1), np.zeros(1))
    return Sample(y, y, rest, weights, clusters, finite=sample.finite)


def _exact(sample: Sample, trained: Floats, weights: Floats) -> Trained | None:
    if not len(trained):
        return None
    own = float(sample.n) if sample.weights is None else float(sample.weights.sum())
    mine = float(weights.sum())
    part = mine / (mine + own + sample.pool.weight) if sample.finite else 0.0
    return Trained(len(trained), part, np.array([float(weights @ trained) / mine]))


def _pooled_spread(table: GroupTable, kept: Sequence[int]) -> float:
    """Variance of labels within groups, over all groups."""
    parts = [table.y[table.codes == k] for k in kept]
    return float(sum(((p - p.mean()) ** 2).sum() for p in parts) / max(sum(len(p) - 1 for p in parts), 1))


def _estimate(
    groups: Sequence[Group],
    table: GroupTable,
    question: Question,
    multiplicity: Multiplicity,
    shares: bool,
    alone: Estimate | None,
) -> Estimate:
    """The Estimate with predictions, or without them where there is no labels-only answer yet to set beside it."""
    answer = _stack([g.alone if alone is None else g.rectified for g in groups])
    powers = np.array([0.0 if alone is None or g.tuned is None else g.tuned.power for g in groups])
    covariance = _covariance(groups, table, answer, powers)
    bounds = interval(answer, question, shares)
    names = tuple(g.name for g in groups)
    pairs = all_differences(names, answer, covariance, replace(question, null=0.0), shares, multiplicity)
    n = np.array([g.count if alone is None else g.sample.n for g in groups])
    m = np.array([0 if alone is None else g.sample.pool.count for g in groups])
    rho = np.array([0.0 if alone is None or g.tuned is None else float(g.tuned.correlation[0]) for g in groups])
    point = np.concatenate([answer.point, pairs.point])
    low, high = np.concatenate([bounds.low, pairs.low]), np.concatenate([bounds.high, pairs.high])
    worth = n.astype(np.float64) if alone is None else np.array([_worth(g, table.layout.finite) for g in groups])
    model = np.array(
        [float((g.part.model if g.sample.pool.count else g.part.difference + g.part.model)[0]) for g in groups]
    )
    return Estimate(
        estimate=point,
        ci_low=low,
        ci_high=high,
        standard_error=_errors(standard_error(answer, shares), pairs.variance),
        confidence=question.confidence,
        method="labels-only" if alone is None else "rectified",
        power=_with_pairs(powers, np.minimum),
        correlation=_with_pairs(rho, np.minimum),
        n=_with_pairs(n, np.add),
        m=_with_pairs(m, np.add),
        n_effective=_with_pairs(worth, np.add),
        labels_saved=np.zeros(len(point)) if alone is None else saved((point, low, high), alone),
        labels_only=alone,
        model_only=None if alone is None else _with_pairs(model, np.subtract),
        names=names + pairs.names,
        alternative=question.alternative,
        p_value=np.concatenate([np.asarray(bounds.p_value), pairs.p_value]),
        degrees_of_freedom=np.concatenate([answer.freedom, pairs.freedom]),
        covariance=_full(covariance),
        multiplicity=multiplicity,
    )


def _worth(group: Group, finite: bool) -> float:
    population = float(group.count + group.sample.pool.count)
    left = 1 - group.count / population
    known = population if group.sample.finite else None
    return float(effective_labels(group.rectified.plain, group.alone.plain, group.count, left, known)[0])


def _stack(answers: Sequence[Answer]) -> Answer:
    point, variance, plain, freedom, trials, score = (
        np.concatenate([getattr(a, field) for a in answers])
        for field in ("point", "variance", "plain", "freedom", "trials", "score_freedom")
    )
    return Answer(point, variance, plain, freedom, trials, score)


def _covariance(groups: Sequence[Group], table: GroupTable, answer: Answer, powers: Floats) -> Floats:
    """Diagonal where groups share nothing; where clusters span groups, from the clusters' totals."""
    error = np.sqrt(answer.variance)
    clusters = table.layout.clusters
    if clusters is None:
        return np.diag(error**2)
    columns = np.zeros((len(table.y), len(groups)))
    for k, group in enumerate(groups):
        w = np.ones(group.sample.n) if group.sample.weights is None else group.sample.weights
        e = group.sample.y[:, 0] - powers[k] * group.sample.f[:, 0]
        columns[group.rows, k] = w / w.sum() * (e - w @ e / w.sum())
    totals = cluster_totals(columns, clusters)
    products = totals.T @ totals
    spread = np.sqrt(np.diag(products))
    scale = np.where(spread > 0, error / np.where(spread > 0, spread, 1), 0)
    out = products * np.outer(scale, scale)
    np.fill_diagonal(out, error**2)
    return np.asarray(out)


def _errors(own: Floats, pairs: Floats) -> Floats:
    """Standard errors of means and differences; shares without spread keep those of their intervals."""
    apart = _with_pairs(own, np.hypot)[len(own) :]
    return np.concatenate([own, np.where(pairs > 0, np.sqrt(pairs), apart)])


def _full(covariance: Floats) -> Floats:
    """Covariance of the means followed by all their differences."""
    k = len(covariance)
    rows = [np.eye(k)[a] - np.eye(k)[b] for a in range(k) for b in range(a + 1, k)]
    contrast = np.vstack([np.eye(k), *rows])
    return np.asarray(contrast @ covariance @ contrast.T)


def _with_pairs(values: NDArray[np.generic], join: np.ufunc) -> Floats:
    """A value per group, then one per pair."""
    k = len(values)
    pairs = [join(values[a], values[b]) for a in range(k) for b in range(a + 1, k)]
    return np.asarray(np.concatenate([values, np.array(pairs, dtype=values.dtype)]))
