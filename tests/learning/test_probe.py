"""The probe: its leave-one-out predictions against brute-force refits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize

from engine.learning import probe
from engine.learning.probe import fit_layers, fit_logistic, fit_ridge


@pytest.fixture
def rng():
    return np.random.default_rng(21)


def data(rng, n=30, d=12):
    X = rng.normal(size=(n, d)) + 2
    return X, X[:, 0] - X[:, 1] + rng.normal(size=n) + 5


def ridge(X, y, penalty):
    """Ridge with a free intercept, from the normal equations."""
    centre, mean = X.mean(0), y.mean()
    coefficients = np.linalg.solve(
        (X - centre).T @ (X - centre) + penalty * np.eye(X.shape[1]), (X - centre).T @ (y - mean)
    )
    return lambda rows: (rows - centre) @ coefficients + mean


def fixed(monkeypatch, value):
    """One penalty alone."""
    monkeypatch.setattr(probe, "_PENALTIES", np.array([value]))


@pytest.mark.parametrize(("n", "d"), [(30, 12), (15, 40)])
@pytest.mark.parametrize("value", [0.01, 1.0, 30.0])
def test_ridge_leave_one_out_is_that_of_refitting(rng, monkeypatch, n, d, value):
    fixed(monkeypatch, value)
    X, y = data(rng, n, d)
    penalty = value * ((X - X.mean(0)) ** 2).sum() / n
    head = fit_ridge(X, y)
    brute = [ridge(np.delete(X, i, 0), np.delete(y, i), penalty)(X[i]) for i in range(n)]
    np.testing.assert_allclose(head.loo, brute, rtol=1e-7, atol=1e-7)
    new = rng.normal(size=(5, d))
    np.testing.assert_allclose(head.predict(new), ridge(X, y, penalty)(new), rtol=1e-7, atol=1e-7)


def test_ridge_averages_the_penalties_by_their_leave_one_out_likelihood_and_how_usual_they_are(rng):
    X, y = data(rng, 20, 30)
    fits, logs = [], []
    for value in probe._PENALTIES:
        penalty = value * ((X - X.mean(0)) ** 2).sum() / len(y)
        loo = np.array([ridge(np.delete(X, i, 0), np.delete(y, i), penalty)(X[i]) for i in range(len(y))])
        fits.append((loo, ridge(X, y, penalty)(X)))
        logs.append(-0.6 * len(y) / 2 * np.log(np.var(y - loo)) + stats.norm.logpdf(np.log(value / 2.5), 0, np.log(4)))
    weights = np.exp(np.array(logs) - max(logs))
    weights /= weights.sum()
    head = fit_ridge(X, y)
    np.testing.assert_allclose(head.loo, weights @ np.array([loo for loo, _ in fits]), rtol=1e-6)
    np.testing.assert_allclose(head.predict(X), weights @ np.array([fit for _, fit in fits]), rtol=1e-6)


def test_several_layers_are_read_in_units_of_their_own(rng):
    states = rng.normal(size=(40, 2, 6)) * np.array([1.0, 1000.0])[None, :, None] + 3
    states[:, 0, 5] = 7.0  # never changes
    y = states[:, 0, 0] + states[:, 1, 1] / 1000 + 0.1 * rng.normal(size=40)
    head = fit_layers(states, y, None)
    flat = states.reshape(40, -1)
    assert np.corrcoef(head.predict(flat), y)[0, 1] > 0.98
    other = fit_layers(states * np.array([5.0, 0.1])[None, :, None], y, None)
    rescaled = (states * np.array([5.0, 0.1])[None, :, None]).reshape(40, -1)
    np.testing.assert_allclose(other.predict(rescaled), head.predict(flat), rtol=1e-6)
    p = fit_layers(states, (y > np.median(y)).astype(int), 2).predict(flat)
    assert ((p[:, 1] > 0.5) == (y > np.median(y))).mean() > 0.9


def test_noise_is_answered_by_about_a_constant(rng):
    shares = []
    for _ in range(40):
        y, unseen = rng.normal(size=50), rng.normal(size=400)
        shares.append(np.var(unseen - fit_ridge(rng.normal(size=(50, 60)), y).predict(rng.normal(size=(400, 60)))))
    assert np.mean(shares) < 1.05


def logistic(X, y, penalty):
    """One class against the rest, minimised from scratch."""
    design = np.column_stack([X, np.ones(len(X))])
    ridge_ = np.append(np.full(X.shape[1], penalty), 1e-6)

    def loss(beta):
        score = design @ beta
        gradient = design.T @ (1 / (1 + np.exp(-score)) - y) + ridge_ * beta
        return np.logaddexp(0, score).sum() - y @ score + 0.5 * ridge_ @ beta**2, gradient

    beta = minimize(loss, np.zeros(design.shape[1]), jac=True, method="BFGS", options={"gtol": 1e-8}).x
    return lambda rows: 1 / (1 + np.exp(-(np.column_stack([rows, np.ones(len(rows))]) @ beta)))


def test_logistic_is_the_minimum_and_its_leave_one_out_is_close_to_refitting(rng, monkeypatch):
    fixed(monkeypatch, 1.0)
    n, d = 40, 6
    X = rng.normal(size=(n, d))
    codes = (X[:, 0] + rng.normal(size=n) > 0).astype(int)
    head = fit_logistic(X, codes, 2)
    centred = X - X.mean(0)
    penalty = 0.25 * (centred**2).sum() / n
    np.testing.assert_allclose(head.predict(X)[:, 1], logistic(centred, codes, penalty)(centred), atol=1e-4)
    brute = [logistic(np.delete(centred, i, 0), np.delete(codes, i), penalty)(centred[i : i + 1])[0] for i in range(n)]
    np.testing.assert_allclose(head.loo[:, 1], brute, atol=0.02)


def test_probabilities_sum_to_one_and_separable_classes_are_learnt(rng):
    codes = np.repeat([0, 1, 2], 20)
    X = np.eye(3)[codes] * 4 + 0.1 * rng.normal(size=(60, 3))
    head = fit_logistic(X, codes, 4)
    p = head.predict(X)
    np.testing.assert_allclose(p.sum(1), 1)
    assert np.isfinite(p).all()
    assert (p.argmax(1) == codes).mean() > 0.95
    assert (head.loo.argmax(1) == codes).mean() > 0.95
    assert (p[:, 3] > 0).all()
    assert (p[:, 3] < 0.05).all()


def test_one_member_of_a_class_and_weak_penalties_do_no_harm(rng):
    X = rng.normal(size=(30, 50))
    codes = np.zeros(30, dtype=int)
    codes[3] = 1
    head = fit_logistic(X, codes, 2)
    assert np.isfinite(head.predict(X)).all()
    assert np.isfinite(head.loo).all()


def test_equal_labels_or_equal_texts_are_predicted_by_a_constant(rng):
    X = rng.normal(size=(20, 5))
    np.testing.assert_allclose(fit_ridge(X, np.full(20, 3.0)).predict(X), 3.0)
    same = np.ones((20, 5))
    y = rng.normal(size=20)
    np.testing.assert_allclose(fit_ridge(same, y).predict(same), y.mean())
    p = fit_logistic(same, np.repeat([0, 1], [15, 5]), 2).predict(same)
    np.testing.assert_allclose(p[:, 1], 0.25, atol=0.01)


def test_two_texts_are_enough(rng):
    head = fit_ridge(rng.normal(size=(2, 8)), np.array([1.0, 2.0]))
    assert np.isfinite(head.loo).all()
    assert np.isfinite(head.predict(rng.normal(size=(3, 8)))).all()
