"""How far each trial may be off: the sampling error of its hold-out, and the luck of its training labels.

On the log scale a trial is y = log sigma2(size) + h(hold-out) + e. Trials of several sizes that were scored on the same
labels share h, so it moves the whole curve and hardly bends it; e is the luck of one fit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]

HEAVY_TAILS = 1.4  # var of a sample variance against 2 sigma^4 / k of normal residuals; ratings have longer tails
_KNOWN_TAILS = 50.0  # labels that tell as much of their tails as is known of ratings
_LIGHTEST = 0.5  # a coin's tails are lighter, but not those of what a model leaves of it
_PRIOR_LUCK, _PRIOR_FREEDOM = 0.03, 2.0  # what e is like where few trials tell
_LEAST = 0.01  # keeps three trials that agree by chance from claiming certainty
FEWEST_FREEDOM = 4.0  # with fewer the quantiles of chi squared tell of its pole at zero, not of a variance
_RARE = 0.01  # a variance lower than one in a hundred of its size's is luck, not a finding
_OVERLAP = 0.5  # part of the luck that trials of one size share, because their training labels overlap


@dataclass(frozen=True)
class TrialErrors:
    """Log variances with their errors.

    Attributes:
        log_variances: Unbiased for the log of the true residual variance, shape (t,).
        luck: Variance of e of each trial, shape (t,).
        shared: Covariance of all other errors, shape (t, t).
        level: Variance of the mean hold-out effect: the error of the label variance of the same labels.
        with_level: Covariance of each trial's error with that one, shape (t,).
    """

    log_variances: Floats
    luck: Floats
    shared: Floats
    level: float
    with_level: Floats


def effective_freedom(freedom: ArrayLike, labels: ArrayLike, left: ArrayLike | None = None) -> Floats:
    """Return degrees of freedom that say how well variances of labels, or of residuals of them, are known.

    The variance of a sample variance is (2 + excess kurtosis) sigma^4 / n: one of labels with long tails is known as
    well as that of fewer others. Law and plan reckon with tails as ratings usually have them; these labels' own count
    here, in part only where few labels tell of them.

    Args:
        freedom: Degrees of freedom of the variances, were the labels' tails the usual ones.
        labels: The labels as columns, shape (n, k).
        left: Of classes, the residual variances that the freedom is of, as means over columns. Where little is left,
            it is left by few labels. The residuals y - p of probabilities p that are right have a fourth moment of
            E[q] - 3 E[q^2], where q = p (1 - p) and E[q] is what is left. Of all such models E[q^2] is smallest, as
            E[q]^2, where every label is as uncertain as the next, and largest, as E[q] / 4, where labels are certain or
            a coin's toss; half-way between, the kurtosis is 0.625 / E[q] - 1.5.
    """
    y = np.asarray(labels, dtype=float)
    squares = (y - y.mean(0)) ** 2
    spread = float((squares.mean(0) ** 2).sum())
    excess = float((squares**2).mean(0).sum()) / spread - 3 if spread > 0 else 0.0
    usual = (len(y) * (1 + excess / 2) + _KNOWN_TAILS * HEAVY_TAILS) / (len(y) + _KNOWN_TAILS)
    heavy = max(usual, _LIGHTEST) * np.ones_like(freedom, dtype=float)
    if left is not None:
        heavy = np.maximum(heavy, 1 + (0.625 / np.asarray(left, dtype=float) - 4.5) / 2)
    return np.asarray(np.asarray(freedom, dtype=float) * HEAVY_TAILS / heavy)


def plausible(sizes: Floats, variances: Floats, freedom: Floats) -> Floats:
    """Return variances of which none is lower than chance makes one in a hundred, given the others of its size.

    Of rare labels a hold-out may have none: nothing is left of labels that are all the same, and the log of nothing
    would outweigh all other trials.
    """
    known = np.maximum(freedom, FEWEST_FREEDOM)
    pooled = np.array([np.average(variances[sizes == size], weights=freedom[sizes == size]) for size in sizes])
    return np.asarray(np.maximum(variances, pooled * stats.chi2.ppf(_RARE, known) / known))


def trial_errors(
    sizes: Floats, variances: Floats, freedom: Floats | None, names: NDArray[np.intp] | None
) -> TrialErrors:
    """Return the errors of trials; `names` are codes of the hold-outs, or None where each trial has its own."""
    log_s, log_v = np.log(sizes), np.log(variances)
    if freedom is None or names is None:
        own = np.full(len(log_v), max(_spread(log_s, log_v), _LEAST) ** 2)
        if freedom is not None:
            own = np.maximum(_sampling(freedom), own)
            log_v = log_v + own / 2  # the log of a mean lies above the mean of logs
        level = float(1 / (1 / own).sum())
        return TrialErrors(log_v, own, np.zeros((len(log_v),) * 2), level, np.full(len(log_v), level))
    luck, effects = _two_way(log_s, log_v, names)
    holdouts = len(effects)
    theory = _sampling(freedom)
    measured = float((effects**2).sum())
    own = (10 * theory + measured) / (10 + holdouts - 1)
    same_holdout = names[:, None] == names[None, :]
    same_size = log_s[:, None] == log_s[None, :]
    shared = np.sqrt(own[:, None] * own[None, :]) * same_holdout + _OVERLAP * luck * same_size
    luck_own = np.full(len(log_v), (1 - _OVERLAP) * luck)
    # Hold-outs of other sizes have other errors, of which the mean's is made.
    of_holdout = np.array([own[names == name].mean() for name in range(holdouts)])
    level, with_level = of_holdout.sum() / holdouts**2, np.sqrt(own * of_holdout[names]) / holdouts
    return TrialErrors(log_v + _log_of_mean(sizes, variances), luck_own, shared, float(level), with_level)


def _log_of_mean(sizes: Floats, variances: Floats) -> float:
    """By how much the log of a mean over trials of one size exceeds the mean of their logs; the median over sizes."""
    groups = [variances[sizes == size] for size in np.unique(sizes)]
    return float(np.median([np.log(v.mean()) - np.log(v).mean() for v in groups]))


def _sampling(freedom: Floats) -> Floats:
    # var(log chi2_k / k) is close to 2/k for normal residuals.
    return 2 * HEAVY_TAILS / np.maximum(freedom, 1.0)


def _spread(log_s: Floats, log_v: Floats) -> float:
    """Scatter about a straight line on the log-log scale, which is near enough to the law to see it."""
    if log_v.size < 4 or np.ptp(log_s) == 0:
        return 0.15
    residual = log_v - np.polyval(np.polyfit(log_s, log_v, 1), log_s)
    return float(1.4826 * np.median(np.abs(residual)) * np.sqrt(log_v.size / (log_v.size - 2)))


def _two_way(log_s: Floats, log_v: Floats, names: NDArray[np.intp]) -> tuple[float, Floats]:
    """Variance of e, and the effect of each hold-out, from an additive fit of sizes and hold-outs."""
    by_size = (log_s[:, None] == np.unique(log_s)).astype(float)
    by_name = (names[:, None] == np.unique(names)).astype(float)
    design = np.hstack([by_size, by_name])
    solution, _, rank, _ = np.linalg.lstsq(design, log_v, rcond=None)
    residual = log_v - design @ solution
    freedom = max(len(log_v) - int(rank), 0)
    # A wild trial counts as a large one: its own weight falls in the fit.
    limit = 3 * 1.4826 * float(np.median(np.abs(residual))) + _LEAST
    squares = float((np.clip(residual, -limit, limit) ** 2).sum())
    luck = (_PRIOR_FREEDOM * _PRIOR_LUCK**2 + squares) / (_PRIOR_FREEDOM + freedom)
    effects = solution[by_size.shape[1] :]
    return max(luck, _LEAST**2), np.asarray(effects - effects.mean())
