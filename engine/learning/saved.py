"""Saved predictors, loaded again."""

from __future__ import annotations

import copy
import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModel

from engine.errors import ModelError
from engine.learning.embeddings import pooled_states
from engine.learning.faults import loading_told
from engine.learning.finetuning import Tuned
from engine.learning.label_tokens import load_asked
from engine.learning.learners import Probed, blend
from engine.learning.models import Encoder, Kept, Progress, load_encoder, silent
from engine.learning.probe import Head
from engine.learning.regressor import Pooled, Regressor
from engine.learning.training import Reader

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SavedPredictor:
    """What a learner made, loaded again.

    Attributes:
        key: Hash of all that was saved and of the base model.
        made: Predicts numbers of shape (texts,) or class probabilities of shape (texts, k).
    """

    key: str
    made: Callable[[list[str], Progress], Floats]

    def predict(self, texts: list[str], progress: Progress = silent) -> Floats:
        """Return predictions, shape (len(texts), k): k = 1 for numbers, else probabilities of k classes."""
        predictions = self.made(texts, progress)
        return predictions if predictions.ndim == 2 else predictions[:, None]


@dataclass(frozen=True)
class MeanPredictor:
    """The mean of several predictors: for a single text better than each of them."""

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


def load_predictor(folder: Path, model: str, keep: Kept = "beginning") -> SavedPredictor:
    """Load what a learner saved, or what was asked of a model that writes.

    Args:
        folder: Where it was saved.
        model: Hub name or folder of the base model.
        keep: Which end of a text that is too long is read, as when it was trained.

    Raises:
        ModelError: The folder holds no predictor, or a model cannot be loaded.
    """
    tuned, probed, asked = ((folder / name).is_file() for name in ("recipe.json", "head.npz", "choices.json"))
    if not (tuned or probed or asked):
        raise ModelError(
            f"{folder} holds no saved predictor (recipe.json, head.npz or choices.json); name the folder of one."
        )
    encoder = cache(partial(load_encoder, model, keep=keep))
    probe = Probed(_head(folder), partial(pooled_states, encoder())) if probed else None
    tuning = None
    if tuned or asked:
        tuning = _tuned(folder, load_asked(folder, model, keep) if asked else _regressor(folder, encoder()))
    if tuning is None:
        assert probe is not None
        return SavedPredictor(_key(folder, encoder().key), probe.predict)
    if probe is None:
        return SavedPredictor(_key(folder, tuning.reader.key), tuning.predict)
    trusted = _facts(folder / "blend.json")["trust"]
    return SavedPredictor(_key(folder, tuning.reader.key), partial(blend, probe, tuning, trusted))


def _key(folder: Path, model: str) -> str:
    digest = hashlib.sha256(model.encode())
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _facts(path: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return facts


def _head(folder: Path) -> Head:
    with np.load(folder / "head.npz") as arrays:
        centre, weight, bias = (arrays[name] for name in ("centre", "weight", "bias"))
    return Head(centre, weight, bias, len(bias) > 1, np.empty((0, len(bias))))


def _tuned(folder: Path, loaded: tuple[Reader, Any]) -> Tuned:
    """A model with its bias and trust; one that writes and was not trained is taken at its word."""
    path = folder / "recipe.json"
    if not path.is_file():
        return Tuned(*loaded, np.zeros(1), np.zeros(1), 1.0)
    learnt = _facts(path)
    return Tuned(*loaded, np.array(learnt["mean"]), np.array(learnt["offset"]), learnt["trust"])


def _regressor(folder: Path, encoder: Encoder) -> tuple[Pooled, Regressor]:
    """A fine-tuned encoder with its head."""
    with loading_told(str(folder)), warnings.catch_warnings(category=FutureWarning, action="ignore"):
        if (folder / "adapter_config.json").is_file():
            adapted = PeftModel.from_pretrained(copy.deepcopy(encoder.model), str(folder))
            backbone = adapted.merge_and_unload()
        else:
            backbone = AutoModel.from_pretrained(str(folder), trust_remote_code=False, use_safetensors=True)
            backbone = backbone.to(encoder.device)
        kept = load_file(folder / "head.safetensors")
    weight, bias = (kept[name].double().numpy() for name in ("weight", "bias"))
    head = Head(np.zeros(weight.shape[1]), weight.T, bias, len(bias) > 1, np.empty((0, len(bias))))
    module = Regressor(backbone.eval(), head, normalised=False).eval()
    return Pooled(encoder), module
