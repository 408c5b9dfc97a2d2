"""Coverage with both bounds, in a few cells; the whole grid is benchmarks/coverage_grid.py."""

import numpy as np
import pytest

from engine.rectification import rectified_mean, rectified_quantile

DRAWS = 400


@pytest.mark.parametrize("n", [10, 50])
@pytest.mark.parametrize("share", [None, 0.1])
def test_means_and_shares_cover(n, share):
    inside = 0
    for draw in range(DRAWS):
        rng = np.random.default_rng([draw, n])
        z = rng.normal(size=n + 500)
        y = 0.8 * z[:n] + 0.6 * rng.normal(size=n)
        f = z
        if share is not None:
            y, f = (y > 1.2815515655446004) * 1.0, 1 / (1 + np.exp(-2 * (z - 1.3)))
        got = rectified_mean(y, f[:n], f[n:], confidence=0.9)
        inside += got.ci_low <= (share or 0.0) <= got.ci_high
    assert 0.86 <= inside / DRAWS <= (0.95 if share is None else 1.0)


@pytest.mark.parametrize("n", [20, 100])
def test_medians_cover(n):
    inside = 0
    for draw in range(DRAWS):
        rng = np.random.default_rng([draw, n])
        z = rng.normal(size=n + 500)
        y = np.exp(0.8 * z[:n] + 0.6 * rng.normal(size=n))
        got = rectified_quantile(y, np.exp(z[:n]), np.exp(z[n:]), confidence=0.9)
        inside += got.ci_low <= 1 <= got.ci_high
    assert 0.86 <= inside / DRAWS <= 0.98


def test_finite_populations_do_not_over_cover():
    inside = 0
    for draw in range(DRAWS):
        rng = np.random.default_rng(draw)
        z = rng.normal(size=300)
        y = 0.8 * z + 0.6 * rng.normal(size=300)
        got = rectified_mean(y[:100], z[:100], z[100:], confidence=0.9, finite_population=True)
        inside += got.ci_low <= y.mean() <= got.ci_high
    assert 0.86 <= inside / DRAWS <= 0.94
