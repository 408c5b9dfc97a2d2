"""A saved predictor predicts, loaded again, what it predicted before."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import ModelError
from engine.learning.learners import Workbench
from engine.learning.models import DEFAULT_MODEL
from engine.learning.saved import MeanPredictor, load_predictor


@pytest.fixture(scope="module")
def bench(default_encoder, tmp_path_factory):
    return Workbench.open(DEFAULT_MODEL, tmp_path_factory.mktemp("cache"))


@pytest.fixture
def labels(phrases):
    numbers = np.array([len(text) + 3.0 * ("good" in text) for text in phrases])
    return phrases, numbers, (numbers > np.median(numbers)).astype(int)


@pytest.mark.parametrize("classes", [None, 2])
@pytest.mark.parametrize("name", ["probe", "lora", "full", "auto"])
def test_a_saved_predictor_predicts_the_same(name, classes, bench, labels, tmp_path):
    texts, numbers, codes = labels
    learner = bench.learner(name, "variance", ("no", "yes") if classes else None)
    fitted = learner.fit(texts[:40], codes[:40] if classes else numbers[:40], seed=1)
    fitted.save(tmp_path / "one")
    loaded = load_predictor(tmp_path / "one", DEFAULT_MODEL)
    expected = fitted.predict(texts).reshape(len(texts), -1)
    np.testing.assert_allclose(loaded.predict(texts), expected, atol=1e-4)
    assert load_predictor(tmp_path / "one", DEFAULT_MODEL).key == loaded.key
    done = []
    np.testing.assert_allclose(MeanPredictor([loaded, loaded]).predict(texts, done.append), loaded.predict(texts))
    assert done == sorted(done)
    assert done[-1] == pytest.approx(1)


def test_faults(tmp_path):
    with pytest.raises(ModelError, match="holds no saved predictor"):
        load_predictor(tmp_path, DEFAULT_MODEL)
    (tmp_path / "choices.json").write_text("{}")
    with pytest.raises(ModelError, match="writes its answers"):
        load_predictor(tmp_path, DEFAULT_MODEL)
