"""Pooled states of many texts, fast: texts of like length together, without padding.

On the CPU an encoder of the BERT kind is computed here, token for token as transformers computes it: all texts of a
batch are one long row of tokens for the products, which are most of the work, and attention sees the texts of one
length at a time. Batches are shared out over the cores, one thread each, so that no core waits for another inside a
layer. Every other model, and any with hooks or adapters that are not plain LoRA, goes through its own forward.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from engine.learning.below import layers_of
from engine.learning.models import Encoder, Progress, batches, mean_pool, silent
from engine.learning.packed import PackedEncoder, can_pack
from engine.learning.products import bfloat16_products, split_pays

Floats = NDArray[np.float32]
# Tokens in a batch: enough for the products to run at full speed, few enough to stay in a core's cache; of a small pool
# fewer, so that every core has several batches and none waits long for the last.
_FEWEST, _MOST, _EACH = 512, 2048, 4
_PER_PART = 4096  # texts predicted at a time: a probe takes 94 MB for their states, at width 384
_WORTH = 1024  # tokens in all; with fewer, preparing the weights takes longer than it saves


def in_parts(
    predict: Callable[[list[str], Progress], NDArray[np.float64]],
    texts: list[str],
    progress: Progress,
    *,
    size: int | None = None,
) -> NDArray[np.float64]:
    """Return the predictions of `size` texts at a time, one after another: what they take is not held for all."""
    parts, size = [], size or _PER_PART
    for start in range(0, max(len(texts), 1), size):
        part = texts[start : start + size]

        def whole(share: float, start: int = start, count: int = len(part)) -> None:
            progress((start + share * count) / len(texts))

        parts.append(predict(part, whole))
    return np.concatenate(parts)


def pooled_layers(
    encoder: Encoder,
    ids: list[list[int]],
    *,
    layers: int = 1,
    dtype: torch.dtype = torch.float32,
    progress: Progress = silent,
) -> Floats:
    """Return the mean token states of the last layers (fewer where there are fewer), the last layer last.

    Args:
        encoder: The model; `dataclasses.replace(encoder, model=...)` for a fine-tuned one with the same tokenizer.
        ids: Token ids of each text.
        layers: How many layers.
        dtype: torch.float32, which agrees with the model's own forward to 1e-5 of the largest state (1e-4 where the
            CPU has matrix tiles), or torch.bfloat16, which agrees to two digits and is faster.
        progress: Called with the share done.

    Returns:
        Shape (len(ids), layers, width).
    """
    fast = encoder.device.type == "cpu" and sum(map(len, ids)) >= _WORTH and all(ids) and can_pack(encoder.model)
    parts = _shared_out(encoder.model, ids, layers, dtype) if fast else _forward(encoder, ids, layers)
    out: Floats | None = None
    done = 0
    with closing(parts):
        for batch, rows in parts:
            out = np.empty((len(ids), *rows.shape[1:]), np.float32) if out is None else out
            out[batch] = rows
            done += len(batch)
            progress(done / len(ids))
    return np.empty((0, 1, encoder.width), np.float32) if out is None else out


def _forward(encoder: Encoder, ids: list[list[int]], layers: int) -> Generator[tuple[list[int], Floats], None, None]:
    """Batches and their pooled states by the model's own forward."""
    below = _below(encoder, ids, layers)
    for batch in batches(ids):
        with torch.inference_mode():
            inputs, mask = encoder.pad([ids[i] for i in batch])
            states = _last_layers(encoder.model, below, inputs, mask)
            pooled = torch.stack([mean_pool(layer.float(), mask) for layer in states], dim=1)
        yield batch, pooled.cpu().numpy()


def _below(encoder: Encoder, ids: list[list[int]], layers: int) -> list[nn.Module]:
    """The layers read beside the last one; none where they are no list, or answer with states of another shape.

    Some models turn their states (XLNet) or pad them to a window (Longformer) between the layers. The shape of one text
    of three tokens tells: that of a batch may be right by chance.
    """
    below = list(layers_of(encoder.model)[1])[-layers:-1]
    if not below or not ids:
        return below
    with torch.inference_mode():
        inputs, mask = encoder.pad([[ids[0][0]] * 3])
        *kept, last = _last_layers(encoder.model, below, inputs, mask)
    return below if all(state.shape == last.shape for state in kept) else []


def _last_layers(model: Any, below: list[nn.Module], inputs: torch.Tensor, mask: torch.Tensor) -> list[torch.Tensor]:
    """States of the layers below and of the last one, each (batch, tokens, width)."""
    kept: list[torch.Tensor] = []
    # Asking transformers for the hidden states would leave its hooks on the model for good.
    hooks = [
        layer.register_forward_hook(lambda _layer, _inputs, out: kept.append(_states(out).to(inputs.device)))
        for layer in below
    ]
    try:
        last = model(input_ids=inputs, attention_mask=mask).last_hidden_state
    finally:
        for hook in hooks:
            hook.remove()
    return [*kept, last]


def _states(out: Any) -> torch.Tensor:
    return torch.as_tensor(out[0] if isinstance(out, tuple | list) else out)


def _shared_out(
    model: Any, ids: list[list[int]], layers: int, dtype: torch.dtype
) -> Generator[tuple[list[int], Floats], None, None]:
    """Batches and their pooled states, each computed by one of as many threads as torch would use."""
    threads = torch.get_num_threads()
    split = dtype == torch.float32 and split_pays()
    tokens = min(max(sum(map(len, ids)) // (_EACH * threads), _FEWEST), _MOST)
    work = list(_batches(ids, tokens))[::-1]  # long texts first, so that the threads end together
    with bfloat16_products() if split else nullcontext():
        packed = PackedEncoder(model, dtype, split=split)
        pool = ThreadPoolExecutor(min(threads, len(work)), initializer=torch.set_num_threads, initargs=(1,))
        try:
            futures = [pool.submit(packed.pooled, [ids[i] for i in batch], layers) for batch in work]
            for batch, future in zip(work, futures, strict=True):
                yield batch, future.result()
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)  # or threads started later would have the workers' number


def _batches(ids: list[list[int]], most: int) -> Iterator[list[int]]:
    """Positions of texts, the shortest first, in batches of at most so many tokens (or of one text)."""
    batch: list[int] = []
    tokens = 0
    for i in sorted(range(len(ids)), key=lambda i: len(ids[i])):
        if batch and tokens + len(ids[i]) > most:
            yield batch
            batch, tokens = [], 0
        batch.append(i)
        tokens += len(ids[i])
    if batch:
        yield batch
