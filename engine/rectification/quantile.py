"""The rectified quantile: the rectified distribution function, inverted, with an interval by inverting its test."""

from dataclasses import dataclass, replace

import numpy as np

from engine.errors import ArgumentError
from engine.rectification.assembly import Answer, effective_labels, labels_answer, rectified_answer, saved
from engine.rectification.calibration import calibrate_scores
from engine.rectification.design import Moments, Sample, moments
from engine.rectification.distribution import Curve, SortedPool, rectified_curve
from engine.rectification.estimate import Estimate, interval_width
from engine.rectification.inputs import Alternative, Calibration, Faults, Floats, Question, quietly
from engine.rectification.intervals import QUARTER, quantile, tail
from engine.rectification.layout import Design, Layout, Pool, read_layout, read_pool
from engine.rectification.pool import PoolSummary

STEP = "The labels take few values, so the interval reaches half a step beyond the quantile on either side."


@dataclass(frozen=True)
class Rows:
    """Labels y (n,), predictions f (n,), the pool (m,) as given and sorted, the design, labels that trained (s,)."""

    y: Floats
    f: Floats
    pool: Floats
    ordered: SortedPool
    layout: Layout
    trained: Floats

    @property
    def known(self) -> float:
        """The part of the population that trained the predictor, 0 of a larger one."""
        s = len(self.trained)
        return s / (s + len(self.y) + len(self.pool)) if self.layout.finite else 0.0

    def samples(self, value: float) -> list[Sample]:
        """The indicators of being at most `value`, as shares to be rectified."""
        below = [np.asarray(part <= value, dtype=np.float64)[:, None] for part in (self.y, self.f)]
        return self.layout.samples(below[0], below[1], self._pool_below(value))

    def moments(self, value: float) -> list[Moments]:
        return [moments(sample) for sample in self.samples(value)]

    def _pool_below(self, value: float) -> Pool:
        """Row by row only where the design needs it; else a count in the sorted pool tells everything."""
        if self.ordered.order is not None or self.layout.pool_clusters is not None:
            return np.asarray(self.pool <= value, dtype=np.float64)[:, None]
        m = len(self.pool)
        share = float(np.searchsorted(self.ordered.values, value, side="right")) / m
        spread = np.array([m * share * (1 - share)])
        return PoolSummary(m, float(m), np.array([share]), float(m), spread, np.zeros(1))


def rectified_quantile(
    y: object,
    predictions: object,
    pool_predictions: object,
    *,
    q: float = 0.5,
    confidence: float = 0.95,
    power_tuning: bool = True,
    weights: object | None = None,
    pool_weights: object | None = None,
    strata: object | None = None,
    pool_strata: object | None = None,
    clusters: object | None = None,
    finite_population: bool = False,
    trained: object | None = None,
    trained_clusters: object | None = None,
    pool_clusters: object | None = None,
    probabilities: object | None = None,
    alternative: Alternative = "two-sided",
    null: float | None = None,
    calibrate: Calibration | None = None,
) -> Estimate:
    """The q-quantile of the label: where F(v) = lambda F_pool(v) + mean(1{Y <= v} - lambda 1{f <= v}) reaches q.

    Takes what rectified_mean takes, and q, strictly between 0 and 1. The interval holds every v at which the score
    test of F(v) = q does not reject (Woodruff 1952), so for labels alone it ends at order statistics.

    Raises:
        ArgumentError: naming every argument at fault.
    """
    faults = Faults()
    question = faults.question(confidence, alternative, power_tuning, finite_population, null)
    share = faults.share("q", q, "write 0.5 for the median")
    faults.choice("calibrate", calibrate, (None, "linear", "isotonic"))
    if isinstance(pool_predictions, PoolSummary):
        raise ArgumentError("A quantile needs every prediction of the pool: give pool_predictions as an array.")
    labels = faults.numbers("y", y, least=2)
    own = faults.numbers("predictions", predictions, length=len(labels))
    pool = np.asarray(read_pool(faults, pool_predictions, 1, question.finite_population))
    extra = np.zeros(0) if trained is None or np.size(trained) == 0 else faults.numbers("trained", trained)  # type: ignore[arg-type]
    if len(extra) and weights is not None:
        faults.add("trained labels cannot be combined with weights for a quantile: leave one of them out.")
    design = Design(
        weights,
        pool_weights,
        strata,
        pool_strata,
        clusters,
        pool_clusters,
        probabilities,
        extra if len(extra) else None,
        trained_clusters=trained_clusters,
    )
    layout = read_layout(faults, design, len(labels), pool, question.finite_population)
    faults.raise_any()
    if np.ptp(labels) == 0:
        raise ArgumentError(
            f"y holds only the value {labels[0]:g}, so no interval for a quantile can be computed: label more rows."
        )
    if calibrate is not None:
        mapped = calibrate_scores(labels[:, None], own[:, None], pool, calibrate)
        own, pool = mapped["f"][:, 0], np.asarray(mapped["pool"])
    rows = Rows(labels, own, pool[:, 0], SortedPool.of(pool[:, 0], layout), layout, extra)
    result: Estimate = quietly(lambda: _answer(rows, question, share))
    return result


