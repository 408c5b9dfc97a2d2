"""Frozen lower layers, whose states are computed once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tiny_models import QUICK, reader_of

from engine.learning.below import Below, layers_of
from engine.learning.finetuning import fine_tune
from engine.learning.regressor import Pooled


@pytest.mark.usefixtures("in_single_precision")
def test_states_computed_once_train_to_the_same_model(tiny_encoder, phrases, y, monkeypatch):
    reader, recipe = reader_of(tiny_encoder, phrases), replace(QUICK, frozen=0.5)
    quick = fine_tune(reader, phrases, y, classes=None, recipe=recipe, seed=0)
    monkeypatch.setattr(Pooled, "below", lambda *_: None)
    slow = fine_tune(reader, phrases, y, classes=None, recipe=recipe, seed=0)
    np.testing.assert_allclose(quick.outputs(phrases), slow.outputs(phrases), atol=1e-4)
    adapter = [name for name in quick.module.state_dict() if "lora" in name]
    assert adapter
    assert all("layer.0." not in name for name in adapter)


def test_the_layers_are_back_after_training_and_after_a_fault(tiny_encoder, phrases):
    ids = tiny_encoder.tokenize(phrases)
    below, stack = Below.of(tiny_encoder, ids, 1), layers_of(tiny_encoder.model)[1]
    layers = list(stack)

    def fail():
        with below.standing_in(tiny_encoder.model):
            assert list(stack) != layers
            assert stack[0].attention is layers[0].attention
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(stack) == layers
