"""What linear and logistic regression share: the table of covariates, influences, and the Estimate."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from engine.errors import ArgumentError
from engine.rectification.assembly import effective_labels, saved
from engine.rectification.design import cluster_totals
from engine.rectification.estimate import Estimate
from engine.rectification.inputs import Codes, Faults, Floats, Question
from engine.rectification.intervals import t_interval
from engine.rectification.layout import Design, Layout, read_layout
from engine.rectification.tuning import Tuned

ROWS = 4096  # rows a pass: tables of a few columns stay in the second-level cache
NO_CONSTANT = "x has no constant column, so the fit passes through zero; intercept=True adds one."


@dataclass(frozen=True)
class Table:
    """y, f: (n,). x: (n, p). pool_f: (m,). pool_x: (m, p). names of the p coefficients; notes."""

    y: Floats
    f: Floats
    x: Floats
    pool_f: Floats
    pool_x: Floats
    names: tuple[str, ...]
    layout: Layout
    notes: tuple[str, ...]

    @property
    def weights(self) -> Floats:
        """Weights of the labels, summing to 1."""
        w = np.ones(len(self.y)) if self.layout.weights is None else self.layout.weights
        return np.asarray(w / w.sum())


@dataclass(frozen=True)
class Fit:
    """Coefficients (p,) with what each row adds to their error: influence (n, p); or only its sum of squares (p, p)."""

    point: Floats
    influence: Floats


def read_table(
    faults: Faults,
    y: object,
    predictions: object,
    pool_predictions: object,
    x: object,
    x_pool: object,
    intercept: object,
    question: Question,
    design: Design,
) -> Table:
    """Check everything, name the columns, add the constant where asked."""
    labels = faults.numbers("y", y, least=2)
    n = len(labels)
    own = faults.numbers("predictions", predictions, length=n)
    pool = faults.numbers("pool_predictions", pool_predictions, least=2)
    columns = faults.matrix("x", x, length=n)
    there = faults.matrix("x_pool", _aligned(x, x_pool), length=len(pool), of="pool_predictions")
    if columns.shape[1] != there.shape[1] and not faults.broken & {"x", "x_pool"}:
        faults.add(f"x and x_pool have {columns.shape[1]} and {there.shape[1]} columns: give the same covariates.")
    if not isinstance(intercept, bool | np.bool_):
        faults.add(f"intercept must be True or False; {intercept!r} was given.")
    layout = read_layout(faults, design, n, pool[:, None], question.finite_population)
    faults.raise_any()
    names = _names(x, columns)
    notes: tuple[str, ...] = ()
    constant = bool((np.ptp(columns, axis=0) == 0).any())
    if intercept and not constant:
        columns, there = (np.column_stack([np.ones(len(part)), part]) for part in (columns, there))
        names = ("intercept", *names)
    elif not constant:
        notes = (NO_CONSTANT,)
    if n <= columns.shape[1] + 1:
        raise ArgumentError(f"x has {columns.shape[1]} columns but there are only {n} labels: label more rows.")
    return Table(labels, own, columns, pool, there, names, layout, notes)


def solve(gram: Floats, what: str) -> Floats:
    """The inverse of X'WX. Raises: ArgumentError where columns depend on each other."""
    scale = np.sqrt(np.maximum(np.diag(gram), 1e-300))
    try:
        inverse = np.linalg.inv(gram / np.outer(scale, scale))
    except np.linalg.LinAlgError:
        inverse = np.full_like(gram, np.inf)
    if not np.isfinite(inverse).all() or np.abs(inverse).max() > 1e10:
        raise ArgumentError(f"The columns of {what} depend on each other, so no coefficient is determined: drop one.")
    return np.asarray(inverse / np.outer(scale, scale))


def weighted_gram(x: Floats, w: Floats | None) -> Floats:
    """sum w x x', in chunks."""
    if w is None:
        return np.asarray(x.T @ x)
    total = np.zeros((x.shape[1], x.shape[1]))
    for start in range(0, len(x), ROWS):
        part = x[start : start + ROWS]
        total += (part * w[start : start + ROWS, None]).T @ part
    return total


def products(a: Floats, b: Floats, layout: Layout) -> Floats:
    """Covariance of two sums of rows' contributions under the design, (p, p)."""
    strata = layout.strata
    if strata is not None:
        own = np.zeros((a.shape[1], a.shape[1]))
        for k in range(len(layout.strata_names)):
            here = strata == k
            clusters = None if layout.clusters is None else layout.clusters[here]
            own += _products(a[here], b[here], clusters)
        return own
    return _products(a, b, layout.clusters)