def _answer(rows: Rows, question: Question, q: float) -> Estimate:
    labels_only, start = _labels_only(rows, question, q)
    parts = rows.moments(start)
    core, tuned = rectified_answer(parts, question, shares=True)
    powers = np.array([t.power for t in tuned])
    samples = rows.samples(start)
    curve = rectified_curve(rows.y, rows.f, rows.ordered, rows.layout, samples, powers)
    if powers.any():
        core, _ = rectified_answer(rows.moments(curve.crossing(q)), question, shares=True)
    else:
        core = labels_answer(parts, shares=True)
    part = rows.known if len(rows.trained) else 0.0
    curve = curve.joined(rows.trained, part) if part else curve
    core = replace(core, trials=core.trials / (1 - part) ** 2)
    result = _estimate(rows, question, q, curve, core, labels_only)
    shares = np.array([p.share for p in parts])
    rho = float(shares @ np.array([t.correlation[0] for t in tuned]))
    notes = tuple(dict.fromkeys(t.note for t in tuned if t.note))
    result = replace(result, power=float(shares @ powers), correlation=rho, notes=result.notes + notes)
    return _opened(result, question.alternative)


def _labels_only(rows: Rows, question: Question, q: float) -> tuple[Estimate, float]:
    """The answer of all the labels, and the quantile of those that rectify."""
    y, f = (np.concatenate([part, rows.trained]) for part in (rows.y, rows.f))
    every = replace(rows, y=y, f=f, layout=replace(rows.layout, clusters=rows.layout.every_cluster))
    samples = every.samples(float(np.median(every.y)))
    curve = rectified_curve(every.y, every.f, every.ordered, every.layout, samples, np.zeros(len(samples)))
    answer = labels_answer(every.moments(curve.crossing(q)), shares=True)
    return _estimate(every, question, q, curve, answer, None), curve.crossing(q)


def _estimate(
    rows: Rows,
    question: Question,
    q: float,
    curve: Curve,
    answer: Answer,
    labels_only: Estimate | None,
) -> Estimate:
    """Point, interval and p-value from one curve and the number of labels that F is worth at the point.

    Both ends of the interval are closed, each as far off as the question has it of a side.
    """
    point = curve.crossing(q)
    trials, freedom = max(float(answer.trials[0]), 2.0), answer.score_freedom[:1]
    reach = float(quantile(question, freedom)[0]) * np.sqrt(q * (1 - q) / trials) + QUARTER / trials
    _check_reach(question, q, reach, len(rows.y))
    low, high = curve.first_reaching(q - reach), curve.last_within(q + reach)
    low, high, notes = _half_step(rows, min(low, point), max(high, point))
    error = (high - low) / (2 * float(quantile(question, freedom)[0]))
    p = None if question.null is None else _p_value(curve, question, q, trials, freedom)
    n = len(rows.y)
    width = (point, low, high)
    saving = 0.0 if labels_only is None else float(saved(width, labels_only))
    worth = n if labels_only is None else _worth(float(interval_width(*width)), labels_only, rows)
    return Estimate(
        estimate=point,
        ci_low=low,
        ci_high=high,
        standard_error=error,
        confidence=question.confidence,
        method="labels-only" if labels_only is None else "rectified",
        power=0.0,
        correlation=0.0,
        n=n,
        m=0 if labels_only is None else len(rows.pool),
        n_effective=float(worth),
        labels_saved=saving,
        labels_only=labels_only,
        model_only=None if labels_only is None else _model_quantile(rows, q),
        notes=notes,
        p_value=p,
    )


