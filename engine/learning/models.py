"""Finding a model and loading it safely: safetensors only, never remote code, the default also without a network."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from accelerate import init_empty_weights
from numpy.typing import NDArray
from transformers import AutoConfig, AutoModel, AutoTokenizer, logging
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from engine.errors import ModelError
from engine.learning.faults import loading_told
from engine.learning.files import DEFAULT_MODEL, key_of, locate

_MOST_TOKENS = 512
_MOST_OF_DEFAULT = 256  # for which it was trained
_TOKENS_PER_BATCH = 4096
_TEXTS_PER_PART = 1024
_SHARE_OF_GPU = 0.7  # of a GPU's free memory, which weights may take; the rest is for adapters and activations
_CAUSAL = frozenset(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())

Progress = Callable[[float], None]
Kept = Literal["beginning", "end"]


def silent(_: float) -> None:
    """A progress report that nobody reads."""


@dataclass(frozen=True)
class Encoder:
    """A loaded encoder.

    Attributes:
        name: Hub name or folder that the user gave.
        key: Hash that tells these weights from others; embeddings are cached under it.
        tokenizer: The model's tokenizer.
        model: The transformer without a head, in evaluation mode.
        device: Where it takes its tokens.
        most: The tokens of a text that it reads; the tokenizer's truncation side is the end that is cut.
    """

    name: str
    key: str
    tokenizer: Any
    model: Any
    device: torch.device
    most: int = _MOST_OF_DEFAULT

    @property
    def keep(self) -> Kept:
        """Which end of a text that is too long is read."""
        return kept_by(self.tokenizer)

    @property
    def width(self) -> int:
        """Length of a pooled embedding."""
        config = self.model.config.get_text_config()
        # Some kinds of OPT work in one width and answer in another.
        return int(getattr(config, "word_embed_proj_dim", None) or config.hidden_size)

    def tokenize(self, texts: list[str]) -> list[list[int]]:
        """Return token ids with special tokens, cut at `most` tokens."""
        return list(self._ids(texts, self.most))

    def pad(self, ids: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return input ids and attention mask of a batch on the model's device, padded on the right."""
        return padded(ids, self.tokenizer.pad_token_id, self.device)

    def truncated(self, texts: list[str]) -> int:
        """Return how many texts are longer than the model reads."""
        return sum(len(ids) > self.most for ids in self._ids(texts, self.most + 1))

    def _ids(self, texts: list[str], most: int) -> Iterator[list[int]]:
        # A tokenizer notes far more of a text than its tokens: of a few at a time.
        for start in range(0, len(texts), _TEXTS_PER_PART):
            # Half a surrogate pair, as a broken export leaves it, is no text to a tokenizer.
            clean = [text.encode("utf-8", "replace").decode() for text in texts[start : start + _TEXTS_PER_PART]]
            ids: list[list[int]] = self.tokenizer(clean, truncation=True, max_length=most)["input_ids"]
            # A decoder's tokenizer may set nothing around a text: of an empty one nothing would be left to read.
            yield from (row or [self.tokenizer.pad_token_id or 0] for row in ids)