def units(table: Table) -> int:
    """What varies independently: labels, or clusters."""
    clusters = table.layout.clusters
    return len(table.y) if clusters is None else len(np.unique(clusters))


def thinning(table: Table) -> float:
    """1 - n/M where labels and pool are the population."""
    n, m = len(table.y), len(table.pool_f)
    return 1 - n / (n + m) if table.layout.finite else 1.0


def to_estimate(
    table: Table,
    question: Question,
    labels: tuple[Floats, Floats],
    rectified: tuple[Floats, Floats],
    plain: Floats,
    tuned: Sequence[Tuned],
    model: Floats,
) -> Estimate:
    """Points and covariances, labels-only first, as an Estimate. plain: plug-in variances (p,)."""
    n, m, p = len(table.y), len(table.pool_f), table.x.shape[1]
    free = units(table) - (p if table.layout.clusters is None else 1)
    alone = _one(labels, np.full(p, float(max(free, 1))), question, table, n, 0, "labels-only")
    lost = np.array([1.0 if t.power > 0 and question.power_tuning else 0.0 for t in tuned])
    result = _one(rectified, np.maximum(free - lost, 1), question, table, n, m, "rectified")
    population = float(n + m) if table.layout.finite else None
    worth = effective_labels(plain, np.diag(labels[1]), n, thinning(table), population)
    fields = {name: getattr(result, name) for name in result.__dataclass_fields__}
    fields |= {
        "power": np.array([t.power for t in tuned]),
        "correlation": np.array([float(t.correlation[0]) for t in tuned]),
        "n_effective": worth,
        "labels_saved": saved((result.estimate, result.ci_low, result.ci_high), alone),
        "labels_only": alone,
        "model_only": model,
        "notes": table.notes
        + tuple(
            f"{name}: {t.note[0].lower()}{t.note[1:]}" for name, t in zip(table.names, tuned, strict=True) if t.note
        ),
    }
    return Estimate(**fields)


def _one(
    answer: tuple[Floats, Floats], freedom: Floats, question: Question, table: Table, n: int, m: int, method: str
) -> Estimate:
    point, covariance = answer
    error = np.sqrt(np.maximum(np.diag(covariance), 0))
    if not (np.isfinite(point).all() and np.isfinite(error).all()):
        raise ArgumentError("The numbers are too large or too far apart to compute with: rescale y and x.")
    if (error <= 1e-13 * np.maximum(np.abs(point), 1e-300)).any():
        raise ArgumentError("The fit leaves no residual, so no interval can be computed: label more rows.")
    bounds = t_interval(point, error, freedom, question)
    p = len(point)
    return Estimate(
        estimate=point,
        ci_low=bounds.low,
        ci_high=bounds.high,
        standard_error=error,
        confidence=question.confidence,
        method=method,
        power=np.zeros(p),
        correlation=np.zeros(p),
        n=n,
        m=m,
        n_effective=np.full(p, float(n)),
        labels_saved=np.zeros(p),
        labels_only=None,
        model_only=None,
        names=table.names,
        alternative=question.alternative,
        p_value=bounds.p_value,
        degrees_of_freedom=freedom,
        covariance=covariance,
    )


def _products(a: Floats, b: Floats, clusters: Codes | None) -> Floats:
    if clusters is None:
        return np.asarray(a.T @ b)
    count = len(np.unique(clusters))
    ta, tb = cluster_totals(a, clusters), cluster_totals(b, clusters)
    return np.asarray(ta.T @ tb * (count / max(count - 1, 1)))


def _aligned(x: object, x_pool: object) -> object:
    """The pool's covariates in the order of the labels' columns, where both are named."""
    if isinstance(x, pd.DataFrame) and isinstance(x_pool, pd.DataFrame) and set(x.columns) <= set(x_pool.columns):
        return x_pool[list(x.columns)]
    return x_pool


def _names(x: object, columns: Floats) -> tuple[str, ...]:
    if isinstance(x, pd.DataFrame):
        return tuple(str(c).strip() for c in x.columns)
    if isinstance(x, pd.Series) and x.name is not None:
        return (str(x.name),)
    flat = np.ptp(columns, axis=0) == 0
    return tuple("constant" if flat[i] else f"x{i + 1}" for i in range(columns.shape[1]))