def _worth(width: float, labels_only: Estimate, rows: Rows) -> float:
    """How many labels alone would give this width; of a finite population always fewer than it holds."""
    count = int(labels_only.n)
    every = count + len(rows.pool)
    population = float(every) if rows.layout.finite else None
    return float(effective_labels(width**2, float(labels_only.width) ** 2, count, 1 - count / every, population))


def _opened(estimate: Estimate, alternative: Alternative) -> Estimate:
    """The estimate, and labels-only beside it, with the open side of a one-sided interval.

    What they are worth was told from both ends: of ratings, one alone often lies on the estimate itself.
    """
    if alternative == "two-sided":
        return estimate
    alone = None if estimate.labels_only is None else _opened(estimate.labels_only, alternative)
    low, high = (estimate.ci_low, np.inf) if alternative == "larger" else (-np.inf, estimate.ci_high)
    return replace(estimate, ci_low=low, ci_high=high, alternative=alternative, labels_only=alone)


def _check_reach(question: Question, q: float, reach: float, n: int) -> None:
    """Labels bound a quantile only where the test can reject beyond the smallest and the largest of them."""
    below = q - reach <= 0 and question.alternative != "smaller"
    above = q + reach >= 1 and question.alternative != "larger"
    if below or above:
        raise ArgumentError(
            f"{n} labels are too few for a {100 * question.confidence:g}% interval of the {q:g}-quantile: "
            "label more rows, lower the confidence or choose a quantile nearer the middle."
        )


def _p_value(curve: Curve, question: Question, q: float, trials: float, freedom: Floats) -> float:
    """The score test of F(null) = q: small F(null) speaks for a larger quantile."""
    null = float(question.null or 0.0)
    before, upto = curve.lowest_from(null), curve.highest_up_to(null)
    spread, shift = np.sqrt(q * (1 - q) / trials), QUARTER / trials
    larger = (q - upto - shift) / spread
    smaller = (before - q - shift) / spread
    if question.alternative == "larger":
        return float(tail(np.asarray(larger), freedom, "larger")[0])
    if question.alternative == "smaller":
        return float(tail(np.asarray(smaller), freedom, "larger")[0])
    return min(1.0, 2 * float(tail(np.asarray(max(larger, smaller)), freedom, "larger")[0]))


def _half_step(rows: Rows, low: float, high: float) -> tuple[float, float, tuple[str, ...]]:
    """An interval of a single value, as ratings may give, becomes the stretch that rounds to it."""
    if high > low:
        return low, high, ()
    values = np.sort(rows.y)
    gaps = values[1:] - values[:-1]
    step = float(np.where(gaps > 0, gaps, np.inf).min())
    return low - step / 2, high + step / 2, (STEP,)


def _model_quantile(rows: Rows, q: float) -> float:
    """The pool's own quantile."""
    v, order = rows.layout.pool_weights, rows.ordered.order
    if v is None or order is None:
        return float(rows.ordered.values[round(q * (len(rows.ordered.values) - 1))])
    heights = np.cumsum(v[order]) / v.sum()
    return float(rows.ordered.values[min(int(np.searchsorted(heights, q)), len(heights) - 1)])
