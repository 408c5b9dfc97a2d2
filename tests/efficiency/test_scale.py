"""The latent scales: there and back, their noise against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.efficiency.scale import ACCURACY, EXPLAINED_VARIANCE, latent_ceiling, to_latent, to_score


@given(score=st.floats(-1.7, 0.999))
def test_explained_variances_come_back(score):
    latent, variance = to_latent(EXPLAINED_VARIANCE, [score], 100)
    assert to_score(EXPLAINED_VARIANCE, latent)[0] == pytest.approx(score, abs=1e-9)
    assert variance[0] >= 0


@given(score=st.floats(0, 1), size=st.integers(1, 100_000))
def test_accuracies_come_back_but_for_half_a_text(score, size):
    latent, variance = to_latent(ACCURACY, [score], size)
    assert to_score(ACCURACY, latent)[0] == pytest.approx(score, abs=max(0.5 / (size + 1), 0.002) + 1e-9)
    assert np.isfinite(variance[0])


@pytest.mark.parametrize("kind", [ACCURACY, EXPLAINED_VARIANCE])
def test_latent_scores_keep_the_order(kind):
    scores = np.linspace(0 if kind == ACCURACY else -2, 0.99, 50)
    assert (np.diff(to_latent(kind, scores, 500)[0]) > 0).all()
    assert (np.diff([latent_ceiling(kind, score) for score in (0.3, 0.6, 0.9)]) > 0).all()


@pytest.mark.parametrize("accuracy", [0.3, 0.5, 0.9])
def test_the_noise_of_an_accuracy_is_binomial(accuracy):
    counts = np.random.default_rng(0).binomial(400, accuracy, 20_000)
    latent, variance = to_latent(ACCURACY, counts / 400, 400)
    assert variance.mean() == pytest.approx(latent.var(), rel=0.06)


@pytest.mark.parametrize("explained", [0.15, 0.4, 0.8])
def test_the_noise_of_an_explained_variance_is_that_of_normal_labels(explained):
    rng = np.random.default_rng(0)
    f = rng.normal(size=(4000, 300)) * np.sqrt(explained)
    y = f + rng.normal(size=f.shape) * np.sqrt(1 - explained)
    latent, variance = to_latent(EXPLAINED_VARIANCE, 1 - (y - f).var(axis=1) / y.var(axis=1), 300)
    assert variance.mean() == pytest.approx(latent.var(), rel=0.15)


def test_the_mean_of_the_labels_is_known_without_error():
    latent, variance = to_latent(EXPLAINED_VARIANCE, [0.0, 0.01], 50)
    assert (latent[0], variance[0]) == (0, 0)
    assert variance[1] > 0
