"""The cache of embeddings: nothing is computed twice, also not by two processes."""

from __future__ import annotations

import copy
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_models import made
from transformers import OPTConfig, OPTModel

from engine.learning import embeddings
from engine.learning.embeddings import EmbeddingCache, pooled_states
from engine.learning.models import embed


def counted(monkeypatch):
    asked = []

    def count(encoder, texts, progress):
        asked.extend(texts)
        return pooled_states(encoder, texts, progress)

    monkeypatch.setattr(embeddings, "pooled_states", count)
    return asked


def test_nothing_is_computed_twice(tiny_encoder, phrases, tmp_path, monkeypatch):
    asked = counted(monkeypatch)
    cache = EmbeddingCache(tmp_path, tiny_encoder)
    first = cache.embed([*phrases[:30], *phrases[:10]])
    assert asked == phrases[:30]
    np.testing.assert_array_equal(first[:10], first[30:])
    cache.embed(phrases[:40])
    assert asked == phrases[:40]
    again = EmbeddingCache(tmp_path, tiny_encoder).embed(phrases[:40])
    assert asked == phrases[:40]
    np.testing.assert_array_equal(again[:30], first[:30])
    np.testing.assert_allclose(again, embed(tiny_encoder, phrases[:40]), atol=1e-5)


def test_states_of_a_model_that_answers_in_another_width_are_read_back(tiny_encoder, tmp_path):
    config = OPTConfig(
        vocab_size=len(tiny_encoder.tokenizer), hidden_size=32, word_embed_proj_dim=16, ffn_dim=32,
        num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=256,
    )  # fmt: skip
    encoder = replace(tiny_encoder, model=made(OPTModel, config))
    first = EmbeddingCache(tmp_path, encoder).states(["good", "bad food"])
    np.testing.assert_array_equal(EmbeddingCache(tmp_path, encoder).states(["good", "bad food"]), first)
    assert first.shape[-1] == encoder.width == 16


def test_states_are_those_of_the_last_layers(tiny_encoder, phrases, tmp_path):
    kept = EmbeddingCache(tmp_path, tiny_encoder).states(phrases[:4])
    assert kept.shape == (4, 2, 32)  # the tiny model has no third layer
    for text, state in zip(phrases[:4], kept, strict=True):
        inputs, mask = tiny_encoder.pad(tiny_encoder.tokenize([text]))
        with torch.inference_mode():
            # A copy: asking for the hidden states leaves hooks behind.
            model = copy.deepcopy(tiny_encoder.model)
            layers = model(input_ids=inputs, attention_mask=mask, output_hidden_states=True).hidden_states
        expected = [layer[0].mean(0).numpy() for layer in layers[1:]]
        np.testing.assert_allclose(state, expected, atol=1e-5)
    assert not any(part._forward_hooks for part in tiny_encoder.model.modules())


def test_models_do_not_share(tiny_encoder, phrases, tmp_path, monkeypatch):
    asked = counted(monkeypatch)
    EmbeddingCache(tmp_path, tiny_encoder).embed(phrases[:3])
    EmbeddingCache(tmp_path, replace(tiny_encoder, key="another")).embed(phrases[:3])
    assert len(asked) == 6


def test_many_texts_odd_texts_and_none(tiny_encoder, tmp_path):
    cache = EmbeddingCache(tmp_path, tiny_encoder)
    texts = [f"text {i}" for i in range(1203)]
    assert cache.embed(texts).shape == (1203, 32)
    assert cache.embed([]).shape == (0, 32)
    assert np.isfinite(cache.embed(["", "\ud800 broken", "🙂", "'; DROP TABLE embeddings; --"])).all()
    done = []
    cache.embed(texts, done.append)
    assert done == [1.0]


def test_states_are_kept_for_later_a_part_at_a_time(tiny_encoder, phrases, tmp_path, monkeypatch):
    asked, done = counted(monkeypatch), []
    monkeypatch.setattr(embeddings, "_PER_PART", 16)
    cache = EmbeddingCache(tmp_path, tiny_encoder)
    cache.keep([*phrases, *phrases[:5]], done.append)
    assert asked == phrases
    assert done == sorted(done)
    assert done[-1] == 1.0
    np.testing.assert_allclose(cache.states(phrases), pooled_states(tiny_encoder, phrases), atol=1e-6)
    assert asked == phrases


def test_what_was_read_before_a_stop_is_kept(tiny_encoder, phrases, tmp_path, monkeypatch):
    whole = EmbeddingCache(tmp_path / "whole", tiny_encoder).states(phrases)
    asked = counted(monkeypatch)
    monkeypatch.setattr(embeddings, "_PER_PART", 16)

    def stop(share):
        if share > 0.6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        EmbeddingCache(tmp_path, tiny_encoder).states(phrases, stop)
    assert asked == phrases[:48]
    asked.clear()
    done = []
    found = EmbeddingCache(tmp_path, tiny_encoder).states([*phrases, *phrases[:5]], done.append)
    assert asked == phrases[32:]
    np.testing.assert_allclose(found, [*whole, *whole[:5]], atol=1e-6)
    assert done == sorted(done)
    assert 0 < done[0] < 1
    assert done[-1] == 1.0


SCRIPT = """
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from types import SimpleNamespace
import numpy as np
from pathlib import Path
from engine.learning import embeddings
embeddings.pooled_states = lambda _encoder, texts, _progress: np.array([[[float(t)] * 4] for t in texts], np.float32)
cache = embeddings.EmbeddingCache(Path(sys.argv[1]), SimpleNamespace(key="k", width=4))
print("ready", flush=True)
for start in range(0, 400, 20):
    values = cache.states([str(i) for i in range(start, start + 40)])
    assert (values[:, 0, 0] == np.arange(start, start + 40)).all()
"""


def test_many_open_a_new_cache_at_once(tmp_path):
    encoder = SimpleNamespace(key="k", width=4)
    for number in range(25):
        start = Barrier(6)

        def opened(_other, start=start, folder=tmp_path / str(number)):
            start.wait()
            EmbeddingCache(folder, encoder)

        with ThreadPoolExecutor(6) as threads:
            list(threads.map(opened, range(6)))


def test_two_processes_at_once_share_what_they_have(tmp_path, monkeypatch):
    asked = []

    def count(_encoder, texts, _progress):
        asked.extend(texts)
        return np.array([[[float(text)] * 4] for text in texts], dtype=np.float32)

    monkeypatch.setattr(embeddings, "pooled_states", count)
    cache = EmbeddingCache(tmp_path, SimpleNamespace(key="k", width=4))
    other = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    with subprocess.Popen(other, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        for start in range(400, -20, -20):
            assert (cache.states([str(i) for i in range(start, start + 40)])[:, 0, 0] == range(start, start + 40)).all()
        assert process.wait() == 0
    asked.clear()
    cache.embed([str(i) for i in range(420)])
    assert asked == []
