"""The t process: its posterior against plain formulas, the exact t, resampling and bridges; EM against loops."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from engine.efficiency.process import (
    _NODES,
    DEGREES_OF_FREEDOM,
    LEARNED_SIZES,
    Prior,
    Process,
    Seen,
    _em_step,
    draw,
    fit,
)

SIZES = (0, 50, 100, 200)
D = len(SIZES) + 2


@pytest.fixture
def process():
    rng = np.random.default_rng(3)
    root = rng.normal(size=(D, D)) + 2 * np.eye(D)
    return Process(SIZES, rng.normal(size=D), root @ root.T / 4)


def seen(sizes, values, noise=0.0, **more):
    return Seen(np.array(sizes, dtype=float), np.array(values), np.full(len(sizes), float(noise)), **more)


def slow_posterior(process, where, values, noise):
    """Weights, means and covariances of the mixture from the textbook's formulas, a node at a time."""
    mean, scatter = process.mean, process.scatter
    weights, means, covariances = [], [], []
    for w in _NODES:
        gain = scatter[:, where] / w @ np.linalg.inv(scatter[np.ix_(where, where)] / w + np.diag(noise))
        means.append(mean + gain @ (values - mean[where]))
        covariances.append(scatter / w - gain @ scatter[where] / w)
        normal = stats.multivariate_normal(mean[where], scatter[np.ix_(where, where)] / w + np.diag(noise))
        weights.append(normal.pdf(values) / len(_NODES))
    return np.array(weights), np.array(means), np.array(covariances)


