"""What goes wrong with a model is told in one sentence with the next step."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from huggingface_hub.utils import httpx
from tiny_models import QUICK, reader_of

from engine.errors import ModelError
from engine.learning.decoders import cos_low, load_decoder
from engine.learning.embeddings import pooled_states
from engine.learning.faults import loading_told, memory_told
from engine.learning.finetuning import fine_tune
from engine.learning.label_tokens import Choices, zero_shot
from engine.learning.models import load_encoder


def told(fault):
    """The sentence, checked to be one."""
    text = str(fault.value)
    assert "\n" not in text
    assert "Traceback" not in text
    assert text.endswith(".")
    return text


# Memory


def test_a_lack_of_memory_names_the_place_and_the_next_step():
    for error, place in (
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity"), "GPU"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "GPU"),
        (MemoryError(), "computer"),
    ):
        with pytest.raises(ModelError) as fault, memory_told("fine-tune with batches of 16"):
            raise error
        assert told(fault).startswith(
            f"There was not enough memory {'on the' if place == 'GPU' else 'in this'} {place}"
        )
        assert (
            "to fine-tune with batches of 16; close other programs that use it, choose the learner probe, or"
            in told(fault)
        )
        assert fault.value.__cause__ is error


@pytest.mark.parametrize("ask", [lambda: torch.empty(10**15), lambda: np.empty(10**16)])
def test_memory_that_is_not_there_is_told(ask):
    expected = pytest.raises(ModelError, match=r"in this computer to predict; choose a smaller model\.$")
    with expected, memory_told("predict", "choose a smaller model"):
        ask()


def test_other_faults_pass_as_they_are():
    for error in (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("out of memory"), KeyError(1)):
        with pytest.raises(type(error)) as fault, memory_told("predict"):
            raise error
        assert fault.value is error


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="There is no CUDA device.")
def test_a_gpu_without_memory_is_told():
    with pytest.raises(ModelError, match="on the GPU to predict"), memory_told("predict"):
        torch.empty(10**13, device="cuda")


@pytest.mark.parametrize("method", ["lora", "full"])
def test_fine_tuning_tells_of_memory_from_the_start(tiny_encoder, phrases, y, monkeypatch, method):
    def full(*_arguments, **_options):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("engine.learning.averaging.copy_for_training", full)
    with pytest.raises(ModelError, match="not enough memory on the GPU to fine-tune model tiny; "):
        fine_tune(reader_of(tiny_encoder, phrases), phrases, y, classes=None, recipe=QUICK, seed=0)


def test_a_model_that_does_not_fit_on_the_gpu_is_told(tiny_encoder, tmp_path, monkeypatch):
    tiny_encoder.model.save_pretrained(tmp_path)
    tiny_encoder.tokenizer.save_pretrained(tmp_path)

    def full(*_arguments, **_options):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(torch.nn.Module, "to", full)
    with pytest.raises(ModelError, match=r"not enough memory on the GPU to load model .*; choose a smaller model"):
        load_encoder(str(tmp_path))


def test_asking_a_model_tells_of_memory(decoder):
    model = copy.deepcopy(decoder.model)

    def full(*_arguments):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    model.model.layers[0].register_forward_pre_hook(full)
    poor = replace(decoder, model=model)
    for way in (
        lambda: poor.answer(["a room"], "Rate it."),
        lambda: zero_shot(poor, ["a room"], Choices.between(1, 5)),
        lambda: pooled_states(poor.as_encoder(), ["a room"]),
        lambda: cos_low(poor, ["a room", "food"], ["1", "2"], np.array([0.1, 0.2]), instruction="Rate it."),
    ):
        with pytest.raises(ModelError, match=r"memory on the GPU to .* model tiny; choose a smaller model"):
            way()


# What the hub holds


@pytest.fixture
def repository(decoder, tmp_path, monkeypatch):
    """The folder of the model own/model as it lies downloaded from the hub, without weights."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    revision = "0" * 40
    top = tmp_path / "models--own--model"
    folder = top / "snapshots" / revision
    folder.mkdir(parents=True)
    (top / "refs").mkdir()
    (top / "refs" / "main").write_text(revision, encoding="utf-8")
    decoder.model.config.save_pretrained(folder)
    decoder.tokenizer.save_pretrained(folder)
    return folder


WAYS = pytest.mark.parametrize("way", [load_decoder, load_encoder])


@WAYS
def test_a_repository_loads_by_its_name(decoder, repository, way):
    decoder.model.save_pretrained(repository)
    assert way("own/model").name == "own/model"


@WAYS
def test_a_model_that_is_not_there_is_told(repository, way):
    for name in ("own/other", "own/tiktoken-4bit-AWQ-safetensors", "no such model", "../elsewhere"):
        with pytest.raises(ModelError, match=r"was not found.*check its name and the network") as fault:
            way(name)
        assert f"Model {name} " in told(fault)


