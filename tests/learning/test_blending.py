"""Trust in a fine-tuned model, and the learner `auto` that lives by it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.learning.blending import BESIDE_THE_PROBE, BY_ITSELF, Usual, trust, without_each
from engine.learning.embeddings import EmbeddingCache
from engine.learning.learners import Auto, FineTuning, Probe, Workbench
from engine.learning.probe import fit_layers


@pytest.fixture
def rng():
    return np.random.default_rng(41)


def test_trust_is_the_slope_of_the_residual_on_the_move(rng):
    signal, cautious = rng.normal(size=(4000, 1)), rng.normal(size=(4000, 1))
    tuned = cautious + signal
    y = cautious + 0.6 * signal + rng.normal(size=(4000, 1))

    def trusted(final=None, most=1.0):
        return trust(y, tuned, cautious, BY_ITSELF, final=final, most=most)

    assert trusted() == pytest.approx(0.6, abs=0.05)
    assert trust(y + 7, tuned - 2, cautious, BY_ITSELF) == pytest.approx(trusted())
    assert trusted(cautious + 0.75 * signal) == pytest.approx(0.6 / 0.75, abs=0.06)
    assert trusted(cautious + 0.1 * signal) == 1
    assert trusted(cautious + 0.4 * signal, most=2.0) == pytest.approx(0.6 / 0.4, abs=0.1)
    assert trusted(cautious - signal, most=2.0) == 0  # it goes the other way than the models that are known
    assert trust(cautious + 3 * signal, tuned, cautious, BY_ITSELF) == 1


def test_trust_in_what_few_labels_tell_is_the_posterior_mean(rng):
    """Against the normal prior times the likelihood of the residuals on a grid of weights, their variance known."""
    for usual in (BY_ITSELF, BESIDE_THE_PROBE, Usual(0.4, 20.0)):
        cautious, move = rng.normal(size=(2, 30, 1))
        y = cautious + 0.5 * move + rng.normal(size=(30, 1))
        final = cautious + 0.7 * move + 0.2 * rng.normal(size=(30, 1))
        centred = [column - column.mean() for column in (y - cautious, move, final - cautious)]
        slope = (centred[1] * centred[0]).sum() / (centred[1] ** 2).sum()
        noise = ((centred[0] - slope * centred[1]) ** 2).sum() / 28
        # What a weight of the final model is of the single one, which the residuals tell of.
        ratio = (centred[1] * centred[2]).sum() / (centred[1] ** 2).sum()
        grid = np.linspace(-20, 20, 400_001)
        squares = (centred[0] ** 2).sum() - 2 * grid * ratio * (centred[1] * centred[0]).sum()
        squares += (grid * ratio) ** 2 * (centred[1] ** 2).sum()
        log_density = -0.5 * squares / noise - 0.5 * usual.precision * (grid - usual.weight) ** 2
        density = np.exp(log_density - log_density.max())
        wanted = np.clip((grid * density).sum() / density.sum(), 0, 2)
        assert trust(y, cautious + move, cautious, usual, final=final, most=2.0) == pytest.approx(wanted, abs=1e-6)


def test_what_is_worse_than_the_cautious_is_not_trusted(rng):
    y, cautious = rng.normal(size=(200, 2)), rng.normal(size=(200, 2))
    assert trust(y, cautious + (cautious - y), cautious, BY_ITSELF) == 0
    assert trust(cautious, y, cautious, BY_ITSELF) == 0
    assert trust(y, cautious, cautious, BY_ITSELF) == BY_ITSELF.weight  # the same: it does not matter


def test_noise_is_hardly_trusted(rng):
    noise = rng.normal(size=(400, 2, 60, 1))
    draws = [trust(y, tuned, np.zeros((60, 1)), BY_ITSELF) for y, tuned in noise]
    assert np.mean(np.square(draws)) < 0.02


def test_means_without_each_label():
    np.testing.assert_allclose(without_each(np.array([[1.0], [2.0], [6.0]])), [[4.0], [3.5], [1.5]])


# ---------------------------------------------------------------- auto


class Fixed:
    """A fit that knows the labels it left out as well as it is told."""

    def __init__(self, tuned):
        self.tuned = tuned

    def fit(self, *_arguments, **_options):
        return self.tuned


@pytest.mark.parametrize("classes", [None, 2])
def test_auto_takes_the_better(tiny_encoder, phrases, tmp_path, rng, classes):
    bench = Workbench(tiny_encoder, EmbeddingCache(tmp_path, tiny_encoder))
    lora = bench.learner("lora", "variance", ("bad", "good") if classes else None)
    assert isinstance(lora, FineTuning)
    y = rng.integers(0, 2, 60) if classes else rng.normal(size=60)
    columns = np.eye(2)[y] if classes else y[:, None]
    module = lora.fit(phrases[:12], y[:12], seed=0)
    probe = Probe(bench.cache, classes)
    knows = replace(module, left_out=0.9 * columns, mean=columns.mean(0), trust=1.0, seen=0.9 * columns)
    guesses = replace(module, left_out=-columns, mean=columns.mean(0), trust=0.0, seen=-columns)
    assert Auto(probe, Fixed(knows)).fit(phrases, y, seed=0).trust > 0.9
    cautious = Auto(probe, Fixed(guesses)).fit(phrases, y, seed=0)
    assert cautious.trust == 0
    head = fit_layers(bench.cache.states(phrases), y, classes)
    np.testing.assert_allclose(cautious.predict(phrases), head.predict(bench.cache.states(phrases).reshape(60, -1)))


def test_the_share_is_the_usual_one_until_the_labels_tell_another(rng):
    y, other = rng.normal(size=(4000, 1)), rng.normal(size=(4000, 1))
    probe, good = 0.3 * y + 0.4 * other, 0.6 * y
    few, many = slice(0, 12), slice(None)
    usual = BESIDE_THE_PROBE
    assert trust(y[many], good[many], probe[many], usual) > 0.9  # the tuned model knows all that the probe knows
    assert trust(y[few], probe[few], good[few], usual) > 0.3  # a dozen labels do not overturn what is usual
    assert trust(y[many], probe[many], good[many], usual) < 0.1


@pytest.mark.parametrize("classes", [None, ("a", "b", "c")])
def test_auto_fits_predicts_and_saves(tiny_encoder, phrases, tmp_path, rng, classes):
    bench = Workbench(tiny_encoder, EmbeddingCache(tmp_path, tiny_encoder))
    y = rng.integers(0, 3, 30) if classes else rng.normal(size=30)
    model = bench.learner("auto", "variance", classes).fit(phrases[:30], y, seed=2)
    predicted = model.predict(phrases)
    assert predicted.shape == ((60, 3) if classes else (60,))
    assert np.isfinite(predicted).all()
    if classes:
        np.testing.assert_allclose(predicted.sum(1), 1, atol=1e-5)
    assert model.predict([]).shape[0] == 0
    model.save(tmp_path / "model")
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert {"adapter_model.safetensors", "head.safetensors", "head.npz", "blend.json"} <= names


def test_the_weight_of_an_average_is_learnt_from_single_models(rng):
    """Three models share what they know; each alone has as much noise again. Their average is to be spread out."""
    known, y_noise = rng.normal(size=(6000, 1)), rng.normal(size=(6000, 1))
    singles = 0.5 * known + rng.normal(size=(6000, 3))
    average = singles.mean(1, keepdims=True)
    y = known + y_noise
    remembered = average + 0.5 * y_noise  # the average has seen the labels; a model left one out
    weight = trust(y, singles[:, :1], np.zeros_like(y), BY_ITSELF, final=remembered, most=2.0)
    assert weight == pytest.approx(np.cov(y[:, 0], average[:, 0])[0, 1] / average.var(), abs=0.08)
