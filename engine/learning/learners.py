"""Learners: how labels become a predictor. All of them share one loaded model and its embeddings."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.errors import ArgumentError
from engine.learning.blending import outcomes, trust, without_each
from engine.learning.embeddings import EmbeddingCache
from engine.learning.finetuning import FineTuned, LossReport, Recipe, fine_tune
from engine.learning.models import Encoder, Progress, load_encoder, silent
from engine.learning.probe import Head, fit_layers

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
    """A head on cached states of several layers."""

    head: Head
    cache: EmbeddingCache

    def predict(self, texts: list[str], progress: Progress = silent) -> Floats:
        """Return numbers or class probabilities."""
        if not texts:
            return np.empty((0, len(self.head.intercepts)) if self.head.logistic else 0)
        return self.head.predict(self.cache.states(texts, progress).reshape(len(texts), -1))

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
        return Probed(fit_layers(self.cache.states(texts, progress), y, self.classes), self.cache)


@dataclass(frozen=True)
class FineTuning:
    """LoRA or full fine-tuning."""

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
            self.cache.states(texts)[:, -1],
            classes=self.classes,
            recipe=self.recipe,
            seed=seed,
            progress=progress,
            report_loss=report_loss,
        )


@dataclass(frozen=True)
class Blended:
    """The probe's predictions, moved towards the fine-tuned model's as far as that is trusted beyond the probe.

    Attributes:
        probed, tuned: The two.
        trust: From 0 (the probe alone) to 1 (the fine-tuned model alone).
    """

    probed: Probed
    tuned: FineTuned
    trust: float

    def predict(self, texts: list[str], progress: Progress = silent) -> Floats:
        """Return numbers or class probabilities."""
        if self.trust == 0 or not texts:
            return self.probed.predict(texts, progress)
        cautious = self.probed.predict(texts, lambda share: progress(share / 3))
        outputs = self.tuned.outputs(texts, lambda share: progress((1 + 2 * share) / 3))
        tuned = outputs if self.tuned.module.logistic else outputs[:, 0]
        return cautious + self.trust * (tuned - cautious)

    def save(self, folder: Path) -> None:
        """Save both, and the trust."""
        self.tuned.save(folder)
        self.probed.save(folder)
        (folder / "blend.json").write_text(json.dumps({"trust": self.trust}), encoding="utf-8")


@dataclass(frozen=True)
class Auto:
    """Probe and fine-tuning, blended by their predictions of labels left out."""

    probe: Probe
    tuning: FineTuning

    def fit(
        self,
        texts: list[str],
        y: NDArray[Any],
        *,
        seed: int,
        progress: Progress = silent,
        report_loss: LossReport | None = None,
    ) -> Blended:
        """Fit both, and learn from these labels alone how to blend them."""
        probed = self.probe.fit(texts, y, seed=seed)
        tuned = self.tuning.fit(texts, y, seed=seed, progress=progress, report_loss=report_loss)
        classes = self.probe.classes
        columns = outcomes(y, classes)
        loo = probed.head.loo.reshape(columns.shape) - without_each(columns) + columns.mean(0)
        return Blended(probed, tuned, trust(columns, tuned.left_out, loo, tuned.recipe.folds))


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
        """Return a learner by name: "probe", "lora", "full" or "auto".

        Raises:
            ArgumentError: There is no such learner.
        """
        probe = Probe(self.cache, classes)
        lora = FineTuning(self.encoder, self.cache, classes, Recipe(objective=objective))
        if name == "probe":
            return probe
        if name == "lora":
            return lora
        if name == "full":
            return FineTuning(self.encoder, self.cache, classes, Recipe("full", objective, learning_rate=1e-4))
        if name == "auto":
            return Auto(probe, lora)
        raise ArgumentError(f"learner is {name!r}, but it must be one of probe, lora, full, auto.")
