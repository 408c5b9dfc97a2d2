"""A model laid over several devices by accelerate, here all of them the CPU, does what it did whole."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import dispatch_model
from tiny_models import ASKED
from transformers import AutoModel, AutoModelForCausalLM

from engine.errors import ModelError
from engine.learning.cosines import cosines
from engine.learning.decoders import Answered, load_decoder
from engine.learning.embeddings import pooled_states
from engine.learning.finetuning import fine_tune
from engine.learning.label_tokens import Choices, ask
from engine.learning.models import entrance, load_encoder
from engine.learning.recipe import Recipe
from engine.learning.regressor import Pooled

RECIPE = Recipe(rank=2, epochs=1, steps=1, folds=2, frozen=0.0, learning_rate=0.01, checkpointing=True)


def spread(model):
    """A copy of a model with accelerate's hooks on every part, each with a device of its own to send states to."""
    model = copy.deepcopy(model)
    parts = [name for name, part in model.named_modules() if name and not list(part.children())]
    return dispatch_model(model, dict.fromkeys(parts, "cpu"), main_device="cpu", force_hooks=True)


def test_a_spread_encoder_reads_and_learns_as_a_whole_one(tiny_encoder, phrases):
    y, laid = np.array([float(len(text)) for text in phrases]), replace(tiny_encoder, model=spread(tiny_encoder.model))
    states = pooled_states(tiny_encoder, phrases)
    np.testing.assert_allclose(pooled_states(laid, phrases), states, atol=1e-6)
    assert entrance(laid.model) == torch.device("cpu")
    models = [
        fine_tune(Pooled(encoder, states[:, -1]), phrases, y, classes=None, recipe=RECIPE, seed=2)
        for encoder in (tiny_encoder, laid)
    ]
    np.testing.assert_allclose(models[1].predict(phrases), models[0].predict(phrases), rtol=1e-5)
    np.testing.assert_allclose(pooled_states(laid, phrases), states, atol=1e-6)


def test_a_spread_decoder_answers_learns_and_has_the_same_gradients(decoder, phrases):
    laid, choices = replace(decoder, model=spread(decoder.model)), Choices.between(1, 5)
    y = np.array([1.0 + len(text) % 5 for text in phrases])
    models = [fine_tune(ask(one, choices), phrases, y, classes=None, recipe=RECIPE, seed=2) for one in (decoder, laid)]
    np.testing.assert_allclose(models[1].predict(phrases), models[0].predict(phrases), rtol=1e-5)
    np.testing.assert_array_equal(laid.answer(phrases[:5], ASKED).texts, decoder.answer(phrases[:5], ASKED).texts)
    asked = decoder.questionnaire(ASKED)
    dialogues = [asked.dialogue(text, "positive") for text in phrases[:6]]
    np.testing.assert_allclose(cosines(Answered(laid, dialogues)), cosines(Answered(decoder, dialogues)), atol=1e-6)


def test_a_large_model_is_trained_where_it_lies(tiny_encoder, phrases):
    y, own = np.array([float(len(text)) for text in phrases]), dict(tiny_encoder.model.named_parameters())
    before = {name: weight.clone() for name, weight in own.items()}
    reader = Pooled(tiny_encoder, pooled_states(tiny_encoder, phrases)[:, -1])
    models = [
        fine_tune(reader, phrases, y, classes=None, recipe=replace(RECIPE, checkpointing=large), seed=2)
        for large in (True, False)
    ]
    places = [{weight.data_ptr() for weight in model.module.backbone.parameters()} for model in models]
    assert places[0] > {weight.data_ptr() for weight in own.values()}
    assert places[1].isdisjoint(weight.data_ptr() for weight in own.values())
    assert all(torch.equal(weight, before[name]) and weight.requires_grad for name, weight in own.items())
    np.testing.assert_allclose(models[0].predict(phrases), models[1].predict(phrases), rtol=1e-3)


@pytest.fixture
def two_gpus(monkeypatch):
    """Two GPUs, so far as torch is asked for their number and free memory."""
    free = [10**12]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free[0], 10**12))
    return free


@pytest.fixture
def folder(decoder, tmp_path):
    decoder.model.save_pretrained(tmp_path)
    decoder.tokenizer.save_pretrained(tmp_path)
    return str(tmp_path)


@pytest.mark.parametrize(("load", "kind"), [(load_decoder, AutoModelForCausalLM), (load_encoder, AutoModel)])
def test_only_a_model_that_would_fill_a_gpu_is_spread(load, kind, folder, two_gpus, monkeypatch):
    weights, asked = 4 * load(folder).model.num_parameters(), []

    def from_pretrained(*_, **options):
        asked.append(options.get("device_map"))
        raise OSError

    monkeypatch.setattr(kind, "from_pretrained", from_pretrained)
    for share in (0.65, 0.75):
        two_gpus[0] = int(weights / share)
        with pytest.raises(ModelError):
            load(folder)
    assert asked == [None, "auto"]


def test_a_model_that_all_gpus_together_cannot_hold_is_told(folder, two_gpus):
    two_gpus[0] = 1000
    with pytest.raises(ModelError, match=r"not enough memory on all GPUs together .* choose a smaller model"):
        load_decoder(folder)