def device() -> torch.device:
    """Return the CUDA device where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_encoder(name: str = DEFAULT_MODEL, *, keep: Kept = "beginning") -> Encoder:
    """Load an encoder by hub name or folder; a decoder is read without its head, as an encoder is.

    Args:
        name: Hub name or folder.
        keep: Which end of a text that is too long is read.

    Raises:
        ModelError: The model cannot be found, lacks safetensors, wants remote code, or fails its check.
    """
    return encoder_of(name, *load(name, AutoModel, keep))


def encoder_of(name: str, key: str, tokenizer: Any, model: Any) -> Encoder:
    """Return a loaded model as an encoder; key and tokenizer are as `load` returns them.

    Raises:
        ModelError: The model is an encoder and a decoder in one.
    """
    if model.config.is_encoder_decoder:
        raise ModelError(
            f"Model {name} reads with one half and writes with the other; choose an encoder (such as {DEFAULT_MODEL}) "
            "or a decoder."
        )
    most = _MOST_OF_DEFAULT if name == DEFAULT_MODEL else readable(tokenizer, model, _MOST_TOKENS)
    keep = kept_by(tokenizer)
    if (model.dtype, keep) != (torch.float32, "beginning"):
        # Embeddings kept under the key of other numbers would be taken for these.
        key = hashlib.sha256(f"{key}{model.dtype}{keep}".encode()).hexdigest()[:16]
    return Encoder(name, key, tokenizer, model, entrance(model), most)


def kept_by(tokenizer: Any) -> Kept:
    """Return the end of a text that is too long which a tokenizer keeps."""
    return "beginning" if tokenizer.truncation_side == "right" else "end"


def is_decoder(name: str) -> bool:
    """Return whether a model writes text (a causal language model), by its configuration alone.

    Raises:
        ModelError: The model cannot be found or wants remote code.
    """
    if name == DEFAULT_MODEL:
        return False
    logging.set_verbosity_error()
    with loading_told(name):
        config = AutoConfig.from_pretrained(locate(name), trust_remote_code=False)
    return not _CAUSAL.isdisjoint(config.architectures or ())


def load(name: str, kind: Any, keep: Kept = "beginning") -> tuple[str, Any, Any]:
    """Load a model by hub name or folder, in bfloat16 on CUDA and in float32 on the CPU.

    Where its weights would fill one GPU and there are several, its layers are laid over all of them (accelerate's
    device map); states then pass from one to the next.

    Args:
        name: Hub name or folder.
        kind: The class of transformers that makes the model, such as AutoModel.
        keep: Which end of a text that is too long is read.

    Returns:
        The key of the weights, the tokenizer (which can pad), and the model in evaluation mode on its device.

    Raises:
        ModelError: The model cannot be found, lacks safetensors, wants remote code, or fails its check.
    """
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    folder = locate(name)
    with loading_told(name):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        tokenizer = load_tokenizer(name)
        options: dict[str, Any] = {"device_map": "auto"} if _must_spread(kind, config) else {}
        key = key_of(name)
        model, random = load_weights(kind, folder, config=config, dtype=precision(device()), **options)
        if not options:
            model = model.to(device())
    unfit = [key for key in random if "pooler" not in key]  # no embedding and no answer goes through a pooler
    if unfit:
        raise ModelError(
            f"The weights of model {name} do not fit it: {len(unfit)} are missing or of another size, {unfit[0]} the "
            "first of them, and random numbers would stand in their place; save or download it again, or choose "
            "another model."
        )
    if options and any(p.device.type != "cuda" for p in model.parameters()):
        raise ModelError(f"There was not enough memory on all GPUs together for model {name}; choose a smaller model.")
    # Some tokenizers pad with a token that the model was never given a place for.
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id >= model.get_input_embeddings().num_embeddings:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.truncation_side = "right" if keep == "beginning" else "left"
    return key, tokenizer, model


def load_tokenizer(name: str) -> Any:
    """Load a model's tokenizer by hub name or folder.

    Raises:
        ModelError: It cannot be found or wants remote code.
    """
    with loading_told(name):
        return AutoTokenizer.from_pretrained(locate(name), trust_remote_code=False)


def load_weights(kind: Any, folder: str, **options: Any) -> tuple[Any, list[str]]:
    """Load a model's weights, safetensors only and never remote code.

    Args:
        kind: The class of transformers that makes the model, such as AutoModel.
        folder: Folder or hub name.
        options: What else `from_pretrained` is told.

    Returns:
        The model in evaluation mode, and the names of its weights that the file lacks or has in another size, sorted:
        they are random. Those that are tied to others are not among them.
    """
    model, found = kind.from_pretrained(
        folder, trust_remote_code=False, use_safetensors=True, output_loading_info=True, ignore_mismatched_sizes=True,
        **options,
    )  # fmt: skip
    unfit = {*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])}
    return model.eval(), sorted(unfit)


def _must_spread(kind: Any, config: Any) -> bool:
    """Whether there are several GPUs, and the weights leave too little of the first for training."""
    if torch.cuda.device_count() < 2:
        return False
    with init_empty_weights():
        weights = kind.from_config(config).num_parameters()
    return bool(weights * precision(device()).itemsize > _SHARE_OF_GPU * torch.cuda.mem_get_info()[0])


def entrance(model: Any) -> torch.device:
    """Return where a model takes its tokens: the device of its embeddings."""
    place: torch.device = model.get_input_embeddings().weight.device
    return place


def precision(place: torch.device) -> torch.dtype:
    """Return the type of a model's weights on a device."""
    return torch.bfloat16 if place.type == "cuda" else torch.float32


def readable(tokenizer: Any, model: Any, most: int) -> int:
    """Return how many tokens a model reads of a text: `most`, or fewer where it has fewer positions."""
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None) or most
    for name, part in model.named_modules():
        # RoBERTa counts positions from behind the padding token's number.
        if name.endswith("position_embeddings") and getattr(part, "padding_idx", None) is not None:
            positions -= part.padding_idx + 1
    return int(min(most, positions if positions > 0 else most, tokenizer.model_max_length))


def padded(
    ids: list[list[int]], pad_id: int | None, place: torch.device, *, left: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return input ids and attention mask of a batch on a device, each of shape (batch, tokens of the longest)."""
    tokens = max(len(row) for row in ids)
    # Padding is masked: any token will do where the tokenizer has none for it.
    inputs = torch.full((len(ids), tokens), pad_id or 0)
    mask = torch.zeros_like(inputs)
    for k, row in enumerate(ids):
        span = slice(tokens - len(row), tokens) if left else slice(len(row))
        inputs[k, span] = torch.tensor(row)
        mask[k, span] = 1
    return inputs.to(place), mask.to(place)


def mean_pool(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the mean of the token states of each text; states (batch, tokens, width), mask (batch, tokens)."""
    weight = mask.unsqueeze(-1).to(states.dtype)
    return (states * weight).sum(1) / weight.sum(1).clamp(min=1)


def batches(ids: list[list[int]], tokens: int = _TOKENS_PER_BATCH) -> Iterator[list[int]]:
    """Yield positions of texts in batches of like length, each of at most `tokens` padded tokens."""
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    batch: list[int] = []
    for i in order:
        if batch and (len(batch) + 1) * len(ids[i]) > tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


@torch.inference_mode()
def embed(encoder: Encoder, texts: list[str], progress: Progress = silent) -> NDArray[np.float32]:
    """Return mean-pooled embeddings of length one; shape (len(texts), width)."""
    ids = encoder.tokenize(texts) if texts else []
    out = np.empty((len(texts), encoder.width), dtype=np.float32)
    done = 0
    for batch in batches(ids):
        inputs, mask = encoder.pad([ids[i] for i in batch])
        states = encoder.model(input_ids=inputs, attention_mask=mask).last_hidden_state
        pooled = torch.nn.functional.normalize(mean_pool(states, mask), dim=-1)
        out[batch] = pooled.float().cpu().numpy()
        done += len(batch)
        progress(done / len(texts))
    return out
