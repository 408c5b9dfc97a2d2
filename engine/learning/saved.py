"""Saved predictors, loaded again."""

from __future__ import annotations

import copy
import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModel

from engine.errors import ModelError
from engine.learning.embeddings import pooled_states
from engine.learning.faults import loading_told
from engine.learning.models import Encoder, Progress, load_encoder, silent
from engine.learning.prediction import pooled_layers
from engine.learning.probe import Head
from engine.learning.regressor import Regressor

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SavedProbe:
    """A head on the states of the base model."""

    encoder: Encoder
    head: Head

    def outputs(self, texts: list[str], progress: Progress) -> Floats:
        """Return predictions, shape (len(texts), k)."""
        states = pooled_states(self.encoder, texts, progress)
        return self.head.predict(states.reshape(len(texts), -1)).reshape(len(texts), -1)


@dataclass(frozen=True)
class SavedTuning:
    """A fine-tuned encoder with its head.

    Attributes:
        encoder: The encoder with the fine-tuned weights.
        module: The same with its head.
        offset: Added to the module's output, shape (k,).
    """

    encoder: Encoder
    module: Regressor
    offset: Floats

    def outputs(self, texts: list[str], progress: Progress) -> Floats:
        """Return predictions, shape (len(texts), k)."""
        pooled = pooled_layers(self.encoder, self.encoder.tokenize(texts), progress=progress)[:, -1]
        with torch.inference_mode():
            read = self.module.read(torch.from_numpy(pooled).to(self.encoder.device))
        return np.asarray(read.double().cpu().numpy() + self.offset)


@dataclass(frozen=True)
class SavedPredictor:
    """A fine-tuned encoder and what it is trusted beyond: the mean label, or a probe.

    Attributes:
        key: Hash of all that was saved and of the base model.
        cautious: The probe, or the mean label, shape (k,).
        tuning: The fine-tuned encoder; None for a probe alone.
        trust: Predictions are cautious + trust * (tuned - cautious).
    """

    key: str
    cautious: SavedProbe | Floats
    tuning: SavedTuning | None
    trust: float

    def predict(self, texts: list[str], progress: Progress = silent) -> Floats:
        """Return predictions, shape (len(texts), k): k = 1 for numbers, else probabilities of k classes."""
        if isinstance(self.cautious, SavedProbe):
            share = 1.0 if self.tuning is None or self.trust == 0 else 1 / 3
            cautious = self.cautious.outputs(texts, lambda done: progress(share * done))
        else:
            share, cautious = 0.0, self.cautious
        if share == 1:
            return cautious
        assert self.tuning is not None
        tuned = self.tuning.outputs(texts, lambda done: progress(share + (1 - share) * done))
        return cautious + self.trust * (tuned - cautious)


@dataclass(frozen=True)
class MeanPredictor:
    """The mean of several predictors, as cross-fit predicts a pool."""

    parts: Sequence[SavedPredictor]

    @property
    def key(self) -> str:
        """Hash of them all."""
        return hashlib.sha256("".join(part.key for part in self.parts).encode()).hexdigest()

    def predict(self, texts: list[str], progress: Progress = silent) -> Floats:
        """Return predictions, shape (len(texts), k)."""
        count, every = len(self.parts), []
        for j, part in enumerate(self.parts):

            def whole(done: float, j: int = j) -> None:
                progress((j + done) / count)

            every.append(part.predict(texts, whole))
        return np.asarray(np.mean(every, axis=0))


def load_predictor(folder: Path, model: str) -> SavedPredictor:
    """Load what a learner saved.

    Args:
        folder: Where it was saved.
        model: Hub name or folder of the base model.

    Raises:
        ModelError: The folder holds no predictor of an encoder, or a model cannot be loaded.
    """
    tuned, probed = (folder / "recipe.json").is_file(), (folder / "head.npz").is_file()
    if (folder / "choices.json").is_file():
        raise ModelError(f"{folder} holds a model that writes its answers; only saved encoders can be loaded again.")
    if not (tuned or probed):
        raise ModelError(f"{folder} holds no saved predictor (recipe.json or head.npz); name the folder of one.")
    encoder = load_encoder(model)
    digest = hashlib.sha256(encoder.key.encode())
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        digest.update(path.name.encode() + path.read_bytes())
    probe = SavedProbe(encoder, _head(folder)) if probed else None
    if not tuned:
        assert probe is not None
        return SavedPredictor(digest.hexdigest(), probe, None, 0.0)
    learnt = _facts(folder / "recipe.json")
    tuning = SavedTuning(*_tuned(encoder, folder, learnt["method"]), np.array(learnt["offset"]))
    if probe is None:
        return SavedPredictor(digest.hexdigest(), np.array(learnt["mean"]), tuning, learnt["trust"])
    return SavedPredictor(digest.hexdigest(), probe, tuning, _facts(folder / "blend.json")["trust"])


def _facts(path: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return facts


def _head(folder: Path) -> Head:
    with np.load(folder / "head.npz") as arrays:
        centre, weight, bias = (arrays[name] for name in ("centre", "weight", "bias"))
    return Head(centre, weight, bias, len(bias) > 1, np.empty((0, len(bias))))


def _tuned(encoder: Encoder, folder: Path, method: str) -> tuple[Encoder, Regressor]:
    with loading_told(str(folder)), warnings.catch_warnings(category=FutureWarning, action="ignore"):
        if method == "lora":
            adapted = PeftModel.from_pretrained(copy.deepcopy(encoder.model), str(folder))
            backbone = adapted.merge_and_unload()
        else:
            backbone = AutoModel.from_pretrained(str(folder), trust_remote_code=False, use_safetensors=True)
        head = load_file(folder / "head.safetensors")
    weight, bias = (head[name].double().numpy() for name in ("weight", "bias"))
    backbone = backbone.to(encoder.device).eval()
    linear = Head(np.zeros(weight.shape[1]), weight.T, bias, len(bias) > 1, np.empty((0, len(bias))))
    module = Regressor(backbone, linear, normalised=False).to(encoder.device).eval()
    return replace(encoder, model=backbone), module