def test_the_posterior_is_that_of_the_plain_formulas(process):
    where, values, noise = [0, 2, 4, 5], np.array([0.3, -1.0, 2.0, 0.4]), np.array([0.1, 0.4, 1e-6, 0.2 + 1e-6])
    measured = Seen(np.array([0.0, 100.0]), values[:2], noise[:2] - 1e-6, 2.0, 0.4, 0.2)
    found = process.condition(measured)
    weights, means, covariances = slow_posterior(process, where, values, noise)
    np.testing.assert_allclose(found.weights, weights / weights.sum(), rtol=1e-6)
    np.testing.assert_allclose(found.means, means, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose([found.covariance(k) for k in range(16)], covariances, rtol=1e-5, atol=1e-5)
    assert found.evidence == pytest.approx(np.log(weights.sum()), abs=1e-6)


def test_the_posterior_is_that_of_resampling(process):
    rng = np.random.default_rng(0)
    w = rng.choice(_NODES, 400_000)
    u = process.mean + rng.multivariate_normal(np.zeros(D), process.scatter, w.size) / np.sqrt(w)[:, None]
    values, noise = np.array([0.5, 1.2]), 0.5
    weight = np.exp(-0.5 * ((u[:, 1:3] - values) ** 2).sum(axis=1) / noise)
    weight /= weight.sum()
    found = draw([process.condition(seen([50, 100], values, noise))], [1.0], 4096)
    np.testing.assert_allclose(found.mean(axis=0), weight @ u, atol=0.05)
    for column in range(D):
        order = np.argsort(u[:, column])
        quantiles = np.interp([0.1, 0.9], np.cumsum(weight[order]), u[order, column])
        np.testing.assert_allclose(np.quantile(found[:, column], [0.1, 0.9]), quantiles, atol=0.1)


def test_without_noise_the_posterior_is_the_conditional_t(process):
    """Of a t with nu degrees of freedom given p coordinates: t with nu + p, scaled by (nu + distance) / (nu + p)."""
    values, nu = np.array([0.4, -0.2]), DEGREES_OF_FREEDOM
    found = draw([process.condition(seen([0, 50], values))], [1.0], 8192)
    part = process.scatter[:2, :2]
    gain = process.scatter[2:, :2] @ np.linalg.inv(part)
    rest = values - process.mean[:2]
    distance = rest @ np.linalg.solve(part, rest)
    scatter = (process.scatter[2:, 2:] - gain @ process.scatter[:2, 2:]) * (nu + distance) / (nu + 2)
    for k in range(D - 2):
        exact = stats.t(nu + 2, process.mean[2 + k] + gain[k] @ rest, np.sqrt(scatter[k, k]))
        # 16 nodes stand for the Gamma law of w.
        below = (found[:, 2 + k, None] < exact.ppf([0.1, 0.5, 0.9])).mean(axis=0)
        np.testing.assert_allclose(below, [0.1, 0.5, 0.9], atol=0.015)


def test_a_gaussian_conditioned_on_two_exact_values_is_the_closed_form():
    scatter = np.diag([1.0, 1, 1, 1, 1, 1]) + 0.8 * (1 - np.eye(6))
    process = Process(SIZES, np.zeros(6), scatter)
    found = process.condition(seen([0, 50], [1.0, 2.0]))
    # Equal correlations r: the mean is r (a + b) / (1 + r) whatever w is.
    np.testing.assert_allclose(found.means[:, 2], 0.8 * 3 / 1.8, rtol=1e-4)


def test_nothing_seen_or_nothing_but_noise_leaves_the_process(process):
    prior = process.condition(seen([], []))
    np.testing.assert_allclose(prior.weights, 1 / 16)
    np.testing.assert_allclose(prior.means, np.tile(process.mean, (16, 1)))
    noisy = process.condition(seen([50], [30.0], 1e9))
    np.testing.assert_allclose(noisy.means, prior.means, atol=1e-5)
    np.testing.assert_allclose(noisy.weights, prior.weights, rtol=1e-3)


@pytest.mark.parametrize("brownian", [True, False])
def test_between_two_sizes_the_variance_is_that_of_a_bridge_or_of_scatter_of_its_own(brownian):
    x = np.log2([1, 50, 100, 200])
    scatter = np.eye(6)
    scatter[:4, :4] = 1 + np.minimum(x[:, None], x) if brownian else 1 + 2 * np.eye(4)
    more = Process(SIZES, np.zeros(6), scatter).with_sizes(np.array([73.0]))
    assert more.sizes == (0, 50, 73, 100, 200)
    assert more.scatter[2, 2] == pytest.approx(1 + np.log2(73) if brownian else 3)
    if brownian:
        assert more.scatter[2, 3] == pytest.approx(1 + np.log2(73))


def test_beyond_the_last_size_the_mean_stays_and_the_variance_grows(process):
    more = process.with_sizes(np.array([400.0, 800.0]))
    assert more.mean[4] == more.mean[5] == process.mean[3]
    step = process.scatter[3, 3] + process.scatter[2, 2] - 2 * process.scatter[2, 3]
    np.testing.assert_allclose(np.diag(more.scatter)[4:6], process.scatter[3, 3] + step * np.array([1, 2]))
    assert (np.linalg.eigvalsh(more.scatter) > 0).all()


def test_a_size_seen_becomes_a_coordinate_and_is_followed(process):
    found = process.condition(seen([20, 73, 3000], [0.1, 0.9, 1.4], 1e-4))
    assert found.process.sizes == (0, 20, 50, 73, 100, 200, 3000)
    draws = draw([found], [1.0], 512)
    np.testing.assert_allclose(np.median(draws[:, [1, 3, 6]], axis=0), [0.1, 0.9, 1.4], atol=0.02)


def test_draws_of_a_mixture_weigh_the_components_by_what_was_seen(process):
    other = Process(SIZES, process.mean + 50, process.scatter)
    measured = seen([0], [process.mean[0] + 50], 0.1)
    draws = draw([process.condition(measured), other.condition(measured)], [0.9, 0.1], 512)
    assert draws[:, 3].mean() > process.mean[3] + 25


def curves_of(process, count, seed=0):
    rng = np.random.default_rng(seed)
    w = rng.choice(_NODES, count)
    d = len(process.mean)
    return process.mean + rng.multivariate_normal(np.zeros(d), process.scatter, count) / np.sqrt(w)[:, None]


def learned_process():
    x = np.log2(np.maximum(LEARNED_SIZES, 1))
    scatter = np.diag([0.0] * len(x) + [0.5, 0.01])
    scatter[: len(x), : len(x)] = np.exp(-np.abs(x[:, None] - x) / 10) + 0.05 * np.eye(len(x))
    return Process(LEARNED_SIZES, np.append(x / 4, [3.0, 0.4]), scatter)


def test_a_step_of_em_is_that_of_loops_over_curves_and_nodes():
    process, k = learned_process(), len(LEARNED_SIZES)
    rows = curves_of(process, 4)
    curves = [
        Seen(
            np.array(LEARNED_SIZES[i:], dtype=float), row[i:k], np.full(k - i, 0.05), row[k], None if i else row[k + 1]
        )
        for i, row in enumerate(rows)
    ]
    weights, prior = [1.0, 0.1, 1.0, 0.5], Prior(process.mean + 0.1, 2 * process.scatter, 5.0, 3.0)
    parts = []
    for i, (curve, weight) in enumerate(zip(curves, weights, strict=True)):
        where = [*range(i, k), k] + ([] if curve.area is None else [k + 1])
        values = np.append(curve.values, [curve.ceiling] + ([] if curve.area is None else [curve.area]))
        noise = np.append(np.full(k - i, 0.05), [0.0] * (len(where) - k + i)) + 1e-6
        node, means, covariances = slow_posterior(process, where, values, noise)
        parts += [
            (weight * p * w, m, c) for p, w, m, c in zip(node / node.sum(), _NODES, means, covariances, strict=True)
        ]
    total = prior.mean_rows + sum(q for q, _, _ in parts)
    mean = (prior.mean_rows * prior.start + sum(q * m for q, m, _ in parts)) / total
    scatter = prior.rows * prior.scatter + sum(q * (np.outer(m - mean, m - mean) + c) for q, m, c in parts)
    found = _em_step(process, curves, weights, prior)
    np.testing.assert_allclose(found.mean, mean, atol=1e-6)
    np.testing.assert_allclose(found.scatter, scatter / (prior.rows + sum(weights)), atol=1e-5)


def test_em_finds_the_process_of_many_curves_and_tells_noise_from_scatter():
    process, k = learned_process(), len(LEARNED_SIZES)
    rows, sizes = curves_of(process, 300, seed=5), np.array(LEARNED_SIZES, dtype=float)
    noise = np.random.default_rng(6).normal(0, 0.5, (300, k))
    prior, weights = Prior(np.zeros(k + 2), np.eye(k + 2), 1.0), [1.0] * 300

    def learned(values, variance, rounds=25):
        curves = [Seen(sizes, value, np.full(k, variance), *row[k:]) for value, row in zip(values, rows, strict=True)]
        found = fit(curves, weights, prior, rounds)
        return found, sum(found.condition(curve).evidence for curve in curves)

    exact, (told, likelihood), mistaken = (
        learned(rows[:, :k], 0.0)[0],
        learned(rows[:, :k] + noise, 0.25),
        learned(rows[:, :k] + noise, 0.0)[0],
    )
    np.testing.assert_allclose(exact.mean, process.mean, atol=0.25)
    np.testing.assert_allclose(told.mean, exact.mean, atol=0.1)
    variance = [np.diag(found.scatter)[:k].mean() for found in (process, exact, told, mistaken)]
    assert variance[1] == pytest.approx(variance[0], rel=0.25)
    assert abs(variance[2] - variance[1]) < 0.5 * (variance[3] - variance[1])
    assert variance[3] > variance[1] + 0.2
    assert likelihood > learned(rows[:, :k] + noise, 0.25, 3)[1]
