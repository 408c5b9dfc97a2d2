"""CoS-Low: the median cosine between gradients of low-confidence examples (Je & Raffel, arXiv 2512.24991).

The definition: LoRA of rank 64 and alpha 32 on all linear layers, evaluation mode, one loss for each example. Here the
examples are texts with labels, and the loss is that of a head fitted to the labels at hand; decoders have their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from engine.learning.cosines import Batch, Span, cosines
from engine.learning.faults import memory_told
from engine.learning.models import Encoder, Progress, silent
from engine.learning.probe import fit_logistic, fit_ridge
from engine.learning.regressor import Regressor
from engine.learning.selection import fitted_head

EXAMPLES = 32
# Encoders in which texts can share a row: they take the mask between tokens and the positions as they are given.
_PACKING = {"bert", "roberta", "xlm-roberta"}

Floats = NDArray[np.float64]


def confidences(embeddings: NDArray[np.float32], y: NDArray[Any], classes: int | None) -> Floats:
    """Return the largest class (or fifth-of-the-ratings) probability of each labelled text, left out of its own fit."""
    return np.asarray(fitted_head(embeddings, y, classes).loo.max(1))


def low_confidence(confidence: Floats, rng: np.random.Generator, count: int = EXAMPLES) -> NDArray[np.intp]:
    """Draw `count` rows from the tenth with the lowest confidence (from the `count` lowest where the tenth is less)."""
    tenth = max(len(confidence) // 10, min(count, len(confidence)))
    lowest = np.argsort(confidence, kind="stable")[:tenth]
    return np.sort(rng.choice(lowest, size=min(count, tenth), replace=False))


def cos_low(
    encoder: Encoder,
    texts: list[str],
    y: NDArray[Any],
    embeddings: NDArray[np.float32],
    *,
    classes: int | None,
    seed: int = 0,
    progress: Progress = silent,
) -> float | None:
    """Return CoS-Low of labelled texts, between -1 and 1, or None where the labels give no two gradients to compare.

    Args:
        encoder: The model; it is not changed.
        texts: Labelled texts, s of them.
        y: Numbers, or class codes, shape (s,).
        embeddings: The model's embeddings of the texts, shape (s, width).
        classes: Number of classes, or None for numbers.
        seed: Seed of the draw and of the adapter's start.
        progress: Called with the share done.

    Raises:
        ModelError: The gradients are not finite, or the memory does not suffice.
    """
    if len(y) < 2 or np.all(y == y[0]):
        return None  # equal labels leave the head at zero, and with it every gradient
    rng = np.random.default_rng(seed)
    chosen = low_confidence(confidences(embeddings, y, classes), rng)
    target = np.eye(classes)[y] if classes else ((y - y.mean()) / y.std())[:, None]
    head = fit_logistic(embeddings, y, classes) if classes else fit_ridge(embeddings, target[:, 0])
    ids = encoder.tokenize([texts[i] for i in chosen])
    labelled = Labelled(encoder, Regressor(encoder.model, head).eval(), ids, target[chosen])
    with memory_told(f"measure CoS-Low of model {encoder.name}", "choose a smaller model"):
        return median_cosine(cosines(labelled, seed=seed, progress=progress))


def median_cosine(cosines: Floats) -> float | None:
    """Return the median over pairs of a matrix of cosines, or None where it has no pair."""
    pairs = cosines[np.triu_indices(len(cosines), 1)]
    return float(np.median(pairs)) if len(pairs) else None


@dataclass(frozen=True)
class Labelled:
    """Texts with labels under an encoder with its head.

    Attributes:
        encoder: Tokenizer and device.
        module: The encoder's model with a head on it.
        ids: Token ids of each text.
        targets: Numbers or one-hot classes, shape (texts, k).
    """

    encoder: Encoder
    module: Regressor
    ids: list[list[int]]
    targets: Floats

    @property
    def model(self) -> PreTrainedModel:
        """The encoder's model."""
        return self.module.backbone

    @property
    def packs(self) -> bool:
        """Whether texts share rows."""
        config = self.encoder.model.config
        return config.model_type in _PACKING and config._attn_implementation in ("sdpa", "eager")

    def batch(self, rows: list[int]) -> Batch:
        """Return the squared error or the log loss of each of these texts."""
        ids = [self.ids[i] for i in rows]
        inputs, spans = self._packed(ids) if self.packs else self._padded(ids)
        states = self.model(**inputs).last_hidden_state
        predicted = self.module.read(_means(states, spans))
        target = torch.as_tensor(self.targets[rows], dtype=predicted.dtype, device=predicted.device)
        if self.module.logistic:
            losses = -(target * predicted.clamp_min(1e-12).log()).sum(1)
        else:
            losses = ((predicted - target) ** 2).sum(1)
        return Batch(losses, tuple(inputs["input_ids"].shape), spans)

    def _padded(self, ids: list[list[int]]) -> tuple[dict[str, torch.Tensor], list[Span]]:
        inputs, mask = self.encoder.pad(ids)
        starts = mask.argmax(1).tolist()
        spans = [(k, start, start + len(row)) for k, (start, row) in enumerate(zip(starts, ids, strict=True))]
        return {"input_ids": inputs, "attention_mask": mask}, spans

    def _packed(self, ids: list[list[int]]) -> tuple[dict[str, torch.Tensor], list[Span]]:
        """Texts side by side in rows, with a mask that keeps each to itself."""
        spans, shape = pack([len(row) for row in ids])
        inputs = torch.full(shape, self.encoder.tokenizer.pad_token_id)
        owner, position = torch.full(shape, -1), torch.zeros(shape, dtype=torch.long)
        for k, (row, start, stop) in enumerate(spans):
            inputs[row, start:stop] = torch.tensor(ids[k])
            owner[row, start:stop] = k
            position[row, start:stop] = torch.arange(stop - start)
        config = self.encoder.model.config
        first = 0 if config.model_type == "bert" else config.pad_token_id + 1
        apart = (owner[:, None, :, None] != owner[:, None, None, :]).to(self.encoder.device)
        dtype = self.encoder.model.dtype
        mask = torch.zeros(apart.shape, dtype=dtype, device=apart.device).masked_fill(apart, torch.finfo(dtype).min)
        place = self.encoder.device
        return {
            "input_ids": inputs.to(place),
            "attention_mask": mask,
            "position_ids": (position + first).to(place),
        }, spans


def pack(lengths: list[int]) -> tuple[list[Span], tuple[int, int]]:
    """Return where texts lie side by side in rows not much longer than the longest, and the rows' shape."""
    longest = max(lengths)
    tried = (_first_fit(lengths, most) for most in range(longest, longest + longest // 2 + 1))
    return min(tried, key=lambda found: math.prod(found[1]))


def _first_fit(lengths: list[int], most: int) -> tuple[list[Span], tuple[int, int]]:
    free: list[int] = []
    spans: list[Span] = [(0, 0, 0)] * len(lengths)
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        row = next((row for row, left in enumerate(free) if left >= lengths[i]), len(free))
        if row == len(free):
            free.append(most)
        start = most - free[row]
        spans[i] = (row, start, start + lengths[i])
        free[row] -= lengths[i]
    return spans, (len(free), most)


def _means(states: torch.Tensor, spans: list[Span]) -> torch.Tensor:
    """Mean of the token states of each example; states (rows, tokens, width) to (examples, width)."""
    weight = torch.zeros(len(spans), *states.shape[:2])
    for k, (row, start, stop) in enumerate(spans):
        weight[k, row, start:stop] = 1 / (stop - start)
    return weight.to(states.device).flatten(1) @ states.float().flatten(0, 1)