@WAYS
def test_a_repository_without_safetensors_is_told(decoder, repository, way):
    torch.save(decoder.model.state_dict(), repository / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"own/model has no safetensors weights; choose one that has") as fault:
        way("own/model")
    told(fault)


@WAYS
def test_a_repository_that_asks_for_remote_code_is_told(decoder, repository, way):
    decoder.model.save_pretrained(repository)
    config = json.loads((repository / "config.json").read_text(encoding="utf-8"))
    auto = {"AutoConfig": "own.Config", "AutoModel": "own.Model", "AutoModelForCausalLM": "own.Model"}
    (repository / "config.json").write_text(json.dumps(config | {"model_type": "own", "auto_map": auto}), "utf-8")
    (repository / "own.py").write_text("raise SystemExit('this must never run')", encoding="utf-8")
    with pytest.raises(ModelError, match=r"own/model wants to run code of its own.*choose a model without it") as fault:
        way("own/model")
    told(fault)


def test_a_repository_without_a_chat_template_is_told(decoder, repository):
    decoder.model.save_pretrained(repository)
    (repository / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match=r"own/model has no chat template.*-Instruct") as fault:
        load_decoder("own/model")
    told(fault)
    assert load_encoder("own/model").width == 48


def test_a_kind_of_model_that_transformers_does_not_know_is_told(decoder, tmp_path):
    decoder.model.save_pretrained(tmp_path)
    decoder.tokenizer.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "tomorrow"}), encoding="utf-8")
    with pytest.raises(ModelError, match="does not know what kind of model") as fault:
        load_encoder(str(tmp_path))
    told(fault)
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match="holds no model that can be loaded") as fault:
        load_encoder(str(tmp_path))
    told(fault)


@WAYS
@pytest.mark.parametrize("kind", ["bitsandbytes", "gptq", "awq"])
def test_quantised_weights_that_cannot_be_read_are_told(decoder, repository, way, kind):
    decoder.model.save_pretrained(repository)
    config = json.loads((repository / "config.json").read_text(encoding="utf-8"))
    quantised = {"quant_method": kind, "bits": 4, "load_in_4bit": True}
    (repository / "config.json").write_text(json.dumps(config | {"quantization_config": quantised}), "utf-8")
    with pytest.raises(ModelError, match=r"own/model are quantised .*; choose the unquantised model") as fault:
        way("own/model")
    told(fault)


def test_quantised_weights_that_ask_for_a_gpu_are_told():
    with pytest.raises(ModelError, match="choose the unquantised model") as fault, loading_told("own/model"):
        raise RuntimeError("GPU is required to quantize or run quantize model.")
    told(fault)
    with pytest.raises(RuntimeError, match="shapes"), loading_told("own/model-AWQ"):
        raise RuntimeError("own/model-AWQ has other shapes")


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device", "/cache/models--own--model/blobs/model.safetensors"),
        caused(
            OSError("Can't load the model for 'own/model'."), RuntimeError("IO Error: No space left on device (28)")
        ),
    ],
)
def test_a_full_disk_is_told(error):
    with pytest.raises(ModelError, match=r"The disk is full.*own/model.*make room") as fault, loading_told("own/model"):
        raise error
    told(fault)


def answered(status):
    """What the hub's client raises on an answer with this status."""
    request = httpx.Request("GET", "https://hub/own/model/resolve/main/model.safetensors")
    return HfHubHTTPError(f"{status} for url: {request.url}", response=httpx.Response(status, request=request))


@pytest.mark.parametrize(
    "cause", [httpx.ReadTimeout("timed out"), ConnectionError("reset"), LocalEntryNotFoundError("not in the cache")]
)
def test_a_hub_that_is_not_reached_is_told(cause):
    with pytest.raises(ModelError, match=r"was not found.*and the network") as fault, loading_told("own/model"):
        raise OSError("Can't load the model for 'own/model', a file named model.safetensors") from cause
    told(fault)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("The state has 3 heads.\nSee the manual."), "The state has 3 heads"),
        (KeyError("heads"), "KeyError 'heads'"),
        (ImportError("This needs the library einops:"), "This needs the library einops"),
        (OSError(), "OSError"),
        (caused(OSError("A connection error:"), answered(429)), "429 for url: https://hub/own/model/resolve"),
    ],
)
def test_another_fault_of_a_model_is_quoted(error, said):
    with pytest.raises(ModelError) as fault, loading_told("own/model"):
        raise error
    assert told(fault).startswith(f"Model own/model cannot be loaded ({said}")
    assert "not found" not in told(fault)


def test_terms_to_be_accepted_are_told():
    with pytest.raises(ModelError, match=r"accepted its terms.*hf auth login") as fault, loading_told("own/model"):
        raise OSError("You are trying to access a gated repo.\nMake sure to have access to it at https://...")
    told(fault)
