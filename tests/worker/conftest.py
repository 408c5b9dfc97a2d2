"""Runs executed in the process of the tests."""

from __future__ import annotations

import copy
import signal

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from engine.learning.learners import Workbench
from engine.runs import DEFAULT_MODEL, open_store
from engine.worker import coslow, job, process


@pytest.fixture
def store():
    """The store of this test."""
    return open_store()


@pytest.fixture
def quick_coslow(monkeypatch):
    """CoS-Low without its gradients, for tests of what comes after it."""
    monkeypatch.setattr(coslow, "cos_low", lambda *_arguments, **_options: 0.2)


@pytest.fixture
def in_process(offline_model, monkeypatch, shared_bench):
    """Execute a run in this process, with a model that is loaded once; signals are put back as they were."""
    made = Workbench.open

    def opened(model, folder, keep):
        return shared_bench if model == DEFAULT_MODEL else made(model, folder, keep)

    monkeypatch.setattr(job.Workbench, "open", opened)
    before = signal.getsignal(signal.SIGTERM)

    def execute(study, kind, settings):
        store = open_store()
        run = store.create_run(study.id, kind, settings)
        status = process.execute(run.id)
        return status, store.run(run.id)

    yield execute
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def shared_bench(offline_model, tmp_path_factory):
    return Workbench.open(DEFAULT_MODEL, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def writer(shared_bench, tmp_path_factory):
    """The folder of a tiny model that writes, with random weights."""
    folder = tmp_path_factory.mktemp("writer")
    tokenizer = copy.deepcopy(shared_bench.encoder.tokenizer)
    tokenizer.chat_template = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }} {% endfor %}"
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, intermediate_size=48, num_attention_heads=2,
        max_position_embeddings=256,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = LlamaForCausalLM(config)
        torch.nn.init.normal_(model.lm_head.weight, std=0.5)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
