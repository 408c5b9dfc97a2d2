"""Loading and embedding: the same vectors as elsewhere, safe weights only."""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, T5Config, T5Model

from engine.errors import ModelError
from engine.learning import models
from engine.learning.files import offline_folder
from engine.learning.learners import Workbench
from engine.learning.models import batches, embed, load_encoder, padded, precision


def test_embeddings_are_those_of_sentence_transformers(default_encoder, phrases):
    other = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed.")
    model = other.SentenceTransformer(str(offline_folder()), device="cpu")
    texts = [*phrases, "", "Ünïcode — and an emoji 🙂.", "word " * 180]
    expected = model.encode(texts, normalize_embeddings=True)
    np.testing.assert_allclose(embed(default_encoder, texts), expected, atol=1e-5)


def test_neither_padding_nor_order_matters(default_encoder, phrases):
    texts = [*phrases, "long " * 100]
    together = embed(default_encoder, texts)
    order = np.random.default_rng(1).permutation(len(texts))
    np.testing.assert_allclose(embed(default_encoder, [texts[i] for i in order]), together[order], atol=1e-5)
    for i in (0, 5, -1):
        np.testing.assert_allclose(embed(default_encoder, [texts[i]])[0], together[i], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    assert embed(default_encoder, []).shape == (0, default_encoder.width)


def test_batches_hold_every_text_once_within_the_tokens_allowed():
    ids = [[0] * length for length in np.random.default_rng(2).integers(1, 256, 300)]
    parts = list(batches(ids, 1000))
    assert sorted(i for part in parts for i in part) == list(range(300))
    assert all(len(part) * max(len(ids[i]) for i in part) <= 1000 for part in parts)
    assert list(batches([[0] * 50], 10)) == [[0]]


def test_texts_are_cut_and_counted(default_encoder):
    texts = ["short", "word " * 1000, "word " * 254]
    assert [len(ids) for ids in default_encoder.tokenize(texts)] == [3, 256, 256]
    assert default_encoder.truncated(texts) == 1


def test_few_texts_at_a_time_are_cut(tiny_encoder, phrases, monkeypatch):
    expected, seen = tiny_encoder.tokenize(phrases), []

    def noted(texts, **more):
        seen.append(len(texts))
        return tiny_encoder.tokenizer(texts, **more)

    monkeypatch.setattr(models, "_TEXTS_PER_PART", 16)
    encoder = replace(tiny_encoder, tokenizer=noted)
    assert encoder.tokenize(phrases) == expected
    assert encoder.truncated([*phrases, "word " * 1000]) == 1
    assert max(seen) == 16
    assert encoder.tokenize([]) == []
    assert encoder.truncated([]) == 0


def test_a_model_that_is_nowhere_is_said_to_be(tmp_path):
    with pytest.raises(ModelError, match="was not found"):
        load_encoder(str(tmp_path / "no such model"))


def test_a_folder_without_safetensors_is_refused(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickled")
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError, match=r"holds no \.safetensors file"):
        load_encoder(str(tmp_path))


def test_weights_that_are_no_weights_are_refused(default_encoder, tmp_path):
    folder = tmp_path / "broken"
    shutil.copytree(offline_folder(), folder)
    (folder / "model.safetensors").write_bytes(b"not weights at all")
    with pytest.raises(ModelError) as fault:
        load_encoder(str(folder))
    assert str(folder) in str(fault.value)
    assert "cannot be read" in str(fault.value)


def test_weights_that_do_not_fit_are_refused(tiny_encoder, tmp_path):
    config, weights = tiny_encoder.model.config, tiny_encoder.model.state_dict()
    larger = BertConfig(**{**config.to_diff_dict(), "num_hidden_layers": 3})
    wider = BertConfig(**{**config.to_diff_dict(), "intermediate_size": 48})
    for name, settings, given, first in (
        ("renamed", config, {f"other.{key}": value for key, value in weights.items()}, "embeddings.LayerNorm.bias"),
        ("larger", larger, weights, "encoder.layer.2.attention.output.LayerNorm.bias"),
        ("wider", wider, weights, "encoder.layer.0.intermediate.dense.bias"),
    ):
        folder = tmp_path / name
        tiny_encoder.model.save_pretrained(folder, state_dict=dict(given))
        settings.save_pretrained(folder)
        tiny_encoder.tokenizer.save_pretrained(folder)
        with pytest.raises(ModelError, match=f"{name} do not fit it.*{first} the first of them.*choose another"):
            load_encoder(str(folder))


def test_a_checkpoint_with_a_head_of_another_kind_and_no_pooler_loads(tiny_encoder, tmp_path):
    model = BertForMaskedLM(tiny_encoder.model.config)
    model.bert.load_state_dict(tiny_encoder.model.state_dict(), strict=False)
    model.save_pretrained(tmp_path)
    tiny_encoder.tokenizer.save_pretrained(tmp_path)
    loaded = load_encoder(str(tmp_path))
    np.testing.assert_allclose(embed(loaded, ["a good room"]), embed(tiny_encoder, ["a good room"]), atol=1e-6)


def test_a_model_with_code_of_its_own_is_refused(default_encoder, tmp_path):
    folder = tmp_path / "custom"
    shutil.copytree(offline_folder(), folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "own.py").write_text("raise SystemExit('this must never run')", encoding="utf-8")
    with pytest.raises(ModelError):
        load_encoder(str(folder))


def test_a_saved_folder_loads_and_has_a_key_of_its_own(default_encoder, tiny_encoder, tmp_path):
    tiny_encoder.model.save_pretrained(tmp_path)
    tiny_encoder.tokenizer.save_pretrained(tmp_path)
    loaded = load_encoder(str(tmp_path))
    np.testing.assert_allclose(embed(loaded, ["a good room"]), embed(tiny_encoder, ["a good room"]), atol=1e-6)
    assert loaded.key != default_encoder.key
    assert loaded.width == 32


def test_the_chosen_end_of_a_long_text_is_read(default_encoder, tiny_encoder, tmp_path):
    tiny_encoder.model.save_pretrained(tmp_path)
    tiny_encoder.tokenizer.save_pretrained(tmp_path)
    start, end = load_encoder(str(tmp_path)), load_encoder(str(tmp_path), keep="end")
    words = [f"{word} " * 150 for word in ("good", "bad", "room")]
    for encoder, first in ((start, "good"), (end, "bad")):
        (ids,) = encoder.tokenize(["".join(words)])
        assert len(ids) == encoder.most == 256
        assert encoder.tokenizer.convert_ids_to_tokens(ids[1]) == first
        assert encoder.truncated(["".join(words), "short"]) == 1
    assert start.key != end.key
    assert (start.keep, end.keep) == ("beginning", "end")
    assert Workbench.open(str(tmp_path), tmp_path / "cache", "end").encoder.key == end.key


def test_padding_is_on_the_right_whatever_the_tokenizer_says():
    inputs, mask = padded([[5, 6, 7], [8]], None, torch.device("cpu"))
    assert inputs.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    inputs, mask = padded([[5, 6, 7], [8]], 4, torch.device("cpu"), left=True)
    assert inputs.tolist() == [[5, 6, 7], [4, 4, 8]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]


def test_half_precision_is_for_gpus():
    assert precision(torch.device("cpu")) is torch.float32
    assert precision(torch.device("cuda")) is torch.bfloat16


def test_weights_kept_in_half_precision_are_read_in_full_on_a_cpu(default_encoder, tiny_encoder, tmp_path):
    copy.deepcopy(tiny_encoder.model).bfloat16().save_pretrained(tmp_path)
    tiny_encoder.tokenizer.save_pretrained(tmp_path)
    model = load_encoder(str(tmp_path)).model
    assert model.dtype == torch.float32


def test_a_model_of_two_halves_is_refused(default_encoder, tmp_path):
    config = T5Config(vocab_size=40, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    T5Model(config).save_pretrained(tmp_path)
    default_encoder.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="reads with one half and writes with the other"):
        load_encoder(str(tmp_path))
