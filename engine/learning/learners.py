"""Learners: how labels become a predictor. All of them share one loaded model and its embeddings."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.errors import ArgumentError
from engine.learning.averaging import adapted
from engine.learning.blending import BESIDE_THE_PROBE, Usual, outcomes, spread, trust, without_each
from engine.learning.checkpoints import Checkpoints
from engine.learning.decoders import Decoder, can_be_asked, load_decoder
from engine.learning.embeddings import EmbeddingCache
from engine.learning.finetuning import FineTuned, fine_tune
from engine.learning.label_tokens import Choices, ask
from engine.learning.models import Encoder, Kept, Progress, load_encoder, silent
from engine.learning.prediction import in_parts
from engine.learning.probe import Head, fit_layers
from engine.learning.recipe import Recipe
from engine.learning.regressor import Pooled
from engine.learning.training import LossReport, Reader

Floats = NDArray[np.float64]

States = Callable[[list[str], Progress], NDArray[np.float32]]


class Predicting(Protocol):
    """What predicts labels from texts."""

    def predict(self, texts: list[str], progress: Progress = silent, *, rough: bool = False) -> Floats:
        """Return numbers of shape (len(texts),) or class probabilities of shape (len(texts), k).

        With `rough` a fine-tuned encoder reads them in the precision of its training: to two digits or three, in less
        time. An answer loses nothing by it where the predictions of labels and pool are made alike, and rectified.
        """


class Predictor(Predicting, Protocol):
    """A fitted learner."""

    @property
    def residual(self) -> float | None:
        """Residual variance of its predictions of labels left out, as a share of the label variance, where known."""

    def save(self, folder: Path) -> None:
        """Save what is needed to predict again."""


class Learner(Protocol):
    """Turns labels into a predictor."""

    def fit(
        self,
        texts: list[str],
        y: NDArray[Any],
        *,
        seed: int,
        progress: Progress = silent,
        report_loss: LossReport | None = None,
        checkpoints: Checkpoints | Path | None = None,
        blocks: NDArray[np.integer] | None = None,
    ) -> Predictor:
        """Fit on texts and their labels.

        Args:
            texts: The texts, s of them.
            y: Numbers, or class codes, shape (s,).
            seed: Of all that is drawn.
            progress: Called with the share done.
            report_loss: Called with step, loss and learning rate of fine-tuning.
            checkpoints: Folder that keeps how far a long fit has come; see `fine_tune`.
            blocks: Code of each label's block, shape (s,), for models that each leave a block out; see `fine_tune`.
        """


@dataclass(frozen=True)
class Probed:
    """A head on states of several layers.

    Attributes:
        head: The head.
        states: Returns the states of texts, shape (len(texts), layers, width).
        residual: Residual variance of the predictions of labels left out, as a share of the label variance; None for a
            head that was loaded.
    """

    head: Head
    states: States
    residual: float | None = None

    def predict(self, texts: list[str], progress: Progress = silent, *, rough: bool = False) -> Floats:
        """Return numbers or class probabilities; the states are kept in full precision."""
        return in_parts(self._predict, texts, progress)

    def _predict(self, texts: list[str], progress: Progress) -> Floats:
        if not texts:
            return np.empty((0, len(self.head.intercepts)) if self.head.logistic else 0)
        return self.head.predict(self.states(texts, progress).reshape(len(texts), -1))

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
        checkpoints: Checkpoints | Path | None = None,
        blocks: NDArray[np.integer] | None = None,
    ) -> Probed:
        """Fit the head."""
        head, columns = fit_layers(self.cache.states(texts, progress), y, self.classes), outcomes(y, self.classes)
        residual = spread(columns - head.loo.reshape(columns.shape)) / max(spread(columns), 1e-300)
        return Probed(head, self.cache.states, residual)


@dataclass(frozen=True)
class FineTuning:
    """LoRA or full fine-tuning.

    Attributes:
        bench: The model.
        classes: Names of the classes, or None for numbers.
        method: "lora" or "full".
        objective: What is minimised.
        about: What the label is called; a model that writes is told, as it is where it is not trained.
        thorough: Whether the best prediction is asked for rather than the fastest.
    """

    bench: Workbench
    classes: tuple[str, ...] | None
    method: str
    objective: str
    about: str = ""
    thorough: bool = False

    def fit(
        self,
        texts: list[str],
        y: NDArray[Any],
        *,
        seed: int,
        progress: Progress = silent,
        report_loss: LossReport | None = None,
        checkpoints: Checkpoints | Path | None = None,
        blocks: NDArray[np.integer] | None = None,
    ) -> FineTuned:
        """Fine-tune a copy of the model."""
        reader = self._reader(texts, y)
        divided = len(texts) if blocks is None else 0
        tuned = fine_tune(
            reader,
            texts,
            y,
            classes=len(self.classes) if self.classes else None,
            recipe=Recipe.suited(reader.base, self.method, self.objective, divided, thorough=self.thorough),
            seed=seed,
            progress=progress,
            report_loss=report_loss,
            checkpoints=checkpoints,
            blocks=blocks,
        )
        return replace(tuned, classes=self.classes)

    def _reader(self, texts: list[str], y: NDArray[Any]) -> Reader:
        decoder = self.bench.decoder
        if decoder is not None:
            return ask(decoder, Choices.of(y, self.classes, self.about))
        return Pooled(self.bench.encoder, self.bench.cache.states(texts)[:, -1])


@dataclass(frozen=True)
class Blended:
    """The probe's predictions, moved towards the fine-tuned model's.

    Attributes:
        probed, tuned: The two.
        trust: From 0 (the probe alone) to 1 (the fine-tuned model alone).
        residual: Residual variance of the predictions of labels left out, as a share of the label variance.
    """

    probed: Probed
    tuned: FineTuned
    trust: float
    residual: float

    def predict(self, texts: list[str], progress: Progress = silent, *, rough: bool = False) -> Floats:
        """Return numbers or class probabilities; `rough` as in `Predictor`."""
        return blend(self.probed, self.tuned, self.trust, texts, progress, rough=rough)

    def save(self, folder: Path) -> None:
        """Save both, the trust, and a model card that tells of the blend."""
        self.tuned.save(folder)
        self.probed.save(folder)
        (folder / "blend.json").write_text(json.dumps({"trust": self.trust}), encoding="utf-8")
        with (folder / "README.md").open("a", encoding="utf-8") as card:
            card.write(self._told())

    def _told(self) -> str:
        """What the model card says of the blend, after what it says of the fine-tuned model."""
        output = "sigmoid(score) divided by their sum over the classes" if self.probed.head.logistic else "score"
        return f"""
