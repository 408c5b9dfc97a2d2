"""How the rows were drawn: weights, strata, clusters, finite populations; each becomes a covariance of two means.

Every estimate here is theta = mean(Y) - lambda D with D = mean(f over labels) - mean(f over the pool), or, where
labels and pool are everything, over both. All that a design changes is the covariance of mean(Y) and D, which
linearisation gives from the rows' contributions w (e - mean e) / sum w (Särndal, Swensson & Wretman 1992, ch. 5).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.rectification.inputs import Codes, Floats
from engine.rectification.pool import PoolSummary, summarise

Picked = TypeVar("Picked", Floats, Codes)


@dataclass(frozen=True)
class PoolRows:
    """The pool row by row, kept only where the design needs it: values (m, d), weights (m,), clusters (m,)."""

    values: Floats
    weights: Floats | None
    clusters: Codes


@dataclass(frozen=True)
class Sample:
    """One stratum, or everything where there are no strata.

    y, f: labels and predictions of the labelled rows as scores, (n, d). pool: the summary of the pool's scores.
    weights: (n,). clusters: codes (n,). chosen: known probability of each label's being drawn, (n,).
    finite: labels and pool are the population. share: this stratum's share of the population.
    """

    y: Floats
    f: Floats
    pool: PoolSummary
    weights: Floats | None = None
    clusters: Codes | None = None
    chosen: Floats | None = None
    finite: bool = False
    share: float = 1.0
    pool_rows: PoolRows | None = None

    @property
    def n(self) -> int:
        return len(self.y)

    @property
    def population(self) -> int:
        return self.n + self.pool.count


@dataclass(frozen=True)
class Moments:
    """Means of a stratum and the covariance of mean(Y) with D, column by column, (d,), or floats of a single one.

    mean_y, mean_f: over the labels. difference: D. model: mean of f over the pool (or population).
    var_y, cov, var_d: of mean(Y) and D. var_f: of mean(f) over the labels alone, and cov_f with mean(Y).
    base: variance that no lambda can change (a larger population seen through known sampling probabilities).
    units: how many labels (or clusters of them) vary independently, (sum w^2)^2 / sum w^4.
    simple: effective number of labels for shares. designed: weights, clusters or probabilities play a part.
    """

    mean_y: Any
    difference: Any
    model: Any
    var_y: Any
    cov: Any
    var_d: Any
    var_f: Any
    cov_f: Any
    base: Any
    units: float
    simple: float
    share: float
    designed: bool = False

    def of_one_column(self) -> "Moments":
        """The same with floats (numpy's, which know inf and nan) for arrays of one: arithmetic costs a fifth."""
        values: dict[str, Any] = {name: getattr(self, name)[0] for name in _BY_COLUMN}
        return Moments(**values, units=self.units, simple=self.simple, share=self.share, designed=self.designed)


_BY_COLUMN = ("mean_y", "difference", "model", "var_y", "cov", "var_d", "var_f", "cov_f", "base")


def moments(sample: Sample) -> Moments:
    """The two means and their covariance under the sample's design."""
    if sample.weights is None and sample.clusters is None and sample.chosen is None and sample.pool_rows is None:
        return _simple_moments(sample)
    w = _row_weights(sample)
    mean_y, a = _contributions(sample.y, w)
    mean_f, b = _contributions(sample.f, w)
    model = _model_mean(sample, mean_f, w)
    thin = _thinning(sample)
    parts = cluster_totals((w / w.sum())[:, None], sample.clusters)
    squares = parts * parts
    units = float(squares.sum() ** 2 / (squares * squares).sum())
    # HC2: a row (or cluster) pulls the mean towards itself by its part of the weight.
    pull = 1 / np.sqrt(np.maximum(1 - parts, 1e-9))
    root = np.sqrt(thin)
    ta, tb = (pull * cluster_totals(root * part, sample.clusters) for part in (a, b))
    var_y, var_f, cov_f = (np.einsum("ij,ij->j", p, q) for p, q in ((ta, ta), (tb, tb), (ta, tb)))
    cov, var_d = cov_f, var_f
    if sample.pool_rows is not None and not sample.finite:
        cov, var_d = _with_pool_clusters(sample, ta, tb, sample.pool_rows)
    elif not sample.finite and sample.chosen is None:
        spread = w @ (sample.f - mean_f) ** 2 / w.sum() * units / max(units - 1, 1e-9)
        var_d = var_f + _pool_variance(sample.pool, spread, units)
    base = np.zeros_like(var_y)
    if sample.chosen is not None and not sample.finite:
        base = _weighted_variance(sample.y, w) / sample.population
    return Moments(
        mean_y,
        mean_f - model,
        model,
        var_y,
        cov,
        var_d,
        var_f,
        cov_f,
        base,
        units,
        _simple_size(w, units, thin),
        sample.share,
        sample.weights is not None or sample.clusters is not None or sample.chosen is not None,
    )


def _simple_moments(sample: Sample) -> Moments:
    """What `moments` comes to for a simple random sample, where HC2 is the divisor n - 1."""
    n = sample.n
    thin = 1 - n / sample.population if sample.finite else 1.0
    mean_y, mean_f = np.add.reduce(sample.y) / n, np.add.reduce(sample.f) / n
    dy, df = sample.y - mean_y, sample.f - mean_f
    scale = thin / (n * (n - 1))
    var_y, var_f, cov_f = (np.vecdot(p.T, q.T) * scale for p, q in ((dy, dy), (df, df), (dy, df)))
    rows = sample.pool
    model = (n * mean_f + rows.weight * rows.mean) / (n + rows.weight) if sample.finite else rows.mean
    var_d = var_f if sample.finite else var_f + _pool_variance(rows, n * var_f, n)
    base, simple = np.zeros(len(mean_y)), n / max(thin, 1e-9)
    return Moments(
        mean_y, mean_f - model, model, var_y, cov_f, var_d, var_f, cov_f, base, float(n), simple, sample.share
    )


def add(values: Sequence[Any]) -> Any:
    """The sum over strata; far quicker than np.sum where there is one."""
    return sum(values[1:], values[0])


def split_strata(
    sample: Sample, strata: Codes, pool: Floats, pool_weights: Floats | None, pool_strata: Codes, count: int
) -> list[Sample]:
    """One sample per stratum; shares from the pool, or from the whole population where that is known."""
    v = np.ones(len(pool)) if pool_weights is None else pool_weights
    w = np.ones(sample.n) if sample.weights is None else sample.weights
    parts, sizes = [], []
    for k in range(count):
        here, there = strata == k, pool_strata == k
        part = Sample(
            sample.y[here],
            sample.f[here],
            summarise(pool[there], None if pool_weights is None else pool_weights[there]),
            _where(sample.weights, here),
            _where(sample.clusters, here),
            _where(sample.chosen, here),
            sample.finite,
        )
        parts.append(part)
        whole = sample.finite or sample.chosen is not None
        sizes.append(float(v[there].sum()) + (float(w[here].sum()) if whole else 0.0))
    total = sum(sizes)
    return [_with_share(part, size / total) for part, size in zip(parts, sizes, strict=True)]


def _with_share(part: Sample, share: float) -> Sample:
    return Sample(part.y, part.f, part.pool, part.weights, part.clusters, part.chosen, part.finite, share)


def _where(values: Picked | None, here: NDArray[np.bool_]) -> Picked | None:
    return None if values is None else values[here]


def _row_weights(sample: Sample) -> Floats:
    if sample.chosen is not None:
        return np.asarray(1 / sample.chosen)
    return np.ones(sample.n) if sample.weights is None else sample.weights


def _contributions(values: Floats, w: Floats) -> tuple[Floats, Floats]:
    """The weighted mean and each row's share in its error."""
    total = w.sum()
    mean = w @ values / total
    return mean, (w / total)[:, None] * (values - mean)


def _model_mean(sample: Sample, mean_f: Floats, w: Floats) -> Floats:
    """Mean of f over the pool; with the labelled rows where the two are the population."""
    if sample.chosen is not None:
        return np.asarray((sample.f.sum(axis=0) + sample.pool.weight * sample.pool.mean) / sample.population)
    if not sample.finite:
        return sample.pool.mean
    own = w.sum()
    return np.asarray((own * mean_f + sample.pool.weight * sample.pool.mean) / (own + sample.pool.weight))


def _thinning(sample: Sample) -> Floats | float:
    """What is left of each row's variance when the rows not drawn are known to be finite in number."""
    if sample.chosen is not None:
        return np.asarray(1 - sample.chosen)[:, None]
    return 1 - sample.n / sample.population if sample.finite else 1.0


def _pool_variance(rows: PoolSummary, spread: Floats, units: float) -> Floats:
    """Variance of mean(f) over the pool, (d,), f varying alike in labels and pool, which are drawn alike.

    spread: variance of f over the labels, (d,); units: how many of them vary independently. A small pool without a row
    of a rare class would by itself say that its mean is known exactly.
    """
    if not rows.weight_squares:
        return rows.variance_of_mean
    worth = rows.weight**2 / rows.weight_squares
    own = (worth - 1) / max(worth + units - 2, 1e-9)
    return np.asarray(own * rows.variance_of_mean + (1 - own) / worth * spread)


def cluster_totals(contributions: Floats, clusters: Codes | None) -> Floats:
    """Contributions added up within clusters, (clusters, d)."""
    if clusters is None:
        return contributions
    out = np.zeros((int(clusters.max()) + 1, contributions.shape[1]))
    np.add.at(out, clusters, contributions)
    return out


def _with_pool_clusters(sample: Sample, ta: Floats, tb: Floats, rows: PoolRows) -> tuple[Floats, Floats]:
    """Covariances where pool rows lie in clusters too, perhaps in those of the labels."""
    v = np.ones(len(rows.values)) if rows.weights is None else rows.weights
    tc = cluster_totals(_contributions(rows.values, v)[1], rows.clusters)
    size = max(len(ta), len(tc))
    padded = [np.vstack([t, np.zeros((size - len(t), t.shape[1]))]) for t in (ta, tb, tc)]
    if sample.clusters is None:
        return (ta * tb).sum(axis=0), (tb * tb).sum(axis=0) + (tc * tc).sum(axis=0)
    gap = padded[1] - padded[2]
    return (padded[0] * gap).sum(axis=0), (gap * gap).sum(axis=0)


def _weighted_variance(values: Floats, w: Floats) -> Floats:
    mean = w @ values / w.sum()
    n = len(values)
    return np.asarray(w @ (values - mean) ** 2 / w.sum() * n / max(n - 1, 1))


def _simple_size(w: Floats, units: float, thin: Floats | float) -> float:
    """How many equally weighted independent labels the sample is at best worth, for shares with no spread."""
    kish = float(w.sum() ** 2 / (w @ w))
    left = max(float(np.mean(thin)), 1e-9)
    return min(kish, units) / left
