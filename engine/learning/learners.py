"""Learners: how labels become a predictor. All of them share one loaded model and its embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.errors import ArgumentError
from engine.learning.embeddings import EmbeddingCache
from engine.learning.finetuning import FineTuned, LossReport, Recipe, fine_tune
from engine.learning.models import Encoder, Progress, load_encoder, silent
from engine.learning.probe import Head, fit_logistic, fit_ridge

Floats = NDArray[np.float64]


class Predictor(Protocol):
    """A fitted learner."""

    def predict(self, texts: list[str], progress: Progress = silent) -> Floats:
        """Return numbers of shape (len(texts),) or class probabilities of shape (len(texts), k)."""

    def save(self, folder: Path) -> None:
        """Save what is needed to predict again."""


class Learner(Protocol):
    """Turns labels into a predictor."""

    def fit(
        self, texts: list[str], y: NDArray[Any], *, seed: int, progress: Progress = silent, report_loss: Any = None
    ) -> Predictor:
        """Fit on texts and their labels (numbers, or class codes)."""


@dataclass(frozen=True)
class Probed:
    """A head on cached embeddings."""

    head: Head
    cache: EmbeddingCache

    def predict(self, texts: list[str], progress: Progress = silent) -> Floats:
        """Return numbers or class probabilities."""
        return self.head.predict(self.cache.embed(texts, progress))

    def save(self, folder: Path) -> None:
        """Save the head as arrays."""
        folder.mkdir(parents=True, exist_ok=True)
        head = self.head
        np.savez(folder / "head.npz", centre=head.centre, weight=head.coefficients, bias=head.intercepts)


@dataclass(frozen=True)
class Probe:
    """Frozen encoder, closed-form ridge or logistic head: seconds."""

    cache: EmbeddingCache
    classes: int | None

    def fit(
        self,
        texts: list[str],
        y: NDArray[Any],
        *,
        seed: int,
        progress: Progress = silent,
        report_loss: LossReport | None = None,
    ) -> Probed:
        """Fit the head."""
        embeddings = self.cache.embed(texts, progress)
        head = fit_logistic(embeddings, y, self.classes) if self.classes else fit_ridge(embeddings, y)
        return Probed(head, self.cache)


@dataclass(frozen=True)
class FineTuning:
    """LoRA or full fine-tuning from the probe's head."""

    encoder: Encoder
    cache: EmbeddingCache
    classes: int | None
    recipe: Recipe

    def fit(
        self,
        texts: list[str],
        y: NDArray[Any],
        *,
        seed: int,
        progress: Progress = silent,
        report_loss: LossReport | None = None,
    ) -> FineTuned:
        """Fine-tune a copy of the model."""
        return fine_tune(
            self.encoder,
            texts,
            y,
            self.cache.embed(texts),
            classes=self.classes,
            recipe=self.recipe,
            seed=seed,
            progress=progress,
            report_loss=report_loss,
        )


@dataclass(frozen=True)
class Workbench:
    """A loaded model with its cache, from which learners are made.

    Attributes:
        encoder: The loaded model.
        cache: Its embeddings.
    """

    encoder: Encoder
    cache: EmbeddingCache

    @classmethod
    def open(cls, model: str, folder: Path) -> Workbench:
        """Load a model; embeddings are kept in `folder`.

        Raises:
            ModelError: The model cannot be found, loaded or trusted.
        """
        encoder = load_encoder(model)
        return cls(encoder, EmbeddingCache(folder, encoder))

    def learner(self, name: str, objective: str, classes: int | None) -> Learner:
        """Return a learner by name: "probe", "lora" or "full".

        Raises:
            ArgumentError: There is no such learner.
        """
        if name == "probe":
            return Probe(self.cache, classes)
        if name == "lora":
            return FineTuning(self.encoder, self.cache, classes, Recipe(objective=objective))
        if name == "full":
            return FineTuning(self.encoder, self.cache, classes, Recipe("full", objective, learning_rate=5e-5))
        raise ArgumentError(f"learner is {name!r}, but it must be one of probe, lora, full.")
