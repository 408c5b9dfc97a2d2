"""Coverage with both bounds, in a few cells; the whole grid is benchmarks/coverage_grid.py."""

import numpy as np
import pytest

from engine.data import Dataset
from engine.rectification import rectified_mean, rectified_quantile
from engine.rectification.dataset import rectify_dataset

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


@pytest.mark.parametrize(("n", "m", "share"), [(200, 20, 0.03), (40, 10, 0.1), (200, 5, None)])
def test_pools_too_small_to_tell_how_predictions_vary_cover(n, m, share):
    """A pool without a row of a rare class knows its mean no better for it."""
    inside = 0
    for draw in range(DRAWS):
        rng = np.random.default_rng([draw, n, m])
        y = rng.random(n + m) < share if share else rng.exponential(size=n + m)
        f = np.where(rng.random(n + m) < 0.95, y, 0.0) if share else y + rng.normal(size=n + m) / 3
        got = rectified_mean(y[:n] * 1.0, f[:n], f[n:], confidence=0.9)
        inside += got.ci_low <= (share or 1.0) <= got.ci_high
    assert 0.86 <= inside / DRAWS <= (0.99 if share else 0.94)


@pytest.mark.parametrize("trains", [False, True])
def test_several_labels_of_a_text_cover(trains):
    """Each text is rated by one to three people who agree in part: counted as rows, 90% intervals covered 0.80."""
    inside = {"rectified": 0, "labels-only": 0}
    for draw in range(DRAWS):
        rng = np.random.default_rng([draw, 7])
        raters = rng.integers(1, 4, 60)
        text = np.repeat(np.arange(60), raters)
        z = rng.normal(size=60 + 600)
        liked = z + 0.7 * rng.normal(size=660)
        y = liked[text] + 0.5 * rng.normal(size=len(text))
        data = Dataset("a.csv", tuple(map(str, text)), y, None, tuple(f"other {i}" for i in range(600)))
        rows = np.arange(len(y)) if not trains else np.flatnonzero(text >= 20)
        known = None if not trains else np.flatnonzero(text < 20)
        got = rectify_dataset(
            data, z[text[rows]], z[60:], estimand="mean", rows=rows, trained=known, population="larger", confidence=0.9
        )
        for name, answer in (("rectified", got), ("labels-only", got.labels_only)):
            inside[name] += answer.ci_low <= 0 <= answer.ci_high
    assert all(0.86 <= count / DRAWS <= 0.94 for count in inside.values())
