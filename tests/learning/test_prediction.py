"""Fast pooled states: those of the model's own forward, whatever the model, the texts and the cores."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import BertConfig, BertModel, RobertaConfig, RobertaModel

from engine.learning import prediction
from engine.learning.finetuning import Tuned
from engine.learning.learners import Probed
from engine.learning.packed import can_pack
from engine.learning.prediction import pooled_layers
from engine.learning.probe import Head
from engine.learning.products import Product, split_pays
from engine.learning.regressor import Pooled, Regressor

SMALL = {
    "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 96,
    "max_position_embeddings": 300, "initializer_range": 0.2,
}  # fmt: skip


def random_model(kind, config, seed=5):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind(config).eval()


def plain_loop(model, ids, layers):
    """Each text alone through the model's own forward."""
    rows = []
    model = copy.deepcopy(model)  # asking for the hidden states leaves hooks behind
    for text in ids:
        with torch.inference_mode():
            states = model(input_ids=torch.tensor([text]), output_hidden_states=True).hidden_states[1:]
        rows.append([layer[0].mean(0).numpy() for layer in states[-layers:]])
    return np.array(rows)


@pytest.fixture
def ids(default_encoder, phrases):
    """Texts of all lengths, one of them as long as any; enough for the fast way."""
    texts = [*phrases, " ".join(phrases) * 2, "", "🙂", "good " * 140]
    ids = default_encoder.tokenize(texts) * 3
    return [ids[i] for i in np.random.default_rng(4).permutation(len(ids))]


def small_encoder(default_encoder, kind=BertModel, **options):
    config = {BertModel: BertConfig, RobertaModel: RobertaConfig}[kind]
    model = random_model(kind, config(vocab_size=len(default_encoder.tokenizer), **SMALL, **options))
    return replace(default_encoder, model=model)


@pytest.mark.parametrize("kind", [BertModel, RobertaModel])
def test_states_are_those_of_the_models_own_forward(kind, default_encoder, ids):
    encoder = small_encoder(default_encoder, kind, pad_token_id=0)
    ids[3] = [*ids[3], encoder.tokenizer.pad_token_id, 7]  # a text may name the padding token
    assert can_pack(encoder.model)
    np.testing.assert_allclose(pooled_layers(encoder, ids, layers=3), plain_loop(encoder.model, ids, 3), atol=1e-5)


def test_states_of_the_default_model(default_encoder, ids):
    states = pooled_layers(default_encoder, ids[:60], layers=3)
    # Its middle layers have coordinates of a size of five.
    np.testing.assert_allclose(states, plain_loop(default_encoder.model, ids[:60], 3), atol=1e-5)


def test_products_of_parts_keep_float32(default_encoder, ids, monkeypatch):
    monkeypatch.setattr(prediction, "split_pays", lambda: True)
    states = pooled_layers(default_encoder, ids[:60], layers=3)
    np.testing.assert_allclose(states, plain_loop(default_encoder.model, ids[:60], 3), atol=1e-4)


def test_bfloat16_keeps_two_digits(default_encoder, ids):
    exact = pooled_layers(default_encoder, ids)[:, -1]
    rough = pooled_layers(default_encoder, ids, dtype=torch.bfloat16)[:, -1]
    cosines = (exact * rough).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(rough, axis=1)
    assert cosines.min() > 0.999


@pytest.mark.parametrize("merged", [False, True])
def test_adapters_take_part(merged, default_encoder, ids):
    encoder = small_encoder(default_encoder)
    base = copy.deepcopy(encoder.model)
    with torch.random.fork_rng(devices=[]):
        adapted = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear"))
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.1)
    adapted.eval()
    if merged:
        adapted.merge_adapter()
    assert can_pack(adapted)
    states = pooled_layers(replace(encoder, model=adapted), ids)
    np.testing.assert_allclose(states, plain_loop(adapted, ids, 1), atol=1e-5)
    assert np.abs(states - pooled_layers(encoder, ids)).max() > 0.01


