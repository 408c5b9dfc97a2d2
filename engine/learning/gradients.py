"""CoS-Low: the median cosine between gradients of low-confidence examples (Je & Raffel, arXiv 2512.24991).

The plain definition: LoRA of rank 64 and alpha 32 on all linear layers, evaluation mode, one example at a time. LoRA's
B starts at zero, so the gradient of A vanishes and that of B alone counts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.learning.finetuning import Regressor, adapted
from engine.learning.models import Encoder, Progress, silent
from engine.learning.probe import Head, fit_logistic, fit_ridge

EXAMPLES = 32
_BINS = 5  # numeric labels become fifths, so that confidence is a probability for them too

Floats = NDArray[np.float64]


def confidences(embeddings: NDArray[np.float32], y: NDArray[Any], classes: int | None) -> Floats:
    """Return the largest class (or fifth-of-the-ratings) probability of each labelled text, left out of its own fit."""
    if classes is None:
        edges = np.unique(np.quantile(y, np.linspace(0, 1, _BINS + 1)[1:-1]))
        y = np.searchsorted(edges, y, side="left")
        classes = len(edges) + 1
    return np.asarray(fit_logistic(embeddings, y, classes).loo.max(1))


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
) -> float:
    """Return CoS-Low of labelled texts, between -1 and 1.

    Args:
        encoder: The model; it is copied, not changed.
        texts: Labelled texts, s of them.
        y: Numbers, or class codes, shape (s,).
        embeddings: The model's embeddings of the texts, shape (s, width).
        classes: Number of classes, or None for numbers.
        seed: Seed of the draw and of the adapter's start.
        progress: Called with the share done.
    """
    rng = np.random.default_rng(seed)
    chosen = low_confidence(confidences(embeddings, y, classes), rng)
    target = np.eye(classes)[y] if classes else ((y - y.mean()) / (y.std() or 1.0))[:, None]
    head = fit_logistic(embeddings, y, classes) if classes else fit_ridge(embeddings, target[:, 0])
    rows = _gradients(encoder, [texts[i] for i in chosen], target[chosen], head, seed, progress)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    # An example that the head already fits exactly has no direction; it says nothing of the others.
    rows = (rows / np.where(length > 0, length, 1))[length[:, 0] > 0]
    if len(rows) < 2:
        return 0.0
    cosines = rows @ rows.T
    return float(np.median(cosines[np.triu_indices(len(rows), 1)]))


def _gradients(
    encoder: Encoder, texts: list[str], targets: Floats, head: Head, seed: int, progress: Progress
) -> NDArray[np.float32]:
    backbone = adapted(encoder, rank=64, alpha=32, seed=seed)
    module = Regressor(backbone, head).to(encoder.device).eval()
    weights = [p for name, p in module.named_parameters() if "lora_B" in name]
    rows = []
    for i, ids in enumerate(encoder.tokenize(texts)):
        prediction = module(*encoder.pad([ids]))
        target = torch.as_tensor(targets[i : i + 1], dtype=prediction.dtype, device=prediction.device)
        loss = _loss(prediction, target, head.logistic)
        gradients = torch.autograd.grad(loss, weights, allow_unused=True)
        flat = [g.flatten() for g in gradients if g is not None]
        rows.append(torch.cat(flat).float().cpu().numpy())
        progress((i + 1) / len(texts))
    return np.stack(rows)


def _loss(prediction: torch.Tensor, target: torch.Tensor, logistic: bool) -> torch.Tensor:
    if logistic:
        return -(target * prediction.clamp_min(1e-12).log()).sum()
    return ((prediction - target) ** 2).sum()
