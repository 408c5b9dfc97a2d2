"""The rectified mean against slow, obvious formulas, ppi-python, statsmodels, and its own symmetries."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import DescrStatsW

from engine.rectification import rectified_mean


def draw(seed: int, n: int = 60, m: int = 900) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=n + m)
    y = 2 + signal[:n] + 0.6 * rng.normal(size=n)
    f = signal + 0.3 * rng.normal(size=n + m)
    return y, f[:n], f[n:]


def slow_mean(y: np.ndarray, f: np.ndarray, pool: np.ndarray) -> tuple[float, float, float]:
    """Point, standard error and lambda, written out: regression of y on f, read at the shrunken pool mean."""
    n, m = len(y), len(pool)
    cov = sum((y[i] - y.mean()) * (f[i] - f.mean()) for i in range(n)) / (n - 1)
    # Labels and pool are drawn alike: both tell how predictions vary.
    var_f, var_pool = f.var(ddof=1), (n * f.var() + m * pool.var()) / (n + m - 2)
    lam = min(cov / (var_f + var_pool * n / m), 1.0)
    gap = f.mean() - pool.mean()
    residual = y - y.mean() - lam * (f - f.mean())
    slope_residual = y - y.mean() - cov / var_f * (f - f.mean())
    shrink = (var_f / n) / (var_f / n + var_pool / m)
    s2_slope = (slope_residual**2).sum() / (n - 2) / ((f - f.mean()) ** 2).sum()
    variance = (residual**2).sum() / (n - 2) / n + lam**2 * var_pool / m + gap**2 * s2_slope * shrink**2
    return y.mean() - lam * gap, float(np.sqrt(variance)), lam


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_the_written_out_formula(seed):
    y, f, pool = draw(seed)
    point, error, lam = slow_mean(y, f, pool)
    got = rectified_mean(y, f, pool, confidence=0.9)
    assert got.estimate == pytest.approx(point, rel=1e-12)
    assert got.standard_error == pytest.approx(error, rel=1e-9)
    assert got.power == pytest.approx(lam, rel=1e-9)
    reach = stats.t.ppf(0.95, len(y) - 2) * error
    assert (got.ci_low, got.ci_high) == pytest.approx((point - reach, point + reach), rel=1e-9)


def test_labels_only_is_the_t_interval_of_statsmodels():
    y, f, pool = draw(1)
    low, high = DescrStatsW(y).tconfint_mean(alpha=0.05)
    labels = rectified_mean(y, f, pool).labels_only
    assert (labels.ci_low, labels.ci_high) == pytest.approx((low, high), rel=1e-12)


def test_labels_only_share_is_wilson_with_a_quarter_of_a_label():
    y = np.array([0] * 17 + [1] * 3)
    rng = np.random.default_rng(0)
    labels = rectified_mean(y, rng.normal(size=20), rng.normal(size=50)).labels_only
    low, _ = proportion_confint(2.75, 20, method="wilson")
    _, high = proportion_confint(3.25, 20, method="wilson")
    assert (labels.ci_low, labels.ci_high) == pytest.approx((low, high), rel=1e-9)


def test_useless_predictions_give_the_labels_only_answer():
    y, _, pool = draw(2)
    f = np.random.default_rng(9).normal(size=len(y))
    f -= (f - f.mean()) @ (y - y.mean()) / ((y - y.mean()) @ (y - y.mean())) * (y - y.mean())
    got = rectified_mean(y, f, pool)
    assert got.power == 0
    assert (got.ci_low, got.ci_high) == (got.labels_only.ci_low, got.labels_only.ci_high)
    assert got.labels_saved == 0
    assert any("did not help" in note for note in got.notes)


def test_perfect_predictions_give_the_population_s_answer():
    y, _, pool = draw(3)
    got = rectified_mean(y, y, pool, finite_population=True)
    assert got.estimate == pytest.approx(np.concatenate([y, pool]).mean())
    assert got.ci_low < got.estimate < got.ci_high


def test_trained_labels_enter_a_finite_population_exactly():
    y, f, pool = draw(4)
    trained = np.random.default_rng(5).normal(3, 1, size=30)
    rest = rectified_mean(y, f, pool, finite_population=True)
    got = rectified_mean(y, f, pool, finite_population=True, trained=trained)
    M, s = len(y) + len(pool) + 30, 30
    assert got.estimate == pytest.approx((trained.sum() + (M - s) * rest.estimate) / M, rel=1e-12)
    assert got.standard_error == pytest.approx(rest.standard_error * (M - s) / M, rel=1e-12)
    every = np.concatenate([y, trained])
    assert got.labels_only.estimate == pytest.approx(every.mean())
    assert got.labels_only.standard_error == pytest.approx(
        np.sqrt((1 - len(every) / M) * every.var(ddof=1) / len(every))
    )


def test_effective_labels_follow_the_closed_form():
    y, f, pool = draw(6, n=400, m=4000)
    got = rectified_mean(y, f, pool)
    n, m, rho2 = 400, 4000, got.correlation**2
    assert got.n_effective == pytest.approx(n * (n + m) / (n + (1 - rho2) * m), rel=0.03)
