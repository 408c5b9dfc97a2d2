"""Confidence in unlabelled texts: by the head that a checkpoint brings, or by one fitted to the labels at hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification

from engine.learning.faults import memory_told
from engine.learning.models import Encoder, Kept, Progress, batches, load_encoder, load_weights, silent
from engine.learning.probe import Head, fit_logistic

_BINS = 5  # numeric labels become fifths, so that confidence is a probability for them too

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Classifier:
    """An encoder with the head that its checkpoint brings.

    Attributes:
        encoder: Tokenizer and device.
        module: The model with its head, in evaluation mode.
        names: What its classes are called, (k,).
    """

    encoder: Encoder
    module: Any
    names: tuple[str, ...]

    @torch.inference_mode()
    def confidence(self, texts: list[str], progress: Progress = silent) -> Floats:
        """Return the largest class probability of each text, shape (len(texts),).

        Where each label holds or not by itself, it is the mean over labels of the larger of both probabilities.
        """
        with memory_told(f"read texts with model {self.encoder.name}", "choose a smaller model"):
            return self._confidence(texts, progress)

    def _confidence(self, texts: list[str], progress: Progress) -> Floats:
        ids = self.encoder.tokenize(texts) if texts else []
        out, done = np.empty(len(texts)), 0
        for batch in batches(ids):
            inputs, mask = self.encoder.pad([ids[i] for i in batch])
            logits = self.module(input_ids=inputs, attention_mask=mask).logits.float()
            if self.module.config.problem_type == "multi_label_classification":
                sure = logits.abs().sigmoid().mean(-1)
            else:
                sure = logits.softmax(-1).amax(-1)
            out[batch] = sure.cpu().numpy()
            done += len(batch)
            progress(done / len(texts))
        return out


def load_classifier(name: str, keep: Kept = "beginning") -> Classifier | None:
    """Load a model with the head that its checkpoint brings; None where it brings none with probabilities.

    `keep` tells which end of a text that is too long is read.

    A head counts only where all of its weights are in the file: one drawn at random knows nothing.

    Raises:
        ModelError: The model cannot be found, loaded or trusted.
    """
    encoder = load_encoder(name, keep=keep)
    config = encoder.model.config
    kinds = getattr(config, "architectures", None) or []
    if not any(kind.endswith("ForSequenceClassification") for kind in kinds) or config.num_labels < 2:
        return None
    if config.problem_type == "regression":
        return None
    module, unfit = load_weights(AutoModelForSequenceClassification, name, dtype=encoder.model.dtype)
    if unfit:
        return None
    # A decoder's head reads the last token that is no padding, which its configuration may not know.
    module.config.get_text_config().pad_token_id = encoder.tokenizer.pad_token_id or 0
    names = tuple(str(config.id2label[k]) for k in range(config.num_labels))
    with memory_told(f"load model {name}", "choose a smaller model"):
        return Classifier(encoder, module.to(encoder.device), names)


def fifths(y: Floats) -> tuple[NDArray[np.int64], int]:
    """Cut numeric labels into fifths (fewer where values repeat); return the codes, shape (n,), and their number."""
    edges = np.unique(np.quantile(y, np.linspace(0, 1, _BINS + 1)[1:-1]))
    # An edge at the largest value would leave nothing above it.
    edges = edges[edges < y.max()]
    return np.searchsorted(edges, y, side="left"), len(edges) + 1


def fitted_head(embeddings: NDArray[np.float32], y: NDArray[Any], classes: int | None) -> Head:
    """Fit the head whose probabilities are the confidence: of the classes, or of the fifths of numbers.

    Args:
        embeddings: Of the labelled texts, shape (n, width).
        y: Numbers, or class codes, shape (n,).
        classes: Number of classes, or None for numbers.
    """
    codes, count = (y, classes) if classes else fifths(np.asarray(y, dtype=float))
    return fit_logistic(embeddings, codes, count)


def draw_low(
    confidence: Floats, count: int, rng: np.random.Generator, *, barred: NDArray[np.bool_], same: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Draw texts from the tenth with the lowest confidence, no text twice.

    Args:
        confidence: Shape (r,).
        count: How many to draw; where the tenth holds fewer, that many of the lowest are the tenth.
        rng: The generator.
        barred: Which may not be drawn, shape (r,).
        same: Codes that are equal where texts are, shape (r,).

    Returns:
        The rows drawn, in random order, and all rows of the tenth.
    """
    order = np.argsort(confidence, kind="stable")
    fresh = np.zeros(len(order), dtype=bool)
    fresh[np.unique(same[order], return_index=True)[1]] = True
    fresh &= ~barred[order]
    # So far down the order lie a tenth of all rows, and enough that may be drawn.
    enough = np.flatnonzero(fresh)[:count]
    end = max(len(order) // 10, int(enough[-1]) + 1 if len(enough) else 0)
    lowest = order[:end]
    return rng.permutation(lowest[fresh[:end]])[:count], np.sort(lowest)
