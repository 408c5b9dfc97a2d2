"""ppi-python and statsmodels, where they define the same thing."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm

from engine.rectification import rectified_logistic, rectified_mean, rectified_ols, rectified_quantile

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def ppi():
    import warnings

    before = list(warnings.filters)
    module = pytest.importorskip("ppi_py")
    warnings.filters[:] = before  # it silences all warnings at import
    return module


@pytest.fixture
def rows():
    rng = np.random.default_rng(8)
    n, m = 200, 1500
    x = np.column_stack([np.ones(n + m), rng.normal(size=(n + m, 2))])
    line = x @ [0.5, 1.0, -0.5]
    y = line + rng.normal(size=n + m)
    f = line + 0.8 * (y - line) + 0.4 * rng.normal(size=n + m) + 0.2
    s = (rng.random(n + m) < 1 / (1 + np.exp(-line))).astype(float)
    g = np.clip(0.2 + 0.6 * s + 0.1 * rng.normal(size=n + m), 0, 1)
    return x[:n], x[n:], y[:n], f[:n], f[n:], s[:n], g[:n], g[n:]


def test_mean(ppi, rows):
    _, _, y, f, pool, *_ = rows
    # The peer looks at the pool alone for how predictions vary; where the labels' vary as much, both say the same.
    f = f.mean() + (f - f.mean()) * pool.std(ddof=1) / f.std(ddof=1)
    fixed = rectified_mean(y, f, pool, power_tuning=False)
    assert fixed.estimate == pytest.approx(float(ppi.ppi_mean_pointestimate(y, f, pool, lam=1)[0]), rel=1e-9)
    low, high = ppi.ppi_mean_ci(y, f, pool, lam=1, alpha=0.05)
    n, m = len(y), len(pool)
    own, other = (y - f).var() / n, pool.var() / m
    assert (high - low).item() / 2 / 1.959963984540054 == pytest.approx(np.sqrt(own + other), rel=1e-9)
    assert fixed.standard_error == pytest.approx(np.sqrt(own * n / (n - 1) + other * m / (m - 1)), rel=1e-9)
    tuned = rectified_mean(y, f, pool)
    assert tuned.estimate == pytest.approx(float(ppi.ppi_mean_pointestimate(y, f, pool, lam=tuned.power)[0]), rel=1e-9)


def test_quantile(ppi, rows):
    _, _, y, f, pool, *_ = rows
    got = rectified_quantile(y, f, pool, q=0.3, power_tuning=False)
    step = np.diff(np.sort(np.concatenate([y, f, pool]))).max()
    peer = ppi.ppi_quantile_pointestimate(y, f, pool, 0.3, exact_grid=True)
    assert got.estimate == pytest.approx(peer, abs=step)


def test_ols(ppi, rows):
    x, xp, y, f, pool, *_ = rows
    fixed = rectified_ols(y, f, pool, x, xp, power_tuning=False)
    assert np.allclose(fixed.estimate, ppi.ppi_ols_pointestimate(x, y, f, xp, pool, lam=1), rtol=1e-6)
    tuned = rectified_ols(y, f, pool, x, xp)
    for c, power in enumerate(tuned.power):
        peer = ppi.ppi_ols_pointestimate(x, y, f, xp, pool, lam=power)
        assert tuned.estimate[c] == pytest.approx(peer[c], rel=1e-6)


@pytest.mark.slow  # ppi-python compiles at the first call
@pytest.mark.filterwarnings("ignore:.*penalty:FutureWarning")  # of ppi-python's own making
def test_logistic(ppi, rows):
    x, xp, *_, s, g, pool = rows
    fixed = rectified_logistic(s, g, pool, x, xp, power_tuning=False)
    assert np.allclose(fixed.estimate, ppi.ppi_logistic_pointestimate(x, s, g, xp, pool, lam=1), rtol=1e-6)
    low, high = ppi.ppi_logistic_ci(x, s, g, xp, pool, lam=1, alpha=0.05)
    assert np.allclose(fixed.ci_high - fixed.ci_low, high - low, rtol=0.06)
    tuned = rectified_logistic(s, g, pool, x, xp)
    for c, power in enumerate(tuned.power):
        peer = ppi.ppi_logistic_pointestimate(x, s, g, xp, pool, lam=power)
        assert tuned.estimate[c] == pytest.approx(peer[c], abs=1e-3)


def test_labels_only_regressions_are_those_of_statsmodels(rows):
    x, xp, y, f, pool, s, g, pool_g = rows
    ours = rectified_ols(y, f, pool, x, xp).labels_only
    theirs = sm.OLS(y, x).fit(cov_type="HC3", use_t=True)
    assert np.allclose(ours.estimate, theirs.params, rtol=1e-9)
    assert np.allclose(np.column_stack([ours.ci_low, ours.ci_high]), theirs.conf_int(), rtol=1e-9)
    assert np.allclose(ours.p_value, theirs.pvalues, rtol=1e-6, atol=1e-12)
    logit = sm.Logit(s, x).fit(disp=0)
    ours = rectified_logistic(s, g, pool_g, x, xp).labels_only
    assert np.allclose(ours.estimate, logit.params, rtol=1e-6)
    assert np.allclose(ours.standard_error, logit.bse, rtol=0.15)


def test_weighted_labels_only_ols(rows):
    x, xp, y, f, pool, *_ = rows
    w = np.random.default_rng(1).uniform(0.5, 2, len(y))
    ours = rectified_ols(y, f, pool, x, xp, weights=w, pool_weights=np.ones(len(pool))).labels_only
    assert np.allclose(ours.estimate, sm.WLS(y, x, weights=w).fit().params, rtol=1e-9)


def test_useless_predictions_leave_the_labels_only_regression(rows):
    x, xp, y, *_ = rows
    got = rectified_ols(y, np.zeros(len(y)), np.zeros(len(xp)), x, xp)
    assert np.allclose(got.ci_low, got.labels_only.ci_low)


GLOBALS = """
import pickle, random, sys, types, warnings
import numpy as np, pandas as pd
engine = types.ModuleType("engine"); engine.__path__ = ["engine"]; sys.modules["engine"] = engine  # this room alone
def state():
    return (list(warnings.filters), pickle.dumps(np.random.get_state()), random.getstate(), np.geterr(),
            np.get_printoptions(), pd.describe_option("display", False))
before = state()
import engine.rectification as r
y = np.arange(20.0); z = y + np.sin(y); x = np.column_stack([np.ones(20), np.cos(y)])
r.rectified_mean(y, z, z, calibrate="isotonic").summary()
r.rectified_mean(y, z, z).plot()
r.rectified_shares((y > 9).astype(int), np.column_stack([y < 8, y >= 8]) * 1.0, np.full((9, 2), 0.5))
r.rectified_quantile(y, z, z); r.rectified_groups(y, z, z, groups=y > 9, pool_groups=y > 9)
r.rectified_ols(y, z, z, x, x); r.rectified_logistic((y % 2), (y % 2) * 0.8, (y % 2) * 0.7, x, x)
assert [a == b for a, b in zip(before, state())] == [True] * 6, [a == b for a, b in zip(before, state())]
assert "torch" not in sys.modules
"""


def test_importing_and_calling_change_no_global_state():
    done = subprocess.run([sys.executable, "-c", GLOBALS], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
