"""Where a model's files lie: the published weights only, and other files are another model."""

from __future__ import annotations

import json
import os
import shutil
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import constants
from tiny_models import byte_pairs
from transformers import BertConfig, BertModel

from engine.errors import ModelError
from engine.learning import files
from engine.learning.files import DEFAULT_MODEL, files_of, known_as, offline_folder
from engine.learning.models import load_encoder


def test_a_tampered_file_is_refused(default_encoder, tmp_path, monkeypatch):
    folder = tmp_path / "copy"
    shutil.copytree(offline_folder(), folder)
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    package = SimpleNamespace(get_model_path=lambda: str(folder))
    monkeypatch.setattr(files, "import_module", lambda _name: package)
    with pytest.raises(ModelError, match="not the published default model"):
        load_encoder(DEFAULT_MODEL)


def saved(folder, seed, time=1):
    """A tiny model in a folder, its weights of a given age, as a packed archive may set it."""
    tokenizer = byte_pairs()
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=256, pad_token_id=1,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    os.utime(folder / "model.safetensors", (time, time))
    return folder


def told_apart(name):
    return load_encoder(str(name)).key, known_as(str(name))


@pytest.mark.parametrize("whole", [1 << 26, 0])
def test_what_is_kept_of_a_folder_is_kept_of_its_weights_settings_and_tokenizer(tmp_path, monkeypatch, whole):
    monkeypatch.setattr(files, "_WHOLE", whole)
    folder = saved(tmp_path / "one", seed=1)
    key, known = told_apart(folder)
    moved = shutil.copytree(folder, tmp_path / "moved")
    assert load_encoder(str(moved)).key == key  # the states that were kept of it are found again
    (folder / "README.md").write_text("What it is.", encoding="utf-8")
    assert told_apart(folder) == (key, known)
    weights, age = folder / "model.safetensors", (1, 1)

    def rewritten(name, value):
        settings = json.loads((folder / name).read_text(encoding="utf-8"))
        (folder / name).write_text(json.dumps(settings | value), encoding="utf-8")

    keys = [(key, known)]
    for change in (
        lambda: saved(folder, seed=2),  # of one architecture, size and age
        lambda: rewritten("tokenizer_config.json", {"model_max_length": 4}),
        lambda: rewritten("config.json", {"hidden_act": "relu"}),
        lambda: os.utime(weights, (2, 2)),  # of what lies between the samples the age tells
    ):
        change()
        keys.append(told_apart(folder))
    assert len({key for key, _ in keys}) == len({known for _, known in keys}) == 5
    before = files_of(str(folder))
    os.utime(weights, age)
    assert files_of(str(folder)) == before  # the age is no content


def test_what_is_kept_of_a_hubs_model_is_kept_of_its_revision(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    top = tmp_path / "models--own--model"
    (top / "refs").mkdir(parents=True)
    keys = []
    for seed, commit in enumerate(("a" * 40, "b" * 40)):
        saved(top / "snapshots" / commit, seed)
        (top / "refs" / "main").write_text(commit, encoding="utf-8")
        keys.append(told_apart("own/model"))
    assert keys[0][0] != keys[1][0]
    assert keys[0][1] != keys[1][1]


def test_the_default_model_keeps_its_key(default_encoder):
    assert default_encoder.key == "53aa51172d142c89"
    assert known_as(DEFAULT_MODEL) == DEFAULT_MODEL