## The blend with a probe

All above is of the fine-tuned model alone. What Labelwise predicts with is probe + {self.trust:.3f} * (prediction -
probe), the weight being `trust` in `blend.json`. On labels left out the variance of the residual of this blend was
{self.residual:.3f} of theirs.

The probe reads the text through the model as it was before fine-tuning, without a head that writes: the mean over the
text's tokens of what each of the last three layers answers (fewer where there are fewer; of the last one it is
`last_hidden_state`), laid side by side, {len(self.probed.head.centre):,} numbers in all. Its head is in `head.npz`:
score = (numbers - centre) @ weight + bias. The probe is {output}.
"""


def blend(
    probed: Probed, tuned: Predicting, trusted: float, texts: list[str], progress: Progress, *, rough: bool = False
) -> Floats:
    """Return the probe's predictions, moved towards the fine-tuned model's as far as those are trusted."""
    if trusted == 0 or not texts:
        return probed.predict(texts, progress)
    cautious = probed.predict(texts, lambda share: progress(share / 3))
    bold = tuned.predict(texts, lambda share: progress((1 + 2 * share) / 3), rough=rough)
    return cautious + trusted * (bold - cautious)


@dataclass(frozen=True)
class Auto:
    """Probe and fine-tuning, blended in the usual shares until their predictions of labels left out tell others."""

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
        checkpoints: Checkpoints | Path | None = None,
        blocks: NDArray[np.integer] | None = None,
    ) -> Blended:
        """Fit both, and blend them."""
        probed = self.probe.fit(texts, y, seed=seed)
        tuned = self.tuning.fit(
            texts, y, seed=seed, progress=progress, report_loss=report_loss, checkpoints=checkpoints, blocks=blocks
        )
        columns = outcomes(y, self.probe.classes)
        loo = probed.head.loo.reshape(columns.shape) - without_each(columns) + columns.mean(0)
        left_out, seen = (tuned.mean + tuned.trust * (part - tuned.mean) for part in (tuned.left_out, tuned.seen))
        # What is trusted little by itself is trusted little beside the probe.
        usual = Usual(BESIDE_THE_PROBE.weight * min(tuned.trust, 1.0), BESIDE_THE_PROBE.precision)
        weight = trust(columns, left_out, loo, usual, final=seen) if tuned.trust > 0 else 0.0
        residual = spread(columns - loo - weight * (left_out - loo)) / max(spread(columns), 1e-300)
        return Blended(probed, tuned, weight, residual)


@dataclass(frozen=True)
class Workbench:
    """A loaded model with its cache, from which learners are made.

    Attributes:
        encoder: The loaded model.
        cache: Its embeddings.
        decoder: The model as one that can be asked for labels, its weights those of the encoder; None for an encoder
            and for a decoder that is no chat model.
    """

    encoder: Encoder
    cache: EmbeddingCache
    decoder: Decoder | None = None

    @classmethod
    def open(cls, model: str, folder: Path, keep: Kept = "beginning") -> Workbench:
        """Load a model that reads the beginning or the end of a long text; embeddings are kept in `folder`.

        Raises:
            ModelError: The model cannot be found, loaded or trusted.
        """
        decoder = load_decoder(model, keep=keep) if can_be_asked(model) else None
        encoder = decoder.as_encoder() if decoder else load_encoder(model, keep=keep)
        return cls(encoder, EmbeddingCache(folder, encoder), decoder)

    def learner(self, name: str, objective: str, classes: tuple[str, ...] | None, about: str = "") -> Learner:
        """Return a learner by name: "probe", "lora", "full" or "auto".

        Args:
            name: Of the learner.
            objective: What fine-tuning minimises.
            classes: Names of the classes; None for numbers.
            about: What the label is called.

        Raises:
            ArgumentError: There is no such learner.
            ModelError: The learner is one of adapters, and none fits on the model.
        """
        if name in ("lora", "auto"):
            adapted(self.encoder.model, 0.0)  # told before anything is spent
        probe = Probe(self.cache, len(classes) if classes else None)
        if name == "probe":
            return probe
        if name in ("lora", "full"):
            return FineTuning(self, classes, name, objective, about)
        if name == "auto":
            return Auto(probe, FineTuning(self, classes, "lora", objective, about, thorough=True))
        raise ArgumentError(f"learner is {name!r}, but it must be one of probe, lora, full, auto.")