def test_what_cannot_be_packed_goes_its_own_way(default_encoder, ids):
    relu = small_encoder(default_encoder, hidden_act="relu")
    assert not can_pack(relu.model)
    np.testing.assert_allclose(pooled_layers(relu, ids[:40]), plain_loop(relu.model, ids[:40], 1), atol=1e-5)
    watched = small_encoder(default_encoder)
    seen = []
    watched.model.encoder.layer[0].register_forward_hook(lambda *_: seen.append(1))
    pooled_layers(watched, ids[:40])
    assert seen
    assert not can_pack(small_encoder(default_encoder).model.train())


def test_few_texts_and_none(tiny_encoder, phrases):
    few = tiny_encoder.tokenize(phrases[:2])
    np.testing.assert_allclose(pooled_layers(tiny_encoder, few), plain_loop(tiny_encoder.model, few, 1), atol=1e-5)
    assert pooled_layers(tiny_encoder, []).shape == (0, 1, 32)


def test_progress_ends_at_one_and_may_stop_the_work(tiny_encoder, phrases):
    ids = tiny_encoder.tokenize(phrases) * 20
    done = []
    pooled_layers(tiny_encoder, ids, progress=done.append)
    assert len(done) > 2
    assert done == sorted(done)
    assert done[-1] == 1

    def stop(share):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pooled_layers(tiny_encoder, ids, progress=stop)


def test_threads_are_left_as_they_were(tiny_encoder, phrases):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        pooled_layers(tiny_encoder, tiny_encoder.tokenize(phrases) * 5)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("split", [False, True])
def test_products(split):
    generator = torch.Generator().manual_seed(2)
    states, weight, bias = (torch.randn(shape, generator=generator) for shape in ((70, 48), (96, 48), (96,)))
    residual = torch.randn(70, 96, generator=generator)
    exact = states.double() @ weight.double().T + bias
    product = Product([(weight[:32], bias[:32]), (weight[32:], bias[32:])], torch.float32, split=split)
    bound = 48 * 2**-14 if split else 1e-4
    assert (product(states) - exact).abs().max() < bound
    assert (product.plus(states, residual) - exact - residual).abs().max() < bound
    assert (product.gelu(states) - torch.nn.functional.gelu(exact)).abs().max() < bound


def test_products_without_onednn(monkeypatch):
    monkeypatch.setattr("engine.learning.products._blocks_serve", lambda _: False)
    assert not split_pays.__wrapped__()
    test_products(split=False)


@pytest.mark.parametrize("kind", ["probe", "tuned"])
def test_many_texts_are_predicted_part_by_part(kind, tiny_encoder, phrases, monkeypatch):
    rng = np.random.default_rng(4)
    head = Head(np.zeros(32), rng.normal(size=(32, 1)), np.ones(1), False, np.empty(0))
    asked = []

    def states(texts, progress):
        asked.append(len(texts))
        return pooled_layers(tiny_encoder, tiny_encoder.tokenize(texts), progress=progress)

    class Noted(Pooled):
        def outputs(self, module, texts, *given, **more):
            asked.append(len(texts))
            return super().outputs(module, texts, *given, **more)

    reads = Tuned(Noted(tiny_encoder), Regressor(tiny_encoder.model, head), np.ones(1), np.zeros(1), 0.5)
    predictor = Probed(head, states) if kind == "probe" else reads
    whole = predictor.predict(phrases)
    asked.clear()
    monkeypatch.setattr(prediction, "_PER_PART", 16, raising=False)
    done = []
    np.testing.assert_allclose(predictor.predict(phrases, done.append), whole, atol=1e-5)
    assert asked == [16, 16, 16, 12]
    assert done == sorted(done)
    assert done[-1] == pytest.approx(1)
    assert predictor.predict([]).shape == (0,)
