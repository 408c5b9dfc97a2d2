"""Predicted half-widths against slow simulations of what they predict."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from engine.allocation.widths import Design, variance_bands
from engine.learning.trials import residual_variance, weighed
from engine.rectification import rectified_mean, rectified_shares

RHO = 0.8


def population(rows, rng):
    """Labels of variance 1 and predictions that correlate with them at RHO, whatever their scale."""
    f = rng.normal(size=rows)
    y = RHO * f + np.sqrt(1 - RHO**2) * rng.normal(size=rows)
    return y, 3 * f + 1


def variance_of(design, half_width, freedom):
    return (half_width / stats.t.ppf((1 + design.confidence) / 2, freedom)) ** 2


def test_a_larger_population_as_simulated():
    n, m, s = 60, 150, 20
    rng, rectify = np.random.default_rng(1), n - s
    slope = 1 / ((1 + rectify / m) * 3) * RHO
    estimates = []
    for _ in range(20_000):
        y, f = population(rectify + m, rng)
        estimates.append(slope * f[rectify:].mean() + (y - slope * f)[:rectify].mean())
    design = Design(n, m, 1.0, "larger", 0.9)
    predicted = variance_of(design, design.rectified(s, 1 - RHO**2), rectify - 2)
    assert predicted == pytest.approx(np.var(estimates), rel=0.04)


def test_these_texts_as_simulated():
    n, m, s = 60, 150, 20
    rng, rows, rectify = np.random.default_rng(2), n + m, n - s
    y, f = population(rows, rng)
    y = (y - y.mean()) / y.std(ddof=1)
    estimates = []
    for _ in range(20_000):
        order = rng.permutation(rows)
        known, rest = order[:s], order[s:]
        slope = np.polyfit(f[rest], y[rest], 1)[0]
        rectified = slope * f[rest].mean() + (y - slope * f)[rest[:rectify]].mean()
        estimates.append((y[known].sum() + (rows - s) * rectified) / rows)
    residual = float(np.var(y - np.polyval(np.polyfit(f, y, 1), f), ddof=1))
    design = Design(n, m, 1.0, "these", 0.95)
    predicted = variance_of(design, design.rectified(s, residual), rectify - 2)
    assert predicted == pytest.approx(np.var(estimates), rel=0.06)


@pytest.mark.parametrize("kind", ["these", "larger"])
def test_labels_only_as_simulated(kind):
    n, m, rng = 50, 100, np.random.default_rng(3)
    y = rng.exponential(size=n + m)
    y /= y.std(ddof=1)
    draw = (lambda: rng.permutation(y)[:n]) if kind == "these" else (lambda: rng.exponential(size=n))
    means = [draw().mean() for _ in range(20_000)]
    design = Design(n, m, 1.0, kind, 0.95)
    assert variance_of(design, design.labels_only(), n - 1) == pytest.approx(np.var(means), rel=0.04)


def test_a_useless_model_is_worth_no_more_than_labels_alone():
    for kind in ("these", "larger"):
        design = Design(100, 1000, 2.0, kind, 0.95)
        assert design.rectified(0, 2.0) == pytest.approx(design.labels_only(), rel=1e-3)
        assert design.rectified(0, 5.0) == design.rectified(0, 2.0)


@pytest.mark.parametrize("kind", ["these", "larger"])
def test_a_residual_above_the_label_variance_says_that_the_labels_vary_more(kind):
    design = Design(60, 150, 1.0, kind, 0.9)
    low, high = design.rectified_interval(20, np.array([[0.7, 0.9], [0.5, 0.8], [0.9, 2.0]]))
    np.testing.assert_allclose(low, design.rectified(20, np.array([0.5, 0.8])))
    varied = Design(60, 150, 2.0, kind, 0.9).rectified(20, 2.0)
    np.testing.assert_allclose(high, [design.rectified(20, 0.9), varied])
    assert high[1] > design.rectified(20, 2.0)


def test_of_a_larger_population_the_labels_own_variance_is_uncertain_too():
    known = {"label_degrees_of_freedom": 60.0}
    known_at = {kind: Design(200, 20, 1.0, kind, 0.95, **known) for kind in ("these", "larger")}
    ends = {kind: np.array(design.rectified_interval(0, [0.6, 0.5, 0.7])) for kind, design in known_at.items()}
    np.testing.assert_allclose(ends["these"], [known_at["these"].rectified(0, v) for v in (0.5, 0.7)])
    # With a pool as small as that the width is that of the labels alone, and known as well as theirs.
    alone = variance_bands(1.0, 60.0)[1:] ** 0.5
    np.testing.assert_allclose(ends["larger"] / known_at["larger"].rectified(0, 0.6), alone, rtol=0.02)


def test_the_interval_of_a_split_holds_the_width_that_its_own_labels_show():
    n, s, rng = 200, 60, np.random.default_rng(5)
    design = Design(n, 10**9, 1.0, "larger", 0.95, label_degrees_of_freedom=59.0, opened=60)
    low, high = design.rectified_interval(s, [0.5, 0.5, 0.5])
    # Residuals with the usual tails: of a t distribution whose excess kurtosis is 2 (HEAVY_TAILS - 1).
    residuals = rng.standard_t(4 + 6 / 0.8, size=(4000, n - s))
    half = design.rectified(s, 0.5) * residuals.std(1, ddof=1) / np.sqrt(11.5 / 9.5)
    assert 0.78 <= ((low <= half) & (half <= high)).mean() <= 0.83
    assert design.rectified_interval(0, [0.5, 0.5, 0.5])[0] == pytest.approx(design.rectified(0, 0.5), rel=1e-6)


def test_an_endless_pool_leaves_the_residual_alone():
    design = Design(100, 10**12, 2.0, "larger", 0.95)
    expected = stats.t.ppf(0.975, 68) * np.sqrt(0.5 / 70)
    assert design.rectified(30, 0.5) == pytest.approx(expected)


def test_with_all_texts_labelled_nothing_is_left_to_estimate():
    design = Design(1000, 1, 2.0, "these", 0.95)
    assert design.labels_only() < 0.004
    assert design.rectified(0, 0.5) < 0.002


def test_more_labels_take_texts_from_a_pool_that_is_everything():
    assert (Design(100, 900, 1.0, "these", 0.95).with_labels(300).m, 700) == (700, 700)
    assert Design(100, 900, 1.0, "larger", 0.95).with_labels(300).m == 900


def test_weights_widen_every_interval_by_the_root_of_the_design_effect():
    plain, weighted = (Design(300, 3000, 2.0, "these", 0.95, effect) for effect in (1.0, 3.4))
    assert weighted.labels_only() == pytest.approx(3.4**0.5 * plain.labels_only())
    assert weighted.rectified(50, 1.2) == pytest.approx(3.4**0.5 * plain.rectified(50, 1.2))
    assert weighted.labels_alone(weighted.labels_only()) == pytest.approx(300)
    assert weighted.with_labels(400).design_effect == 3.4


@pytest.mark.parametrize("n", [60, 300])
def test_weighted_rows_are_planned_as_they_are_estimated(n):
    """Few labels of much weight tell less of a variance than their number says."""
    m, rng, found = 10 * n, np.random.default_rng(0), []
    for _ in range(100):
        w, f = rng.lognormal(0, 0.6, n + m), rng.normal(size=n + m)
        y = 0.85 * f + np.sqrt(1 - 0.85**2) * rng.normal(size=n + m)
        own, half = w[:n], n // 2
        effect, units = n * (own**2).sum() / own.sum() ** 2, (own**2).sum() ** 2 / (own**4).sum()
        labels, guesses = weighed(y[:n, None], own), weighed(f[:n, None], own)
        left, spread = residual_variance(labels, guesses)[0], float(labels.var(ddof=1))
        design = Design(n, m, spread, "these", 0.95, effect, unit_share=units / n)
        options = {"pool_weights": w[n:], "finite_population": True}
        every = rectified_mean(y[:n], f[:n], f[n:], weights=own, **options)
        other = rectified_mean(
            y[half:n], f[half:n], f[n:], weights=own[half:], trained=y[:half], trained_weights=own[:half], **options
        )
        planned = design.rectified(0, left), design.labels_only(), design.rectified(half, left)
        achieved = every.width / 2, every.labels_only.width / 2, other.width / 2
        found.append(np.divide(achieved, planned))
    assert np.median(found, 0) == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("kind", ["these", "larger"])
@pytest.mark.parametrize(("share", "mistaken"), [(0.06, 0.0), (0.3, 0.0), (0.1, 0.05), (0.3, 0.2)])
def test_shares_are_planned_as_they_are_estimated(kind, share, mistaken):
    """The estimate leaves room for mistakes that the labels of a rare class are too few to have shown."""
    n, m, rng, found = 400, 4000, np.random.default_rng(4), []
    for _ in range(40):
        y = rng.random(n + m) < share
        f = np.where(rng.random(n + m) < mistaken, ~y, y).astype(float)
        scores, labels = np.column_stack([1 - f, f]), np.where(y, "yes", "no")[:n]
        estimate = rectified_shares(
            labels, scores[:n], scores[n:], classes=["no", "yes"], finite_population=kind == "these"
        )
        found.append(np.sqrt(np.mean((estimate.width / 2) ** 2)))
    # Of 0-1 labels that are mistaken so often the best linear use leaves this.
    spread, says = share * (1 - share), share * (1 - mistaken) + (1 - share) * mistaken
    left = spread - (share * (1 - mistaken) - share * says) ** 2 / (says * (1 - says))
    design = Design(n, m, spread, kind, 0.95, shares=(1 - share, share))
    assert design.rectified(0, left) == pytest.approx(np.median(found), rel=0.08)
